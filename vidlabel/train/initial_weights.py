"""The weights that a training starts from: random, a pretrained CNN's, or those of a checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path

import torch
from torch import Tensor

from vidlabel.datasets.samples import Sample, class_names
from vidlabel.errors import UsageError, WeightsMissing
from vidlabel.models.base import ClipModel
from vidlabel.models.build import build_model
from vidlabel.models.checkpoint import Checkpoint, Header, describe_model, load_checkpoint
from vidlabel.text import first_few, plural, with_hint
from vidlabel.train.distributed import Team
from vidlabel.train.observer import TrainObserver
from vidlabel.train.recipes import TrainSpec


def initial_network(
    header: Header, spec: TrainSpec, team: Team, observer: TrainObserver
) -> tuple[ClipModel, str]:
    """The network with the weights that training starts from, and their name.

    Raises:
        UsageError: the checkpoint of --init does not fit.
        CheckpointError: weights cannot be loaded.
    """
    torch.manual_seed(spec.seed)
    network = build_model(header.model, header.clip)
    weights = spec.trunk_weights
    if weights == "auto":
        weights = team.share(_available(network, spec, observer) if team.leads else "")
    if weights != "none":
        network.load_pretrained(weights)
    if not spec.init:
        return network, weights
    start = load_checkpoint(spec.init)
    state = start.network.state_dict()
    if start.header.classes != header.classes:
        _move_rows(state, start, network, header.classes)
    own = network.state_dict()
    wrong = sorted(k for k, v in state.items() if k not in own or own[k].shape != v.shape)
    if wrong:
        raise UsageError(f"--init {spec.init}: does not fit this model at {wrong[0]}")
    network.load_state_dict(state, strict=False)
    if start.header.classes != header.classes:
        observer.note(_told(spec.init, start.header.classes, header.classes))
    return network, Path(spec.init).stem


def model_classes(samples: Sequence[Sample], spec: TrainSpec) -> tuple[str, ...]:
    """The classes of the model to train, sorted: those of the samples, and with `keep_classes`
    also those of the checkpoint of --init.

    Raises:
        UsageError: there are fewer than two.
        CheckpointError: the checkpoint cannot be read.
    """
    if not spec.keep_classes:
        return class_names(samples)
    return tuple(sorted({*describe_model(spec.init).classes, *(s.label for s in samples)}))


def known_columns(classes: Sequence[str], spec: TrainSpec) -> list[int]:
    """Which classes of the model to train must not be forgotten: with `keep_classes`, the places of
    those of the checkpoint of --init."""
    known = set(describe_model(spec.init).classes) if spec.keep_classes else set()
    return [place for place, name in enumerate(classes) if name in known]


def _move_rows(
    state: dict[str, Tensor], start: Checkpoint, network: ClipModel, classes: Sequence[str]
) -> None:
    """Replace the rows of classes in a `state` by those of `classes`.

    A new class gets the mean of all rows, as new words do (Hewitt 2021, "Initializing New Word
    Embeddings for Pretrained Language Models"), so that it is neither a likely nor an unlikely
    answer, and the random weights of `network`, so that two of them can part. Without any known
    class, all rows are random.
    """
    before = {name: place for place, name in enumerate(start.header.classes)}
    known = any(name in before for name in classes)
    own = network.state_dict()
    for layer in start.network.class_layers():
        for key in (f"{layer}.weight", f"{layer}.bias"):
            rows, fresh = state[key], own.get(key)
            if fresh is None or fresh.shape[1:] != rows.shape[1:]:
                continue  # another network, which is refused
            mean = rows.mean(0) if known else torch.zeros_like(rows[0])
            state[key] = torch.stack(
                [
                    rows[before[name]] if name in before else mean + fresh[place]
                    for place, name in enumerate(classes)
                ]
            )


def _told(init: str, before: Sequence[str], now: Sequence[str]) -> str:
    """What becomes of the classes of the checkpoint, and which are new."""
    kept = [name for name in now if name in before]
    left = len(before) - len(kept)
    told = f"--init {init}: {len(kept)} of its {plural(len(before), 'class')} go on"
    if left:
        told += f", {left} are left out"
    new = [with_hint(name, before) for name in now if name not in before]
    return f"{told}; new: {first_few(new)}" if new else told


def _available(network: ClipModel, spec: TrainSpec, observer: TrainObserver) -> str:
    """`imagenet` if those weights can be loaded, else `none`; a note says which. Raises
    WeightsMissing if the CNN is frozen."""
    before = deepcopy(network.trunk.state_dict())
    try:
        network.load_pretrained("imagenet")
    except WeightsMissing as error:
        if spec.freeze_trunk:
            raise
        network.trunk.load_state_dict(before)  # one of two streams may have got its own
        observer.note(
            f"the CNN starts from random weights, and needs more clips to learn from: {error}"
        )
        return "none"
    observer.note("the CNN starts from ImageNet weights")
    return "imagenet"
