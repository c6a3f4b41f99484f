"""The trainer: runs the optimizer steps of an epoch, and the evaluation after it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vidlabel.device import has_bf16, out_of_memory, to_device
from vidlabel.errors import RunError, UsageError
from vidlabel.models.base import ClipModel, channels_last
from vidlabel.specs import ClipSpec
from vidlabel.text import safe
from vidlabel.train.augment import Augmentation, Draw
from vidlabel.train.balance import clip_weights, is_balanced
from vidlabel.train.batchnorm import count_batches_on_cpu, keep_batchnorm, recompute_batchnorm
from vidlabel.train.distillation import Teacher, train_rows
from vidlabel.train.distributed import Team, reduce_gradients, share_layers
from vidlabel.train.feature_cache import FeatureCache
from vidlabel.train.frame_cache import held_out_moments, kept_time_steps
from vidlabel.train.observer import TrainObserver
from vidlabel.train.optimiser import MovingAverage, make_optimiser, rate_over_time
from vidlabel.train.recipes import TrainSpec
from vidlabel.train.training_clips import Batched, ClipByClip
from vidlabel.train.training_frames import TrainingFrames

BATCHNORM_BATCHES = 16
"""Training batches over which BatchNorm's statistics are measured before each evaluation."""
LOSS_EVERY = 10
"""On a GPU, steps between two reads of the loss: each read waits for the GPU."""


class NotFinite(RunError):
    """The loss is not a finite number any more, and the weights are useless."""


@dataclass(frozen=True)
class DataSplit:
    """The videos of the training set and of the validation set: (video number, class) each."""

    train: Sequence[tuple[int, int]]
    val: Sequence[tuple[int, int]]


@dataclass(frozen=True)
class TrainingBatch:
    """This process's part of a batch."""

    videos: Sequence[int]
    labels: Tensor
    draw: Draw
    whole: int
    """Clips in the whole batch."""

    def pieces(self, most: int) -> Iterator[TrainingBatch]:
        """The batch, cut into pieces of up to `most` clips."""
        for start in range(0, len(self.videos), most):
            part = slice(start, start + most)
            yield TrainingBatch(self.videos[part], self.labels[part], self.draw[part], self.whole)


class Trainer:
    """Trains a network, epoch by epoch.

    An epoch depends only on the random seed, its number and the state before it, so it can be
    repeated, in this process or another.

    Args:
        network: on the device already; changed in place.
        features: of all videos, if the trunk is frozen and the pixels of clips do not change.
        known: columns of the classes that the network has learned already and must not forget; the
            trunk must be frozen, and only some of the classifier learns, see `distillation`.

    Raises:
        UsageError: the batch cannot be divided among the processes, or the device has no bf16.
    """

    def __init__(
        self, network: ClipModel, frames: TrainingFrames, split: DataSplit, clip: ClipSpec,
        spec: TrainSpec, device: torch.device, team: Team, observer: TrainObserver,
        features: FeatureCache | None = None, known: Sequence[int] = (),
    ) -> None:  # fmt: skip
        self._frames = frames
        self._features = features
        self._split = split
        self._clip = clip
        self._spec = spec
        self._device = device
        self._team = team
        self._observer = observer
        self._augmentation = Augmentation(clip, spec)
        maker = Batched if device.type == "cuda" else ClipByClip
        self._maker: Batched | ClipByClip = maker(clip, spec, device)
        labels = [label for _, label in split.train]
        self._weights = clip_weights(labels, spec)
        self._balanced = is_balanced(labels, spec)
        self._batch_size = clips_of_batch(spec, len(split.train), team)
        self._at_once = self._batch_size // team.size
        self._bf16 = computes_in_bf16(spec, device)
        self._teacher = Teacher(network, known) if known else None
        channels_last(network)
        if spec.freeze_trunk:
            network.trunk.requires_grad_(False)
        if self._teacher is not None:
            train_rows(network, {label for _, label in split.train})
            spec = replace(spec, weight_decay=0.0)
        share_layers(network, team)
        if device.type == "cuda" and not spec.compile:
            count_batches_on_cpu(network)
        self._network = network
        self._parameters = [p for p in network.parameters() if p.requires_grad]
        self._average = MovingAverage(network, spec.ema) if spec.ema else None
        if spec.compile:
            network.trunk.compile()
            observer.note("compiling the CNN in the first epoch takes minutes")
        self._optimiser = make_optimiser(network, network.trunk, spec)
        self._schedule = torch.optim.lr_scheduler.LambdaLR(
            self._optimiser, rate_over_time(spec, spec.epochs * self.steps)
        )

    @property
    def steps(self) -> int:
        """Optimizer steps per epoch."""
        once = math.ceil(len(self._split.train) / self._batch_size)
        return max(once, self._spec.epoch_steps)

    @property
    def rate(self) -> float:
        """Learning rate of the next step."""
        return float(self._schedule.get_last_lr()[-1])

    @property
    def kept(self) -> ClipModel:
        """The network that is evaluated and saved: the moving average, if there is one."""
        return self._network if self._average is None else cast(ClipModel, self._average.module)

    def state(self) -> dict[str, Any]:
        """Everything that `restore` needs to resume from here."""
        return {
            "network": self._network.state_dict(),
            "average": None if self._average is None else self._average.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "schedule": self._schedule.state_dict(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Resume from the `state` of a trainer with the same arguments."""
        self._network.load_state_dict(state["network"])
        if self._average is not None:
            self._average.load_state_dict(state["average"])
        self._optimiser.load_state_dict(state["optimiser"])
        self._schedule.load_state_dict(state["schedule"])

    def epoch(self, number: int) -> tuple[float, float]:
        """Train on every video at least once; mean loss and accuracy on the augmented clips.

        For mixed clips, the class of the clip itself counts as correct.

        Raises:
            NotFinite: the loss is not finite.
            RunError: not even two clips fit into memory, or torch.compile fails.
        """
        self._network.train()
        if self._spec.freeze_trunk:
            self._network.trunk.eval()
        if self._teacher is not None:
            keep_batchnorm(self._network)
        every = 1 if self._device.type == "cpu" else LOSS_EVERY
        pending: list[Tensor] = []
        total = torch.zeros(2, dtype=torch.float64)
        for step, batch in enumerate(self._batches(number), 1):
            with _compiling(self._spec):
                pending.append(self._step(batch))
            if step % every == 0 or step == self.steps:
                for sums in torch.stack(pending).double().cpu():
                    loss = float(sums[0]) / self._batch_size
                    if not math.isfinite(loss):
                        raise NotFinite("the loss is no longer a finite number")
                    self._observer.step(loss, self._batch_size)
                    total += sums
                pending.clear()
        loss, right = (total / (self.steps * self._batch_size)).tolist()
        return loss, right

    def recompute_batchnorm(self, number: int) -> None:
        """Measure BatchNorm's statistics again, for the weights as they are after epoch `number`;
        see `batchnorm.recompute_batchnorm`."""
        network = self.kept
        if self._teacher is not None:
            return
        batches = islice(self._batches(number), BATCHNORM_BATCHES)
        pieces = (piece for batch in batches for piece in batch.pieces(self._at_once))
        # Without compilation: compiling again for a few batches takes longer.
        compiled = self._spec.compile
        with torch.compiler.set_stance("force_eager") if compiled else nullcontext():
            recompute_batchnorm(network, lambda piece: self._forward(network, piece), pieces)

    @torch.no_grad()
    def logits(self) -> tuple[Tensor, Tensor]:
        """Logits (N, K) and labels (N,) of the validation set, on the CPU."""
        network = self.kept.eval()
        own = self._split.val[self._team.rank :: self._team.size]
        parts = []
        for start in range(0, len(own), self._at_once):
            videos = [video for video, _ in own[start : start + self._at_once]]
            parts.append(self._held_out(network, videos))
        # The only wait for the GPU.
        found = self._team.gather(torch.cat(parts).cpu() if parts else torch.empty(0))
        logits = torch.empty(len(self._split.val), found[0].shape[1])
        for rank, values in enumerate(found):
            if len(values):
                logits[rank :: self._team.size] = values
        return logits, torch.tensor([label for _, label in self._split.val])

    def _batches(self, epoch: int) -> Iterator[TrainingBatch]:
        """This process's parts of all batches of an epoch, in random order.

        All batches have the same size: after the last video, all videos follow again in another
        order. Balanced ones are drawn with replacement, each class with the same probability.
        """
        seeds = np.random.SeedSequence([self._spec.seed, epoch]).generate_state(2, np.uint64)
        random = torch.Generator().manual_seed(int(seeds[0]))
        torch.manual_seed(int(seeds[1]) % 2**63)  # for dropout, the same in all processes
        size = self._batch_size
        clips, wanted = len(self._split.train), self.steps * size
        orders = [torch.randperm(clips, generator=random) for _ in range(0, wanted, clips)]
        order = torch.cat(orders)[:wanted]
        if self._balanced:  # drawing, since a weight of 1000 would throw a step off its course
            order = torch.multinomial(self._weights, wanted, replacement=True, generator=random)
        part = self._team.part(size)
        for start in range(0, len(order), size):
            chosen = order[start : start + size]
            draw = self._augmentation.draw(size, kept_time_steps(self._clip), random)
            pairs = [self._split.train[i] for i in chosen[part].tolist()]
            labels = torch.tensor([label for _, label in pairs])
            yield TrainingBatch([video for video, _ in pairs], labels, draw[part], size)

    def _step(self, batch: TrainingBatch) -> Tensor:
        """One optimizer step: (2,) sum of losses and number of correct clips of the whole batch."""
        while True:
            try:
                sums = self._gradients(batch)
                break
            except RuntimeError as error:
                if not out_of_memory(error) or self._team.size > 1:
                    raise
            self._halve()  # outside of `except`: the error would keep its frames' tensors alive
        reduce_gradients(self._team, self._parameters, sums)
        if self._spec.clip_norm:
            nn.utils.clip_grad_norm_(self._parameters, self._spec.clip_norm)
        self._optimiser.step()
        self._schedule.step()
        if self._average is not None:
            self._average.update_parameters(self._network)
        return sums

    def _gradients(self, batch: TrainingBatch) -> Tensor:
        self._optimiser.zero_grad(set_to_none=True)
        sums = torch.zeros(2, device=self._device)
        for piece in batch.pieces(self._at_once):
            frames, taught = self._frames_of(self._network, piece)
            step_logits = self._network.step_logits(frames)
            labels = to_device(piece.labels, self._device)
            losses = self._losses(step_logits, taught, labels, piece.draw.own)
            (losses.sum() / batch.whole).backward()  # type: ignore[no-untyped-call]
            right = step_logits.detach().softmax(2).mean(1).argmax(1) == labels
            sums += torch.stack([losses.detach().sum(), right.sum()])
        return sums

    def _forward(self, network: ClipModel, batch: TrainingBatch) -> Tensor:
        """Logits (B, A, K) of the augmented clips of a batch; see `ClipModel.step_logits`."""
        return network.step_logits(self._frames_of(network, batch)[0])

    def _frames_of(self, network: ClipModel, batch: TrainingBatch) -> tuple[Tensor, Tensor | None]:
        """Frame features (B, T, F) of the augmented clips of a batch, and what the teacher, if
        there is one, answers to the same clips."""
        draw, teacher = batch.draw, self._teacher
        if self._features is not None:
            frames = self._features.gather(batch.videos, draw.moments, draw.flip.tolist())
        else:
            clips = self._maker.augmented(self._frames, batch.videos, draw)
            frames = self._frame_features(network, clips)
        return frames, None if teacher is None else teacher.answers(frames)

    def _frame_features(self, network: ClipModel, clips: Tensor) -> Tensor:
        """Features of clips (B, T, C, S, S); only the trunk may compute in bf16."""
        reduced: AbstractContextManager[Any] = nullcontext()
        if self._bf16:
            reduced = torch.autocast(self._device.type, torch.bfloat16)
        with reduced:
            return network.frame_features(clips)

    def _losses(
        self, step_logits: Tensor, taught: Tensor | None, labels: Tensor, own: Tensor
    ) -> Tensor:
        """Losses (B,) of clips of which only a share `own` (B,) may be their own."""
        losses = self._loss(step_logits, taught, labels)
        if not (self._spec.mixup or self._spec.cutmix):
            return losses
        others = self._loss(step_logits, taught, labels.reshape(-1, 2).flip(1).flatten())
        own = to_device(own, self._device)
        return own * losses + (1 - own) * others

    def _loss(self, step_logits: Tensor, taught: Tensor | None, labels: Tensor) -> Tensor:
        """Cross-entropy (B,), and the divergence from what the teacher answers."""
        losses = self._cross_entropy(step_logits, labels)
        if self._teacher is None or taught is None:
            return losses
        return losses + self._teacher.losses(taught, step_logits, labels)

    def _cross_entropy(self, step_logits: Tensor, labels: Tensor) -> Tensor:
        """(B,), with label smoothing, the mean over the A logits (B, A, K) of each clip."""
        wanted = labels[:, None].expand(step_logits.shape[:2])
        smoothing = self._spec.label_smoothing
        each = F.cross_entropy(
            step_logits.transpose(1, 2), wanted, reduction="none", label_smoothing=smoothing
        )
        return each.mean(1)

    def _halve(self) -> None:
        """Compute fewer clips at once; the optimizer step is still that of the whole batch."""
        if self._at_once <= 2:
            raise RunError(
                f"{self._device}: not even two clips fit into its memory; "
                "lower --frames or --size, or train with --device cpu"
            )
        self._at_once = max(2, self._at_once // 4 * 2)  # pairs may be mixed: even
        self._optimiser.zero_grad(set_to_none=True)
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
        self._observer.note(
            f"a batch of {self._batch_size} clips does not fit into the device's memory: it is "
            f"computed in pieces of {self._at_once}, with the same optimizer steps"
        )

    def _held_out(self, network: ClipModel, videos: Sequence[int]) -> Tensor:
        """Logits (B, K) of the clips that `predict` sees: middles of equal parts, centre crop."""
        moments = held_out_moments(self._clip)
        if self._features is not None:
            every, mirrored = [moments] * len(videos), [False] * len(videos)
            return network.read(self._features.gather(videos, every, mirrored))[1]
        clips = self._maker.centred(self._frames, videos, moments)
        return network.read(self._frame_features(network, clips))[1]


def clips_of_batch(spec: TrainSpec, clips: int, team: Team) -> int:
    """Clips per batch: `spec.batch_size`, or fewer if there are fewer videos.

    Raises:
        UsageError: the processes cannot divide a batch evenly.
    """
    unit = team.size * (2 if spec.mixup or spec.cutmix else 1)
    if spec.batch_size % unit:
        raise UsageError(
            f"--batch-size {spec.batch_size}: must be a multiple of {unit} "
            f"for {team.size} processes{' that mix pairs of clips' if unit > team.size else ''}"
        )
    return min(spec.batch_size, max(2, math.ceil(clips / unit) * unit))


@contextmanager
def _compiling(spec: TrainSpec) -> Iterator[None]:
    """Turns errors of torch.compile, which come with the first clips, into RunErrors."""
    if not spec.compile:
        yield
        return
    from torch._dynamo.exc import TorchDynamoException  # slow to import

    try:
        yield
    except TorchDynamoException as error:
        why = safe(str(error).partition("\n")[0][:200])
        raise RunError(
            f"--compile failed ({why}); it needs a C++ compiler such as g++; train without it"
        ) from error


def computes_in_bf16(spec: TrainSpec, device: torch.device) -> bool:
    """Whether the trunk computes in bf16. Raises UsageError if the device cannot."""
    if spec.precision == "bf16" and device.type == "mps":
        raise UsageError("--precision bf16 needs a cpu or cuda device")
    # CPUs multiply matrices in bf16, but do not compute gradients of depthwise convolutions in it.
    return spec.precision == "bf16" or (
        spec.precision == "auto" and device.type == "cuda" and has_bf16(device)
    )
