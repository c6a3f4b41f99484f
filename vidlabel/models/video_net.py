"""torchvision's video networks, whose convolutions or attention cover space and time.

R3D, MC3 and R(2+1)D: Tran et al. 2018, arXiv 1711.11248. S3D: Xie et al. 2018, arXiv 1712.04851.
MViTv2: Li et al. 2022, arXiv 2112.01526. Video Swin: Liu et al. 2022, arXiv 2106.13230.
"""

from __future__ import annotations

from functools import cache
from typing import cast

import torch
from torch import Tensor, nn

from vidlabel.errors import UsageError
from vidlabel.models.base import ClipModel, Normalise
from vidlabel.models.kinetics import KINETICS
from vidlabel.models.trunks import CLASSIFIERS, headless
from vidlabel.models.weights import fetch_weights
from vidlabel.specs import ClipSpec, ModelSpec
from vidlabel.text import safe


class VideoNet(ClipModel):
    """The network that `spec.trunk` names, and one linear layer; see the module.

    Raises:
        UsageError: the name is unknown, or the network does not accept such clips.
    """

    fixed_time_steps = True

    def __init__(self, spec: ModelSpec, clip: ClipSpec) -> None:
        if spec.trunk not in KINETICS:
            raise UsageError(
                f"--trunk {safe(spec.trunk)}: not a network of video-net; use one of "
                + ", ".join(KINETICS)
            )
        if clip.input != "rgb":
            raise UsageError(f"video-net needs --input rgb, got {clip.input}")
        known = KINETICS[spec.trunk]
        width = _width(spec.trunk, clip.frames, clip.size_px)
        super().__init__(Normalise(clip, known.mean, known.std), headless(spec.trunk), spec.trunk)
        self.dropout = nn.Dropout(spec.dropout)
        self.classify = nn.Linear(width, spec.classes)

    def load_pretrained(self, weights: str) -> None:
        """Load pretrained weights: `kinetics` for torchvision's, or such a file.

        Raises:
            UsageError: `weights` is `imagenet`.
            CheckpointError: they are neither in the cache nor can be downloaded, or do not fit.
        """
        if weights == "imagenet":
            raise UsageError(
                f"--trunk-weights imagenet: there are none for {self._trunk_name}; --init "
                f"{self._trunk_name} starts from Kinetics-400 weights"
            )
        if weights == "kinetics":
            state, _ = fetch_kinetics(self._trunk_name)
            self.load_state_dict(
                {k: v for k, v in state.items() if not k.startswith("classify.")}, strict=False
            )
        else:
            super().load_pretrained(weights)

    def frame_features(self, clips: Tensor) -> Tensor:
        """(B, T, 3, H, W) uint8 to (B, 1, F): features of the whole clip."""
        batch, steps = clips.shape[:2]
        exact = self.normalise.mix.dtype
        pixels = clips.flatten(0, 1).to(dtype=exact, memory_format=torch.channels_last)
        frames = self.normalise(pixels)
        whole = frames.reshape(batch, steps, *frames.shape[1:]).transpose(1, 2)
        return cast(Tensor, self.trunk(whole).to(exact)[:, None])

    def pool(self, frames: Tensor) -> Tensor:
        return frames[:, 0]


def kinetics_classes(name: str) -> tuple[str, ...]:
    """The 400 classes of a network, in the order of its outputs."""
    import torchvision  # slow to import

    return tuple(torchvision.models.get_weight(KINETICS[name].weights).meta["categories"])


def fetch_kinetics(name: str) -> tuple[dict[str, Tensor], str]:
    """The state of a `VideoNet` of 400 classes with torchvision's weights, and the SHA-256 of
    their file.

    S3D classifies each of its last positions by a 1x1 convolution and averages the logits; as both
    are linear, the mean is classified here.

    Raises:
        CheckpointError: as `fetch_weights`.
    """
    import torchvision

    source = torchvision.models.get_weight(KINETICS[name].weights)
    weights, digest = fetch_weights(source, name)
    state = {}
    for key, value in weights.items():
        if key.partition(".")[0] in CLASSIFIERS:
            state["classify." + key.rpartition(".")[2]] = value.reshape(value.shape[:2])
        else:
            state["trunk." + key] = value
    return state, digest


@cache
def _width(name: str, frames: int, size_px: int) -> int:
    """Number of features per clip. Raises UsageError for clips that the network does not accept."""
    clip = KINETICS[name].clip
    refusal = UsageError(
        f"--trunk {name}: does not accept clips of {frames} frames of {size_px} pixels; use "
        f"--frames {clip.frames} --size {clip.size_px}"
    )
    # MViT would accept other shapes with as many positions, and misread them.
    if not KINETICS[name].any_shape and (frames, size_px) != (clip.frames, clip.size_px):
        raise refusal
    try:
        with torch.device("meta"):
            return int(headless(name).eval()(torch.empty(1, 3, frames, size_px, size_px)).shape[1])
    except (AssertionError, RuntimeError, ValueError) as error:
        raise refusal from error
