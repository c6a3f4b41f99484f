"""Annotations for ELAN (.eaf), version 3.0 of its format.

Schema: https://www.mpi.nl/tools/elan/EAFv3.0.xsd. A tier holds no two annotations at a time, so
those that overlap go to further tiers, `labels 2` and so on. The date is left at 1970, so that the
same labels always give the same file.
"""

from __future__ import annotations

import mimetypes
import re
from xml.etree import ElementTree as xml

from vidlabel.results.formats.timeline import Segment, Timeline, span_ms

_XSI = "http://www.w3.org/2001/XMLSchema-instance"
_SCHEMA = "http://www.mpi.nl/tools/elan/EAFv3.0.xsd"
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def elan(timeline: Timeline) -> str:
    """An annotation document, times in milliseconds."""
    xml.register_namespace("xsi", _XSI)
    document = xml.Element(
        "ANNOTATION_DOCUMENT",
        {
            "AUTHOR": "vidlabel", "DATE": "1970-01-01T00:00:00+00:00", "FORMAT": "3.0",
            "VERSION": "3.0", f"{{{_XSI}}}noNamespaceSchemaLocation": _SCHEMA,
        },
    )  # fmt: skip
    header = xml.SubElement(document, "HEADER", MEDIA_FILE="", TIME_UNITS="milliseconds")
    name = _xml_text(timeline.name)
    xml.SubElement(
        header, "MEDIA_DESCRIPTOR", MEDIA_URL=f"file://{_xml_text(timeline.absolute)}",
        MIME_TYPE=mimetypes.guess_type(name)[0] or "unknown", RELATIVE_MEDIA_URL=f"./{name}",
    )  # fmt: skip
    last = xml.SubElement(header, "PROPERTY", NAME="lastUsedAnnotationId")
    last.text = str(len(timeline.segments))
    order = xml.SubElement(document, "TIME_ORDER")
    slots, notes = 0, 0
    for rank, segments in enumerate(_tiers(timeline) or [[]], 1):
        tier = xml.SubElement(
            document, "TIER", LINGUISTIC_TYPE_REF="label",
            TIER_ID="labels" if rank == 1 else f"labels {rank}",
        )  # fmt: skip
        for segment in segments:
            for ms in span_ms(segment):
                slots += 1
                xml.SubElement(order, "TIME_SLOT", TIME_SLOT_ID=f"ts{slots}", TIME_VALUE=str(ms))
            notes += 1
            note = xml.SubElement(
                xml.SubElement(tier, "ANNOTATION"), "ALIGNABLE_ANNOTATION",
                ANNOTATION_ID=f"a{notes}", TIME_SLOT_REF1=f"ts{slots - 1}",
                TIME_SLOT_REF2=f"ts{slots}",
            )  # fmt: skip
            xml.SubElement(note, "ANNOTATION_VALUE").text = _xml_text(segment.label)
    xml.SubElement(
        document, "LINGUISTIC_TYPE", GRAPHIC_REFERENCES="false", LINGUISTIC_TYPE_ID="label",
        TIME_ALIGNABLE="true",
    )  # fmt: skip
    xml.indent(document, " ")
    body = xml.tostring(document, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{body}\n'


def _tiers(timeline: Timeline) -> list[list[Segment]]:
    """The segments in as few lists as have none that overlap."""
    tiers: list[list[Segment]] = []
    ends: list[int] = []
    for segment in timeline.segments:
        start, end = span_ms(segment)
        free = next((rank for rank, before in enumerate(ends) if before <= start), None)
        if free is None:
            tiers.append([])
            ends.append(0)
            free = len(tiers) - 1
        tiers[free].append(segment)
        ends[free] = end
    return tiers


def _xml_text(text: str) -> str:
    """Text without the characters that XML has no way to write, as `\\xNN`."""
    return _NOT_XML.sub(lambda found: f"\\x{ord(found[0]):02x}", text)
