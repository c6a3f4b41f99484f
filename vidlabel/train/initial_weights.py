"""The weights that a training starts from: random, a pretrained CNN's, or those of a checkpoint."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path

import torch

from vidlabel.errors import UsageError, WeightsMissing
from vidlabel.models.base import ClipModel
from vidlabel.models.build import build_model
from vidlabel.models.checkpoint import Header, load_checkpoint
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
        state = {k: v for k, v in state.items() if not k.startswith("classify.")}
    own = network.state_dict()
    wrong = sorted(k for k, v in state.items() if k not in own or own[k].shape != v.shape)
    if wrong:
        raise UsageError(f"--init {spec.init}: does not fit this model at {wrong[0]}")
    network.load_state_dict(state, strict=False)
    return network, Path(spec.init).stem


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
