"""The trunk of a network computed by OpenVINO, which is faster on a CPU than torch.

The network is converted from torch's own trace of it, which takes seconds, so the result is kept in
the user's cache folder, named by a digest of all weights and layers. A conversion is kept only if
its features are those of torch. It is compiled for each number of frames that is asked for, so that
the numbers of a clip do not depend on those beside it.
"""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
import warnings
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from platformdirs import user_cache_path
from torch import Tensor, nn

from vidlabel.errors import RunError
from vidlabel.models.base import ClipModel
from vidlabel.specs import ClipSpec
from vidlabel.version import __version__

if TYPE_CHECKING:
    import openvino

KEPT = 8
"""Converted networks in the cache; the least recently used ones are removed."""
LEAST_PIXELS = 50_000
"""Pixels of a clip below which the conversion costs more than it saves."""
TOLERANCE = 1e-3
"""Largest difference from torch's features in fp32, as a part of the largest feature."""

_LOG = logging.getLogger(__name__)


def suits(network: ClipModel, clip: ClipSpec, *, bf16: bool) -> bool:
    """Whether OpenVINO is installed, computes in the precision, and is worth it for a network."""
    if not _sees_frames(network) or clip.frames * clip.size_px**2 < LEAST_PIXELS:
        return False
    if find_spec("openvino") is None:
        return False
    return not bf16 or _computes_bf16()


def _sees_frames(network: ClipModel) -> bool:
    return network.framewise and not network.fixed_time_steps


def _computes_bf16() -> bool:
    try:
        import openvino

        able = openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    except (ImportError, OSError, RuntimeError) as error:  # a damaged installation, little memory
        _LOG.debug("OpenVINO does not load: %s", error)
        return False
    return "BF16" in able


class OpenVinoTrunk:
    """`ClipModel.frame_features` of a network that sees one frame at a time.

    Args:
        network: in evaluation mode, on the CPU; it is not changed.
        clip: what it sees.
        bf16: whether to multiply in bf16, else in fp32.

    Raises:
        RunError: OpenVINO is not installed or cannot compute this network, or not in bf16.
    """

    def __init__(self, network: ClipModel, clip: ClipSpec, *, bf16: bool) -> None:
        if find_spec("openvino") is None:
            raise RunError("--engine openvino: is not installed; run pip install openvino")
        if not _sees_frames(network):
            raise RunError("--engine openvino: only for networks that see one frame at a time")
        if bf16 and not _computes_bf16():
            raise RunError("--engine openvino: this processor has no bf16; use --precision fp32")
        self._bf16 = bf16
        self._frame = (clip.channels, clip.size_px, clip.size_px)
        self._compiled: dict[tuple[int, int], openvino.CompiledModel] = {}
        try:
            import openvino

            self._core = openvino.Core()
            self._model = self._cached(network)
        except (RuntimeError, TypeError, ValueError, ImportError, OSError) as error:
            why = str(error).strip().partition("\n")[0][:200]
            raise RunError(f"--engine openvino: cannot compute this network ({why})") from error

    def frame_features(self, clips: Tensor) -> Tensor:
        """(B, T, C, H, W) uint8 to (B, T, F) float32."""
        frames = clips.flatten(0, 1)
        found = self._at(len(frames), bf16=self._bf16)([frames.numpy()])[0]
        return torch.from_numpy(found.copy()).reshape(*clips.shape[:2], -1)

    def _at(self, frames: int, *, bf16: bool) -> openvino.CompiledModel:
        """The network compiled for a number of frames and of threads, those of torch."""
        threads = torch.get_num_threads()
        if (frames, threads) not in self._compiled:
            model = self._model.clone()
            model.reshape([frames, *self._frame])
            self._compiled[frames, threads] = self._core.compile_model(
                model,
                "CPU",
                {
                    "INFERENCE_PRECISION_HINT": "bf16" if bf16 else "f32",
                    "INFERENCE_NUM_THREADS": threads,
                    "NUM_STREAMS": 1,
                },
            )
        return self._compiled[frames, threads]

    def _cached(self, network: ClipModel) -> openvino.Model:
        """The converted network, from the cache if it is there."""
        folder = _cache()
        file = None if folder is None else folder / f"{_digest(network)}.xml"
        if file is not None and file.is_file():
            try:
                return self._read(file)
            except (OSError, RuntimeError) as error:
                _LOG.debug("%s cannot be read: %s", file, error)
        model = self._converted(network)
        if file is not None:
            try:
                _keep(model, file)
                return self._read(file)  # as later runs do, to the last digit
            except (OSError, RuntimeError) as error:
                _LOG.debug("%s cannot be written: %s", file, error)
        return model

    def _read(self, file: Path) -> openvino.Model:
        """A network in the cache, which has now been used; raises OSError or RuntimeError."""
        if not file.read_bytes().rstrip().endswith(b"</net>"):  # OpenVINO would write to stderr
            raise OSError("it is not whole")
        os.utime(file)
        return self._core.read_model(file)

    @torch.inference_mode()
    def _converted(self, network: ClipModel) -> openvino.Model:
        # openvino.convert_model does the same, but also reports its use over the network.
        from openvino import PartialShape, Type
        from openvino.frontend import FrontEndManager
        from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

        noise = torch.randint(
            0, 256, (2, *self._frame), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
        )
        frames = _Frames(network).eval()
        with warnings.catch_warnings():  # torch calls the trace that OpenVINO asks for deprecated
            warnings.simplefilter("ignore")
            trace = TorchScriptPythonDecoder(frames, example_input=noise[:1])
            frontend = FrontEndManager().load_by_framework("pytorch")
            self._model = frontend.convert(frontend.load(trace))
        (pixels,) = self._model.get_parameters()
        pixels.set_element_type(Type.u8)
        pixels.set_partial_shape(PartialShape([-1, *self._frame]))
        self._model.validate_nodes_and_infer_types()
        found = torch.from_numpy(self._at(2, bf16=False)([noise.numpy()])[0].copy())
        self._compiled.clear()
        wanted = network.frame_features(noise[:, None])[:, 0]
        worst = float((found - wanted).abs().max() / wanted.abs().max().clamp_min(1e-6))
        if not worst <= TOLERANCE:
            raise ValueError(f"its features differ from torch's by {worst:.1%}")
        return self._model


class _Frames(nn.Module):
    """(N, C, H, W) uint8 to (N, F)."""

    def __init__(self, network: ClipModel) -> None:
        super().__init__()
        self.network = network

    def forward(self, frames: Tensor) -> Tensor:
        return self.network.frame_features(frames[:, None])[:, 0]


def _cache() -> Path | None:
    """The folder of converted networks; None for a user without a home folder."""
    if named := os.environ.get("VIDLABEL_CACHE"):
        return Path(named) / "openvino"
    with suppress(RuntimeError):
        folder = user_cache_path("vidlabel", appauthor=False) / "openvino"
        return folder if folder.is_absolute() else None
    return None


def _digest(network: ClipModel) -> str:
    """Of everything that the conversion depends on, hexadecimal."""
    from importlib.metadata import version

    digest = hashlib.sha256()
    parts: tuple[nn.Module, ...] = (network.normalise, network.trunk)
    versions = __version__, version("openvino"), torch.__version__
    digest.update(repr((versions, type(network), parts)).encode())
    for part in parts:
        tensors: dict[str, Any] = dict(part.named_parameters()) | dict(part.named_buffers())
        for name, tensor in tensors.items():
            digest.update(f"{name} {tuple(tensor.shape)}".encode())
            digest.update(tensor.detach().contiguous().numpy().data)
    return digest.hexdigest()


def _keep(model: openvino.Model, file: Path) -> None:
    """Write a network to the cache, its weights first; raises OSError or RuntimeError."""
    import openvino

    file.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=file.parent) as folder:
        made = Path(folder) / file.name
        openvino.save_model(model, made, compress_to_fp16=False)
        for suffix in (".bin", ".xml"):
            made.with_suffix(suffix).replace(file.with_suffix(suffix))
    newest = sorted(file.parent.glob("*.xml"), key=lambda each: each.stat().st_mtime, reverse=True)
    for old in newest[KEPT:]:
        old.unlink(missing_ok=True)
        old.with_suffix(".bin").unlink(missing_ok=True)
