"""Download one file whole or not at all: resumed where it stopped, renamed at the end."""

from __future__ import annotations

import hashlib
import json
import re
import socket
import ssl
import time
import urllib.parse
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx

from vidlabel.datasets.fetch.archives import Note, room_for
from vidlabel.errors import OutputError, RunError, UsageError
from vidlabel.files.write import write_bytes
from vidlabel.version import __version__

_PROGRESS_BYTES = 1 << 20  # after this much more data, failures are counted from zero
_TRANSIENT = {408, 425, 429, 500, 502, 503, 504}

Progress = Callable[[int, int | None], None]


@dataclass(frozen=True)
class Patience:
    """How long to try."""

    attempts: int = 5  # in a row, without progress
    wait_s: float = 1.0  # after the first; each further wait is twice as long
    longest_wait_s: float = 30.0
    timeout_s: float = 30.0  # without a byte


@dataclass(frozen=True)
class Expected:
    """What a file must be like."""

    limit_bytes: int
    room_bytes: int = 0  # needed on the disk besides the file itself
    starts: tuple[bytes, ...] = ()  # one of these; otherwise it is an error page


class _Failed(Exception):
    """This address does not give the file."""


class _Again(Exception):
    """Another attempt may succeed."""

    def __init__(self, why: str, wait_s: float = 0.0) -> None:
        super().__init__(why)
        self.wait_s = wait_s


def check_url(url: str) -> str:
    """The file name at the end of an address. Raises UsageError if it is not http or https, or
    names no file."""
    try:
        parts = urllib.parse.urlsplit(url)
        host = parts.hostname
        _ = parts.port
    except ValueError:
        host = None
    if not host or parts.scheme not in ("http", "https") or re.search(r"[^\x21-\x7e]", url):
        raise UsageError(f"--url {url}: not an http or https address")
    name = urllib.parse.unquote(parts.path).rsplit("/", 1)[-1]
    if not re.fullmatch(r"[\w()&+,=@~ -][\w()&+,=@~ .-]{0,150}", name):
        raise UsageError(f"--url {url}: must end in the name of an archive")
    return name


def download(
    urls: tuple[str, ...],
    target: Path,
    expected: Expected,
    patience: Patience | None = None,
    progress: Progress = lambda done, total: None,
    note: Note = lambda line: None,
) -> None:
    """Download `target` from the first address that gives it.

    Received data stays in `target`.part. The next call resumes there if the server says that its
    file is still the same.

    Args:
        urls: addresses of the same file.
        target: where it goes; its folder must exist.
        patience: with each address.
        progress: called with the bytes received so far, and all there will be (None: unknown).
        note: called with lines on failed attempts.

    Raises:
        RunError: no address gave the file; the message says why.
        OutputError: the disk is full or cannot be written to.
    """
    patience = patience or Patience()
    tried = []
    for url in urls:
        try:
            with _client(patience.timeout_s) as client:
                _from_one(client, _PartialFile(url, target, expected, progress), patience, note)
            return
        except _Failed as error:
            tried.append(f"{url} ({error})")
    raise RunError(f"{target.name}: could not be downloaded: " + "; ".join(tried))


def sha256(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class _PartialFile:
    """What has been received of a file, and of which version of it."""

    def __init__(self, url: str, target: Path, expected: Expected, progress: Progress) -> None:
        self.url, self.target, self.expected, self.progress = url, target, expected, progress
        self.path = target.with_name(target.name + ".part")
        self.about = target.with_name(target.name + ".part.json")
        self.validator = ""
        self.total: int | None = None
        with suppress(OSError, ValueError, KeyError, TypeError):
            known = json.loads(self.about.read_bytes())
            if known["url"] == url:
                self.validator = str(known["validator"])
                self.total = None if known["total"] is None else int(known["total"])

    @property
    def size_bytes(self) -> int:
        """Bytes that can be kept: none if it is unknown of which version they are."""
        try:
            return self.path.stat().st_size if self.validator else 0
        except OSError:
            return 0

    @property
    def complete(self) -> bool:
        return self.size_bytes == self.total

    def forget(self) -> None:
        self.validator, self.total = "", None
        self.path.unlink(missing_ok=True)
        self.about.unlink(missing_ok=True)

    def begin(self, validator: str, total: int | None) -> None:
        self.forget()
        self.validator, self.total = validator, total
        known = {"url": self.url, "validator": validator, "total": total}
        write_bytes(self.about, [json.dumps(known).encode()])

    def finish(self) -> None:
        self.path.replace(self.target)
        self.about.unlink(missing_ok=True)


def _client(timeout_s: float) -> httpx.Client:
    headers = {"User-Agent": f"vidlabel/{__version__}", "Accept-Encoding": "identity"}
    try:
        return httpx.Client(
            headers=headers,
            timeout=timeout_s,
            follow_redirects=True,
            event_hooks={"response": [_check_redirect]},
            verify=ssl.create_default_context(),  # the system's certificates, not only certifi's
        )
    except (ImportError, ValueError) as error:
        raise _Failed(f"the proxy in the environment cannot be used: {error}") from error


def _check_redirect(answer: httpx.Response) -> None:
    """Follow redirects to http and https only, and never from https back to http."""
    if not answer.has_redirect_location:
        return
    try:
        target = urllib.parse.urljoin(str(answer.url), answer.headers["Location"])
        scheme = urllib.parse.urlsplit(target).scheme
    except ValueError as error:
        raise _Failed(f"redirects to an invalid address: {error}") from error
    if scheme != "https" and not (scheme == "http" == answer.url.scheme):
        raise _Failed(f"redirects to {target}, which is not followed")


def _from_one(client: httpx.Client, part: _PartialFile, patience: Patience, note: Note) -> None:
    failures = 0
    while not part.complete:
        before = part.size_bytes
        try:
            _attempt(client, part)
            break
        except _Again as error:
            grown = part.size_bytes - before
            failures = 1 if grown >= _PROGRESS_BYTES else failures + 1
            if failures >= patience.attempts:
                raise _Failed(f"{error}, {failures} times in a row") from error
            wait_s = min(patience.wait_s * 2 ** (failures - 1), patience.longest_wait_s)
            note(f"{part.target.name}: {error}; trying again")
            time.sleep(max(wait_s, error.wait_s))
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise _Failed(str(error)) from error
        except OSError as error:
            why = error.strerror or error
            raise OutputError(f"{part.path}: cannot be written: {why}") from error
    part.finish()


def _attempt(client: httpx.Client, part: _PartialFile) -> None:
    have, expected = part.size_bytes, part.expected
    headers = {"Range": f"bytes={have}-", "If-Range": part.validator} if have else {}
    request = client.build_request("GET", part.url, headers=headers)
    try:
        answer = client.send(request, stream=True)
    except httpx.TransportError as error:
        raise _unreachable(error) from error
    with closing(answer):
        _check_status(part, answer, have)
        if answer.status_code == 206:
            _check_continues(part, answer, have)
        else:
            size = answer.headers.get("Content-Length", "")
            total = int(size) if size.isdecimal() else None
            if (total or 0) > expected.limit_bytes:
                raise _Failed(f"{total} bytes long, which cannot be the right file")
            have = 0
            part.begin(_validator(answer), total)
        room_for(part.path.parent, (part.total or 0) - have + expected.room_bytes, part.target.name)
        try:
            _receive(part, answer, have)
        except _Failed:
            part.forget()
            raise


def _receive(part: _PartialFile, answer: httpx.Response, have: int) -> None:
    of = "" if part.total is None else f" of {part.total}"
    start = None if have else b""  # the first bytes, until they have been checked
    part.progress(have, part.total)
    with part.path.open("ab" if have else "wb") as file:
        try:
            for block in answer.iter_raw():
                have += len(block)
                if start is not None:
                    start += block
                    if len(start) >= 8:
                        _check_start(start, part.expected)
                        start = None
                if have > part.expected.limit_bytes:
                    raise _Failed(f"sends more than {part.expected.limit_bytes} bytes, too many")
                file.write(block)
                file.flush()  # a kill loses nothing that progress has reported
                part.progress(have, part.total)
        except httpx.TransportError as error:
            raise _Again(f"the connection broke after {have}{of} bytes") from error
    if start is not None:
        _check_start(start, part.expected)
    if part.total not in (None, have):
        raise _Again(f"the connection broke after {have}{of} bytes")


def _check_start(start: bytes, expected: Expected) -> None:
    if expected.starts and not start.startswith(expected.starts):
        raise _Failed("answers with something that is not an archive")


def _check_status(part: _PartialFile, answer: httpx.Response, have: int) -> None:
    """Raises _Again or _Failed for an error, and for an encoding that was not asked for."""
    code = answer.status_code
    if code == 416:
        part.forget()
        raise _Again("the file has changed since; starting over")
    if code != 200 and not (code == 206 and have):
        why = f"{code} {answer.reason_phrase}"
        if code not in _TRANSIENT:
            raise _Failed(why)
        after = answer.headers.get("Retry-After", "")
        raise _Again(why, min(int(after), 60) if after.isascii() and after.isdigit() else 0)
    coding = answer.headers.get("Content-Encoding", "identity")
    if coding.lower() != "identity":
        raise _Failed(f"answers in the encoding {coding}, which was not asked for")


def _check_continues(part: _PartialFile, answer: httpx.Response, have: int) -> None:
    """Refuse to join parts of two versions, even if the server ignores If-Range."""
    found = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", answer.headers.get("Content-Range", ""))
    given = _validator(answer)
    same = not given or given == part.validator
    if not (found and same and int(found[1]) == have and int(found[3]) == part.total):
        part.forget()
        raise _Again("the file has changed since; starting over")


def _validator(answer: httpx.Response) -> str:
    """The mark of this version of the file for If-Range; "" if there is none."""
    etag = str(answer.headers.get("ETag", "W/"))
    return str(answer.headers.get("Last-Modified", "")) if etag.startswith("W/") else etag


def _unreachable(error: httpx.TransportError) -> Exception:
    """Whether to try an address again that did not answer; httpx chains the system's errors."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, OSError):
        cause = cause.__cause__ or cause.__context__
    if isinstance(cause, ssl.SSLCertVerificationError):
        return _Failed(f"its certificate is not trusted: {cause.verify_message}")
    if isinstance(cause, socket.gaierror) and cause.errno != socket.EAI_AGAIN:
        return _Failed("there is no such host, or no network")
    if isinstance(error, httpx.TimeoutException):
        return _Again("no answer in time")
    return _Again(getattr(cause, "strerror", None) or str(error) or type(error).__name__)
