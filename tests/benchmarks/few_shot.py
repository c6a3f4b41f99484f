"""Accuracy of `--recipe quick` from 1, 5 and 10 clips of each class, and the share of its time.

    python tests/benchmarks/few_shot.py accuracy DATA --cache FOLDER [--draws N]
    python tests/benchmarks/few_shot.py minute FOLDER

`accuracy`: DATA has the sets as weights/make_starter.py describes them. Clips come from some groups
(person, sequence, film), spread over as many of them as possible; tests are on other groups, at
least a quarter of them. The plain probe is logistic regression on the mean over time of the same
features, as `predict` would see them; the rgb probe sees the RGB frames alone. Intervals are 95 %
of the mean over draws (Student's t). `known` is the AUROC of clips of known against left-out
classes, each left out in turn, by probability and by the distance to the nearest training clip.

`minute`: `vidlabel train FOLDER` with and without cached features, against decoding and the CNN
alone, in one run. Measure it alone on the machine.
"""

from __future__ import annotations

import argparse
import importlib.util
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import stats
from torch import Tensor
from torch.nn import functional as F

from vidlabel.datasets.open import open_dataset
from vidlabel.datasets.samples import Sample, class_names
from vidlabel.models.checkpoint import Header
from vidlabel.specs import Limits
from vidlabel.train.distributed import join_team
from vidlabel.train.frame_cache import FrameCache, held_out_moments
from vidlabel.train.initial_weights import initial_network
from vidlabel.train.observer import TrainObserver
from vidlabel.train.quick import Fit, features_of, tell_unknown, views_of
from vidlabel.train.settings import gather
from vidlabel.video.reader import open_video
from vidlabel.video.write import write_video

ROOT = Path(__file__).parents[2]
CPU = torch.device("cpu")
SETTINGS = gather({"recipe": "quick"})
CLIP = SETTINGS.clip
MOVING_ONLY = {
    "Weizmann: run, skip, side gallop, jump": ("weizmann", ("run", "skip", "side_gallop", "jump")),
    "KTH: running, walking": ("kth", ("run", "walk")),
}
BACKWARDS = "backwards"


class Clips:
    """Clips of a set, described once."""

    def __init__(self, samples: Sequence[Sample], cache: Path) -> None:
        frames = FrameCache(cache, CLIP, CPU)
        frames.make_folder()
        videos = [sample.video for sample in samples]
        unreadable = frames.fill(videos, None, TrainObserver().decoding)
        assert not unreadable, unreadable
        header = Header(_model(2), CLIP, ("a", "b"))
        team, silent = join_team(CPU), TrainObserver()
        self.network = initial_network(header, SETTINGS.train, team, silent)[0]
        self.samples = np.array(samples, dtype=object)
        self.features = features_of(
            videos,
            frames,
            self.network,
            CLIP,
            SETTINGS.train,
            CPU,
            silent,  # type: ignore[arg-type]
        )
        self.views = views_of(self.features, len(videos), CLIP, SETTINGS.train)
        every, moments = range(len(videos)), held_out_moments(CLIP)
        self.seen = self.features.gather(every, [moments] * len(videos), [False] * len(videos))

    def labels(self, clips: Sequence[int]) -> list[str]:
        return [self.samples[i].label for i in clips]


def _model(classes: int) -> Any:
    return replace(SETTINGS.model, classes=classes)


def quick(clips: Clips, train: Sequence[int], test: Sequence[int]) -> tuple[list[str], Tensor]:
    """Labels and largest probabilities of the test clips."""
    samples = [clips.samples[i] for i in train]
    classes = class_names(samples)
    header = Header(_model(len(classes)), CLIP, classes)
    fit = Fit(samples, header, SETTINGS.train, clips.views[list(train)], TrainObserver())
    network = fit.network(clips.network)  # type: ignore[arg-type]
    width = network.scale.num_features // 3
    with torch.no_grad():
        logits = network.read(clips.seen[list(test)][..., :width])[1]
    sure, best = (logits / fit.header.temperature).softmax(1).max(1)
    return [classes[i] for i in best], sure


def probe(rgb_only: bool) -> Callable[..., tuple[list[str], Tensor]]:
    """Logistic regression on standardised means over time; labels, and cosine similarity to the
    nearest training clip."""

    def run(clips: Clips, train: Sequence[int], test: Sequence[int]) -> tuple[list[str], Tensor]:
        means = clips.seen.mean(1)
        means = means[:, means.shape[1] // 2 :] if rgb_only else means
        learned = means[list(train)]
        scale = learned.std(0) + 1e-3
        x, tested = (
            (learned - learned.mean(0)) / scale,
            (means[list(test)] - learned.mean(0)) / scale,
        )
        names = clips.labels(train)
        classes = sorted(set(names))
        wanted = torch.tensor([classes.index(name) for name in names])
        layer = torch.nn.Linear(x.shape[1], len(classes))
        torch.nn.init.zeros_(layer.weight)
        torch.nn.init.zeros_(layer.bias)
        optimiser = torch.optim.LBFGS(layer.parameters(), max_iter=100)

        def loss() -> Tensor:
            optimiser.zero_grad()
            value = F.cross_entropy(layer(x), wanted) + 1e-3 * layer.weight.square().sum()
            value.backward()
            return value

        optimiser.step(loss)
        with torch.no_grad():
            best = layer(tested).argmax(1)
        near = (F.normalize(tested, dim=1) @ F.normalize(x, dim=1).T).amax(1)
        return [classes[i] for i in best], near

    return run


def draw(clips: Clips, count: int, seed: int) -> tuple[list[int], list[int]]:
    """Numbers of up to `count` clips of each class, and of all clips of other groups."""
    random = np.random.default_rng(seed)
    of: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for i in random.permutation(len(clips.samples)).tolist():
        of[clips.samples[i].group][clips.samples[i].label].append(i)
    groups = [sorted(of)[i] for i in random.permutation(len(of))]
    classes = sorted({label for labels in of.values() for label in labels})
    total = {label: sum(label in of[group] for group in groups) for label in classes}
    taken, chosen = dict.fromkeys(classes, 0), set()
    for group in groups:
        own = of[group]
        wanted = any(taken[label] < count for label in own)
        if wanted and all(taken[label] + 1 <= max(1, total[label] * 3 // 4) for label in own):
            chosen.add(group)
            for label in own:
                taken[label] += 1
    train = []
    for label in classes:
        found = [of[group][label] for group in groups if group in chosen]
        turns = [each[turn] for turn in range(max(map(len, found))) for each in found
                 if turn < len(each)]  # fmt: skip
        train += turns[:count]
    test = [i for i in range(len(clips.samples)) if clips.samples[i].group not in chosen]
    return train, test


def interval(values: Sequence[float]) -> str:
    mean = float(np.mean(values))
    if len(values) < 2:
        return f"{mean:.1%}"
    half = stats.t.ppf(0.975, len(values) - 1) * stats.sem(values)
    return f"{mean:.1%} ± {100 * half:.1f}"


def score(clips: Clips, count: int, draws: int, labeller: Callable[..., Any]) -> str:
    found = []
    for seed in range(draws):
        train, test = draw(clips, count, seed)
        names = labeller(clips, train, test)[0]
        truth = clips.labels(test)
        found.append(float(np.mean([a == b for a, b in zip(names, truth, strict=True)])))
    return interval(found)


def known(clips: Clips, count: int, labeller: Callable[..., Any]) -> str:
    found = []
    train, test = draw(clips, count, 0)
    for label in sorted(set(clips.labels(train))):
        learned = [i for i in train if clips.samples[i].label != label]
        if len(set(clips.labels(learned))) > 1:
            _, sure = labeller(clips, learned, test)
            unknown = torch.tensor([name == label for name in clips.labels(test)])
            right = torch.ones(int((~unknown).sum()), dtype=torch.bool)
            found.append(tell_unknown(sure[~unknown], right, sure[unknown]).auroc)
    return f"{np.mean(found):.2f}" if found else "-"


def reversed_clips(samples: Sequence[Sample], folder: Path) -> list[Sample]:
    """The clips played backwards, as classes of their own, encoded alike as the clips themselves,
    so that the encoder does not tell which is which."""
    made = []
    for sample in samples:
        with open_video(sample.path, Limits()) as video:
            times = (np.arange(round(video.duration_s * video.fps)) + 0.5) / video.fps
            frames = video.frames_at(times.tolist(), 144, "rgb").pixels
            rate = video.fps
        for label, shown in ((sample.label, frames), (f"{sample.label} {BACKWARDS}", frames[::-1])):
            path = folder / label / f"{Path(sample.path).stem}.mp4"
            path.parent.mkdir(parents=True, exist_ok=True)
            even = shown[:, : shown.shape[1] // 2 * 2, : shown.shape[2] // 2 * 2]
            write_video(path, iter(np.ascontiguousarray(even)), rate)
            made.append(Sample(str(path), label, sample.group))
    return made


def accuracy(data: Path, cache: Path, draws: int) -> None:
    spec = importlib.util.spec_from_file_location("recipe", ROOT / "weights" / "make_starter.py")
    assert spec is not None
    assert spec.loader is not None
    recipe = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(recipe)
    sets: dict[str, list[Sample]] = defaultdict(list)
    for origin, path, label, group in recipe.real_clips(data):
        sets[origin].append(Sample(str(path), label, group))
    print(
        "| set | clips of each class | quick | plain probe | known: probability | known: distance |"
    )
    print("|---|---|---|---|---|---|")
    for name in ("weizmann", "ut_interaction", "ucf101"):
        clips = Clips(sets[name], cache)
        for count in (1, 5, 10):
            row = [score(clips, count, draws, each) for each in (quick, probe(False))]
            row += [known(clips, count, each) for each in (quick, probe(False))]
            print(f"| {name} | {count} | {' | '.join(row)} |", flush=True)
    print("\n| only motion tells apart, 10 clips | quick | rgb probe |")
    print("|---|---|---|")
    for name, (origin, labels) in MOVING_ONLY.items():
        clips = Clips([s for s in sets[origin] if s.label in labels], cache)
        row = [score(clips, 10, draws, each) for each in (quick, probe(True))]
        print(f"| {name} | {' | '.join(row)} |", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        walkers = [s for s in sets["weizmann"] if s.label in ("walk", "run", "bend", "skip")]
        clips = Clips(reversed_clips(walkers, Path(folder)), cache)
        row = [score(clips, 10, draws, each) for each in (quick, probe(True))]
        print(f"| Weizmann: bend, run, skip, walk, and {BACKWARDS} | {' | '.join(row)} |")


def minute(folder: Path) -> None:
    """Times of the parts, as shares of decoding and the CNN alone."""
    samples = [s for s in open_dataset(str(folder), folder).samples if s.split != "test"]
    videos = sorted({sample.video for sample in samples})
    network = initial_network(
        Header(_model(2), CLIP, ("a", "b")), SETTINGS.train, join_team(CPU), TrainObserver()
    )[0]
    with tempfile.TemporaryDirectory() as work:
        cache = FrameCache(Path(work) / "floor", CLIP, CPU)
        cache.make_folder()
        times = [time.monotonic()]
        cache.fill(videos, None, TrainObserver().decoding)
        times.append(time.monotonic())
        features_of(
            videos,
            cache,
            network,
            CLIP,
            SETTINGS.train,
            CPU,
            TrainObserver(),  # type: ignore[arg-type]
        )
        times.append(time.monotonic())
        for run in ("whole", "cached"):
            command = [sys.executable, "-m", "vidlabel", "train", str(folder), "--recipe", "quick",
                       "--out", f"{work}/{run}", "--cache", f"{work}/cache"]  # fmt: skip
            subprocess.run(command, check=True, capture_output=True)
            times.append(time.monotonic())
    decode, trunk, whole, cached = np.diff(times)
    floor = decode + trunk
    print(f"{len(videos)} clips; decoding {decode:.1f} s, CNN {trunk:.1f} s: floor {floor:.1f} s")
    print(f"vidlabel train {whole:.1f} s: {whole / floor:.2f} of the floor (goal: at most 1.3)")
    print(f"with cached features {cached:.1f} s (goal: under 5 s)")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("what", choices=("accuracy", "minute"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--cache", type=Path, default=Path("few-shot-cache"))
    parser.add_argument("--draws", type=int, default=5)
    asked = parser.parse_args()
    if asked.what == "accuracy":
        accuracy(asked.folder, asked.cache, asked.draws)
    else:
        minute(asked.folder)
