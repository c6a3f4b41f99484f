"""Make and measure the `starter` model from the real clips of six public sets and generated ones.

    python weights/make_starter.py table DATA --work RUNS     # all clips, their classes and groups
    vidlabel train RUNS/starter.csv --config weights/starter.toml --out RUNS/starter

    # Accuracy on groups that were not trained on: five models, each for the groups left out.
    vidlabel train RUNS/starter.csv --config weights/starter.toml --protocol group-kfold \\
        --out RUNS/folds
    python weights/make_starter.py figures RUNS/folds
    python weights/make_starter.py reencoded RUNS             # the same by another codec, smaller

    # Known against unknown: six models, of each of which other classes were left out.
    for n in 1 2 3 4 5 6; do vidlabel train RUNS/without-$n.csv --config weights/starter.toml \\
        --out RUNS/without-$n; done
    python weights/make_starter.py unknown RUNS

    # Across sets: of the actions that two sets have, the clips of one set were left out.
    for set in weizmann kth ucf101; do vidlabel train RUNS/across-$set.csv \\
        --config weights/starter.toml --out RUNS/across-$set; done
    python weights/make_starter.py across RUNS

    python weights/make_starter.py publish RUNS/starter

DATA is a folder with the sets in `weizmann/<class>/*.avi`, `ut_interaction/<class>/*.avi`,
`surveillance_fight/<class>/*.mp4` beside `sources.csv`, `ucf101/<class>/*.mp4`, `kth/<class>/*.mp4`
and `hmdb51_fencing/fencing/*.mp4`, named as their authors name them. A group (person, sequence,
camera, film) is never both trained on and tested on.
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy import stats
from torch import nn

from vidlabel import load_labeller
from vidlabel.datasets.generate import generate_clips
from vidlabel.models.checkpoint import load_checkpoint, save_checkpoint
from vidlabel.predict.spec import PredictSpec
from vidlabel.video.reader import open_video
from vidlabel.video.write import write_video

# The sets' names -> ours: HMDB51's where the action is the same.
NAMES = {
    "jack": "jumping_jack",
    "pjump": "jump_in_place",
    "side": "side_gallop",
    "wave1": "wave",
    "wave2": "wave_both_hands",
    "running": "run",
    "walking": "walk",
    "BrushingTeeth": "brushing_teeth",
    "CuttingInKitchen": "cutting_in_kitchen",
    "JumpingJack": "jumping_jack",
    "Lunges": "lunges",
    "WallPushups": "wall_pushups",
}
SETS = ("weizmann", "ut_interaction", "surveillance_fight", "ucf101", "kth", "hmdb51_fencing")
LEFT_OUT = (
    ("bend", "kick", "lunges", "run"),
    ("jump", "hug", "brushing_teeth", "jumping_jack"),
    ("jump_in_place", "point", "fencing", "wave"),
    ("side_gallop", "punch", "wall_pushups"),
    ("skip", "push", "cutting_in_kitchen", "walk"),
    ("shake_hands", "wave_both_hands", "fight", "no_fight"),
)
"""Classes left out together: each class once, none with one that it is mixed up with."""
ACROSS = {
    "weizmann": ("jumping_jack", "run", "walk"),
    "kth": ("run", "walk"),
    "ucf101": ("jumping_jack",),
}
"""The actions that a set shares with another, whose clips in this set are left out together."""
MIN_CONFIDENCE = 0.6
"""What nine of ten clips of known classes have or exceed; see `figures` and `unknown`."""
SYNTHETIC_PER_CLASS = 20
COPIES = "copies"
"""The folder of the re-encoded clips for training."""
TIMES = {"weizmann": 4, "ut_interaction": 3}
"""How often a clip of a set stands in the table, so that small classes are seen often enough."""


class Encoding(NamedTuple):
    """How a clip is encoded again: smaller, at fewer frames per second, with loss."""

    height_px: int
    fps: float
    codec: str
    options: tuple[tuple[str, str], ...]


UNSEEN_ENCODING = Encoding(120, 15, "mpeg4", (("qscale", "7"), ("flags", "+qscale")))
"""That of the test clips of `reencoded`; copies for training are of another codec."""
SEEN_ENCODINGS = tuple(
    Encoding(height, fps, "libx264", (("crf", crf), ("preset", "veryfast")))
    for height in (96, 128, 160, 200)
    for fps in (10, 12.5, 20, 25)
    for crf in ("26", "32", "38")
)
"""Those of the copies for training, one of which is drawn for each clip."""


def encode_again(job: tuple[Path, Path, Encoding]) -> None:
    """Write a clip (first path) to another file (second path)."""
    source, copy, encoding = job
    if copy.exists():
        return
    with open_video(source) as video:
        count = max(2, int(video.duration_s * encoding.fps))
        times = [number / encoding.fps for number in range(count)]
        pixels = video.frames_at(times, encoding.height_px, "rgb").pixels
    height, width = (length // 2 * 2 for length in pixels.shape[1:3])
    copy.parent.mkdir(parents=True, exist_ok=True)
    part = copy.with_stem(copy.stem + ".part")
    write_video(
        part, pixels[:, :height, :width], encoding.fps, encoding.codec, dict(encoding.options)
    )
    part.replace(copy)


def encode_all(jobs: list[tuple[Path, Path, Encoding]]) -> None:
    with ProcessPoolExecutor(2) as pool:
        list(pool.map(encode_again, jobs, chunksize=8))


def real_clips(data: Path) -> Iterator[tuple[str, Path, str, str]]:
    """Set, path, class and group of each clip."""
    with (data / "surveillance_fight" / "sources.csv").open(encoding="utf-8") as file:
        sources = {row["clip"]: row["source"] for row in csv.DictReader(file)}
    for name in SETS:
        for path in sorted((data / name).glob("*/*.*")):
            label = path.parent.name
            group = _group(name, label, path, sources)
            yield name, path.absolute(), NAMES.get(label, label), f"{name}/{group}"


def _group(name: str, label: str, path: Path, sources: dict[str, str]) -> str:
    if name == "surveillance_fight":
        return sources[path.name]
    if name == "ucf101":  # group 8 of one class is not that of another
        found = re.search(r"_(g\d+)_", path.name)
        assert found, path
        return f"{label}_{found[1]}"
    if name == "hmdb51_fencing":
        return path.stem.split("_fencing_")[0]
    if name == "ut_interaction":
        return path.stem.rsplit("_", 1)[0]
    return path.stem.split("_")[0]  # a person


def write_tables(data: Path, work: Path) -> None:
    """Write the table of all clips to `work`/starter.csv, and those without some classes, or
    without those of one set. Each real clip has a copy that was encoded again, which belongs to the
    same group."""
    work.mkdir(parents=True, exist_ok=True)
    made = generate_clips((work / "synthetic").absolute(), SYNTHETIC_PER_CLASS, processes=2)
    generated = [
        ("synthetic", Path(each.path), each.label, f"synthetic/{each.group}") for each in made
    ]
    clips, jobs = list(real_clips(data)), []
    draw = random.Random(0)
    for origin, path, label, group in tuple(clips):
        copy = (work / COPIES / origin / path.parent.name / path.name).absolute()
        jobs.append((path, copy.with_suffix(".mp4"), draw.choice(SEEN_ENCODINGS)))
        clips.append((origin, jobs[-1][1], label, group))
    encode_all(jobs)
    clips += generated
    _write_table(work / "starter.csv", clips)
    for number, left_out in enumerate(LEFT_OUT, 1):
        kept = [clip for clip in clips if clip[2] not in left_out]
        _write_table(work / f"without-{number}.csv", kept)
    for name, shared in ACROSS.items():
        kept = [clip for clip in clips if clip[0] != name or clip[2] not in shared]
        _write_table(work / f"across-{name}.csv", kept)


def _write_table(path: Path, clips: Sequence[tuple[str, Path, str, str]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", "group"])
        for origin, clip, label, group in clips:
            writer.writerows([[clip, label, group]] * TIMES.get(origin, 1))


def fold_rows(folds: Path) -> list[dict[str, str]]:
    """What the model of each fold says of its test clips; a row for each clip of all sets."""
    with (folds / "report" / "predictions.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def real_rows(folds: Path) -> list[dict[str, str]]:
    """Those of the real clips as they are."""
    return [row for row in fold_rows(folds) if _origin(row) in SETS]


def _origin(row: dict[str, str]) -> str:
    """The set that a row's clip is from, or that it is a copy."""
    return COPIES if COPIES in Path(row["path"]).parts else row["group"].partition("/")[0]


def show_figures(folds: Path) -> None:
    """Accuracy by set of the folds' test clips, each predicted by the model that never saw its
    group, with Wilson's interval; and calibration over all of them."""
    by_set: dict[str, list[bool]] = defaultdict(list)
    by_class: dict[str, list[bool]] = defaultdict(list)
    for row in fold_rows(folds):
        is_right = row["top1_label"] == row["truth"]
        by_set[_origin(row)].append(is_right)
    rows = real_rows(folds)
    for row in rows:
        is_right = row["top1_label"] == row["truth"]
        by_class[row["truth"]].append(is_right)
    for name, found in by_set.items():
        print(f"{name}: {_share(found)}")
    print(f"all real ones: {_share([row['top1_label'] == row['truth'] for row in rows])}")
    print(", ".join(f"{name} {sum(v)}/{len(v)}" for name, v in sorted(by_class.items())))
    sure = np.array([float(row["top1_confidence"]) for row in rows])
    right = np.array([row["top1_label"] == row["truth"] for row in rows])
    places = np.minimum((sure * 15).astype(int), 14)
    error = sum(abs(sure[places == k].sum() - right[places == k].sum()) for k in range(15))
    print(f"expected calibration error over 15 bins: {error / len(rows):.3f}")
    for least in (0.3, 0.4, 0.5, 0.6, 0.7):
        kept = sure >= least
        print(f"over {least}: {kept.mean():.0%} of the clips, {right[kept].mean():.1%} right")


def _share(right: Sequence[bool]) -> str:
    interval = stats.binomtest(sum(right), len(right)).proportion_ci(method="wilson")
    return (
        f"{sum(right)} of {len(right)} = {np.mean(right):.1%} "
        f"({interval.low:.1%} to {interval.high:.1%})"
    )


def show_reencoded(work: Path) -> None:
    """Accuracy of the folds' real test clips as they are, and encoded again by a codec, to a size
    and at a frame rate that were not trained on; each by the model that never saw its group."""
    rows = {row["path"]: row for row in real_rows(work / "folds")}
    copies = {
        path: (work / "unseen" / f"{number}.avi").absolute() for number, path in enumerate(rows)
    }
    encode_all([(Path(path), copy, UNSEEN_ENCODING) for path, copy in copies.items()])
    as_is, again = [], []
    for fold in sorted((work / "folds").glob("fold-*")):
        with (fold / "split.csv").open(encoding="utf-8") as file:
            seen = {row["path"] for row in csv.DictReader(file)}
        tested = [path for path in rows if path not in seen]
        found = load_labeller(str(fold)).predict([copies[path] for path in tested], PredictSpec())
        for path, prediction in zip(tested, found, strict=True):
            truth = rows[path]["truth"]
            as_is.append(rows[path]["top1_label"] == truth)
            again.append(bool(prediction.top) and prediction.top[0][0] == truth)
    print(f"as they are: {_share(as_is)}")
    print(f"encoded again: {_share(again)}")


def show_unknown(work: Path) -> None:
    """How well confidence tells real clips of classes that were left out from those of known
    classes in groups that were not trained on, and the confidence that keeps 90 % of the latter."""
    with (work / "starter.csv").open(encoding="utf-8") as file:
        clips = {row["path"]: row["label"] for row in csv.DictReader(file) if _origin(row) in SETS}
    known, unknown = [], []
    for number, left_out in enumerate(LEFT_OUT, 1):
        run = work / f"without-{number}"
        if not run.is_dir():  # not trained
            continue
        with (run / "split.csv").open(encoding="utf-8") as file:
            rows = [row for row in csv.DictReader(file) if row["split"] == "val"]
        held = sorted({row["path"] for row in rows if _origin(row) in SETS})
        away = sorted(path for path, label in clips.items() if label in left_out)
        labeller = load_labeller(str(run))
        sure = [
            np.array([row.confidence for row in labeller.predict(paths, PredictSpec())])
            for paths in (held, away)
        ]
        print(f"{', '.join(left_out)}: AUROC {_auroc(*sure):.3f}")
        known.append(sure[0])
        unknown.append(sure[1])
    together = np.concatenate(known), np.concatenate(unknown)
    least = float(np.quantile(together[0], 0.1))
    print(f"all: AUROC {_auroc(*together):.3f}; {least:.2f} keeps 90 % of the known, ", end="")
    print(f"and {np.mean(together[1] >= least):.0%} of the unknown")


def show_across(work: Path) -> None:
    """Accuracy on the clips of one set by a model that knows their classes from other sets only."""
    with (work / "starter.csv").open(encoding="utf-8") as file:
        clips = {row["path"]: row for row in csv.DictReader(file) if _origin(row) in SETS}
    for name, shared in ACROSS.items():
        labeller = load_labeller(str(work / f"across-{name}"))
        for label in shared:
            paths = [p for p, row in clips.items() if (_origin(row), row["label"]) == (name, label)]
            found = labeller.predict(paths, PredictSpec(min_confidence=0))
            print(f"{label} of {name}: {_share([row.label == label for row in found])}")


def _auroc(known: np.ndarray, unknown: np.ndarray) -> float:
    wins = stats.mannwhitneyu(known, unknown).statistic
    return float(wins) / (len(known) * len(unknown))


def publish(run: Path) -> None:
    """Copy a run's best model to weights/starter.safetensors as fp16, with the threshold, the
    folds' accuracy, and a description of its data instead of this machine's paths."""
    checkpoint = load_checkpoint(str(run))
    old, rows = checkpoint.header, real_rows(run.parent / "folds")
    training = {
        "data": "Weizmann actions, UT-Interaction, Surveillance Camera Fight, five classes of "
        "UCF-101, KTH running and walking, HMDB51 fencing, synthetic clips",
        "recipe": "weights/make_starter.py, weights/starter.toml",
        "videos": old.training["videos"],
        "epoch": old.training["epoch"],
        "licence": "MIT; the CNN's weights Apache-2.0, Copyright 2020 ML Illustrated",
    }
    metrics = {
        "held_out_videos": len(rows),
        "held_out_top1": round(
            sum(row["top1_label"] == row["truth"] for row in rows) / len(rows), 4
        ),
        "protocol": "five models by the same recipe, each tested on groups left out",
    }
    header = replace(old, training=training, metrics=metrics, min_confidence=MIN_CONFIDENCE)
    shipped = Path(__file__).parent / "starter.safetensors"
    network: nn.Module = checkpoint.network.half()
    save_checkpoint(shipped, header, network)  # type: ignore[arg-type]
    print(json.dumps({"bytes": shipped.stat().st_size, **metrics}))


COMMANDS = {
    "figures": show_figures,
    "reencoded": show_reencoded,
    "unknown": show_unknown,
    "across": show_across,
    "publish": publish,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("command", choices=["table", *COMMANDS])
    parser.add_argument(
        "folder", type=Path, help="DATA of table, RUNS of reencoded, unknown, across; else the run"
    )
    parser.add_argument("--work", type=Path, default=Path("runs"), help="where table writes")
    options = parser.parse_args()
    if options.command == "table":
        write_tables(options.folder, options.work)
    else:
        COMMANDS[options.command](options.folder)


if __name__ == "__main__":
    main()
