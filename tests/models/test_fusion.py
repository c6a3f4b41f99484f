"""Two streams made one model, and taken apart again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from program import Program

from vidlabel.errors import UsageError
from vidlabel.models.build import build_model
from vidlabel.models.checkpoint import Checkpoint, Header, load_checkpoint, save_checkpoint
from vidlabel.models.fusion import fuse, take_stream
from vidlabel.predict.labeller import PredictSpec, load_labeller
from vidlabel.specs import ClipSpec, ModelSpec, VideoItem

RGB = ClipSpec(frames=3, size_px=32, resize_px=36)
FLOW = replace(RGB, frames=2, input="flow", step_s=0.0, pairs=2)
CLASSES = ("a", "b", "c")


def stream(name: str, clip: ClipSpec, seed: int, temperature: float = 1.0) -> Checkpoint:
    torch.manual_seed(seed)
    spec = ModelSpec(arch=name, classes=3, trunk="mnasnet0_5")
    network = build_model(spec, clip).eval()
    with torch.no_grad():  # outputs that differ from clip to clip, and from stream to stream
        features = network.frame_features(clips(8, clip)).flatten(0, 1)
        network.classify.weight.data /= features.std(0).mean() * 3  # type: ignore[operator]
    header = Header(spec, clip, CLASSES, temperature, trained_on=(f"{name}/1", "both/1"))
    return Checkpoint(name, header, network, f"{seed:064d}")


def pair(temperature: float = 1.0) -> tuple[Checkpoint, Checkpoint]:
    return stream("spatial", RGB, 1), stream("temporal", FLOW, 2, temperature)


def clips(count: int, clip: ClipSpec) -> torch.Tensor:
    random = torch.Generator().manual_seed(3)
    return torch.randint(0, 256, (count, *clip.shape), dtype=torch.uint8, generator=random)


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_fused_probabilities_are_the_weighted_mean(weight: float) -> None:
    spatial, temporal = pair(temperature=2.0)
    header, network = fuse(spatial, temporal, weight)
    assert header.clip.input == "rgb+flow"
    assert (header.clip.frames, header.model.flow_weight) == (3, weight)
    assert header.trained_on == ("both/1", "spatial/1", "temporal/1")
    seen = clips(2, header.clip)
    with torch.no_grad():
        found = network(seen).softmax(1)
        first = spatial.network(seen[:, :, :3]).softmax(1)
        steps = temporal.network.step_logits(temporal.network.frame_features(seen[:, :, 3:]))
        second = (steps / 2.0).softmax(2).mean(1)
    torch.testing.assert_close(found, (1 - weight) * first + weight * second)
    assert (first - second).abs().max() > 0.05, "the streams say the same"


@pytest.mark.parametrize("name", ["spatial", "temporal"])
def test_a_stream_taken_out_says_what_it_said_before(name: str) -> None:
    before = dict(zip(("spatial", "temporal"), pair(), strict=True))[name]
    header, network = fuse(*pair(), 0.5)
    again = take_stream(Checkpoint("both", header, network, "0" * 64), name)  # type: ignore[arg-type]
    assert again.header.model.arch == name
    assert again.header.clip.input == before.header.clip.input
    assert again.name == f"both:{name}"
    seen = clips(2, before.header.clip)
    with torch.no_grad():
        torch.testing.assert_close(again.network(seen), before.network(seen))


def test_streams_have_digests_of_their_own() -> None:
    header, network = fuse(*pair(), 0.5)
    both = Checkpoint("both", header, network, "0" * 64)
    digests = {take_stream(both, "spatial").digest, take_stream(both, "temporal").digest}
    assert len(digests | {both.digest}) == 3, "their rows would meet in one table"


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"classes": ("a", "b", "d")}, "do not have the same classes"),
        ({"clip": replace(FLOW, resize_px=40)}, "--resize 36, temporal 40; both streams must have"),
        ({"clip": replace(FLOW, aspect=1.0)}, "--aspect 0, temporal 1; both streams must have"),
        ({"clip": RGB}, "temporal is temporal with input rgb; train the temporal stream with"),
    ],
)
def test_streams_that_do_not_fit_are_refused(change: dict[str, object], line: str) -> None:
    spatial, temporal = pair()
    temporal = replace(temporal, header=replace(temporal.header, **change))  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=line.replace("(", r"\(")):
        fuse(spatial, temporal, 0.5)


def test_other_models_have_no_streams() -> None:
    with pytest.raises(UsageError, match="only a two-stream model has streams"):
        take_stream(pair()[0], "spatial")


def test_the_command_makes_a_model_that_labels(
    program: Program, tmp_path: Path, make_video: Callable[..., Path]
) -> None:
    for checkpoint in pair():
        save_checkpoint(
            tmp_path / f"{checkpoint.name}.safetensors", checkpoint.header, checkpoint.network
        )
    out = tmp_path / "both.safetensors"
    done = program.run(
        "fuse", tmp_path / "spatial.safetensors", tmp_path / "temporal.safetensors",
        "--out", out, "--flow-weight", 0.25,
    )  # fmt: skip
    assert done.code == 0, done.err
    assert load_checkpoint(str(out)).header.model.flow_weight == 0.25
    video = VideoItem(0, str(make_video(frames=6)))
    views = {
        stream: next(iter(load_labeller(str(out), "cpu", "fp32", stream).predict_views([video])))[2]
        for stream in (None, "spatial", "temporal")
    }
    found = {stream: view[0] for stream, view in views.items() if view is not None}
    mean = 0.75 * found["spatial"] + 0.25 * found["temporal"]
    np.testing.assert_allclose(found[None], mean, atol=1e-5)


@pytest.mark.parametrize(("strategy", "seen"), [("clip", 6), ("one-frame", 3), ("whole-video", 9)])
def test_strategies_look_at_more_or_less(
    strategy: str, seen: int, tmp_path: Path, make_video: Callable[..., Path]
) -> None:
    temporal = pair()[1]
    path = tmp_path / "temporal.safetensors"
    save_checkpoint(path, temporal.header, temporal.network)
    labeller = load_labeller(str(path), "cpu", "fp32")
    spec = PredictSpec(strategy=strategy)  # type: ignore[arg-type]
    (row,) = labeller.predict([str(make_video(frames=9))], spec)
    assert row.ok, row.detail
    assert row.frames_used == seen
