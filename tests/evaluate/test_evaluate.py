"""Evaluation: the numbers of predict, set against the truth; leaks named; reports complete."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fakes import COLOURS, colour_checkpoint, colour_video, random_checkpoint
from PIL import Image

from vidlabel import load_labeller
from vidlabel.datasets.class_map import ClassMap
from vidlabel.datasets.protocols import Fold
from vidlabel.datasets.samples import Sample
from vidlabel.errors import RunError, UsageError
from vidlabel.evaluate.choice import ClassChoice
from vidlabel.evaluate.evaluate import Evaluation, across, check_classes, evaluate, merge
from vidlabel.evaluate.job import model_of
from vidlabel.evaluate.leak_check import check_leak
from vidlabel.evaluate.plots import plot_confusion, plot_reliability
from vidlabel.evaluate.report import mistakes, summarise, write_report
from vidlabel.models.checkpoint import load_checkpoint, save_checkpoint
from vidlabel.predict.labeller import Labeller, PredictSpec

pytestmark = pytest.mark.usefixtures("rough_intervals")


@pytest.fixture(scope="session")
def samples(tmp_path_factory: pytest.TempPathFactory) -> list[Sample]:
    """Nine clips; the label of one is wrong, on purpose."""
    folder = tmp_path_factory.mktemp("samples")
    made = []
    for i in range(9):
        colour = COLOURS[i % 3]
        path = colour_video(folder / f"{i}.mp4", colour, 6 + i, seed=i)
        label = "red" if i == 0 else colour  # clip 0 is blue
        made.append(Sample(str(path), label, f"place{i // 3}"))
    return made


@pytest.fixture(scope="session")
def found(samples: list[Sample]) -> Evaluation:
    labeller = Labeller(colour_checkpoint(), "cpu")
    return evaluate(labeller, samples, PredictSpec(), name="split-1", data="colours")


def test_right_and_wrong_are_told_apart(found: Evaluation, samples: list[Sample]) -> None:
    values = summarise(found)
    assert values["videos"] == 9
    assert values["video_level"]["top1"]["value"] == pytest.approx(8 / 9, abs=1e-6)
    assert values["video_level"]["mean_class_accuracy"]["value"] == pytest.approx(
        (1 + 1 + 3 / 4) / 3, abs=1e-6
    )
    assert "top5" not in values["video_level"], "of three classes it is always 1"
    (wrong,) = mistakes(found)
    assert wrong.sample == samples[0]
    assert wrong.row.label == "blue"
    json.dumps(values, allow_nan=False)


@pytest.mark.parametrize("views", [1, 2])
def test_the_probabilities_are_those_of_predict(
    views: int, samples: list[Sample], tmp_path: Path
) -> None:
    labeller = load_labeller(str(random_checkpoint(tmp_path / "m.safetensors")), "cpu")
    spec = PredictSpec(views=views, top_k=3)
    rows = list(labeller.predict([sample.path for sample in samples], spec))
    tested = evaluate(labeller, samples, spec, name="x")
    probabilities, labels = tested.video_level()
    expected = [[dict(row.top)[name] for name in COLOURS] for row in rows]
    np.testing.assert_array_equal(probabilities.numpy(), np.array(expected, dtype=np.float32))
    assert [COLOURS[i] for i in labels] == [sample.label for sample in samples]
    clips, clip_labels = tested.clip_level()
    per_video = 1 if views == 1 else 3 * views
    assert len(clips) == len(clip_labels) == per_video * len(samples)
    mean = clips.numpy().astype(np.float64).reshape(len(samples), per_video, 3).mean(1)
    np.testing.assert_allclose(mean, probabilities.numpy(), rtol=1e-6)
    assert (summarise(tested)["clip_level"] is None) == (views == 1)


def test_unreadable_clips_are_named_and_in_no_figure(samples: list[Sample], tmp_path: Path) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_text("not a video")
    more = [*samples[:4], Sample(str(broken), "red", "nowhere")]
    tested = evaluate(Labeller(colour_checkpoint(), "cpu"), more, PredictSpec(), name="x")
    values = summarise(tested)
    assert values["unreadable"] == [str(broken)]
    assert values["video_level"]["top1"]["value"] == 0.75
    with pytest.raises(RunError, match="none of 1 test clips"):
        evaluate(Labeller(colour_checkpoint(), "cpu"), more[4:], PredictSpec(), name="x", data="d")


def test_classes_that_differ_are_one_clear_line(samples: list[Sample]) -> None:
    known = colour_checkpoint().header.classes
    with pytest.raises(UsageError, match=r"colours: 1 of its 4 classes are unknown .*\(pink\)"):
        check_classes(known, [*samples, Sample("x", "pink", "")], "colours")
    with pytest.raises(UsageError, match="no clips to test"):
        check_classes(known, [], "colours")
    assert check_classes(known, samples, "") == ()
    (note,) = check_classes(known, samples[:2], "")
    assert note == "no test clips of 1 class: blue"


@pytest.mark.parametrize("views", [1, 2])
def test_some_classes_are_tested_as_predict_labels_them(
    views: int, samples: list[Sample], tmp_path: Path
) -> None:
    labeller = load_labeller(str(random_checkpoint(tmp_path / "m.safetensors")), "cpu")
    spec = PredictSpec(views=views, classes=("red", "blue"))
    choice = ClassChoice(classes=spec.classes)
    tested = evaluate(labeller, samples, spec, name="x", choice=choice)
    assert (tested.classes, tested.model) == (
        ("blue", "red"), f"{labeller.checkpoint.id}[blue,red]",
    )  # fmt: skip
    kept = [sample for sample in samples if sample.label != "green"]
    assert [each.sample for each in tested.tested] == kept
    assert "3 clips of 1 other class left out: green 3" in tested.notes
    rows = list(labeller.predict([sample.path for sample in kept], spec))
    assert {row.model for row in rows} == {tested.model}
    assert [(row.label, row.top) for row in rows] == [
        (each.row.label, each.row.top) for each in tested.tested
    ]
    probabilities, _ = tested.video_level()
    expected = [[dict(row.top)[name] for name in tested.classes] for row in rows]
    np.testing.assert_array_equal(probabilities.numpy(), np.array(expected, dtype=np.float32))
    np.testing.assert_allclose(tested.clip_level()[0].sum(1), 1, rtol=1e-6)
    all_of = list(labeller.predict([sample.path for sample in kept], PredictSpec(views=views)))
    for row, whole in zip(rows, all_of, strict=True):
        of = dict(whole.top)
        share = of["red"] / (of["red"] + of["blue"])
        assert dict(row.top)["red"] == pytest.approx(share, abs=1e-6)


def test_classes_are_joined_on_both_sides(samples: list[Sample], tmp_path: Path) -> None:
    names = ClassMap({"blue": "cold", "green": "cold", "red": "warm"})
    labeller = load_labeller(str(random_checkpoint(tmp_path / "m.safetensors")), "cpu")
    plain = evaluate(labeller, samples, PredictSpec(), name="x").video_level()[0]
    tested = evaluate(
        labeller, names.samples(samples), PredictSpec(), name="x", choice=ClassChoice(names)
    )
    assert tested.classes == ("cold", "warm")
    probabilities, labels = tested.video_level()
    np.testing.assert_allclose(probabilities[:, 0], plain[:, 0] + plain[:, 1], atol=1e-6)
    assert [tested.classes[i] for i in labels] == [names.of(s.label) for s in samples]
    assert [each.row.label == "warm" for each in tested.tested] == (plain[:, 2] > 0.5).tolist()
    assert "cold is any of blue, green" in tested.notes
    with pytest.raises(UsageError, match="all classes of m become one, x"):
        ClassChoice(ClassMap(dict.fromkeys(COLOURS, "x"))).of(COLOURS, "m")


def test_unknown_classes_are_left_out_and_counted(samples: list[Sample], tmp_path: Path) -> None:
    labeller = Labeller(colour_checkpoint(), "cpu")
    more = [*samples, replace(samples[3], label="greenish"), replace(samples[4], label="pink")]
    with pytest.raises(UsageError, match=r"unknown to the model \(greenish \(did you mean green\?"):
        evaluate(labeller, more, PredictSpec(), name="x")
    choice = ClassChoice(ignore_unknown=True)
    tested = evaluate(labeller, more, PredictSpec(), name="x", choice=choice)
    assert [each.sample for each in tested.tested] == samples
    assert tested.classes == COLOURS
    assert "2 clips of 2 other classes left out: greenish 1, pink 1" in tested.notes
    with pytest.raises(UsageError, match="no clips to test"):
        evaluate(labeller, more[-2:], PredictSpec(), name="x", choice=choice)
    with pytest.raises(UsageError, match=r"classes: colours@0+ does not know bleu \(did you mean"):
        evaluate(labeller, more, PredictSpec(), name="x", choice=ClassChoice(classes=("bleu,red",)))


def test_known_clips_are_found_and_reported_apart(samples: list[Sample]) -> None:
    plain = colour_checkpoint()
    header = replace(
        plain.header,
        trained_on=(samples[0].id, samples[1].id),
        sources=("place0",),
        selected_on=(samples[3].id,),
    )
    fold = Fold("split-1", (), (), tuple(samples))
    with pytest.raises(
        UsageError,
        match=r"of 9 test clips of split-1, 2 were trained on, 1 share a source .* 1 were used .*, "
        r"such as .*0\.mp4 \(group place0\); .*--allow-leak of eval, .* apart; clips with the same "
        r"class and file name count as one clip",
    ):
        check_leak(header, fold, "m", allowed=False)
    siblings = replace(header, trained_on=(), selected_on=())
    with pytest.raises(UsageError, match=r"3 share a source .* --allow-leak of eval, .* apart$"):
        check_leak(siblings, fold, "m", allowed=False)
    assert check_leak(header, fold, "m", allowed=True).seen == 2
    assert check_leak(plain.header, fold, "m", allowed=False).seen == 0
    labeller = Labeller(replace(plain, header=header), "cpu")
    tested = evaluate(labeller, samples, PredictSpec(), name="x")
    kinds = [each.kind for each in tested.tested]
    assert kinds == ["seen", "seen", "sibling", "selected", "new", "new", "new", "new", "new"]
    parts = summarise(tested)["by_kind"]
    assert {kind: part["videos"] for kind, part in parts.items()} == {
        "seen": 2, "sibling": 1, "selected": 1, "new": 5,
    }  # fmt: skip
    assert parts["seen"]["top1"]["value"] == 0.5
    assert "by_kind" not in summarise(
        evaluate(Labeller(plain, "cpu"), samples, PredictSpec(), name="")
    )


def test_folds_are_merged(found: Evaluation) -> None:
    half = replace(found, name="a", tested=found.tested[:4])
    rest = replace(found, name="b", tested=found.tested[4:])
    whole = merge([half, rest], "both")
    assert whole.tested == found.tested
    assert summarise(whole)["video_level"] == summarise(found)["video_level"]
    spread = across([summarise(half), summarise(rest)])["top1"]
    assert spread["mean"] == pytest.approx((3 / 4 + 5 / 5) / 2)
    assert spread["std"] == pytest.approx(np.std([0.75, 1.0], ddof=1))
    with pytest.raises(UsageError, match="same classes"):
        merge([half, replace(rest, classes=("a", "b", "c"))], "both")


def test_the_report_is_complete(found: Evaluation, tmp_path: Path) -> None:
    write_report(tmp_path / "r", found, summarise(found))
    names = {path.name for path in (tmp_path / "r").iterdir()}
    assert names == {
        "metrics.json", "per_class.csv", "predictions.csv", "confusion.png", "reliability.png",
    }  # fmt: skip
    with (tmp_path / "r" / "per_class.csv").open(newline="") as file:
        rows = {row["class"]: row for row in csv.DictReader(file)}
    assert rows["red"]["videos"] == "4"
    assert rows["red"]["right"] == "3"
    assert rows["red"]["most_confused_with"] == "blue"
    with (tmp_path / "r" / "predictions.csv").open(newline="") as file:
        clips = list(csv.DictReader(file))
    assert [int(clip["right"]) for clip in clips] == [0, *[1] * 8]
    assert clips[0]["truth"] == "red"
    assert clips[0]["top1_label"] == "blue"
    values = json.loads((tmp_path / "r" / "metrics.json").read_text())
    assert values["video_level"]["top1"]["low"] < values["video_level"]["top1"]["value"]
    for picture in ("confusion.png", "reliability.png"):
        with Image.open(tmp_path / "r" / picture) as image:
            image.load()
            assert min(image.size) > 300
            assert len(np.unique(np.asarray(image.convert("L")))) > 5, "it is not blank"


def test_odd_class_names_are_plotted(tmp_path: Path) -> None:
    names = ["$x^2", "[bold]", "n" * 100, "esc\x1b[31m", "走る"]
    plot_confusion(tmp_path / "c.png", np.diag([1, 2, 3, 0, 1]), names, "$\\frac{")
    plot_reliability(tmp_path / "r.png", {"a": np.eye(3)}, np.array([0, 1, 1]))
    assert (tmp_path / "c.png").stat().st_size > 1000


def test_which_model_tests_a_fold(tmp_path: Path) -> None:
    folds = [Fold("a", (), (), ()), Fold("b", (), (), ())]
    (tmp_path / "a").mkdir()
    save_checkpoint_like(tmp_path / "a" / "best.safetensors")
    assert model_of(str(tmp_path), folds, folds[0]).endswith("a/best.safetensors")
    with pytest.raises(
        UsageError, match="has no model for b: it is not the run folder of a training"
    ):
        model_of(str(tmp_path), folds, folds[1])
    with pytest.raises(UsageError, match="2 folds need a model each"):
        model_of("x.safetensors", folds, folds[0])
    assert model_of("x.safetensors", folds[:1], folds[0]) == "x.safetensors"


@pytest.mark.field
@pytest.mark.parametrize(
    ("plan", "wanted", "told"),
    [
        ({"split-1": []}, ["split-1"], "no epoch of its training is finished; run the same"),
        ({"split-1": [1]}, ["split-1", "split-2"], "trained on official: split-1; test that"),
        ({"split-1": [1], "split-2": []}, ["split-1", "split-2"], "split-2: no epoch of its"),
        (None, ["split-1", "split-2"], "trained without a protocol; leave out --protocol"),
        ({}, ["split-1"], "it is not the run folder of a training"),
    ],
)
def test_a_run_without_the_model_says_what_to_do(
    tmp_path: Path, plan: dict[str, list[int]] | None, wanted: list[str], told: str
) -> None:
    """field 21: `eval` before the first epoch, or of other folds than were trained."""
    if plan:
        (tmp_path / "plan.json").write_text(json.dumps({"protocol": "official", "folds": plan}))
    for name, best in (plan or {}).items():
        place = tmp_path if len(plan or {}) == 1 else tmp_path / name
        place.mkdir(exist_ok=True)
        if best:
            (place / "best.safetensors").touch()
    if plan is None:
        (tmp_path / "best.safetensors").touch()
    folds = [Fold(name, (), (), ()) for name in wanted]
    with pytest.raises(UsageError, match=told):
        [model_of(str(tmp_path), folds, fold) for fold in folds]


def save_checkpoint_like(path: Path) -> None:
    """A checkpoint that says what it was trained on, written and read again."""
    plain = load_checkpoint(str(random_checkpoint(path)))
    header = replace(plain.header, trained_on=("a/1",), sources=("s",), selected_on=("a/2",))
    save_checkpoint(path, header, plain.network)
    assert load_checkpoint(str(path)).header == header
