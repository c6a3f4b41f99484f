"""Finding videos, looking before opening, and writing so that nothing is ever half there."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from vidlabel.errors import OutputError, Reason, UsageError, VideoError
from vidlabel.files.find import LeftOut, check_found, check_video_file, find_videos
from vidlabel.files.lock import holding
from vidlabel.files.metadata_tag import write_tag
from vidlabel.files.names import fitting
from vidlabel.files.text_file import read_list
from vidlabel.files.write import check_output, replacing, write_bytes
from vidlabel.results.ledger import Ledger
from vidlabel.results.ledger_file import ledger_of
from vidlabel.text import text_path


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that is the current one, so that paths read as a user types them."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def touch(*paths: str) -> None:
    for path in paths:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_bytes(b"x")


def found(*inputs: str, **options: list[str]) -> list[str]:
    return [item.path for item in find_videos(inputs, **options)]


# --- finding ----------------------------------------------------------------------------------


def test_folders_are_walked_in_a_stable_order(here: Path) -> None:
    touch("d/b.mp4", "d/a.mkv", "d/Z.avi", "d/sub/c.webm", "d/a/z.mp4", "d/é.mp4")
    expected = ["d/Z.avi", "d/a.mkv", "d/b.mp4", "d/é.mp4", "d/a/z.mp4", "d/sub/c.webm"]
    assert found("d") == expected
    assert [item.index for item in find_videos(["d"])] == list(range(6))
    assert all(item.problem is None for item in find_videos(["d"]))


def test_suffix_decides_in_folders_whatever_its_case(here: Path) -> None:
    touch("d/a.MP4", "d/b.Mov", "d/c.txt", "d/mp4", "d/d.jpg")
    assert found("d") == ["d/a.MP4", "d/b.Mov"]


def test_named_files_are_taken_whatever_their_suffix(here: Path) -> None:
    touch("clip.dat", ".hidden.mp4")
    assert found("clip.dat", ".hidden.mp4") == ["clip.dat", ".hidden.mp4"]


def test_hidden_files_and_folders_are_skipped(here: Path) -> None:
    touch("d/.a.mp4", "d/.cache/b.mp4", "d/c.mp4")
    assert found("d") == ["d/c.mp4"]


def test_inputs_keep_their_order_and_duplicates_go(here: Path) -> None:
    touch("d/a.mp4", "b.mp4")
    assert found("b.mp4", "d", "./b.mp4", "d/a.mp4", str(here / "b.mp4")) == ["b.mp4", "d/a.mp4"]
    assert found("d/", "d") == ["d/a.mp4"]


def test_same_name_in_two_folders_is_two_videos(here: Path) -> None:
    touch("x/a.mp4", "y/a.mp4")
    assert found("x", "y") == ["x/a.mp4", "y/a.mp4"]


def test_link_loops_end_and_list_each_file_once(here: Path) -> None:
    touch("d/a.mp4", "d/sub/b.mp4")
    Path("d/sub/up").symlink_to(here / "d")
    Path("d/self").symlink_to("self")
    assert found("d") == ["d/a.mp4", "d/sub/b.mp4"]
    assert sorted(found("d/**")) == ["d/a.mp4", "d/sub/b.mp4"]


def test_many_link_loops_end(here: Path) -> None:
    touch("d/a.mp4")
    for number in range(5):  # by every way round there would be 5 ** 40
        Path(f"d/up{number}").symlink_to(here / "d")
    assert found("d") == ["d/a.mp4"]


def test_links_are_followed(here: Path) -> None:
    touch("real/a.mp4")
    Path("d").mkdir()
    Path("d/folder").symlink_to(here / "real")
    Path("d/file.mp4").symlink_to(here / "real/a.mp4")
    assert found("d") == ["d/file.mp4", "d/folder/a.mp4"]


def test_dangling_link_is_listed_and_refused(here: Path) -> None:
    Path("d").mkdir()
    Path("d/gone.mp4").symlink_to("nowhere.mp4")
    assert found("d", "d/gone.mp4") == ["d/gone.mp4"]
    with pytest.raises(VideoError) as raised:
        check_video_file("d/gone.mp4")
    assert raised.value.reason is Reason.NOT_FOUND


def test_missing_file_and_empty_pattern_are_problems(here: Path) -> None:
    items = find_videos(["none.mp4", "*.mp4", "bad\0name.mp4"])
    assert [item.problem for item in items] == [Reason.NOT_FOUND] * 3
    assert "none.mp4: there is no such file" in items[0].detail
    assert "no file matches" in items[1].detail


def test_globs(here: Path) -> None:
    touch("b1.mp4", "a1.mp4", "a1.txt", "d/a2.mp4", "d/e/a3.mp4")
    assert found("*1.*") == ["a1.mp4", "b1.mp4"]
    assert found("**/a*.mp4") == ["a1.mp4", "d/a2.mp4", "d/e/a3.mp4"]
    assert found("d*") == ["d/a2.mp4", "d/e/a3.mp4"]


def test_file_called_like_a_glob_is_that_file(here: Path) -> None:
    touch("a[1].mp4", "a1.mp4", "what?.mp4")
    assert found("a[1].mp4", "what?.mp4") == ["a[1].mp4", "what?.mp4"]


def test_include_and_exclude(here: Path) -> None:
    touch("d/a.mp4", "d/b.mp4", "d/c.dat", "d/out/a.mp4", "named.mp4")
    assert found("d", include=["a*"]) == ["d/a.mp4", "d/out/a.mp4"]
    assert found("d", include=["*.dat"]) == ["d/c.dat"]
    assert found("d", exclude=["out"]) == ["d/a.mp4", "d/b.mp4"]
    assert found("d", exclude=["out/*", "b.*"]) == ["d/a.mp4"]
    assert found("named.mp4", exclude=["*"]) == ["named.mp4"]
    for options in ({"include": [""]}, {"exclude": [""]}):
        with pytest.raises(UsageError):
            find_videos(["d"], **options)


@pytest.mark.parametrize("inputs", [("d",), ("d", "./d")])
def test_folder_called_like_a_video(here: Path, inputs: tuple[str, ...]) -> None:
    touch("d/full.mp4/a.avi", "d/b.avi")
    Path("d/empty.mp4").mkdir()
    items = find_videos(inputs)
    assert [item.path for item in items] == ["d/b.avi", "d/full.mp4/a.avi", "d/empty.mp4"]
    assert [item.problem for item in items] == [None, None, Reason.NOT_REGULAR]


def test_unreadable_folder_is_a_problem(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch("d/a.mp4", "d/shut/b.mp4")
    scandir = os.scandir

    def refusing(path: str) -> Iterator[os.DirEntry[str]]:
        if os.fspath(path).endswith("shut"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    items = find_videos(["d"])
    assert [(i.path, i.problem) for i in items] == [
        ("d/a.mp4", None),
        ("d/shut", Reason.PERMISSION),
    ]
    assert "Permission denied" in items[1].detail


def test_names_of_any_bytes_are_found(here: Path) -> None:
    names = [b"\xff\xfe.mp4", b"a\nb.mp4", b"a\tb.mp4", "e\u0301.mp4".encode(), "é.mp4".encode()]
    for name in names:
        Path(os.fsdecode(b"d/" + name)).parent.mkdir(exist_ok=True)
        Path(os.fsdecode(b"d/" + name)).write_bytes(b"x")
    assert [os.fsencode(p) for p in found("d")] == sorted(b"d/" + name for name in names)


@pytest.mark.field
def test_previews_are_left_out_and_counted(here: Path) -> None:
    """Field 6: previews beside the clips became inputs of the next run."""
    touch("d/a.mp4", "d/a.mp4.mp4", "d/failed.mp4.mp4", "d/all.gif", "d/b.mp4", "d/x.txt")
    for name, key in (("a.mp4.mp4", "key"), ("failed.mp4.mp4", ""), ("all.gif", "key")):
        write_tag(Path("d") / name, key)
    for inputs in (["d"], ["d/*.mp4", "d/*.gif"], ["d", "./d"]):
        left_out = LeftOut()
        items = find_videos(inputs, suffixes={".mp4", ".gif"}, left_out=left_out)
        assert [item.path for item in items] == ["d/a.mp4", "d/b.mp4"]
        assert left_out.lines()[0] == "left out: 3 previews that vidlabel has made"
    assert found("d", include=["a*"]) == ["d/a.mp4"]
    assert found("d/a.mp4.mp4") == ["d/a.mp4.mp4"]  # named


@pytest.mark.field
def test_what_is_left_out_by_its_suffix_is_counted(here: Path) -> None:
    """Field 4: readable videos with rare suffixes were left out without a word."""
    names = ["MOD", "f4v", "qt", "3gpp", "m2t", "LRV", "insv", "mp4v", "TOD"]
    touch(*(f"d/a.{name}" for name in names))
    touch("d/1.foo", "d/2.FOO", "d/notes.txt", "d/README", "d/.hidden.bar", "d/no/3.foo")
    left_out = LeftOut()
    items = find_videos(["d", "d/no"], exclude=["*.txt"], left_out=left_out)
    assert len(items) == len(names)
    assert left_out.lines() == [
        "left out, as their suffix is no video's: 3 .foo, 1 without a suffix"
    ]
    assert find_videos(["d"], include=["*.foo"], left_out=(by_choice := LeftOut()))
    assert not by_choice.lines()


@pytest.mark.field
@pytest.mark.parametrize(
    ("inputs", "near"),
    [
        (["clps"], "clips"),
        (["clps/a.mp4"], "clips/a.mp4"),
        (["clips/A.MP4"], "clips/a.mp4"),
        (["clps/*.mp4", "x"], "clips"),
        (["zzz", "clips/?.mov"], ""),
    ],
)
def test_where_no_input_exists_the_nearest_name_is_offered(
    here: Path, inputs: list[str], near: str
) -> None:
    """Field 8: a typing error is not a run of one failed video."""
    touch("clips/a.mp4", "clips/b.mp4")
    with pytest.raises(UsageError) as raised:
        check_found(find_videos(inputs))
    line = str(raised.value)
    assert line.startswith(f"{inputs[0]}: ")
    assert line.endswith(f"; did you mean {near}?") is bool(near)
    check_found(find_videos([*inputs, "clips/b.mp4"]))


# --- spellings --------------------------------------------------------------------------------


@pytest.mark.field
@pytest.mark.parametrize(
    ("there", "text", "what"),
    [
        ("d/sub/a.mp4", r"d\sub\a.mp4", "/ in place of \\"),
        ("d/sub/a.mp4", r".\d\sub/a.mp4", "/ in place of \\"),
        ("d/e\u0301.mp4", "d/\xe9.mp4", "another Unicode form"),
        ("\xe4/e\u0301.mp4", "a\u0308\\\xe9.mp4", "another Unicode form"),
        (os.fsdecode(b"d/\xe9t\xe9.mp4"), "d/été.mp4", "another encoding"),
        ("d/été.mp4", os.fsdecode("d/été.mp4".encode("latin-1")), "another encoding"),
        (os.fsdecode("d/走る.mp4".encode("shift_jis")), "d/走る.mp4", "another encoding"),
        (os.fsdecode(b"d/\xff.mp4"), r"d/\xff.mp4", ""),  # as in a table of ours
        (os.fsdecode(b"d/\xff.mp4"), r"d\\xff.mp4", "/ in place of \\"),
    ],
)
def test_a_file_is_found_under_another_spelling(
    here: Path, there: str, text: str, what: str
) -> None:
    """Field 14: lists from Windows, macOS, or a machine with another locale."""
    touch(there)
    left_out = LeftOut()
    (item,) = find_videos([text], left_out=left_out)
    assert (os.path.normpath(item.path), item.problem) == (there, None)
    told = "".join(left_out.lines())
    assert told.startswith(f"inputs: 1 found under another spelling: {what}" if what else "")
    assert bool(told) is bool(what)


@pytest.mark.field
def test_the_exact_spelling_comes_first(here: Path) -> None:
    """Field 14: two files whose names differ only in their Unicode form stay two."""
    both = ["\xe9.mp4", "e\u0301.mp4", r"d\a.mp4", "d/a.mp4"]
    touch(*both)
    assert found(*both) == both
    assert find_videos(["d/\xe8.mp4"])[0].problem is Reason.NOT_FOUND


@pytest.mark.field
def test_a_path_of_a_table_is_found_in_any_locale(here: Path) -> None:
    """Field 14: a table is UTF-8, also where names of files are taken for ASCII."""
    touch("é.mp4", os.fsdecode(b"\xff.mp4"))
    code = (
        "import sys; from vidlabel.files.spelling import Spellings, path_from_text\n"
        "assert sys.getfilesystemencoding() == 'ascii', sys.getfilesystemencoding()\n"
        "for text in ('\\xe9.mp4', 'e\\u0301.mp4', r'\\xff.mp4'):\n"
        "    open(Spellings().find(path_from_text(text)))"
    )
    settings = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    subprocess.run([sys.executable, "-c", code], env=os.environ | settings, check=True)


# --- lists and text ---------------------------------------------------------------------------


@pytest.mark.field
def test_one_path_is_not_a_list_of_letters(here: Path) -> None:
    """field 19: `find_videos("/some/folder")` walked `/`, the whole disk, for its first letter."""
    assert find_videos(str(here)) == find_videos(here) == find_videos([here])
    assert [item.path for item in find_videos("none.mp4")] == ["none.mp4"]


def test_read_list() -> None:
    assert read_list(b"a.mp4\nb c.mp4\r\n\n  \nd.mp4") == ["a.mp4", "b c.mp4", "d.mp4"]
    assert read_list(b"a\nb.mp4\0c.mp4\0") == ["a\nb.mp4", "c.mp4"]
    assert [os.fsencode(p) for p in read_list(b"\xff.mp4\n")] == [b"\xff.mp4"]
    assert read_list(b"") == []


@pytest.mark.field
@pytest.mark.parametrize(
    "data",
    [
        "é.mp4\r\nd/b.mp4\r\n".encode("utf-16"),  # as PowerShell's > writes
        "\ufeffé.mp4\nd/b.mp4\n".encode("utf-16-be"),
        "\ufeffé.mp4\nd/b.mp4\n".encode("utf-32-le"),
        "é.mp4\r\nd/b.mp4\r\n".encode("utf-8-sig"),
        "é.mp4\0d/b.mp4\0".encode("utf-8-sig"),
        "é.mp4\0d/b.mp4\0".encode(),
    ],
)
def test_a_list_may_have_any_utf_encoding(data: bytes) -> None:
    """Field 1: UTF-16 was split at its NULs, and a mark lost the first file."""
    assert read_list(data) == ["é.mp4", "d/b.mp4"]


@pytest.mark.field
@pytest.mark.parametrize(
    "data",
    [
        "./\n/\n".encode("utf-16-le"),
        "./".encode("utf-16-be"),
        "Видео.mp4\n".encode("utf-16-le"),
        b"\xff\xfe\x00\xd8",  # half of a surrogate pair
    ],
)
def test_what_may_be_utf16_is_never_split_at_its_nuls(data: bytes) -> None:
    """Field 1: `.` walked the folder, and `/` the whole disk."""
    with pytest.raises(UsageError, match=r"^my\.txt: .*save it as UTF-8"):
        read_list(data, "my.txt")


def test_text_path() -> None:
    assert text_path("é b.mp4") == "é b.mp4"
    assert text_path(os.fsdecode(b"a\xff.mp4")) == "a\\xff.mp4"
    text_path(os.fsdecode(b"\xe9\x80.mp4")).encode("utf-8")


# --- looking before opening -------------------------------------------------------------------


def test_regular_file_passes(here: Path) -> None:
    touch("a.mp4")
    assert check_video_file("a.mp4").st_size == 1


@pytest.mark.parametrize("kind", ["folder", "fifo", "socket", "device", "link to device"])
def test_what_is_not_a_file_is_refused(here: Path, kind: str) -> None:
    path = "x.mp4"
    with socket.socket(socket.AF_UNIX) as server:
        match kind:
            case "folder":
                Path(path).mkdir()
            case "fifo":
                os.mkfifo(path)
            case "socket":
                server.bind(path)
            case "device":
                path = "/dev/zero"
            case _:
                Path(path).symlink_to("/dev/zero")
        with pytest.raises(VideoError) as raised:
            check_video_file(path)
    assert raised.value.reason is Reason.NOT_REGULAR
    assert path in raised.value.detail


def test_empty_missing_and_impossible_names_are_refused(here: Path) -> None:
    Path("e.mp4").touch()
    Path("loop.mp4").symlink_to("loop.mp4")
    expected = {
        "e.mp4": Reason.EMPTY,
        "none.mp4": Reason.NOT_FOUND,
        "loop.mp4": Reason.NOT_FOUND,
        "n" * 300: Reason.NOT_FOUND,
        "a\0b.mp4": Reason.NOT_FOUND,
        "": Reason.NOT_FOUND,
    }
    for path, reason in expected.items():
        with pytest.raises(VideoError) as raised:
            check_video_file(path)
        assert raised.value.reason is reason, path


def test_permission_denied(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> os.stat_result:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(os, "stat", refuse)
        with pytest.raises(VideoError) as raised:
            check_video_file("a.mp4")
    assert raised.value.reason is Reason.PERMISSION


# --- writing ----------------------------------------------------------------------------------


def test_write_replaces_as_a_whole(here: Path) -> None:
    path = Path("out.csv")
    write_bytes(path, [b"a", b"b"])
    write_bytes(path, [b"c"])
    assert path.read_bytes() == b"c"
    assert os.listdir() == ["out.csv"]  # noqa: PTH208


@pytest.mark.parametrize("failing", ["body", "fsync", "rename"])
@pytest.mark.parametrize("old", [b"old", None])
def test_failure_leaves_the_old_file_and_nothing_else(
    here: Path, monkeypatch: pytest.MonkeyPatch, failing: str, old: bytes | None
) -> None:
    path = Path("out.csv")
    if old is not None:
        path.write_bytes(old)

    def full(*args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    if failing == "fsync":
        monkeypatch.setattr(os, "fsync", full)
    if failing == "rename":
        monkeypatch.setattr(Path, "replace", full)

    def chunks() -> Iterator[bytes]:
        yield b"half"
        if failing == "body":
            full()

    with pytest.raises(OutputError, match=r"out\.csv.*No space left"):
        write_bytes(path, chunks())
    assert os.listdir() == ([] if old is None else ["out.csv"])  # noqa: PTH208
    assert old is None or path.read_bytes() == old


def test_other_errors_pass_and_clean_up(here: Path) -> None:
    path = Path("out.csv")
    path.write_bytes(b"old")

    def write_and(kind: type[BaseException]) -> None:
        with replacing(path) as temporary:
            temporary.write_bytes(b"half")
            raise kind

    for kind in (KeyError, KeyboardInterrupt):
        with pytest.raises(kind):
            write_and(kind)
    assert os.listdir() == ["out.csv"]  # noqa: PTH208
    assert path.read_bytes() == b"old"


def test_temporary_file_is_beside_and_hidden(here: Path) -> None:
    Path("d").mkdir()
    with replacing(Path("d/out.mp4")) as temporary:
        assert temporary.parent.resolve() == (here / "d")
        assert temporary.suffix == ".mp4"  # encoders go by it
        temporary.write_bytes(b"x")
        assert found("d") == []
    assert found("d") == ["d/out.mp4"]


def test_permissions(here: Path) -> None:
    mask = os.umask(0o027)
    try:
        write_bytes(Path("new.csv"), [b"x"])
        Path("private.csv").write_bytes(b"x")
        Path("private.csv").chmod(0o600)
        write_bytes(Path("private.csv"), [b"y"])
    finally:
        os.umask(mask)
    assert Path("new.csv").stat().st_mode & 0o777 == 0o640
    assert Path("private.csv").stat().st_mode & 0o777 == 0o600


def test_an_output_that_is_deleted_meanwhile_keeps_its_permissions(here: Path) -> None:
    path = Path("out.csv")
    path.write_bytes(b"old")
    path.chmod(0o644)
    with replacing(path) as temporary:
        path.unlink()
        temporary.write_bytes(b"new")
    assert path.read_bytes() == b"new"
    assert path.stat().st_mode & 0o777 == 0o644


def test_link_stays_a_link(here: Path) -> None:
    Path("d").mkdir()
    Path("d/real.csv").write_bytes(b"old")
    Path("out.csv").symlink_to("d/real.csv")
    write_bytes(Path("out.csv"), [b"new"])
    assert Path("out.csv").is_symlink()
    assert Path("d/real.csv").read_bytes() == b"new"


def test_long_names_can_be_written(here: Path) -> None:
    path = Path("\U0001f3a5" * 60 + ".csv")  # 244 bytes
    write_bytes(path, [b"x"])
    assert path.read_bytes() == b"x"


def test_check_output(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch("old.csv")
    Path("d").mkdir()
    os.mkfifo("pipe.csv")
    check_output(Path("old.csv"))
    check_output(Path("new.csv"))
    check_output(Path("d/new.csv"))
    bad = {
        "d": "is a folder",
        "none/new.csv": "there is no folder none",
        "pipe.csv": "is a pipe or device",
        "/dev/null": "is a pipe or device",
        "n" * 300: "cannot be written",
        "old.csv/new.csv": "cannot be written",
    }
    for path, message in bad.items():
        with pytest.raises(OutputError, match=message):
            check_output(Path(path))
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(OutputError, match="cannot be written to"):
        check_output(Path("d/new.csv"))


def test_device_is_never_replaced(here: Path) -> None:
    os.mkfifo("pipe.csv")
    with pytest.raises(OutputError, match="pipe or device"):
        write_bytes(Path("pipe.csv"), [b"x"])
    assert Path("pipe.csv").is_fifo()


@pytest.mark.field
def test_field_10_names_beside_a_long_one_fit(here: Path) -> None:
    """A lock, a ledger with its journal, and a temporary file have longer names than the output."""
    for name in ("x" * 251 + ".csv", "\u00e4" * 125 + ".csv", "x." + "y" * 253):
        out = here / name
        with holding(out):
            write_bytes(out, [b"content"])
        assert out.read_bytes() == b"content"
        with Ledger(ledger_of(out)) as ledger:
            assert ledger.path.parent == here
        ledger.path.unlink()
        out.unlink()
    assert not [*here.iterdir()]
    assert ledger_of(Path("x" * 251 + ".csv")) != ledger_of(Path("x" * 250 + "y.csv"))


@pytest.mark.field
def test_field_10_fitting_names_stay_the_same_and_apart(here: Path) -> None:
    """Only what does not fit is changed, in the same way each time."""
    names = ["a.mp4", "b" * 300 + ".mp4", "b" * 299 + "c.mp4", "\u8d70" * 90 + "/d.mp4"]
    first = [fitting(here, here / name) for name in names]
    assert first[0] == here / "a.mp4"
    assert first == [fitting(here, here / name) for name in names]
    assert len(set(first)) == 4
    assert all(len(os.fsencode(part)) <= 255 for path in first for part in path.parts)
    assert not [*here.iterdir()], "a probe is left"
