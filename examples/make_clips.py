"""Make examples/clips again: one generated clip of each action that the generator knows.

python examples/make_clips.py
"""

from __future__ import annotations

from pathlib import Path

from vidlabel.synthetic.clips import ACTIONS, describe_clip, render_clip
from vidlabel.video.write import write_video

SEED = 500_000
"""Not trained on, and the same for all: no clip was chosen."""


def main() -> None:
    folder = Path(__file__).parent / "clips"
    folder.mkdir(exist_ok=True)
    for action in ACTIONS:
        clip = describe_clip(action, SEED)
        options = {"crf": "26", "preset": "slow", "threads": "1"}
        path = folder / f"{action}.mp4"
        write_video(path, render_clip(clip), clip.fps, options=options)
        print(f"{path.name}: {clip.frames} frames, {path.stat().st_size // 1000} kB")


if __name__ == "__main__":
    main()
