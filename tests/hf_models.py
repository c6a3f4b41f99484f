"""Tiny random checkpoints of Transformers, one of each family, as `save_pretrained` writes them."""

from __future__ import annotations

import string
from pathlib import Path
from typing import Any

import torch
import transformers

CLASSES = ("hug", "kick", "run")
FRAMES, SIDE_PX, RESIZE_PX = 4, 32, 36

_SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
_NAMED: dict[str, Any] = {
    "id2label": dict(enumerate(CLASSES)),
    "initializer_range": 0.2,  # far apart, so that a wrong pixel changes the logits
}
_SEES = {"image_size": SIDE_PX, "num_frames": FRAMES, "intermediate_size": 64}
_SIZES: dict[str, Any] = {
    "size": {"shortest_edge": RESIZE_PX}, "crop_size": {"height": SIDE_PX, "width": SIDE_PX},
}  # fmt: skip
FAMILIES = ("videomae", "timesformer", "vivit", "vjepa2")


def save(family: str, folder: Path, **processing: Any) -> tuple[Any, Any]:
    """Write a checkpoint of a family into a folder; its model, in evaluation mode, and processor.

    `processing` are settings of the processor.
    """
    torch.manual_seed(FAMILIES.index(family))
    t, sizes = transformers, _SIZES | processing
    config: Any
    if family == "videomae":
        config = t.VideoMAEConfig(patch_size=8, **_SMALL, **_SEES, **_NAMED)
        model, processor = (
            t.VideoMAEForVideoClassification(config),
            t.VideoMAEImageProcessor(**sizes),
        )
    elif family == "timesformer":
        config = t.TimesformerConfig(patch_size=8, **_SMALL, **_SEES, **_NAMED)
        model = t.TimesformerForVideoClassification(config)
        processor = t.VideoMAEImageProcessor(
            image_mean=[0.45, 0.4, 0.35], image_std=[0.22, 0.23, 0.24], **sizes
        )
    elif family == "vivit":
        config = t.VivitConfig(tubelet_size=[2, 8, 8], **_SMALL, **_SEES, **_NAMED)
        model, processor = t.VivitForVideoClassification(config), t.VivitImageProcessor(**sizes)
    else:
        config = t.VJEPA2Config(
            crop_size=SIDE_PX, frames_per_clip=FRAMES, patch_size=8, pred_hidden_size=32,
            pred_num_attention_heads=2, pred_num_hidden_layers=1, num_pooler_layers=1,
            **_SMALL, **_NAMED,
        )  # fmt: skip
        model = t.VJEPA2ForVideoClassification(config)
        processor = t.VJEPA2VideoProcessor(crop_size=SIDE_PX)
    for saved in (model.eval(), processor):
        saved.save_pretrained(folder)
    return model, processor


def save_zero_shot(folder: Path) -> tuple[Any, Any]:
    """Write an X-CLIP whose words are single letters; its model and processor."""
    torch.manual_seed(9)
    t = transformers
    letters = [*string.ascii_lowercase, *(f"{each}</w>" for each in string.ascii_lowercase)]
    vocab = {token: i for i, token in enumerate(["<|startoftext|>", "<|endoftext|>", *letters])}
    config = t.XCLIPConfig(
        projection_dim=32, prompt_num_attention_heads=2,
        text_config=dict(
            vocab_size=len(vocab), intermediate_size=64, bos_token_id=0, eos_token_id=1,
            pad_token_id=1, **_SMALL,
        ),
        vision_config=dict(
            patch_size=8, mit_hidden_size=32, mit_intermediate_size=64, mit_num_attention_heads=2,
            **_SMALL, **_SEES,
        ),
    )  # fmt: skip
    model: Any = t.XCLIPModel(config).eval()
    with torch.no_grad():  # the usual random weights are so small that all texts are alike
        for value in model.parameters():
            if value.ndim > 1:
                value.mul_(4)
    processor = t.XCLIPProcessor(
        t.VideoMAEImageProcessor(**_SIZES), t.CLIPTokenizer(vocab=vocab, merges=[])
    )
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return model, processor
