"""Plain tables of the segments of one video.

Audacity imports a label track of lines `start TAB end TAB label`, in seconds
(https://manual.audacityteam.org/man/importing_and_exporting_labels.html). Others read a CSV with
the header `label,start,end`, in seconds. Both keep segments of no length, which are points.
"""

from __future__ import annotations

import csv
import io

from vidlabel.results.formats.timeline import Timeline, one_line


def audacity(timeline: Timeline) -> str:
    """A label track of Audacity."""
    return "".join(
        f"{segment.start_s:.6f}\t{segment.end_s:.6f}\t{one_line(segment.label)}\n"
        for segment in timeline.segments
    )


def segments(timeline: Timeline) -> str:
    """CSV with the columns `label,start,end`."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\r\n")  # RFC 4180; so that a lone \r is quoted too
    rows.writerow(["label", "start", "end"])
    rows.writerows(
        (each.label, f"{each.start_s:.3f}", f"{each.end_s:.3f}") for each in timeline.segments
    )
    return text.getvalue()
