"""Training without forgetting, for the classes of a model that have no clips in the new data.

The network stays as it is, except for the rows of its classifier whose classes have clips: a fixed
representation (DeeSIL: Belouadah and Popescu 2018, arXiv 1808.06396). So that these classes do not
take over the clips of others, the first model is asked too, by Learning without Forgetting (Li and
Hoiem 2016, arXiv 1606.09282): beside its label, each clip has the probabilities that the first
model gives it, softened by a temperature. Where that was wrong, the probabilities of its best class
and of the label are exchanged before (probability shift: Wen et al. 2019, arXiv 1911.07471), so
that the mistake does not hold back the correction.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from copy import deepcopy
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from vidlabel.models.base import ClipModel

TEMPERATURE = 2.0
"""Divides the logits of both, as in the paper."""


def train_rows(network: ClipModel, columns: Collection[int]) -> None:
    """Let only the rows of some classes learn, those of these columns of the logits; and no layer
    before the classifier. Other rows stay exactly as they are if there is no weight decay."""
    network.requires_grad_(False)
    for name in network.class_layers():
        layer = network.get_submodule(name)
        for values in layer.parameters():
            learns = torch.zeros(len(values), *[1] * (values.ndim - 1), device=values.device)
            learns[sorted(columns)] = 1
            values.requires_grad_(True)
            values.register_hook(partial(torch.mul, learns))  # type: ignore[no-untyped-call]


class Teacher:
    """A copy of a network before it is trained, which goes on answering.

    Args:
        network: on its device; it is copied.
        known: the columns of its logits that it has learned, two or more; others are of new
            classes.
    """

    def __init__(self, network: ClipModel, known: Sequence[int]) -> None:
        self.network = deepcopy(network).eval().requires_grad_(False)
        device = next(network.parameters()).device
        self._known = torch.tensor(known, device=device)

    @torch.no_grad()
    def answers(self, frames: Tensor) -> Tensor:
        """Logits (B, A, known) of the known classes, for frame features (B, T, F); see
        `ClipModel.step_logits`."""
        return self.network.step_logits(frames)[..., self._known]

    def losses(self, answers: Tensor, step_logits: Tensor, labels: Tensor) -> Tensor:
        """Divergence (B,) of the trained network's logits (B, A, K) from the answers (B, A, known),
        among the known classes, where the clips have the labels (B,)."""
        ours = step_logits[..., self._known] / TEMPERATURE
        theirs = self._shifted(answers, labels) / TEMPERATURE
        each = F.kl_div(
            ours.log_softmax(2), theirs.log_softmax(2), reduction="none", log_target=True
        )
        return TEMPERATURE**2 * each.sum(2).mean(1)

    def _shifted(self, answers: Tensor, labels: Tensor) -> Tensor:
        """The answers, with the best class and the label exchanged where they are not the same."""
        is_label = self._known == labels[:, None]  # (B, known)
        right = is_label.int().argmax(1)[:, None, None].expand(-1, answers.shape[1], 1)
        best = answers.argmax(2, keepdim=True)
        moved = answers.scatter(2, best, answers.gather(2, right))
        moved = moved.scatter(2, right, answers.gather(2, best))
        return torch.where(is_label.any(1)[:, None, None], moved, answers)
