"""A model that labels videos: decode ahead, fill batches from many videos, run the model on them,
average the views."""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain

import numpy as np
import torch
from numpy.typing import NDArray

from vidlabel.clips.flow_stacks import run_time_steps, with_flow
from vidlabel.clips.read import ClipData, crop, cut
from vidlabel.clips.windows import Windows
from vidlabel.decode.pool import DecoderPool
from vidlabel.decode.worker import DecodeJob
from vidlabel.device import beside_decoders, pick_device
from vidlabel.errors import CheckpointError, Reason, UsageError
from vidlabel.machine import worker_count
from vidlabel.models.checkpoint import Checkpoint, load_checkpoint
from vidlabel.models.fusion import take_stream
from vidlabel.predict.clip_batch import ClipBatch, Member, VideoOutput, join_parts, row_of, unread
from vidlabel.predict.inputs import Videos, in_order, items_of
from vidlabel.predict.runner import ClipOutput, Runner
from vidlabel.predict.spec import PredictSpec
from vidlabel.predict.timeline import choose_windows, exact, is_long, label_parts
from vidlabel.results.predictions import Predictions
from vidlabel.results.topk import choose_classes, model_name, ranked, shown
from vidlabel.results.window_scores import PartScores
from vidlabel.signals import StopAsked, never
from vidlabel.spans import TimelineSpec
from vidlabel.specs import (  # fmt: skip
    ClipSpec,
    Engine,
    Precision,
    Prediction,
    Status,
    StreamName,
    VideoItem,
)
from vidlabel.text import PathText, plural

GPU_BATCH, CPU_BATCH = 64, 8
"""Clips per batch by default; 8 also on a GPU for networks that see whole clips, since each clip is
ten times the work."""

View = tuple[int, Prediction, NDArray[np.float32] | None]
"""Index of a video, its prediction, and its probabilities (V, K) by view; None if it failed."""

_LOG = logging.getLogger(__name__)

__all__ = ["Labeller", "PredictSpec", "load_labeller"]


def load_labeller(
    model: PathText = "starter",
    device: str = "auto",
    precision: Precision = "auto",
    stream: StreamName | None = None,
    classes: Sequence[str] = (),
    engine: Engine = "auto",
) -> Labeller:
    """Load a model, ready to label.

    Args:
        model: a name that `vidlabel models` lists; the path of a .safetensors checkpoint or of a
            run folder; or `hf:` and a folder of Transformers, or a name in Hugging Face's cache.
        device: auto, cpu, cuda, cuda:N or mps.
        precision: auto, fp32 or bf16.
        stream: of a two-stream model, use only this stream.
        classes: the classes of a zero-shot model, which knows none of its own; others ignore them.
        engine: auto, torch or openvino: what computes the trunk on a CPU; auto is OpenVINO where it
            is installed and suits the model.

    Raises:
        UsageError: the model has no streams, is a zero-shot model without classes, or the engine
            cannot use the device.
        RunError: the engine is not installed, or cannot compute the model.
        CheckpointError: the model cannot be loaded, or its output for a test clip is not finite.
        DeviceError: the device is not there.
    """
    checkpoint = load_checkpoint(os.fspath(model), classes)
    if stream is not None:
        checkpoint = take_stream(checkpoint, stream)
    labeller = Labeller(checkpoint, device, precision, engine=engine)
    labeller.self_test()
    header = checkpoint.header
    _LOG.debug("model %s: %s, %s, clips of %s, on %s", checkpoint.id, header.model.arch,
               plural(len(header.classes), "class"), header.clip.told, labeller.device)  # fmt: skip
    return labeller


class Labeller:
    """A model on a device that labels videos; usually made by `load_labeller`.

    Args:
        checkpoint: the model.
        device: as in `load_labeller`, like the precision.
        decoders: makes the pool that decodes, from the job and the number of processes.
        engine: as in `load_labeller`.

    Attributes:
        classes: the K class names of the model.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        device: str = "auto",
        precision: Precision = "auto",
        decoders: Callable[[DecodeJob, int], DecoderPool] = DecoderPool,
        engine: Engine = "auto",
    ) -> None:
        self.checkpoint = checkpoint
        self.classes = checkpoint.header.classes
        self._decoders = decoders
        header = checkpoint.header
        self._runner = Runner(
            checkpoint.network, header.temperature, pick_device(device), precision, engine,
            header.clip,
        )  # fmt: skip

    @property
    def device(self) -> str:
        """Device, precision and engine of the CNN, such as `cpu fp32` or `cpu bf16 openvino`."""
        return self._runner.told

    @property
    def precision(self) -> str:
        """`fp32` or `bf16`."""
        return self._runner.precision

    def self_test(self) -> None:
        """Raises CheckpointError if the weights are finite, but overflow on a test clip."""
        try:
            self._runner.self_test(self.checkpoint.header.clip.shape)
        except CheckpointError as error:
            raise CheckpointError(f"{self.checkpoint.id}: {error}") from error

    def warnings(self) -> list[str]:
        """What the user should know about the run, one line each."""
        device, most = self._runner.device, self._runner.clips_at_once
        if self._runner.fell_back:
            return [f"{device} had too little memory for one clip; the CPU was used instead"]
        if most is not None:
            return [f"{device} ran out of memory; batches were reduced to {plural(most, 'clip')}"]
        return []

    def predict(
        self,
        videos: Videos,
        spec: PredictSpec | None = None,
        *,
        ordered: bool = True,
        stop: StopAsked = never,
    ) -> Predictions:
        """Label videos: one prediction for each, also for those that cannot be read; or with
        `spec.timeline` one for each segment, those of a video in a row.

        Args:
            videos: paths of files, paths of folders, which are walked as by `find_videos`, or its
                items; one of them, or any number, which are read as they are needed.
            spec: how to label.
            ordered: give predictions in the order of the videos; otherwise as soon as they are
                ready. In both cases labelling goes on meanwhile, and memory stays bounded.
            stop: asked several times a second; when it returns True, no more videos are begun, and
                the last predictions are those that are ready or in the current batch.

        Raises:
            UsageError: the model cannot be used with `spec.strategy`, or lacks one of
                `spec.classes`.
            RunError: nothing can run any more. An error of a single video is never raised.
        """
        spec = spec or PredictSpec()
        items = items_of(videos, spec.limits)
        chosen = self.chosen(spec)
        top_k = min(spec.top_k, len(chosen or self.classes))
        numbered: Iterator[tuple[int, list[Prediction]]]
        if spec.timeline is None:
            numbered = ((i, [row]) for i, row, _ in self.predict_views(items, spec, stop=stop))
        else:
            parts = self.score_windows(items, spec, stop=stop)
            timeline = exact(spec.timeline, self.windows(spec.timeline))
            least = self.min_confidence(spec)
            numbered = label_parts(parts, self.classes, timeline, top_k, least, chosen)
        groups = in_order(numbered) if ordered else (rows for _, rows in numbered)
        name = model_name(self.checkpoint.id, chosen)
        return Predictions(chain.from_iterable(groups), name, top_k)

    def predict_views(
        self,
        videos: Iterable[VideoItem],
        spec: PredictSpec | None = None,
        *,
        stop: StopAsked = never,
    ) -> Iterator[View]:
        """As `predict`, unordered: (index of the item, prediction, probabilities of each view).

        The probabilities are (V, K) in the order of `classes`, all of them, None for a video that
        failed; the prediction is made from their mean.
        """
        spec = spec or PredictSpec()
        clip = self._clip(spec)  # refused here, before anything is begun
        job = DecodeJob(clip, spec.views, spec.limits, every=spec.strategy == "whole-video")
        outputs = self._outputs(videos, spec, job, stop)
        chosen = self.chosen(spec)
        return (self._view(video, spec, chosen) for video in join_parts(outputs))

    def windows(self, spec: TimelineSpec) -> Windows:
        """The windows of videos for this model. Raises UsageError as `choose_windows`."""
        return choose_windows(self.checkpoint.header.clip, spec)

    def score_windows(
        self, items: Iterable[VideoItem], spec: PredictSpec, *, stop: StopAsked = never
    ) -> Iterator[PartScores]:
        """The scores of all windows of videos, part by part, each as soon as it is ready.

        An item whose `part` is 0 stands for all parts of the video, which come in any order, but
        the first part before the others; any other item stands for this part alone.

        Raises:
            UsageError: the model cannot have such windows.
        """
        windows = self.windows(spec.timeline or TimelineSpec())
        job = DecodeJob(windows.clip, limits=spec.limits, windows=windows)
        return self._score_parts(items, spec, job, windows, stop)

    def _score_parts(
        self, items: Iterable[VideoItem], spec: PredictSpec, job: DecodeJob, windows: Windows,
        stop: StopAsked,
    ) -> Iterator[PartScores]:  # fmt: skip
        pool = self._decoders(job, worker_count(spec.workers))
        with pool, beside_decoders(self._runner.device):
            for decoded in pool.run(items, stop):
                item, data = decoded.item, decoded.data
                if data is None:
                    row = replace(unread(decoded).row, model=self.checkpoint.id)
                    none = np.zeros((0, len(self.classes)), np.float32)
                    yield PartScores(item.index, row, none, item.part)
                    continue
                for part in range(1, data.parts if item.part == 0 else 1):
                    pool.add(replace(item, part=part))
                scores = self._window_scores(data, windows)
                row = replace(row_of(item, data), model=self.checkpoint.id)
                if not np.isfinite(scores).all():
                    detail = f"{row.path}: the model's output for it is not finite"
                    row = replace(row, status=Status.PARTIAL, reason=Reason.NAN, detail=detail)
                yield PartScores(item.index, row, scores, item.part, data.parts)

    def _window_scores(self, data: ClipData, windows: Windows) -> NDArray[np.float32]:
        """Probabilities (N, K) of the windows of a part; a row that is not finite is nan."""
        moments, clip, device = data.clips[0], windows.clip, self._runner.device
        if clip.has_flow:
            steps = with_flow(torch.from_numpy(moments), clip, device).numpy()
            moments = np.ascontiguousarray(crop(steps, clip.size_px, "centre"))
        output = self._runner.windows(moments, clip.frames, windows.every)
        if self._runner.bf16 and not output.finite:
            output = self._runner.in_fp32().windows(moments, clip.frames, windows.every)
        scores = output.probabilities
        scores[~np.isfinite(scores).all(1)] = np.nan
        return scores

    def embed(
        self, videos: Videos, spec: PredictSpec | None = None
    ) -> Iterator[tuple[str, NDArray[np.float32]]]:
        """(path, embedding) of each video that can be read; the RNN's pooled feature, (F,)."""
        for prediction in self.predict(videos, spec):
            if prediction.ok:
                yield prediction.path, np.array(prediction.embedding, dtype=np.float32)

    def _outputs(
        self, items: Iterable[VideoItem], spec: PredictSpec, job: DecodeJob, stop: StopAsked
    ) -> Iterator[VideoOutput]:
        """The model's output for each video, or part of a video, as soon as it is ready."""
        on_gpu = self._runner.device.type != "cpu"
        usual = GPU_BATCH if on_gpu and not self.checkpoint.network.fixed_time_steps else CPU_BATCH
        size = spec.batch_size or usual
        batch = ClipBatch(size, job.clips_at_once, job.clip.shape)
        waiting: deque[list[Member]] = deque()  # batches submitted and not yet collected
        self._runner.forget()  # batches of an earlier call that was not read to its end
        workers = worker_count(spec.workers)
        _LOG.debug("%s, batches of %s", plural(workers, "decoder process"),
                   plural(size, "clip"))  # fmt: skip
        pool = self._decoders(job, workers)
        with pool, beside_decoders(self._runner.device):
            for decoded in pool.run(items, stop):
                item, data = decoded.item, decoded.data
                if data is None:
                    yield unread(decoded)
                    continue
                for part in range(1, data.parts if item.part == 0 else 1):
                    pool.add(replace(item, part=part))
                batch.add(decoded, self._clips(data, job))
                if batch.full:
                    waiting.append(batch.submit(self._runner))
                    # On a GPU one batch is computed while the next is filled.
                    while len(waiting) > on_gpu:
                        yield from self._collect(waiting.popleft())
            if batch.members:
                waiting.append(batch.submit(self._runner))
            for members in waiting:
                yield from self._collect(members)

    def _collect(self, members: list[Member]) -> Iterator[VideoOutput]:
        output = self._runner.collect()
        start = 0
        for video, clips in members:
            place = slice(start, start + len(clips))
            start = place.stop
            own = ClipOutput(output.probabilities[place], output.embeddings[place])
            if self._runner.bf16 and not own.finite:
                again = self._runner.in_fp32()
                again.submit(clips)
                own = again.collect()
            yield replace(video, output=own)

    def _view(self, video: VideoOutput, spec: PredictSpec, chosen: tuple[str, ...]) -> View:
        index, output = video.item.index, video.output
        row = replace(video.row, model=model_name(self.checkpoint.id, chosen))
        if output is None:
            return index, row, None
        if not output.finite:
            detail = f"{row.path}: the model's output for it is not finite"
            row = replace(row, status=Status.FAILED, reason=Reason.NAN, detail=detail)
            return index, row, None
        mean = output.probabilities.astype(np.float64).mean(0).astype(np.float32)
        embedding = tuple(output.embeddings.mean(0).tolist())
        length_s = row.end_s - row.start_s
        if not row.reason and is_long(self.checkpoint.header.clip, length_s):
            detail = f"{length_s:.0f} s have one label; --timeline labels segments"
            row = replace(row, reason=Reason.LONG, detail=detail)
        row = replace(row, embedding=embedding, top=ranked(self.classes, mean))
        row = shown(row, spec.top_k, self.min_confidence(spec), chosen)
        return index, row, output.probabilities

    def min_confidence(self, spec: PredictSpec) -> float:
        """The probability below which a label is `uncertain`: that of `spec`, else the model's."""
        asked = spec.min_confidence
        return self.checkpoint.header.min_confidence if asked is None else asked

    def chosen(self, spec: PredictSpec) -> tuple[str, ...]:
        """The classes that `spec` restricts the answers to, in the order of `classes`; () for all.
        Raises UsageError as `choose_classes`."""
        return choose_classes(spec.classes, self.classes, self.checkpoint.id)

    def _clip(self, spec: PredictSpec) -> ClipSpec:
        """What the model sees at a time with the strategy; UsageError if it cannot do that."""
        clip = self.checkpoint.header.clip
        if spec.strategy == "clip":
            return clip
        if not self.checkpoint.network.any_time_steps:
            raise UsageError(
                f"--strategy {spec.strategy}: {self.checkpoint.id} reads whole clips; only models "
                "that classify each frame or stack of flow by itself can do that"
            )
        if (clip.luma_frames and not clip.has_flow) or clip.fps:
            raise UsageError(
                f"--strategy {spec.strategy}: {self.checkpoint.id} was trained with --input "
                f"{clip.input} or --fps; such models can only use --strategy clip"
            )
        return replace(clip, frames=1)

    def _clips(self, data: ClipData, job: DecodeJob) -> NDArray[np.uint8]:
        """Clips (V, T, C, S, S) from what a decoder returned; flow is computed here."""
        clip, device = job.clip, self._runner.device
        if job.every:
            steps = run_time_steps(torch.from_numpy(data.clips[0]), clip, device)
            return cut(steps[:, None].numpy(), clip, 1)
        if not clip.has_flow:
            return data.clips
        steps = with_flow(torch.from_numpy(data.clips).flatten(0, 1), clip, device)
        return cut(steps.numpy().reshape(job.views, clip.frames, *steps.shape[1:]), clip, job.views)
