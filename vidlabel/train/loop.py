"""The training loop: from labelled videos to the checkpoint of the best epoch.

The folder of a training holds best.safetensors, last.safetensors, log.csv, split.csv (which video
is in which part), spec.json, curves.png and, when it is complete, result.json. All state is saved
after each epoch, so that a training that was killed at any moment can resume; on the CPU its
numbers are the same as without the interruption.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from vidlabel.datasets.samples import Sample, class_counts, hold_out, noun
from vidlabel.device import out_of_memory, pick_device
from vidlabel.errors import RunError
from vidlabel.evaluate.metrics import calibration_error, fit_temperature, top1
from vidlabel.machine import keep_freed_memory
from vidlabel.models.base import ClipModel
from vidlabel.models.checkpoint import BEST, Header, describe_model, save_checkpoint
from vidlabel.spans import VideoSpan
from vidlabel.specs import ClipSpec, ModelSpec
from vidlabel.text import first_few, plural
from vidlabel.train.balance import balance_line
from vidlabel.train.cache_folder import default_folder
from vidlabel.train.distributed import Team, join_team
from vidlabel.train.feature_cache import FeatureCache
from vidlabel.train.frame_cache import FrameCache
from vidlabel.train.initial_weights import initial_network, known_columns, model_classes
from vidlabel.train.log import write_curves, write_log
from vidlabel.train.observer import Epoch, TrainObserver
from vidlabel.train.recipes import TrainSpec
from vidlabel.train.run_folder import RunFolder
from vidlabel.train.trainer import DataSplit, NotFinite, Trainer, clips_of_batch, computes_in_bf16
from vidlabel.train.training_folder import LAST, LOG, TrainingFolder, TrainResult, describe
from vidlabel.train.training_frames import TrainingFrames


def train(
    samples: Sequence[Sample], out: Path, spec: TrainSpec, clip: ClipSpec, model: ModelSpec, *,
    device: str = "auto", workers: int | None = None, about: Mapping[str, Any] | None = None,
    leaky: bool = False, restart: bool = False, cache: Path | None = None,
    run: RunFolder | None = None, observer: TrainObserver | None = None,
) -> TrainResult:  # fmt: skip
    """Train in the folder `out`, or resume; a training that is complete is not repeated.

    Args:
        samples: labelled videos; those without a split are divided by group.
        spec, clip, model: `model.classes` is set from the samples.
        workers: decoder processes; None for one per core.
        about: what the checkpoint says of its data; `fold` lets `out` be a protocol's folder.
        leaky: keep the split as it is, even if a group or a clip is in both.
        restart: start over and replace what is in `out`.
        cache: folder for decoded frames; None for `cache_folder.default_folder()`.
        run: the run that this training is part of; None for one without a run.json.
        observer: is told how it goes, in the first process only.

    Raises:
        UsageError: an argument is wrong, or `out` holds other settings or a protocol's folds.
        RunError: too many videos cannot be read, or the loss is no longer finite.
        CheckpointError: the weights to start from, or the state in `out`, cannot be loaded.
        OutputError: `out` cannot be written.
    """
    if spec.keep_classes:  # a CNN that learns would forget
        spec = replace(spec, freeze_trunk=True)
    samples = list(samples) if leaky else hold_out(samples, spec.val_fraction, spec.seed)
    classes = model_classes(samples, spec)
    model = replace(model, classes=len(classes))
    # Refuses, before any work, names that no checkpoint may hold.
    header = Header(model, clip, classes, training=dict(about or {}))
    target, team = device_and_team(device)
    observer = observer if observer and team.leads else TrainObserver()
    frame_cache = FrameCache(cache or default_folder(), clip, target)
    folder = TrainingFolder(out, describe(spec, clip, model, samples), team)
    with folder.held():
        fold = "fold" in header.training
        if (ended := folder.check(samples, restart=restart, fold=fold)) is not None:
            return ended
        clips_of_batch(spec, len(samples), team)  # refuses what it cannot divide
        summary = _summary(samples, spec, model, target, team)
        frame_cache.make_folder()
        network, start = initial_network(header, spec, team, observer)
        team.wait()  # nothing is removed before all processes can begin
        (run or RunFolder(out, team)).begin(out, restart=restart)
        folder.begin(samples)
        observer.note(summary)
        observer.note(class_counts(samples))
        if line := balance_line([s.label for s in samples if s.split == "train"], spec):
            observer.note(line)
        unreadable = decode_all(frame_cache, samples, spec.max_bad, workers, team, observer)
        usable = [sample for sample in samples if sample.video not in unreadable]
        header = with_training(header, start, spec, usable)
        trainer = _make_trainer(network, frame_cache, usable, header, spec, target, team, observer)
        best = _Epochs(folder, header, spec, observer).run(trainer, target)
        return folder.complete(best, samples, unreadable, header)


def device_and_team(device: str) -> tuple[torch.device, Team]:
    target = pick_device(device)
    team = join_team(target)
    if target.type == "cpu":
        keep_freed_memory()
    if team.size > 1 and target.type == "cuda":
        target = torch.device("cuda", team.local_rank)
    return target, team


def _summary(
    samples: Sequence[Sample], spec: TrainSpec, model: ModelSpec, device: torch.device, team: Team
) -> str:
    """One line: what will be trained, and on what. Raises UsageError as `computes_in_bf16`."""
    held = [sample for sample in samples if sample.split == "val"]
    lacking = first_few(sorted({s.label for s in samples} - {s.label for s in held}))
    return (
        f"{plural(len({s.video for s in samples}), noun(samples))} of {_classes(samples, model)}: "
        f"{sum(s.split == 'train' for s in samples)} for training, {len(held)} for validation "
        f"({len({s.group for s in held})} of {len({s.group for s in samples})} groups"
        f"{f'; none of {lacking}' if lacking else ''}); {model.arch} on "
        f"{f'{team.size} x ' if team.size > 1 else ''}{device.type} "
        f"in {'bf16' if computes_in_bf16(spec, device) else 'fp32'}"
    )


def _classes(samples: Sequence[Sample], model: ModelSpec) -> str:
    there = len({sample.label for sample in samples})
    return f"{there} {'' if there == model.classes else f'of {model.classes} '}classes"


def decode_all(
    cache: FrameCache, samples: Sequence[Sample], max_bad: float, workers: int | None, team: Team,
    observer: TrainObserver,
) -> dict[VideoSpan, str]:  # fmt: skip
    """Decode all videos into the cache, once on each machine; the reason for each that cannot be
    read. Raises RunError as `_check_unreadable`."""
    ids = {sample.video: sample.id for sample in samples}
    videos = sorted(ids)
    unreadable: dict[VideoSpan, str] = {}
    if team.local_rank == 0:
        unreadable = cache.fill(videos, workers, observer.decoding, ids)
    for found in team.gather(unreadable):
        unreadable = unreadable | found
    if team.local_rank != 0:  # everything is in the cache already, and only looked up
        there = [video for video in videos if video not in unreadable]
        cache.fill(there, workers, observer.decoding, ids)
    unreadable = dict(sorted(unreadable.items()))
    _check_unreadable(unreadable, samples, max_bad)
    return unreadable


def with_training(header: Header, start: str, spec: TrainSpec, samples: Sequence[Sample]) -> Header:
    """The header with the description of the training, and the ids of all clips that the network
    will have been trained or selected on."""
    seen = {s.id for s in samples if s.split == "train"}
    sources = {s.group for s in samples if s.split == "train"}
    selected = {s.id for s in samples if s.split == "val"}
    training = {**header.training, "start": start, "spec": asdict(spec), "videos": len(seen)}
    if spec.init:  # what the first model was trained on counts for this one too
        first = describe_model(spec.init)
        seen |= set(first.trained_on)
        sources |= set(first.sources)
        selected |= set(first.selected_on)
        if spec.keep_classes:  # it is still the same model to its users
            header = replace(header, min_confidence=first.min_confidence)
    return replace(
        header,
        training=training,
        trained_on=tuple(sorted(seen)),
        sources=tuple(sorted(sources)),
        selected_on=tuple(sorted(selected)),
    )


def _make_trainer(
    network: ClipModel, cache: FrameCache, samples: Sequence[Sample], header: Header,
    spec: TrainSpec, device: torch.device, team: Team, observer: TrainObserver,
) -> Trainer:  # fmt: skip
    """The trainer, with the frames of all videos; with their features, if the CNN is frozen and
    sees the same pixels in each epoch."""
    videos = sorted({sample.video for sample in samples})
    number = {video: i for i, video in enumerate(videos)}
    rows = [(number[s.video], header.classes.index(s.label), s.split) for s in samples]
    split = DataSplit(
        train=[(i, label) for i, label, split in rows if split == "train"],
        val=sorted({(i, label) for i, label, split in rows if split == "val"}),
    )
    network = network.to(device)
    frames = TrainingFrames(cache, videos, device)
    if device.type != "cpu":
        observer.note(f"{frames.nbytes / 2**30:.1f} GiB of frames in {frames.where}")
    features = None
    if spec.freeze_trunk and not spec.changes_pixels and not network.fixed_time_steps:
        digests = [cache.digests[video] for video in videos]
        features = FeatureCache(cache.folder, digests, frames, network, header.clip, device)
        features.fill(range(len(videos))[team.rank :: team.size], observer.describing)
        team.wait()
        features.fill(range(len(videos)), observer.describing)  # those of other machines
    return Trainer(
        network, frames, split, header.clip, spec, device, team, observer, features,
        known_columns(header.classes, spec),
    )  # fmt: skip


@dataclass
class _Epochs:
    """The epochs of one training, and what is saved after each."""

    folder: TrainingFolder
    header: Header
    """Of the checkpoints, without what an epoch measures."""
    spec: TrainSpec
    observer: TrainObserver
    log: list[Epoch] = field(default_factory=list)
    best: int = -1  # index in the log

    def run(self, trainer: Trainer, device: torch.device) -> Epoch:
        """Train all epochs that are not done yet; the best one of all."""
        if state := self.folder.load_state(device):
            self._restore(trainer, state)
        self.observer.begin(self.folder.path, self.spec.epochs, trainer.steps, tuple(self.log))
        try:
            for number in range(len(self.log) + 1, self.spec.epochs + 1):
                try:
                    line, logits, labels = _epoch(trainer, number)
                except NotFinite as error:
                    raise RunError(self._what_is_kept(number, error)) from error
                better = self.best < 0 or line.score > self.log[self.best].score
                self.log.append(line)
                self.best = len(self.log) - 1 if better else self.best
                if self.folder.team.leads:
                    self._save(trainer, logits, labels)
                self.observer.epoch(line, better)
        finally:
            self.observer.end()
            if self.folder.team.leads and self.log:
                write_curves(self.folder.path / "curves.png", self.log, self.best)
        return self.log[self.best]

    def _restore(self, trainer: Trainer, state: Mapping[str, Any]) -> None:
        """Take over a saved state. Raises CheckpointError if it does not fit."""
        try:
            trainer.restore(state["trainer"])
            self.log, self.best = [Epoch(**line) for line in state["log"]], int(state["best"])
            self.log[self.best]  # exists
        except (AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
            if isinstance(error, RuntimeError) and out_of_memory(error):
                raise
            raise self.folder.state_does_not_fit() from error

    def _what_is_kept(self, number: int, error: NotFinite) -> str:
        """The message for an epoch that has spoiled the weights."""
        kept = "nothing was saved"
        if self.log:
            best, last = self.log[self.best].epoch, self.log[-1].epoch
            kept = f"{self.folder.path} keeps {BEST} of epoch {best} and {LAST} of epoch {last}"
        return f"epoch {number}: {error}; {kept}; try a smaller --lr, with another --out"

    def _save(self, trainer: Trainer, logits: Tensor, labels: Tensor) -> None:
        """Write all that an epoch has changed. The state comes last: if the process is killed
        before that, the epoch is repeated and writes the same files again."""
        write_log(self.folder.path / LOG, self.log)
        header = _measured(self.header, self.log[-1], logits, labels)
        save_checkpoint(self.folder.path / LAST, header, trainer.kept)
        if self.best == len(self.log) - 1:
            save_checkpoint(self.folder.path / BEST, header, trainer.kept)
        lines = [asdict(line) for line in self.log]
        self.folder.save_state({"trainer": trainer.state(), "log": lines, "best": self.best})


def _epoch(trainer: Trainer, number: int) -> tuple[Epoch, Tensor, Tensor]:
    """Train and validate; the line of the log, and logits and labels of the validation set. Raises
    NotFinite."""
    started = time.monotonic()
    rate = trainer.rate
    loss, accuracy = trainer.epoch(number)
    trainer.recompute_batchnorm(number)
    logits, labels = trainer.logits()
    val_loss = float(F.cross_entropy(logits, labels))
    if not math.isfinite(val_loss):  # the last step can spoil the weights after its own loss
        raise NotFinite("the validation loss is no longer a finite number")
    seconds = time.monotonic() - started
    line = Epoch(number, rate, loss, accuracy, val_loss, top1(logits, labels), seconds)
    return line, logits, labels


def _measured(header: Header, line: Epoch, logits: Tensor, labels: Tensor) -> Header:
    """The header of an epoch's checkpoint, with its temperature and figures."""
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


def _check_unreadable(
    unreadable: Mapping[VideoSpan, str], samples: Sequence[Sample], share: float
) -> None:
    """Raise RunError if none of the training videos of a class can be read, or none of the
    validation set, or a larger share of all videos than `share` cannot."""
    if not unreadable:
        return
    usable = [sample for sample in samples if sample.video not in unreadable]
    learned, left = ({s.label for s in part if s.split == "train"} for part in (samples, usable))
    if lost := sorted(learned - left):
        why = [unreadable[s.video] for s in samples if s.label == lost[0] and s.split == "train"]
        few = first_few(why, mark="; ")
        raise RunError(f"class {lost[0]}: none of its training videos can be read: {few}")
    held = [sample for sample in samples if sample.split == "val"]
    if held and all(sample.video in unreadable for sample in held):
        why = [unreadable[s.video] for s in samples if s.split == "val"]
        raise RunError(f"none of the validation videos can be read: {first_few(why, mark='; ')}")
    total = len({sample.video for sample in samples})
    if len(unreadable) > share * total:
        enough = math.floor(100 * len(unreadable) / total + 1) / 100
        raise RunError(
            f"{len(unreadable)} of {plural(total, noun(samples))} cannot be read, more than "
            f"--max-bad {share:g}: "
            f"{first_few(list(unreadable.values()), mark='; ')}; replace or remove them, or train "
            f"without them with --max-bad {enough:g}"
        )
