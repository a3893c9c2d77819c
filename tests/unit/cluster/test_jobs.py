"""Addresses of job servers, and a job's two streams told apart."""

import itertools
import subprocess

import pytest

from cluster.jobs import _MARKED, MARK, LineSorter, make_url, submit
from cluster.session import is_inside_job


def sort(text: str, cuts: tuple[int, ...] = ()) -> tuple[list[str], list[str]]:
    """Feed a log in parts; return the lines of output and those of the log."""
    outputs: list[str] = []
    log: list[str] = []
    sorter = LineSorter(outputs.append, log.append)
    for start, end in itertools.pairwise((0, *cuts, len(text))):
        sorter.feed(text[start:end])
    sorter.close()
    return outputs, log


@pytest.mark.parametrize(
    ("address", "url"),
    [
        ("10.0.0.1:8265", "http://10.0.0.1:8265"),
        ("http://head:8265/", "http://head:8265"),
        ("https://ray.example.org", "https://ray.example.org"),
        ("[::1]:8265", "http://[::1]:8265"),
    ],
)
def test_an_address_becomes_a_url(address: str, url: str) -> None:
    assert make_url(address) == url


@pytest.mark.parametrize(
    "address",
    [
        "",
        "auto",
        "head",
        "head:",
        "head:port",
        "head:99999",
        "http://",
        "ray://head:10001",
        "http://user:secret@head:8265",
        "http://head:8265/?token=secret",
    ],
)
def test_what_is_no_address_is_refused_in_one_line(address: str) -> None:
    with pytest.raises(
        ValueError, match=r"is no address of a job server: write host:8265 or http://host:8265$"
    ) as raised:
        submit(address, ["true"])
    assert "secret" not in str(raised.value)


def test_lines_arrive_apart_wherever_the_log_is_cut() -> None:
    text = f'starting\n\n{MARK}{{"a": 1}}\n{MARK}\n 50 %{MARK}second\nend'
    expected = (['{"a": 1}', "", "second"], ["starting", "", " 50 %", "end"])
    assert sort(text) == expected
    for cuts in itertools.combinations(range(len(text) + 1), 2):
        assert sort(text, cuts) == expected


def test_the_shell_marks_what_a_command_prints_and_keeps_its_exit_code(capfd: pytest.CaptureFixture[str]) -> None:
    command = ["sh", "-c", 'echo "$1"; echo progress >&2; exit 3', "sh", "it's $HOME;"]
    finished = subprocess.run([*_MARKED, *command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    outputs, log = sort(finished.stdout.decode())
    assert (finished.returncode, outputs, log) == (3, ["it's $HOME;"], ["progress"])
    assert not any(MARK in word for word in _MARKED)  # the log quotes the command


def test_a_test_is_no_job(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not is_inside_job()
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")
    assert is_inside_job()
