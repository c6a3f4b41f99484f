"""`vidlabel predict --model hf:...` against the loop that Transformers documents, in one run.

    python tests/benchmarks/transformers_pipeline.py [FOLDER] [--model DIR] [--clips N]

The loop decodes each video with PyAV, takes the frames that vidlabel takes, gives them to the
checkpoint's processor and the model, as the documentation of each model does; in float32, its
default, and under autocast to bfloat16. Transformers' own video pipeline takes part where it runs:
it needs torchcodec, and takes the first frames only. All start from loaded models and take turns;
the medians of the rounds and their ratios are printed, and how far the labels agree.

Without --model, a VideoMAE of random weights is made: `base` (86 million parameters) or, with
--size tiny, one whose time is that of decoding. Without FOLDER, clips of 3 s are generated.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext
from importlib.util import find_spec
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
import transformers
from transformers import AutoImageProcessor, AutoModelForVideoClassification, AutoVideoProcessor

from vidlabel import load_labeller
from vidlabel.device import has_bf16
from vidlabel.files.find import find_videos
from vidlabel.synthetic.clips import ACTIONS, describe_clip, render_clip
from vidlabel.video.write import write_video

SIZES: dict[str, dict[str, int]] = {
    "base": {},
    "small": {"hidden_size": 384, "num_attention_heads": 6, "intermediate_size": 1536},
    "tiny": {
        "hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 96
    },
}  # fmt: skip


def make_model(folder: Path, size: str) -> Path:
    config = transformers.VideoMAEConfig(num_labels=20, **SIZES[size])
    transformers.VideoMAEForVideoClassification(config).save_pretrained(folder)
    transformers.VideoMAEImageProcessor().save_pretrained(folder)
    return folder


def make_clips(folder: Path, count: int) -> list[str]:
    paths = []
    for number in range(count):
        clip = describe_clip(ACTIONS[number % len(ACTIONS)], 900 + number)
        frames = [np.kron(f, np.ones((2, 2, 1), np.uint8)) for f in render_clip(clip)]
        paths.append(str(folder / f"{number:04}.mp4"))
        write_video(Path(paths[-1]), islice(cycle(frames), 75), 25)
    return paths


class Loop:
    """Decode with PyAV, process, and run the model, one video after another."""

    def __init__(self, folder: Path, device: str) -> None:
        video = (folder / "video_preprocessor_config.json").exists()
        auto = AutoVideoProcessor if video else AutoImageProcessor
        self.processor: Any = auto.from_pretrained(folder)
        self.nested = not video
        self.model = AutoModelForVideoClassification.from_pretrained(folder).to(device).eval()
        config = self.model.config
        self.frames = getattr(config, "num_frames", None) or config.frames_per_clip
        self.device = device

    @torch.inference_mode()
    def labels(self, paths: list[str], bf16: bool) -> list[str]:
        found = []
        for path in paths:
            with av.open(path) as container:
                frames = [each.to_ndarray(format="rgb24") for each in container.decode(video=0)]
            places = ((np.arange(self.frames) + 0.5) * len(frames) / self.frames).astype(int)
            clip: Any = [frames[place] for place in places]
            inputs = self.processor([clip] if self.nested else np.stack(clip), return_tensors="pt")
            reduced = torch.autocast(self.device, torch.bfloat16) if bf16 else nullcontext()
            with reduced:
                logits = self.model(**inputs.to(self.device)).logits
            found.append(self.model.config.id2label[int(logits.argmax())])
        return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", nargs="?")
    parser.add_argument("--model", type=Path)
    parser.add_argument("--size", choices=SIZES, default="base")
    parser.add_argument("--clips", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    asked = parser.parse_args()
    transformers.utils.logging.disable_progress_bar()
    with tempfile.TemporaryDirectory() as temporary:
        made = Path(temporary)
        model = asked.model or make_model(made / "model", asked.size)
        if asked.folder:
            paths = [item.path for item in find_videos(asked.folder)]
        else:
            (made / "clips").mkdir()
            paths = make_clips(made / "clips", asked.clips)
        labeller, loop = load_labeller(f"hf:{model}", asked.device), Loop(model, asked.device)
        ways: dict[str, Callable[[], list[str]]] = {
            f"vidlabel ({labeller.device})": lambda: [
                row.top[0][0] if row.top else "" for row in labeller.predict(paths)
            ],
            "loop, fp32": lambda: loop.labels(paths, False),
        }
        if has_bf16(torch.device(asked.device)):
            ways["loop, bf16"] = lambda: loop.labels(paths, True)
        if find_spec("torchcodec"):
            pipe: Any = transformers.pipeline(
                "video-classification", str(model), device=asked.device
            )
            ways["pipeline"] = lambda: [pipe(path, top_k=1)[0]["label"] for path in paths]
        compare(ways, len(paths), asked.rounds)


def compare(ways: dict[str, Callable[[], list[str]]], videos: int, rounds: int) -> None:
    """Run all ways in turn, and print their rates and ratios to the first."""
    taken: dict[str, list[float]] = {name: [] for name in ways}
    labels: dict[str, list[str]] = {}
    for _ in range(rounds):
        for name, run in ways.items():
            started = time.perf_counter()
            labels[name] = run()
            taken[name].append(time.perf_counter() - started)
    ours = next(iter(ways))
    for name, seconds in taken.items():
        ratio = statistics.median(b / a for a, b in zip(taken[ours], seconds, strict=True))
        same = sum(a == b for a, b in zip(labels[ours], labels[name], strict=True))
        rate = videos / statistics.median(seconds)
        print(f"{name:24} {rate:7.2f} videos/s  x {ratio:5.2f}  {same}/{videos} labels agree")


if __name__ == "__main__":
    main()
