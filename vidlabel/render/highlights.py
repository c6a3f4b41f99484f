"""The segments of some classes, cut out of their videos, a file for each."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import count
from pathlib import Path
from threading import Event

from vidlabel import console
from vidlabel.errors import ExitCode, PlaceRefused, RunError, UsageError, VideoError
from vidlabel.files.find import identity
from vidlabel.files.lock import holding
from vidlabel.files.metadata_tag import read_tag, write_tag
from vidlabel.files.names import fitting
from vidlabel.files.write import make_folder, remove_leftovers, replacing
from vidlabel.machine import worker_count
from vidlabel.render.captions import Line, name
from vidlabel.render.clip import hash_of, plan
from vidlabel.render.labels import Captions, TableLabels
from vidlabel.render.parallel import in_threads, until
from vidlabel.render.spec import RenderOptions, RenderSpec
from vidlabel.render.stretch import Stretch, StretchFrames, drawn
from vidlabel.render.timeline import Segment, Timeline
from vidlabel.render.timeline_strip import Span
from vidlabel.render.timeline_view import TimelineView
from vidlabel.specs import UNCERTAIN, VideoItem
from vidlabel.text import first_few, plural, safe
from vidlabel.video.reader import Video, open_video
from vidlabel.video.write import FORMATS, write_preview

TOGETHER = 8
"""Most segments of a video that are cut while it is open."""


@dataclass(frozen=True, eq=False)
class Highlight:
    """A segment to cut out of a video; like no other, so that it is quickly looked up."""

    item: VideoItem
    segment: Segment
    timeline: Timeline
    """All segments of the video, for the captions."""

    def stretch(self, spec: RenderSpec, padding_s: float) -> Stretch:
        """What to show."""
        start_s = max(0.0, self.segment.start_s - padding_s)
        end_s = min(self.segment.end_s + padding_s, start_s + spec.timeline_s)
        return Stretch(start_s, end_s, spec.speed or 1.0)

    def view(
        self, size: tuple[int, int], span: Span, below: bool | None = None,
        lines: tuple[Line, ...] = (),
    ) -> TimelineView:  # fmt: skip
        """Draws its captions, and no strip."""
        return TimelineView(self.timeline, size, span, below, lines, with_strip=False)

    def key(self, spec: RenderSpec, padding_s: float) -> str:
        """A hash of everything that its pictures depend on."""
        stretch = self.stretch(spec, padding_s)
        shown = self.timeline.within(stretch.start_s, stretch.end_s)
        return hash_of("highlight", spec, stretch, identity(self.item.path), shown)


def wanted_labels(asked: Sequence[str], labels: TableLabels, table: Path) -> list[str]:
    """The labels that --highlights names, as the table has them.

    Raises:
        UsageError: the table has no such label; with the nearest one that it has.
    """
    known = [*labels.classes, UNCERTAIN]
    by_name = {name(label).strip().casefold(): label for label in reversed(known)}
    found: list[str] = []
    for text in asked:
        for each in [text] if text in known else text.split(","):
            plain = name(each).strip().casefold()
            label = each if each in known else by_name.get(plain)
            if label is None:
                close = get_close_matches(plain, by_name, 1)
                hint = (
                    f"did you mean {by_name[close[0]]}?" if close else f"it has {first_few(known)}"
                )
                raise UsageError(
                    f"--highlights {safe(each.strip())}: --labels {table} has no such label; {hint}"
                )
            found.append(label)
    return [*dict.fromkeys(found)]


def find_highlights(
    items: Sequence[VideoItem], labels: TableLabels, captions: Captions, options: RenderOptions
) -> list[Highlight]:
    """The segments to cut, in the order of the videos and then of time.

    Raises:
        UsageError: a label is not known.
        RunError: none of the videos has such a segment.
    """
    assert options.labels is not None
    wanted = wanted_labels(options.highlights, labels, options.labels)
    found = []
    for item in items:
        timeline = captions.timeline(item, labels.whole(item))
        some = (each for each in timeline.segments if each.label in wanted)
        # The same row twice is one segment.
        once = {(each.start_s, each.end_s, each.label): each for each in some}
        found += [Highlight(item, each, timeline) for each in once.values()]
    if not found:
        named = " or ".join(wanted)
        raise RunError(f"--highlights: none of the videos has a segment labelled {named}")
    return found


# --- a file for each ------------------------------------------------------------------------------


def plan_clips(highlights: Sequence[Highlight], options: RenderOptions) -> dict[Highlight, Path]:
    """The file to make of each segment: beside where the preview of its video would be, called
    VIDEO.START-END.LABEL with the times in seconds. Raises UsageError."""
    suffix = options.out.suffix.lower().removeprefix(".")
    if suffix in FORMATS and not options.out.is_dir():
        if len(highlights) > 1:
            raise UsageError(
                f"--out {options.out}: one file, but {len(highlights)} segments; name a folder, or "
                "join them by --reel"
            )
        plan([highlights[0].item], options)  # checks it
        return {highlights[0]: options.out}
    places = plan([*dict.fromkeys(each.item for each in highlights)], options)
    files: dict[Highlight, Path] = {}
    taken: set[Path] = set()
    for each in highlights:
        if each.item not in places:  # an output of an earlier run
            continue
        place = places[each.item]
        last_s = max(x.start_s for x in each.timeline.segments)
        digits = len(f"{last_s:.3f}")  # so that names are in the order of time
        start, end = each.segment.start_s, each.segment.end_s
        until_s = "end" if math.isinf(end) else f"{end:0{digits}.3f}"
        label = safe(each.segment.label).replace("/", "_")
        stem = f"{place.stem}.{start:0{digits}.3f}-{until_s}.{label}"
        names = (f"{stem}{f'-{n}' if n > 1 else ''}{place.suffix}" for n in count(1))
        files[each] = next(p for p in map(place.with_name, names) if p not in taken)
        taken.add(files[each])
    return files


def render_clips(highlights: Sequence[Highlight], options: RenderOptions) -> ExitCode:
    """Make a file of each segment, and report it. A segment that cannot be read, and a file that
    cannot be at its place, cost one line.

    Raises:
        UsageError: --out does not fit.
        OutputError: no file can be written, or another process writes there.
    """
    spec, padding_s, out = options.spec(), options.padding or 0.0, options.out
    files = plan_clips(highlights, options)
    single = [*files.values()] == [out]
    make_folder(out.parent if single else out)
    with holding(out if single else out / "render"):
        if not single:
            files = {each: fitting(out, path) for each, path in files.items()}
        pending = {
            each: path
            for each, path in files.items()
            if options.restart or read_tag(path) != each.key(spec, padding_s)
        }

        def write(group: list[Highlight], stop: Event) -> list[tuple[str, str]]:
            return [*_write_group(group, pending, spec, padding_s, stop)]

        tally: Counter[str] = Counter()
        kept = len(files) - len(pending)
        groups = _groups(pending)
        with (
            console.Progress(len(files), options.quiet, kept, "cutting") as progress,
            closing(in_threads(write, groups, worker_count(options.workers))) as outcomes,
        ):
            for kind, message in (each for outcome in outcomes for each in outcome):
                if message:
                    (console.error if kind == "failed" else console.warn)(message)
                tally[kind] += 1
                progress.advance(failed=kind == "failed")
    if not options.quiet:
        made = len(pending) - tally["failed"]
        parts = [f"{made} of {plural(len(files), 'segment')} cut to {out}"]
        parts += [f"{tally['failed']} failed"] if tally["failed"] else []
        parts += [f"{kept} kept unchanged (--restart makes them again)"] if kept else []
        console.note(", ".join(parts))
    return ExitCode.SOME_FAILED if tally["failed"] else ExitCode.OK


def _groups(highlights: Iterable[Highlight]) -> Iterator[list[Highlight]]:
    """Segments of one video each, so that it is opened once for a few of them."""
    group: list[Highlight] = []
    for each in highlights:
        if group and (each.item != group[0].item or len(group) == TOGETHER):
            yield group
            group = []
        group.append(each)
    if group:
        yield group


def _write_group(
    group: Sequence[Highlight], files: dict[Highlight, Path], spec: RenderSpec, padding_s: float,
    stop: Event,
) -> Iterator[tuple[str, str]]:  # fmt: skip
    """Cut segments out of one video: `failed` or "", and a message or "", for each."""
    done = 0
    try:
        item = group[0].item
        if item.problem is not None:
            raise VideoError(item.problem, item.detail)
        with open_video(item.path) as video:
            for each in until(stop, group):
                yield _write_clip(each, files[each], spec, padding_s, video, stop)
                done += 1
    except VideoError as error:
        yield "failed", error.detail
        yield from [("failed", "")] * (len(group) - done - 1)


def _write_clip(
    highlight: Highlight, path: Path, spec: RenderSpec, padding_s: float, video: Video, stop: Event
) -> tuple[str, str]:
    item = highlight.item
    try:
        stretch = highlight.stretch(spec, padding_s)
        frames = StretchFrames(item, spec.width_px, spec, stretch, video)
        height, width = frames.pairs[0][0].shape[:2]
        view = highlight.view((width, height), frames.span)
        pictures, sample = drawn(frames, view.onto, stop)
        make_folder(path.parent)
        remove_leftovers(path)
        with replacing(path) as part:
            write_preview(part, pictures, frames.fps, sample, spec.quality)
            write_tag(part, highlight.key(spec, padding_s))
    except VideoError as error:
        return "failed", error.detail
    except PlaceRefused as error:
        return "failed", f"{item.path}: {error}"
    return "", f"{item.path}: {frames.damaged}" if frames.damaged else ""
