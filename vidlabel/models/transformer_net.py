"""Video networks of Transformers: classifiers with a linear last layer, and X-CLIP.

VideoMAE: Tong et al. 2022, arXiv 2203.12602. TimeSformer: Bertasius et al. 2021, arXiv 2102.05095.
ViViT: Arnab et al. 2021, arXiv 2103.15691. V-JEPA 2: Assran et al. 2025, arXiv 2506.09985. X-CLIP:
Ni et al. 2022, arXiv 2208.02816.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

from vidlabel.models.base import ClipModel, Normalise
from vidlabel.models.hf_folder import Pixels


class _WholeClip(ClipModel):
    """A network that sees (B, T, 3, H, W), normalised, at once."""

    fixed_time_steps = True

    def __init__(self, trunk: nn.Module, pixels: Pixels, family: str) -> None:
        super().__init__(Normalise(pixels.clip, pixels.mean, pixels.std), trunk, family)
        self.dropout = nn.Identity()

    def frame_features(self, clips: Tensor) -> Tensor:
        """(B, T, 3, H, W) uint8 to (B, N, F), the output of the trunk for the whole clip."""
        exact = self.normalise.mix.dtype
        frames = self.normalise(clips.flatten(0, 1).to(exact)).unflatten(0, clips.shape[:2])
        return cast(Tensor, self.trunk(frames).to(exact))

    def pool(self, frames: Tensor) -> Tensor:
        return frames[:, 0]


class TransformerNet(_WholeClip):
    """A video classifier of Transformers, whose last layer `classifier` is linear.

    Args:
        model: it is changed: `classifier` moves from it to `classify`.
    """

    def __init__(self, model: Any, pixels: Pixels, family: str) -> None:
        head, model.classifier = model.classifier, nn.Identity()
        super().__init__(_Features(model), pixels, family)
        self.classify = head


class _Features(nn.Module):
    """(B, T, 3, H, W) to (B, 1, F): what the last layer would see."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, frames: Tensor) -> Tensor:
        return cast(Tensor, self.model(frames).logits[:, None])


class ZeroShotNet(_WholeClip):
    """X-CLIP with the embeddings of K texts, (K, E): the logits are the similarities of the video
    and each text, which the video adapts."""

    def __init__(self, model: Any, texts: Tensor, pixels: Pixels, family: str) -> None:
        super().__init__(_VideoAndPlaces(model), pixels, family)
        self.classify = model.prompts_generator
        self.scale = model.logit_scale
        self.register_buffer("texts", texts, persistent=False)
        self.texts: Tensor

    def read(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        video, places = frames[:, 0], frames[:, 1:]
        texts = self.texts.expand(len(frames), -1, -1)
        texts = texts + self.classify(texts, places)
        towards = nn.functional.normalize(video, dim=-1)
        texts = nn.functional.normalize(texts, dim=-1)
        return video, torch.einsum("bd,bkd->bk", towards, texts) * self.scale.exp()


class _VideoAndPlaces(nn.Module):
    """(B, T, 3, H, W) to (B, 1 + P, E): the embedding of the video, and of each of P patches, the
    mean over the frames; as in the forward pass of Transformers' XCLIPModel."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.vision = model.vision_model
        self.to_video = model.visual_projection
        self.over_time = model.mit
        self.norm = model.prompts_visual_layernorm
        self.to_places = model.prompts_visual_projection

    def forward(self, frames: Tensor) -> Tensor:
        seen = self.vision(pixel_values=frames.flatten(0, 1))
        each = self.to_video(seen[1]).unflatten(0, frames.shape[:2])
        video = self.over_time(each)[1]
        places = self.norm(seen[0][:, 1:]) @ self.to_places
        places = places.unflatten(0, frames.shape[:2]).mean(1)
        return torch.cat([video[:, None], places], 1)
