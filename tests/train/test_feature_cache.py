"""Features of a frozen trunk: those that the network itself would give, computed once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from fakes import CLIP, COLOURS, colour_video

from vidlabel import load_labeller
from vidlabel.clips.flow_stacks import mirror
from vidlabel.console import Counting
from vidlabel.datasets.samples import Sample
from vidlabel.models.base import ClipModel
from vidlabel.models.build import build_model
from vidlabel.models.checkpoint import load_checkpoint
from vidlabel.spans import VideoSpan
from vidlabel.specs import ClipSpec, ModelSpec
from vidlabel.train.feature_cache import FeatureCache
from vidlabel.train.frame_cache import FrameCache, held_out_moments
from vidlabel.train.loop import train
from vidlabel.train.observer import TrainObserver
from vidlabel.train.recipes import TrainSpec
from vidlabel.train.training_clips import centre_square
from vidlabel.train.training_frames import TrainingFrames

CPU = torch.device("cpu")
MODEL = ModelSpec(arch="conv-lstm", trunk="resnet18", embed=16, hidden=8, features=16, dropout=0.0)
FROZEN = TrainSpec(
    epochs=6, batch_size=4, lr=5e-3, val_fraction=0.3, freeze_trunk=True, crop=1.0, colour=0.0,
    noise=0.0,
)  # fmt: skip


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> list[VideoSpan]:
    folder = tmp_path_factory.mktemp("videos")
    paths = [colour_video(folder / f"{c}.mp4", c, 14, seed=i) for i, c in enumerate(COLOURS)]
    return [VideoSpan(str(path)) for path in paths]


class _Counted(TrainObserver):
    """How many videos a trunk has seen."""

    def __init__(self) -> None:
        self.described = 0

    def describing(self, total: int) -> Counting:
        self.described += total
        return super().describing(total)


def _network(seed: int, arch: str = "conv-lstm", clip: ClipSpec = CLIP) -> ClipModel:
    torch.manual_seed(seed)
    return build_model(replace(MODEL, arch=arch, classes=2), clip).eval()


def _cache(
    folder: Path, videos: list[VideoSpan], network: ClipModel, clip: ClipSpec = CLIP
) -> tuple[FeatureCache, TrainingFrames]:
    cache = FrameCache(folder, clip)
    cache.fill(videos, 1, TrainObserver().decoding)
    frames = TrainingFrames(cache, videos, CPU)
    digests = [cache.digests[path] for path in videos]
    return FeatureCache(folder, digests, frames, network, clip, CPU), frames


def test_features_are_those_of_the_network_and_computed_once(
    videos: list[VideoSpan], tmp_path: Path
) -> None:
    network = _network(0)
    features, frames = _cache(tmp_path, videos, network)
    watch = _Counted()
    features.fill(range(3), watch.describing)
    assert watch.described == 3
    moments = torch.tensor([0, 3, 3, 7])
    clip = centre_square(frames.take(1, moments), CLIP.size_px)[None]
    for mirrored, shown in ((False, clip), (True, clip.flip(-1))):
        with torch.no_grad():
            expected = network.frame_features(shown)[0]
        found = features.gather([1], [moments], [mirrored])[0]
        torch.testing.assert_close(found, expected, atol=2e-3, rtol=2e-3)
    again, _ = _cache(tmp_path, videos, network)
    again.fill(range(3), watch.describing)
    assert watch.described == 3
    other, _ = _cache(tmp_path, videos, _network(1))
    other.fill(range(3), watch.describing)
    assert watch.described == 6, "another trunk says something else"


@pytest.mark.parametrize(
    ("arch", "values"),
    [
        ("temporal", {"input": "flow", "frames": 1, "pairs": 2, "step_s": 0.0}),
        ("two-stream", {"input": "rgb+flow", "frames": 2, "pairs": 1, "fps": 6.0}),
    ],
)
def test_features_of_flow_are_those_of_what_predict_sees_and_of_its_mirror_image(
    arch: str, values: dict[str, Any], videos: list[VideoSpan], tmp_path: Path
) -> None:
    clip = replace(CLIP, **values)
    network = _network(0, arch, clip)
    features, frames = _cache(tmp_path, videos[:1], network, clip)
    watch = _Counted()
    features.fill([0], watch.describing)
    moments = held_out_moments(clip)
    shown = centre_square(frames.take(0, moments), clip.size_px)[None]
    for mirrored, clips in ((False, shown), (True, mirror(shown, clip))):
        with torch.no_grad():
            expected = network.frame_features(clips)[0]
        found = features.gather([0], [moments], [mirrored])[0]
        torch.testing.assert_close(found, expected, atol=4e-3, rtol=4e-3)
    flipped = network.frame_features(shown.flip(-1))[0].detach()
    assert (features.gather([0], [moments], [True])[0] - flipped).abs().max() > 0.05, (
        "flow turns round"
    )
    again, _ = _cache(tmp_path, videos[:1], network, clip)
    again.fill([0], watch.describing)
    assert watch.described == 1


def test_a_training_with_a_frozen_trunk_sees_each_frame_once(tmp_path: Path) -> None:
    samples = [
        Sample(str(colour_video(tmp_path / c / f"{i}.mp4", c, 8, seed=i)), c, f"place{i}")
        for c in ("red", "blue")
        for i in range(6)
    ]
    watch = _Counted()
    result = train(
        samples, tmp_path / "run", FROZEN, CLIP, MODEL, device="cpu", cache=tmp_path / "cache",
        observer=watch,
    )  # fmt: skip
    assert watch.described == 12
    assert result.best.val_top1 == 1.0, "colours are told apart by a random trunk"
    labeller = load_labeller(str(result.checkpoint), "cpu")
    rows = list(labeller.predict([sample.path for sample in samples]))
    assert [row.label for row in rows] == [sample.label for sample in samples]
    plain = train(
        samples, tmp_path / "plain", replace(FROZEN, noise=0.001), CLIP, MODEL, device="cpu",
        cache=tmp_path / "cache", observer=watch,
    )  # fmt: skip
    assert watch.described == 12, "with noise, every clip is another"
    trunks = [
        {k: v for k, v in load_checkpoint(str(each.checkpoint)).network.state_dict().items()
         if k.startswith("trunk.")}
        for each in (result, plain)
    ]  # fmt: skip
    assert all(torch.equal(value, trunks[1][name]) for name, value in trunks[0].items())
    assert result.best.val_loss == pytest.approx(plain.best.val_loss, abs=0.2)
