"""Labelled data: folders, tables, groups that stay together."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidlabel.datasets.folder import guess_group, read_folder
from vidlabel.datasets.open import open_dataset
from vidlabel.datasets.protocols import doubt_classes
from vidlabel.datasets.samples import Sample, Split, class_counts, class_names, hold_out
from vidlabel.datasets.table import read_table
from vidlabel.errors import UsageError


@pytest.mark.parametrize(
    ("path", "label", "group"),
    [
        ("wave/TrumanShow_wave_f_nm_np1_fr_med_26.avi", "wave", "TrumanShow"),
        ("golf/Tips_-_300+_Yards!!!_golf_f_nm_np1_fr_med_0.avi", "golf", "Tips_-_300+_Yards!!!"),
        ("draw_sword/LetsBe1953_draw_sword_u_cm_np10_ba_med_2.avi", "draw_sword", "LetsBe1953"),
        ("SoccerJuggling/v_SoccerJuggling_g23_c01.avi", "SoccerJuggling", "g23"),
        ("walk/anna_walk_03.mp4", "walk", "anna"),
        ("run/anna_run.mp4", "run", "anna"),
        ("hug/set1_seq01_2.avi", "hug", "set1_seq01"),
        ("wave/wave-007.mp4", "wave", "wave-007"),
        ("walk/sleepwalker_1.mp4", "walk", "sleepwalker"),
    ],
)
def test_group_is_guessed_from_the_name(path: str, label: str, group: str) -> None:
    if group == "wave-007":  # nothing but class and number: a group of its own
        assert guess_group(path, label) not in ("", "wave")
    else:
        assert guess_group(path, label) == group


def _tree(root: Path, files: list[str]) -> Path:
    for name in files:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")
    return root


def test_folder_labels_by_sub_folder(tmp_path: Path) -> None:
    root = _tree(
        tmp_path,
        ["walk/anna_walk_1.mp4", "walk/deep/ben_walk.AVI", "run/anna_run.mp4", "loose.mp4",
         ".git/x.mp4", "run/notes.txt"],
    )  # fmt: skip
    samples = read_folder(root)
    assert Counter((s.label, s.group) for s in samples) == Counter(
        [("run", "anna"), ("walk", "anna"), ("walk", "ben")]
    )
    by_pattern = read_folder(root, r"/(?:deep/)?(\w)")
    assert {s.group for s in by_pattern} == {"a", "b"}


def test_blocks_are_neighbours_in_number(tmp_path: Path) -> None:
    names = [f"{k}/{k[0]}{n}.mp4" for k in ("fight", "calm") for n in range(1, 12)]
    samples = read_folder(_tree(tmp_path, names), "blocks:3")
    for label in ("fight", "calm"):
        numbered = sorted(
            (int(Path(s.path).stem[1:]), s.group) for s in samples if s.label == label
        )
        blocks = [group for _, group in numbered]
        assert blocks == sorted(blocks)
        assert Counter(blocks) == {"block-01": 4, "block-02": 4, "block-03": 3}
    assert len(samples) == 22
    for pattern, message in (("blocks:12", "only 11 videos"), ("blocks:1", "at least 2")):
        with pytest.raises(UsageError, match=message):
            read_folder(tmp_path, pattern)
    with pytest.raises(UsageError, match=r"no number in the name of .*end\.mp4"):
        read_folder(_tree(tmp_path, ["fight/end.mp4"]), "blocks:3")


@pytest.mark.field
def test_rows_of_predict_without_a_label_are_left_out_and_counted(tmp_path: Path) -> None:
    """Field 9: uncertain rows were trained as a class, and a failed one ended the run."""
    table = tmp_path / "x.csv"
    table.write_text(
        "path,status,label,confidence,top1_label,reason\n"
        "a.mp4,ok,walk,0.9,walk,\n"
        "b.mp4,uncertain,uncertain,0.4,walk,low_confidence: best guess walk\n"
        "c.mp4,ok,uncertain,0.4,walk,padded\n"  # by an older version
        "d.mp4,failed,,,,empty\n"
        "e.mp4,uncertain,run,0.4,walk,low_confidence\n"  # a person gave it a label
        "f.mp4,ok,uncertain,0.9,uncertain,\n"  # a class of the model
    )
    dataset = open_dataset(str(table), tmp_path)
    assert [(Path(s.path).stem, s.label) for s in dataset.samples] == [("e", "run")]
    counts = "2 not reviewed, 2 uncertain, 1 failed"
    assert dataset.remarks == (f"{table}: rows that are not taken as the truth: {counts}",)
    table.write_text("path,status,label\nd.mp4,failed,\n")
    with pytest.raises(UsageError, match="has no rows with a label; all have failed or are uncer"):
        read_table(table)
    table.write_text("path,status,label\nd.mp4,done,\n")
    with pytest.raises(UsageError, match="label is empty"):
        read_table(table)


@pytest.mark.field
@pytest.mark.parametrize("name", ["uncertain", "other", "Failed"])
def test_a_label_that_may_be_a_state_is_told(name: str, tmp_path: Path) -> None:
    """Field 9: a table of paths and labels cannot say which it is; the name of a folder can."""
    (tmp_path / "x.csv").write_text(f"path,label\na.mp4,walk\nb.mp4,{name}\n")
    (told,) = open_dataset(str(tmp_path / "x.csv"), tmp_path).remarks
    assert f"x.csv: 1 row has the label {name}, which is taken as a class; if" in told
    root = _tree(tmp_path / "in", [f"{name}/a.mp4", "walk/a.mp4"])
    assert open_dataset(str(root), tmp_path).remarks == ()


PREDICTED = """\
path,status,label,confidence,top1_label
sure.mp4,ok,walk,0.95,walk
part.mp4,partial,run,0.9,run
low.mp4,ok,walk,0.89,walk
other.mp4,ok,other,0.99,other
unsure.mp4,uncertain,uncertain,0.95,walk
named.mp4,ok,uncertain,0.99,uncertain
failed.mp4,failed,,,
"""
"""Nobody has looked at it."""


def _labels(table: Path, text: str, least: float | None = None) -> dict[str, str]:
    table.write_text(text)
    found = open_dataset(str(table), table.parent, pseudo_labels=least)
    return {Path(sample.path).stem: sample.label for sample in found.samples}


def test_predictions_are_not_the_truth_until_a_person_has_looked(tmp_path: Path) -> None:
    table = tmp_path / "x.csv"
    with pytest.raises(UsageError) as error:
        _labels(table, PREDICTED)
    assert str(error.value).startswith(
        f"{table}: holds what a model has predicted, not the truth: of 7 rows, none can be taken "
        "(5 not reviewed, 1 uncertain, 1 failed); look through it with `vidlabel review`"
    )
    edited = PREDICTED.replace("low.mp4,ok,walk", "low.mp4,ok,run").replace(
        "failed,,,", "failed,run,,"
    )
    edited = edited.replace("unsure.mp4,uncertain,uncertain", "unsure.mp4,uncertain,walk")
    assert _labels(table, edited) == {"low": "run", "unsure": "walk", "failed": "run"}
    head, *lines = PREDICTED.splitlines()
    said = ["yes", "no", "X", "TRUE", "yes", "", "1"]
    marked = "\n".join(
        [f"{head},reviewed", *(f"{x},{y}" for x, y in zip(lines, said, strict=True))]
    )
    assert _labels(table, marked) == {"sure": "walk", "low": "walk", "other": "other"}
    assert _labels(table, "path,label\nx.mp4,walk\ny.mp4,uncertain\n") == {
        "x": "walk", "y": "uncertain",
    }  # fmt: skip


def test_pseudo_labels_begin_at_a_confidence_and_are_classes(tmp_path: Path) -> None:
    table = tmp_path / "x.csv"
    assert _labels(table, PREDICTED, 0.9) == {"sure": "walk", "part": "run"}
    assert _labels(table, PREDICTED, 0.0) == {"sure": "walk", "part": "run", "low": "walk"}
    (told,) = open_dataset(str(table), tmp_path, pseudo_labels=0.9).remarks
    assert told.endswith(
        "taken as the truth: 1 below --pseudo-labels 0.9, 1 other, 2 uncertain, 1 failed"
    )
    edited = PREDICTED.replace("low.mp4,ok,walk", "low.mp4,ok,run")
    assert _labels(table, edited, 0.99) == {"low": "run"}
    with pytest.raises(UsageError, match=r"x.csv:2: confidence is 'high'; it must be a number"):
        _labels(table, PREDICTED.replace("0.95,walk", "high,walk", 1), 0.9)
    with pytest.raises(UsageError, match=r"--pseudo-labels works only with a .csv table"):
        open_dataset(str(tmp_path), tmp_path, pseudo_labels=0.9)


def test_a_map_renames_and_joins_classes(tmp_path: Path) -> None:
    root = _tree(tmp_path / "in", ["jack/a.mp4", "jumping/a.mp4", "run/b.mp4", "walk/c.mp4"])
    table = tmp_path / "map.csv"
    table.write_text("new,old,why\nmoving,run,\nmoving,walk,\nflying,fly,\n")
    found = open_dataset(str(root), tmp_path, mapped=["jack = jumping", str(table)])
    assert sorted((s.label, Path(s.path).parent.name) for s in found.samples) == [
        ("jumping", "jack"), ("jumping", "jumping"), ("moving", "run"), ("moving", "walk"),
    ]  # fmt: skip
    assert found.classes == ("jumping", "moving")
    assert len({s.id for s in found.samples}) == 4, "files of one name in joined classes"
    assert found.remarks == ("--map: the data have no class fly",)
    swapped = open_dataset(str(root), tmp_path, mapped=["run=walk", "walk=run", "jak=x"])
    assert {(s.label, Path(s.path).name) for s in swapped.samples} >= {
        ("walk", "b.mp4"), ("run", "c.mp4"),
    }  # fmt: skip
    assert swapped.remarks == ("--map: the data have no class jak (did you mean jack?)",)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["jack"], "--map jack: must be OLD=NEW, or a .csv table old,new"),
        (["jack="], "--map jack=: a name is empty"),
        (["a=b", "a=c"], "--map a=c: a is b already; a class has one name"),
        (["none.csv"], "none.csv: cannot be read"),
        (["x.csv"], "x.csv:1: the first line must be old,new"),
    ],
)
def test_a_wrong_map_is_one_line(
    given: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("x.csv").write_text("path,label\na,b\n")
    root = _tree(tmp_path / "in", ["jack/a.mp4", "run/b.mp4"])
    with pytest.raises(UsageError, match=re.escape(message)):
        open_dataset(str(root), tmp_path, mapped=given)


def test_folder_errors_name_the_flag(tmp_path: Path) -> None:
    root = _tree(tmp_path, ["walk/a.mp4"])
    with pytest.raises(UsageError, match="--group-pattern"):
        read_folder(root, "(")
    with pytest.raises(UsageError, match="does not match"):
        read_folder(root, "zzz")
    with pytest.raises(UsageError, match="no videos"):
        read_folder(_tree(tmp_path / "empty", ["loose.mp4"]))


@pytest.mark.field
@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (["train/walk/1.mp4", "train/run/1.mp4", "val/walk/1.mp4", "val/run/2.mp4"],
         ["run train", "walk train", "walk val", "run val"]),
        (["Training/walk/a/1.mp4", "Testing/walk/b/1.mp4", "training/run/1.mp4"],
         ["walk test", "walk ", "run "]),
        (["walk/train/1.mp4", "walk/valid/1.mp4", "run/train/1.mp4", "run/test/1.mp4"],
         ["run test", "run train", "walk train", "walk val"]),
        (["train/1.mp4", "bus/train/2.mp4"], ["bus ", "train "]),  # the vehicle
    ],
)  # fmt: skip
def test_folders_of_parts_are_the_split_and_no_classes(
    tmp_path: Path, files: list[str], expected: list[str]
) -> None:
    """Field 4: the layout of most downloaded sets trained the classes `train` and `val`."""
    root = _tree(tmp_path / "set", files)
    samples = read_folder(root)
    assert sorted(f"{s.label} {s.split}" for s in samples) == sorted(expected)
    given = {s.split for s in samples}
    if "val" in given:  # the running numbers of the files are no sources
        hold_out([s for s in samples if s.split != "test"], 0.5, 0)


@pytest.mark.field
@pytest.mark.parametrize(
    ("files", "message"),
    [
        (["train/1.mp4", "val/2.mp4"], "train/1.mp4: has a part and no class"),
        (["train/a/1.mp4", "val/a/2.mp4", "more/b/3.mp4"],
         "more/b/3.mp4: is in none of the parts train and val of the data; move it away"),
        (["a/train/1.mp4", "a/val/2.mp4", "b/3.mp4"], "b/3.mp4: is in none of the parts"),
    ],
)  # fmt: skip
def test_a_mixture_of_parts_and_classes_is_refused(
    tmp_path: Path, files: list[str], message: str
) -> None:
    """Field 4: what cannot be understood is refused in one line."""
    with pytest.raises(UsageError, match=message):
        read_folder(_tree(tmp_path / "set", files))


@pytest.mark.field
def test_what_a_folder_of_classes_leaves_out_is_told(tmp_path: Path) -> None:
    """Field 4: rare suffixes, empty classes and nested classes were passed over in silence."""
    files = ["sport/run/1.mp4", "sport/jump/1.mp4", "home/eat/1.mp4", "sit/2.mp4",
             "ada/1.foo", "sit/notes.txt", "sit/more.txt", "loose.mp4"]  # fmt: skip
    data = open_dataset(str(_tree(tmp_path / "set", files)), tmp_path)
    assert data.remarks == (
        "left out, as their suffix is no video's: 2 .txt, 1 .foo",
        "left out, folders without videos: ada",
        "left out, videos in no class folder: loose.mp4",
        "sub-folders of a class are no classes: sport has jump, run",
    )
    assert class_counts(data.samples) == "videos of each class: home 1, sit 1, sport 2"
    persons = _tree(tmp_path / "p", ["walk/ada/1.mp4", "walk/bo/1.mp4", "run/ada/1.mp4"])
    assert not open_dataset(str(persons), tmp_path).remarks


def test_table(tmp_path: Path) -> None:
    table = tmp_path / "data.csv"
    table.write_text(
        'path,label,group,split\na.mp4,walk,g1,train\n"b,c.mp4",run,g2,val\nd.mp4,run,,\n'
    )
    assert read_table(table) == [
        Sample(str(tmp_path / "a.mp4"), "walk", "g1", "train"),
        Sample(str(tmp_path / "b,c.mp4"), "run", "g2", "val"),
        Sample(str(tmp_path / "d.mp4"), "run", "d", ""),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path\na.mp4\n", "no column label"),
        ("path,label\n", "no rows"),
        ("path,label\na.mp4,\n", ":2:"),
        ("path,label,split\na.mp4,walk,tset\n", "split is 'tset'"),
        ("", ":1: no column label and path; the first line must be .*, and is empty"),
        ("Pfad,Label\n", ":1: no column path; the first line must be .*, and is pfad, label"),
        ("path;label\na.mp4;walk\n", ":1: its columns are separated by semicolons; save it with"),
        ("path\tlabel\n", ":1: its columns are separated by tabs"),
        ('path,label\n\na.mp4,"wa\nlk"\n', r":4: label 'wa\\x0alk' has a line break"),
        ("path,label\na,b.mp4,walk\n", ":2: has more values .* needs quotes"),
        ("path,label\n" + "a," * 40, r"cannot be read: .* line 2, saw 41"),
        ('path,label\na.mp4,walk\n"b.mp4,run\nc.mp4,run\n', ":3: has a quote that is not closed"),
        ("path,label\na.mp4,walk\nb.mp4,run\n./a.mp4,run\n",
         r":4: \./a\.mp4 has label 'run', and 'walk' in line 2"),
        ("path,label,group\na.mp4,walk,g\na.mp4,walk,h\n", ":3: a.mp4 has group 'h', and 'g'"),
        ("path,label,split\na.mp4,walk,val\na.mp4,walk,\n", ":3: a.mp4 has split '', and 'val'"),
    ],
)  # fmt: skip
def test_table_errors_say_where(tmp_path: Path, text: str, message: str) -> None:
    table = tmp_path / "data.csv"
    table.write_text(text)
    with pytest.raises(UsageError, match=rf"data\.csv.*{message}"):
        read_table(table)


def test_a_path_may_begin_and_end_with_blanks(tmp_path: Path) -> None:
    table = tmp_path / "data.csv"
    table.write_text("path,label\n a.mp4 , walk \n  , \nb.mp4,run\n")
    found = [(sample.path, sample.label) for sample in read_table(table)]
    assert found == [(f"{tmp_path}/ a.mp4 ", "walk"), (f"{tmp_path}/b.mp4", "run")]


def test_tables_as_spreadsheets_save_them(tmp_path: Path) -> None:
    table = tmp_path / "data.csv"
    text = (
        "Path, Label,GROUP,Split,\r\na.mp4,walk ,g1,Train,\r\n,,,,\r\nb.mp4, run,,VAL,\r\n,,,\r\n"
    )
    unicode_text = text.replace(",", "\t")  # what Excel calls so
    for saved, encoding in ((text, "utf-8-sig"), (text, "utf-16"), (unicode_text, "utf-16")):
        table.write_text(saved, encoding=encoding, newline="")
        assert read_table(table) == [
            Sample(str(tmp_path / "a.mp4"), "walk", "g1", "train"),
            Sample(str(tmp_path / "b.mp4"), "run", "b", "val"),
        ]
    table.write_bytes("path,label\na.mp4,walk\nb.mp4,gehör\n".encode("latin-1"))
    with pytest.raises(UsageError, match=r":3: label 'geh\\xf6r' is not in UTF-8; save it as"):
        read_table(table)


@pytest.mark.field
@pytest.mark.parametrize("encoding", ["utf-16-be", "utf-32-le"])
def test_a_table_in_another_utf_encoding(tmp_path: Path, encoding: str) -> None:
    """Field 1: a table of true classes in any UTF encoding with a mark; one line without one."""
    table = tmp_path / "data.csv"
    table.write_text("\ufeffpath,label\nä.mp4,gehen\n", encoding)
    assert read_table(table) == [Sample(str(tmp_path / "ä.mp4"), "gehen", "ä")]
    table.write_text("path,label\nä.mp4,gehen\n", encoding)
    with pytest.raises(UsageError, match=r"data\.csv: holds NUL .*save it as UTF-8"):
        read_table(table)


def test_values_that_look_like_none_or_numbers_stay_text(tmp_path: Path) -> None:
    table = tmp_path / "data.csv"
    names = ["NA", "nan", "null", "None", "007", "1e5", "True", "N/A"]
    table.write_text("path,label,group\n" + "".join(f"{n}.mp4,{n},{n}\n" for n in names))
    assert [(s.label, s.group) for s in read_table(table)] == [(n, n) for n in names]


def test_a_row_may_stand_several_times(tmp_path: Path) -> None:
    table = tmp_path / "data.csv"
    table.write_text("path,label\n" + 3 * "a.mp4,walk\n")
    assert len(read_table(table)) == 3


def test_files_of_one_name_are_told_apart_and_copies_are_not(tmp_path: Path) -> None:
    known = "v_YoYo_g01_c01.avi"
    root = _tree(
        tmp_path / "set",
        ["run/1.mp4", "walk/ada/1.mp4", "walk/bo/1.mp4", "walk/bo/2.mp4", f"YoYo/a/{known}",
         f"YoYo/b/{known}", "sit/1.mp4", "sit/sit/1.mp4"],
    )  # fmt: skip
    ids = [s.id for s in open_dataset(str(root), tmp_path).samples]
    assert ids == [
        f"YoYo/{known}", f"YoYo/{known}", "run/1.mp4", "sit/set/sit/1.mp4", "sit/sit/sit/1.mp4",
        "walk/ada/1.mp4", "walk/bo/1.mp4", "walk/2.mp4",
    ]  # fmt: skip
    table = tmp_path / "t.csv"
    table.write_text("path,label\nset/walk/bo/1.mp4,walk\nset/../set/walk/bo/1.mp4,walk\n")
    assert {s.id for s in open_dataset(str(table), tmp_path).samples} == {"walk/1.mp4"}


def test_classes_that_look_alike_are_doubted(tmp_path: Path) -> None:
    root = _tree(tmp_path / "set", ["red/a.mp4", "RED/b.mp4", "blue /c.mp4", "green/c.mp4"])
    assert doubt_classes(open_dataset(str(root), tmp_path)) == (
        "classes 'RED' and 'red' differ only in case or spaces; give the same class one name"
    )
    assert doubt_classes(open_dataset(str(_tree(tmp_path / "x", ["a/1.mp4"])), tmp_path)) is None


def test_data_argument(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"nonsense: no such folder; .* hmdb51:ROOT, ucf101:ROOT"):
        open_dataset("nonsense", tmp_path)
    root = _tree(tmp_path / "set", ["b/x_1.mp4", "a/y.mp4"])
    data = open_dataset(str(root), tmp_path)
    assert (data.name, data.classes, data.official) == ("folder", ("a", "b"), {})
    assert [s.id for s in data.samples] == ["a/y.mp4", "b/x_1.mp4"]
    assert data.missing == data.extra == ()
    table = tmp_path / "t.csv"
    table.write_text("path,label,split\na.mp4,walk,train\nb.mp4,run,\n")
    listed = open_dataset(str(table), tmp_path)
    assert (listed.name, [s.split for s in listed.samples]) == ("table", ["train", ""])
    for other in (str(table), "synthetic"):
        with pytest.raises(UsageError, match="--group-pattern works only with a folder"):
            open_dataset(other, tmp_path, group_pattern="x")


def test_synthetic_data_tells_of_each_clip_it_makes(tmp_path: Path) -> None:
    from vidlabel.synthetic.clips import ACTIONS

    old = [f"synthetic/{k}/{k}_0000{n}.mp4" for k in ACTIONS for n in (5, 6)]
    _tree(tmp_path, old[1:])
    with pytest.raises(UsageError, match="--per-class must be at least 1, got 0"):
        open_dataset("synthetic", tmp_path, per_class=0)
    told: list[int] = []
    data = open_dataset("synthetic", tmp_path, per_class=2, seed=5, on_clip=lambda: told.append(1))
    assert (data.name, len(data.samples), len(told)) == ("synthetic", 2 * len(ACTIONS), 1)
    assert data.classes == tuple(sorted(ACTIONS))
    assert data.samples[0].path == str(
        tmp_path / "synthetic" / ACTIONS[0] / f"{ACTIONS[0]}_00005.mp4"
    )


_groups = st.lists(
    st.tuples(st.sampled_from("abc"), st.integers(0, 8)), min_size=12, max_size=80
).map(lambda pairs: [Sample(f"{i}.mp4", k, f"g{g}") for i, (k, g) in enumerate(pairs)])


@given(_groups, st.floats(0.1, 0.5), st.integers(0, 5))
def test_b2_52_a_group_is_never_divided(samples: list[Sample], fraction: float, seed: int) -> None:
    try:
        done = hold_out(samples, fraction, seed)
    except UsageError:  # every class sits in one group: nothing can be held out
        return
    parts = {s.split: {t.group for t in done if t.split == s.split} for s in done}
    assert parts["train"].isdisjoint(parts["val"])
    assert {s.label for s in done} == {s.label for s in done if s.split == "train"}
    assert [(s.path, s.label, s.group) for s in done] == [
        (s.path, s.label, s.group) for s in samples
    ]
    assert done == hold_out(samples, fraction, seed)


def test_about_the_fraction_is_held_out_of_each_class() -> None:
    samples = [Sample(f"{k}{i}.mp4", k, f"g{i}") for k in "abcd" for i in range(20)]
    done = hold_out(samples, 0.25, seed=3)
    held = Counter(s.label for s in done if s.split == "val")
    assert all(4 <= held[k] <= 6 for k in "abcd")


def test_a_class_of_few_clips_has_one_held_out_too() -> None:
    sizes = {"a": 20, "b": 2, "c": 1}
    samples = [Sample(f"{k}{i}.mp4", k, f"{k}{i}") for k, n in sizes.items() for i in range(n)]
    for seed in range(5):
        held = Counter(s.label for s in hold_out(samples, 0.2, seed) if s.split == "val")
        assert held == {"a": 4, "b": 1}, "the only clip of c is needed for training"
    two_groups = [Sample(f"{i}.mp4", "ab"[i % 2], f"g{i > 1}") for i in range(12)]
    held = Counter(s.group for s in hold_out(two_groups, 0.2, 0) if s.split == "val")
    assert held == {"gFalse": 2}, "the smaller group"


def test_given_splits_are_kept_and_checked() -> None:
    good = [Sample("a", "x", "g1", "train"), Sample("b", "y", "g2", "val")]
    assert hold_out(good, 0.2, 0) == good
    with pytest.raises(UsageError, match="group g1"):
        hold_out([good[0], Sample("c", "y", "g1", "val")], 0.2, 0)
    with pytest.raises(UsageError, match="--val-fraction"):
        hold_out(good, 1.0, 0)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([("a", "1", ""), ("b", "1", "")], "class a has only one video; every class needs"),
        ([("a", "1", ""), ("a", "2", "train"), ("b", "1", ""), ("a", "1", "")],
         r"all 2 videos of class a are of one group, 1; every class needs .* --group-pattern"),
        ([("a", "1", "train"), ("b", "2", "train")], "to choose the epoch on: none has split val"),
        ([("a", "1", "val"), ("b", "2", "val")], "no video to train on: none has split train"),
    ],
)  # fmt: skip
def test_why_nothing_can_be_held_out(rows: list[tuple[str, str, Split]], message: str) -> None:
    samples = [Sample(f"{i}.mp4", *row) for i, row in enumerate(rows)]
    with pytest.raises(UsageError, match=message):
        hold_out(samples, 0.2, 0)


def test_a_small_fraction_still_holds_out_one_of_each_class() -> None:
    samples = [Sample(f"{k}{i}.mp4", k, f"{k}{i}") for k in "ab" for i in range(3)]
    held = Counter(s.label for s in hold_out(samples, 0.001, 0) if s.split == "val")
    assert held == {"a": 1, "b": 1}


def test_classes_are_sorted_and_at_least_two() -> None:
    samples = [Sample("a", "run", "1"), Sample("b", "bend", "2"), Sample("c", "run", "3")]
    assert class_names(samples) == ("bend", "run")
    with pytest.raises(UsageError, match="at least 2"):
        class_names(samples[:1])


def test_generated_clips_are_videos_made_once(tmp_path: Path) -> None:
    from vidlabel.datasets.generate import generate_clips
    from vidlabel.synthetic.clips import describe_clip
    from vidlabel.video.reader import probe

    (first,) = generate_clips(tmp_path, 1, seed=3, actions=("walk",))
    clip = describe_clip("walk", 3)
    info = probe(first.path)
    assert (first.label, Path(first.path).name) == ("walk", "walk_00003.mp4")
    assert (info.frames, info.width_px, info.height_px) == (
        clip.frames, clip.width_px, clip.height_px,
    )  # fmt: skip
    written = Path(first.path).stat().st_mtime_ns
    told: list[int] = []
    again = generate_clips(tmp_path, 3, seed=3, actions=("walk",), on_clip=lambda: told.append(1))
    assert len(told) == 2
    assert Path(first.path).stat().st_mtime_ns == written
    assert len({sample.group for sample in again}) == 3
    assert [p.name for p in (tmp_path / "walk").iterdir() if p.name.startswith(".")] == []
    with pytest.raises(ValueError, match="nonsense"):
        generate_clips(tmp_path, 1, actions=("nonsense",))
