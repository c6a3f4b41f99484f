"""Several devices share the videos of one run; the processes are played by threads here."""

from __future__ import annotations

import time
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from threading import Thread
from typing import Any

import pytest
from fakes import colour_checkpoint

from vidlabel.errors import DeviceError, UsageError
from vidlabel.predict.device_group import DeviceGroup, read_devices
from vidlabel.predict.spec import PredictSpec
from vidlabel.spans import TimelineSpec
from vidlabel.specs import Prediction, Status, VideoItem

ITEMS = [VideoItem(i, f"{i:03}.mp4") for i in range(60)]


class Played:
    """A process that labels each video in `pace_s`, and ends early after `lasts` of them.

    Attributes:
        spec: what it was told.
        got: the videos that it was given.
    """

    def __init__(
        self, name: str = "cpu", *, lasts: int = 1000, pace_s: float = 0.0, ready: bool = True,
        precision: str = "fp32", error: Exception | None = None,
    ) -> None:  # fmt: skip
        self.name, self.lasts, self.pace_s, self.error = name, lasts, pace_s, error
        self.got: list[VideoItem] = []
        self.spec: Any = None
        self.stopped = self.closed = False
        self.connection, theirs = Pipe()
        first = ("ready", precision) if ready else ("error", error)
        self.thread = Thread(target=self.serve, args=(theirs, first), daemon=True)
        self.thread.start()

    def serve(self, connection: Connection, first: object) -> None:
        try:
            connection.send(first)
            self.spec = connection.recv()
            while not self.stopped:
                connection.send(("next", None))
                if (item := connection.recv()) is None:
                    break
                self.got.append(item)
                if len(self.got) > self.lasts:
                    if self.error is not None:
                        connection.send(("error", self.error))
                    connection.close()
                    return
                time.sleep(self.pace_s)
                row = Prediction(item.path, Status.OK, "red", 1.0, (("red", 1.0),))
                connection.send(("row", (item.index, row)))
            connection.send(("end", [f"{len(self.got)} videos"]))
        except (EOFError, OSError):
            pass

    def stop(self) -> None:
        self.stopped = True

    def close(self) -> str:
        self.closed = True
        self.connection.close()
        return "signal 9"


def group(*processes: Played) -> DeviceGroup:
    return DeviceGroup(colour_checkpoint(), processes)  # type: ignore[arg-type]


def test_each_video_has_one_row_in_order() -> None:
    processes = [Played("cuda:0"), Played("cuda:1", pace_s=0.001)]
    with group(*processes) as devices:
        assert devices.device == "cuda:0 + cuda:1 fp32"
        rows = list(devices.predict(ITEMS, PredictSpec()))
        told = devices.warnings()
    assert [row.path for row in rows] == [item.path for item in ITEMS]
    assert sorted(told) == [f"{each.name}: {len(each.got)} videos" for each in processes]
    assert all(each.closed for each in processes)


def test_a_faster_device_gets_more_videos() -> None:
    fast, slow = Played(pace_s=0.001), Played(pace_s=0.02)
    with group(fast, slow) as devices:
        assert len(list(devices.predict(ITEMS, PredictSpec(), ordered=False))) == 60
    assert len(fast.got) > 2 * len(slow.got) > 0


@pytest.mark.parametrize(("workers", "shares"), [(5, [2, 3]), (2, [1, 1]), (1, [1, 1])])
def test_decoders_are_shared_fairly(workers: int, shares: list[int]) -> None:
    processes = [Played(), Played()]
    with group(*processes) as devices:
        list(devices.predict(ITEMS[:4], PredictSpec(workers=workers)))
    assert [each.spec.workers for each in processes] == shares


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (None, "cuda:1: its process ended (signal 9)"),
        (DeviceError("cuda:1 failed (x); run the same command to resume"), "cuda:1 failed (x)"),
    ],
)
def test_when_a_process_ends_the_others_go_on(error: Exception | None, why: str) -> None:
    dying = Played("cuda:1", lasts=3, error=error)
    rows: list[Prediction] = []
    processes = (Played("cuda:0", pace_s=0.002), dying)
    with group(*processes) as devices, pytest.raises(DeviceError) as told:
        rows.extend(devices.predict(ITEMS, PredictSpec(), ordered=False))
    assert str(told.value) == f"{why}; 1 video not labelled: run the same command to resume"
    left = [item.path for item in ITEMS if item != dying.got[-1]]
    assert sorted(row.path for row in rows) == left


def test_when_all_processes_end_the_rest_is_counted() -> None:
    rows: list[Prediction] = []
    lost = pytest.raises(DeviceError, match="52 videos not labelled")
    with group(Played(lasts=3), Played(lasts=5)) as devices, lost:
        rows.extend(devices.predict(ITEMS, PredictSpec(), ordered=False))
    assert len({row.path for row in rows}) == 8


def test_a_stop_begins_no_more_videos_and_is_no_error() -> None:
    processes = [Played(pace_s=0.001), Played(pace_s=0.001)]
    rows: list[Prediction] = []
    with group(*processes) as devices:
        stop = lambda: len(rows) > 10  # noqa: E731
        for row in devices.predict(ITEMS, PredictSpec(), ordered=False, stop=stop):
            rows.append(row)
    assert 10 < len(rows) < 60
    assert len({row.path for row in rows}) == len(rows)


def test_a_wrong_setting_is_wrong_for_all() -> None:
    processes = [Played(lasts=0, error=UsageError("--strategy: no")) for _ in "ab"]
    with group(*processes) as devices, pytest.raises(UsageError, match="--strategy: no"):
        list(devices.predict(ITEMS, PredictSpec()))


def test_a_timeline_needs_one_device() -> None:
    with group(Played(), Played()) as devices, pytest.raises(UsageError, match="by 2 devices"):
        devices.windows(TimelineSpec())


def test_devices_of_different_precision_are_refused() -> None:
    processes = [Played("cuda:0", precision="bf16"), Played("cpu")]
    with pytest.raises(UsageError, match="cuda:0 in bf16, cpu in fp32; name one of them by --prec"):
        group(*processes)
    assert all(each.closed for each in processes)


def test_a_device_that_does_not_start_ends_the_run() -> None:
    with pytest.raises(DeviceError, match="no memory"):
        group(Played(), Played(ready=False, error=DeviceError("cuda:1: no memory")))
    with pytest.raises(DeviceError, match=r"while it started: cpu: its process ended \(signal 9\)"):
        group(Played(), Played(ready=False))


def test_devices_are_read() -> None:
    assert read_devices("cpu") == ["cpu"]
    assert read_devices("cpu, cpu") == ["cpu", "cpu"]
    assert read_devices("all")
    for wrong in ("", "cpu,", "cpu,gpu", "all,cpu"):
        with pytest.raises(UsageError, match="not a device"):
            read_devices(wrong)
    with pytest.raises(DeviceError, match="there are"):
        read_devices("cpu,cuda:99")
