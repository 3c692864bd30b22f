"""A web server for tests of downloads: ranges, and all that goes wrong with them."""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Web:
    """What the server has and how it behaves; a test changes it while it runs.

    Attributes:
        files: Content by path.
        headers: Sent with every file; validators belong here.
        drops: After how many bytes of the body the connection is closed, for the answers to come.
        honours_if_range: A changed file is sent whole, as it should be.
        content_range: What is said of any part; empty for the truth.
        answers: Instead of a file: status and content type, for all answers.
        asked: The headers of all requests, with `path`.
        sent: Bytes of bodies that were sent.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    drops: list[int] = field(default_factory=list)
    ranges: bool = True
    honours_if_range: bool = True
    content_range: str = ""
    answers: tuple[int, str] | None = None
    asked: list[dict[str, str]] = field(default_factory=list)
    sent: int = 0
    url: str = ""


@contextlib.contextmanager
def serve() -> Iterator[Web]:
    """A server on a free port of this machine, in a thread."""
    web = Web()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            web.asked.append({"path": self.path, **self.headers})
            content = web.files.get(self.path)
            if web.answers or content is None:
                status, kind = web.answers or (404, "application/xml")
                self._answer(status, b"<html>no</html>", {"Content-Type": kind})
                return
            begin, status, more = 0, 200, {}
            wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
            validators = (web.headers.get("ETag"), web.headers.get("Last-Modified"))
            fits = self.headers.get("If-Range") in validators or not web.honours_if_range
            if wanted and web.ranges and fits:
                begin, status = int(wanted[1]), 206
                more = {"Content-Range": web.content_range or f"bytes {begin}-{len(content) - 1}/{len(content)}"}
                if begin >= len(content):
                    self._answer(416, b"", {"Content-Range": f"bytes */{len(content)}"})
                    return
            drop = web.drops.pop(0) if web.drops else None
            self._answer(status, content[begin:], {**web.headers, **more}, drop)

        def _answer(self, status: int, body: bytes, headers: dict[str, str], drop: int | None = None) -> None:
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            if drop is not None:
                body = body[:drop]
                self.close_connection = True
            web.sent += len(body)
            self.wfile.write(body)

        def log_message(self, *_args: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_args: object) -> None:
            """A client that has gone away is what some tests are about."""

    server = Server(("127.0.0.1", 0), Handler)
    web.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield web
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
