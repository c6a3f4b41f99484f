"""The progress bar of a run that labels long videos: how much of their time is done."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from time import monotonic

from rich.progress import BarColumn, ProgressColumn, Task
from rich.text import Text

from vidlabel import console
from vidlabel.text import clock_time, time_left


class VideoTimeProgress:
    """A progress bar of the length of `videos` videos, hidden as `console.bar`; a context manager.

    The length of a video is known only when it is begun; for those that are not, the mean of the
    others is assumed.

    Args:
        clock: seconds since any moment.
    """

    def __init__(
        self, videos: int, quiet: bool = False, clock: Callable[[], float] = monotonic
    ) -> None:
        self._videos, self._clock, self._began = videos, clock, clock()
        self._length_s: dict[int, float] = {}  # of each video that is begun
        self._bar = console.bar(BarColumn(bar_width=None), _Time(self._elapsed), quiet=quiet)
        self._task = self._bar.add_task("", start=False, total=None, before=0.0, videos=videos)

    def __enter__(self) -> VideoTimeProgress:
        with suppress(OSError):  # a closed terminal must not prevent results from being saved
            self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        with suppress(OSError):
            self._bar.stop()

    def begin(self, video: int, length_s: float, before_s: float = 0.0) -> None:
        """The length of a video is known now; `before_s` of it were done in an earlier run."""
        self._length_s[video] = length_s
        known = sum(self._length_s.values())
        fields = self._bar.tasks[self._task].fields
        self._bar.update(
            self._task,
            total=known / len(self._length_s) * max(self._videos, len(self._length_s)),
            before=fields["before"] + before_s,
            advance=before_s,
        )

    def advance(self, seconds: float) -> None:
        """So much of the videos' time has been labelled."""
        self._bar.start_task(self._task)
        self._bar.update(self._task, advance=seconds)

    def _elapsed(self) -> float:
        return self._clock() - self._began


class _Time(ProgressColumn):
    """Time that is done, of how much, how many times faster than it plays, and the time left."""

    def __init__(self, elapsed: Callable[[], float]) -> None:
        super().__init__()
        self._elapsed = elapsed

    def render(self, task: Task) -> Text:
        if not task.started or not task.total:
            return Text("starting")
        now_s, elapsed_s = task.completed - task.fields["before"], self._elapsed()
        left = time_left(elapsed_s, now_s, task.remaining or 0.0)
        text = f"{clock_time(task.completed)} of {clock_time(task.total)} of video"
        return Text(f"{text}, {now_s / max(elapsed_s, 1e-3):.0f}x {left}".rstrip())
