"""How to train: the settings, and what is known to work.

A recipe is a set of values for the fields of `TrainSpec`, `ClipSpec` and `ModelSpec`. Every field
is a flag of `vidlabel train` (`batch_size` is `--batch-size`) and a key of a TOML file;
`vidlabel.settings` puts them together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

from vidlabel.errors import UsageError
from vidlabel.specs import Precision, setting

Optimiser = Literal["adamw", "adam", "sgd"]
Schedule = Literal["cosine", "constant"]


@dataclass(frozen=True)
class TrainSpec:
    """How to train. The defaults suit a few hundred to a few thousand clips."""

    epochs: int = setting(40, "After each, the model is tried on the held-out part and kept.")
    epoch_steps: int = setting(
        1, "Least steps of an epoch: a set of few clips is gone through several times in one."
    )
    batch_size: int = setting(16, "Clips per step, over all processes.")
    optimiser: Optimiser = setting("adamw", "How the weights follow the gradient.")
    lr: float = setting(1e-3, "Peak learning rate.")
    trunk_lr: float = setting(0.5, "The CNN's learning rate, as a share of --lr.")
    momentum: float = setting(0.9, "Of sgd, which is Nesterov's.")
    weight_decay: float = setting(0.05, "Of weights; biases and norms are not decayed.")
    schedule: Schedule = setting("cosine", "How the learning rate falls from its peak.")
    warmup: float = setting(
        0.05, "Share of all steps over which the learning rate rises to its peak."
    )
    label_smoothing: float = setting(0.1, "Share of a label that is spread over all classes.")
    clip_norm: float = setting(5.0, "Longest gradient; 0 leaves it as it is.")
    ema: float = setting(
        0.98, "Decay per step of the moving average of the weights that is kept; 0 keeps the last."
    )
    mixup: float = setting(0.0, "Alpha of mixup's Beta distribution; 0 mixes nothing.")
    cutmix: float = setting(0.0, "Alpha of CutMix's; with both, each pair of clips gets one.")
    crop: float = setting(
        0.7,
        "Smallest side of the random crop, as a share of the frame's shorter side; 1: the centre.",
    )
    window: float = setting(
        0.6, "Shortest stretch of a video that a clip is taken from, as a share of its length."
    )
    flip: float = setting(0.5, "Share of clips that are mirrored, left to right.")
    colour: float = setting(1.0, "Strength of changes of light and colour; 0 is none.")
    noise: float = setting(
        6.0, "Largest standard deviation of pixel noise, of 255; half of the clips get some."
    )
    freeze_trunk: bool = setting(
        False,
        "Leave the CNN as it is, with the statistics of its BatchNorm layers. With --crop 1 "
        "--colour 0 --noise 0, and nothing mixed, each frame passes through it only once.",
    )
    val_fraction: float = setting(0.2, "Share of each class to hold out, by whole groups.")
    max_bad: float = setting(
        0.01, "Share of videos that may be unreadable; they are listed, and more than this stops."
    )
    seed: int = setting(0, "Of everything random.")
    init: str = setting(
        "", "Start from a checkpoint, with its clips and network; other classes are learned anew."
    )
    trunk_weights: str = setting(
        "none",
        "Start the CNN from torchvision's weights; auto takes ImageNet's where they can be had.",
    )
    precision: Precision = setting(
        "auto", "Of the arithmetic; auto is bf16 on a GPU that has it, fp32 elsewhere."
    )
    compile: bool = setting(False, "Compile the CNN with torch.compile.")

    @property
    def changes_pixels(self) -> bool:
        """Whether clips differ from epoch to epoch by more than moments and mirror images."""
        return bool(self.crop < 1 or self.colour or self.noise or self.mixup or self.cutmix)

    def __post_init__(self) -> None:
        for name, low, high in _RANGES:
            value = getattr(self, name)
            if not low <= value <= high:
                flag = name.replace("_", "-")
                raise UsageError(f"--{flag} must be {low:g} to {high:g}, got {value:g}")
        for name, known in _CHOICES.items():
            if getattr(self, name) not in known:
                raise UsageError(f"--{name} must be {' or '.join(known)}: {getattr(self, name)}")
        if not 0 < self.lr < 10:
            raise UsageError(f"--lr must be over 0 and under 10, got {self.lr:g}")
        if (self.mixup or self.cutmix) and self.batch_size % 2:
            raise UsageError(f"--batch-size must be even to mix pairs, got {self.batch_size}")


_CHOICES = {
    "optimiser": get_args(Optimiser),
    "schedule": get_args(Schedule),
    "precision": get_args(Precision),
}
_RANGES = (
    ("epochs", 1, 100_000),
    ("epoch_steps", 1, 100_000),
    ("batch_size", 2, 65_536),
    ("trunk_lr", 0, 10),
    ("momentum", 0, 0.9999),
    ("weight_decay", 0, 10),
    ("warmup", 0, 1),
    ("label_smoothing", 0, 0.9),
    ("clip_norm", 0, 1e6),
    ("ema", 0, 0.99999),
    ("mixup", 0, 10),
    ("cutmix", 0, 10),
    ("crop", 0.1, 1),
    ("window", 0.05, 1),
    ("flip", 0, 1),
    ("colour", 0, 2),
    ("noise", 0, 50),
    ("val_fraction", 0.01, 0.9),
    ("max_bad", 0, 1),
    ("seed", 0, 2**63 - 1),
)


@dataclass(frozen=True)
class Recipe:
    """Settings for one network that go together. What it does not name has the field's default."""

    values: Mapping[str, bool | int | float | str] = field(default_factory=dict)
    """By name of the flag, with underscores; never `init`, as a recipe starts from nothing."""
    published: tuple[str, ...] = ()
    """Of which settings the value was published; all others are ours."""
    source: str = ""
    """Who published them."""
    told: str = ""
    """What was published, in a few words."""


_PLAIN: dict[str, bool | int | float | str] = {
    "schedule": "constant", "warmup": 0.0, "weight_decay": 0.0, "clip_norm": 0.0, "ema": 0.0,
    "label_smoothing": 0.0, "precision": "fp32", "flip": 0.5, "colour": 0.0, "noise": 0.0,
    "trunk_lr": 1.0,
}  # fmt: skip
"""What systems have in common that use no more than an optimiser."""
_OURS: dict[str, bool | int | float | str] = {"epoch_steps": 50}
"""What our own recipes have in common: few clips are learned from for 2,000 steps too."""
_CONV_LSTM: dict[str, bool | int | float | str] = {
    "trunk": "resnet152", "trunk_weights": "imagenet", "freeze_trunk": True, "cell": "lstm",
    "embed": 512, "hidden": 1024, "features": 1024, "summary": "attention",
}  # fmt: skip
_CONV_LSTM_TRAINING: dict[str, bool | int | float | str] = {
    **_PLAIN, "frames": 40, "size": 112, "aspect": 1.0, "optimiser": "adam", "lr": 1e-5,
    "dropout": 0.0, "batch_size": 16, "epochs": 200,
}  # fmt: skip
_SPATIAL: dict[str, bool | int | float | str] = {
    "trunk": "resnet50", "trunk_weights": "imagenet", "freeze_trunk": True, "frames": 17,
    "size": 224, "aspect": 1.0, "optimiser": "adam", "lr": 1e-4, "epochs": 5, "dropout": 0.0,
}  # fmt: skip
_TEMPORAL: dict[str, bool | int | float | str] = {
    "trunk": "cnn_m_2048", "input": "flow", "step": 0.0, "pairs": 10, "size": 224,
    "optimiser": "sgd", "lr": 0.01, "momentum": 0.9, "batch_size": 128, "epochs": 250,
    "dropout": 0.5,
}  # fmt: skip
_TWO_STREAM: dict[str, bool | int | float | str] = {
    "input": "rgb+flow", "step": 0.0, "pairs": 10, "trunk": "resnet50",
}  # fmt: skip
_FINE_TUNED: dict[str, bool | int | float | str] = {
    **_OURS, "trunk_weights": "imagenet", "trunk_lr": 0.3, "dropout": 0.5,
}  # fmt: skip
_VIDEO_NET: dict[str, bool | int | float | str] = {
    **_OURS,
    "trunk": "r2plus1d_18", "trunk_weights": "kinetics", "frames": 16, "fps": 15.0, "size": 112,
    "resize": 128, "aspect": 171 / 128, "epochs": 15, "batch_size": 8, "trunk_lr": 0.1,
    "dropout": 0.5,
}  # fmt: skip
"""What fine-tunes from Kinetics-400; of other networks, --init brings the clips that they see."""
_TWO_STREAM_SOURCE = "giocoal/hmdb51-two-stream-action-recognition"
DEFAULT_RECIPE = "best"
RECIPES: dict[str, dict[str, Recipe]] = {
    "cnn-birnn": {
        "best": Recipe(values=_OURS | {"trunk_weights": "auto"}),
        "original": Recipe(
            values={"epochs": 64, "embed": 256, "trunk_weights": "imagenet"},
            published=("model", "epochs", "embed", "trunk_weights"),
            source="reshalfahsi/action-recognition and its variant",
            told="MNASNet 0.5 with ImageNet weights, 256 features per frame, a bidirectional RNN, "
            "a 1-D convolution, one fully connected layer, and 64 epochs",
        ),
    },
    "conv-lstm": {
        "best": Recipe(values=_CONV_LSTM | _OURS | {"crop": 1.0, "colour": 0.0, "noise": 0.0}),
        "original": Recipe(
            values=_CONV_LSTM | _CONV_LSTM_TRAINING | {"resize": 112, "crop": 1.0},
            published=("model", *_CONV_LSTM, *_CONV_LSTM_TRAINING),
            source="eriklindernoren/Action-Recognition",
            told="the network, 40 frames of 112 pixels, Adam at 1e-5 without a schedule, batches "
            "of 16, mirrored clips and 200 epochs (its softmax before the loss is left out)",
        ),
    },
    "spatial": {
        "best": Recipe(values=_FINE_TUNED | {"trunk": "resnet50", "frames": 8}),
        "original": Recipe(
            values=_SPATIAL | _PLAIN | {"batch_size": 4, "resize": 224, "crop": 1.0},
            published=("model", *_SPATIAL, *_PLAIN),
            source=_TWO_STREAM_SOURCE,
            told="a frozen ResNet-50 from ImageNet and one layer, 17 frames squashed to squares of "
            "224 pixels, each learned by itself, Adam at 1e-4 without a schedule, mirrored "
            "frames, batches of 64 frames (4 videos have 68) and 5 epochs",
        ),
    },
    "temporal": {
        "best": Recipe(
            values=_FINE_TUNED
            | {"input": "flow", "step": 0.0, "pairs": 10, "trunk": "resnet18", "frames": 4}
        ),
        "original": Recipe(
            values=_TEMPORAL | _PLAIN | {"frames": 1, "crop": 0.93, "resize": 224, "aspect": 1.0},
            published=("model", "frames", *_TEMPORAL, *_PLAIN),
            source=_TWO_STREAM_SOURCE,
            told="the network, from nothing, one stack of 10 pairs of TV-L1 flow per video, crops "
            "of 224 pixels, SGD at 0.01 with Nesterov's momentum and without a schedule, batches "
            "of 128, mirrored stacks and 250 epochs (it mirrored top to bottom, ours are "
            "mirrored left to right; it cropped frames of their own shape, ours are squashed to "
            "squares first, as both do for testing)",
        ),
    },
    "two-stream": {
        "best": Recipe(values=_FINE_TUNED | _TWO_STREAM | {"flow_trunk": "resnet18", "frames": 4}),
        "original": Recipe(
            values=_FINE_TUNED
            | _TWO_STREAM
            | {"flow_trunk": "cnn_m_2048", "flow_weight": 0.5, "size": 224, "frames": 4}
            | {"epoch_steps": 1},
            published=("model", *_TWO_STREAM, "flow_trunk", "flow_weight", "size"),
            source=_TWO_STREAM_SOURCE,
            told="both networks and the mean of their probabilities; it trained them apart: train "
            "spatial and temporal with --recipe original, and join them with vidlabel fuse",
        ),
    },
    "video-net": {"best": Recipe(values=_VIDEO_NET), "original": Recipe(values=_VIDEO_NET)},
}
"""By network, then by name; every network has both names. `best` is what we found to work best,
`original` what is published of the system that the network comes from."""
