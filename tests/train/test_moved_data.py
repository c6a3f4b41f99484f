"""Data that were moved are the same data; data that were replaced under their names are not."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes import CLIP, colour_video

from vidlabel.datasets.folder import read_folder
from vidlabel.datasets.protocols import Fold
from vidlabel.datasets.samples import Sample
from vidlabel.errors import UsageError
from vidlabel.evaluate.job import EvalRequest, report_of
from vidlabel.spans import VideoSpan
from vidlabel.specs import ModelSpec
from vidlabel.train.distributed import Team
from vidlabel.train.frame_cache import FrameCache
from vidlabel.train.loop import TrainResult, train
from vidlabel.train.observer import Epoch, TrainObserver
from vidlabel.train.recipes import TrainSpec
from vidlabel.train.run_folder import RunFolder

pytestmark = pytest.mark.field  # field 5, all of them

Run = Callable[..., TrainResult]
SPEC = TrainSpec(batch_size=4, val_fraction=0.3, max_bad=0.5)


class _Observer(TrainObserver):
    """Counts what is decoded and trained; stops after an epoch if it is to."""

    def __init__(self, *, stops: bool = False) -> None:
        self.decoded = self.epochs = 0
        self._stops = stops

    @contextmanager
    def decoding(self, videos: int) -> Iterator[Any]:
        self.decoded += videos
        with super().decoding(videos) as bar:
            yield bar

    def epoch(self, line: Epoch, best: bool) -> None:
        self.epochs += 1
        if self._stops:
            raise KeyboardInterrupt


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two classes of three clips, one of which cannot be read."""
    for colour in ("blue", "red"):
        for number in range(3):
            colour_video(tmp_path / "data" / colour / f"{'abc'[number]}.mp4", colour, 6, number)
    (tmp_path / "data" / "red" / "broken.mp4").write_text("no video")
    return tmp_path / "data"


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Train on a folder, or go on with that, always in one run folder."""

    def run(data: Path, observer: TrainObserver, epochs: int = 1) -> TrainResult:
        return train(
            read_folder(data), tmp_path / "run", replace(SPEC, epochs=epochs), CLIP,
            ModelSpec(hidden=8, features=8), device="cpu", workers=1, cache=tmp_path / "cache",
            observer=observer,
        )  # fmt: skip

    return run


def test_clips_that_were_replaced_under_their_names_are_told(run: Run, data: Path) -> None:
    run(data, _Observer())
    for path in sorted((data / "red").glob("[ab].mp4")):
        colour_video(path, "green", 7)
    told = (
        r"holds a run with other settings \(videos that have changed since: red/a.mp4, red/b.mp4\)"
    )
    with pytest.raises(UsageError, match=told):
        run(data, _Observer())


def test_a_clip_that_changes_while_a_training_is_stopped_is_told(run: Run, data: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(data, _Observer(stops=True), 2)
    colour_video(data / "red" / "broken.mp4", "red", 6)  # repaired
    with pytest.raises(UsageError, match="that have changed since: red/broken"):
        run(data, _Observer(), 2)


def test_a_stopped_training_goes_on_after_its_data_have_moved(run: Run, data: Path) -> None:
    """And neither decodes the moved clips again."""
    with pytest.raises(KeyboardInterrupt):
        run(data, _Observer(stops=True), 2)
    moved = data.parent / "on" / "another" / "disk"
    moved.parent.mkdir(parents=True)
    data.rename(moved)
    observer = _Observer()
    result = run(moved, observer, 2)
    assert observer.epochs == 1
    assert observer.decoded == 1, "the broken one, which is tried again"
    assert result.unreadable == (str(moved / "red" / "broken.mp4"),)
    kept = _Observer()
    moved.rename(data)
    assert run(data, kept, 2).unreadable == (str(data / "red" / "broken.mp4"),)
    assert kept.epochs == kept.decoded == 0


def test_a_protocol_goes_on_after_its_data_have_moved(tmp_path: Path) -> None:
    def run_folder(data: str, folds: int = 2) -> RunFolder:
        folder = RunFolder(tmp_path, Team())
        folder.plan = {"data": data, "folds": {str(k): [] for k in range(folds)}}
        return folder

    run_folder("hmdb51:here").begin(tmp_path, restart=False)
    (tmp_path / "0").mkdir()
    (tmp_path / "0" / "log.csv").touch()  # it has completed an epoch
    run_folder("hmdb51:there").check()
    with pytest.raises(UsageError, match="other settings"):
        run_folder("hmdb51:here", folds=3).check()


def test_the_report_of_a_run_is_not_replaced_by_one_of_other_clips(
    run: Run, data: Path, tmp_path: Path
) -> None:
    run(data, _Observer())
    (tmp_path / "run" / "plan.json").write_text(
        f'{{"data": "{data}", "protocol": "", "folds": {{"data": []}}}}'
    )
    samples = tuple(read_folder(data))

    def name() -> str:
        fold = Fold("data", samples, (), ())
        return report_of(EvalRequest(str(data), str(tmp_path / "run")), [fold], "").name

    assert name() == "report"
    colour_video(data / "red" / "a.mp4", "green", 7)
    assert name() == "report-data"


def test_files_of_equal_name_size_and_time_do_not_share_frames(data: Path, tmp_path: Path) -> None:
    """As where a tool sets the times of all files alike; the cache is shared by all data sets."""
    first, second = (data / colour / "a.mp4" for colour in ("blue", "red"))
    size = max(first.stat().st_size, second.stat().st_size)
    for path in (first, second):
        with path.open("ab") as file:
            file.write(b"\0\0\0\x08free" * ((size - file.tell()) // 8))
            file.write(b"\0" * (size - file.tell()))
        os.utime(path, (0, 0))
    assert first.stat().st_size == second.stat().st_size
    cache = FrameCache(tmp_path / "cache", CLIP)
    paths = [VideoSpan(str(first)), VideoSpan(str(second))]
    ids = dict.fromkeys(paths, "walk/a.mp4")
    assert cache.fill(paths, 1, TrainObserver().decoding, ids) == {}
    assert not np.array_equal(cache.frames(paths[0]), cache.frames(paths[1]))


def test_a_copy_with_its_time_is_decoded_once_and_another_clip_is_not(
    data: Path, tmp_path: Path
) -> None:
    def decoded(path: Path, label: str = "blue") -> int:
        observer = _Observer()
        sample = Sample(str(path), label, "a")
        FrameCache(tmp_path / "cache", CLIP).fill(
            [sample.video], 1, observer.decoding, {sample.video: sample.id}
        )
        return observer.decoded

    first, copy = data / "blue" / "a.mp4", tmp_path / "elsewhere" / "a.mp4"
    copy.parent.mkdir()
    shutil.copy2(first, copy)
    assert [decoded(first), decoded(copy), decoded(first)] == [1, 0, 0]
    os.utime(copy, (0, 0))
    assert decoded(copy) == 1
    assert decoded(data / "blue" / "b.mp4") == 1
