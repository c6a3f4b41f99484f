"""The batch engine: one row for each video, the same numbers however it is run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from fakes import COLOURS, colour_checkpoint, colour_video, random_checkpoint

from vidlabel import load_labeller
from vidlabel.errors import UsageError
from vidlabel.predict import UNCERTAIN, Labeller, PredictSpec
from vidlabel.specs import Prediction, Status


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


def test_views_average_stretches_and_crops(tmp_path: Path) -> None:
    """A video half red, half green: two views see both, and give both the same share."""
    from fakes import colour_frames

    from vidlabel.encode import write_video

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
    import torch

    checkpoint = colour_checkpoint()
    nothing = torch.full((1, 3), float("nan"))
    checkpoint.network.read = lambda frames: (  # type: ignore[method-assign]
        nothing.expand(len(frames), 3), nothing.expand(len(frames), 3),
    )  # fmt: skip
    labeller = Labeller(checkpoint, "cpu")
    (row,) = labeller.predict([str(colours[0])])
    assert (row.status, row.reason, row.label, row.embedding) == (Status.FAILED, "nan", "", ())


@pytest.mark.parametrize(
    "wrong", [{"top_k": 0}, {"views": 0}, {"batch_size": 0}, {"min_confidence": 1.5}]
)
def test_wrong_settings_name_their_flag(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="--" + next(iter(wrong)).replace("_", "-")):
        PredictSpec(**wrong)  # type: ignore[arg-type]
