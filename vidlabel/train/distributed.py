"""Several processes that train one model, as `torchrun` starts them.

Each computes a part of every batch; gradients, the statistics of BatchNorm and what dropout leaves
out are those of the whole batch. So the outcome does not depend on their number, but for rounding,
and for the random numbers that some of torchvision's networks draw in layers of their own
(`share_dropout`).

What ends one process ends all. Each would say so, so the first to speak speaks for all.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, distributed, nn
from torch.distributed.rendezvous import rendezvous
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from vidlabel.errors import RunError, UsageError

LONGEST_WAIT = timedelta(hours=24)
"""The first process of a machine decodes all videos while the others wait."""

_SPOKEN = "vidlabel has spoken"
_meeting: list[Any] = []
"""Where the processes find each other, once they have: small values that all of them see."""

T = TypeVar("T")


@dataclass(frozen=True)
class Team:
    """The processes that train together, seen from one of them; `Team()` is a process alone."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    """Number among the processes of this machine: that of its GPU."""

    @property
    def leads(self) -> bool:
        """Whether this is the process that writes files."""
        return self.rank == 0

    def part(self, count: int) -> slice:
        """This process's part of `count` things; `size` divides `count`."""
        each = count // self.size
        return slice(self.rank * each, (self.rank + 1) * each)

    def add(self, tensor: Tensor) -> Tensor:
        """Make a tensor the sum over all processes, in place."""
        if self.size > 1:
            with _together():
                distributed.all_reduce(tensor)
        return tensor

    def gather(self, value: T) -> list[T]:
        """Every process's value, in order, at all of them."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        with _together():
            distributed.all_gather_object(values, value)
        return values

    def share(self, value: T) -> T:
        """The first process's value, at all of them."""
        if self.size == 1:
            return value
        values = [value]
        with _together():
            distributed.broadcast_object_list(values)
        return values[0]

    def wait(self) -> None:
        """Go on when all have come this far."""
        if self.size > 1:
            with _together():
                distributed.barrier()


def join_team(device: torch.device) -> Team:
    """Find the other processes by the variables that `torchrun` sets.

    Raises:
        UsageError: the variables are there, but do not make sense.
        RunError: the others are not found.
    """
    try:
        size, rank, local = (
            int(os.environ.get(name, default))
            for name, default in (("WORLD_SIZE", "1"), ("RANK", "0"), ("LOCAL_RANK", "0"))
        )
    except ValueError as error:
        raise UsageError(f"WORLD_SIZE, RANK and LOCAL_RANK must be numbers: {error}") from None
    if size <= 1:
        return Team()
    if not distributed.is_initialized():
        if device.type == "cuda":
            torch.cuda.set_device(local)
        backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
        with _together():
            store, rank, size = next(rendezvous("env://", timeout=LONGEST_WAIT))
            distributed.init_process_group(
                backend, store=store, rank=rank, world_size=size, timeout=LONGEST_WAIT
            )
        _meeting.append(store)
        atexit.register(distributed.destroy_process_group)
    return Team(rank, size, local)


def speaks_first() -> bool:
    """Whether this process is to say why it ends: of those that have met, the first that asks, and
    before that the first by number, as what is wrong then is wrong for all."""
    if not _meeting:
        return os.environ.get("RANK", "0") == "0"
    try:
        return bool(_meeting[0].add(_SPOKEN, 1) == 1)
    except RuntimeError:  # it ended with the process that kept it
        return True


@contextmanager
def _together() -> Iterator[None]:
    """Around what all processes do at the same time.

    Raises:
        RunError: another process has ended.
    """
    try:
        yield
    except RuntimeError as error:  # gloo's own has no type of its own
        if not isinstance(error, distributed.DistError) and "gloo" not in str(error).lower():
            raise
        raise RunError("another process of this training has ended, and so has this one") from error


def reduce_gradients(team: Team, parameters: Sequence[nn.Parameter], totals: Tensor) -> None:
    """Add up the gradients, and `totals`, of all processes, in place and in one message."""
    if team.size == 1:
        return
    for parameter in parameters:  # every process must send the same numbers in the same order
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    gradients = [cast(Tensor, parameter.grad) for parameter in parameters]
    message = team.add(torch.cat([*(g.flatten() for g in gradients), totals.to(gradients[0])]))
    start = 0
    for gradient in gradients:
        end = start + gradient.numel()
        # In place: fused optimisers take gradients to lie in memory as their parameters do.
        gradient.copy_(message[start:end].reshape(gradient.shape))
        start = end
    totals.copy_(message[start:])


class _Sum(torch.autograd.Function):
    """The sum over all processes, through which gradients flow back to each."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        total = values.clone()
        with _together():
            distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].contiguous()
        with _together():
            distributed.all_reduce(total)
        return total


class SharedBatchNorm(_BatchNorm):
    """BatchNorm over the batches of all processes, on any device.

    torch's own SyncBatchNorm computes the same, but on GPUs only.
    """

    def forward(self, values: Tensor) -> Tensor:
        if not self.training:
            return F.batch_norm(
                values, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
            )
        dims = [0, *range(2, values.ndim)]
        shape = (1, -1, *(1 for _ in dims[1:]))
        exact = values if values.dtype == torch.float64 else values.float()
        count = values.numel() / values.shape[1]
        sums = _Sum.apply(torch.cat([exact.sum(dims), exact.new_full((1,), count)]))
        total = sums[-1].detach()
        mean = sums[:-1] / total
        centred = exact - mean.reshape(shape)
        variance = _Sum.apply(centred.square().sum(dims)) / total
        self._remember(mean.detach(), variance.detach(), total)
        normed = centred * (variance + self.eps).rsqrt().reshape(shape)
        changed = normed * self.weight.reshape(shape) + self.bias.reshape(shape)
        return cast(Tensor, changed.to(values.dtype))

    def _check_input_dim(self, input: Tensor) -> None: ...

    @torch.no_grad()
    def _remember(self, mean: Tensor, variance: Tensor, count: Tensor) -> None:
        if self.running_mean is None or self.running_var is None:
            return
        assert self.num_batches_tracked is not None
        self.num_batches_tracked += 1
        # No momentum means the plain average of all batches.
        share = 1 / int(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, share)
        self.running_var.lerp_(variance * count / (count - 1), share)


def share_batchnorm(network: nn.Module) -> None:
    """Let all BatchNorm layers that learn normalise over the batches of all processes."""
    for parent in network.modules():
        for name, child in parent.named_children():
            if isinstance(child, _BatchNorm) and child.weight.requires_grad:
                shared = SharedBatchNorm(child.num_features, child.eps, child.momentum)
                shared.weight, shared.bias = child.weight, child.bias
                shared.running_mean, shared.running_var = child.running_mean, child.running_var
                shared.num_batches_tracked = child.num_batches_tracked
                setattr(parent, name, shared)


class SharedDropout(nn.Dropout):
    """Dropout of which each process applies its part of what one alone would draw.

    That needs the batch in the first dimension, the same part of it in each process, and random
    numbers that all processes draw alike. It draws `team.size` times as many as it uses.
    """

    def __init__(self, p: float, team: Team) -> None:
        super().__init__(p)
        self._team = team

    def forward(self, input: Tensor) -> Tensor:
        if not self.training or not self.p:
            return input
        whole = input.new_ones(len(input) * self._team.size, *input.shape[1:])
        drawn = F.dropout(whole, self.p)  # 0, or 1 / (1 - p)
        return input * drawn[self._team.part(len(drawn))]


def share_dropout(network: nn.Module, team: Team) -> None:
    """Let all layers of dropout leave out what they would in one process.

    All processes must be seeded alike. What stays different from one process: the stochastic depth
    of torchvision's ConvNeXt, EfficientNet, MaxViT, Swin and MViT, and any other layer that draws
    by itself. There clips at the same place of two parts are treated alike, and what is drawn after
    them is not what one process draws.
    """
    if team.size == 1:
        return
    for parent in network.modules():
        for name, child in parent.named_children():
            if type(child) is nn.Dropout:
                setattr(parent, name, SharedDropout(child.p, team))
