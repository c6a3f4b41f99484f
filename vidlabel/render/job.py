"""One run of `vidlabel render`, from its options to its files."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from vidlabel import console
from vidlabel.device import pick_device
from vidlabel.errors import ExitCode, RunError, UsageError
from vidlabel.files.find import LeftOut, check_found, find_videos
from vidlabel.predict.labeller import Labeller, load_labeller
from vidlabel.render.album import render_album, target_of, without_albums
from vidlabel.render.attention import Attention
from vidlabel.render.clip import Renderer, plan, render_videos
from vidlabel.render.highlights import find_highlights, render_clips
from vidlabel.render.labels import Captions, ModelLabels, TableLabels, read_truth
from vidlabel.render.reel import render_reel
from vidlabel.render.spec import RenderOptions
from vidlabel.render.stream_bars import StreamPanel
from vidlabel.specs import VideoItem


def render(options: RenderOptions) -> ExitCode:
    """Make previews of videos and report what was done.

    Raises:
        VidlabelError: the options are wrong, or nothing can be rendered (any more).
    """
    spec, album = options.spec(), options.album
    left_out = LeftOut()
    items = find_videos(options.inputs, left_out=left_out)
    check_found(items)
    if options.highlights:
        return _highlights(items, options, left_out)
    if album is not None:
        target = target_of(album, options)
        items = without_albums(items, target)
    else:
        files = plan(items, options)
        items = [*files]
    told = left_out.lines()
    if not items:
        named = ", ".join(options.inputs)
        why = "; ".join([f"no videos in {named}, other than in --out {options.out}", *told])
        raise RunError(why)
    _tell(told, options)
    captions, labeller = _captions(items, options) if options.captioned else (None, None)
    if album is not None:
        assert captions is not None  # albums always have them
        return render_album(items, album, target, captions, options)
    computes = spec.flow or options.attention
    device = pick_device(options.device) if computes else torch.device("cpu")
    checkpoint = labeller.checkpoint if labeller else None
    renderer = Renderer(
        spec, device, captions,
        StreamPanel(checkpoint, device) if checkpoint and options.panel else None,
        Attention(checkpoint, device) if checkpoint and options.attention else None,
    )  # fmt: skip
    return render_videos(files, renderer, options)


def _highlights(items: Sequence[VideoItem], options: RenderOptions, left_out: LeftOut) -> ExitCode:
    """Cut out the segments of some classes."""
    labels, captions = _table(items, options)
    found = find_highlights(items, labels, captions, options)
    _tell(left_out.lines(), options)
    return render_reel(found, options) if options.reel else render_clips(found, options)


def _tell(lines: Sequence[str], options: RenderOptions) -> None:
    for line in () if options.quiet else lines:
        console.note(line)


def _table(items: Sequence[VideoItem], options: RenderOptions) -> tuple[TableLabels, Captions]:
    """The table of --labels, and the captions from it."""
    assert options.labels is not None
    table = TableLabels(options.labels)
    if not table.knows(items):
        raise UsageError(f"--labels {options.labels}: has none of these videos")
    truth = read_truth(options.truth, items) if options.truth else None
    return table, Captions(table, truth, 1 if options.top_k is None else options.top_k)


def _captions(
    items: Sequence[VideoItem], options: RenderOptions
) -> tuple[Captions, Labeller | None]:
    """The captions of the videos, and the model behind them, if it is one."""
    if options.labels:
        return _table(items, options)[1], None
    truth = read_truth(options.truth, items) if options.truth else None
    top_k = 1 if options.top_k is None else options.top_k
    labeller = load_labeller(
        options.model or "starter", options.device, stream=options.stream, classes=options.classes
    )
    labels = ModelLabels(labeller, top_k, options.classes)
    if labels.told and not options.quiet:
        console.note(labels.told)
    return Captions(labels, truth, top_k), labeller
