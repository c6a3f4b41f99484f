"""The batch engine: decode ahead, fill batches from many videos, infer, average the views."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import get_args

import numpy as np
import torch
from numpy.typing import NDArray

from vidlabel.clips.flow_stacks import run_steps, with_flow
from vidlabel.clips.read import RUN, ClipData, cut
from vidlabel.clips.sample import view_count
from vidlabel.decode.pool import Decoded, DecoderPool, StopAsked, never, worker_count
from vidlabel.decode.worker import DecodeJob
from vidlabel.device import beside_decoders, pick_device
from vidlabel.errors import CheckpointError, Reason, UsageError
from vidlabel.models.checkpoint import Checkpoint, load_checkpoint
from vidlabel.models.fusion import StreamName, take_stream
from vidlabel.predict.clip_batch import Batch, Labelled, Parts
from vidlabel.predict.runner import Output, Runner
from vidlabel.results.topk import UNCERTAIN, ranked, shown
from vidlabel.specs import ClipSpec, Limits, Precision, Prediction, Status, Strategy, VideoItem

GPU_BATCH, CPU_BATCH = 64, 8
"""Clips per batch where nothing else is said; on a GPU too, 8 for networks that see whole clips:
one of theirs is as much work as ten of others'."""

__all__ = ["UNCERTAIN", "Labeller", "PredictSpec", "load_labeller"]


@dataclass(frozen=True)
class PredictSpec:
    """How to label. `batch_size` is in clips; None means one that suits the device.

    `strategy` says what a model that classifies each step by itself looks at: `clip`, as many
    moments as its clips have; `one-frame`, the middle of the video alone; `whole-video`, every
    frame, and every stack of flow. The probabilities of all of them are averaged.
    """

    top_k: int = 5
    views: int = 1
    batch_size: int | None = None
    workers: int | None = None
    min_confidence: float = 0.0
    limits: Limits = field(default_factory=Limits)
    strategy: Strategy = "clip"

    def __post_init__(self) -> None:
        for name, high in (("top_k", 1000), ("views", 100), ("batch_size", 4096), ("workers", 256)):
            value = getattr(self, name)
            if value is not None and not 1 <= value <= high:
                flag = "--" + name.replace("_", "-")
                raise UsageError(f"{flag} must be 1 to {high}, got {value}")
        if not 0 <= self.min_confidence <= 1:
            raise UsageError(f"--min-confidence must be 0 to 1, got {self.min_confidence}")
        if self.strategy not in get_args(Strategy):
            known = ", ".join(get_args(Strategy))
            raise UsageError(f"--strategy must be one of {known}, got {self.strategy}")
        if self.strategy == "whole-video" and self.views > 1:
            raise UsageError("--strategy whole-video looks at all there is; leave out --views")


def load_labeller(
    model: str = "starter",
    device: str = "auto",
    precision: Precision = "auto",
    stream: StreamName | None = None,
) -> Labeller:
    """Load a model, ready to label.

    Args:
        model: a name that `vidlabel models` lists, or the path of a .safetensors checkpoint.
        device: auto, cpu, cuda, cuda:N or mps.
        precision: auto, fp32 or bf16.
        stream: of a two-stream model, use this stream alone.

    Raises:
        UsageError: the model has no streams.
        CheckpointError: the model cannot be loaded, or gives no finite number for a test clip.
        DeviceError: the device is not there.
    """
    checkpoint = load_checkpoint(model)
    if stream is not None:
        checkpoint = take_stream(checkpoint, stream)
    labeller = Labeller(checkpoint, device, precision)
    labeller.self_test()
    return labeller


class Labeller:
    """A model on a device that labels videos. Made by `load_labeller`."""

    def __init__(
        self, checkpoint: Checkpoint, device: str = "auto", precision: Precision = "auto"
    ) -> None:
        self.checkpoint = checkpoint
        self.classes = checkpoint.header.classes
        self._runner = Runner(
            checkpoint.network, checkpoint.header.temperature, pick_device(device), precision
        )

    @property
    def device(self) -> str:
        """Where it computes, and in which precision, for people: `cpu fp32`."""
        return f"{self._runner.device} {self._runner.precision}"

    @property
    def precision(self) -> str:
        """`fp32` or `bf16`."""
        return self._runner.precision

    def self_test(self) -> None:
        """Refuse a model whose weights are finite but overflow. Raises CheckpointError."""
        try:
            self._runner.self_test(self.checkpoint.header.clip.shape)
        except CheckpointError as error:
            raise CheckpointError(f"{self.checkpoint.id}: {error}") from error

    def warnings(self) -> list[str]:
        """What the user should know of how it went; one line each."""
        if self._runner.fell_back:
            return [f"{self._runner.device} had no memory for a single clip; it went to the CPU"]
        if self._runner.clips_at_once is not None:
            most = self._runner.clips_at_once
            return [f"{self._runner.device} ran out of memory; batches were cut to {most} clips"]
        return []

    def predict(
        self,
        videos: Iterable[str | VideoItem],
        spec: PredictSpec | None = None,
        *,
        ordered: bool = True,
        stop: StopAsked = never,
    ) -> Iterator[Prediction]:
        """Label videos; one prediction for each, also for those that cannot be read.

        Args:
            videos: paths, or the items that `vidlabel.files.find_videos` gives.
            spec: how to label.
            ordered: give predictions in the order of the videos; otherwise as soon as they are
                ready. Either way labelling goes on meanwhile, and memory stays bounded.
            stop: asked several times a second; when it says True, no more videos are begun, and
                the predictions end with those that are ready or in the batch in hand.

        Raises:
            RunError: nothing can run any more. No error of a single video is ever raised.
        """
        spec = spec or PredictSpec()
        self._clip(spec)  # refuses before anything is begun
        items = (v if isinstance(v, VideoItem) else VideoItem(i, v) for i, v in enumerate(videos))
        predictions = ((i, p) for i, p, _ in self._predict(items, spec, stop))
        return _in_order(predictions) if ordered else (p for _, p in predictions)

    def predict_views(
        self,
        videos: Iterable[VideoItem],
        spec: PredictSpec | None = None,
        *,
        stop: StopAsked = never,
    ) -> Iterator[tuple[int, Prediction, NDArray[np.float32] | None]]:
        """As `predict`, unordered: (index of the item, prediction, probabilities of each view).

        The probabilities are (V, K) in the order of `classes`, None for a video that failed; the
        prediction is made of their mean.
        """
        return self._predict(videos, spec or PredictSpec(), stop)

    def embed(
        self, videos: Iterable[str | VideoItem], spec: PredictSpec | None = None
    ) -> Iterator[tuple[str, NDArray[np.float32]]]:
        """(path, embedding) of each video that can be read; the RNN's pooled feature, (F,)."""
        for prediction in self.predict(videos, spec):
            if prediction.ok:
                yield prediction.path, np.array(prediction.embedding, dtype=np.float32)

    def _predict(
        self, items: Iterable[VideoItem], spec: PredictSpec, stop: StopAsked
    ) -> Iterator[tuple[int, Prediction, NDArray[np.float32] | None]]:
        clip = self._clip(spec)
        job = DecodeJob(clip, spec.views, spec.limits, every=spec.strategy == "whole-video")
        on_gpu = self._runner.device.type != "cpu"
        most = RUN if job.every else view_count(spec.views)
        usual = GPU_BATCH if on_gpu and not self.checkpoint.network.fixed_steps else CPU_BATCH
        batch = Batch(spec.batch_size or usual, most, clip.shape)
        waiting: list[list[Labelled]] = []  # batches submitted and not yet collected
        whole: dict[int, Parts] = {}  # videos of which some parts are still to come
        self._runner.forget()  # those of predictions that nobody took to their end
        workers = worker_count(spec.workers)
        with DecoderPool(job, workers) as pool, beside_decoders(self._runner.device):
            for decoded in pool.run(items, stop):
                if decoded.data is None and decoded.item.part == 0:
                    yield decoded.item.index, self._failed(decoded), None
                    continue
                if decoded.data is None:
                    yield from self._rows_of(whole, decoded.item, _lost(decoded), None, spec)
                    continue
                if decoded.data.parts > 1 and decoded.item.part == 0:
                    whole[decoded.item.index] = Parts(decoded.data.parts)
                    for part in range(1, decoded.data.parts):
                        pool.add(replace(decoded.item, part=part))
                batch.add(decoded, self._clips(decoded.data, job))
                if batch.full:
                    waiting.append(batch.submit(self._runner))
                    # On a GPU one batch computes while the next is filled.
                    while len(waiting) > on_gpu:
                        yield from self._rows(waiting.pop(0), whole, spec)
            if batch.members:
                waiting.append(batch.submit(self._runner))
            for members in waiting:
                yield from self._rows(members, whole, spec)

    def _clip(self, spec: PredictSpec) -> ClipSpec:
        """What a clip is, with the strategy.

        Raises:
            UsageError: the model needs the steps of its clips.
        """
        clip = self.checkpoint.header.clip
        if spec.strategy == "clip":
            return clip
        if not self.checkpoint.network.any_steps:
            raise UsageError(
                f"--strategy {spec.strategy}: {self.checkpoint.id} reads whole clips; only models "
                "that classify each frame or stack of flow by itself can do that"
            )
        if clip.input == "motion" or clip.fps:
            raise UsageError(
                f"--strategy {spec.strategy}: {self.checkpoint.id} has been trained with --input "
                "motion or --fps, which it is not for"
            )
        return replace(clip, frames=1)

    def _clips(self, data: ClipData, job: DecodeJob) -> NDArray[np.uint8]:
        """(V, T, C, S, S) of what a decoder has given."""
        clip, device = job.clip, self._runner.device
        if job.every:
            steps = run_steps(torch.from_numpy(data.clips[0]), clip, device)
            return cut(steps[:, None].numpy(), clip, 1)
        if not clip.has_flow:
            return data.clips
        steps = with_flow(torch.from_numpy(data.clips).flatten(0, 1), clip, device)
        return cut(steps.numpy().reshape(job.views, clip.frames, *steps.shape[1:]), clip, job.views)

    def _rows(
        self, members: list[Labelled], whole: dict[int, Parts], spec: PredictSpec
    ) -> Iterator[tuple[int, Prediction, NDArray[np.float32] | None]]:
        output = self._runner.collect()
        start = 0
        for member in members:
            part = slice(start, start + len(member.clips))
            start = part.stop
            one = Output(output.probabilities[part], output.embeddings[part])
            if self._runner.bf16 and not one.finite:
                again = self._runner.in_fp32()
                again.submit(member.clips)
                one = again.collect()
            yield from self._rows_of(whole, member.item, member.row, one, spec)

    def _rows_of(
        self, whole: dict[int, Parts], item: VideoItem, row: Prediction, output: Output | None,
        spec: PredictSpec,
    ) -> Iterator[tuple[int, Prediction, NDArray[np.float32] | None]]:  # fmt: skip
        """The video's row, unless there are parts of it still to come."""
        if item.index in whole:
            parts = whole[item.index]
            parts.add(item.part, row, output)
            if parts.missing:
                return
            row, output = parts.together()
            del whole[item.index]
        assert output is not None  # of a video's parts at least the first is there
        row = self._row(row, output, spec)
        yield item.index, row, output.probabilities if row.ok else None

    def _row(self, row: Prediction, output: Output, spec: PredictSpec) -> Prediction:
        mean = output.probabilities.astype(np.float64).mean(0).astype(np.float32)
        embedding = output.embeddings.mean(0)
        row = replace(row, model=self.checkpoint.id, embedding=tuple(embedding.tolist()))
        if not output.finite:
            return replace(
                row,
                status=Status.FAILED,
                reason=Reason.NAN,
                detail=f"{row.path}: the model gives no finite number for it",
                embedding=(),
            )
        row = replace(row, top=ranked(self.classes, mean))
        return shown(row, spec.top_k, spec.min_confidence)

    def _failed(self, decoded: Decoded) -> Prediction:
        assert decoded.error is not None  # it has no data
        return Prediction(
            path=decoded.item.path,
            status=Status.FAILED,
            model=self.checkpoint.id,
            reason=decoded.error.reason,
            detail=decoded.error.detail,
        )


def _lost(decoded: Decoded) -> Prediction:
    """The row of a video of which a part cannot be read."""
    assert decoded.error is not None  # it has no data
    return Prediction(
        path=decoded.item.path,
        status=Status.PARTIAL,
        reason=Reason.DAMAGED,
        detail=decoded.error.detail,
    )


def _in_order(predictions: Iterator[tuple[int, Prediction]]) -> Iterator[Prediction]:
    """Predictions by ascending index from 0, each as soon as all before it are there.

    Where a stop leaves gaps, those behind them come at the end, in order too.
    """
    early: dict[int, Prediction] = {}
    turn = 0
    for index, prediction in predictions:
        early[index] = prediction
        while turn in early:
            yield early.pop(turn)
            turn += 1
    for _, prediction in sorted(early.items()):
        yield prediction
