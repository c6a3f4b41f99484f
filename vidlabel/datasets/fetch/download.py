"""One file from the web, whole or not at all: resumed where it stopped, then renamed."""

from __future__ import annotations

import hashlib
import http.client
import json
import re
import socket
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

from vidlabel.datasets.fetch.archives import room_for
from vidlabel.errors import OutputError, RunError, UsageError
from vidlabel.files.write import write_bytes
from vidlabel.version import __version__

_BLOCK = 1 << 18
_PROGRESS_BYTES = 1 << 20  # so much more, and the attempts are counted anew
_TRANSIENT = {408, 425, 429, 500, 502, 503, 504}


@dataclass(frozen=True)
class Patience:
    """How long to try."""

    attempts: int = 5  # in a row, without progress
    wait_s: float = 1.0  # after the first; each further wait is twice as long
    longest_wait_s: float = 30.0
    timeout_s: float = 30.0  # of silence


@dataclass(frozen=True)
class Expected:
    """What a file must be like."""

    limit_bytes: int
    room_bytes: int = 0  # needed on the disk besides the file itself
    starts: tuple[bytes, ...] = ()  # one of these; else it is a web page that says sorry


class _Failed(Exception):
    """This address does not give the file."""


class _Again(Exception):
    """It may, if asked once more."""

    def __init__(self, why: str, wait_s: float = 0.0) -> None:
        super().__init__(why)
        self.wait_s = wait_s


def check_url(url: str) -> str:
    """The name of the file that an address ends in.

    Raises:
        UsageError: not http or https, or it names no file.
    """
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
    progress: Callable[[int, int | None], None] = lambda done, total: None,
    note: Callable[[str], None] = lambda line: None,
) -> None:
    """Fetch `target` from the first address that gives it.

    What has come is kept in `target`.part and gone on with by the next call, if the server says
    that the file is still the same one.

    Args:
        urls: addresses of the same file.
        target: where it goes; its folder is there.
        expected: what it must be like.
        patience: how long to try each address.
        progress: called with the bytes that are there, and all there will be (None: unknown).
        note: is told what went wrong on the way.

    Raises:
        RunError: no address gave it; the message says why each did not.
        OutputError: the disk is full or cannot be written to.
    """
    tried = []
    for url in urls:
        try:
            _from_one(_Part(url, target), expected, patience or Patience(), progress, note)
            return
        except _Failed as error:
            tried.append(f"{url} ({error})")
    raise RunError(f"{target.name}: could not be downloaded: " + "; ".join(tried))


def sha256(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class _Part:
    """What has been received of a file, and of which version of it."""

    def __init__(self, url: str, target: Path) -> None:
        self.url = url
        self.target = target
        self.path = target.with_name(target.name + ".part")
        self.about = target.with_name(target.name + ".part.json")
        self.validator = ""
        self.total: int | None = None
        try:
            known = json.loads(self.about.read_bytes())
            if known["url"] == url:
                self.validator = str(known["validator"])
                self.total = None if known["total"] is None else int(known["total"])
        except (OSError, ValueError, KeyError, TypeError):
            pass

    @property
    def size_bytes(self) -> int:
        """Bytes that can be kept: none without a mark that says of which version they are."""
        try:
            return self.path.stat().st_size if self.validator else 0
        except OSError:
            return 0

    @property
    def complete(self) -> bool:
        return self.total is not None and self.size_bytes == self.total

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


def _from_one(
    part: _Part,
    expected: Expected,
    patience: Patience,
    progress: Callable[[int, int | None], None],
    note: Callable[[str], None],
) -> None:
    failures = 0
    while not part.complete:
        before = part.size_bytes
        try:
            _attempt(part, expected, patience.timeout_s, progress)
            break
        except _Again as error:
            grown = part.size_bytes - before
            failures = 1 if grown >= _PROGRESS_BYTES else failures + 1
            if failures >= patience.attempts:
                raise _Failed(f"{error}, {failures} times in a row") from error
            wait_s = min(patience.wait_s * 2 ** (failures - 1), patience.longest_wait_s)
            note(f"{part.target.name}: {error}; trying again")
            time.sleep(max(wait_s, error.wait_s))
        except OSError as error:
            raise OutputError(
                f"{part.path}: cannot be written: {error.strerror or error}"
            ) from error
    part.finish()


def _attempt(
    part: _Part,
    expected: Expected,
    timeout_s: float,
    progress: Callable[[int, int | None], None],
) -> None:
    have = part.size_bytes
    headers = {"User-Agent": f"vidlabel/{__version__}", "Accept-Encoding": "identity"}
    if have:
        headers |= {"Range": f"bytes={have}-", "If-Range": part.validator}
    with _ask(urllib.request.Request(part.url, headers=headers), timeout_s, part) as answer:
        coding = answer.headers.get("Content-Encoding", "identity")
        if coding.lower() != "identity":
            raise _Failed(f"answers in the encoding {coding}, which was not asked for")
        if answer.status == 206 and have:
            _check_continues(part, answer, have)
            mode = "ab"
        elif answer.status == 200:
            if (answer.length or 0) > expected.limit_bytes:
                raise _Failed(f"{answer.length} bytes long, which cannot be the right file")
            have, mode = 0, "wb"
            part.begin(_validator(answer), answer.length)
        else:
            raise _Failed(f"answers with status {answer.status}")
        room_for(part.path.parent, (part.total or 0) - have + expected.room_bytes, part.target.name)
        with part.path.open(cast("Any", mode)) as file:
            _receive(part, answer, file, have, expected, progress)


def _receive(
    part: _Part,
    answer: http.client.HTTPResponse,
    file: IO[bytes],
    have: int,
    expected: Expected,
    progress: Callable[[int, int | None], None],
) -> None:
    start = None if have else b""  # the first bytes, until they have been looked at
    progress(have, part.total)
    while True:
        try:
            block = answer.read1(_BLOCK)
        except (OSError, http.client.HTTPException) as error:
            raise _Again(f"the connection broke: {_why(error)}") from error
        if start is not None:
            start += block
            if len(start) >= 8 or not block:
                if expected.starts and not start.startswith(expected.starts):
                    file.close()
                    part.forget()
                    raise _Failed("answers with something that is no archive")
                start = None
        if not block:
            break
        have += len(block)
        if have > expected.limit_bytes:
            file.close()
            part.forget()
            raise _Failed(f"sends more than {expected.limit_bytes} bytes, too much to be right")
        file.write(block)
        file.flush()  # a kill loses nothing of what the user is told is there
        progress(have, part.total)
    if part.total is not None and have != part.total:
        raise _Again(f"the connection broke after {have} of {part.total} bytes")


def _check_continues(part: _Part, answer: http.client.HTTPResponse, have: int) -> None:
    """Refuse to glue together what is of two versions, whatever the server thinks of If-Range."""
    found = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", answer.headers.get("Content-Range", ""))
    given = _validator(answer)
    same = not given or given == part.validator
    if not (found and same and int(found[1]) == have and int(found[3]) == part.total):
        part.forget()
        raise _Again("the file has changed since; starting over")


def _validator(answer: http.client.HTTPResponse) -> str:
    """The mark of this version of the file that If-Range takes; "" if there is none."""
    etag = str(answer.headers.get("ETag", ""))
    if etag and not etag.startswith("W/"):
        return etag
    return str(answer.headers.get("Last-Modified", ""))


def _ask(
    request: urllib.request.Request, timeout_s: float, part: _Part
) -> http.client.HTTPResponse:
    try:
        return cast(http.client.HTTPResponse, _opener().open(request, timeout=timeout_s))
    except urllib.error.HTTPError as error:
        with error:
            if error.code == 416:
                part.forget()
                raise _Again("the file has changed since; starting over") from error
            why = f"{error.code} {error.reason}".splitlines()[0]
            if error.code in _TRANSIENT:
                after = error.headers.get("Retry-After", "")
                wait_s = min(int(after), 60) if after.isascii() and after.isdigit() else 0
                raise _Again(why, wait_s) from error
            raise _Failed(why) from error
    except ValueError as error:  # urllib's, of an address that it cannot take apart
        raise _Failed(f"redirects to an address that is none: {error}") from error
    except (OSError, http.client.HTTPException) as error:
        cause = getattr(error, "reason", error)
        if isinstance(cause, ssl.SSLCertVerificationError):
            raise _Failed(f"its certificate is not trusted: {cause.verify_message}") from error
        if isinstance(cause, socket.gaierror) and cause.errno != socket.EAI_AGAIN:
            raise _Failed("there is no such host, or no network") from error
        raise _Again(_why(error)) from error


def _why(error: BaseException) -> str:
    cause = getattr(error, "reason", error)
    if isinstance(cause, TimeoutError):
        return "no answer in time"
    return str(getattr(cause, "strerror", None) or cause or type(cause).__name__)


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows to http and https only, and never from https back to http."""

    def redirect_request(
        self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        scheme = urllib.parse.urlsplit(newurl).scheme
        if scheme not in ("http", "https") or (req.type == "https" and scheme == "http"):
            raise _Failed(f"redirects to {newurl}, which is not followed")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opener() -> urllib.request.OpenerDirector:
    """urllib's own without its handlers for file:, ftp: and data:."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler, urllib.request.UnknownHandler, urllib.request.HTTPHandler,
        urllib.request.HTTPSHandler, urllib.request.HTTPDefaultErrorHandler, _Redirects,
        urllib.request.HTTPErrorProcessor,
    ):  # fmt: skip
        opener.add_handler(handler())
    return opener
