"""OpenVINO computes what torch computes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from fakes import CLIP, colour_video, random_checkpoint, settled_network
from numpy.typing import NDArray

from vidlabel import load_labeller
from vidlabel.errors import RunError, UsageError
from vidlabel.models.build import build_model
from vidlabel.models.cnn_birnn import CnnBiRnn
from vidlabel.predict.openvino_trunk import LEAST_PIXELS, OpenVinoTrunk, suits
from vidlabel.predict.runner import CPU_CHUNK, Runner
from vidlabel.specs import ClipSpec, ModelSpec

pytest.importorskip("openvino", reason="needs the extra openvino")
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def network() -> CnnBiRnn:
    return settled_network()


@pytest.fixture(scope="module")
def runner(network: CnnBiRnn) -> Runner:
    return Runner(network, 1.0, CPU, "fp32", "openvino", CLIP)


def _clips(count: int, steps: int = CLIP.frames) -> NDArray[np.uint8]:
    shape = (count, steps, *CLIP.shape[1:])
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def test_the_numbers_are_those_of_torch(network: CnnBiRnn, runner: Runner) -> None:
    assert (runner.told, runner.precision) == ("cpu fp32 openvino", "fp32")
    plain = Runner(network, 1.0, CPU, "fp32")
    for clips in (_clips(CPU_CHUNK + 1), _clips(2, steps=1)):
        plain.submit(clips)
        runner.submit(clips)
        wanted, found = plain.collect(), runner.collect()
        np.testing.assert_allclose(found.probabilities, wanted.probabilities, atol=1e-4)
        np.testing.assert_allclose(found.embeddings, wanted.embeddings, atol=1e-3)


def test_a_clip_gets_the_same_numbers_in_any_company(runner: Runner) -> None:
    clips = _clips(2 * CPU_CHUNK + 1)
    runner.submit(clips)
    together = runner.collect().probabilities
    for i in (0, 3, 2 * CPU_CHUNK):
        runner.submit(clips[i : i + 1])
        assert (runner.collect().probabilities[0] == together[i]).all()


def test_a_conversion_is_kept_and_a_damaged_one_is_made_again(
    network: CnnBiRnn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VIDLABEL_CACHE", str(tmp_path))
    clips = torch.from_numpy(_clips(1))
    first = OpenVinoTrunk(network, CLIP, bf16=False).frame_features(clips)
    kept = sorted((tmp_path / "openvino").iterdir())
    assert [path.suffix for path in kept] == [".bin", ".xml"]
    written = kept[1].read_bytes(), kept[1].stat().st_ino
    assert torch.equal(OpenVinoTrunk(network, CLIP, bf16=False).frame_features(clips), first)
    assert kept[1].stat().st_ino == written[1], "read, not made again"
    kept[1].write_bytes(written[0][:100])
    assert torch.equal(OpenVinoTrunk(network, CLIP, bf16=False).frame_features(clips), first)
    assert len(kept[1].read_bytes()) > 1000


def test_it_is_taken_where_it_is_worth_it(network: CnnBiRnn) -> None:
    large = ClipSpec(frames=12, size_px=112)
    assert large.frames * large.size_px**2 >= LEAST_PIXELS
    assert suits(network, large, bf16=False)
    assert not suits(network, CLIP, bf16=False), "converting takes longer than labelling"
    assert Runner(network, 1.0, CPU, "fp32", "auto", CLIP).told == "cpu fp32"
    assert Runner(network, 1.0, CPU, "fp32", "torch", large).told == "cpu fp32"


def test_what_it_cannot_do_is_refused(network: CnnBiRnn) -> None:
    with pytest.raises(UsageError, match="--engine openvino: only for --device cpu, not cuda"):
        Runner(network, 1.0, torch.device("cuda"), "fp32", "openvino", CLIP)
    clip = replace(CLIP, frames=8)
    whole = build_model(ModelSpec(arch="video-net", trunk="mc3_18"), clip)
    assert not suits(whole, ClipSpec(frames=16, size_px=112), bf16=False)
    with pytest.raises(RunError, match="one frame at a time"):
        Runner(whole, 1.0, CPU, "fp32", "openvino", clip)


def test_labels_are_those_of_torch(tmp_path: Path) -> None:
    model = random_checkpoint(tmp_path / "model.safetensors")
    clips = [str(colour_video(tmp_path / f"{name}.mp4", name)) for name in ("red", "blue")]
    rows = {}
    for engine in ("torch", "openvino"):
        labeller = load_labeller(model, "cpu", "fp32", engine=engine)  # type: ignore[arg-type]
        rows[engine] = list(labeller.predict(clips))
    assert labeller.device == "cpu fp32 openvino"
    for wanted, found in zip(*rows.values(), strict=True):
        assert found.label == wanted.label
        assert found.confidence == pytest.approx(wanted.confidence, abs=1e-4)


def test_a_network_whose_frames_depend_on_their_place_is_left_to_torch() -> None:
    """It has the trunk and the scale of another network, whose conversion may be in the cache."""
    clip = replace(CLIP, input="rgb+difference", step_s=0.1, frames=6, size_px=96, resize_px=96)
    spec = ModelSpec(classes=3, rnn=False, statistics=True)
    network = build_model(spec, clip).eval()
    assert not suits(network, clip, bf16=False)
    with pytest.raises(RunError, match="one frame at a time"):
        OpenVinoTrunk(network, clip, bf16=False)
    runner = Runner(network, 1.0, CPU, "fp32", "auto", clip)
    assert runner.told == "cpu fp32"
    runner.self_test(clip.shape)
