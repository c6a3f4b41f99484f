"""`vidlabel data`: from archives, by way of a server on this machine, to a counted data set."""

from __future__ import annotations

import hashlib
import io
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import loopback
import pytest
import rars
from places import SHARED

from vidlabel.cli.main import main
from vidlabel.datasets.complete import PUBLIC
from vidlabel.datasets.fetch.archives import Archive, Entry

CLASSES = ("brush_hair", "sit", "wave")
SPLITS = SHARED / "splits"


def hmdb51_files() -> dict[str, dict[str, bytes]]:
    """Clips by class: four of each."""
    return {
        label: {f"Film (HQ) & !!!_{label}_u_cm_np{n}_ba_goo_{n}.avi": label.encode() * 50 * n
                for n in range(1, 5)}
        for label in CLASSES
    }  # fmt: skip


def hmdb51_lists(clips: dict[str, dict[str, bytes]]) -> dict[str, bytes]:
    return {
        f"testTrainMulti_7030_splits/{label}_test_split{n}.txt": "".join(
            f"{name} {mark} \n" for name, mark in zip(clips[label], (1, 1, 2, 0), strict=True)
        ).encode()
        for label in CLASSES
        for n in (1, 2, 3)
    }


def hmdb51_rar(clips: dict[str, dict[str, bytes]]) -> bytes:
    """A rar of rars, as the official one is."""
    inner = {
        label: {f"{label}/": b""} | {f"{label}/{name}": data for name, data in files.items()}
        for label, files in clips.items()
    }
    return rars.rar4({f"{label}.rar": rars.rar4(files) for label, files in inner.items()})


def zipped(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        for name, data in files.items():
            file.writestr(name, data)
    return out.getvalue()


def ucf101_archives() -> dict[str, bytes]:
    clips = {
        f"{label}/v_{label}_g0{group}_c01.avi": label.encode() * 50
        for label in ("Archery", "YoYo")
        for group in (1, 2)
    }
    first, second = ("".join(f"{c}\n" for c in clips if f"_g0{g}_" in c).encode() for g in (1, 2))
    lists = {"ucfTrainTestlist/classInd.txt": b"1 Archery\r\n2 YoYo\r\n"}
    for n in (1, 2, 3):
        marked = b"".join(
            line + (b" 1\r\n" if b"Archery" in line else b" 2\r\n") for line in first.splitlines()
        )
        lists |= {
            f"ucfTrainTestlist/trainlist0{n}.txt": marked,
            f"ucfTrainTestlist/testlist0{n}.txt": second,
        }
    return {
        "UCF101.rar": rars.rar4({f"UCF-101/{name}": data for name, data in clips.items()}),
        "UCF101TrainTestSplits-RecognitionTask.zip": zipped(lists),
    }


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[loopback.Site]:
    """Data sets of a few tiny clips, and the server that is their home."""
    monkeypatch.setenv("no_proxy", "*")
    with loopback.serving() as site:
        clips = hmdb51_files()
        site.files = {
            "hmdb51_org.rar": hmdb51_rar(clips),
            "test_train_splits.rar": rars.rar4(hmdb51_lists(clips)),
        } | ucf101_archives()
        small = {"hmdb51": (12, 3), "ucf101": (4, 2)}
        for name, (count, classes) in small.items():
            data = PUBLIC[name]
            urls = {
                field: tuple(site.url(url.rsplit("/", 1)[1]) for url in getattr(data, field)[:1])
                for field in ("clips_urls", "splits_urls")
            }
            small_one = replace(data, clips=count, classes=classes, size_bytes=200_000, **urls)
            monkeypatch.setitem(PUBLIC, name, small_one)
        yield site


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs `vidlabel data`; the exit code, and stderr. Nothing ever goes to stdout."""

    def call(*arguments: object) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["vidlabel", "data", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            main()
        out, err = capsys.readouterr()
        assert out == ""
        assert "Traceback" not in err
        assert isinstance(end.value.code, int)
        return end.value.code, err

    return call


def tree(root: Path) -> dict[str, bytes]:
    return {
        str(p.relative_to(root)): p.read_bytes()
        for p in sorted(root.rglob("*"))
        if p.is_file() and "archives" not in p.parts
    }


def archives_in(folder: Path, site: loopback.Site, *names: str) -> list[Path]:
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).write_bytes(site.files[name])
    return [folder / name for name in names]


HMDB51 = ("hmdb51_org.rar", "test_train_splits.rar")


def expected_hmdb51() -> dict[str, bytes]:
    clips = hmdb51_files()
    return {
        f"hmdb51_org/{k}/{n}": d for k, f in clips.items() for n, d in f.items()
    } | hmdb51_lists(clips)


def test_hmdb51_from_its_addresses(site: loopback.Site, run: Any, tmp_path: Path) -> None:
    root = tmp_path / "new" / "hm db"
    code, err = run("hmdb51", "--root", root)
    assert code == 0, err
    assert tree(root) == expected_hmdb51()
    assert "12 of 12 clips in 3 of 3 classes" in err
    assert f"next: vidlabel train 'hmdb51:{root}' --split 1 --out runs/hmdb51-1" in err
    for name in HMDB51:
        assert f"{name}: 0.0 MB, SHA-256 {hashlib.sha256(site.files[name]).hexdigest()}" in err
        assert (root / "archives" / name).read_bytes() == site.files[name]
    assert sorted(p.name for p in root.iterdir()) == [
        "archives", "hmdb51_org", "testTrainMulti_7030_splits",
    ]  # fmt: skip
    site.requests.clear()
    code, err = run("hmdb51", "--root", root)
    assert (code, site.requests) == (0, [])


def test_what_comes_is_what_train_and_eval_read(
    site: loopback.Site, run: Any, tmp_path: Path
) -> None:
    from vidlabel.datasets.open import open_dataset

    for name, count in (("hmdb51", 12), ("ucf101", 4)):
        assert run(name, "--root", tmp_path / name)[0] == 0
        found = open_dataset(f"{name}:{tmp_path / name}", tmp_path)
        assert (len(found.samples), found.missing, found.extra) == (count, (), ())


def test_ucf101_from_archives_at_hand(site: loopback.Site, run: Any, tmp_path: Path) -> None:
    archives = archives_in(tmp_path / "have", site, *ucf101_archives())
    for given in ([tmp_path / "have"], archives):
        root = tmp_path / f"root{len(given)}"
        code, err = run("ucf101", "--root", root, *(x for a in given for x in ("--from", a)))
        assert code == 0, err
        assert sorted(tree(root))[:2] == [
            "UCF-101/Archery/v_Archery_g01_c01.avi", "UCF-101/Archery/v_Archery_g02_c01.avi",
        ]  # fmt: skip
    assert site.requests == []


def test_urls_instead_of_the_official_ones(site: loopback.Site, run: Any, tmp_path: Path) -> None:
    site.files["mine.rar"] = site.files.pop("hmdb51_org.rar")
    urls = ("--url", site.url("mine.rar"), "--url", site.url("test_train_splits.rar"))
    assert run("hmdb51", "--root", tmp_path, *urls)[0] == 0
    assert run("hmdb51", "--root", tmp_path / "b", *urls[:2])[0] == 1  # no lists: nobody knows


def test_dead_addresses_say_what_to_do(site: loopback.Site, run: Any, tmp_path: Path) -> None:
    del site.files["hmdb51_org.rar"]
    code, err = run("hmdb51", "--root", tmp_path)
    assert code == 3
    line = err.strip().splitlines()[-1]
    assert re.fullmatch(
        rf"error: hmdb51_org.rar: could not be downloaded: {site.url('hmdb51_org.rar')} \(404 .*\)"
        r"\. Get hmdb51_org.rar by hand, from https://serre-lab\.clps\.brown\.edu/\S+ or from "
        rf"someone who has it, and run: vidlabel data hmdb51 --root {tmp_path} --from FILE .*",
        line,
    )


def test_checksums_are_held_to(site: loopback.Site, run: Any, tmp_path: Path) -> None:
    sums = [hashlib.sha256(site.files[name]).hexdigest() for name in HMDB51]
    code, err = run("hmdb51", "--root", tmp_path, "--sha256", sums[1])
    assert code == 3
    assert f"hmdb51_org.rar: refused, its SHA-256 is {sums[0]}" in err
    options = ("--sha256", sums[1], "--sha256", sums[0].upper())
    assert run("hmdb51", "--root", tmp_path, *options)[0] == 0


def test_missing_and_extra_clips_are_named(site: loopback.Site, run: Any, tmp_path: Path) -> None:
    clips = hmdb51_files()
    gone = [clips["sit"].popitem()[0] for _ in range(2)]
    clips["sit"]["Other_sit_u_cm_np1_ba_goo_7.avi"] = b"x"
    site.files["hmdb51_org.rar"] = hmdb51_rar(clips)
    code, err = run("hmdb51", "--root", tmp_path)
    assert code == 1
    assert "10 of 12 clips in 3 of 3 classes" in err
    assert f"2 missing: sit/{gone[1]}, sit/{gone[0]}" in err
    assert "1 not in the official lists: sit/Other_sit_u_cm_np1_ba_goo_7.avi" in err
    assert "next:" not in err


def test_a_clip_that_was_deleted_comes_back_and_nothing_is_written_over(
    site: loopback.Site, run: Any, tmp_path: Path
) -> None:
    assert run("hmdb51", "--root", tmp_path)[0] == 0
    one, two, three = sorted((tmp_path / "hmdb51_org" / "sit").iterdir())[:3]
    one.unlink()
    two.write_bytes(b"mine")
    three.write_bytes(b"")  # as after a power cut
    code, err = run("hmdb51", "--root", tmp_path)
    assert code == 0
    assert two.read_bytes() == b"mine"
    assert f"1 files (sit/{two.name}); delete them" in err
    found = tree(tmp_path)
    found[f"hmdb51_org/sit/{two.name}"] = expected_hmdb51()[f"hmdb51_org/sit/{two.name}"]
    assert found == expected_hmdb51()


def test_clips_that_are_there_are_not_fetched_for_want_of_lists(
    site: loopback.Site, run: Any, tmp_path: Path
) -> None:
    assert run("hmdb51", "--root", tmp_path)[0] == 0
    for name in ("archives", "testTrainMulti_7030_splits"):
        shutil.rmtree(tmp_path / name)
    site.requests.clear()
    assert run("hmdb51", "--root", tmp_path)[0] == 0
    assert site.requests == [("/test_train_splits.rar", "")]


def test_folders_that_someone_unpacked_by_hand_are_good(
    site: loopback.Site, run: Any, tmp_path: Path
) -> None:
    for name, data in expected_hmdb51().items():
        path = tmp_path / name.removeprefix("hmdb51_org/")
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
    assert run("hmdb51", "--root", tmp_path)[0] == 0
    assert site.requests == []
    next((tmp_path / "sit").iterdir()).unlink()
    assert run("hmdb51", "--root", tmp_path)[0] == 0  # put where the others are
    assert not (tmp_path / "hmdb51_org").exists()


@pytest.mark.parametrize("stop_after", range(1, 21, 3))
def test_a_stop_leaves_no_half_class_and_the_next_run_goes_on(
    site: loopback.Site, run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop_after: int
) -> None:
    archives = archives_in(tmp_path / "have", site, *HMDB51)
    options = [x for path in archives for x in ("--from", path)]
    copies, copy, stops = [], Archive.copy, [stop_after]

    def counted(self: Archive, entry: Entry, target: Path) -> None:
        if len(copies) in stops:
            signal.raise_signal(signal.SIGINT)
        copies.append(target.name)
        copy(self, entry, target)

    root = tmp_path / "root"
    monkeypatch.setattr(Archive, "copy", counted)
    code, err = run("hmdb51", "--root", root, *options)
    assert code == 130
    assert "run the same command to resume" in err
    sizes = [len(list(p.iterdir())) for p in root.glob("hmdb51_org/*")]
    assert set(sizes) <= {4}
    copies.clear()
    stops.clear()
    assert run("hmdb51", "--root", root, *options)[0] == 0
    assert tree(root) == expected_hmdb51()
    # Nothing of what was whole is unpacked again: four clips and their rar for each class.
    lists = 0 if stop_after >= 9 else 9
    assert len(copies) == lists + 5 * (3 - len(sizes))


def test_the_wrong_archive(site: loopback.Site, run: Any, tmp_path: Path) -> None:
    (archive,) = archives_in(tmp_path / "have", site, "UCF101.rar")
    code, err = run("hmdb51", "--root", tmp_path / "root", "--from", archive)
    assert code == 3
    assert "contains no clips or lists of HMDB51; is it the right archive?" in err


@pytest.mark.parametrize("name", ["../../evil_sit_u_cm_np1_ba_goo_1.avi", "/tmp/evil"])
def test_evil_paths_in_a_nested_rar(
    site: loopback.Site, run: Any, tmp_path: Path, name: str
) -> None:
    inner = rars.rar4({f"sit/{n}": d for n, d in hmdb51_files()["sit"].items()} | {name: b"evil"})
    path = tmp_path / "have.rar"
    path.write_bytes(rars.rar4({"sit.rar": inner}))
    code, err = run("hmdb51", "--root", tmp_path / "a" / "b", "--from", path)
    assert code == 3
    assert "refused, an entry is called" in err
    assert not [p for p in tmp_path.rglob("*.avi")]


def test_bombs_inside_of_archives(site: loopback.Site, run: Any, tmp_path: Path) -> None:
    name = "a_sit_u_cm_np1_ba_goo_1.avi"
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr(f"sit/{name}", bytes(2_000_000))
    (tmp_path / "bomb.rar").write_bytes(rars.rar4({"sit.zip": out.getvalue()}))
    code, err = run("hmdb51", "--root", tmp_path / "root", "--from", tmp_path / "bomb.rar")
    assert code == 3
    assert "far more data than it should hold" in err


def test_clips_of_one_name_are_refused(site: loopback.Site, run: Any, tmp_path: Path) -> None:
    name = "sit/a_sit_u_cm_np1_ba_goo_1.avi"
    (tmp_path / "a.zip").write_bytes(zipped({f"x/{name}": b"1", f"y/{name}": b"2"}))
    code, err = run("hmdb51", "--root", tmp_path / "root", "--from", tmp_path / "a.zip")
    assert code == 3
    assert f"refused, holds {name} twice" in err


def test_what_macs_add_is_left_out(site: loopback.Site, run: Any, tmp_path: Path) -> None:
    files = expected_hmdb51() | {
        "__MACOSX/sit/._a_sit_u_cm_np1_ba_goo_1.avi": b"x", "sit/.DS_Store": b"x",
        "README.txt": b"x", "hmdb51_org/sit/._b_sit_u_cm_np1_ba_goo_1.avi": b"x",
    }  # fmt: skip
    (tmp_path / "all.zip").write_bytes(zipped(files))
    root = tmp_path / "root"
    assert run("hmdb51", "--root", root, "--from", tmp_path / "all.zip")[0] == 0
    assert tree(root) == expected_hmdb51()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["kinetics", "--root", "r"], "kinetics"),
        (["hmdb51"], "--root"),
        (["hmdb51", "--root", "r", "--url", "file:///etc/passwd"], "not an http or https address"),
        (
            ["hmdb51", "--root", "r", "--url", "http://h/x.rar", "--from", "x"],
            "give only one of them",
        ),
        (["hmdb51", "--root", "r", "--from", "nowhere.rar"], "nowhere.rar: no such file"),
        (["hmdb51", "--root", "r", "--from", "."], "no .rar or .zip in this folder"),
        (["hmdb51", "--root", "r", "--sha256", "abc"], "not 64 hexadecimal digits"),
    ],
)
def test_wrong_usage(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    code, err = run(*arguments)
    assert code == 2
    assert message in err
    assert list(tmp_path.iterdir()) == []


def test_a_root_that_cannot_be_or_is_in_use(site: loopback.Site, run: Any, tmp_path: Path) -> None:
    from vidlabel.files.lock import holding

    (tmp_path / "file").touch()
    assert "cannot be created" in run("hmdb51", "--root", tmp_path / "file" / "x")[1]
    with holding(tmp_path / "data"):
        code, err = run("hmdb51", "--root", tmp_path)
    assert (code, site.requests) == (3, [])
    assert "in use by process" in err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_signal_leaves_a_part_that_is_resumed(
    site: loopback.Site, run: Any, tmp_path: Path, number: signal.Signals
) -> None:
    data = site.files["test_train_splits.rar"]
    site.instead = lambda handler: loopback.trickling(handler, data)
    command = [sys.executable, "-m", "vidlabel", "data", "hmdb51", "--root", str(tmp_path)]
    command += ["--url", site.url("test_train_splits.rar")]
    with subprocess.Popen(command, stderr=subprocess.PIPE, env=os.environ) as process:
        part = tmp_path / "archives" / "test_train_splits.rar.part"
        deadline_s = time.monotonic() + 20
        while not (part.exists() and part.stat().st_size) and time.monotonic() < deadline_s:
            time.sleep(0.01)
        process.send_signal(number)
        assert process.stderr is not None
        err = process.stderr.read().decode()
        code = process.wait()
    assert code == (-9 if number == signal.SIGKILL else 128 + number)
    assert number == signal.SIGKILL or "run the same command to resume" in err
    size = part.stat().st_size
    assert 0 < size < len(data)
    site.instead = lambda handler: False
    assert run("hmdb51", "--root", tmp_path)[0] == 0
    assert ("/test_train_splits.rar", f"bytes={size}-") in site.requests
    assert tree(tmp_path) == expected_hmdb51()


@pytest.mark.shared
def test_the_true_names_and_numbers(run: Any, tmp_path: Path) -> None:
    if not SPLITS.is_dir():
        pytest.skip("no ../shared/splits")
    for name in ("hmdb51", "ucf101"):
        lists = {p.name: p.read_bytes() for p in (SPLITS / name).iterdir()}
        data = PUBLIC[name]
        listed = data.from_lists(SPLITS / name).samples
        files = {f"top/{s.path}": b"x" for s in listed} | {f"l/{n}": d for n, d in lists.items()}
        (tmp_path / f"{name}.zip").write_bytes(zipped(files))
        root = tmp_path / name
        code, err = run(name, "--root", root, "--from", tmp_path / f"{name}.zip")
        assert code == 0, err
        assert f"{data.clips:,} of {data.clips:,} clips in {data.classes} of" in err
        started_s = time.monotonic()
        assert run(name, "--root", root)[0] == 0
        assert time.monotonic() - started_s < 5


def test_the_official_addresses_are_plain() -> None:
    for data in PUBLIC.values():
        for url in (*data.splits_urls, *data.clips_urls, data.home):
            assert url.startswith("https://")
