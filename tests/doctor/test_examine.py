"""What `vidlabel doctor` finds, and what it must not overlook."""

from __future__ import annotations

import collections
import re
import shutil
import sys
import tomllib
import types
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
from places import ROOT

from vidlabel.datasets.complete import PUBLIC
from vidlabel.doctor import examine as doctor
from vidlabel.doctor.examine import Finding, examine_dataset
from vidlabel.errors import CheckpointError
from vidlabel.files.find import find_videos
from vidlabel.video import codecs


def by_name(dataset: Path | None = None) -> dict[str, Finding]:
    findings = doctor.examine(None if dataset is None else str(dataset))
    names = [finding.name for finding in findings]
    assert len(set(names)) == len(names)
    return {finding.name: finding for finding in findings}


def of_data(root: Path) -> dict[str, Finding]:
    return {finding.name: finding for finding in examine_dataset(root)}


def make(root: Path, *files: str) -> Path:
    for name in files:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    return root


def test_this_machine_is_fit() -> None:
    found = by_name()
    for name in ("vidlabel", "python", "torch", "torchvision", "av", "numpy", "ffmpeg", "cpu"):
        assert found[name].ok is True, found[name]
        assert re.search(r"\d", found[name].value)
    assert found["decoders"].value == "h264, hevc, mpeg4, vp9, av1, mjpeg"
    assert {"pyarrow", "cuda", "mps", "bf16", "shared memory", "starter model"} <= {
        re.sub(r":\d+", "", name) for name in found
    }
    assert all("\n" not in finding.value for finding in found.values())


def test_floors_are_those_of_the_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = dict(re.split(">=", text) for text in project["dependencies"])
    for package, floor in doctor.FLOORS.items():
        assert wanted[package] == ".".join(map(str, floor))
    assert project["requires-python"] == ">=" + ".".join(map(str, doctor.MIN_PYTHON))


def install(folder: Path, name: str, version: str, code: str = "") -> None:
    """A package that does nothing, as pip leaves it."""
    about = folder / f"{name}-{version}.dist-info" / "METADATA"
    about.parent.mkdir()
    about.write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (folder / f"{name}.py").write_text(code)


@pytest.mark.parametrize(("version", "ok"), [("18.0.9", False), ("18.1", True), ("19.0rc1", True)])
def test_an_old_package_is_a_problem(
    version: str, ok: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, f"made_up_{ok}".lower(), version)
    monkeypatch.syspath_prepend(tmp_path)
    finding = doctor.examine_package(f"made_up_{ok}".lower(), (18, 1))
    assert (finding.value, finding.ok) == (version, ok)
    assert (">=18.1'" in finding.advice) is not ok


def test_a_package_that_is_missing_or_does_not_load(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = doctor.examine_package("no-such-package", (1,))
    assert (missing.ok, missing.value) == (False, "not installed")
    monkeypatch.setitem(sys.modules, "av", None)
    assert doctor.examine_package("av", (18, 1)).ok is False
    # What torchvision says beside a torch that it was not built for.
    install(tmp_path, "does_not_fit", "1.0", "raise RuntimeError('no operator nms')")
    monkeypatch.syspath_prepend(tmp_path)
    broken = doctor.examine_package("does_not_fit", (0, 25))
    assert (broken.ok, "no operator nms" in broken.advice) == (False, True)


def _raise(error: Exception) -> object:
    def fail(*args: object) -> object:
        raise error

    return fail


def test_a_missing_decoder_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codecs, "has_decoder", lambda name: name != "hevc")
    _, finding = doctor.examine_decoders()
    assert finding.ok is False
    assert "hevc" in finding.advice
    assert "hevc" not in finding.value


def test_codecs() -> None:
    assert re.match(r"\d+\.\d+", codecs.ffmpeg_version())
    assert codecs.has_decoder("h264")
    assert not codecs.has_decoder("no-such-codec")
    assert not codecs.has_decoder("libx264")  # only encodes


def test_av1_counts_only_with_a_decoder_for_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codecs, "_ON_CPU", {"av1": ("no-such-codec",)})
    assert not codecs.has_decoder("av1")


@pytest.mark.parametrize(
    ("package", "name"), [("vidlabel.video.codecs", "ffmpeg"), ("torch", "devices")]
)
def test_what_does_not_load_is_a_finding(
    package: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    look = doctor.examine_decoders if name == "ffmpeg" else doctor.examine_devices
    (finding,) = look()
    assert (finding.name, finding.ok) == (name, False)


def fake_torch(cuda: bool, warning: str = "") -> types.SimpleNamespace:
    def is_available() -> bool:
        if warning:
            warnings.warn(warning, stacklevel=1)
        return cuda

    gpu = types.SimpleNamespace(name="H200", total_memory=141 * 1024**3)
    return types.SimpleNamespace(
        cuda=types.SimpleNamespace(
            is_available=is_available,
            device_count=lambda: 2,
            get_device_properties=lambda index: gpu,
        ),
        backends=types.SimpleNamespace(
            cpu=types.SimpleNamespace(get_cpu_capability=lambda: "AVX2"),
            mps=types.SimpleNamespace(is_available=lambda: True),
        ),
        version=types.SimpleNamespace(cuda=None),
        get_num_threads=lambda: 3,
        device=lambda kind: types.SimpleNamespace(type=kind),
    )


def test_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", fake_torch(cuda=True))
    fast = types.SimpleNamespace(has_bf16=lambda device: device.type == "cuda")
    monkeypatch.setitem(sys.modules, "vidlabel.device", fast)
    found = {f.name: f for f in doctor.examine_devices()}
    assert found["cuda:1"].value == "H200, 141 GiB"
    assert found["bf16"].value == "cuda: yes"
    assert found["mps"].value == "yes"
    assert "3 threads" in found["cpu"].value


def test_an_old_driver_is_a_problem_and_no_gpu_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", fake_torch(cuda=False, warning="driver too old"))
    old = {f.name: f for f in doctor.examine_devices()}["cuda"]
    assert (old.ok, old.advice) == (False, "driver too old")
    monkeypatch.setitem(sys.modules, "torch", fake_torch(cuda=False))
    none = {f.name: f for f in doctor.examine_devices()}["cuda"]
    assert (none.ok, none.value) == (None, "none (torch for the CPU)")


def test_little_shared_memory_is_a_problem(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    usage = collections.namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(1, 1, 64 * 1024**2))
    finding = doctor.examine_shared_memory()
    assert (finding.ok, "--shm-size" in finding.advice) == (False, True)
    monkeypatch.undo()
    assert doctor.examine_shared_memory(tmp_path / "none").ok is None


def test_the_shipped_model(monkeypatch: pytest.MonkeyPatch) -> None:
    def load_checkpoint(name: str) -> types.SimpleNamespace:
        assert name == "starter"
        header = types.SimpleNamespace(classes=("a", "b"))
        return types.SimpleNamespace(id="starter@1", header=header)

    fake = types.SimpleNamespace(load_checkpoint=load_checkpoint)
    monkeypatch.setitem(sys.modules, "vidlabel.models.checkpoint", fake)
    assert doctor.examine_shipped_model() == Finding("starter model", "starter@1, 2 classes", True)
    fake.load_checkpoint = _raise(CheckpointError("it is missing; reinstall"))
    assert doctor.examine_shipped_model().ok is False
    assert doctor.examine_shipped_model().advice == "it is missing; reinstall"


def test_a_folder_for_each_class(tmp_path: Path) -> None:
    make(tmp_path, "wave/a.mp4", "wave/deep/b.AVI", "wave/readme.txt", "run/c.mkv", ".git/x.mp4")
    found = of_data(tmp_path)
    assert set(found) == {"classes", "layout", "remark"}
    assert found["remark"].value == "left out, as their suffix is no video's: 1 .txt"
    assert found["classes"].value == "2, with 3 videos, 1 to 2 each"
    assert found["classes"].ok is True
    assert found["layout"].ok is None


@pytest.mark.field
def test_parts_are_no_classes(tmp_path: Path) -> None:
    """Field 4: doctor called the classes train and val ok."""
    make(tmp_path, "train/walk/a.mp4", "train/run/b.mp4", "val/walk/c.mp4", "val/run/d.mov")
    found = of_data(tmp_path)
    assert found["classes"].value == "2, with 4 videos, 2 to 2 each"
    assert (found["parts"].value, found["parts"].ok) == ("train 2, val 2", True)
    make(tmp_path, "extra/e.mp4")
    mixed = of_data(tmp_path)["classes"]
    assert (mixed.ok, "extra/e.mp4: is in none of the parts" in mixed.advice) == (False, True)


def test_empty_classes_and_stray_videos_are_problems(tmp_path: Path) -> None:
    make(tmp_path, "wave/a.mp4", "run/b.mp4", "jump/notes.md", "lost.mp4", "also.webm")
    (tmp_path / "sit").mkdir()
    found = of_data(tmp_path)
    assert found["classes without videos"].value == "2: jump, sit"
    assert found["videos without class"].value == "2: also.webm, lost.mp4"
    assert not found["classes without videos"].ok
    assert not found["videos without class"].ok


def test_one_class_is_too_few(tmp_path: Path) -> None:
    assert of_data(make(tmp_path, "wave/a.mp4"))["classes"].ok is False


def test_many_names_are_cut_short(tmp_path: Path) -> None:
    make(tmp_path, "a/a.mp4", "b/b.mp4", *(f"{i}.mp4" for i in range(9)))
    assert of_data(tmp_path)["videos without class"].value.endswith("and 4 more")


def test_no_classes(tmp_path: Path) -> None:
    for root in (tmp_path / "none", make(tmp_path, "file") / "file", tmp_path):
        (finding,) = examine_dataset(root)
        assert finding.ok is False
    make(tmp_path, "wave.rar")
    (finding,) = examine_dataset(tmp_path)
    assert finding.advice == "unpack wave.rar"


def test_a_folder_that_cannot_be_read_is_a_finding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "iterdir", _raise(PermissionError(13, "Permission denied")))
    assert "Permission denied" in by_name(tmp_path)["data set"].value


@pytest.fixture
def small_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    """HMDB51 and UCF-101 with one clip per class, as `hmdb51` and `ucf101` make them."""
    for name, data in list(PUBLIC.items()):
        monkeypatch.setitem(PUBLIC, name, replace(data, clips=data.classes))


def hmdb51(root: Path, classes: int = 51, splits: tuple[int, ...] = (1, 2, 3)) -> Path:
    names = [f"class_{i:02d}" for i in range(51)]
    make(root, *(f"videos/{name}/v.avi" for name in names[:classes]))
    lists = make(root / "splits", "readme.txt")
    for name in names:
        for split in splits:
            (lists / f"{name}_test_split{split}.txt").write_text("v.avi 1\n")
    return root


def test_hmdb51_whole_and_in_parts(small_sets: None, tmp_path: Path) -> None:
    root = hmdb51(tmp_path / "whole")
    found = of_data(root)
    assert set(found) == {"classes", "layout"}
    assert found["classes"].advice == f"give {root / 'videos'} to vidlabel train"
    assert found["layout"] == Finding("layout", "HMDB51 with splits 1, 2 and 3", True)
    assert of_data(root / "videos")["layout"].ok is True  # the lists lie beside the folder

    part = of_data(hmdb51(tmp_path / "part", classes=49, splits=(1, 2)))["layout"]
    assert (part.value, part.ok) == ("HMDB51, incomplete", False)
    assert "no videos of class_49, class_50" in part.advice
    assert "class_00_test_split3.txt" in part.advice


def test_missing_clips_of_a_class_are_named(small_sets: None, tmp_path: Path) -> None:
    root = hmdb51(tmp_path)
    lists = root / "splits"
    for split in (1, 2, 3):
        (lists / f"class_07_test_split{split}.txt").write_text("v.avi 1\nw.avi 2\n")
        (lists / f"class_08_test_split{split}.txt").write_text("")
    assert of_data(root)["layout"].advice == "missing clips (1): class_07/w.avi"


def test_empty_clips_count_as_missing(small_sets: None, tmp_path: Path) -> None:
    root = hmdb51(tmp_path)
    (root / "videos/class_07/v.avi").write_bytes(b"")
    assert of_data(root)["layout"].advice == "no videos of class_07"


def ucf101(root: Path, classes: int = 101) -> Path:
    names = [f"Class{i:03d}" for i in range(101)]
    make(root, *(f"UCF-101/{name}/v_{name}_g01_c01.avi" for name in names[:classes]))
    lists = make(root / "ucfTrainTestlist", "classInd.txt")
    (lists / "classInd.txt").write_text("".join(f"{i} {n}\n" for i, n in enumerate(names, 1)))
    for split in (1, 2, 3):
        text = "".join(f"{name}/v_{name}_g01_c01.avi\n" for name in names)
        (lists / f"trainlist0{split}.txt").write_text(text)
        (lists / f"testlist0{split}.txt").write_text("")
    return root


def test_ucf101_whole_and_in_parts(small_sets: None, tmp_path: Path) -> None:
    assert of_data(ucf101(tmp_path / "whole"))["layout"].value == "UCF-101 with splits 1, 2 and 3"
    root = ucf101(tmp_path / "part", classes=100)
    (root / "ucfTrainTestlist/testlist02.txt").unlink()
    part = of_data(root)["layout"]
    assert part.ok is False
    lists = root / "ucfTrainTestlist"
    assert part.advice == (f"{lists}: split list is missing: testlist02.txt; no videos of Class100")


@pytest.mark.parametrize(("classes", "example"), [(51, "_test_split1"), (101, "trainlist01")])
def test_missing_split_lists_are_asked_for(tmp_path: Path, classes: int, example: str) -> None:
    layout = of_data(make(tmp_path / "x", *(f"c{i}/v.avi" for i in range(classes))))["layout"]
    assert layout.ok is None
    assert example in layout.advice


@pytest.mark.parametrize("label", ["run", "class_03"])
def test_lists_of_another_data_set_nearby_do_not_matter(tmp_path: Path, label: str) -> None:
    hmdb51(tmp_path)
    own = make(tmp_path / "own", "wave/a.mp4", f"{label}/b.mp4")
    assert of_data(own)["layout"].value == "one folder per class, no official splits"


def test_it_counts_what_training_would_read(tmp_path: Path) -> None:
    make(tmp_path, "wave/a.mp4", "wave/.hidden.mp4", "run/b.mp4", "run/c.txt")
    total = sum(len(find_videos([str(tmp_path / name)])) for name in ("wave", "run"))
    assert f"with {total} videos" in of_data(tmp_path)["classes"].value
