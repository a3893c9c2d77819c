"""A small archive on loopback for tests: serves a folder, with ranges, and breaks off or lies when told to."""

import re
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from types import TracebackType
from typing import Self


class ArchiveServer:
    """Serves `folder`. `break_after_bytes`: how much of the next file to send before the connection ends."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.break_after_bytes: list[int] = []
        self.has_ranges = True
        self.requests: list[tuple[str, str]] = []  # path, Range header
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._make_handler())
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _make_handler(outer) -> type[BaseHTTPRequestHandler]:  # noqa: N805
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                wanted = self.headers.get("Range", "")
                outer.requests.append((self.path, wanted))
                path = outer.folder / self.path.lstrip("/")
                if not path.is_file():
                    self.send_error(404)
                    return
                content, start = path.read_bytes(), 0
                match = re.fullmatch(r"bytes=(\d+)-", wanted)
                if match and outer.has_ranges:
                    start = int(match[1])
                    if start >= len(content):
                        self.send_error(416)
                        return
                self.send_response(206 if start else 200)
                self.send_header("Content-Length", str(len(content) - start))
                self.end_headers()
                end = len(content)
                if not self.path.endswith(".CHECKSUM") and outer.break_after_bytes:
                    end = start + outer.break_after_bytes.pop(0)
                self.wfile.write(content[start:end])
                self.close_connection = True

            def log_message(self, *arguments: object) -> None:
                """Keep quiet."""

        return Handler
