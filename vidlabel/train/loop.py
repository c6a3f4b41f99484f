"""Train a network on labelled videos, in a folder that tells what was done."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from vidlabel.datasets.samples import Sample, class_names, hold_out
from vidlabel.device import out_of_memory, pick_device
from vidlabel.errors import RunError, UsageError, WeightsMissing
from vidlabel.evaluate.metrics import calibration_error, fit_temperature, top1
from vidlabel.machine import keep_freed_memory
from vidlabel.models.base import ClipModel
from vidlabel.models.build import build_model
from vidlabel.models.checkpoint import Header, describe_model, load_checkpoint, save_checkpoint
from vidlabel.specs import ClipSpec, ModelSpec
from vidlabel.text import first_few
from vidlabel.train.cache_folder import default_folder
from vidlabel.train.distributed import Team, join_team
from vidlabel.train.feature_cache import FeatureCache
from vidlabel.train.frame_cache import FrameCache, Frames
from vidlabel.train.log import write_curves, write_log
from vidlabel.train.observer import Epoch, Watch
from vidlabel.train.recipes import TrainSpec
from vidlabel.train.run_folder import RunFolder, TrainResult
from vidlabel.train.state import BEST, LAST, LOG, describe, does_not_fit, load_state, save_state
from vidlabel.train.trainer import NotFinite, Parts, Trainer, clips_of_batch, computes_in_bf16

__all__ = ["BEST", "TrainResult", "train"]


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
    video was in which part), spec.json, curves.png (also where it is stopped), and at the very end
    result.json. After each epoch all of the training's state is kept in state.pt: a training that
    was ended at any moment goes on from there, and on the CPU ends with the same numbers as without
    the break. One that is complete is not done again. What `out` holds stays as it is until the
    weights to begin with are there and the arguments fit each other.

    Started by `torchrun`, the processes divide each batch among them; the first one writes.

    Args:
        samples: labelled videos; those without a split are divided by group.
        spec, clip, model: how to train, what clips look like, what network. `model.classes` is
            set from the samples.
        device: auto, cpu, cuda, cuda:N or mps.
        workers: decoder processes; None for one per core.
        about: kept in the checkpoint's description of its training: data set, protocol, fold. Only
            with a fold may `out` be the folder of a protocol.
        leaky: take the parts as they are, though a group, or a clip, is in both.
        restart: begin anew, whatever `out` holds.
        cache: folder of the decoded frames; None for `cache_folder.default_folder()`.
        watch: told how it goes; used in the first process only.

    Raises:
        UsageError: the samples cannot be divided, an argument is wrong, or `out` holds a training
            with other settings or samples, or a protocol's folds.
        RunError: too many videos cannot be read, or the loss is no longer finite.
        CheckpointError: weights to begin with, or the state in `out`, cannot be loaded.
        OutputError: `out` cannot be written.
    """
    samples = list(samples) if leaky else hold_out(samples, spec.val_fraction, spec.seed)
    classes = class_names(samples)
    model = replace(model, classes=len(classes))
    # Refuses, before any work, names that no checkpoint may hold.
    header = Header(model, clip, classes, training=dict(about or {}))
    target = pick_device(device)
    team = join_team(target)
    if team.size > 1 and target.type == "cuda":
        target = torch.device("cuda", team.local_rank)
    if not team.leads:
        watch = Watch()
    frames = FrameCache(cache or default_folder(), clip, target)
    folder = RunFolder(out, describe(spec, clip, model, samples), team)
    with folder.held():
        ended = folder.look(restart=restart, fold="fold" in header.training)
        if ended is not None:
            return ended
        clips_of_batch(spec, len(samples), team)  # refuses what it cannot divide
        summary = _summary(samples, spec, model, target, team)
        frames.make_folder()
        torch.manual_seed(spec.seed)
        network = build_model(model, clip)
        start = _initialise(network, spec, classes, team, watch)
        header = replace(header, training={**header.training, "start": start})
        folder.make_ready(samples, restart=restart)
        watch.note(summary)
        return _train(samples, folder, spec, header, network, target, frames, workers, watch)


def _train(
    samples: Sequence[Sample], folder: RunFolder, spec: TrainSpec, header: Header,
    network: ClipModel, device: torch.device, cache: FrameCache, workers: int | None, watch: Watch,
) -> TrainResult:  # fmt: skip
    team = folder.team
    if device.type == "cpu":
        keep_freed_memory()
    paths = sorted({sample.path for sample in samples})
    unreadable = _fill(cache, paths, workers, watch, team)
    _check_unreadable(unreadable, samples, spec.max_bad)
    readable = [path for path in paths if path not in unreadable]
    usable = [sample for sample in samples if sample.path not in unreadable]
    run = _Run(folder.path, header, spec, team, watch, usable, readable)
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
    return folder.complete(best, list(unreadable), header)


def _summary(
    samples: Sequence[Sample], spec: TrainSpec, model: ModelSpec, device: torch.device, team: Team
) -> str:
    """What is about to be trained on what, as a line.

    Raises:
        UsageError: the device cannot compute as is wished.
    """
    held = [sample for sample in samples if sample.split == "val"]
    lacking = first_few(sorted({s.label for s in samples} - {s.label for s in held}))
    return (
        f"{len({s.path for s in samples})} videos of {model.classes} classes: "
        f"{sum(s.split == 'train' for s in samples)} to train on, {len(held)} held out "
        f"({len({s.group for s in held})} of {len({s.group for s in samples})} groups"
        f"{f'; none of {lacking}' if lacking else ''}); {model.arch} on "
        f"{f'{team.size} x ' if team.size > 1 else ''}{device.type} "
        f"in {'bf16' if computes_in_bf16(spec, device) else 'fp32'}"
    )


def _fill(
    cache: FrameCache, paths: Sequence[str], workers: int | None, watch: Watch, team: Team
) -> dict[str, str]:
    """Decode all videos, once on each machine; those that cannot be read, with why, by path."""
    unreadable: dict[str, str] = {}
    if team.local_rank == 0:
        unreadable = cache.fill(paths, workers, watch.decoding)
    for found in team.gather(unreadable):
        unreadable = unreadable | found
    if team.local_rank != 0:  # all is there, and only found
        cache.fill([path for path in paths if path not in unreadable], workers, watch.decoding)
    return dict(sorted(unreadable.items()))


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
            log, best = self._restored(trainer, state)
        self._watch.begin(self._out, self._spec.epochs, trainer.steps, tuple(log))
        if device.type != "cpu":
            self._watch.note(f"{frames.nbytes / 2**30:.1f} GiB of frames in {frames.where}")
        try:
            for number in range(len(log) + 1, self._spec.epochs + 1):
                try:
                    line, logits, labels = _epoch(trainer, number)
                except NotFinite as error:
                    raise RunError(self._what_is_left(error, log, best)) from error
                log.append(line)
                better = best < 0 or line.score > log[best].score
                best = len(log) - 1 if better else best
                if self._team.leads:
                    self._keep(trainer, log, best, logits, labels)
                self._watch.epoch(line, better)
        finally:
            self._watch.end()
            if self._team.leads and log:
                write_curves(self._out / "curves.png", log, best)
        return log[best]

    def _restored(self, trainer: Trainer, state: Mapping[str, Any]) -> tuple[list[Epoch], int]:
        """The log, and the place of the best epoch in it, of a state that `trainer` takes over.

        Raises:
            CheckpointError: it does not fit.
        """
        try:
            trainer.restore(state["trainer"])
            log, best = [Epoch(**line) for line in state["log"]], int(state["best"])
            log[best]  # is there
        except (AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
            if isinstance(error, RuntimeError) and out_of_memory(error):
                raise
            raise does_not_fit(self._out) from error
        return log, best

    def _what_is_left(self, error: NotFinite, log: Sequence[Epoch], best: int) -> str:
        """What to say when the weights are spoiled."""
        kept = "nothing is kept yet"
        if log:
            kept = (
                f"{self._out} keeps {BEST} of epoch {log[best].epoch} and {LAST} of epoch "
                f"{log[-1].epoch}"
            )
        number = len(log) + 1
        return f"epoch {number}: {error}; {kept}; try a smaller --lr, with another --out"

    def _keep(
        self, trainer: Trainer, log: Sequence[Epoch], best: int, logits: Tensor, labels: Tensor
    ) -> None:
        """Write all that an epoch has changed, the state last: a kill before that repeats the
        epoch, and writes the same files again."""
        write_log(self._out / LOG, log)
        header = _measured(self._header, log[-1], logits, labels)
        save_checkpoint(self._out / LAST, header, trainer.kept)
        if best == len(log) - 1:
            save_checkpoint(self._out / BEST, header, trainer.kept)
        lines = [asdict(line) for line in log]
        save_state(self._out, {"trainer": trainer.state(), "log": lines, "best": best})


def _epoch(trainer: Trainer, number: int) -> tuple[Epoch, Tensor, Tensor]:
    """Train and measure; the line of the log, and the held-out part's logits and labels.

    Raises:
        NotFinite: a loss is no longer finite.
    """
    started = time.monotonic()
    rate = trainer.rate
    loss, accuracy = trainer.epoch(number)
    trainer.settle(number)
    logits, labels = trainer.logits()
    val_loss = float(F.cross_entropy(logits, labels))
    if not math.isfinite(val_loss):  # the last step can spoil the weights after its own loss
        raise NotFinite("the held-out loss is no longer a finite number")
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


def _initialise(
    network: ClipModel, spec: TrainSpec, classes: tuple[str, ...], team: Team, watch: Watch
) -> str:
    """Set the weights that are not to begin at random; where they are from, in a word."""
    weights = spec.trunk_weights
    if weights == "auto":
        weights = team.share(_available(network, spec, watch) if team.leads else "")
    if weights != "none":
        network.load_pretrained(weights)
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
    return Path(spec.init).stem if spec.init else weights


def _available(network: ClipModel, spec: TrainSpec, watch: Watch) -> str:
    """`imagenet` if those weights can be had, else `none`, and a word on it.

    Raises:
        WeightsMissing: they cannot, and the trunk is not to learn.
    """
    before = deepcopy(network.trunk.state_dict())
    try:
        network.load_pretrained("imagenet")
    except WeightsMissing as error:
        if spec.freeze_trunk:
            raise
        network.trunk.load_state_dict(before)  # one of two streams may have got its own
        watch.note(f"the CNN begins at random, and needs more clips to learn from: {error}")
        return "none"
    watch.note("the CNN begins with ImageNet's weights")
    return "imagenet"


def _check_unreadable(
    unreadable: Mapping[str, str], samples: Sequence[Sample], share: float
) -> None:
    """See that enough is left to train on.

    Raises:
        RunError: no video of a class to train on can be read, no held-out one, or more videos
            than `share` cannot.
    """
    if not unreadable:
        return
    usable = [sample for sample in samples if sample.path not in unreadable]
    learned, left = ({s.label for s in part if s.split == "train"} for part in (samples, usable))
    if lost := sorted(learned - left):
        why = [unreadable[s.path] for s in samples if s.label == lost[0] and s.split == "train"]
        few = first_few(why, mark="; ")
        raise RunError(f"class {lost[0]}: none of its videos to train on can be read: {few}")
    if not any(sample.split == "val" for sample in usable):
        why = [unreadable[s.path] for s in samples if s.split == "val"]
        raise RunError(f"none of the held-out videos can be read: {first_few(why, mark='; ')}")
    total = len({sample.path for sample in samples})
    if len(unreadable) > share * total:
        enough = math.floor(100 * len(unreadable) / total + 1) / 100
        raise RunError(
            f"{len(unreadable)} of {total} videos cannot be read, more than --max-bad {share:g}: "
            f"{first_few(list(unreadable.values()), mark='; ')}; replace or remove them, or go on "
            f"without them with --max-bad {enough:g}"
        )
