"""How to train: `TrainSpec`, and recipes, which are sets of settings that work together.

A recipe sets fields of `TrainSpec`, `ClipSpec` and `ModelSpec`. Every field is a flag of `vidlabel
train` (`batch_size` is `--batch-size`) and a key of a TOML file; `train.settings` merges them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

from vidlabel.errors import UsageError
from vidlabel.specs import Precision, setting
from vidlabel.text import safe

Optimiser = Literal["adamw", "adam", "sgd"]
Schedule = Literal["cosine", "constant"]
Balance = Literal["auto", "on", "off"]


@dataclass(frozen=True)
class TrainSpec:
    """How to train. The defaults suit a few hundred to a few thousand clips.

    Raises:
        UsageError: a value is out of range; the message names the flag.
    """

    epochs: int = setting(40, "Number of epochs; the model is validated and saved after each.")
    epoch_steps: int = setting(
        1, "Minimum optimizer steps per epoch; small training sets are repeated within an epoch."
    )
    batch_size: int = setting(16, "Clips per optimizer step, over all processes.")
    optimiser: Optimiser = setting("adamw", "Optimizer.")
    lr: float = setting(1e-3, "Peak learning rate.")
    trunk_lr: float = setting(0.5, "Learning rate of the CNN, as a multiple of --lr.")
    momentum: float = setting(0.9, "Nesterov momentum (SGD only).")
    weight_decay: float = setting(0.05, "Weight decay; biases and normalisation layers have none.")
    schedule: Schedule = setting("cosine", "Learning rate schedule after the warm-up.")
    warmup: float = setting(
        0.05, "Share of all optimizer steps in which the learning rate rises to its peak."
    )
    label_smoothing: float = setting(
        0.1, "Label smoothing: share of a label that is spread over all classes."
    )
    balance: Balance = setting(
        "auto",
        "Let each class count alike, whatever its number of clips; auto: if the largest has over "
        "three times the clips of the smallest.",
    )
    clip_norm: float = setting(5.0, "Clip the gradient norm at this value (0: off).")
    ema: float = setting(
        0.98,
        "Decay per optimizer step of the moving average of the weights, which is what is saved "
        "(0: off, the last weights are saved).",
    )
    mixup: float = setting(0.0, "Alpha of the Beta distribution of mixup (0: off).")
    cutmix: float = setting(
        0.0,
        "Alpha of the Beta distribution of CutMix (0: off); with both, each pair gets one of them.",
    )
    crop: float = setting(
        0.7, "Smallest side of the random crop, as a share of the frame's shorter side (1: centre)."
    )
    window: float = setting(
        0.6, "Shortest part of a video that a clip is sampled from, as a share of its length."
    )
    flip: float = setting(0.5, "Share of clips that are mirrored left to right.")
    colour: float = setting(1.0, "Strength of random brightness and colour changes (0: off).")
    noise: float = setting(
        6.0,
        "Largest standard deviation of pixel noise (pixels are 0 to 255), added to half of the "
        "clips.",
    )
    freeze_trunk: bool = setting(
        False,
        "Freeze the CNN and its BatchNorm statistics. With --crop 1 --colour 0 --noise 0 and no "
        "mixing, its features are computed only once per frame.",
    )
    val_fraction: float = setting(
        0.2, "Share of each class for the validation set, in whole groups."
    )
    max_bad: float = setting(
        0.01, "Share of videos that may be unreadable; with more, training stops."
    )
    seed: int = setting(0, "Random seed.")
    init: str = setting(
        "",
        "Checkpoint to start from; its clip and network settings are used. Classes that it knows "
        "keep what it has learned of them.",
    )
    keep_classes: bool = setting(
        False,
        "Keep all classes of the checkpoint of --init, also those without clips in DATA: only the "
        "classifier learns, and only of the classes in DATA.",
    )
    trunk_weights: str = setting(
        "none",
        "Weights that the CNN starts from; auto: ImageNet weights if they are available. Those of "
        "efficientnet_lite0 are part of vidlabel.",
    )
    precision: Precision = setting(
        "auto", "CNN precision; auto: bf16 on a GPU that supports it, otherwise fp32."
    )
    compile: bool = setting(False, "Compile the CNN with torch.compile.")

    @property
    def changes_pixels(self) -> bool:
        """Whether clips differ between epochs by more than their moments and mirroring."""
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
        if self.init.startswith("hf:"):
            raise UsageError(
                f"--init {safe(self.init)}: a model of Transformers labels videos; it cannot be "
                "trained further"
            )
        if self.keep_classes and not self.init:
            raise UsageError("--keep-classes keeps those of a checkpoint; name it with --init")
        if (self.mixup or self.cutmix) and self.batch_size % 2:
            raise UsageError(f"--batch-size must be even to mix pairs, got {self.batch_size}")


_CHOICES = {
    "optimiser": get_args(Optimiser),
    "schedule": get_args(Schedule),
    "balance": get_args(Balance),
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
    """Settings for one network that work together; others have the default of their field."""

    values: Mapping[str, bool | int | float | str] = field(default_factory=dict)
    """By name of the flag, with underscores; never `init`."""
    published: tuple[str, ...] = ()
    """The settings whose values were published; all others are ours."""
    source: str = ""
    """Who published them."""
    told: str = ""
    """One line about what was published."""


_PLAIN: dict[str, bool | int | float | str] = {
    "schedule": "constant", "warmup": 0.0, "weight_decay": 0.0, "clip_norm": 0.0, "ema": 0.0,
    "label_smoothing": 0.0, "precision": "fp32", "flip": 0.5, "colour": 0.0, "noise": 0.0,
    "trunk_lr": 1.0,
}  # fmt: skip
"""Common to systems that use nothing but an optimizer."""
_OURS: dict[str, bool | int | float | str] = {"epoch_steps": 50}
"""Common to our own recipes: 40 epochs are at least 2,000 optimizer steps."""
SHIPPED_TRUNK = "efficientnet_lite0"
_SHIPPED_TRUNK: dict[str, bool | int | float | str] = {
    "trunk": SHIPPED_TRUNK, "trunk_weights": "imagenet", "freeze_trunk": True,
    "statistics": True, "intermediate": True, "input": "difference", "frames": 12, "size": 112,
    "resize": 112, "aspect": 1.0, "crop": 1.0, "colour": 0.0, "noise": 0.0, "window": 0.8,
    "dropout": 0.5, "batch_size": 64, "lr": 2e-3, "epochs": 8, "epoch_steps": 100,
}  # fmt: skip
"""For the shipped ImageNet weights, as measured for `starter`: see weights/README.md."""
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
"""Fine-tuning from Kinetics-400; with --init, clip settings come from the checkpoint."""
_TWO_STREAM_SOURCE = "giocoal/hmdb51-two-stream-action-recognition"
_QUICK: dict[str, bool | int | float | str] = {
    **_SHIPPED_TRUNK, "rnn": False, "input": "rgb+difference", "window": 0.6, "dropout": 0.0,
    "label_smoothing": 0.05,
}  # fmt: skip
DEFAULT_RECIPE, QUICK, IMAGENET, AUTO = "best", "quick", "imagenet", "auto"
QUICK_CLIPS = 500
"""Up to so many training clips, `quick` is the recipe of cnn-birnn that is taken by itself."""
QUICK_USES = frozenset(
    ("model", "balance", "window", "flip", "label_smoothing", "max_bad", "seed", "size", "resize",
     "frames", "step", "precision")
)  # fmt: skip
"""The settings that `quick` uses; with others of them, it is not taken by itself."""
RECIPES: dict[str, dict[str, Recipe]] = {
    "cnn-birnn": {
        "best": Recipe(values=_OURS | {"trunk_weights": "auto"}),
        IMAGENET: Recipe(values=_SHIPPED_TRUNK),
        QUICK: Recipe(values=_QUICK),
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
            "224 pixels, each a sample of its own, Adam at 1e-4 without a schedule, mirrored "
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
            told="the network, from random weights, one stack of 10 pairs of TV-L1 flow per video, "
            "crops of 224 pixels, SGD at 0.01 with Nesterov momentum and without a schedule, "
            "batches of 128, mirrored stacks and 250 epochs (it mirrored top to bottom, ours are "
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
"""By network, then by name. Every network has `best`, the best that we know, and `original`, the
published settings of the system that the network comes from; `imagenet` is for the shipped
weights, and `quick` fits a linear classifier on what they see (`train.quick`)."""
