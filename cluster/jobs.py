"""Ray jobs: a command that runs on a cluster, submitted to its job server and followed from here.

The command runs on a node of a role, never on the head for want of another place: the head trades. Ray merges its two
streams into one log; each line of its standard output is marked there, so that here both arrive apart again. Texts that
it needs travel as files of its working directory, which lasts as long as the job: paths that it writes to are absolute.

Whoever follows may leave: the job runs on, and `Job.how_to_follow` tells how to look again.
"""

import asyncio
import contextlib
import logging
import os
import shlex
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cluster.session import LABEL_WORN, TOKEN_ADVICE, ray_environment

# RFC 7464 lets it begin each text of a sequence, and nothing else has it. The shell spells it, so no log line shows it.
MARK = "\x1e"
_MARKED = ("bash", "-c", r'set -o pipefail; "$@" | sed -u "s/^/\x1e/"', "bash")

_ANSWER_S = 15.0  # of the job server, which itself waits 10 s for an agent
_PULSE_S = 5.0  # of silence in the log, before we ask whether the job server is there at all
_PAUSE_S = 1.0


class JobLostError(Exception):
    """The job server of a running job does not answer any more."""


@dataclass(frozen=True, slots=True)
class Job:
    """A job that was submitted."""

    job_id: str
    url: str  # of the job server

    @property
    def how_to_follow(self) -> str:
        """The command that shows the job's log from its beginning and follows it."""
        return f"RAY_AUTH_MODE=token ray job logs --follow --address {self.url} {self.job_id}"


def submit(
    address: str, entrypoint: Sequence[str], files: Mapping[str, str] | None = None, role: str = "fast_compute"
) -> Job:
    """Start a command as a job on a node that wears `role`; return at once.

    address: host:port or http://host:port of the job server, which is Ray's dashboard, 8265 by default. entrypoint: the
    command and its arguments, found and run on that node. files: name -> text, put into the command's working
    directory; every job of the cluster can read them: no secrets. The token is where Ray looks for it:
    RAY_AUTH_TOKEN_PATH or ~/.ray/auth_token.

    Raises ValueError where no job server answers, it refuses our token, or no node wears the role.
    """
    url = make_url(address)
    with _explained(url), ray_environment(_find_way(url)), tempfile.TemporaryDirectory() as directory:
        client = _connect(url)
        _check_role(url, role)
        for name, text in (files or {}).items():
            (Path(directory) / name).write_text(text, encoding="utf-8")
        job_id = client.submit_job(
            entrypoint=shlex.join([*_MARKED, *entrypoint]),
            runtime_env={"working_dir": directory} if files else {},
            entrypoint_label_selector={role: LABEL_WORN},
        )
    return Job(job_id, url)


def follow(job: Job, on_output: Callable[[str], None], on_log: Callable[[str], None], patience_s: float = 60.0) -> int:
    """Hand on the lines of a job, from its first, until it ends; return its exit code.

    on_output: lines of the command's standard output; on_log: all others, its standard error and what Ray says.
    patience_s: how long the job server may be out of reach. A line comes once, however often the connection breaks.

    The code is the command's own, 128 + n if signal n ended it, 1 if Ray does not tell or the job was stopped; on_log
    then hears why. KeyboardInterrupt leaves the job running. Raises ValueError as `submit` does, JobLostError when the
    job server stays out of reach.
    """
    with _explained(job.url), ray_environment(_find_way(job.url)):
        client = _connect(job.url)
    lines = LineSorter(on_output, on_log)
    details = asyncio.run(_read_log(client, job, lines, on_log, patience_s))
    lines.close()
    if details.driver_exit_code is not None:
        code = int(details.driver_exit_code)
        return code if code >= 0 else 128 - code
    on_log(f"the job {details.status.value.lower()}: {_first_line(details.message)}")
    return 1


class LineSorter:
    """Tells the marked lines of a job's log from the others.

    >>> sorter = LineSorter(lambda line: print("output:", line), lambda line: print("log:", line))
    >>> sorter.feed("starting\\nhalf\\x1e{}\\n\\x1e[1,")
    log: starting
    log: half
    output: {}
    >>> sorter.feed(" 2]")
    >>> sorter.close()
    output: [1, 2]
    """

    def __init__(self, on_output: Callable[[str], None], on_log: Callable[[str], None]) -> None:
        self._on_output, self._on_log = on_output, on_log
        self._rest = ""

    def feed(self, text: str) -> None:
        """Take the next part of the log, which may begin and end inside a line."""
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            self._hand_on(line)

    def close(self) -> None:
        """Hand on what the log ends with, if it ends inside a line."""
        if self._rest:
            self._hand_on(self._rest)
        self._rest = ""

    def _hand_on(self, line: str) -> None:
        # Where the other stream had not ended its line, the mark stands inside one.
        log, mark, output = line.partition(MARK)
        if log or not mark:
            self._on_log(log)
        if mark:
            self._on_output(output)


def make_url(address: str) -> str:
    """Return the URL of a job server. Raises ValueError for anything but host:port, http://host:port and https.

    >>> make_url("10.0.0.1:8265"), make_url("https://ray.example.org/")
    ('http://10.0.0.1:8265', 'https://ray.example.org')
    """
    url = address if "://" in address else f"http://{address}"
    parts = urlsplit(url)
    try:
        is_complete = parts.scheme in ("http", "https") and parts.hostname and (parts.port or "://" in address)
    except ValueError:  # the port
        is_complete = False
    if not is_complete or parts.username or parts.query or parts.fragment:
        shown = address.rpartition("@")[2].partition("?")[0]  # no secrets
        raise ValueError(f"{shown!r} is no address of a job server: write host:8265 or http://host:8265")
    return url.rstrip("/")


def _find_way(url: str) -> dict[str, str]:
    # Ray's client goes where the environment says, whatever its argument, and sends a token only if told to.
    from ray._raylet import AuthenticationTokenLoader  # type: ignore[attr-defined]

    has_token = AuthenticationTokenLoader.instance().has_token(ignore_auth_mode=True)
    mode = os.environ.get("RAY_AUTH_MODE") or ("token" if has_token else "disabled")
    return {"RAY_API_SERVER_ADDRESS": url, "RAY_AUTH_MODE": mode}


def _connect(url: str) -> Any:
    from ray._private.runtime_env import packaging
    from ray.dashboard.modules import dashboard_sdk
    from ray.dashboard.modules.job import sdk

    for module in (packaging, dashboard_sdk, sdk):
        logging.getLogger(module.__name__).setLevel(logging.WARNING)  # of packages and sockets nobody asked

    class Client(sdk.JobSubmissionClient):  # type: ignore[misc]
        def _do_request(self, method: str, endpoint: str, **options: Any) -> Any:
            return super()._do_request(method, endpoint, timeout=_ANSWER_S, **options)

    return Client(url)


def _check_role(url: str, role: str) -> None:
    # A job that fits nowhere would wait for a quarter of an hour.
    from ray.util.state import list_nodes

    nodes = [node.labels for node in list_nodes(address=url, limit=10_000) if node.state == "ALIVE"]
    if not any(labels.get(role) == LABEL_WORN for labels in nodes):
        raise ValueError(f"no node of the cluster at {url} wears the label {role}={LABEL_WORN}: nothing was submitted")


@contextlib.contextmanager
def _explained(url: str) -> Iterator[None]:
    # What may be wrong between here and a job server, in one line each.
    from ray.exceptions import AuthenticationError
    from ray.util.state.exception import RayStateApiException
    from requests import RequestException

    try:
        yield
    except AuthenticationError:
        raise ValueError(f"the job server at {url} refuses our token: {TOKEN_ADVICE}") from None
    except (RequestException, ConnectionError):
        raise ValueError(
            f"no job server answers at {url}: is Ray up there with its dashboard, is this its port (8265 by default), "
            "is the tunnel open (ray dashboard ray_config.yaml)?"
        ) from None
    except (RuntimeError, KeyError, RayStateApiException) as error:
        raise ValueError(f"{url} is no job server, or has trouble of its own: {_first_line(error)}") from None


class _LostError(Exception):
    pass


async def _read_log(client: Any, job: Job, lines: LineSorter, on_log: Callable[[str], None], patience_s: float) -> Any:
    # Until the job ends. A new connection shows the log from its beginning: skip what we had.
    taken, answered_s, is_reached = 0, time.monotonic(), True
    while True:
        try:
            position = 0
            async for text in _tail(client, job.job_id):
                lines.feed(text[max(0, taken - position) :])
                position += len(text)
                taken, answered_s, is_reached = max(taken, position), time.monotonic(), True
            details = _ask(client, job.job_id)
            if details.status.is_terminal():
                return details
            answered_s, is_reached = time.monotonic(), True
        except _LostError as error:
            if time.monotonic() - answered_s > patience_s:
                raise JobLostError(
                    f"lost job {job.job_id}, which may run on: no answer from {job.url} for {patience_s:.0f} s "
                    f"({error}); look again with: {job.how_to_follow}"
                ) from None
            if is_reached:
                on_log(f"lost the connection to {job.url}, trying again")
            is_reached = False
        await asyncio.sleep(_PAUSE_S)


async def _tail(client: Any, job_id: str) -> AsyncIterator[str]:
    # The log's parts over one connection. A cut line is silent, and so is a quiet job: ask for the job now and then.
    parts = client.tail_job_logs(job_id)
    while True:
        coming = asyncio.ensure_future(anext(parts, None))
        try:
            while not (await asyncio.wait({coming}, timeout=_PULSE_S))[0]:
                _ask(client, job_id)
        finally:
            coming.cancel()
        with _reaching():
            part = coming.result()
        if part is None:
            return
        yield part


def _ask(client: Any, job_id: str) -> Any:
    with _reaching():
        return client.get_job_info(job_id)


@contextlib.contextmanager
def _reaching() -> Iterator[None]:
    import aiohttp
    from ray.exceptions import AuthenticationError
    from requests import RequestException

    try:
        yield
    except (RequestException, aiohttp.ClientError, AuthenticationError, RuntimeError, OSError) as error:
        raise _LostError(_first_line(error)) from None


def _first_line(error: object) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
