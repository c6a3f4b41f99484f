"""Train and measure the `starter` model: real clips of three public sets and synthetic ones.

    python weights/make_starter.py train DATA --work RUNS     # the recipe, from nothing
    python weights/make_starter.py measure DATA               # accuracy on the held-out groups

DATA is a folder with the sets in `weizmann/<class>/*.avi`, `ut_interaction/<class>/*.avi` and
`surveillance_fight/<class>/*.mp4`, named as their authors name them; `measure` also looks at
`hmdb51_sample/<class>/*.avi`. Which groups are held out stands in `real_samples`.
"""

from __future__ import annotations

import argparse
import csv
import re
import shutil
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from vidlabel import load_labeller
from vidlabel.checkpoint import Header, load_checkpoint, save_checkpoint
from vidlabel.datasets.generate import generate_clips
from vidlabel.datasets.samples import Sample
from vidlabel.datasets.table import read_table
from vidlabel.predict import PredictSpec
from vidlabel.recipes import TrainSpec
from vidlabel.specs import ClipSpec, ModelSpec
from vidlabel.train import train
from vidlabel.watch import Epoch, Watch

# Weizmann's names -> ours: HMDB51's where the action is the same.
NAMES = {
    "jack": "jumping_jack",
    "pjump": "jump_in_place",
    "side": "side_gallop",
    "wave1": "wave",
    "wave2": "wave_both_hands",
}
HELD_OUT_PEOPLE = ("eli", "moshe")
HELD_OUT_SEQUENCES = (3, 7)  # last digit of the sequence number: 2 of 8 in either set
HELD_OUT_BLOCKS = (2, 6, 10)  # of 10 neighbouring clip numbers each

CLIP = ClipSpec(frames=12, size_px=80, resize_px=90, input="motion")
FAST_CLIP = ClipSpec(frames=6, size_px=64, resize_px=72, input="motion")
MODEL = ModelSpec()
SYNTHETIC_PER_CLASS = 45

# How often a clip of each set is seen per epoch, so that no set and no class is drowned.
FIRST = {"synthetic": 1, "weizmann": 4, "ut_interaction": 4, "surveillance_fight": 1}
SECOND = {"synthetic": 1, "weizmann": 8, "ut_interaction": 6, "surveillance_fight": 2}


def real_samples(data: Path) -> dict[str, list[Sample]]:
    """The clips of each set with their group and part; `val` is held out and never trained on."""
    sets: dict[str, list[Sample]] = defaultdict(list)
    for path in sorted(data.glob("weizmann/*/*.avi")):
        person = path.stem.split("_")[0]
        label = NAMES.get(path.parent.name, path.parent.name)
        part = "val" if person in HELD_OUT_PEOPLE else "train"
        sets["weizmann"].append(Sample(str(path.absolute()), label, f"weizmann/{person}", part))
    for path in sorted(data.glob("ut_interaction/*/*.avi")):
        group = path.stem.rsplit("_", 1)[0]
        part = "val" if int(group[-1]) in HELD_OUT_SEQUENCES else "train"
        sets["ut_interaction"].append(
            Sample(str(path.absolute()), path.parent.name, f"ut/{group}", part)
        )
    for path in sorted(data.glob("surveillance_fight/*/*.mp4")):
        block = (int(re.sub(r"\D", "", path.stem)) - 1) // 10
        part = "val" if block in HELD_OUT_BLOCKS else "train"
        group = f"fight/{path.parent.name}/{block}"
        sets["surveillance_fight"].append(
            Sample(str(path.absolute()), path.parent.name, group, part)
        )
    return sets


def write_table(table: Path, sets: dict[str, list[Sample]], times: dict[str, int]) -> None:
    """A training table in which each training clip stands as often as its set asks for."""
    with table.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", "group", "split"])
        for name, samples in sets.items():
            for sample in samples:
                row = [sample.path, sample.label, sample.group, sample.split]
                writer.writerows([row] * (times[name] if sample.split == "train" else 1))


def train_starter(data: Path, work: Path, epochs: tuple[int, int]) -> None:
    """Both stages, and the result as weights/starter.safetensors."""
    work.mkdir(parents=True, exist_ok=True)
    sets = real_samples(data)
    generated = generate_clips(work / "synthetic", SYNTHETIC_PER_CLASS, processes=2)
    sets["synthetic"] = [
        Sample(str(Path(s.path).absolute()), s.label, f"synthetic/{s.group}", "train")
        for s in generated
    ]
    stages = [
        ("first", FIRST, FAST_CLIP, TrainSpec(epochs=epochs[0], lr=5e-4)),
        ("second", SECOND, CLIP, TrainSpec(epochs=epochs[1], lr=5e-4)),
    ]
    init = ""
    for name, times, clip, spec in stages:
        table = work / f"{name}.csv"
        write_table(table, sets, times)
        spec = replace(spec, init=init)
        result = train(read_table(table), work / name, spec, clip, MODEL, watch=_Shown())
        # The last epoch, not the best on the held-out groups: their accuracy stays unbiased.
        init = str(result.checkpoint.with_name("last.safetensors"))
    shipped = Path(__file__).parent / "starter.safetensors"
    publish(Path(init), shipped)


def publish(source: Path, target: Path) -> None:
    """Copy a checkpoint with a description of its data instead of this machine's paths."""
    checkpoint = load_checkpoint(str(source))
    old = checkpoint.header
    training = {
        "data": "Weizmann actions, UT-Interaction, Surveillance Camera Fight, synthetic clips",
        "recipe": "weights/make_starter.py",
        "videos": old.training["videos"],
        "held_out": "Weizmann: eli, moshe; UT-Interaction: sequences 3, 7, 13, 17; "
        "Surveillance Camera Fight: clips 21-30, 61-70, 101-110 of either class",
    }
    header = Header(
        old.model, old.clip, old.classes, old.temperature, training, old.metrics, old.trained_on
    )
    if target.exists():
        shutil.copy(target, target.with_suffix(".before"))
    save_checkpoint(target, header, checkpoint.network)


def measure(data: Path, model: str, views: int) -> None:
    """Accuracy per set on the groups that were not trained on, and on clips of other sets."""
    labeller = load_labeller(model)
    sets = {name: [s for s in ss if s.split == "val"] for name, ss in real_samples(data).items()}
    hmdb = [
        Sample(str(p), p.parent.name, "", "val")
        for p in sorted(data.glob("hmdb51_sample/*/*.avi"))
        if p.parent.name in labeller.classes
    ]
    unseen = [
        Sample(s.path, s.label, "", "val")
        for s in generate_clips(Path("unseen_synthetic"), 5, seed=600000, processes=2)
    ]
    for name, samples in {**sets, "hmdb51_sample": hmdb, "synthetic": unseen}.items():
        _report(
            name, samples, labeller.predict((s.path for s in samples), PredictSpec(views=views))
        )
    shutil.rmtree("unseen_synthetic")


def _report(name: str, samples: list[Sample], rows: Iterable) -> None:  # type: ignore[type-arg]
    right1 = right5 = 0
    per_class: dict[str, list[bool]] = defaultdict(list)
    for sample, row in zip(samples, rows, strict=True):
        names = [label for label, _ in row.top]
        per_class[sample.label].append(row.label == sample.label)
        right1 += row.label == sample.label
        right5 += sample.label in names[:5]
    total = len(samples)
    print(f"{name}: top-1 {right1}/{total} = {right1 / total:.1%}, top-5 {right5 / total:.1%}")
    print("   " + ", ".join(f"{k} {sum(v)}/{len(v)}" for k, v in sorted(per_class.items())))


class _Shown(Watch):
    """A line for each epoch."""

    def epoch(self, line: Epoch, best: bool) -> None:
        print(
            f"{line.epoch}: loss {line.train_loss:.3f} top-1 {line.train_top1:.3f}; held out "
            f"{line.val_loss:.3f} {line.val_top1:.3f}; {line.seconds:.0f} s",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("command", choices=["train", "measure"])
    parser.add_argument("data", type=Path)
    parser.add_argument("--work", type=Path, default=Path("runs/starter"))
    parser.add_argument("--epochs", type=int, nargs=2, default=(20, 7))
    parser.add_argument("--model", default="starter")
    parser.add_argument("--views", type=int, default=1)
    options = parser.parse_args()
    if options.command == "train":
        train_starter(options.data, options.work, tuple(options.epochs))
    else:
        measure(options.data, options.model, options.views)


if __name__ == "__main__":
    main()
