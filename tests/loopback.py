"""A web server on this machine that misbehaves as told."""

from __future__ import annotations

import hashlib
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Site:
    """What a server gives, and what it was asked for."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.requests: list[tuple[str, str]] = []
        """Path and Range header of each request."""
        self.ranges = True
        self.heeds_if_range = True
        self.marks = "etag"
        """How versions are told apart: etag, weak, date, or none."""
        self.cut_after: list[int] = []
        """Bytes of the body after which the connection breaks, one for each request."""
        self.statuses: list[int] = []
        """Statuses to answer the next requests with, instead."""
        self.headers: dict[str, str] = {}
        self.instead: Callable[[Any], bool] = lambda handler: False
        """May answer a request itself; True: it has."""
        self.address = ""

    def url(self, name: str) -> str:
        return f"{self.address}/{name}"


class _Handler(BaseHTTPRequestHandler):
    site: Site

    def log_message(self, format: str, *arguments: object) -> None:
        pass

    def do_GET(self) -> None:
        site = self.site
        wanted = self.headers.get("Range", "")
        site.requests.append((self.path, wanted))
        if site.instead(self):
            return
        data = site.files.get(self.path.lstrip("/"))
        status = site.statuses.pop(0) if site.statuses else 404 if data is None else 200
        if status != 200 or data is None:
            self._answer(status, site.headers, b"sorry")
            return
        mark = hashlib.md5(data).hexdigest()
        headers = {
            "etag": {"ETag": f'"{mark}"'},
            "weak": {"ETag": f'W/"{mark}"'},
            "date": {"Last-Modified": mark},
            "none": {},
        }[site.marks] | site.headers
        match = re.fullmatch(r"bytes=(\d+)-", wanted)
        current = self.headers.get("If-Range", "") in headers.values() or not site.heeds_if_range
        if site.ranges and match and current:
            start = int(match[1])
            if start >= len(data):
                self._answer(416, {"Content-Range": f"bytes */{len(data)}"}, b"")
                return
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
            self._answer(206, headers, data[start:])
        else:
            self._answer(200, headers, data)

    def _answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(body))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        if status < 300 and self.site.cut_after:
            body = body[: self.site.cut_after.pop(0)]
        self.wfile.write(body)


@contextmanager
def serving() -> Iterator[Site]:
    site = Site()
    handler = type("Handler", (_Handler,), {"site": site})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.handle_error = lambda *arguments: None  # type: ignore[method-assign]
    site.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield site
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def endless(handler: Any) -> bool:
    """A body without an end or a length."""
    handler.send_response(200)
    handler.end_headers()
    handler.wfile.write(b"Rar!\x1a\x07\x00")
    for _ in range(10_000):
        handler.wfile.write(bytes(10_000))
    return True


def silent(handler: Any) -> bool:
    """No answer for long."""
    time.sleep(1)
    return True


def trickling(handler: Any, data: bytes) -> bool:
    """The beginning of a file, and then slowly on, for about a minute."""
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(data)))
    handler.send_header("ETag", f'"{hashlib.md5(data).hexdigest()}"')
    handler.end_headers()
    handler.wfile.write(data[: len(data) // 2])
    for at in range(len(data) // 2, len(data)):
        time.sleep(0.05)
        handler.wfile.write(data[at : at + 1])
    return True
