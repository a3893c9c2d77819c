"""A command on another node of a real cluster, submitted and followed from here."""

import contextlib
import http.server
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from ray.job_submission import JobSubmissionClient

from cluster.jobs import Job, JobLostError, follow, submit
from cluster.processes import is_alive, list_descendants
from cluster.session import Session, find_free_port, join, start_local
from tests.cluster.second_node import start_second_node
from tests.unit.sweeps.small_sweep import read_files

pytestmark = pytest.mark.ray

TOP = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def cluster() -> Iterator[tuple[Session, str]]:
    """A head that only trades, with a job server, and a node for sweeps: the session and the second node's id."""
    before = set(list_descendants(os.getpid()))
    with (
        pytest.MonkeyPatch.context() as patch,
        start_local(
            namespace="test", num_cpus=1, object_store_mb=100, roles=("live_trading",), include_dashboard=True
        ) as session,
    ):
        # Where jobs look for `trireme`, as the nodes of a cluster have it on their PATH.
        patch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
        with start_second_node(session.address, "fast_compute") as node_id:
            yield session, node_id
        started = [process for process in list_descendants(os.getpid()) if process not in before]
    assert not [process for process in started if is_alive(process)]


@pytest.fixture
def url(cluster: tuple[Session, str]) -> str:
    assert cluster[0].dashboard_url is not None
    return cluster[0].dashboard_url


def watch(job: Job) -> tuple[int, list[str], list[str]]:
    """Follow a job to its end; return its exit code, its output and its log."""
    outputs: list[str] = []
    log: list[str] = []
    return follow(job, outputs.append, log.append), outputs, log


def run_python(code: str, *arguments: str) -> list[str]:
    return [sys.executable, "-c", code, *arguments]


JOINING = f"""
import sys, tracemalloc
sys.path.insert(0, {str(TOP)!r})
from cluster.session import is_inside_job, join
print(open("spec.yaml").read(), end="")
print("progress", file=sys.stderr)
with join("trireme", worker_setup="tracemalloc.start") as address:
    import ray
    print(is_inside_job(), address, ray.get_runtime_context().namespace, len(ray.nodes()))
    print(ray.get(ray.remote(lambda: tracemalloc.is_tracing()).remote()), tracemalloc.is_tracing())
print(ray.is_initialized())
"""


def test_a_job_runs_off_the_head_joins_its_cluster_and_its_streams_arrive_apart(
    cluster: tuple[Session, str], url: str
) -> None:
    session, node_id = cluster
    job = submit(url.removeprefix("http://"), run_python(JOINING), {"spec.yaml": "axes: $HOME µ\n"})
    code, outputs, log = watch(job)
    assert (code, outputs) == (0, ["axes: $HOME µ", f"True {session.address} trireme 2", "True False", "False"])
    assert "progress" in log
    assert not [line for line in log if session.auth_token and session.auth_token in line]
    assert JobSubmissionClient(url).get_job_info(job.job_id).driver_node_id == node_id


def test_a_failure_is_the_commands_own_code(cluster: tuple[Session, str], url: str) -> None:
    failing = submit(url, run_python("import sys; print('partly'); print('in line 3', file=sys.stderr); sys.exit(4)"))
    killed = submit(url, run_python("import os, signal; os.killpg(0, signal.SIGKILL)"))  # with the shell around it
    code, outputs, log = watch(failing)
    assert (code, outputs) == (4, ["partly"])
    assert "in line 3" in log
    assert watch(killed)[0] == 128 + signal.SIGKILL


WAITING = """
import pathlib, sys, time
gate = pathlib.Path(sys.argv[1])
for number in range(3):
    print("at gate", number, flush=True)
    while not (gate / str(number)).exists():
        time.sleep(0.05)
print("through", flush=True)
"""


def test_who_follows_may_leave_and_come_back(cluster: tuple[Session, str], url: str, tmp_path: Path) -> None:
    job = submit(url, run_python(WAITING, str(tmp_path)))
    with pytest.raises(KeyboardInterrupt):
        follow(job, lambda line: signal.raise_signal(signal.SIGINT), lambda line: None)
    assert JobSubmissionClient(url).get_job_status(job.job_id) == "RUNNING"
    words = job.how_to_follow.split()
    assert words[1:] == ["ray", "job", "logs", "--follow", "--address", url, job.job_id]
    shown = subprocess.Popen(
        [sys.executable, "-m", "ray.scripts.scripts", *words[2:]], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert shown.stdout is not None
    assert any(b"at gate 0" in line for line in shown.stdout)
    JobSubmissionClient(url).stop_job(job.job_id)
    code, outputs, log = watch(job)
    assert (code, outputs) == (1, ["at gate 0"])
    assert log[-1] == "the job stopped: Job was intentionally stopped."
    shown.communicate()


class Wire:
    """A connection to the job server that can be cut."""

    def __init__(self, url: str) -> None:
        self._host, _, port = url.removeprefix("http://").partition(":")
        self._port = int(port)
        self._ends: list[socket.socket] = []
        self.port = find_free_port()
        self.mend()

    def mend(self) -> None:
        """Take connections."""
        self._listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def cut(self) -> None:
        """Break every connection and take no other."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        while self._ends:
            end = self._ends.pop()
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                near, _ = listener.accept()
            except OSError:
                return
            far = socket.create_connection((self._host, self._port))
            self._ends += [near, far]
            for source, target in ((near, far), (far, near)):
                threading.Thread(target=self._carry, args=(source, target), daemon=True).start()

    def _carry(self, source: socket.socket, target: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            return


def test_a_broken_connection_loses_no_line_and_ends_in_the_end(
    cluster: tuple[Session, str], url: str, tmp_path: Path
) -> None:
    wire = Wire(url)
    job = Job(submit(url, run_python(WAITING, str(tmp_path))).job_id, f"http://127.0.0.1:{wire.port}")
    outputs: list[str] = []
    log: list[str] = []

    def on_output(line: str) -> None:
        outputs.append(line)
        if line == "at gate 0":
            wire.cut()
            (tmp_path / "0").touch()

    def on_log(line: str) -> None:
        log.append(line)
        if "lost the connection" in line and log.count(line) == 1:
            wire.mend()

    def cut_for_good(line: str) -> None:
        on_output(line)
        if line == "at gate 1":
            wire.cut()

    with pytest.raises(JobLostError, match=job.job_id) as raised:
        follow(job, cut_for_good, on_log, patience_s=2.0)
    assert outputs == ["at gate 0", "at gate 1"]
    assert job.how_to_follow in str(raised.value)
    for gate in ("1", "2"):
        (tmp_path / gate).touch()
    assert watch(Job(job.job_id, url))[:2] == (0, ["at gate 0", "at gate 1", "at gate 2", "through"])


def test_an_address_without_a_job_server_is_one_line(cluster: tuple[Session, str], url: str) -> None:
    nobody = f"127.0.0.1:{find_free_port()}"
    with pytest.raises(ValueError, match=f"^no job server answers at http://{nobody}: is Ray up there"):
        submit(nobody, ["true"])
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as other:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        with pytest.raises(ValueError, match="is no job server, or has trouble of its own: Version check returned 404"):
            submit(f"127.0.0.1:{other.server_port}", ["true"])
        other.shutdown()
    with pytest.raises(ValueError, match=r"no node .* wears the label ai_hub=true: nothing was submitted"):
        submit(url, ["true"], role="ai_hub")
    assert "RAY_API_SERVER_ADDRESS" not in os.environ


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Some other server, which has never heard of Ray."""

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.mark.parametrize("mode", ["token", "disabled", None])
def test_a_token_that_is_not_the_clusters_is_refused_in_one_line(
    cluster: tuple[Session, str], url: str, tmp_path: Path, mode: str | None
) -> None:
    (tmp_path / "token").write_text("0" * 64)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_AUTH")}
    environment |= {"RAY_AUTH_TOKEN_PATH": str(tmp_path / "token")} | ({"RAY_AUTH_MODE": mode} if mode else {})
    code = "import sys; from cluster.jobs import submit; submit(sys.argv[1], ['true'])"
    refused = subprocess.run(run_python(code, url), cwd=TOP, env=environment, capture_output=True, text=True)
    last = refused.stderr.splitlines()[-1]
    assert last.startswith(f"ValueError: the job server at {url} refuses our token: put the cluster's token into")
    assert "0" * 64 not in refused.stderr


def test_nothing_to_join_is_one_line(cluster: tuple[Session, str]) -> None:
    with pytest.raises(RuntimeError, match="connected to Ray already"), join():
        pass
    nobody = f"127.0.0.1:{find_free_port()}"
    code = "import sys; from cluster.session import join; join(address=sys.argv[1]).__enter__()"
    failed = subprocess.run(run_python(code, nobody), cwd=TOP, capture_output=True, text=True)
    assert failed.stderr.splitlines()[-1].startswith(f"ValueError: no Ray answers at {nobody}: start one with")


SPEC = """
strategy: momentum_sar
data: {instruments: [BTC-PERP.BINANCE], generated: {seed: 3, bars: 6000}}
space: {trend_bars: [48, 96], stop_atr: {from: 2.0, to: 5.0, points: 20}}
constraints: {trades_min: 1, drawdown_frac_max: 0.9, sharpe_min: -20.0, win_rate_frac_min: 0.0}
walk_forward: {folds: 2, purge_bars: 10, embargo_bars: 10, sharpe_min: -50.0, folds_positive_frac_min: 0.0}
significance: {bootstraps: 100, cscv_blocks: 6}
rounds: [{name: only, sampler: grid}]
"""


def test_a_sweep_runs_as_a_job_and_prints_what_it_prints_at_home(
    cluster: tuple[Session, str], url: str, tmp_path: Path
) -> None:
    (tmp_path / "spec.yaml").write_text(SPEC)
    trireme = Path(sys.executable).with_name("trireme")
    here = [trireme, "sweep", "--spec", "spec.yaml", "--json"]

    def run(*options: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*here, *options], cwd=tmp_path, capture_output=True, text=True, timeout=200)

    refused = run("--address", url, "--out", "relative")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert (
        refused.stderr
        == "error: --out relative must be an absolute path with --address: it lies on the cluster's node\n"
    )

    done = run("--address", url, "--out", tmp_path / "there")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert (document["configs"], document["out_dir"]) == (40, str(tmp_path / "there"))
    assert "to follow it again: RAY_AUTH_MODE=token ray job logs" in done.stderr
    assert "round 1 of 1 (only)" in done.stderr

    clean = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    alone = subprocess.run([*here, "--out", "here"], cwd=tmp_path, env=clean, capture_output=True, timeout=200)
    assert alone.returncode == 0, alone.stderr
    files = [read_files(tmp_path / name) for name in ("there", "here")]
    assert [name for name in files[0] if files[0][name] != files[1][name] and not name.startswith("ledger/")] == []
