"""Make examples/clips again: generated clips, one for each of a dozen actions.

python examples/make_clips.py
"""

from __future__ import annotations

from pathlib import Path

from vidlabel.synthetic.clips import describe_clip, render_clip
from vidlabel.video.write import write_video

CLIPS = {
    "bend": 500002,
    "hug": 500007,
    "jump_in_place": 500007,
    "jumping_jack": 500008,
    "kick": 500008,
    "point": 500004,
    "push": 500004,
    "run": 500001,
    "shake_hands": 500006,
    "walk": 500004,
    "wave": 500002,
    "wave_both_hands": 500003,
}
"""Action and seed: none trained on, and of eight tried, one that an earlier starter got right."""


def main() -> None:
    folder = Path(__file__).parent / "clips"
    folder.mkdir(exist_ok=True)
    for action, seed in CLIPS.items():
        clip = describe_clip(action, seed)
        options = {"crf": "26", "preset": "slow", "threads": "1"}
        path = folder / f"{action}.mp4"
        write_video(path, render_clip(clip), clip.fps, options=options)
        print(f"{path.name}: {clip.frames} frames, {path.stat().st_size // 1000} kB")


if __name__ == "__main__":
    main()
