"""What computes a CNN fastest on a CPU, and how far the features differ: all in one run.

    python tests/benchmarks/cpu_engines.py [--rounds 5] [--threads N] [--batch 48] [--compiled]

The networks are the trunk of the starter model, and MNASNet 0.5 with random weights, on random
frames of 112 px. torch computes as vidlabel does (folded, channels_last), plainly (neither), and
through torch.compile with --compiled. The engines take turns; frames/s are medians.
"""

from __future__ import annotations

import argparse
import copy
import io
import statistics
import time
from collections.abc import Callable
from contextlib import nullcontext
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from vidlabel.models.base import ClipModel, channels_last
from vidlabel.models.build import build_model
from vidlabel.models.checkpoint import load_checkpoint
from vidlabel.predict.folding import fold_batchnorm, round_filters
from vidlabel.predict.openvino_trunk import OpenVinoTrunk
from vidlabel.specs import ClipSpec, ModelSpec

Features = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
"""Frames (N, 3, 112, 112) to features (N, F)."""


class Frames(torch.nn.Module):
    """(N, C, H, W) uint8 to (N, F)."""

    def __init__(self, network: ClipModel) -> None:
        super().__init__()
        self.network = network

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        return self.network.frame_features(frames[:, None])[:, 0]


def with_torch(network: Any, *, bf16: bool, compiled: bool = False) -> Features:
    module: Any = Frames(network).eval()
    module = torch.compile(module) if compiled else module

    def run(frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        reduced = torch.autocast("cpu", torch.bfloat16) if bf16 else nullcontext()
        with torch.inference_mode(), reduced:
            return np.asarray(module(torch.from_numpy(frames)).float().numpy())

    return run


def with_openvino(network: Any, clip: ClipSpec, *, bf16: bool) -> Features:
    trunk = OpenVinoTrunk(network, clip, bf16=bf16)
    return lambda frames: trunk.frame_features(torch.from_numpy(frames)[:, None])[:, 0].numpy()


def with_onnxruntime(network: Any, batch: int, threads: int) -> Features:
    import onnxruntime

    example = torch.zeros((batch, 3, 112, 112), dtype=torch.uint8)
    program = torch.onnx.export(Frames(network).eval(), (example,), dynamo=True, verbose=False)
    buffer = io.BytesIO()
    program.save(buffer)  # type: ignore[union-attr]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(buffer.getvalue(), options, ["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda frames: session.run(None, {name: frames})[0]


def engines(
    network: ClipModel, clip: ClipSpec, batch: int, threads: int, *, compiled: bool
) -> dict[str, Features]:
    """By name; those that cannot run here are named and left out."""
    folded = copy.deepcopy(network).eval()
    folded.trunk = fold_batchnorm(folded.trunk)
    quick, rounded = copy.deepcopy(folded), copy.deepcopy(folded)
    channels_last(quick)
    round_filters(rounded.trunk)
    quick_rounded = copy.deepcopy(rounded)
    channels_last(quick_rounded)
    makers: dict[str, Callable[[], Features]] = {
        "torch fp32, plain": lambda: with_torch(network, bf16=False),
        "torch fp32": lambda: with_torch(quick, bf16=False),
        "torch fp32, compiled": lambda: with_torch(quick, bf16=False, compiled=True),
        "ONNX Runtime fp32": lambda: with_onnxruntime(folded, batch, threads),
        "OpenVINO fp32": lambda: with_openvino(folded, clip, bf16=False),
        "torch bf16": lambda: with_torch(quick_rounded, bf16=True),
        "torch bf16, compiled": lambda: with_torch(quick_rounded, bf16=True, compiled=True),
        "OpenVINO bf16": lambda: with_openvino(rounded, clip, bf16=True),
    }
    if not compiled:
        makers = {name: make for name, make in makers.items() if "compiled" not in name}
    found = {}
    frames = np.zeros((batch, 3, 112, 112), np.uint8)
    for name, make in makers.items():
        if name.startswith("ONNX") and not find_spec("onnxruntime"):
            print(f"{name}: not installed")
            continue
        try:
            found[name] = make()
            found[name](frames)
        except Exception as error:  # noqa: BLE001 - whatever it is, the others run
            found.pop(name, None)
            print(f"{name}: cannot run here: {str(error).strip().splitlines()[0][:150]}")
    return found


def compare(title: str, network: ClipModel, clip: ClipSpec, options: Any) -> None:
    """Print frames/s, ratios and differences of all engines."""
    frames = np.random.default_rng(0).integers(0, 256, (options.batch, 3, 112, 112), np.uint8)
    found = engines(network, clip, options.batch, options.threads, compiled=options.compiled)
    exact = found["torch fp32"](frames)
    speeds: dict[str, list[float]] = {name: [] for name in found}
    for _ in range(options.rounds):
        for name, run in found.items():
            started, count = time.perf_counter(), 0
            while time.perf_counter() - started < options.seconds:
                run(frames)
                count += len(frames)
            speeds[name].append(count / (time.perf_counter() - started))
    print(f"{title}: {options.threads} threads, batches of {options.batch}")
    for name, each in speeds.items():
        base = speeds["torch bf16" if "bf16" in name else "torch fp32"]
        ratio = statistics.median(a / b for a, b in zip(each, base, strict=True))
        differs = np.abs(found[name](frames) - exact).mean() / np.abs(exact).mean()
        print(
            f"  {name:22} {statistics.median(each):7.0f} frames/s, {ratio:.2f} of torch in the "
            f"same precision, features differ by {differs:.2%} from fp32"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each engine in each round")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--batch", type=int, default=48)
    parser.add_argument("--compiled", action="store_true", help="also torch.compile (needs g++)")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    starter = load_checkpoint("starter")
    compare("starter", starter.network, starter.header.clip, options)
    torch.manual_seed(0)
    clip = ClipSpec(frames=16, size_px=112)
    compare("mnasnet0_5", build_model(ModelSpec(trunk="mnasnet0_5"), clip).eval(), clip, options)


if __name__ == "__main__":
    main()
