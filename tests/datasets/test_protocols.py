"""Public data sets by their lists, and the protocols that divide data into folds."""

from __future__ import annotations

import importlib.util
import os
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from places import SHARED, TESTS

from vidlabel.datasets.complete import check_complete
from vidlabel.datasets.hmdb51 import HMDB51, film_of
from vidlabel.datasets.open import open_dataset
from vidlabel.datasets.protocols import PROTOCOLS, doubt_groups, make_folds
from vidlabel.datasets.samples import Dataset, Sample
from vidlabel.datasets.ucf101 import UCF101
from vidlabel.errors import UsageError
from vidlabel.evaluate.job import choose_folds
from vidlabel.video.reader import probe

needs_splits = pytest.mark.skipif(
    not (SHARED / "splits").is_dir(), reason="needs the official lists in ../shared/splits"
)
needs_clips = pytest.mark.skipif(
    not (SHARED / "data").is_dir(), reason="needs the real clips in ../shared/data"
)

ODD = "(HQ) Up & down_[x]_100!!!_#2"
TAGS = "_f_nm_np1_fr_med_"


def _write(path: Path, text: str = "x") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def _hmdb51_names(label: str) -> list[str]:
    """Three films with two clips each: one film for each mark."""
    films = (ODD, "B", "C_2")
    return [f"{film}_{label}{TAGS}{n}.avi" for film in films for n in range(2)]


@pytest.fixture
def hmdb51(tmp_path: Path) -> Path:
    """Two classes of six clips. Split k trains on film k, tests on the next, leaves the third."""
    for label in ("draw_sword", "wave"):
        names = _hmdb51_names(label)
        for name in names:
            _write(tmp_path / "root" / label / name)
        for k in (1, 2, 3):
            marks = [(i // 2 - (k - 1)) % 3 for i in range(6)]
            lines = [f"{n} {(1, 2, 0)[m]} \n" for n, m in zip(names, marks, strict=True)]
            _write(tmp_path / "lists" / f"{label}_test_split{k}.txt", "".join(lines))
    return tmp_path / "root"


@pytest.fixture
def ucf101(tmp_path: Path) -> Path:
    """Two classes of three groups with two clips; split k tests on group k."""
    lists = tmp_path / "ucfTrainTestlist"
    _write(lists / "classInd.txt", "1 HandstandPushups\r\n2 YoYo\r\n")
    names = {
        label: [f"v_{label.replace('stand', 'Stand')}_g0{g}_c0{c}.avi" for g in (1, 2, 3)
                for c in (1, 2)] for label in ("HandstandPushups", "YoYo")
    }  # fmt: skip
    for k in (1, 2, 3):
        train, test = "", ""
        for number, (label, clips) in enumerate(names.items(), 1):
            for name in clips:
                _write(tmp_path / "UCF-101" / label / name)
                if f"_g0{k}_" in name:
                    test += f"{label}/{name}\n"
                else:
                    train += f"{label}/{name} {number}\r\n"
        _write(lists / f"trainlist0{k}.txt", train)
        _write(lists / f"testlist0{k}.txt", test)
    return tmp_path / "UCF-101"


def test_hmdb51_and_its_odd_names(hmdb51: Path) -> None:
    found = HMDB51.read(hmdb51)
    assert (found.name, found.classes) == ("hmdb51", ("draw_sword", "wave"))
    assert (len(found.samples), found.missing, found.extra) == (12, (), ())
    first = next(s for s in found.samples if s.id == f"wave/{ODD}_wave{TAGS}0.avi")
    assert (first.label, first.group, first.split) == ("wave", f"wave/{ODD}", "")
    assert Path(first.path).is_file()
    assert found.official[1][first.id] == "train"
    assert f"wave/B_wave{TAGS}0.avi" not in found.official[3]
    assert Counter(found.official[2].values()) == {"train": 4, "test": 4}


@pytest.mark.parametrize("places", [
    ("root/hmdb51_org", "root/testTrainMulti_7030_splits"), ("root/hmdb51/videos", "root"),
    ("root", "test_train_splits/testTrainMulti_7030_splits"), ("root", "root/a/splits"),
])  # fmt: skip
def test_hmdb51_lies_in_many_ways(hmdb51: Path, tmp_path: Path, places: tuple[str, str]) -> None:
    was = HMDB51.read(hmdb51)
    hmdb51.rename(tmp_path / "old")
    clips, lists = (tmp_path / place for place in places)
    for path in (tmp_path / "old").glob("*/*"):
        _write(clips / path.parent.name / path.parent.name / path.name)
    lists.mkdir(parents=True, exist_ok=True)
    for path in (tmp_path / "lists").iterdir():
        path.rename(lists / path.name)
    _write(tmp_path / "root" / "notes" / "readme.txt")
    found = HMDB51.read(tmp_path / "root")
    assert [s.id for s in found.samples] == [s.id for s in was.samples]
    assert found.official == was.official


@pytest.mark.field
@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-32-be"])
def test_split_lists_in_another_utf_encoding(hmdb51: Path, tmp_path: Path, encoding: str) -> None:
    """Field 1: official lists that were edited and saved in UTF-16."""
    was = HMDB51.read(hmdb51)
    for path in (tmp_path / "lists").iterdir():
        path.write_text("\ufeff" + path.read_text(), encoding)
    assert HMDB51.read(hmdb51) == was
    path.write_text(path.read_text(encoding).removeprefix("\ufeff"), encoding)
    with pytest.raises(UsageError, match="save it as UTF-8"):
        HMDB51.read(hmdb51)


def test_lists_can_be_elsewhere_and_hold_all_that_is_needed(hmdb51: Path, tmp_path: Path) -> None:
    (tmp_path / "far" / "away").mkdir(parents=True)
    (tmp_path / "lists").rename(tmp_path / "far" / "away" / "x")
    with pytest.raises(UsageError, match="--splits"):
        HMDB51.read(hmdb51)
    found = HMDB51.read(hmdb51, tmp_path / "far")
    alone = HMDB51.from_lists(tmp_path / "far" / "away" / "x")
    assert [s.id for s in alone.samples] == [s.id for s in found.samples]
    assert [s.group for s in alone.samples] == [s.group for s in found.samples]
    assert (alone.official, alone.classes) == (found.official, found.classes)


def test_missing_and_extra_clips_are_named(hmdb51: Path) -> None:
    gone = f"B_wave{TAGS}1.avi"
    (hmdb51 / "wave" / gone).unlink()
    _write(hmdb51 / "wave" / "new.mp4")
    found = HMDB51.read(hmdb51)
    assert found.missing == (f"wave/{gone}",)
    assert found.extra == ("wave/new.mp4",)
    assert "wave/new" in {s.group for s in found.samples}
    assert len(found.samples) == 12
    parts = [s.id for f in make_folds(found, "official") for s in (*f.train, *f.test)]
    assert not {"wave/new.mp4", f"wave/{gone}"} & set(parts)


def test_links_that_lead_nowhere_hide_nothing(hmdb51: Path, tmp_path: Path) -> None:
    (hmdb51 / "loop").symlink_to(hmdb51 / "loop")
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
    hmdb51.rename(tmp_path / "real")
    (tmp_path / "root").symlink_to(tmp_path / "real")
    assert len(HMDB51.read(tmp_path / "root").samples) == 12


def test_a_folder_that_cannot_be_read_is_passed_over(
    hmdb51: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (hmdb51.parent / "locked").mkdir()
    listdir = os.listdir

    def refusing(path: Path) -> list[str]:
        if path.name == "locked":
            raise PermissionError(13, "Permission denied", str(path))
        return listdir(path)

    monkeypatch.setattr(os, "listdir", refusing)
    (hmdb51.parent / "lists").rename(hmdb51.parent / "s")  # found after `locked`
    assert len(HMDB51.read(hmdb51).samples) == 12


def _spoil(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


@pytest.mark.parametrize(("what", "message"), [
    ("no root", "no such folder"),
    ("no lists", "no split lists such as brush_hair_test_split1.txt in"),
    ("packed", r"unpack hmdb51_org\.rar first"),
    ("a list", r"split list is missing: draw_sword_test_split2\.txt"),
    ("two lists", r"split lists are missing: draw_sword_test_split2\.txt, wave_test_split3\.txt"),
    ("mark", r"wave_test_split3\.txt:1: is not a clip's name and 0, 1 or 2"),
    ("twice", r"wave_test_split3\.txt:7: B_wave.* is listed twice"),
    ("empty", "are empty"),
    ("folder", r"wave_test_split3\.txt: cannot be read: Is a directory"),
    ("no class", "no class folder such as draw_sword"),
    ("class", r"waive: waive is not one of the 2 classes"),
    ("two clips", r"two clips are called wave/B_wave"),
    ("none", r"of the 12 clips in the split lists, such as draw_sword/.*, none is here; found 1 "),
])  # fmt: skip
def test_hmdb51_errors_are_one_clear_line(
    hmdb51: Path, tmp_path: Path, what: str, message: str
) -> None:
    lists = tmp_path / "lists"
    third = lists / "wave_test_split3.txt"
    if what == "no root":
        hmdb51.rename(tmp_path / "x")
    elif what in ("no lists", "packed"):
        for path in lists.iterdir():
            path.unlink()
        if what == "packed":
            _write(hmdb51 / "hmdb51_org.rar")
    elif what in ("a list", "two lists"):
        (lists / "draw_sword_test_split2.txt").unlink()
        if what == "two lists":
            third.unlink()
    elif what == "mark":
        _spoil(third, "avi 2", "avi 3")
    elif what == "twice":
        third.write_text(third.read_text() + f"B_wave{TAGS}0.avi 0 \n")
    elif what == "empty":
        for path in lists.iterdir():
            path.write_text("\n")
    elif what == "folder":
        third.unlink()
        third.mkdir()
    elif what == "no class":
        for label in ("wave", "draw_sword"):
            (hmdb51 / label).rename(hmdb51 / f"{label}s")
    elif what == "class":
        (hmdb51 / "wave").rename(hmdb51 / "waive")
    elif what == "two clips":
        _write(hmdb51 / "wave" / "copy" / f"B_wave{TAGS}0.avi")
    elif what == "none":
        for path in hmdb51.glob("*/*"):
            path.unlink()
        _write(hmdb51 / "wave" / "x.avi")
    with pytest.raises(UsageError, match=message) as caught:
        HMDB51.read(hmdb51)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("label", "name", "film"),
    [
        ("wave", f"TrumanShow_wave{TAGS}26.avi", "TrumanShow"),
        ("draw_sword", f"{ODD}_draw_sword{TAGS}0.avi", ODD),
        ("stand", "Let'sBe_1953_stand_u_nm_np10_ba_med_4.avi", "Let'sBe_1953"),
        ("wave", f"wave_of_wave_wave{TAGS}0.avi", "wave_of_wave"),
        ("golf_swing", f"Tips_golf{TAGS}0.avi", "Tips"),
        ("wave", "holiday.avi", None),
    ],
)
def test_source_of_an_hmdb51_clip(label: str, name: str, film: str | None) -> None:
    assert film_of(label, name) == film
    assert HMDB51.source_of(label, name) == f"{label}/{film or 'holiday'}"


@pytest.mark.parametrize("flat", [False, True])
def test_ucf101_in_class_folders_or_flat(ucf101: Path, flat: bool) -> None:
    if flat:
        for path in list(ucf101.glob("*/*")):
            path.rename(ucf101 / path.name)
        _write(ucf101 / "trailer.avi")
    found = UCF101.read(ucf101)
    assert (found.name, found.classes) == ("ucf101", ("HandstandPushups", "YoYo"))
    assert (len(found.samples), found.missing, found.extra) == (12, (), ())
    assert found.samples[0].id == "HandstandPushups/v_HandStandPushups_g01_c01.avi"
    assert found.samples[0].group == "HandstandPushups/g01"
    assert [Counter(found.official[k].values()) for k in (1, 2, 3)] == [{"train": 8, "test": 4}] * 3
    assert found.official[2]["YoYo/v_YoYo_g02_c01.avi"] == "test"
    alone = UCF101.from_lists(ucf101.parent / "ucfTrainTestlist")
    assert [s.id for s in alone.samples] == [s.id for s in found.samples]
    assert UCF101.source_of("YoYo", "holiday.avi") == "YoYo/holiday"


@pytest.mark.field
@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".AVI"])
@pytest.mark.parametrize("name", ["hmdb51", "ucf101", "flat"])
def test_converted_clips_are_those_of_the_lists(
    hmdb51: Path, ucf101: Path, name: str, suffix: str
) -> None:
    """Field 16: the lists say .avi, and all clips were missing."""
    data, root = (HMDB51, hmdb51) if name == "hmdb51" else (UCF101, ucf101)
    before = data.read(root)
    for path in list(root.rglob("*.avi")):
        place = root / path.name if name == "flat" else path
        path.rename(place.with_suffix(suffix))
    found = data.read(root)
    assert [s.id for s in found.samples] == [s.id for s in before.samples]
    assert (found.missing, found.extra, found.official) == ((), (), before.official)
    assert [s.group for s in found.samples] == [s.group for s in before.samples]
    assert Path(found.samples[0].path).is_file()
    (remark,) = found.remarks
    assert remark.startswith(f"{data.name}: 12 clips have the names in the official lists but for")
    assert (before.remarks, check_complete(data, root).missing) == ((), ())
    official = Path(found.samples[0].path).with_suffix(".avi")
    _write(official)  # with both, the official one is taken
    both = data.read(root)
    assert len(both.remarks) == len(both.extra) == 1
    assert str(official) in {s.path for s in both.samples if s.id in before.official[1]}


def test_a_new_clip_in_a_flat_folder_is_extra(ucf101: Path) -> None:
    for path in list(ucf101.glob("*/*")):
        path.rename(ucf101 / path.name)
    _write(ucf101 / "v_yoyo_g09_c01.avi")
    assert UCF101.read(ucf101).extra == ("YoYo/v_yoyo_g09_c01.avi",)


@pytest.mark.parametrize(("what", "message"), [
    ("list", r"split lists are missing: classInd\.txt, testlist03\.txt"),
    ("class", r"trainlist02\.txt:1: HandstandPullups is no class of classInd\.txt"),
    ("number", r"trainlist02\.txt:1: class HandstandPushups has number 2 here and 1 in classInd"),
    ("line", r"testlist01\.txt:1: is not CLASS/NAME\.avi"),
    ("classes", r"classInd\.txt:2: is not a number and a class"),
    ("both", r"testlist01\.txt:5: YoYo/.* is listed twice in split 1"),
    ("empty", "are empty"),
    ("folder", r"YoYos is not one of the 2 classes"),
])  # fmt: skip
def test_ucf101_errors_are_one_clear_line(ucf101: Path, what: str, message: str) -> None:
    lists = ucf101.parent / "ucfTrainTestlist"
    if what == "list":
        (lists / "testlist03.txt").unlink()
        (lists / "classInd.txt").unlink()
    elif what == "class":
        _spoil(lists / "trainlist02.txt", "HandstandPushups", "HandstandPullups")
    elif what == "number":
        _spoil(lists / "trainlist02.txt", ".avi 1", ".avi 2")
    elif what == "line":
        _spoil(lists / "testlist01.txt", "/", "-")
    elif what == "classes":
        _spoil(lists / "classInd.txt", "2 ", "")
    elif what == "both":
        text = (lists / "testlist01.txt").read_text()
        (lists / "testlist01.txt").write_text(text + "YoYo/v_YoYo_g02_c01.avi\n")
    elif what == "empty":
        for path in lists.glob("t*.txt"):
            path.write_text("")
    elif what == "folder":
        (ucf101 / "YoYo").rename(ucf101 / "YoYos")
    with pytest.raises(UsageError, match=message) as caught:
        UCF101.read(ucf101)
    assert "\n" not in str(caught.value)


def test_data_arguments_of_public_sets(hmdb51: Path, ucf101: Path, tmp_path: Path) -> None:
    lists = tmp_path / "lists"
    assert open_dataset(f"hmdb51:{hmdb51}", tmp_path, splits=lists) == HMDB51.read(hmdb51)
    for data, options, message in (
        ("hmdb51:", {}, "hmdb51:ROOT"),
        ("ucf101:x", {"group_pattern": "x"}, "--group-pattern"),
        (str(hmdb51), {"splits": lists}, "--splits works only with hmdb51:ROOT and ucf101:ROOT"),
        ("ucf101:nowhere", {}, "nowhere: no such folder"),
    ):
        with pytest.raises(UsageError, match=message):
            open_dataset(data, tmp_path, **options)


def test_home_is_known_behind_the_colon(hmdb51: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(hmdb51.parent))
    assert len(open_dataset("hmdb51:~/root", hmdb51.parent).samples) == 12


def test_official_folds(hmdb51: Path) -> None:
    folds = make_folds(HMDB51.read(hmdb51), "official")
    assert [fold.name for fold in folds] == ["split-1", "split-2", "split-3"]
    for fold in folds:
        assert (len(fold.train), fold.val, len(fold.test)) == (4, (), 4)
        assert {s.group for s in fold.train}.isdisjoint({s.group for s in fold.test})
    assert {s.group for s in folds[0].test} == {"draw_sword/B", "wave/B"}


def test_leaky_protocols_do_what_they_say(hmdb51: Path) -> None:
    data = HMDB51.read(hmdb51)
    one, two, three = make_folds(data, "official")
    (leaky,) = make_folds(data, "leaky-123")
    assert (leaky.train, leaky.val, leaky.test) == (one.train, two.test, three.test)
    (select,) = make_folds(data, "split1-select-on-test")
    assert (select.train, select.val, select.test) == (one.train, one.test, one.test)
    assert {name for name, p in PROTOCOLS.items() if p.leaky} == {
        "leaky-123", "random-80-20", "split1-select-on-test",
    }  # fmt: skip
    assert all("\n" not in p.summary for p in PROTOCOLS.values())


@pytest.mark.field
@pytest.mark.parametrize("split", ["1", "2", "all"])
def test_eval_needs_only_the_test_clips(hmdb51: Path, split: str) -> None:
    """field 21: `eval` refused since no training clip was on disk."""
    data = HMDB51.read(hmdb51)
    wanted = data.official if split == "all" else {int(split): data.official[int(split)]}
    for number, parts in wanted.items():
        tests = tuple(s for s in data.samples if parts.get(s.id) == "test")
        only = replace(data, samples=tests)
        folds, _ = choose_folds("hmdb51:x", only, None, str(number), 5, 0, tests_only=True)
        assert [(fold.train, fold.test) for fold in folds] == [((), tests)]
        with pytest.raises(UsageError, match="none of the 4 train clips"):
            choose_folds("hmdb51:x", only, None, str(number), 5, 0)
    if split == "all":
        folds, _ = choose_folds("hmdb51:x", data, None, split, 5, 0, tests_only=True)
        assert folds == make_folds(data, "official")


@pytest.mark.parametrize("protocol", ["official", "leaky-123", "split1-select-on-test"])
def test_a_split_without_clips_or_lists_is_refused(hmdb51: Path, protocol: str) -> None:
    data = HMDB51.read(hmdb51)
    train = {clip for clip, part in data.official[1].items() if part == "train"}
    rest = tuple(s for s in data.samples if s.id not in train)
    with pytest.raises(UsageError, match=f"{protocol}: none of the 4 train clips of hmdb51 split"):
        make_folds(replace(data, samples=rest), protocol)
    plain = replace(data, name="folder", official={})
    with pytest.raises(UsageError, match=f"{protocol}: folder data has no official splits"):
        make_folds(plain, protocol)
    with pytest.raises(UsageError, match="nonsense: must be one of official"):
        make_folds(data, "nonsense")


def _dataset(samples: list[Sample]) -> Dataset:
    labels = tuple(sorted({s.label for s in samples}))
    return Dataset("folder", tuple(samples), {}, (), (), labels)


def test_random_fifth_whatever_the_group() -> None:
    data = _dataset([Sample(f"{k}{i}", k, f"g{i // 10}") for k in "ab" for i in range(50)])
    (fold,) = make_folds(data, "random-80-20", seed=3)
    assert (len(fold.train), fold.val, len(fold.test)) == (80, (), 20)
    assert {s.path for s in fold.train}.isdisjoint({s.path for s in fold.test})
    assert {s.group for s in fold.test} & {s.group for s in fold.train}
    assert make_folds(data, "random-80-20", seed=3) == [fold]
    assert make_folds(data, "random-80-20", seed=4) != [fold]


_data = st.lists(
    st.tuples(st.sampled_from("abc"), st.integers(0, 11)), min_size=20, max_size=90
).map(lambda ps: _dataset([Sample(f"{i}.mp4", k, f"g{g}") for i, (k, g) in enumerate(ps)]))


@given(_data, st.integers(2, 5), st.integers(0, 5))
def test_group_kfold_tests_every_clip_once_and_divides_no_group(
    data: Dataset, count: int, seed: int
) -> None:
    try:
        folds = make_folds(data, "group-kfold", folds=count, seed=seed)
    except UsageError:  # a class of one group, or fewer groups than folds
        groups = [{s.group for s in data.samples if s.label == k} for k in data.classes]
        assert len(set.union(*groups)) < count or min(map(len, groups)) <= len(data.classes)
        return
    assert [fold.name for fold in folds] == [f"fold-{n + 1}" for n in range(count)]
    assert sorted(s.path for f in folds for s in f.test) == sorted(s.path for s in data.samples)
    for fold in folds:
        assert {s.group for s in fold.train}.isdisjoint({s.group for s in fold.test})
        assert len(fold.train) + len(fold.test) == len(data.samples)
    assert folds == make_folds(data, "group-kfold", folds=count, seed=seed)


def test_group_kfold_balances_classes() -> None:
    sizes = [9, 7, 6, 5, 5, 4, 3, 3, 2, 2, 1, 1]  # 48 clips a class, whose groups are its own
    samples = [
        Sample(f"{k}{g}-{i}", k, f"{k}{g}")
        for k in "abcd"
        for g, size in enumerate(sizes)
        for i in range(size)
    ]
    for seed in range(5):
        for fold in make_folds(_dataset(samples), "group-kfold", folds=4, seed=seed):
            assert all(11 <= n <= 13 for n in Counter(s.label for s in fold.test).values())
    assert len({make_folds(_dataset(samples), "group-kfold", seed=s)[0].test for s in range(5)}) > 1


def test_leave_one_group_out_names_its_folds_safely() -> None:
    groups = ["ann", "Ann", "a/b c", "../..", "", "x" * 300, "é", "ann-2"]
    data = _dataset([Sample(f"{k}{g}", k, g) for k in "xy" for g in groups])
    folds = make_folds(data, "leave-one-group-out")
    names = [fold.name for fold in folds]
    assert {s.group: f.name for f in folds for s in f.test} == dict(
        zip(sorted(groups), names, strict=True)
    )
    assert len({name.casefold() for name in names}) == len(groups)
    assert {"a-b-c", "group", "x" * 80} < set(names)
    for fold in folds:
        assert fold.name.strip(".") == fold.name != ""
        assert not set(fold.name) & set("/\\: \0")
        assert len({s.group for s in fold.test}) == 1
        assert (len(fold.test), len(fold.train)) == (2, 14)


def test_groups_that_mean_nothing_are_doubted() -> None:
    alone = _dataset([Sample(f"x{n}.mp4", "x", f"x{n}") for n in range(3)])
    assert "each of the 3 clips" in (doubt_groups(alone) or "")
    assert "--group-pattern" in (doubt_groups(replace(alone, name="table")) or "")
    assert doubt_groups(replace(alone, name="synthetic")) is None
    assert doubt_groups(_dataset([*alone.samples, Sample("y.mp4", "x", "x0")])) is None


def test_a_row_given_twice_is_trained_on_twice_and_tested_once() -> None:
    samples = [Sample(f"{k}{g}", k, g, "train") for k in "xy" for g in "abc"]
    first, *_ = make_folds(_dataset([*samples, *samples]), "leave-one-group-out")
    assert (first.name, len(first.train), len(first.test)) == ("a", 8, 2)
    assert {s.split for s in (*first.train, *first.test)} == {""}


@pytest.mark.parametrize(
    ("protocol", "options", "message"),
    [
        ("group-kfold", {"folds": 1}, "--folds must be 2 to 3"),
        ("group-kfold", {"folds": 4}, "--folds must be 2 to 3"),
        ("group-kfold", {"folds": 3}, "tests class y and has no other clips"),
        ("leave-one-group-out", {}, "fold c tests class y .* --group-pattern"),
    ],
)
def test_groups_that_are_too_few_are_refused(
    protocol: str, options: dict[str, int], message: str
) -> None:
    data = _dataset([*(Sample(g, "x", g) for g in "ab"), Sample("c", "y", "c")])
    with pytest.raises(UsageError, match=message):
        make_folds(data, protocol, **options)
    with pytest.raises(UsageError, match=f"{protocol}: all clips are of one group"):
        make_folds(_dataset([Sample("a", "x", "g")]), protocol, **options)
    with pytest.raises(UsageError, match="too few"):
        make_folds(_dataset([Sample("a", "x", "g")]), "random-80-20")


@pytest.mark.shared
@needs_splits
def test_the_true_hmdb51_lists() -> None:
    data = HMDB51.from_lists(SHARED / "splits" / "hmdb51")
    assert (len(data.samples), len(data.classes)) == (6766, 51)
    assert len({s.group for s in data.samples}) == 2291
    assert all(film_of(s.label, s.path) and "/" not in s.group.partition("/")[2]
               for s in data.samples)  # fmt: skip
    for fold in make_folds(data, "official"):
        assert set(Counter(s.label for s in fold.train).values()) == {70}
        assert set(Counter(s.label for s in fold.test).values()) == {30}
        assert {s.group for s in fold.train}.isdisjoint({s.group for s in fold.test})


@pytest.mark.shared
@needs_splits
def test_the_true_ucf101_lists() -> None:
    data = UCF101.from_lists(SHARED / "splits" / "ucf101")
    assert (len(data.samples), len(data.classes)) == (13320, 101)
    assert set(Counter(g.partition("/")[0] for g in {s.group for s in data.samples}).values()) == {
        25
    }
    folds = make_folds(data, "official")
    assert [(len(f.train), len(f.test)) for f in folds] == [
        (9537, 3783), (9586, 3734), (9624, 3696),
    ]  # fmt: skip
    for fold in folds:
        assert {s.group for s in fold.train}.isdisjoint({s.group for s in fold.test})
    for fold in make_folds(data, "group-kfold"):
        assert abs(len(fold.test) - 13320 / 5) <= 3


@pytest.mark.shared
@needs_splits
@needs_clips
@pytest.mark.parametrize(
    ("name", "clips", "all_clips"), [("hmdb51", 6, 6766), ("ucf101", 2, 13320)]
)
def test_the_real_samples_of_public_sets(
    name: str, clips: int, all_clips: int, tmp_path: Path
) -> None:
    data = open_dataset(
        f"{name}:{SHARED / 'data' / f'{name}_sample'}", tmp_path, splits=SHARED / "splits"
    )
    assert len(data.samples) == clips
    assert (len(data.missing), data.extra) == (all_clips - clips, ())


@pytest.mark.shared
@needs_clips
@pytest.mark.parametrize(
    ("name", "pattern", "groups", "classes"),
    [
        ("weizmann", None, 7, 10),
        ("ut_interaction", None, 16, 6),
        ("surveillance_fight", "blocks:10", 10, 2),
    ],
)
def test_the_real_sets_fold_by_group(
    name: str, pattern: str | None, groups: int, classes: int, tmp_path: Path
) -> None:
    data = open_dataset(str(SHARED / "data" / name), tmp_path, group_pattern=pattern)
    folds = make_folds(data, "leave-one-group-out")
    assert (len(folds), len(data.classes)) == (groups, classes)
    assert all(len({s.label for s in fold.test}) >= classes - 1 for fold in folds)
    assert all(len({s.label for s in f.test}) == classes for f in make_folds(data, "group-kfold"))
    if pattern:
        numbers = [sorted(int(s.path[-7:-4]) for s in f.test if s.label == "fight") for f in folds]
        assert all(n == list(range(n[0], n[0] + 12)) for n in numbers)


@pytest.mark.shared
@needs_splits
def test_the_small_hmdb51_has_all_names_and_pictures_that_follow_from_them(tmp_path: Path) -> None:
    script = TESTS / "benchmarks" / "hmdb51_tree.py"
    spec = importlib.util.spec_from_file_location("hmdb51_tree", script)
    assert spec is not None
    assert spec.loader is not None
    tree = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tree)
    splits = SHARED / "splits"
    for out in (tmp_path / "a", tmp_path / "b"):
        tree.make_tree(out, splits, scale=0.1, processes=1, classes=2)
    data = HMDB51.read(tmp_path / "a")
    assert (data.classes, data.missing, data.extra) == (("brush_hair", "cartwheel"), (), ())
    assert len(data.samples) == sum(s.label in data.classes
                                    for s in HMDB51.from_lists(splits).samples)  # fmt: skip
    assert [len(f.test) for f in make_folds(data, "official")] == [60, 60, 60]
    contents = [Path(s.path).read_bytes() for s in data.samples]
    assert contents == [
        (tmp_path / "b" / Path(s.path).relative_to(tmp_path / "a")).read_bytes()
        for s in data.samples
    ]
    assert len(set(contents)) == len(contents)
    assert probe(data.samples[0].path).frames == 41  # of 409
