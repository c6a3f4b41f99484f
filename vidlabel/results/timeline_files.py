"""The files of timelines: where they lie, written each as a whole."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from vidlabel.errors import UsageError
from vidlabel.files.names import fitting
from vidlabel.files.write import (
    check_output,
    make_folder,
    names_a_file,
    remove_leftovers,
    write_bytes,
)
from vidlabel.results.formats.fiftyone import fiftyone_type
from vidlabel.results.formats.kinds import TIMELINE_FORMATS, TimelineFormat
from vidlabel.results.formats.timeline import Timeline, is_timed
from vidlabel.results.timelines import Headers
from vidlabel.text import plural


@dataclass(frozen=True)
class TimelineOutput:
    """Where timelines are written to, in which format.

    Raises:
        UsageError: the format is not known, or the frame rate is not one.
    """

    format_name: str
    """A key of TIMELINE_FORMATS."""
    out: Path
    """The file; of a format of one video a file, or else a folder for the files of any number."""
    fps: float | None = None
    """Frame rate of all videos; None takes that of each video's header."""

    def __post_init__(self) -> None:
        if self.format_name not in TIMELINE_FORMATS:
            known = ", ".join(TIMELINE_FORMATS)
            raise UsageError(f"--sidecar {self.format_name}: unknown format; use {known}")
        if self.fps is not None and not 0 < self.fps <= 1000:
            raise UsageError(f"--fps must be over 0 and at most 1000, got {self.fps:g}")

    @property
    def fmt(self) -> TimelineFormat:
        """The format."""
        return TIMELINE_FORMATS[self.format_name]

    @property
    def is_folder(self) -> bool:
        """Whether `out` is a folder, with a file for each video."""
        if self.fmt.one is None or self.out.suffix.lower() == self.fmt.suffix:
            return False
        return not names_a_file(self.out)

    def check(self, videos: int | None = None) -> None:
        """Refuse what cannot be written, before any work; make the folder. `videos`: how many there
        are, if that is known. Raises OutputError, UsageError."""
        if self.is_folder:
            make_folder(self.out)
            return
        if self.fmt.one and videos is not None and videos != 1:
            raise UsageError(
                f"--out {self.out}: a file in the format {self.format_name} holds one video, but "
                f"there are {videos:,}; name a folder and --format {self.format_name}"
            )
        make_folder(self.out.parent)
        check_output(self.out)

    def write(
        self, timelines: Sequence[Timeline], left_out: Counter[str], headers: Headers
    ) -> list[str]:
        """Write the timelines and return remarks, a line each, on what was written and what not.

        Each file is replaced as a whole; one that would not change stays as it is. A video without
        a segment gets no file of its own, but an earlier one becomes empty.

        Raises:
            UsageError: a frame rate is not known or does not fit, or the videos are not one.
            OutputError: the system refused to write.
        """
        self.check(len(timelines))
        found = _Fitted(self, headers, left_out).timelines(timelines)
        if self.fmt.all:
            _write(self.out, self.fmt.all(found))
            lines = [f"{self.format_name}: {plural(len(found), 'video')} in {self.out}"]
        elif not self.is_folder:
            assert self.fmt.one
            _write(self.out, self.fmt.one(found[0]))
            count = plural(len(found[0].segments), "segment")
            lines = [f"{self.format_name}: {count} in {self.out}"]
        else:
            lines = [f"{self.format_name}: {plural(self._write_each(found), 'file')} in {self.out}"]
        return [*lines, *self._remarks(found, left_out)]

    def _write_each(self, timelines: Sequence[Timeline]) -> int:
        """A file for each video; how many have segments."""
        assert self.fmt.one
        places = _places(timelines, self.out, self.fmt.suffix)
        remove_leftovers(*places)
        written = 0
        for timeline, place in zip(timelines, places, strict=True):
            if timeline.segments:
                make_folder(place.parent)
                written += 1
            if timeline.segments or place.exists():
                _write(place, self.fmt.one(timeline))
        return written

    def _remarks(self, timelines: Sequence[Timeline], left_out: Counter[str]) -> Iterator[str]:
        if total := left_out.total():
            what = "without a label" if self.fmt.all else "left out"
            why = ", ".join(f"{count} {reason}" for reason, count in left_out.most_common())
            yield f"{self.format_name}: {plural(total, 'row')} {what}: {why}"
        rates = sorted({f"{each.fps:.6g}" for each in timelines if each.fps})
        if rates and self.fmt.frame_rate in ("always", "for segments"):
            told = f"{rates[0]} fps" if len(rates) == 1 else "each video's mean rate"
            yield f"{self.format_name}: frames are counted at {told}, taken as constant"
        if self.format_name == "fiftyone":
            yield f"fiftyone: import it as fiftyone.types.{fiftyone_type(tuple(timelines))}"


def sidecar(format_name: str, table: Path, folder: Path | None = None) -> TimelineOutput:
    """The output of a format beside a table, or in a folder. Files of single videos lie in a folder
    of their own beside the table, `labels_srt` for `labels.csv`. Raises UsageError."""
    fmt = TIMELINE_FORMATS.get(format_name)
    if fmt and fmt.one:
        out = folder or table.with_name(f"{table.stem}_{format_name}")
    else:
        ending = fmt.suffix if fmt and fmt.named_by_suffix else f".{format_name}.json"
        out = (folder or table.parent) / f"{table.stem}{ending}"
    return TimelineOutput(format_name, out)


class _Fitted:
    """Timelines as a format can hold them; adds to `left_out`."""

    def __init__(self, output: TimelineOutput, headers: Headers, left_out: Counter[str]) -> None:
        self._output, self._headers, self._left_out = output, headers, left_out

    def timelines(self, timelines: Sequence[Timeline]) -> tuple[Timeline, ...]:
        fmt = self._output.fmt
        found = tuple(self._with_rate(self._with_times(each)) for each in timelines)
        unknown = [each for each in found if self._needs_rate(each) and each.fps is None]
        if unknown:
            more = f" and {plural(len(unknown) - 1, 'more video')}" if len(unknown) > 1 else ""
            raise UsageError(
                f"{unknown[0].path}{more}: the frame rate is not known, and {fmt.name} counts "
                "frames; give it by `vidlabel export --fps`"
            )
        lowest, highest = fmt.rates
        for each in found:
            if each.fps is not None and not lowest <= each.fps <= highest:
                raise UsageError(
                    f"{each.path}: has {each.fps:g} frames per second, and {fmt.name} counts "
                    f"{lowest:g} to {highest:g}; give another rate by `vidlabel export --fps`"
                )
        return found

    def _with_times(self, timeline: Timeline) -> Timeline:
        """Without the segments that the format cannot hold."""
        fmt = self._output.fmt
        kept = []
        for segment in timeline.segments:
            if fmt.one and not is_timed(segment):
                self._left_out["of unknown length"] += 1
            elif segment.end_s > fmt.limit_s:
                self._left_out[f"past {fmt.limit_s / 3600:g} h"] += 1
            else:
                kept.append(segment)
        return replace(timeline, segments=tuple(kept))

    def _with_rate(self, timeline: Timeline) -> Timeline:
        """With the frame rate, where it is needed."""
        if self._output.fps is not None:
            return replace(timeline, fps=self._output.fps)
        if not self._needs_rate(timeline) and self._output.fmt.frame_rate != "if known":
            return timeline
        header = self._headers.of(timeline.path)
        return replace(timeline, fps=header.fps if header else None)

    def _needs_rate(self, timeline: Timeline) -> bool:
        when = self._output.fmt.frame_rate
        counted = when == "always" or (when == "for segments" and not timeline.whole)
        return counted and bool(timeline.segments)


def _places(timelines: Sequence[Timeline], folder: Path, suffix: str) -> list[Path]:
    """The file of each video: as its path in the table or, if one is not below the current folder,
    as its place below the folder that holds all of them; with its full name, so that a.mp4 and
    a.avi differ. Names that differ only in case, which some disks do not tell apart, get a hash."""
    paths = [os.path.normpath(each.path) for each in timelines]
    if any(Path(path).is_absolute() or path.startswith("..") for path in paths):
        absolute = [each.absolute for each in timelines]
        root = os.path.commonpath([str(Path(path).parent) for path in absolute])
        paths = [os.path.relpath(path, root) for path in absolute]
    taken: set[str] = set()
    places = []
    for path in paths:
        place = fitting(folder, folder / f"{path}{suffix}")
        if str(place).casefold() in taken:
            digest = hashlib.sha256(path.encode()).hexdigest()[:12]
            place = place.with_name(f"{place.name.removesuffix(suffix)}~{digest}{suffix}")
        taken.add(str(place).casefold())
        places.append(place)
    return places


def _write(path: Path, text: str) -> None:
    data = text.encode()
    try:
        if path.read_bytes() == data:
            return
    except OSError:
        pass
    write_bytes(path, [data])
