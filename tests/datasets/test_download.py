"""Downloads from a server on this machine that breaks off, changes its mind, or lies."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import loopback
import pytest

from vidlabel.datasets.fetch.download import Expected, Patience, check_url, download, sha256
from vidlabel.errors import OutputError, RunError, UsageError

RAR = b"Rar!\x1a\x07\x00" + bytes(range(256)) * 800
EXPECTED = Expected(limit_bytes=1 << 20, starts=(b"Rar!",))
QUICK = Patience(attempts=4, wait_s=0.01, timeout_s=0.5)


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[loopback.Site]:
    monkeypatch.setenv("no_proxy", "*")
    with loopback.serving() as site:
        site.files["x.rar"] = RAR
        yield site


def fetch(site: loopback.Site, folder: Path, name: str = "x.rar", **how: Any) -> bytes:
    urls = how.pop("urls", (site.url(name),))
    download(urls, folder / "x.rar", how.pop("expected", EXPECTED), QUICK, **how)
    assert sorted(p.name for p in folder.iterdir()) == ["x.rar"]
    return (folder / "x.rar").read_bytes()


def test_a_file_comes_whole(site: loopback.Site, tmp_path: Path) -> None:
    seen: list[tuple[int, int | None]] = []
    assert fetch(site, tmp_path, progress=lambda done, total: seen.append((done, total))) == RAR
    assert seen[0] == (0, len(RAR))
    assert seen[-1] == (len(RAR), len(RAR))
    assert seen == sorted(seen)
    assert sha256(tmp_path / "x.rar") == hashlib.sha256(RAR).hexdigest()


@pytest.mark.parametrize("marks", ["etag", "date"])
def test_a_cut_connection_goes_on_where_it_broke(
    site: loopback.Site, tmp_path: Path, marks: str
) -> None:
    site.marks, site.cut_after = marks, [100_000, 50_000]
    assert fetch(site, tmp_path) == RAR
    assert [wanted for _, wanted in site.requests] == ["", "bytes=100000-", "bytes=150000-"]


@pytest.mark.parametrize(("ranges", "marks"), [(False, "etag"), (True, "weak"), (True, "none")])
def test_without_ranges_or_marks_it_starts_over(
    site: loopback.Site, tmp_path: Path, ranges: bool, marks: str
) -> None:
    site.ranges, site.marks, site.cut_after = ranges, marks, [100_000]
    assert fetch(site, tmp_path) == RAR
    assert len(site.requests) == 2


@pytest.mark.parametrize("heeds", [True, False])
@pytest.mark.parametrize("length", [0, 5, -50_000, -150_000])
def test_a_file_that_changed_is_not_glued_together(
    site: loopback.Site, tmp_path: Path, heeds: bool, length: int
) -> None:
    site.cut_after, site.heeds_if_range = [100_000], heeds
    with pytest.raises(RunError, match="broke after 100000 of"):
        download((site.url("x.rar"),), tmp_path / "x.rar", EXPECTED, Patience(attempts=1))
    changed = b"Rar!" + bytes(len(RAR) + length - 4)
    site.files["x.rar"] = changed
    assert fetch(site, tmp_path) == changed


def test_an_earlier_run_is_gone_on_with(site: loopback.Site, tmp_path: Path) -> None:
    site.cut_after = [70_000]
    with pytest.raises(RunError):
        download((site.url("x.rar"),), tmp_path / "x.rar", EXPECTED, Patience(attempts=1))
    assert (tmp_path / "x.rar.part").stat().st_size == 70_000
    assert fetch(site, tmp_path) == RAR
    assert site.requests[-1][1] == "bytes=70000-"


def test_a_part_that_only_lacks_its_name_needs_no_server(tmp_path: Path) -> None:
    url = "http://127.0.0.1:1/x.rar"
    about = {"url": url, "validator": '"v"', "total": len(RAR)}
    (tmp_path / "x.rar.part").write_bytes(RAR)
    (tmp_path / "x.rar.part.json").write_text(json.dumps(about))
    download((url,), tmp_path / "x.rar", EXPECTED, QUICK)
    assert (tmp_path / "x.rar").read_bytes() == RAR


@pytest.mark.parametrize("about", ["", "{", "[]", '{"url": 3}', '{"url": "http://other/x.rar"}'])
def test_a_part_of_unknown_origin_is_not_used(
    site: loopback.Site, tmp_path: Path, about: str
) -> None:
    (tmp_path / "x.rar.part").write_bytes(b"Rar!" + b"y" * 1000)
    (tmp_path / "x.rar.part.json").write_text(about)
    assert fetch(site, tmp_path) == RAR
    assert site.requests == [("/x.rar", "")]


def test_a_part_that_is_too_long_starts_over(site: loopback.Site, tmp_path: Path) -> None:
    mark = f'"{hashlib.md5(RAR).hexdigest()}"'
    about = {"url": site.url("x.rar"), "validator": mark, "total": len(RAR)}
    (tmp_path / "x.rar.part").write_bytes(RAR + b"too long")
    (tmp_path / "x.rar.part.json").write_text(json.dumps(about))
    assert fetch(site, tmp_path) == RAR
    assert len(site.requests) == 2  # the first was answered with 416


def test_passing_troubles_are_waited_out(site: loopback.Site, tmp_path: Path) -> None:
    site.statuses, notes = [503, 500, 429], list[str]()
    assert fetch(site, tmp_path, note=notes.append) == RAR
    assert len(notes) == 3
    assert "x.rar: 503 " in notes[0]


def test_waits_grow_and_a_server_may_ask_for_longer(
    site: loopback.Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    monkeypatch.setattr(time, "sleep", waits.append)
    site.statuses = [503, 503, 503]
    fetch(site, tmp_path)
    assert waits == [0.01, 0.02, 0.04]
    site.statuses, site.headers, waits[:] = [503, 429], {"Retry-After": "7"}, []
    fetch(site, tmp_path)
    assert waits == [7, 7]
    site.statuses, site.headers, waits[:] = [503], {"Retry-After": "99999999"}, []
    fetch(site, tmp_path)
    assert waits == [60]


def test_it_gives_up_after_so_many_attempts(site: loopback.Site, tmp_path: Path) -> None:
    site.statuses = [503] * 9
    with pytest.raises(RunError, match="503 Service Unavailable, 4 times in a row"):
        fetch(site, tmp_path)
    assert len(site.requests) == 4


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_a_plain_no_is_taken_at_once(site: loopback.Site, tmp_path: Path, status: int) -> None:
    site.statuses = [status]
    with pytest.raises(RunError, match=rf"could not be downloaded: http://.*x.rar \({status} "):
        fetch(site, tmp_path)
    assert len(site.requests) == 1
    assert list(tmp_path.iterdir()) == []


def test_the_next_address_is_tried(site: loopback.Site, tmp_path: Path) -> None:
    assert fetch(site, tmp_path, urls=(site.url("gone.rar"), site.url("x.rar"))) == RAR
    with pytest.raises(RunError, match=r"gone.rar \(404.*; .*away.rar \(404"):
        fetch(site, tmp_path, urls=(site.url("gone.rar"), site.url("away.rar")))


def test_nobody_answers(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="Connection refused, 4 times"):
        download(("http://127.0.0.1:1/x.rar",), tmp_path / "x.rar", EXPECTED, QUICK)


def test_silence_ends(site: loopback.Site, tmp_path: Path) -> None:
    site.instead = loopback.silent
    patience = Patience(attempts=1, timeout_s=0.1)
    with pytest.raises(RunError, match="no answer in time"):
        download((site.url("x.rar"),), tmp_path / "x.rar", EXPECTED, patience)


@pytest.mark.parametrize("cut", [0, 1, 100])
def test_a_length_that_is_wrong(site: loopback.Site, tmp_path: Path, cut: int) -> None:
    """The server promises more than it ever sends."""
    site.headers = {"Content-Length": str(len(RAR) + cut)}
    site.ranges = False
    if cut:
        with pytest.raises(RunError, match=f"broke after {len(RAR)} of {len(RAR) + cut}"):
            fetch(site, tmp_path)
    else:
        assert fetch(site, tmp_path) == RAR


def test_a_body_longer_than_it_says_is_cut_off(site: loopback.Site, tmp_path: Path) -> None:
    site.headers = {"Content-Length": "1000"}
    assert fetch(site, tmp_path) == RAR[:1000]


def test_an_endless_body_is_stopped(site: loopback.Site, tmp_path: Path) -> None:
    site.instead = loopback.endless
    with pytest.raises(RunError, match="sends more than 1048576 bytes"):
        fetch(site, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_far_too_long_is_not_begun(site: loopback.Site, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="cannot be the right file"):
        fetch(site, tmp_path, expected=Expected(limit_bytes=1000))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("page", [b"<html>We have moved</html>", b"no", b""])
def test_a_web_page_is_no_archive(site: loopback.Site, tmp_path: Path, page: bytes) -> None:
    site.files["x.rar"] = page
    with pytest.raises(RunError, match="not an archive"):
        fetch(site, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_an_encoding_nobody_asked_for(site: loopback.Site, tmp_path: Path) -> None:
    site.headers = {"Content-Encoding": "gzip"}
    with pytest.raises(RunError, match="encoding gzip"):
        fetch(site, tmp_path)


def redirecting(site: loopback.Site, to: str) -> None:
    def instead(handler: Any) -> bool:
        if handler.path != "/old.rar":
            return False
        handler.send_response(302)
        handler.send_header("Location", to)
        handler.send_header("Content-Length", "0")
        handler.end_headers()
        return True

    site.instead = instead


def test_redirects_are_followed_and_resumed(site: loopback.Site, tmp_path: Path) -> None:
    redirecting(site, "/x.rar")
    site.cut_after = [100_000]
    assert fetch(site, tmp_path, "old.rar") == RAR
    assert site.requests[-1] == ("/x.rar", "bytes=100000-")


@pytest.mark.parametrize(
    "to",
    ["file:///etc/passwd", "ftp://127.0.0.1/x.rar", "data:,Rar!", "gopher://x/y", "/old.rar",
     "http://[bad/x.rar"],
)  # fmt: skip
def test_other_redirects_are_not(site: loopback.Site, tmp_path: Path, to: str) -> None:
    redirecting(site, to)
    with pytest.raises(RunError, match=r"redirect|not followed|302"):
        fetch(site, tmp_path, "old.rar")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_told_before_it_is_full(
    site: loopback.Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = type(shutil.disk_usage(tmp_path))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(1 << 30, 0, (64 << 20) + 100))
    with pytest.raises(OutputError, match=r"x.rar needs 0.0 GB, 0.1 GB are free"):
        fetch(site, tmp_path)


def test_a_disk_that_refuses_is_no_trouble_of_the_net(site: loopback.Site, tmp_path: Path) -> None:
    (tmp_path / "x.rar.part").mkdir()
    with pytest.raises(OutputError, match=r"x.rar.part: cannot be written"):
        fetch(site, tmp_path)
    assert len(site.requests) == 1


@pytest.mark.parametrize(
    "url",
    ["file:///etc/passwd", "ftp://h/x.rar", "x.rar", "http://", "http://h/", "http://h/a/",
     "http://h/..", "http://h/%2e%2e", "http://h/a%2f..%2f.x", "http://h:x/x.rar", "http://[/x.rar",
     "http://h/x y.rar", "http://h/\n.rar", "http://h/ü.rar", "http://h/.rar"],
)  # fmt: skip
def test_addresses_that_are_none(url: str) -> None:
    with pytest.raises(UsageError, match="--url"):
        check_url(url)


def test_the_name_at_the_end_of_an_address() -> None:
    assert check_url("https://h.example/a/b%20(1).rar?x=/y") == "b (1).rar"
