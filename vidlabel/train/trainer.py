"""The training loop: batches of clips in, better weights out."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from itertools import islice
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from vidlabel.device import has_bf16, out_of_memory
from vidlabel.errors import RunError, UsageError
from vidlabel.models.base import ClipModel
from vidlabel.predict.runner import channels_last
from vidlabel.specs import ClipSpec
from vidlabel.text import safe
from vidlabel.train.augment import Augment, Draw
from vidlabel.train.distributed import Team, reduce_gradients, share_batchnorm, share_dropout
from vidlabel.train.feature_cache import FeatureCache, centre_square
from vidlabel.train.frame_cache import Frames, held_out_moments, kept_steps
from vidlabel.train.gpu_clips import GpuClips, sent
from vidlabel.train.observer import TrainObserver
from vidlabel.train.optimiser import make_optimiser, moving_average, rate_over_time
from vidlabel.train.recipes import TrainSpec

SETTLE_BATCHES = 16
"""Training batches over which BatchNorm's statistics are measured before each evaluation."""
LOOK = 10
"""On a GPU, steps between two looks at the loss: each look waits for all that was begun."""


class NotFinite(RunError):
    """The loss is no longer a finite number: the weights are spoiled."""


@dataclass(frozen=True)
class Parts:
    """The videos of the two parts: (number among the frames, class) each."""

    train: Sequence[tuple[int, int]]
    val: Sequence[tuple[int, int]]


@dataclass(frozen=True)
class _Batch:
    """This process's part of a batch."""

    videos: Sequence[int]
    labels: Tensor
    draw: Draw
    whole: int
    """Clips in the whole batch."""

    def pieces(self, most: int) -> Iterator[_Batch]:
        for start in range(0, len(self.videos), most):
            part = slice(start, start + most)
            yield _Batch(self.videos[part], self.labels[part], self.draw[part], self.whole)


class Trainer:
    """Trains a network, epoch by epoch.

    An epoch is a function of the seed, its number, and the state before it, so that one can be
    repeated, in this process or another.

    Args:
        network: on the device already; changed in place.
        frames: of all videos.
        parts: which of them are trained on, and which are held out.
        clip, spec: what clips look like, and how to train.
        device: where to compute.
        team: the processes that take part.
        observer: is told of each step.
        features: of all videos, where the trunk is frozen and clips' pixels do not change.

    Raises:
        UsageError: the batch cannot be divided among the processes, or the device has no bf16.
    """

    def __init__(
        self, network: ClipModel, frames: Frames, parts: Parts, clip: ClipSpec, spec: TrainSpec,
        device: torch.device, team: Team, observer: TrainObserver,
        features: FeatureCache | None = None,
    ) -> None:  # fmt: skip
        self._frames = frames
        self._features = features
        self._parts = parts
        self._clip = clip
        self._spec = spec
        self._device = device
        self._team = team
        self._observer = observer
        self._augment = Augment(clip, spec, device)
        self._gpu = GpuClips(clip, spec, device) if device.type == "cuda" else None
        self._batch_size = clips_of_batch(spec, len(parts.train), team)
        self._at_once = self._batch_size // team.size
        self._bf16 = computes_in_bf16(spec, device)
        channels_last(network)
        if spec.freeze_trunk:
            network.trunk.requires_grad_(False)
        if team.size > 1:
            share_batchnorm(network)
            share_dropout(network, team)
        if device.type == "cuda" and not spec.compile:
            _count_on_cpu(network)
        self._network = network
        self._trained = [p for p in network.parameters() if p.requires_grad]
        self._average = moving_average(network, spec.ema) if spec.ema else None
        if spec.compile:
            network.trunk.compile()
            observer.note("the CNN is compiled in the first epoch, which takes minutes")
        self._optimiser = make_optimiser(network, network.trunk, spec)
        self._schedule = torch.optim.lr_scheduler.LambdaLR(
            self._optimiser, rate_over_time(spec, spec.epochs * self.steps)
        )

    @property
    def steps(self) -> int:
        """Steps of an epoch."""
        once = math.ceil(len(self._parts.train) / self._batch_size)
        return max(once, self._spec.epoch_steps)

    @property
    def rate(self) -> float:
        """Learning rate of the next step."""
        return float(self._schedule.get_last_lr()[-1])

    @property
    def kept(self) -> ClipModel:
        """The network that is evaluated and kept: the average, if there is one."""
        return self._network if self._average is None else cast(ClipModel, self._average.module)

    def state(self) -> dict[str, Any]:
        """All that `restore` needs to go on from here."""
        return {
            "network": self._network.state_dict(),
            "average": None if self._average is None else self._average.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "schedule": self._schedule.state_dict(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a state that an equal trainer gave."""
        self._network.load_state_dict(state["network"])
        if self._average is not None:
            self._average.load_state_dict(state["average"])
        self._optimiser.load_state_dict(state["optimiser"])
        self._schedule.load_state_dict(state["schedule"])

    def epoch(self, number: int) -> tuple[float, float]:
        """Train on every clip, at least once: mean loss and accuracy on them as they were shown.

        Where clips are mixed, the one with the larger share counts as right.

        Raises:
            NotFinite: the loss is no longer finite.
            RunError: not even the smallest batch fits into memory, or nothing can be compiled.
        """
        self._train_mode()
        every = 1 if self._device.type == "cpu" else LOOK
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

    @torch.no_grad()
    def settle(self, number: int) -> None:
        """Measure BatchNorm's statistics anew, for the weights as they are after epoch `number`.

        Running averages lag behind weights that still change quickly, and over MNASNet's 52
        layers the lag adds up to a useless network. PreciseBN: Wu and Johnson 2021,
        arXiv 2105.07576, section 3. Frozen layers keep their statistics.
        """
        network = self.kept
        norms = [
            module
            for module in network.modules()
            if isinstance(module, _BatchNorm) and module.weight.requires_grad
        ]
        network.eval()
        momenta = [norm.momentum for norm in norms]
        for norm in norms:
            norm.train()
            norm.reset_running_stats()
        batches = islice(self._batches(number), SETTLE_BATCHES)
        pieces = (piece for batch in batches for piece in batch.pieces(self._at_once))
        with _as_written(self._spec):
            for count, piece in enumerate(pieces, 1):
                for norm in norms:
                    # A plain average over all pieces, as momentum None is, which waits for the GPU.
                    norm.momentum = 1 / count
                self._forward(network, piece)
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum

    @torch.no_grad()
    def logits(self) -> tuple[Tensor, Tensor]:
        """Logits (N, K) and labels (N,) of the held-out part, on the CPU."""
        network = self.kept.eval()
        own = self._parts.val[self._team.rank :: self._team.size]
        parts = []
        for start in range(0, len(own), self._at_once):
            videos = [video for video, _ in own[start : start + self._at_once]]
            parts.append(self._held_out(network, videos))
        # A GPU is waited for once.
        found = self._team.gather(torch.cat(parts).cpu() if parts else torch.empty(0))
        logits = torch.empty(len(self._parts.val), found[0].shape[1])
        for rank, values in enumerate(found):
            if len(values):
                logits[rank :: self._team.size] = values
        return logits, torch.tensor([label for _, label in self._parts.val])

    def _train_mode(self) -> None:
        self._network.train()
        if self._spec.freeze_trunk:
            self._network.trunk.eval()

    def _batches(self, epoch: int) -> Iterator[_Batch]:
        """This process's parts of all batches of an epoch, in a random order.

        All batches are of the same size: what comes after the last clip is all of them once more,
        in another order.
        """
        seeds = np.random.SeedSequence([self._spec.seed, epoch]).generate_state(2, np.uint64)
        random = torch.Generator().manual_seed(int(seeds[0]))
        torch.manual_seed(int(seeds[1]) % 2**63)  # what dropout draws from, alike everywhere
        size = self._batch_size
        clips, wanted = len(self._parts.train), self.steps * size
        orders = [torch.randperm(clips, generator=random) for _ in range(0, wanted, clips)]
        order = torch.cat(orders)[:wanted]
        part = self._team.part(size)
        for start in range(0, len(order), size):
            chosen = order[start : start + size]
            draw = self._augment.draw(size, kept_steps(self._clip), random)
            pairs = [self._parts.train[i] for i in chosen[part].tolist()]
            labels = torch.tensor([label for _, label in pairs])
            yield _Batch([video for video, _ in pairs], labels, draw[part], size)

    def _clips(self, batch: _Batch) -> Tensor:
        moments = batch.draw.moments
        if self._gpu is not None:
            return self._gpu.augmented(self._frames.gather(batch.videos, moments), batch.draw)
        frames = [self._frames.take(v, m) for v, m in zip(batch.videos, moments, strict=True)]
        return self._augment(frames, batch.draw)

    def _step(self, batch: _Batch) -> Tensor:
        """One step: (2,) sum of the losses and number of right clips, of the whole batch."""
        while True:
            try:
                sums = self._gradients(batch)
                break
            except RuntimeError as error:
                if not out_of_memory(error) or self._team.size > 1:
                    raise
            self._halve()  # the error is gone, and with it the tensors that its frames held
        reduce_gradients(self._team, self._trained, sums)
        if self._spec.clip_norm:
            nn.utils.clip_grad_norm_(self._trained, self._spec.clip_norm)
        self._optimiser.step()
        self._schedule.step()
        if self._average is not None:
            self._average.update_parameters(self._network)
        return sums

    def _gradients(self, batch: _Batch) -> Tensor:
        self._optimiser.zero_grad(set_to_none=True)
        sums = torch.zeros(2, device=self._device)
        for piece in batch.pieces(self._at_once):
            answers = self._forward(self._network, piece)
            labels = sent(piece.labels, self._device)
            losses = self._losses(answers, labels, piece.draw.own)
            (losses.sum() / batch.whole).backward()  # type: ignore[no-untyped-call]
            right = answers.detach().softmax(2).mean(1).argmax(1) == labels
            sums += torch.stack([losses.detach().sum(), right.sum()])
        return sums

    def _forward(self, network: ClipModel, batch: _Batch) -> Tensor:
        """Answers (B, A, K) to a batch as it is shown."""
        if self._features is None:
            return network.answers(self._frame_features(network, self._clips(batch)))
        draw = batch.draw
        found = self._features.gather(batch.videos, draw.moments, draw.flip.tolist())
        return network.answers(found)

    def _frame_features(self, network: ClipModel, clips: Tensor) -> Tensor:
        """Of clips (B, T, C, S, S); the trunk may compute in bf16, what follows does not."""
        reduced: AbstractContextManager[Any] = nullcontext()
        if self._bf16:
            reduced = torch.autocast(self._device.type, torch.bfloat16)
        with reduced:
            return network.frame_features(clips)

    def _losses(self, answers: Tensor, labels: Tensor, own: Tensor) -> Tensor:
        """Cross-entropy (B,), smoothed, the mean over all answers (B, A, K), for clips of which a
        share may be their partner's."""
        losses = self._cross_entropy(answers, labels)
        if not (self._spec.mixup or self._spec.cutmix):
            return losses
        others = self._cross_entropy(answers, labels.reshape(-1, 2).flip(1).flatten())
        own = sent(own, self._device)
        return own * losses + (1 - own) * others

    def _cross_entropy(self, answers: Tensor, labels: Tensor) -> Tensor:
        """(B,), smoothed, the mean over all answers (B, A, K)."""
        wanted = labels[:, None].expand(answers.shape[:2])
        smoothing = self._spec.label_smoothing
        each = F.cross_entropy(
            answers.transpose(1, 2), wanted, reduction="none", label_smoothing=smoothing
        )
        return each.mean(1)

    def _halve(self) -> None:
        """Compute fewer clips at once; the weights still change once for a whole batch."""
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
            f"the device's memory does not hold a batch of {self._batch_size} clips: computed in "
            f"pieces of {self._at_once}, the weights change as before"
        )

    def _held_out(self, network: ClipModel, videos: Sequence[int]) -> Tensor:
        """Logits (B, K) of the clips that `predict` would see: middles of equal parts, centre."""
        moments = held_out_moments(self._clip)
        if self._features is not None:
            every, as_it_is = [moments] * len(videos), [False] * len(videos)
            return network.read(self._features.gather(videos, every, as_it_is))[1]
        if self._gpu is not None:
            shown = self._frames.gather(videos, moments.expand(len(videos), -1))
            return network.read(self._frame_features(network, self._gpu.centred(shown)))[1]
        frames = [self._frames.take(video, moments) for video in videos]
        size = self._clip.size_px
        clips = torch.stack([centre_square(each, size) for each in frames])
        return network.read(self._frame_features(network, clips))[1]


def clips_of_batch(spec: TrainSpec, clips: int, team: Team) -> int:
    """Clips of a batch, no more than there are, which the processes can divide among them.

    Raises:
        UsageError: they cannot.
    """
    unit = team.size * (2 if spec.mixup or spec.cutmix else 1)
    if spec.batch_size % unit:
        raise UsageError(
            f"--batch-size {spec.batch_size}: must be a multiple of {unit} "
            f"for {team.size} processes{' that mix pairs of clips' if unit > team.size else ''}"
        )
    return min(spec.batch_size, max(2, math.ceil(clips / unit) * unit))


def _as_written(spec: TrainSpec) -> AbstractContextManager[Any]:
    """Run compiled networks as they are written: for a few batches, nothing is compiled anew."""
    return torch.compiler.set_stance("force_eager") if spec.compile else nullcontext()


def _count_on_cpu(network: nn.Module) -> None:
    """Let BatchNorm layers count their batches on the CPU: a count of each would otherwise be an
    operation of the GPU for each layer and step."""
    for module in network.modules():
        if isinstance(module, _BatchNorm) and module.num_batches_tracked is not None:
            module.num_batches_tracked = module.num_batches_tracked.cpu()


@contextmanager
def _compiling(spec: TrainSpec) -> Iterator[None]:
    """Raises RunError where torch.compile fails, which it does on its first clips."""
    if not spec.compile:
        yield
        return
    from torch._dynamo.exc import TorchDynamoException  # slow to import

    try:
        yield
    except TorchDynamoException as error:
        why = safe(str(error).partition("\n")[0][:200])
        raise RunError(
            f"--compile failed ({why}); it needs a C++ compiler, such as g++: leave it out"
        ) from error


def computes_in_bf16(spec: TrainSpec, device: torch.device) -> bool:
    """Whether the trunk does. Raises UsageError where it is to and the device cannot."""
    if spec.precision == "bf16" and device.type == "mps":
        raise UsageError("--precision bf16 is for cpu and cuda devices")
    # CPUs have bf16 for matrices, but not for the gradients of depthwise convolutions.
    return spec.precision == "bf16" or (
        spec.precision == "auto" and device.type == "cuda" and has_bf16(device)
    )
