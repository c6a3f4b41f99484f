"""Folders of Transformers: the files of a checkpoint, and what they say of frames and classes.

A folder is not trusted. Only JSON, texts and .safetensors files in it are read, never pickles or
code, and settings that would make Transformers fetch or run something else are left out. Nothing
here uses the network: a name is looked for in the cache of Hugging Face only.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NoReturn

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from vidlabel.errors import CheckpointError, UsageError
from vidlabel.models.header import as_object, parse_json
from vidlabel.specs import ClipSpec, Resample
from vidlabel.text import first_few, safe

HF = "hf:"
"""Start of the name of a model of Transformers."""

FAMILIES = {
    "videomae": "VideoMAE", "timesformer": "TimeSformer", "vivit": "ViViT", "vjepa2": "V-JEPA 2",
    "xclip": "X-CLIP",
}  # fmt: skip
"""Names of the networks that can be read, by `model_type`."""

ZERO_SHOT = "xclip"

_CONFIG, _INDEX, _WEIGHTS = "config.json", "model.safetensors.index.json", "model.safetensors"
_PROCESSORS = (
    "video_preprocessor_config.json", "preprocessor_config.json", "processor_config.json",
)  # fmt: skip
_TOKENIZERS = (
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.json",
    "merges.txt",
    "special_tokens_map.json",
)
_PICKLES = ("pytorch_model.bin", "pytorch_model.bin.index.json", "tf_model.h5")
_MAX_JSON_BYTES = 64 * 2**20
_MAX_LAYERS, _MAX_TABLE = 512, 2**26
_HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")
_FETCHES_OR_RUNS = {"attn_implementation", "auto_map", "quantization_config", "use_kernels"}
_RESAMPLES: dict[int, Resample] = {2: "bilinear", 3: "bicubic"}  # Pillow's numbers


@dataclass(frozen=True)
class Pixels:
    """How frames become the input of a network: scaled and cropped as `clip` says, divided by 255,
    `mean` subtracted, and divided by `std`; one of each for red, green and blue."""

    clip: ClipSpec
    mean: tuple[float, ...]
    std: tuple[float, ...]


class HfFolder:
    """A checkpoint of Transformers, in a folder or the cache of Hugging Face.

    Args:
        name: `hf:` and the path of a folder, or the name of a model.

    Raises:
        CheckpointError: by the methods too: there is none, or a file is missing or wrong.
        UsageError: the package transformers is not installed.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        try:
            import transformers  # noqa: F401  (takes seconds)
        except ImportError as error:
            raise UsageError(
                f"{safe(name)}: needs the package transformers, which is not installed; install "
                "vidlabel[hf]"
            ) from error
        self.path = self._find(name.removeprefix(HF))
        self.config = _without_code(self._json(_CONFIG))
        self.family = str(self.config.get("model_type"))
        if self.family not in FAMILIES:
            known = ", ".join(FAMILIES.values())
            self.refuse(f"a model of type {self.family}; vidlabel reads {known}")
        if (self.path / "adapter_config.json").exists():
            self.refuse("an adapter; merge it into its model first (PEFT's merge_and_unload)")

    def refuse(self, why: str, cause: Exception | None = None) -> NoReturn:
        """Raise a CheckpointError of one line."""
        raise CheckpointError(f"{safe(self.name)}: {safe(why[:500])}") from cause

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Keep Transformers silent, and turn its errors into those of vidlabel."""
        from transformers.utils import logging

        level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
        logging.set_verbosity(logging.CRITICAL)
        logging.disable_progress_bar()
        try:
            yield
        except (CheckpointError, UsageError):
            raise
        except Exception as error:  # noqa: BLE001  (whatever a strange file leads to)
            self.refuse(f"Transformers cannot read it: {str(error).strip() or error!r}", error)
        finally:
            logging.set_verbosity(level)
            if bars:
                logging.enable_progress_bar()

    @cached_property
    def weights(self) -> list[Path]:
        """The .safetensors files."""
        names = [_WEIGHTS]
        if (self.path / _INDEX).exists():
            where = self._json(_INDEX).get("weight_map")
            if not isinstance(where, dict) or not where:
                self.refuse(f"{_INDEX} has no weight_map")
            names = sorted(set(map(str, where.values())))
        for name in names:
            there = self.path / name
            if Path(name).name != name or not name.endswith(".safetensors"):
                self.refuse(f"{_INDEX} names {name}, which is no .safetensors file in the folder")
            if not there.is_file():
                if any((self.path / pickle).exists() for pickle in _PICKLES):
                    self.refuse(f"has no {name}; pickles (.bin) can run code and are never read")
                self.refuse(f"has no {name}")
        return [self.path / name for name in names]

    @property
    def weight_bytes(self) -> int:
        """Size of the weights."""
        return sum(path.stat().st_size for path in self.weights)

    def state(self) -> dict[str, Tensor]:
        """The weights, under the names of the file."""
        try:
            return {k: v for path in self.weights for k, v in load_file(path).items()}
        except (OSError, ValueError, SafetensorError) as error:
            self.refuse(f"corrupt weights ({error})", error)

    def digest(self, classes: tuple[str, ...] = ()) -> str:
        """SHA-256 of the configuration and the weights, and of the classes if they are given."""
        names = [_CONFIG, *_PROCESSORS, *(_TOKENIZERS if classes else ())]
        whole = hashlib.sha256("\0".join(classes).encode())
        try:
            for path in [*(self.path / name for name in names), *self.weights]:
                if path.is_file():
                    with path.open("rb") as file:
                        own = hashlib.file_digest(file, "sha256").hexdigest()
                    whole.update(f"{path.name} {own}\n".encode())
        except OSError as error:
            self.refuse(f"cannot be read: {error.strerror}", error)
        return whole.hexdigest()

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """The K classes, `id2label` of the configuration."""
        named = self.config.get("id2label")
        if not isinstance(named, dict) or set(named) != {str(i) for i in range(len(named))}:
            self.refuse("its config.json names no classes (id2label, numbered from 0 on)")
        return tuple(str(named[str(i)]) for i in range(len(named)))

    @cached_property
    def pixels(self) -> Pixels:
        """What its image or video processor does to frames."""
        with self.reading():
            return self._pixels(self._processor())

    def _processor(self) -> Any:
        """The image or video processor, as Transformers reads it."""
        from transformers import AutoImageProcessor, AutoVideoProcessor

        for name in _PROCESSORS:
            if not (self.path / name).exists():
                continue
            values = self._json(name)
            video = "video_processor_type" in values or "video_processor" in values
            auto = AutoVideoProcessor if video else AutoImageProcessor
            return auto.from_pretrained(
                str(self.path), local_files_only=True, trust_remote_code=False
            )
        self.refuse(f"has no {_PROCESSORS[1]}, which says how frames are scaled")

    def _pixels(self, processor: Any) -> Pixels:
        size = {key: value for key, value in dict(processor.size).items() if value}
        crop = dict(processor.crop_size) if processor.do_center_crop else size
        side = crop.get("height")
        scaled = min(size.values(), default=0)
        ways = ({"shortest_edge"}, {"height", "width"})
        if not processor.do_resize or set(size) not in ways or not side:
            self.refuse("its processor does not scale and crop frames to one size")
        if crop.get("width") != side or scaled < side:
            self.refuse(f"its processor crops {crop} of {size}; vidlabel crops squares in frames")
        if processor.resample not in _RESAMPLES:
            self.refuse(f"its processor scales by {processor.resample!r}, not bilinear or bicubic")
        net = self.net_config()
        net = getattr(net, "vision_config", net)
        frames = getattr(net, "num_frames", None) or net.frames_per_clip
        wanted = getattr(net, "image_size", None) or net.crop_size
        if wanted not in (side, (side, side), [side, side]) and self.family != "vjepa2":
            self.refuse(f"its processor makes frames of {side} px, its network reads {wanted}")
        self._check_size(net, frames, side)
        clip = ClipSpec(
            frames=frames, size_px=side, resize_px=scaled, resample=_RESAMPLES[processor.resample],
            aspect=size["width"] / size["height"] if "width" in size else 0.0,
        )  # fmt: skip
        scale = processor.rescale_factor if processor.do_rescale else 1.0
        shift = getattr(processor, "offset", self.family == "vivit") and processor.do_rescale
        mean, std = [0.0] * 3, [1.0] * 3
        if processor.do_normalize:
            mean, std = list(processor.image_mean), list(processor.image_std)
        return Pixels(
            clip,
            tuple((shift + each) / (255 * scale) for each in mean),
            tuple(each / (255 * scale) for each in std),
        )

    def net_config(self) -> Any:
        """The configuration as Transformers has it."""
        from transformers import AutoConfig

        return AutoConfig.for_model(**self.config)

    def _check_size(self, net: Any, frames: int, side: int) -> None:
        """A small file can name a huge network, and building it takes memory and time."""
        patch = net.patch_size if hasattr(net, "patch_size") else net.tubelet_size[-1]
        patch = min(patch) if isinstance(patch, list | tuple) else patch
        places = frames * (side // max(1, patch)) ** 2
        layers = [v for k, v in vars(net).items() if k.endswith("_layers") and isinstance(v, int)]
        if max(layers, default=0) > _MAX_LAYERS or places * net.hidden_size > _MAX_TABLE:
            self.refuse("its config.json names a network that is too large to be one")

    def _find(self, place: str) -> Path:
        """The folder; of a model in the cache, that of its files."""
        if os.path.isdir(place):  # noqa: PTH112 - a name that is too long is refused below
            return Path(place)
        if not _HUB_NAME.fullmatch(place):
            self.refuse("no such folder, and no name of a model (OWNER/MODEL)")
        from huggingface_hub import try_to_load_from_cache

        with self.reading():
            found = try_to_load_from_cache(place, _CONFIG)
        if not isinstance(found, str):
            self.refuse(
                "no such folder, and not in the cache of Hugging Face; fetch it with "
                f"`hf download {place}`"
            )
        return Path(found).parent

    def _json(self, name: str) -> dict[str, Any]:
        path = self.path / name
        try:
            if not path.is_file():
                self.refuse(f"has no {name}")
            if path.stat().st_size > _MAX_JSON_BYTES:
                self.refuse(f"{name} has over {_MAX_JSON_BYTES >> 20} MiB")
            return as_object(name, parse_json(path.read_bytes()))
        except OSError as error:
            self.refuse(f"{name} cannot be read: {error.strerror}", error)
        except (UsageError, ValueError) as error:
            self.refuse(f"{name} is not JSON: {error}", error)


def check_names(names: tuple[str, ...], name: str) -> None:
    """Raises UsageError if these cannot be the classes of a zero-shot model."""
    if len(names) < 2:
        few = f" (got {first_few(names)})" if names else ""
        raise UsageError(
            f"{safe(name)}: a zero-shot model, which knows no classes of its own; name two or more "
            f"with --classes 'opening a door,falling'{few}"
        )


def _without_code(value: Any) -> Any:
    """A configuration without the settings that make Transformers fetch or run something."""
    if isinstance(value, dict):
        kept = (k for k in value if not k.startswith("_") and k not in _FETCHES_OR_RUNS)
        return {k: _without_code(value[k]) for k in kept}
    return [_without_code(each) for each in value] if isinstance(value, list) else value
