"""Make and measure the `starter` model: real clips of three public sets and synthetic ones.

    python weights/make_starter.py table DATA --work RUNS     # which clips, in which part
    vidlabel train RUNS/starter.csv --config weights/starter.toml --out RUNS/starter
    python weights/make_starter.py publish RUNS/starter
    python weights/make_starter.py measure DATA               # accuracy on the held-out groups

DATA is a folder with the sets in `weizmann/<class>/*.avi`, `ut_interaction/<class>/*.avi` and
`surveillance_fight/<class>/*.mp4`, named as their authors name them; `measure` also looks at
`hmdb51_sample/<class>/*.avi`. Which groups are in which part stands in `real_samples`.
"""

from __future__ import annotations

import argparse
import csv
import json
import re
import tempfile
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from vidlabel import load_labeller
from vidlabel.datasets.generate import generate_clips
from vidlabel.datasets.samples import Sample, Split
from vidlabel.models.checkpoint import load_checkpoint, save_checkpoint
from vidlabel.predict.labeller import PredictSpec

# Weizmann's names -> ours: HMDB51's where the action is the same.
NAMES = {
    "jack": "jumping_jack",
    "pjump": "jump_in_place",
    "side": "side_gallop",
    "wave1": "wave",
    "wave2": "wave_both_hands",
}
TEST_PEOPLE, VAL_PEOPLE = ("eli", "moshe"), ("lena",)
TEST_SEQUENCES, VAL_SEQUENCES = (3, 7), (1,)  # last digit of the number: 2 and 1 of 8 in each set
TEST_BLOCKS, VAL_BLOCKS = (2, 6, 10), (0,)  # of 10 neighbouring clip numbers each
SYNTHETIC_PER_CLASS, SYNTHETIC_VAL = 30, 2

# How often a training clip of each set stands in the table, so that no set is drowned.
TIMES = {"synthetic": 1, "weizmann": 6, "ut_interaction": 4, "surveillance_fight": 2}


def real_samples(data: Path) -> dict[str, list[Sample]]:
    """The clips of each set with their group and part. Nothing was chosen by the `test` part."""
    sets: dict[str, list[Sample]] = defaultdict(list)
    for path in sorted(data.glob("weizmann/*/*.avi")):
        person = path.stem.split("_")[0]
        label = NAMES.get(path.parent.name, path.parent.name)
        part = _part(person, TEST_PEOPLE, VAL_PEOPLE)
        sets["weizmann"].append(Sample(str(path.absolute()), label, f"weizmann/{person}", part))
    for path in sorted(data.glob("ut_interaction/*/*.avi")):
        group = path.stem.rsplit("_", 1)[0]
        part = _part(int(group[-1]), TEST_SEQUENCES, VAL_SEQUENCES)
        label = path.parent.name
        sets["ut_interaction"].append(Sample(str(path.absolute()), label, f"ut/{group}", part))
    for path in sorted(data.glob("surveillance_fight/*/*.mp4")):
        label = path.parent.name
        block = (int(re.sub(r"\D", "", path.stem)) - 1) // 10
        part = _part(block, TEST_BLOCKS, VAL_BLOCKS)
        group = f"fight/{label}/{block}"
        sets["surveillance_fight"].append(Sample(str(path.absolute()), label, group, part))
    return sets


def _part(group: object, test: tuple[object, ...], val: tuple[object, ...]) -> Split:
    return "test" if group in test else "val" if group in val else "train"


def write_table(data: Path, work: Path) -> None:
    """Generate the synthetic clips, and write the table of all clips to `work`/starter.csv."""
    work.mkdir(parents=True, exist_ok=True)
    sets = real_samples(data)
    for made in generate_clips(work / "synthetic", SYNTHETIC_PER_CLASS, processes=2):
        number = int(made.group.rpartition("_")[2])
        part: Split = "val" if number >= SYNTHETIC_PER_CLASS - SYNTHETIC_VAL else "train"
        path = str(Path(made.path).absolute())
        sets["synthetic"].append(Sample(path, made.label, f"synthetic/{made.group}", part))
    with (work / "starter.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", "group", "split"])
        for name, samples in sets.items():
            for sample in samples:
                row = [sample.path, sample.label, sample.group, sample.split]
                writer.writerows([row] * (TIMES[name] if sample.split == "train" else 1))


def publish(run: Path) -> None:
    """Copy a run's best model to weights/starter.safetensors, with what the test gave, and a
    description of its data instead of this machine's paths."""
    checkpoint = load_checkpoint(str(run))
    old = checkpoint.header
    tested = json.loads((run / "report" / "metrics.json").read_text(encoding="utf-8"))
    metrics = {
        "held_out_videos": tested["videos"],
        "held_out_top1": tested["video_level"]["top1"]["value"],
        "held_out_loss": tested["video_level"]["loss"]["value"],
        "held_out_calibration_error": tested["calibration"]["error_after_temperature"],
    }
    training = {
        "data": "Weizmann actions, UT-Interaction, Surveillance Camera Fight, synthetic clips",
        "recipe": "weights/make_starter.py, weights/starter.toml",
        "videos": old.training["videos"],
        "epoch": old.training["epoch"],
        "tested_on": "Weizmann: eli, moshe; UT-Interaction: sequences 3, 7, 13, 17; "
        "Surveillance Camera Fight: clips 21-30, 61-70, 101-110 of either class",
    }
    shipped = Path(__file__).parent / "starter.safetensors"
    save_checkpoint(shipped, replace(old, training=training, metrics=metrics), checkpoint.network)


def measure(data: Path, model: str, views: int) -> None:
    """Accuracy per set on the groups that were not trained on, and on clips of other sets."""
    labeller = load_labeller(model)
    sets = {name: [s for s in ss if s.split == "test"] for name, ss in real_samples(data).items()}
    hmdb = [
        Sample(str(p), p.parent.name, "", "test")
        for p in sorted(data.glob("hmdb51_sample/*/*.avi"))
        if p.parent.name in labeller.classes
    ]
    with tempfile.TemporaryDirectory() as folder:
        unseen = generate_clips(Path(folder), 5, seed=600000, processes=2)
        for name, samples in {**sets, "hmdb51_sample": hmdb, "synthetic": unseen}.items():
            rows = labeller.predict((s.path for s in samples), PredictSpec(views=views))
            _report(name, samples, rows)


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("command", choices=["table", "publish", "measure"])
    parser.add_argument("folder", type=Path, help="DATA, or of publish the run")
    parser.add_argument("--work", type=Path, default=Path("runs"))
    parser.add_argument("--model", default="starter")
    parser.add_argument("--views", type=int, default=1)
    options = parser.parse_args()
    if options.command == "table":
        write_table(options.folder, options.work)
    elif options.command == "publish":
        publish(options.folder)
    else:
        measure(options.folder, options.model, options.views)


if __name__ == "__main__":
    main()
