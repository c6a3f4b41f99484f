"""Archives as an attacker, a broken disk or a kill would have them."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
import rarfile
import rars

from vidlabel.datasets.fetch.archives import Budget, open_archive
from vidlabel.errors import OutputError, RunError


def contents(path: Path, out: Path, budget: Budget | None = None) -> dict[str, bytes]:
    """Everything in an archive, unpacked to `out`."""
    found = {}
    out.mkdir(exist_ok=True)
    with open_archive(path, budget or Budget(100, 1 << 20)) as archive:
        for number, entry in enumerate(archive.entries):
            archive.copy(entry, out / str(number))
            found["/".join(entry.parts)] = (out / str(number)).read_bytes()
    return found


def make_zip(path: Path, names: dict[str, bytes], mode: int = 0) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in names.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            file.writestr(info, data)
    return path


def make_rar(path: Path, names: dict[str, bytes], mode: int = rars.UNIX_FILE) -> Path:
    path.write_bytes(rars.rar4(names, mode=mode))
    return path


MAKERS = {"zip": make_zip, "rar": make_rar}
GOOD = {"a/b (HQ) & !!!.avi": b"one" * 1000, "a/ü.txt": b"", "c.txt": b"three"}


@pytest.mark.parametrize("kind", MAKERS)
def test_both_kinds_are_known_by_their_content(tmp_path: Path, kind: str) -> None:
    path = MAKERS[kind](tmp_path / "misnamed.bin", GOOD | {"empty/": b""})
    assert contents(path, tmp_path / "out") == GOOD


@pytest.mark.parametrize("kind", MAKERS)
@pytest.mark.parametrize(
    "name",
    ["/etc/evil", "../evil", "a/../../evil", "a/..", "C:/evil", "c:evil", "a\nb", "x" * 300,
     "a/" + "b/" * 1200 + "c", "\x1b[2J"],
)  # fmt: skip
def test_paths_that_leave_the_folder_are_refused(tmp_path: Path, kind: str, name: str) -> None:
    path = MAKERS[kind](tmp_path / "evil", {"good.avi": b"x", name: b"evil"})
    with pytest.raises(RunError, match="refused, an entry is called"):
        contents(path, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []  # the good one neither


@pytest.mark.parametrize("name", ["..\\evil", "C:\\evil", "\\\\host\\evil"])
def test_backslashes_do_not_leave_the_folder(tmp_path: Path, name: str) -> None:
    for maker in MAKERS.values():
        with pytest.raises(RunError, match="refused"):
            contents(maker(tmp_path / "evil", {name: b"x"}), tmp_path / "out")


@pytest.mark.parametrize("kind", MAKERS)
@pytest.mark.parametrize("mode", [rars.UNIX_LINK, 0o010644, 0o020644, 0o060644, 0o140644])
def test_links_and_devices_are_refused(tmp_path: Path, kind: str, mode: int) -> None:
    path = MAKERS[kind](tmp_path / "evil", {"link": b"/etc/passwd"}, mode)
    with pytest.raises(RunError, match="a link or a device"):
        contents(path, tmp_path / "out")


def test_hard_links_are_refused(tmp_path: Path) -> None:
    (tmp_path / "evil.rar").write_bytes(rars.rar5_hardlink("x.avi", "/etc/passwd"))
    with pytest.raises(RunError, match="a link or a device"):
        contents(tmp_path / "evil.rar", tmp_path / "out")


@pytest.mark.parametrize("kind", MAKERS)
@pytest.mark.parametrize(
    "names", [["a.avi", "A.AVI"], ["x/a", "x//./a"], ["é", "e\u0301"], ["a", "a/b"], ["a/b", "a"]]
)
def test_names_that_collide_are_refused(tmp_path: Path, kind: str, names: list[str]) -> None:
    path = MAKERS[kind](tmp_path / "evil", dict.fromkeys(names, b"x"))
    with pytest.raises(RunError, match=r"refused, (two entries|both a file)"):
        contents(path, tmp_path / "out")


def test_the_same_entry_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "twice.zip"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("a", b"x")
        with pytest.warns(UserWarning, match="Duplicate"):
            file.writestr("a", b"y")
    with pytest.raises(RunError, match="two entries"):
        contents(path, tmp_path / "out")


@pytest.mark.parametrize("kind", MAKERS)
def test_bombs_are_refused_before_a_byte_is_unpacked(tmp_path: Path, kind: str) -> None:
    path = MAKERS[kind](tmp_path / "bomb", {"a": bytes(600), "b": bytes(600)})
    with pytest.raises(RunError, match="far more data"):
        contents(path, tmp_path / "out", Budget(10, 1000))
    with pytest.raises(RunError, match="too many files"):
        contents(path, tmp_path / "out", Budget(1, 10_000))
    assert list((tmp_path / "out").iterdir()) == []


def test_a_rar_of_endless_headers_is_not_even_listed(tmp_path: Path) -> None:
    path = make_rar(tmp_path / "many.rar", {f"{n}": b"" for n in range(5000)})
    with pytest.raises(RunError, match="too many files"):
        contents(path, tmp_path / "out", Budget(10, 1000))


def test_what_archives_hold_is_added_up(tmp_path: Path) -> None:
    budget = Budget(10, 1000)
    path = make_zip(tmp_path / "a.zip", {"a": bytes(600)})
    contents(path, tmp_path / "out", budget)
    with pytest.raises(RunError, match="far more data"):
        contents(path, tmp_path / "out2", budget)


def test_sizes_that_lie_are_found_out(tmp_path: Path) -> None:
    good = make_zip(tmp_path / "a.zip", {"a": b"0123456789" * 100}).read_bytes()
    for claim in (3, 5000):
        lie = good.replace((1000).to_bytes(4, "little"), claim.to_bytes(4, "little"))
        (tmp_path / "b.zip").write_bytes(lie)
        with pytest.raises(RunError, match="damaged"):
            contents(tmp_path / "b.zip", tmp_path / f"out{claim}")
    (tmp_path / "c.rar").write_bytes(rars.rar4({"a": b"0123"}, claimed=500))
    with pytest.raises(RunError, match="damaged"):
        contents(tmp_path / "c.rar", tmp_path / "out")


def test_damage_is_one_plain_line(tmp_path: Path) -> None:
    """Cut anywhere, and with any byte changed: the right contents, or a RunError."""
    names = {"a/one.avi": bytes(range(256)), "a/two.avi": b"xyz" * 50}
    for kind, maker in MAKERS.items():
        good = maker(tmp_path / f"good.{kind}", names).read_bytes()
        step = max(1, len(good) // 90)
        damaged = [good[:cut] for cut in range(0, len(good), step)]
        damaged += [
            good[:at] + bytes([good[at] ^ 0x55]) + good[at + 1 :]
            for at in range(0, len(good), step)
        ]
        errors = []
        for number, data in enumerate(damaged):
            path = tmp_path / f"{number}.{kind}"
            path.write_bytes(data)
            try:
                found = contents(path, tmp_path / f"{kind}{number}")
            except RunError as error:
                errors.append(str(error))
            else:
                assert all(len(data) in (256, 150) for data in found.values())
        assert len(errors) > len(damaged) / 2
        assert all(len(error.splitlines()) == 1 for error in errors)


def test_a_wrong_checksum_is_found(tmp_path: Path) -> None:
    (tmp_path / "a.rar").write_bytes(rars.rar4({"a": b"0123"}, broken_sum=True))
    with pytest.raises(RunError, match=r"damaged.*CRC"):
        contents(tmp_path / "a.rar", tmp_path / "out")


def test_what_is_no_archive(tmp_path: Path) -> None:
    (tmp_path / "a.rar").write_text("<html>Not found</html>")
    with pytest.raises(RunError, match="neither a zip nor a rar"):
        contents(tmp_path / "a.rar", tmp_path / "out")
    with pytest.raises(RunError, match="No such file"):
        contents(tmp_path / "b.rar", tmp_path / "out")


def test_encrypted_archives_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.rar").write_bytes(rars.rar4({"a": b"0123"}, flags=rars.PASSWORD_FLAG))
    with pytest.raises(RunError, match="encrypted"):
        contents(tmp_path / "a.rar", tmp_path / "out")


def test_a_target_that_is_there_is_not_written_over(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "a.zip", {"a": b"new"})
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "0").write_bytes(b"old")
    with pytest.raises(OutputError, match="exists"):
        contents(path, tmp_path / "out")
    assert (tmp_path / "out" / "0").read_bytes() == b"old"


PACKED = {"a/one.avi": b"one" * 1000, "a/two.avi": b"two" * 1000}


@pytest.fixture
def no_program(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(rarfile, "CURRENT_SETUP", None)
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))


def test_compressed_rars_go_through_a_program(
    tmp_path: Path, no_program: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(rars.fake_unrar(tmp_path / "bin")))
    path = tmp_path / "a.rar"
    path.write_bytes(rars.rar4(PACKED, method=rars.PACKED))
    assert contents(path, tmp_path / "out") == PACKED


def test_an_installed_program_gives_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is installed here, on what rarfile would else read by itself."""
    monkeypatch.setattr(rarfile, "CURRENT_SETUP", None)
    try:
        rarfile.tool_setup()
    except rarfile.RarCannotExec:
        pytest.skip("none of unrar, unar, 7z and bsdtar is installed")
    parser = rarfile.CommonParser
    monkeypatch.setattr(parser, "_open_clear", lambda self, info: self._open_hack(info, None))
    path = tmp_path / "a.rar"
    path.write_bytes(rars.rar4(PACKED))
    assert contents(path, tmp_path / "out") == PACKED


def test_a_missing_program_is_named(tmp_path: Path, no_program: None) -> None:
    path = tmp_path / "a.rar"
    path.write_bytes(rars.rar4(PACKED, method=rars.PACKED))
    with pytest.raises(RunError, match=r"unrar, unar, 7zip or bsdtar .*apt install"):
        contents(path, tmp_path / "out")


def test_a_program_that_cannot_is_named(
    tmp_path: Path, no_program: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(rars.fake_unrar(tmp_path / "bin")))
    (tmp_path / "bin" / "unrar").write_text("#!/bin/sh\n")
    path = tmp_path / "a.rar"
    path.write_bytes(rars.rar4(PACKED, method=rars.PACKED))
    with pytest.raises(RunError, match="damaged, or unrar cannot unpack it"):
        contents(path, tmp_path / "out")


def test_large_solid_rars_are_not_begun(tmp_path: Path) -> None:
    many = {f"{n}.avi": b"x" for n in range(201)}
    path = tmp_path / "a.rar"
    path.write_bytes(rars.rar4(many, method=rars.PACKED, main_flags=0x08))
    with pytest.raises(RunError, match="solid"):
        contents(path, tmp_path / "out", Budget(1000, 1000))
