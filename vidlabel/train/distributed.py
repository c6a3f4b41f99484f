"""Distributed training: several processes, started by `torchrun`, train one model.

Each process computes a part of every batch; gradients, the statistics of BatchNorm and the masks of
dropout are those of the whole batch. So the result does not depend on the number of processes,
except for rounding, and for the random numbers that some of torchvision's networks draw in layers
of their own (`share_layers`).

An error in one process ends all of them, and one process reports it for all.
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
"""Time limit of communication: the others wait while one process per machine decodes all videos."""

_REPORTED = "vidlabel has reported an error"
_meeting: list[Any] = []
"""The key-value store that all processes share, once they are connected."""

T = TypeVar("T")


@contextmanager
def _together() -> Iterator[None]:
    """Encloses communication between all processes.

    Raises:
        RunError: another process has ended.
    """
    try:
        yield
    except RuntimeError as error:  # errors of gloo have no type of their own
        if not isinstance(error, distributed.DistError) and "gloo" not in str(error).lower():
            raise
        raise RunError(
            "another process of this training has ended, so this one ends too"
        ) from error


@dataclass(frozen=True)
class Team:
    """The processes that train together, as seen by one of them; `Team()` is a single process."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    """Number among the processes of this machine, and number of its GPU."""

    @property
    def leads(self) -> bool:
        """Whether this process writes the files."""
        return self.rank == 0

    def part(self, count: int) -> slice:
        """This process's part of `count` items, a multiple of `size`."""
        each = count // self.size
        return slice(self.rank * each, (self.rank + 1) * each)

    def add(self, tensor: Tensor) -> Tensor:
        """Replace a tensor by its sum over all processes, in place."""
        return tensor if self.size == 1 else _added(tensor)

    @_together()
    def gather(self, value: T) -> list[T]:
        """The values of all processes, by rank, in each of them."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        distributed.all_gather_object(values, value)
        return values

    @_together()
    def share(self, value: T) -> T:
        """The value of the first process, in each of them."""
        if self.size == 1:
            return value
        values = [value]
        distributed.broadcast_object_list(values)
        return values[0]

    @_together()
    def wait(self) -> None:
        """Wait until all processes have come this far."""
        if self.size > 1:
            distributed.barrier()


def join_team(device: torch.device) -> Team:
    """Connect to the other processes by the environment variables that `torchrun` sets.

    Raises:
        UsageError: the variables are not numbers.
        RunError: the other processes cannot be reached.
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
    """Whether this process should report why it ends: the first one to call this once the processes
    are connected, or that of rank 0 before, when an error is the same in all of them."""
    if not _meeting:
        return os.environ.get("RANK", "0") == "0"
    try:
        return bool(_meeting[0].add(_REPORTED, 1) == 1)
    except RuntimeError:  # the process with the store has ended
        return True


@_together()
def _added(tensor: Tensor) -> Tensor:
    distributed.all_reduce(tensor)
    return tensor


def reduce_gradients(team: Team, parameters: Sequence[nn.Parameter], totals: Tensor) -> None:
    """Sum the gradients, and `totals`, over all processes, in place and in one message."""
    if team.size == 1:
        return
    for parameter in parameters:  # every process must send the same numbers in the same order
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    gradients = [cast(Tensor, parameter.grad) for parameter in parameters]
    message = team.add(torch.cat([*(g.flatten() for g in gradients), totals.to(gradients[0])]))
    sent = [*gradients, totals]
    for values, total in zip(sent, torch.split(message, [v.numel() for v in sent]), strict=True):
        # In place: fused optimizers need gradients with the memory layout of their parameters.
        values.copy_(total.reshape(values.shape))


class _Sum(torch.autograd.Function):
    """The sum over all processes, with gradients."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        return _added(values.clone())

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return _added(gradients[0].contiguous())


class SharedBatchNorm(_BatchNorm):
    """BatchNorm over the batches of all processes, on any device: torch's SyncBatchNorm is for GPUs
    only."""

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

    @torch.no_grad()
    def _remember(self, mean: Tensor, variance: Tensor, count: Tensor) -> None:
        if self.running_mean is None or self.running_var is None:
            return
        assert self.num_batches_tracked is not None
        self.num_batches_tracked += 1
        # momentum=None is the plain average of all batches.
        share = 1 / int(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, share)
        self.running_var.lerp_(variance * count / (count - 1), share)


class SharedDropout(nn.Dropout):
    """Dropout where each process applies its part of the mask that a single process would draw.

    The batch must be the first dimension, with equal parts in all processes, and all processes must
    have the same random state. Each draws `team.size` times as many numbers as it uses.
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


def share_layers(network: nn.Module, team: Team) -> None:
    """Let all BatchNorm layers that are trained normalise over the batches of all processes, and
    all dropout layers drop what they would drop in a single process.

    All processes must have the same random seed. The stochastic depth of torchvision's ConvNeXt,
    EfficientNet, MaxViT, Swin and MViT, and any other layer with random numbers of its own, still
    differs from a single process: clips at the same place of two parts are treated alike, and later
    random numbers differ.
    """
    if team.size == 1:
        return
    for parent in network.modules():
        for name, child in parent.named_children():
            if isinstance(child, _BatchNorm) and child.weight.requires_grad:
                shared = SharedBatchNorm(child.num_features, child.eps, child.momentum)
                shared.weight, shared.bias = child.weight, child.bias
                shared.running_mean, shared.running_var = child.running_mean, child.running_var
                shared.num_batches_tracked = child.num_batches_tracked
                setattr(parent, name, shared)
            elif type(child) is nn.Dropout:
                setattr(parent, name, SharedDropout(child.p, team))
