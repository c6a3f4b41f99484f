"""Sizes and quality of what `vidlabel render` writes.

    python tests/benchmarks/preview_sizes.py [FOLDER] [--clips 6]

Renders the first clips below FOLDER (the example clips without it), each with a caption, as MP4 and
as GIF. Printed for each file: bytes, pictures, seconds that rendering took, and the PSNR in dB
against the frames of the clip, 30 times a second, of the upper part that no caption covers. Run it
on two revisions to compare them.
"""

from __future__ import annotations

import argparse
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from vidlabel.files.find import VIDEO_SUFFIXES
from vidlabel.video.reader import open_video

EXAMPLES = Path(__file__).parent.parent.parent / "examples" / "clips"

WIDTH_PX = 320
"""Width of a preview, unless its clip is narrower."""

BARE = 0.65
"""Share of a picture's height that a caption leaves free."""

PROBES_PER_S = 30

Timed = list[tuple[float, NDArray[np.uint8]]]


def source(path: Path) -> Timed:
    """Times in seconds and pixels of a clip's frames, as wide as its preview."""
    with open_video(str(path)) as video:
        info = video.info()
        share = min(1, WIDTH_PX / info.width_px)
        side_px = round(min(info.width_px, info.height_px) * share)
        return list(video.frames(side_px))


def preview(path: Path) -> Timed:
    """Those of a file that was rendered."""
    with av.open(str(path)) as container:
        return [
            (float(frame.time), frame.to_ndarray(format="rgb24", src_colorspace=frame.colorspace))
            for frame in container.decode(video=0)
        ]


def shown(frames: Timed, times_s: NDArray[np.float64]) -> Iterator[NDArray[np.uint8]]:
    starts = np.array([time_s for time_s, _ in frames]) - 0.006  # a GIF counts in 1/100 s
    for place in np.searchsorted(starts, times_s, side="right"):
        yield frames[max(0, place - 1)][1]


def psnr_db(clip: Timed, seen: Timed) -> float:
    times_s = np.arange(0, clip[-1][0], 1 / PROBES_PER_S)
    rows = round(BARE * len(clip[0][1]))
    errors = [
        np.square(before[:rows].astype(float) - after[:rows, : before.shape[1]]).mean()
        for before, after in zip(shown(clip, times_s), shown(seen, times_s), strict=True)
    ]
    return 10 * math.log10(255**2 / np.mean(errors))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", nargs="?", type=Path, default=EXAMPLES)
    parser.add_argument("--clips", type=int, default=6)
    arguments = parser.parse_args()
    clips = [p for p in sorted(arguments.folder.rglob("*")) if p.suffix in VIDEO_SUFFIXES]
    with tempfile.TemporaryDirectory() as folder:
        labels = Path(folder) / "labels.jsonl"
        rows = (
            f'{{"path": "{clip.absolute()}", "status": "ok", "label": "wave", "confidence": 0.9}}\n'
            for clip in clips
        )
        labels.write_text("".join(rows))
        for clip in clips[: arguments.clips]:
            for suffix in (".mp4", ".gif"):
                out = Path(folder) / f"{clip.stem}{suffix}"
                command = [sys.executable, "-m", "vidlabel", "render", clip.absolute(), "--quiet"]
                began = time.perf_counter()
                subprocess.run([*command, "--labels", labels, "--out", out], check=True)
                took_s = time.perf_counter() - began
                seen = preview(out)
                print(
                    f"{clip.stem + suffix:22} {out.stat().st_size:9} bytes {len(seen):4} pictures "
                    f"{took_s:5.1f} s {psnr_db(source(clip), seen):6.2f} dB"
                )


if __name__ == "__main__":
    main()
