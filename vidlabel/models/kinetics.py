"""torchvision's video networks with Kinetics-400 weights: input, size and accuracy of each.

Kinetics-400 (Kay et al. 2017, arXiv 1705.06950) has 400 human actions in web videos of 10 s. This
is plain data that needs no torch; tests compare all of it with torchvision.
"""

from __future__ import annotations

from dataclasses import dataclass

from vidlabel.specs import ClipSpec


@dataclass(frozen=True)
class Pretrained:
    """A network with pretrained weights of torchvision."""

    weights: str
    """Their name in torchvision."""
    clip: ClipSpec
    """The clips that it was trained and measured on."""
    mean: tuple[float, float, float]
    """Mean of red, green and blue, 0..1; subtracted before division by `std`."""
    std: tuple[float, float, float]
    parameters: int
    """With 400 classes."""
    gflops: float
    """Multiply-adds per clip, in billions. torchvision's own figures are of 16 frames."""
    top1: float
    """Accuracy published by torchvision, 0..1."""
    top5: float
    clips_per_video: int
    """Clips whose mean gives the published accuracy."""
    any_shape: bool = True
    """False if it accepts no other number of frames and no other size."""

    @property
    def protocol(self) -> str:
        """How `top1` and `top5` were measured, in a few words."""
        clips = "1 clip" if self.clips_per_video == 1 else f"{self.clips_per_video} clips"
        return f"Kinetics-400 validation, {clips} per video, published by torchvision"


_MEAN, _STD = (0.43216, 0.394666, 0.37645), (0.22803, 0.22145, 0.216989)
_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_RESNET = ClipSpec(frames=16, size_px=112, resize_px=128, fps=15.0, aspect=171 / 128)
_S3D = ClipSpec(frames=128, size_px=224, resize_px=256, fps=15.0, aspect=1.0)
_MVIT = ClipSpec(frames=16, size_px=224, resize_px=256, fps=7.5)
_SWIN = ClipSpec(frames=32, size_px=224, resize_px=256, fps=15.0)

KINETICS: dict[str, Pretrained] = {
    "r3d_18": Pretrained(
        "R3D_18_Weights.KINETICS400_V1", _RESNET, _MEAN, _STD,
        parameters=33_371_472, gflops=40.697, top1=0.63200, top5=0.83479, clips_per_video=5,
    ),
    "mc3_18": Pretrained(
        "MC3_18_Weights.KINETICS400_V1", _RESNET, _MEAN, _STD,
        parameters=11_695_440, gflops=43.343, top1=0.63960, top5=0.84130, clips_per_video=5,
    ),
    "r2plus1d_18": Pretrained(
        "R2Plus1D_18_Weights.KINETICS400_V1", _RESNET, _MEAN, _STD,
        parameters=31_505_325, gflops=40.519, top1=0.67463, top5=0.86175, clips_per_video=5,
    ),
    "s3d": Pretrained(
        "S3D_Weights.KINETICS400_V1", _S3D, _MEAN, _STD,
        parameters=8_320_048, gflops=143.833, top1=0.68368, top5=0.88050, clips_per_video=1,
    ),
    "mvit_v2_s": Pretrained(
        "MViT_V2_S_Weights.KINETICS400_V1", _MVIT, (0.45, 0.45, 0.45), (0.225, 0.225, 0.225),
        parameters=34_537_744, gflops=64.224, top1=0.80757, top5=0.94665, clips_per_video=5,
        any_shape=False,
    ),
    "swin3d_t": Pretrained(
        "Swin3D_T_Weights.KINETICS400_V1", _SWIN, _IMAGENET_MEAN, _IMAGENET_STD,
        parameters=28_158_070, gflops=87.764, top1=0.77715, top5=0.93519, clips_per_video=12,
    ),
    "swin3d_s": Pretrained(
        "Swin3D_S_Weights.KINETICS400_V1", _SWIN, _IMAGENET_MEAN, _IMAGENET_STD,
        parameters=49_816_678, gflops=165.682, top1=0.79521, top5=0.94158, clips_per_video=12,
    ),
    "swin3d_b": Pretrained(
        "Swin3D_B_Weights.KINETICS400_V1", _SWIN, _IMAGENET_MEAN, _IMAGENET_STD,
        parameters=88_048_984, gflops=281.333, top1=0.79427, top5=0.94386, clips_per_video=12,
    ),
}  # fmt: skip
"""By torchvision's names, which --model and --init accept."""
