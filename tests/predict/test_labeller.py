"""The batch engine: one row for each video, the same numbers however it is run."""

from __future__ import annotations

import json
import random
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import pytest
import torch
from fakes import (
    CLIP,
    COLOURS,
    MeanColour,
    colour_checkpoint,
    colour_frames,
    colour_video,
    random_checkpoint,
)
from torch import Tensor, nn

import vidlabel
from vidlabel import load_labeller
from vidlabel.clips.flow_stacks import run_time_steps, with_flow
from vidlabel.clips.read import cut, read_time_steps
from vidlabel.decode.pool import Decoded, DecoderPool
from vidlabel.decode.worker import DecodeJob
from vidlabel.errors import Reason, UsageError, VideoError
from vidlabel.models.build import build_model
from vidlabel.models.checkpoint import Checkpoint, Header
from vidlabel.predict.labeller import Labeller, PredictSpec
from vidlabel.signals import StopAsked, never
from vidlabel.specs import UNCERTAIN, ClipSpec, Limits, ModelSpec, Prediction, Status, VideoItem
from vidlabel.video.reader import open_video
from vidlabel.video.write import write_video

MakeVideo = Callable[..., Path]

CPU = torch.device("cpu")
FLOW = replace(CLIP, frames=2, input="flow", step_s=0.0, pairs=2)
BOTH = replace(FLOW, input="rgb+flow")


def gliding(number: int, width: int, height: int) -> np.ndarray:
    """Stripes (H, W, 3) that move to the right, faster and faster."""
    place = np.arange(width) - 0.03 * number**2
    row = 128 + 60 * np.sin(place / 3) + 40 * np.sin(place / 7)
    return np.broadcast_to(row[None, :, None], (height, width, 3)).astype(np.uint8)


@pytest.fixture(scope="session")
def colours(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("colours")
    names = [COLOURS[i % 3] for i in range(11)]
    return [
        colour_video(folder / f"{i:02}_{name}.mp4", name, count=6 + i, seed=i)
        for i, name in enumerate(names)
    ]


@pytest.fixture(scope="session")
def labeller(tmp_path_factory: pytest.TempPathFactory) -> Labeller:
    path = random_checkpoint(tmp_path_factory.mktemp("model") / "random.safetensors")
    return load_labeller(str(path), device="cpu", precision="fp32")


def _numbers(rows: list[Prediction]) -> np.ndarray:
    return np.array([[dict(row.top)[name] for name in COLOURS] for row in rows])


def test_every_video_gets_its_own_label_in_order(colours: list[Path], tmp_path: Path) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_text("not a video")
    paths = [str(p) for p in colours]
    paths[4:4] = [str(broken), str(tmp_path / "missing.mp4")]
    rows = list(Labeller(colour_checkpoint(), "cpu").predict(paths))
    assert [row.path for row in rows] == paths
    for row in rows:
        if "colours" in row.path:
            assert row.status is Status.OK
            assert row.label == Path(row.path).stem.split("_")[1]
        else:
            assert row.status is Status.FAILED
            assert row.label == ""
    assert [row.reason for row in rows[4:6]] == ["not_video", "not_found"]


def test_confidences_are_probabilities_sorted(colours: list[Path], labeller: Labeller) -> None:
    for row in labeller.predict([str(p) for p in colours], PredictSpec(top_k=3)):
        values = [p for _, p in row.top]
        assert values == sorted(values, reverse=True)
        assert sum(values) == pytest.approx(1, abs=1e-6)
        assert (row.label, row.confidence) == row.top[0]


@pytest.mark.parametrize("views", [1, 2])
def test_numbers_do_not_depend_on_batch_order_or_workers(
    colours: list[Path], labeller: Labeller, views: int
) -> None:
    paths = [str(p) for p in colours]

    def run(chosen: list[str], batch: int, workers: int) -> np.ndarray:
        spec = PredictSpec(top_k=3, views=views, batch_size=batch, workers=workers)
        return _numbers(list(labeller.predict(chosen, spec)))

    reference = run(paths, 8, 1)
    assert np.ptp(reference, axis=0).max() > 1e-3, "the clips must differ for this to say anything"
    for batch, workers in ((1, 1), (3, 2), (64, 3)):
        np.testing.assert_array_equal(run(paths, batch, workers), reference)
    np.testing.assert_array_equal(run(paths[::-1], 5, 2)[::-1], reference)


def test_short_video_is_padded_and_flagged(tmp_path: Path, labeller: Labeller) -> None:
    path = colour_video(tmp_path / "short.mp4", "red", count=2)
    (row,) = labeller.predict([str(path)])
    assert (row.status, row.reason, row.frames_used) == (Status.OK, "padded", 2)


def test_min_confidence_makes_a_label_uncertain(colours: list[Path], labeller: Labeller) -> None:
    spec = PredictSpec(min_confidence=1.0)
    (row,) = labeller.predict([str(colours[0])], spec)
    assert row.label == UNCERTAIN
    assert row.reason == "low_confidence"
    assert row.top[0][0] in row.detail
    assert row.confidence == row.top[0][1]


def test_a_model_says_itself_when_it_is_uncertain(colours: list[Path]) -> None:
    checkpoint = colour_checkpoint()
    unsure = replace(checkpoint, header=replace(checkpoint.header, min_confidence=0.9999))
    path = str(colours[0])
    (as_is,) = Labeller(checkpoint, "cpu").predict([path])
    assert as_is.label == as_is.top[0][0]
    labeller = Labeller(unsure, "cpu")
    (row,) = labeller.predict([path])
    assert (row.label, row.reason, row.top) == (UNCERTAIN, "low_confidence", as_is.top)
    (asked,) = labeller.predict([path], PredictSpec(min_confidence=0.0))
    assert asked.label == as_is.label


def test_views_average_stretches_and_crops(tmp_path: Path) -> None:
    """A video half red, half green: two views see both, and give both the same share."""
    path = tmp_path / "half.mp4"
    frames = [*colour_frames("red", 24), *colour_frames("green", 24)]
    write_video(path, frames, 12, options={"g": "1"})
    (row,) = Labeller(colour_checkpoint(), "cpu").predict([str(path)], PredictSpec(views=2))
    shares = dict(row.top)
    assert shares["red"] == pytest.approx(shares["green"], rel=0.1)
    assert shares["red"] > 10 * shares["blue"]


def test_embeddings_are_the_pooled_features(colours: list[Path], labeller: Labeller) -> None:
    paths = [str(p) for p in colours[:3]]
    vectors = dict(labeller.embed(paths))
    assert set(vectors) == set(paths)
    for vector in vectors.values():
        assert vector.shape == (24,)
        assert vector.dtype == np.float32
    assert not np.array_equal(vectors[paths[0]], vectors[paths[1]])


def test_numbers_that_are_not_finite_never_become_a_label(colours: list[Path]) -> None:
    checkpoint = colour_checkpoint()
    nothing = torch.full((1, 3), float("nan"))
    checkpoint.network.read = lambda frames: (  # type: ignore[method-assign]
        nothing.expand(len(frames), 3), nothing.expand(len(frames), 3),
    )  # fmt: skip
    labeller = Labeller(checkpoint, "cpu")
    (row,) = labeller.predict([str(colours[0])])
    assert (row.status, row.reason, row.label, row.embedding) == (Status.FAILED, "nan", "", ())


class AnySteps(MeanColour):
    """Labels each frame by itself."""

    any_time_steps = True
    fixed_time_steps, framewise = False, True


def frame_by_frame() -> Labeller:
    return Labeller(replace(colour_checkpoint(), network=AnySteps()), "cpu")  # type: ignore[arg-type]


def streams(clip: ClipSpec, temperature: float = 1.0, decoders: Any = DecoderPool) -> Labeller:
    """A real network with random weights that classifies each step by itself."""
    torch.manual_seed(0)
    arch = {"rgb": "spatial", "flow": "temporal", "rgb+flow": "two-stream"}.get(clip.input)
    spec = ModelSpec(arch or "spatial", 3, flow_trunk="mnasnet0_5")
    network = build_model(spec, clip)
    with torch.no_grad():  # make its answers depend on the input
        for module in network.trunk.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = 1.0
        network.train()(torch.randint(0, 255, (8, *clip.shape), dtype=torch.uint8))
        for name, weight in network.classify.named_parameters():
            weight.mul_(20 if "weight" in name else 1)
    header = Header(spec, clip, COLOURS, temperature)
    checkpoint = Checkpoint("streams", header, network.eval(), "0" * 64)
    return Labeller(checkpoint, "cpu", "fp32", decoders)


def plainly(labeller: Labeller, clips: Tensor) -> np.ndarray:
    """Probabilities (N, K) of clips (N, T, C, S, S), without batches and folded layers."""
    header = labeller.checkpoint.header
    with torch.no_grad():
        logits = labeller.checkpoint.network(clips)
    return (logits / header.temperature).softmax(1).numpy()


def every_step(path: str, clip: ClipSpec) -> Tensor:
    """All that there is to see in a video, as clips (N, 1, C, S, S)."""
    with open_video(path) as video:
        assert video.frame_times_s is not None
        kind = {"rgb": "rgb", "flow": "luma", "rgb+flow": "rgb+luma"}[clip.input]
        pixels = video.frames_at(video.frame_times_s.tolist(), clip.resize_px, kind).pixels  # type: ignore[arg-type]
    if clip.has_flow and len(pixels) <= clip.pairs:  # not even one stack: the last one stays
        pixels = pixels[np.minimum(np.arange(clip.pairs + 1), len(pixels) - 1)]
    steps = run_time_steps(torch.from_numpy(np.moveaxis(pixels, -1, 1).copy()), clip, CPU)
    return torch.from_numpy(cut(steps[:, None].numpy(), clip, 1))


def by_view(labeller: Labeller, paths: Iterable[Path], spec: PredictSpec) -> list[np.ndarray]:
    """Probabilities (V, K) of each video, all of which can be read."""
    items = [VideoItem(i, str(path)) for i, path in enumerate(paths)]
    rows = sorted(labeller.predict_views(items, spec), key=lambda row: row[0])
    assert [row[0] for row in rows] == list(range(len(items)))
    found = []
    for _, row, values in rows:
        assert row.status is Status.OK, row
        assert values is not None
        found.append(values)
    return found


def three_colours(path: Path) -> Path:
    """10 red frames, 4 green ones, 10 blue ones."""
    frames = [
        *colour_frames("red", 10), *colour_frames("green", 4), *colour_frames("blue", 10),
    ]  # fmt: skip
    write_video(path, frames, 12, options={"g": "1"})
    return path


def test_one_frame_is_the_one_in_the_middle(tmp_path: Path) -> None:
    path = three_colours(tmp_path / "x.mp4")
    labeller = frame_by_frame()
    (row,) = labeller.predict([str(path)], PredictSpec(strategy="one-frame"))
    assert (row.label, row.frames_used, row.reason) == ("green", 1, "")
    assert row.confidence > 0.9
    (clip,) = labeller.predict([str(path)])
    assert clip.frames_used == 4
    assert clip.label != "green"
    spec = PredictSpec(strategy="one-frame", views=3)
    (views,) = labeller.predict([str(path)], spec)
    assert views.frames_used == 3
    shares = dict(views.top)
    assert [shares[name] for name in COLOURS] == pytest.approx([1 / 3] * 3, abs=0.05)


def test_the_whole_video_is_the_mean_of_all_frames(tmp_path: Path) -> None:
    path = three_colours(tmp_path / "x.mp4")
    (row,) = frame_by_frame().predict([str(path)], PredictSpec(strategy="whole-video"))
    shares = dict(row.top)
    assert row.frames_used == 24
    expected = [10 / 24, 4 / 24, 10 / 24]
    assert [shares[name] for name in COLOURS] == pytest.approx(expected, abs=0.05)


def test_every_frame_of_a_long_video_is_seen_once_and_in_order(make_video: MakeVideo) -> None:
    path = make_video(frames=150)
    labeller = streams(replace(CLIP, frames=1), temperature=0.7)
    spec = PredictSpec(strategy="whole-video", workers=2, top_k=3)
    item = VideoItem(0, str(path))
    ((_, row, found),) = labeller.predict_views([item], spec)
    expected = plainly(labeller, every_step(str(path), CLIP))
    assert expected.shape == (150, 3)
    assert np.ptp(expected, axis=0).max() > 0.1, "frames must differ for this to say anything"
    np.testing.assert_allclose(found, expected, atol=2e-4)
    mean = [dict(row.top)[name] for name in COLOURS]
    np.testing.assert_allclose(mean, expected.mean(0), atol=2e-4)
    assert (row.status, row.frames_used, row.reason) == (Status.OK, 150, "")
    assert (row.start_s, row.end_s) == (0, row.duration_s) == (0, 15)
    network = labeller.checkpoint.network
    with torch.no_grad():
        features = network.frame_features(every_step(str(path), CLIP))[:, 0]
    np.testing.assert_allclose(row.embedding, features.mean(0), atol=1e-3)


class LocalPool:
    """Decodes in this process, in a random order of videos and parts."""

    seed = 0
    lost: tuple[int, ...] = ()
    damaged: tuple[int, ...] = ()

    def __init__(self, job: DecodeJob, workers: int) -> None:
        self._job = job
        self._added: list[VideoItem] = []
        self._random = random.Random(self.seed)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def add(self, item: VideoItem) -> None:
        self._added.append(item)

    def run(self, items: Iterable[VideoItem], stop: StopAsked = never) -> Iterator[Decoded]:
        source = deque(items)
        while (source or self._added) and not stop():
            if source and (not self._added or self._random.random() < 0.3):
                yield self._decode(source.popleft())
            else:
                place = self._random.randrange(len(self._added))
                yield self._decode(self._added.pop(place))

    def _decode(self, item: VideoItem) -> Decoded:
        if item.part in self.lost:
            return Decoded(item, error=VideoError(Reason.TIMEOUT, f"{item.path}: took too long"))
        data = self._job.read(item.path, part=item.part, span=item.span)
        damaged = f"part {item.part} is damaged" if item.part in self.damaged else ""
        return Decoded(item, replace(data, damaged=damaged))


@pytest.fixture
def local(monkeypatch: pytest.MonkeyPatch) -> type[LocalPool]:
    """Parts of up to 5 moments, decoded by a LocalPool."""

    class Local(LocalPool):
        pass

    for module in ("clips.read", "decode.worker"):
        monkeypatch.setattr(f"vidlabel.{module}.RUN", 5)
    return Local


WHOLE = PredictSpec(strategy="whole-video", batch_size=7, top_k=3)


@pytest.mark.parametrize(
    ("clip", "seed"), [(CLIP, 1), (CLIP, 2), (FLOW, 3), (BOTH, 4)], ids=["1", "2", "flow", "both"]
)
def test_parts_are_put_together_in_order_whatever_order_they_come_in(
    clip: ClipSpec, seed: int, local: type[LocalPool], make_video: MakeVideo
) -> None:
    local.seed = seed
    paths = [make_video(frames=frames, draw=gliding) for frames in (13, 3, 1)]
    labeller = streams(clip, decoders=local)
    for path, found in zip(paths, by_view(labeller, paths, WHOLE), strict=True):
        expected = plainly(labeller, every_step(str(path), clip))
        np.testing.assert_allclose(found, expected, atol=2e-4)


@pytest.mark.parametrize("batch_size", [1, 7, 100])
@pytest.mark.parametrize(("lost", "left"), [((1,), 12), ((3,), 15), ((1, 2, 3), 5)])
def test_a_part_that_cannot_be_read_leaves_a_partial_row(
    lost: tuple[int, ...], left: int, batch_size: int, local: type[LocalPool], make_video: MakeVideo
) -> None:
    local.lost = lost
    path = str(make_video(frames=17))
    labeller = streams(CLIP, decoders=local)
    spec = replace(WHOLE, batch_size=batch_size)
    ((index, row, found),) = labeller.predict_views([VideoItem(3, path)], spec)
    assert index == 3
    assert (row.status, row.reason, row.frames_used) == (Status.PARTIAL, "damaged", left)
    assert row.detail == f"{path}: took too long"
    kept = [i for i in range(17) if i // 5 not in lost]
    expected = plainly(labeller, every_step(path, CLIP))[kept]
    np.testing.assert_allclose(found, expected, atol=2e-4)
    assert row.label == COLOURS[expected.mean(0).argmax()]
    assert row.duration_s == pytest.approx(1.7)


def test_a_video_of_which_not_even_the_first_part_can_be_read_fails(
    local: type[LocalPool], make_video: MakeVideo
) -> None:
    local.lost = (0,)
    (row,) = streams(CLIP, decoders=local).predict([str(make_video(frames=17))], WHOLE)
    assert (row.status, row.reason, row.label) == (Status.FAILED, "timeout", "")


def test_damage_of_any_part_is_told(local: type[LocalPool], make_video: MakeVideo) -> None:
    local.damaged = (2,)
    (row,) = streams(CLIP, decoders=local).predict([str(make_video(frames=17))], WHOLE)
    assert (row.status, row.detail, row.frames_used) == (Status.PARTIAL, "part 2 is damaged", 17)


def test_numbers_that_are_not_finite_in_one_part_never_become_a_label(
    local: type[LocalPool], make_video: MakeVideo
) -> None:
    class Late(AnySteps):
        def read(self, frames: Tensor) -> tuple[Tensor, Tensor]:
            features, logits = super().read(frames)
            shown = frames.mean((1, 2)) > frames.mean((1, 2)).min()
            return features, logits.masked_fill(shown[:, None], float("nan"))

    checkpoint = replace(colour_checkpoint(), network=Late())  # type: ignore[arg-type]
    labeller = Labeller(checkpoint, "cpu", decoders=local)
    (row,) = labeller.predict([str(make_video(frames=17))], WHOLE)
    assert (row.status, row.reason, row.top) == (Status.FAILED, "nan", ())


def test_a_stop_between_parts_gives_the_videos_that_are_complete(
    local: type[LocalPool], make_video: MakeVideo
) -> None:
    paths = [str(make_video(frames=frames)) for frames in (3, 17, 12)]
    labeller = streams(CLIP, decoders=local)
    whole = list(labeller.predict(paths, WHOLE))
    seen = []
    for asked in range(9):
        rest = iter([False] * asked)
        rows = list(labeller.predict(paths, WHOLE, stop=lambda rest=rest: next(rest, True)))
        assert [row for row in whole if row in rows] == rows, "as without the stop, and in order"
        seen.append(len(rows))
    assert seen[0] == 0
    assert seen == sorted(seen)
    assert seen[8] == 3
    assert {1, 2} & set(seen)


@pytest.mark.parametrize("strategy", ["one-frame", "whole-video"])
def test_models_of_whole_clips_refuse_other_strategies_in_one_line(
    strategy: Any, labeller: Labeller
) -> None:
    refused = rf"--strategy {strategy}: random@\w+ reads whole clips; only models that"
    with pytest.raises(UsageError, match=refused):
        labeller.predict(["none.mp4"], PredictSpec(strategy=strategy))
    with pytest.raises(UsageError, match=refused):
        next(labeller.predict_views([VideoItem(0, "none.mp4")], PredictSpec(strategy=strategy)))
    for clip in (replace(CLIP, input="motion"), replace(CLIP, fps=5.0)):
        with pytest.raises(UsageError, match=f"--strategy {strategy}: "):
            streams(clip).predict(["none.mp4"], PredictSpec(strategy=strategy))


def test_a_strategy_that_is_unknown_or_leaves_nothing_to_view_is_refused() -> None:
    with pytest.raises(UsageError, match="--strategy must be one of clip, one-frame, whole-video"):
        PredictSpec(strategy="all")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"--strategy whole-video .* leave out --views"):
        PredictSpec(strategy="whole-video", views=2)


@pytest.mark.parametrize("clip", [FLOW, BOTH], ids=lambda clip: clip.input)
@pytest.mark.parametrize("views", [1, 2])
def test_flow_is_predicted_as_it_is_computed(
    clip: ClipSpec, views: int, make_video: MakeVideo
) -> None:
    path = make_video(size=(128, 64), frames=12, draw=gliding)
    labeller = streams(clip)
    (found,) = by_view(labeller, [path], PredictSpec(views=views, workers=1))
    steps = torch.from_numpy(read_time_steps(str(path), clip, views, Limits()).clips)
    seen = with_flow(steps.flatten(0, 1), clip, CPU).unflatten(0, (views, 2))
    expected = plainly(labeller, torch.from_numpy(cut(seen.numpy(), clip, views)))
    assert found.shape == (1 if views == 1 else 6, 3)
    np.testing.assert_allclose(found, expected, atol=2e-4)
    if views > 1:
        assert np.ptp(found, axis=0).max() > 0.01, "crops and stretches differ"


@pytest.mark.parametrize(
    ("clip", "spec"),
    [
        (CLIP, PredictSpec(strategy="whole-video")),
        (FLOW, PredictSpec(strategy="whole-video")),
        (BOTH, PredictSpec(views=2)),
    ],
    ids=["frames", "stacks", "views"],
)
def test_no_strategy_depends_on_batch_order_or_workers(
    clip: ClipSpec, spec: PredictSpec, colours: list[Path], make_video: MakeVideo
) -> None:
    long = make_video(frames=70) if clip is CLIP else make_video(frames=14, draw=gliding)
    paths = [long, *([] if clip.has_flow else colours[:3]), make_video(frames=5, draw=gliding)]
    labeller = streams(clip)

    def run(chosen: list[Path], batch: int, workers: int) -> list[np.ndarray]:
        return by_view(labeller, chosen, replace(spec, batch_size=batch, workers=workers))

    reference = run(paths, 8, 1)
    assert np.ptp(np.concatenate(reference), axis=0).max() > 1e-3
    for ours, theirs in zip(run(paths, 1, 3), reference, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    for ours, theirs in zip(run(paths[::-1], 3, 2)[::-1], reference, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(
    "wrong", [{"top_k": 0}, {"views": 0}, {"batch_size": 0}, {"min_confidence": 1.5}]
)
def test_wrong_settings_name_their_flag(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="--" + next(iter(wrong)).replace("_", "-")):
        PredictSpec(**wrong)  # type: ignore[arg-type]


def test_predictions_become_a_data_frame(colours: list[Path], tmp_path: Path) -> None:
    broken = tmp_path / "NA"
    broken.write_text("not a video")
    paths = [*map(str, colours[:3]), str(broken)]
    labeller = Labeller(colour_checkpoint(), "cpu")
    rows = list(labeller.predict(paths))
    table = labeller.predict(paths).to_dataframe()
    assert table["path"].tolist() == paths
    assert table["label"].tolist()[:3] == [row.label for row in rows[:3]]
    assert table["top3_confidence"].tolist()[:3] == [row.top[2][1] for row in rows[:3]]
    assert table["label"].isna().tolist() == [False] * 3 + [True]
    assert "top4_label" not in table, "there are three classes"
    rest = labeller.predict(paths)
    assert next(rest) == rows[0]
    assert rest.to_dataframe()["path"].tolist() == paths[1:], "those that were not taken yet"


@pytest.mark.field
def test_a_single_path_is_one_path_and_a_folder_is_walked(
    colours: list[Path], labeller: Labeller
) -> None:
    """field 19: `predict("one.mp4")` labelled every letter, and a folder was one failed row."""
    folder, first, second = colours[0].parent, colours[0], colours[1]
    for given, paths in {
        str(first): [first],
        first: [first],
        folder: colours,
        (folder, second): [*colours, second],
        (str(first), folder / "none.mp4"): [first, folder / "none.mp4"],
        VideoItem(0, str(second)): [second],
    }.items():
        rows = list(labeller.predict(given))
        assert [row.path for row in rows] == list(map(str, paths))
        assert [row.ok for row in rows] == [path.exists() for path in paths]
    assert [path for path, _ in labeller.embed(first)] == [str(first)]


@pytest.mark.field
def test_a_model_is_found_by_a_path_and_a_prediction_becomes_plain_values(
    colours: list[Path], tmp_path: Path
) -> None:
    """field 19"""
    model = random_checkpoint(tmp_path / "some.safetensors")
    spec = vidlabel.PredictSpec(top_k=2)
    (row,) = load_labeller(model, device="cpu").predict(colours[0], spec)
    values = vidlabel.to_dict(row)
    assert json.loads(json.dumps(values)) == values
    assert (values["path"], values["label"]) == (str(colours[0]), row.label)
    assert [top["label"] for top in values["top"]] == [label for label, _ in row.top]
    assert vidlabel.to_dict(Prediction("x", Status.FAILED))["confidence"] is None
    assert vidlabel.to_dict(spec)["top_k"] == 2
