"""What each protocol reports of a model that has only learned its training clips by heart.

    python tests/benchmarks/hmdb51_tree.py OUT && python tests/benchmarks/memorise.py OUT

The model keeps the colours of every training clip and gives a clip the class of the one that is
most like it: right on all that it has seen, at chance on all else, for in the tree that
hmdb51_tree.py makes a clip's picture says nothing of its class. It goes through the same
evaluation as any model; the report is the tool's own.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vidlabel import console
from vidlabel.datasets.open import open_dataset
from vidlabel.datasets.protocols import Fold, make_folds
from vidlabel.datasets.samples import Sample
from vidlabel.decode.pool import DecoderPool
from vidlabel.decode.worker import DecodeJob
from vidlabel.evaluate.evaluate import evaluate
from vidlabel.evaluate.leak_check import leak_lines
from vidlabel.evaluate.report import summarise
from vidlabel.machine import worker_count
from vidlabel.models.checkpoint import Checkpoint, Header
from vidlabel.predict.labeller import Labeller, PredictSpec
from vidlabel.specs import ClipSpec, ModelSpec, VideoItem

CLIP = ClipSpec(frames=4, size_px=32, resize_px=32)


class Memory(nn.Module):
    """The class of the nearest clip that was kept; has the parts that `Runner` uses.

    Args:
        clips: (N, T, 3, S, S) uint8, to keep.
        labels: (N,) class indices.
        classes: how many there are.
    """

    any_time_steps = fixed_time_steps = False
    framewise = True

    def __init__(self, clips: Tensor, labels: Tensor, classes: int) -> None:
        super().__init__()
        self.trunk = nn.Sequential(nn.Identity())
        self.register_buffer("kept", self.pool(self.frame_features(clips)))
        self.register_buffer("answers", F.one_hot(labels, classes).float())

    def frame_features(self, clips: Tensor) -> Tensor:
        fields = F.adaptive_avg_pool2d(clips.flatten(0, 1).float(), 4)
        return fields.reshape(*clips.shape[:2], -1)

    def pool(self, frames: Tensor) -> Tensor:
        return frames.flatten(1)

    def classify(self, features: Tensor) -> Tensor:
        nearest = torch.cdist(features.float(), self.kept).argmin(1)
        return 10 * self.answers[nearest]


def memorised(samples: Sequence[Sample], classes: tuple[str, ...]) -> Labeller:
    """A labeller that has learned the samples by heart, and says so."""
    items = [VideoItem(i, sample.path) for i, sample in enumerate(samples)]
    clips = torch.zeros((len(samples), *CLIP.shape), dtype=torch.uint8)
    with DecoderPool(DecodeJob(CLIP), worker_count(None)) as pool:
        for done in pool.run(items):
            assert done.data is not None, done.error
            clips[done.item.index] = torch.from_numpy(done.data.clips[0].copy())
    labels = torch.tensor([classes.index(sample.label) for sample in samples])
    header = Header(
        ModelSpec(classes=len(classes)),
        CLIP,
        classes,
        trained_on=tuple(sorted({sample.id for sample in samples})),
        sources=tuple(sorted({sample.group for sample in samples})),
    )
    network: Any = Memory(clips, labels, len(classes))
    return Labeller(Checkpoint("memory", header, network, "0" * 64), "cpu", "fp32")


def report(fold: Fold, classes: tuple[str, ...]) -> dict[str, Any]:
    """The figures of a model that has memorised the fold's training clips, on its test clips."""
    labeller = memorised(fold.train, classes)
    return summarise(evaluate(labeller, fold.test, PredictSpec(), name=fold.name))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("tree", type=Path)
    dataset = open_dataset(f"hmdb51:{parser.parse_args().tree}", Path())
    for protocol in ("official", "leaky-123"):
        fold = make_folds(dataset, protocol)[0]
        for line in leak_lines([fold], protocol):
            console.note(line)
        console.evaluation(report(fold, dataset.classes), [])


if __name__ == "__main__":
    main()
