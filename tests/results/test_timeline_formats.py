"""Timelines in each format, opened by the programs that read it."""

from __future__ import annotations

import csv
import io
import json
import math
from collections import defaultdict
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import av
import pytest

from vidlabel.results.formats.activitynet import activitynet
from vidlabel.results.formats.boris import boris
from vidlabel.results.formats.chapters import chapters
from vidlabel.results.formats.edl import edl
from vidlabel.results.formats.elan import elan
from vidlabel.results.formats.fiftyone import fiftyone, fiftyone_type
from vidlabel.results.formats.label_studio import label_studio
from vidlabel.results.formats.label_track import audacity, segments
from vidlabel.results.formats.subtitles import srt, vtt
from vidlabel.results.formats.timeline import Segment, Timeline, classes_of

FPS = 30000 / 1001
FRAME_S = 1 / FPS

LABELS = [
    "wave", "a --> b", "x & <i>y</i>", "歩く", "יד ביד", "two\nlines", "back\\slash; a=b #1",
    'quote " and, comma', "pipe | bar", "tab\tbed", "emoji 👩‍👩‍👧", "over\u202eride", "=1+1", "NA",
]  # fmt: skip
ODD = Timeline(
    "clips/long & 歩く.mp4",
    tuple(
        Segment(round(1.5 * n + 0.0371, 6), round(1.5 * n + 1.2345, 6), label, 0.5 + n / 100)
        for n, label in enumerate(LABELS)
    ),
    duration_s=30.0,
    fps=FPS,
    model="starter@12345678",
)
"""Labels that a format may stumble over, one after another."""

CROWDED = Timeline(
    "b.mp4",
    (
        Segment(0.0, 4.0, "wave", 0.9),
        Segment(0.0, 2.0, "run", 0.8),
        Segment(1.0, 3.0, "wave", 0.7),
        Segment(2.0, 2.0, "jump", 0.6),
        Segment(5.0, 90_061.5, "walk"),
    ),
    duration_s=90_061.5,
    fps=25.0,
)
"""Segments that overlap, one of no length, one without a confidence, and a time over 24 h."""

NONE = Timeline("bad.mp4", (), status="failed", reason="not_video")
WHOLE = Timeline("a.mp4", (Segment(0.0, 3.0, "hug", 0.75),), True, 3.0, FPS, model="m")
LONG = Timeline(
    "long.mp4", tuple(Segment(0.5 * n, 0.5 * n + 0.4, "walk") for n in range(2500)), fps=25.0
)

Spans = list[tuple[float, float, str]]


def spans(timeline: Timeline) -> Spans:
    return [(each.start_s, each.end_s, each.label) for each in timeline.segments]


def close(found: Spans, wanted: Spans, within_s: float) -> None:
    assert [label for *_, label in found] == [label for *_, label in wanted]
    for (start_s, end_s, _), (true_start_s, true_end_s, _) in zip(found, wanted, strict=True):
        assert start_s == pytest.approx(true_start_s, abs=within_s)
        assert end_s == pytest.approx(true_end_s, abs=within_s)


# --- one file for each video ----------------------------------------------------------------------


def read_captions(text: str, path: Path, suffix: str) -> Spans:
    webvtt = pytest.importorskip("webvtt", reason="needs webvtt-py")
    path = path.with_suffix(suffix)
    path.write_text(text, encoding="utf-8")
    read = webvtt.from_srt(str(path)) if suffix == ".srt" else webvtt.read(str(path))
    return [(seconds(each.start), seconds(each.end), each.text) for each in read.captions]


def seconds(clock: str) -> float:
    hours, minutes, rest = clock.split(":")
    return 3600 * int(hours) + 60 * int(minutes) + float(rest)


def shown(label: str) -> str:
    """As formats of lines show it."""
    return label.replace("\n", "\\x0a").replace("\t", "\\x09").replace("\u202e", "\\u202e")


def test_srt_is_read_by_webvtt_py_and_by_ffmpeg(tmp_path: Path) -> None:
    quoted = str.maketrans("<>", "\u2039\u203a")
    wanted = [(a, b, shown(label).translate(quoted)) for a, b, label in spans(ODD)]
    close(read_captions(srt(ODD), tmp_path / "x", ".srt"), wanted, 0.001)
    with av.open(str(tmp_path / "x.srt")) as container:
        packets = [packet for packet in container.demux() if packet.size]
    assert [bytes(packet).decode() for packet in packets] == [label for *_, label in wanted]
    assert [float(packet.pts * packet.time_base) for packet in packets] == pytest.approx(
        [start for start, *_ in wanted], abs=0.001
    )


def test_vtt_is_read_by_webvtt_py_and_escaped(tmp_path: Path) -> None:
    escaped = [
        (a, b, shown(x).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;"))
        for a, b, x in spans(ODD)
    ]
    close(read_captions(vtt(ODD), tmp_path / "x", ".vtt"), escaped, 0.001)
    assert vtt(NONE) == "WEBVTT\n"


def test_subtitles_keep_overlaps_and_times_over_a_day(tmp_path: Path) -> None:
    for write, suffix in ((srt, ".srt"), (vtt, ".vtt")):
        found = read_captions(write(CROWDED), tmp_path / "x", suffix)
        close(found, spans(CROWDED), 0.001)
        assert all(end > start for start, end, _ in found), "WebVTT wants an end after the start"
    assert "25:01:01,500" in srt(CROWDED)


def test_chapters_are_read_by_ffmpeg(tmp_path: Path) -> None:
    for timeline in (ODD, CROWDED):
        path = tmp_path / "x.ffmeta"
        path.write_text(chapters(timeline), encoding="utf-8")
        with av.open(str(path), format="ffmetadata") as container:
            found = [
                (
                    float(each["start"] * each["time_base"]),
                    float(each["end"] * each["time_base"]),
                    each["metadata"]["title"],
                )
                for each in container.chapters()
            ]
        close(found, [(a, b, shown(label)) for a, b, label in spans(timeline)], 0.001)


@pytest.mark.parametrize("timeline", [ODD, CROWDED, LONG, NONE], ids=lambda each: each.path)
def test_eaf_is_read_by_pympi(timeline: Timeline, tmp_path: Path) -> None:
    pympi = pytest.importorskip("pympi", reason="needs pympi-ling")
    path = tmp_path / "x.eaf"
    path.write_text(elan(timeline), encoding="utf-8")
    read = pympi.Elan.Eaf(str(path))
    found: list[tuple[float, float, str]] = []
    for tier in read.get_tier_names():
        notes = sorted(read.get_annotation_data_for_tier(tier))
        assert all(a[1] <= b[0] for a, b in pairwise(notes)), "no overlaps"
        found += [(start / 1000, end / 1000, label) for start, end, label in notes]
    assert len(list(read.get_tier_names())) == (3 if timeline is CROWDED else 1)
    close(sorted(found), sorted(spans(timeline)), 0.001)
    assert read.media_descriptors[0]["MEDIA_URL"] == f"file://{timeline.absolute}"


def test_eaf_holds_what_xml_cannot() -> None:
    text = elan(Timeline("x\x01.mp4", (Segment(0.0, 1.0, "bell\x07"),)))
    (value,) = ElementTree.fromstring(text).iter("ANNOTATION_VALUE")
    assert value.text == "bell\\x07"


def read_edl(text: str, rate: int) -> list[tuple[float, float, str]]:
    otio = pytest.importorskip("opentimelineio", reason="needs otio-cmx3600-adapter")
    track = otio.adapters.read_from_string(text, "cmx_3600", rate=rate).tracks[0]
    found = []
    for clip in track.find_clips():
        name, length = clip.metadata["cmx_3600"]["comments"][0].split("|M:")[1].rsplit(" |D:")
        begun = round(clip.source_range.start_time.value)
        assert round(clip.range_in_parent().duration.value) <= int(length)
        found.append((begun, begun + int(length), name))
    return found


def test_edl_is_read_by_opentimelineio() -> None:
    wanted = [(a * FPS, b * FPS, shown(x).replace("|", "/")) for a, b, x in spans(ODD)]
    close(read_edl(edl(ODD), 30), wanted, 1.0)
    head = edl(ODD).split("\n")[0]
    assert head == "TITLE: long & \\u6b69\\u304f.mp4"
    assert head.isascii()


def test_an_edl_has_no_two_events_at_a_time() -> None:
    timeline = Timeline("b.mp4", CROWDED.segments[:4], fps=25.0)
    # Resolve takes one marker at a frame: the second of two at once is a frame later.
    assert read_edl(edl(timeline), 25) == [
        (0, 100, "wave"), (1, 51, "run"), (25, 75, "wave"), (50, 51, "jump")
    ]  # fmt: skip
    assert "01:00:01:00 01:00:02:00" in edl(timeline), "cut where the next begins"
    assert len(read_edl(edl(LONG), 25)) == 2500
    assert edl(NONE).startswith("TITLE: bad.mp4\n")


def test_audacity_and_segments_are_plain_tables() -> None:
    lines = audacity(ODD).splitlines()
    found = [(float(a), float(b), label) for a, b, label in (x.split("\t") for x in lines)]
    close(found, [(a, b, shown(label)) for a, b, label in spans(ODD)], 1e-6)
    rows = list(csv.DictReader(io.StringIO(segments(ODD), newline="")))
    exact = [(float(row["start"]), float(row["end"]), row["label"]) for row in rows]
    close(exact, spans(ODD), 0.001)


# --- one file for all videos ----------------------------------------------------------------------

ALL = (ODD, CROWDED, NONE, WHOLE)


def test_activitynet_has_what_its_evaluation_reads() -> None:
    value = json.loads(activitynet(ALL))
    # The checks of ANETdetection in the evaluation code.
    assert {"results", "version", "external_data"} <= value.keys()
    assert {"database", "taxonomy", "version"} <= value.keys()
    for timeline, key in zip(ALL, ("long & 歩く", "b", "bad", "a"), strict=True):
        assert value["database"][key]["subset"] == "validation"
        for found in (value["results"][key], value["database"][key]["annotations"]):
            close([(*each["segment"], each["label"]) for each in found], spans(timeline), 1e-6)
    assert value["results"]["b"][-1]["score"] == 1.0
    assert [each["nodeName"] for each in value["taxonomy"]] == ["Root", *classes_of(ALL)]


def test_activitynet_tells_videos_of_one_name_apart() -> None:
    names = ("a/x.mp4", "b/x.mp4", "b/x.avi", "y.mp4")
    value = json.loads(activitynet(tuple(Timeline(name, ()) for name in names)))
    assert list(value["results"]) == ["a/x.mp4", "b/x.mp4", "b/x.avi", "y"]


def test_label_studio_tasks_have_choices_and_frames() -> None:
    tasks = json.loads(label_studio(ALL))
    assert [len(task.get("predictions", [])) for task in tasks] == [1, 1, 0, 1]
    assert (tasks[2]["data"]["status"], tasks[2]["data"]["reason"]) == ("failed", "not_video")
    found = []
    for region in tasks[0]["predictions"][0]["result"]:
        (frames,) = region["value"]["ranges"]
        (label,) = region["value"]["timelinelabels"]
        found.append(((frames["start"] - 1) / FPS, frames["end"] / FPS, label))
    close(found, spans(ODD), FRAME_S)
    assert tasks[0]["data"]["fps"] == FPS
    assert tasks[0]["data"]["video"].endswith("clips/long%20%26%20%E6%AD%A9%E3%81%8F.mp4")
    (choice,) = tasks[3]["predictions"][0]["result"]
    assert (choice["type"], choice["value"], choice["score"]) == (
        "choices", {"choices": ["hug"]}, 0.75
    )  # fmt: skip


def test_label_studio_accepts_its_tasks() -> None:
    sdk = pytest.importorskip("label_studio_sdk.label_interface", reason="needs label-studio-sdk")
    config = ElementTree.Element("View")
    ElementTree.SubElement(config, "Video", name="video", value="$video", frameRate="$fps")
    for tag, part, name in (
        ("Choices", "Choice", "choice"),
        ("TimelineLabels", "Label", "timeline"),
    ):
        control = ElementTree.SubElement(config, tag, name=name, toName="video")
        for label in classes_of(ALL):
            ElementTree.SubElement(control, part, value=label)
    interface = sdk.LabelInterface(ElementTree.tostring(config, encoding="unicode"))
    for task in json.loads(label_studio(ALL)):
        assert task["data"]["video"]
        for prediction in task.get("predictions", []):
            assert interface.validate_prediction(prediction, return_errors=True) == []


def test_boris_has_paired_states_of_known_behaviours() -> None:
    value = json.loads(boris(ALL, datetime(2026, 1, 2, 3, 4, 5)))
    codes = {each["code"] for each in value["behaviors_conf"].values()}
    assert codes == set(classes_of(ALL))
    assert value["project_date"] == "2026-01-02T03:04:05"
    found = value["observations"]["clips/long & 歩く.mp4"]
    assert found["file"]["1"] == [ODD.absolute]
    close(states(found["events"]), spans(ODD), 0.001)
    crowded = states(value["observations"]["b.mp4"]["events"])
    # A state is on or off: the two that overlap are one, and nothing lasts for no time.
    assert sorted(crowded) == [
        (0.0, 2.0, "run"), (0.0, 4.0, "wave"), (2.0, 2.001, "jump"), (5.0, 90_061.5, "walk")
    ]  # fmt: skip
    assert value["observations"]["bad.mp4"]["description"] == "failed: not_video"


def states(events: list[list[object]]) -> Spans:
    """The states of events, paired as BORIS pairs them (check_state_events_obs)."""
    begun: dict[object, float] = {}
    found = []
    for time_s, subject, code, modifier, comment, frame in events:
        assert (subject, modifier, frame) == ("", "", "NA")
        assert isinstance(comment, str)
        if code in begun:
            found.append((begun.pop(code), time_s, code))
        else:
            begun[code] = time_s
    assert not begun, "unpaired"
    return found


def test_fiftyone_has_detections_or_classifications() -> None:
    value = json.loads(fiftyone(ALL))
    assert fiftyone_type(ALL) == "FiftyOneTemporalDetectionDataset"
    assert list(value) == ["classes", "labels"]
    found = value["labels"][ODD.absolute]
    close([(*each["timestamps"], each["label"]) for each in found], spans(ODD), 1e-6)
    assert value["labels"][NONE.absolute] is None
    assert "confidence" not in value["labels"][CROWDED.absolute][-1]
    whole = (WHOLE, NONE)
    assert fiftyone_type(whole) == "FiftyOneImageClassificationDataset"
    assert json.loads(fiftyone(whole)) == {
        "classes": ["hug"],
        "labels": {WHOLE.absolute: {"label": "hug", "confidence": 0.75}, NONE.absolute: None},
    }


def test_fiftyone_imports_its_labels(make_video, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    importers = pytest.importorskip("fiftyone.utils.data", reason="needs fiftyone")
    video = str(make_video(frames=48, fps=24))
    timeline = Timeline(video, (Segment(0.5, 1.0, "wave", 0.5), Segment(1.0, 1.9, "run")))
    path = tmp_path / "labels.json"
    path.write_text(fiftyone((timeline, NONE)), encoding="utf-8")
    importer = importers.FiftyOneTemporalDetectionDatasetImporter(labels_path=str(path))
    importer.setup()
    found = {each: label for each, _, label, _ in importer}
    supports = [each.support for each in found[video].detections]
    for support, (start_s, end_s, _) in zip(supports, spans(timeline), strict=True):
        assert abs(support[0] - 1 - start_s * 24) <= 1
        assert abs(support[1] - end_s * 24) <= 1
    assert found[NONE.absolute] is None
    path.write_text(fiftyone((WHOLE, NONE)), encoding="utf-8")
    single = importers.FiftyOneImageClassificationDatasetImporter(labels_path=str(path))
    single.setup()
    labels = {each: label for each, _, label in single}
    assert (labels[WHOLE.absolute].label, labels[WHOLE.absolute].confidence) == ("hug", 0.75)


def test_a_label_of_unknown_length_is_left_to_formats_without_times() -> None:
    timeline = Timeline("a.mp4", (Segment(0.0, math.nan, "hug"),), whole=True)
    for text in (fiftyone((timeline,)), label_studio((timeline,))):
        assert '"hug"' in text
        assert "NaN" not in text
    assert "NaN" not in activitynet((timeline,)) + boris((timeline,))


def test_a_hundred_thousand_segments_stay_quick() -> None:
    many = tuple(
        Timeline(
            f"v{n}.mp4", tuple(Segment(m, m + 1.5, "walk", 0.5) for m in range(1000)), fps=25.0
        )
        for n in range(10)
    )
    sizes: dict[str, int] = defaultdict(int)
    for write in (srt, vtt, chapters, edl, elan, audacity, segments):
        for timeline in many:
            sizes[write.__name__] += write(timeline).count("walk")
    assert set(sizes.values()) == {10_000}
