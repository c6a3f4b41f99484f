"""Train the CNN + bidirectional RNN on labelled videos."""

from __future__ import annotations

import csv
import json
import math
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vidlabel.augment import Augment
from vidlabel.checkpoint import (
    Header,
    find_checkpoint,
    load_checkpoint,
    read_header,
    save_checkpoint,
)
from vidlabel.clips import crop
from vidlabel.datasets.samples import Sample, class_names, hold_out
from vidlabel.errors import OutputError, RunError, UsageError
from vidlabel.files import text_path, write_bytes
from vidlabel.inference import pick_device
from vidlabel.metrics import calibration_error, fit_temperature, top1
from vidlabel.models import build_model
from vidlabel.models.cnn_birnn import CnnBiRnn
from vidlabel.models.trunks import load_trunk
from vidlabel.schedule import cosine, make_optimiser
from vidlabel.specs import ClipSpec, ModelSpec
from vidlabel.stepcache import OVERSAMPLE, Counting, StepCache
from vidlabel.trainlog import Epoch, write_curves, write_log
from vidlabel.trainstate import (
    RESULT,
    SPEC,
    STATE,
    describe,
    forget,
    keep_description,
    load_state,
    random_state,
    read_description,
    restore_random_state,
    save_state,
)

BEST = "best.safetensors"
SETTLE_BATCHES = 16
"""Training batches over which BatchNorm's statistics are measured before each evaluation."""


@dataclass(frozen=True)
class TrainSpec:
    """How to train. The defaults suit a few hundred to a few thousand clips."""

    epochs: int = 40
    batch_size: int = 16
    lr: float = 5e-4
    """Peak learning rate of AdamW, reached after a twentieth of all steps."""
    weight_decay: float = 0.05
    label_smoothing: float = 0.1
    val_fraction: float = 0.2
    max_bad: float = 0.01
    """Share of videos that may be unreadable; they are listed, and more than this stops."""
    seed: int = 0
    init: str = ""
    """A checkpoint to start from: all weights that fit, the classifier only if classes agree."""
    trunk_weights: str = ""
    """`imagenet`, or a file of torchvision's MNASNet 0.5 weights."""

    def __post_init__(self) -> None:
        for name, low in (("epochs", 1), ("batch_size", 2)):
            if getattr(self, name) < low:
                raise UsageError(f"--{name.replace('_', '-')} must be at least {low}")
        if not 0 < self.lr < 10:
            raise UsageError(f"--lr must be over 0, got {self.lr}")


@dataclass(frozen=True)
class TrainResult:
    """What training ended with: the best epoch's figures, and its checkpoint."""

    checkpoint: Path
    best: Epoch
    unreadable: tuple[str, ...]
    header: Header


class _Silent:
    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None: ...

    def advance(self) -> None: ...


def train(
    samples: Sequence[Sample],
    out: Path,
    spec: TrainSpec,
    clip: ClipSpec,
    model: ModelSpec,
    *,
    device: str = "auto",
    workers: int | None = None,
    about: Mapping[str, Any] | None = None,
    leaky: bool = False,
    restart: bool = False,
    decoding: Callable[[int], Counting] = lambda _: _Silent(),
    on_epoch: Callable[[Epoch], None] = lambda _: None,
) -> TrainResult:
    """Train on the samples' training part and keep the epoch that is best on the held-out part.

    Writes to the folder `out`: best.safetensors, last.safetensors, log.csv, split.csv (which
    video was in which part), spec.json, curves.png, and at the very end result.json. After
    each epoch all of the training's state is kept in state.pt: a training that was ended at any
    moment goes on from there, and on the CPU ends with the same numbers as without the break. One
    that is complete is not done again.

    Args:
        samples: labelled videos; those without a split are divided by group.
        spec, clip, model: how to train, what clips look like, what network. `model.classes` is
            set from the samples.
        device: auto, cpu, cuda, cuda:N or mps.
        workers: decoder processes; None for one per core.
        about: kept in the checkpoint's description of its training: data set, protocol, fold.
        leaky: take the parts as they are, though a group, or a clip, is in both.
        restart: begin anew, whatever `out` holds.
        decoding: makes, from the number of videos, a context whose `advance` counts them.
        on_epoch: told of each finished epoch.

    Raises:
        UsageError: the samples cannot be divided, an argument is wrong, or `out` holds a training
            with other settings or samples.
        RunError: too many videos cannot be read, or the loss is no longer finite.
        OutputError: `out` cannot be written.
    """
    torch.manual_seed(spec.seed)
    samples = list(samples) if leaky else hold_out(samples, spec.val_fraction, spec.seed)
    classes = class_names(samples)
    model = replace(model, classes=len(classes))
    Header(model, clip, classes)  # refuses, before any work, names that no checkpoint may hold
    target = pick_device(device)
    paths = sorted({sample.path for sample in samples})
    try:
        out.mkdir(parents=True, exist_ok=True)
        if restart:
            forget(out)
        keep_description(out / SPEC, describe(spec, clip, model, samples))
        if (out / RESULT).is_file():
            return _finished(out)
        _write_split(out / "split.csv", samples)
    except OSError as error:
        raise OutputError(f"{out}: cannot be written: {error.strerror}") from error
    cache = StepCache(out / "cache", clip)
    try:
        unreadable = cache.fill(paths, workers, decoding)
        _check_unreadable(unreadable, len(paths), spec.max_bad)
        network = build_model(model, clip)
        _initialise(network, spec, classes)
        run = _Run(samples, paths, classes, unreadable, cache, spec, clip, target, about or {})
        best, header = run.fit(network.to(target), model, out, on_epoch)
    finally:
        shutil.rmtree(out / "cache", ignore_errors=True)
    result = {"best": asdict(best), "unreadable": list(map(text_path, unreadable))}
    write_bytes(out / RESULT, [json.dumps(result).encode()])
    (out / STATE).unlink(missing_ok=True)  # large, and of no more use
    return TrainResult(out / BEST, best, tuple(unreadable), header)


class _Run:
    """One training: the data, and the loop over it."""

    def __init__(
        self,
        samples: Sequence[Sample],
        paths: Sequence[str],
        classes: tuple[str, ...],
        unreadable: dict[str, str],
        cache: StepCache,
        spec: TrainSpec,
        clip: ClipSpec,
        device: torch.device,
        about: Mapping[str, Any],
    ) -> None:
        number = {path: i for i, path in enumerate(paths)}
        rows = [
            (number[s.path], classes.index(s.label), s.split)
            for s in samples
            if s.path not in unreadable
        ]
        self._train = [(i, label) for i, label, split in rows if split == "train"]
        self._val = sorted({(i, label) for i, label, split in rows if split == "val"})
        # What a model started from has been trained on, this one has been trained on.
        start = read_header(find_checkpoint(spec.init)) if spec.init else None
        self._seen = {s.id for s in samples if s.split == "train"}
        self._sources = {s.group for s in samples if s.split == "train"}
        self._selected = {s.id for s in samples if s.split == "val"}
        self._videos = len(self._seen)
        if start is not None:
            self._seen |= set(start.trained_on)
            self._sources |= set(start.sources)
            self._selected |= set(start.selected_on)
        self._about = about
        self._classes = classes
        self._cache = cache
        self._spec = spec
        self._clip = clip
        self._device = device
        self._random = torch.Generator().manual_seed(spec.seed)
        self._augment = Augment(clip, self._random)

    def fit(
        self, network: CnnBiRnn, model: ModelSpec, out: Path, on_epoch: Callable[[Epoch], None]
    ) -> tuple[Epoch, Header]:
        """All epochs; the best one's figures and the header of its checkpoint."""
        network = network.to(memory_format=torch.channels_last)
        optimiser = make_optimiser(network, self._spec.lr, self._spec.weight_decay)
        steps = self._spec.epochs * math.ceil(len(self._train) / self._spec.batch_size)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, cosine(steps))
        log: list[Epoch] = []
        best = -1  # place in the log
        if state := load_state(out, self._device):
            network.load_state_dict(state["network"])
            optimiser.load_state_dict(state["optimiser"])
            schedule.load_state_dict(state["schedule"])
            self._random.set_state(state["order"].cpu())
            restore_random_state(state["random"])
            log, best = [Epoch(**line) for line in state["log"]], state["best"]
        for number in range(len(log) + 1, self._spec.epochs + 1):
            started = time.monotonic()
            rate = float(schedule.get_last_lr()[0])
            loss, accuracy = self._train_epoch(network, optimiser, schedule)
            self._settle_batchnorm(network)
            logits, labels = self._logits(network)
            val_loss = float(F.cross_entropy(logits, labels))
            line = Epoch(
                number, rate, loss, accuracy, val_loss, top1(logits, labels),
                time.monotonic() - started,
            )  # fmt: skip
            log.append(line)
            write_log(out / "log.csv", log)
            header = self._header(model, line, logits, labels)
            save_checkpoint(out / "last.safetensors", header, network)
            if best < 0 or line.score > log[best].score:
                best = len(log) - 1
                save_checkpoint(out / BEST, header, network)
            # Last: a kill before this repeats the epoch, and writes the same files again.
            save_state(
                out,
                {
                    "network": network.state_dict(),
                    "optimiser": optimiser.state_dict(),
                    "schedule": schedule.state_dict(),
                    "order": self._random.get_state(),
                    "random": random_state(),
                    "log": [asdict(each) for each in log],
                    "best": best,
                },
            )
            on_epoch(line)
        write_curves(out / "curves.png", log, best)
        return log[best], read_header(out / BEST)

    def _train_epoch(
        self,
        network: nn.Module,
        optimiser: torch.optim.Optimizer,
        schedule: torch.optim.lr_scheduler.LRScheduler,
    ) -> tuple[float, float]:
        network.train()
        total, right, seen = 0.0, 0, 0
        for clips, labels in self._batches():
            logits = network(clips.to(self._device))
            labels = labels.to(self._device)
            loss = F.cross_entropy(logits, labels, label_smoothing=self._spec.label_smoothing)
            if not math.isfinite(value := loss.item()):
                raise RunError("the loss is no longer a finite number; try a smaller --lr")
            optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(network.parameters(), 5.0)
            optimiser.step()
            schedule.step()
            total += value * len(labels)
            right += int((logits.argmax(1) == labels).sum())
            seen += len(labels)
        return total / seen, right / seen

    def _batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        order = torch.randperm(len(self._train), generator=self._random).tolist()
        size = self._spec.batch_size
        for start in range(0, len(order), size):
            chosen = [self._train[i] for i in order[start : start + size]]
            if len(chosen) == 1:  # BatchNorm needs two
                chosen *= 2
            clips = torch.stack([self._augment(self._cache[i]) for i, _ in chosen])
            yield clips, torch.tensor([label for _, label in chosen])

    @torch.no_grad()
    def _settle_batchnorm(self, network: CnnBiRnn) -> None:
        """Measure BatchNorm's statistics anew, for the weights as they are now.

        Running averages lag behind weights that still change quickly, and over MNASNet's 52
        layers the lag adds up to a useless network. PreciseBN: Wu and Johnson 2021,
        arXiv 2105.07576, section 3.
        """
        norms = [m for m in network.trunk.modules() if isinstance(m, nn.BatchNorm2d)]
        momenta = [norm.momentum for norm in norms]
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # a plain average over all batches that follow
        network.train()
        for clips, _ in islice(self._batches(), SETTLE_BATCHES):
            network.frame_features(clips.to(self._device))
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum

    @torch.inference_mode()
    def _logits(self, network: nn.Module) -> tuple[Tensor, Tensor]:
        """Logits (N, K) and labels (N,) of the held-out part, on the CPU."""
        network.eval()
        logits = []
        size = self._spec.batch_size
        for start in range(0, len(self._val), size):
            chosen = self._val[start : start + size]
            clips = torch.stack([self._centre(self._cache[i]) for i, _ in chosen])
            logits.append(network(clips.to(self._device)).float().cpu())
        return torch.cat(logits), torch.tensor([label for _, label in self._val])

    def _centre(self, steps: Tensor) -> Tensor:
        """The clip that `predict` would see: middles of equal parts, centre crop."""
        moments = torch.arange(self._clip.frames) * OVERSAMPLE + OVERSAMPLE // 2
        frames = steps[moments].numpy()
        square = crop(np.moveaxis(frames, 1, -1), self._clip.size_px, "centre")
        return torch.from_numpy(np.ascontiguousarray(np.moveaxis(square, -1, 1)))

    def _header(self, model: ModelSpec, line: Epoch, logits: Tensor, labels: Tensor) -> Header:
        temperature = fit_temperature(logits, labels)
        error = calibration_error((logits / temperature).softmax(1), labels)
        return Header(
            model=model,
            clip=self._clip,
            classes=self._classes,
            temperature=temperature,
            training={
                **self._about,
                "spec": asdict(self._spec),
                "epoch": line.epoch,
                "videos": self._videos,
            },
            metrics={
                "held_out_videos": len(labels),
                "held_out_top1": round(line.val_top1, 4),
                "held_out_loss": round(line.val_loss, 4),
                "held_out_calibration_error": round(error, 4),
            },
            trained_on=tuple(sorted(self._seen)),
            sources=tuple(sorted(self._sources)),
            selected_on=tuple(sorted(self._selected)),
        )


def _finished(out: Path) -> TrainResult:
    """What a training that is complete ended with."""
    values = read_description(out / RESULT)
    try:
        best = Epoch(**values["best"])
    except (KeyError, TypeError) as error:
        raise UsageError(f"{out / RESULT}: cannot be read; --restart begins anew") from error
    return TrainResult(out / BEST, best, tuple(values["unreadable"]), read_header(out / BEST))


def _initialise(network: CnnBiRnn, spec: TrainSpec, classes: tuple[str, ...]) -> None:
    if spec.trunk_weights:
        load_trunk(network, spec.trunk_weights)
    if spec.init:
        start = load_checkpoint(spec.init)
        state = start.network.state_dict()
        if start.header.classes != classes:
            state = {k: v for k, v in state.items() if not k.startswith("classify.")}
        own = network.state_dict()
        wrong = sorted(k for k, v in state.items() if k not in own or own[k].shape != v.shape)
        if wrong:
            raise UsageError(f"--init {spec.init}: does not fit this model at {wrong[0]}")
        network.load_state_dict(state, strict=False)


def _check_unreadable(unreadable: dict[str, str], total: int, share: float) -> None:
    if len(unreadable) > share * total:
        first = next(iter(unreadable.values()))
        raise RunError(
            f"{len(unreadable)} of {total} videos cannot be read (more than --max-bad {share:g}); "
            f"the first: {first}"
        )


def _write_split(path: Path, samples: Sequence[Sample]) -> None:
    with path.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", "group", "split"])
        writer.writerows([s.path, s.label, s.group, s.split] for s in samples)
