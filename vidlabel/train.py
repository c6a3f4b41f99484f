"""Train a network on labelled videos, in a folder that tells what was done."""

from __future__ import annotations

import csv
import json
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from vidlabel.allocator import keep_freed_memory
from vidlabel.cachefolder import default_folder
from vidlabel.checkpoint import (
    Header,
    describe_model,
    load_checkpoint,
    read_header,
    save_checkpoint,
)
from vidlabel.datasets.samples import Sample, class_names, hold_out
from vidlabel.distributed import Team, join_team
from vidlabel.errors import OutputError, RunError, UsageError
from vidlabel.featurecache import FeatureCache
from vidlabel.files import holding, text_path, write_bytes
from vidlabel.framecache import FrameCache, Frames
from vidlabel.inference import pick_device
from vidlabel.metrics import calibration_error, fit_temperature, top1
from vidlabel.models import build_model
from vidlabel.models.base import ClipModel
from vidlabel.recipes import TrainSpec
from vidlabel.specs import ClipSpec, ModelSpec
from vidlabel.trainer import Parts, Trainer
from vidlabel.trainlog import write_curves, write_log
from vidlabel.trainstate import (
    RESULT,
    SPEC,
    STATE,
    describe,
    forget,
    keep_description,
    load_state,
    read_description,
    remove_torn,
    save_state,
)
from vidlabel.watch import Epoch, Watch

BEST = "best.safetensors"


@dataclass(frozen=True)
class TrainResult:
    """What training ended with: the best epoch's figures, and its checkpoint."""

    checkpoint: Path
    best: Epoch
    unreadable: tuple[str, ...]
    header: Header


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
    cache: Path | None = None,
    watch: Watch = Watch(),  # noqa: B008 - it has no state
) -> TrainResult:
    """Train on the samples' training part and keep the epoch that is best on the held-out part.

    Writes to the folder `out`: best.safetensors, last.safetensors, log.csv, split.csv (which
    video was in which part), spec.json, curves.png, and at the very end result.json. After
    each epoch all of the training's state is kept in state.pt: a training that was ended at any
    moment goes on from there, and on the CPU ends with the same numbers as without the break. One
    that is complete is not done again.

    Started by `torchrun`, the processes divide each batch among them; the first one writes.

    Args:
        samples: labelled videos; those without a split are divided by group.
        spec, clip, model: how to train, what clips look like, what network. `model.classes` is
            set from the samples.
        device: auto, cpu, cuda, cuda:N or mps.
        workers: decoder processes; None for one per core.
        about: kept in the checkpoint's description of its training: data set, protocol, fold.
        leaky: take the parts as they are, though a group, or a clip, is in both.
        restart: begin anew, whatever `out` holds.
        cache: folder of the decoded frames; None for `cachefolder.default_folder()`.
        watch: told how it goes; used in the first process only.

    Raises:
        UsageError: the samples cannot be divided, an argument is wrong, or `out` holds a training
            with other settings or samples.
        RunError: too many videos cannot be read, or the loss is no longer finite.
        OutputError: `out` cannot be written.
    """
    samples = list(samples) if leaky else hold_out(samples, spec.val_fraction, spec.seed)
    classes = class_names(samples)
    model = replace(model, classes=len(classes))
    Header(model, clip, classes)  # refuses, before any work, names that no checkpoint may hold
    target = pick_device(device)
    team = join_team(target)
    if team.size > 1 and target.type == "cuda":
        target = torch.device("cuda", team.local_rank)
    if not team.leads:
        watch = Watch()
    header = Header(model, clip, classes, training=dict(about or {}))
    with _holding(out, team):
        finished = _prepare(out, describe(spec, clip, model, samples), samples, restart, team)
        if finished is not None:
            return finished
        return _train(
            samples, out, spec, header, team, target,
            FrameCache(cache or default_folder(), clip, target), workers, watch,
        )  # fmt: skip


def _train(
    samples: Sequence[Sample], out: Path, spec: TrainSpec, header: Header, team: Team,
    device: torch.device, cache: FrameCache, workers: int | None, watch: Watch,
) -> TrainResult:  # fmt: skip
    if device.type == "cpu":
        keep_freed_memory()
    torch.manual_seed(spec.seed)
    network = build_model(header.model, header.clip)
    _initialise(network, spec, header.classes)  # before hours of decoding
    paths = sorted({sample.path for sample in samples})
    unreadable = _fill(cache, paths, workers, watch, team)
    _check_unreadable(unreadable, len(paths), spec.max_bad)
    readable = [path for path in paths if path not in unreadable]
    usable = [sample for sample in samples if sample.path not in unreadable]
    run = _Run(out, header, spec, team, watch, usable, readable)
    network = network.to(device)
    frames = Frames(cache, readable, device)
    features = None
    if spec.freeze_trunk and not spec.changes_pixels and not network.fixed_steps:
        digests = [cache.digests[path] for path in readable]
        features = FeatureCache(cache.folder, digests, frames, network, header.clip, device)
        features.fill(range(len(readable))[team.rank :: team.size], watch.describing)
        team.wait()
        features.fill(range(len(readable)), watch.describing)  # those of other machines
    trainer = Trainer(network, frames, run.parts, header.clip, spec, device, team, watch, features)
    best = run.fit(trainer, frames, device)
    if team.leads:
        result = {"best": asdict(best), "unreadable": list(map(text_path, unreadable))}
        write_bytes(out / RESULT, [json.dumps(result).encode()])
        _drop_state(out)
    header = team.share(read_header(out / BEST) if team.leads else header)
    return TrainResult(out / BEST, best, tuple(unreadable), header)


@contextmanager
def _holding(out: Path, team: Team) -> Iterator[None]:
    """Keep other trainings out of the folder, which is made."""
    if not team.leads:
        yield
        return
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{out}: cannot be written: {error.strerror}") from error
    with holding(out / SPEC):
        yield


def _prepare(
    out: Path, description: dict[str, Any], samples: Sequence[Sample], restart: bool, team: Team
) -> TrainResult | None:
    """Make the folder ready; what it ended with, if the training in it is complete."""
    finished = None
    if team.leads:
        try:
            if restart:
                forget(out)
            remove_torn(out)
            keep_description(out / SPEC, description)
            if (out / RESULT).is_file():
                finished = _finished(out)
                _drop_state(out)  # if it was ended just before
            else:
                _write_split(out / "split.csv", samples)
        except OSError as error:
            raise OutputError(f"{out}: cannot be written: {error.strerror}") from error
    return team.share(finished)


def _fill(
    cache: FrameCache, paths: Sequence[str], workers: int | None, watch: Watch, team: Team
) -> dict[str, str]:
    """Decode all videos, once on each machine; those that cannot be read, with why."""
    unreadable: dict[str, str] = {}
    if team.local_rank == 0:
        unreadable = cache.fill(paths, workers, watch.decoding)
    for found in team.gather(unreadable):
        unreadable = unreadable | found
    if team.local_rank != 0:  # all is there, and only found
        cache.fill([path for path in paths if path not in unreadable], workers, watch.decoding)
    return unreadable


class _Run:
    """One training: which video is in which part, and what is written after each epoch."""

    def __init__(
        self, out: Path, header: Header, spec: TrainSpec, team: Team, watch: Watch,
        samples: Sequence[Sample], paths: Sequence[str],
    ) -> None:  # fmt: skip
        number = {path: i for i, path in enumerate(paths)}
        rows = [(number[s.path], header.classes.index(s.label), s.split) for s in samples]
        self.parts = Parts(
            train=[(i, label) for i, label, split in rows if split == "train"],
            val=sorted({(i, label) for i, label, split in rows if split == "val"}),
        )
        self._out = out
        self._spec = spec
        self._team = team
        self._watch = watch
        seen = {s.id for s in samples if s.split == "train"}
        sources = {s.group for s in samples if s.split == "train"}
        selected = {s.id for s in samples if s.split == "val"}
        training = {**header.training, "spec": asdict(spec), "videos": len(seen)}
        if spec.init:  # what that model has been trained on, this one has been trained on
            start = describe_model(spec.init)
            seen |= set(start.trained_on)
            sources |= set(start.sources)
            selected |= set(start.selected_on)
        self._header = replace(
            header,
            training=training,
            trained_on=tuple(sorted(seen)),
            sources=tuple(sorted(sources)),
            selected_on=tuple(sorted(selected)),
        )

    def fit(self, trainer: Trainer, frames: Frames, device: torch.device) -> Epoch:
        """All epochs that are not done yet; the best one."""
        log: list[Epoch] = []
        best = -1  # place in the log
        if state := load_state(self._out, device):
            trainer.restore(state["trainer"])
            log, best = [Epoch(**line) for line in state["log"]], state["best"]
        self._watch.begin(self._out, self._spec.epochs, trainer.steps, tuple(log))
        if device.type != "cpu":
            self._watch.note(f"{frames.nbytes / 2**30:.1f} GiB of frames in {frames.where}")
        try:
            for number in range(len(log) + 1, self._spec.epochs + 1):
                line, logits, labels = _epoch(trainer, number)
                log.append(line)
                better = best < 0 or line.score > log[best].score
                best = len(log) - 1 if better else best
                if self._team.leads:
                    self._keep(trainer, log, best, logits, labels)
                self._watch.epoch(line, better)
        finally:
            self._watch.end()
        if self._team.leads:
            write_curves(self._out / "curves.png", log, best)
        return log[best]

    def _keep(
        self, trainer: Trainer, log: Sequence[Epoch], best: int, logits: Tensor, labels: Tensor
    ) -> None:
        """Write all that an epoch has changed, the state last: a kill before that repeats the
        epoch, and writes the same files again."""
        write_log(self._out / "log.csv", log)
        header = _measured(self._header, log[-1], logits, labels)
        save_checkpoint(self._out / "last.safetensors", header, trainer.kept)
        if best == len(log) - 1:
            save_checkpoint(self._out / BEST, header, trainer.kept)
        lines = [asdict(line) for line in log]
        save_state(self._out, {"trainer": trainer.state(), "log": lines, "best": best})


def _epoch(trainer: Trainer, number: int) -> tuple[Epoch, Tensor, Tensor]:
    """Train and measure; the line of the log, and the held-out part's logits and labels.

    Raises:
        RunError: a loss is no longer finite.
    """
    started = time.monotonic()
    rate = trainer.rate
    loss, accuracy = trainer.epoch(number)
    trainer.settle(number)
    logits, labels = trainer.logits()
    val_loss = float(F.cross_entropy(logits, labels))
    if not math.isfinite(val_loss):  # the last step can spoil the weights after its own loss
        raise RunError("the held-out loss is no longer a finite number; try a smaller --lr")
    line = Epoch(
        number, rate, loss, accuracy, val_loss, top1(logits, labels), time.monotonic() - started
    )
    return line, logits, labels


def _measured(header: Header, line: Epoch, logits: Tensor, labels: Tensor) -> Header:
    """The header of an epoch's checkpoint."""
    temperature = fit_temperature(logits, labels)
    error = calibration_error((logits / temperature).softmax(1), labels)
    return replace(
        header,
        temperature=temperature,
        training={**header.training, "epoch": line.epoch},
        metrics={
            "held_out_videos": len(labels),
            "held_out_top1": round(line.val_top1, 4),
            "held_out_loss": round(line.val_loss, 4),
            "held_out_calibration_error": round(error, 4),
        },
    )


def _finished(out: Path) -> TrainResult:
    """What a training that is complete ended with."""
    values = read_description(out / RESULT)
    try:
        best = Epoch(**values["best"])
    except (KeyError, TypeError) as error:
        raise UsageError(f"{out / RESULT}: cannot be read; --restart begins anew") from error
    return TrainResult(out / BEST, best, tuple(values["unreadable"]), read_header(out / BEST))


def _drop_state(out: Path) -> None:
    """Remove what only a training that is not complete needs; it is large."""
    (out / STATE).unlink(missing_ok=True)


def _initialise(network: ClipModel, spec: TrainSpec, classes: tuple[str, ...]) -> None:
    if spec.trunk_weights != "none":
        network.load_pretrained(spec.trunk_weights)
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
