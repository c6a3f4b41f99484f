"""The recipe `quick`: a linear classifier on what the shipped CNN sees of a few clips.

Each clip is decoded and described once, and kept in the caches; fitting takes seconds. So a fit
that was stopped begins again. Nothing is held out: the penalty, the inputs, the temperature and
`min_confidence` follow from cross-validation, and the model is fitted on all clips.
"""

from __future__ import annotations

import copy
import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from vidlabel.datasets.leaks import Leak
from vidlabel.datasets.protocols import deal
from vidlabel.datasets.samples import Sample, class_counts, class_names
from vidlabel.device import has_bf16
from vidlabel.errors import UsageError
from vidlabel.evaluate.evaluate import ClipResult, Evaluation
from vidlabel.evaluate.metrics import calibration_error, top1
from vidlabel.evaluate.report import summarise, write_report
from vidlabel.models.base import channels_last
from vidlabel.models.build import build_model
from vidlabel.models.checkpoint import BEST, Header, save_checkpoint
from vidlabel.models.cnn_birnn import CnnBiRnn, statistics_of
from vidlabel.predict.folding import fold_batchnorm
from vidlabel.results.topk import ranked, shown
from vidlabel.spans import VideoSpan
from vidlabel.specs import ClipSpec, ModelSpec, Prediction, Status
from vidlabel.text import plural, text_path
from vidlabel.train.augment import Augmentation
from vidlabel.train.balance import balance_line, clip_weights
from vidlabel.train.cache_folder import default_folder
from vidlabel.train.feature_cache import FeatureCache
from vidlabel.train.frame_cache import FrameCache, held_out_moments, kept_time_steps
from vidlabel.train.initial_weights import initial_network
from vidlabel.train.linear_head import Gram, Labels, cross_validate, fit_heads, without_each_class
from vidlabel.train.loop import decode_all, device_and_team, with_training
from vidlabel.train.observer import Epoch, TrainObserver
from vidlabel.train.recipes import TrainSpec
from vidlabel.train.run_folder import RunFolder
from vidlabel.train.training_folder import TrainingFolder, TrainResult, describe
from vidlabel.train.training_frames import TrainingFrames

REPORT = "cross-validation"
"""The folder of the report, in that of the training."""
FOLDS = 5
MOST_CLIPS = 4000
MOST_ROWS, MOST_WINDOWS = 2000, 4
"""Clips are seen through so many windows of time, as long as all rows are no more than that."""
RGB_SHARE = 0.5
"""Weight of what frames look like, against what moves in them: more of it would drown that."""
ALIKE = 0.75
"""Cosine between the features of two clips from which they count as one source. Of four real sets,
no two clips of different sources are that alike, and a quarter of those of the same film are."""
SURE = 0.9
"""Share of the known clips, labelled correctly, that are to stay over `min_confidence`."""
LEAST_AUROC = 0.6
"""Below it, the probability does not tell unknown clips from known ones: no `min_confidence`."""


def fit(
    samples: Sequence[Sample], out: Path, spec: TrainSpec, clip: ClipSpec, model: ModelSpec, *,
    device: str = "auto", workers: int | None = None, about: Mapping[str, Any] | None = None,
    restart: bool = False, cache: Path | None = None, run: RunFolder | None = None,
    observer: TrainObserver | None = None,
) -> TrainResult:  # fmt: skip
    """Fit a model in the folder `out`; one that is complete is not fitted again. Arguments and
    errors are those of `loop.train`; the splits of samples do not matter."""
    samples = [replace(sample, split="train") for sample in samples]
    classes = class_names(samples)
    _check(samples, model, clip)
    header = Header(replace(model, classes=len(classes)), clip, classes, training=dict(about or {}))
    target, team = device_and_team(device)
    if team.size > 1:
        raise UsageError("--recipe quick runs in one process; leave out torchrun")
    observer = observer or TrainObserver()
    folder = TrainingFolder(out, describe(spec, clip, header.model, samples), team)
    with folder.held():
        fold = "fold" in header.training
        if (ended := folder.check(samples, restart=restart, fold=fold)) is not None:
            return ended
        frame_cache = FrameCache(cache or default_folder(), clip, target)
        frame_cache.make_folder()
        network, start = initial_network(header, spec, team, observer)
        (run or RunFolder(out, team)).begin(out, restart=restart)
        folder.begin(samples)
        observer.note(class_counts(samples))
        started = time.monotonic()
        unreadable = decode_all(frame_cache, samples, spec.max_bad, workers, team, observer)
        usable = list({s.video: s for s in samples if s.video not in unreadable}.values())
        header = with_training(header, start, spec, usable)
        network = cast(CnnBiRnn, network.to(target))
        videos = [sample.video for sample in usable]
        features = features_of(videos, frame_cache, network, clip, spec, target, observer)
        views = views_of(features, len(videos), clip, spec)
        fitted = Fit(usable, header, spec, views, observer)
        fitted.save(out, network)
        line = replace(fitted.line, seconds=time.monotonic() - started)
        return folder.complete(line, samples, unreadable, fitted.header)


def _check(samples: Sequence[Sample], model: ModelSpec, clip: ClipSpec) -> None:
    """Raise UsageError for what it cannot fit."""
    if model.arch != "cnn-birnn" or model.rnn or not model.statistics:
        raise UsageError("--recipe quick fits cnn-birnn with --statistics and --no-rnn")
    if clip.fps or not (clip.has_both or clip.input in ("rgb", "difference", "motion")):
        raise UsageError("--recipe quick sees the whole video, without optical flow")
    if len(samples) > MOST_CLIPS:
        raise UsageError(
            f"--recipe quick is for up to {MOST_CLIPS:,} clips, and there are {len(samples):,}; "
            "use --recipe best"
        )


def features_of(
    videos: Sequence[VideoSpan], cache: FrameCache, network: CnnBiRnn, clip: ClipSpec,
    spec: TrainSpec, device: torch.device, observer: TrainObserver,
) -> FeatureCache:  # fmt: skip
    """The features of videos that `cache` has decoded, computed as `predict` computes them."""
    folded = copy.deepcopy(network).eval()
    folded.trunk = fold_batchnorm(folded.trunk)
    channels_last(folded)
    bf16 = spec.precision == "bf16" or (spec.precision == "auto" and has_bf16(device))
    frames = TrainingFrames(cache, videos, device, where=())
    digests = [cache.digests[video] for video in videos]
    features = FeatureCache(cache.folder, digests, frames, folded, clip, device, bf16=bf16)
    features.fill(range(len(videos)), observer.describing)
    return features


def views_of(features: FeatureCache, count: int, clip: ClipSpec, spec: TrainSpec) -> Tensor:
    """The statistics (N, V, D) float32 of N = `count` clips on the CPU, in V views: as `predict`
    sees it, mirrored, and both in random windows of time."""
    windows = max(1, min(MOST_WINDOWS, MOST_ROWS // (2 * count)))
    mirrored = (False, True) if spec.flip else (False,)
    random = torch.Generator().manual_seed(spec.seed)
    drawn = Augmentation(clip, spec).draw(windows - 1, kept_time_steps(clip), random).moments
    pairs = [(at, turned) for at in (held_out_moments(clip), *drawn) for turned in mirrored]
    found = []
    for number in range(count):
        seen = features.gather([number] * len(pairs), *map(list, zip(*pairs, strict=True)))
        found.append(statistics_of(seen).cpu())
    return torch.stack(found)


def joined_groups(features: Tensor, groups: Sequence[str]) -> list[str]:
    """The groups of N clips, those made one that have clips with nearly the same features (N, D).

    A group is called after the first of its parts, sorted.
    """
    unit = nn.functional.normalize(features, dim=1)
    near = (unit @ unit.T >= ALIKE).nonzero().tolist()
    parent = {group: group for group in groups}

    def root(group: str) -> str:
        while parent[group] != group:
            group = parent[group]
        return group

    for first, second in near:
        one, other = sorted((root(groups[first]), root(groups[second])))
        parent[other] = one
    return [root(group) for group in groups]


def _folds(groups: Sequence[str], labels: Sequence[str], seed: int) -> Tensor:
    """(N,) int64: the fold of each clip, in whole groups."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for group, label in zip(groups, labels, strict=True):
        counts[group][label] += 1
    if len(counts) < 2:
        return torch.zeros(len(groups), dtype=torch.int64)
    dealt = deal(dict(sorted(counts.items())), min(FOLDS, len(counts)), seed)
    names = sorted(set(dealt.values()))
    return torch.tensor([names.index(dealt[group]) for group in groups])


@dataclass(frozen=True)
class Unknown:
    """How well the probability tells clips of unknown classes from known ones: the area under the
    ROC curve, the probability from which a clip counts as known, and the share of the clips of
    unknown classes below it."""

    auroc: float
    least: float
    caught: float


def tell_unknown(known: Tensor, right: Tensor, unknown: Tensor) -> Unknown:
    """From the largest probabilities of known clips (N,), of which some are `right` (N,) bool, and
    of clips of unknown classes (M,)."""
    more = (known[:, None] > unknown).double() + (known[:, None] == unknown).double() / 2
    auroc = float(more.mean())
    if auroc < LEAST_AUROC or not right.any():
        return Unknown(auroc, 0.0, 0.0)
    least = round(float(known[right].quantile(1 - SURE)), 4)
    return Unknown(auroc, least, float((unknown < least).double().mean()))


class Fit:
    """Chooses and fits a head on views (N, V, D) of all clips.

    Attributes:
        header: of the checkpoint.
        line: the figures of the cross-validation, as a line of a log.
    """

    def __init__(
        self, samples: Sequence[Sample], header: Header, spec: TrainSpec, views: Tensor,
        observer: TrainObserver,
    ) -> None:  # fmt: skip
        self._samples, self._observer = samples, observer
        names = [sample.label for sample in samples]
        numbers = [header.classes.index(name) for name in names]
        self._labels = Labels(
            torch.tensor(numbers), clip_weights(numbers, spec), views.shape[1],
            len(header.classes), spec.label_smoothing,
        )  # fmt: skip
        if line := balance_line(names, spec):
            observer.note(line)
        rows = views.flatten(0, 1)
        self._variance, self._mean = torch.var_mean(rows, 0, correction=0)
        self._rows = (rows - self._mean) / (self._variance + nn.BatchNorm1d(1).eps).sqrt()
        self._masks = _input_masks(header.clip, rows.shape[1])
        moving = self._rows[:: views.shape[1]] * (self._masks[-1] > 0)
        self._groups = joined_groups(moving, [sample.group for sample in samples])
        self._tell_groups()
        folds = _folds(self._groups, names, spec.seed)
        grams = _grams(self._rows, self._masks)
        self._found = cross_validate(grams, self._labels, folds)
        gram = grams[self._found.choice]
        (self._head,) = fit_heads(
            gram, self._labels, torch.arange(len(samples)), [self._found.penalty]
        )
        unknown = self._unknown(gram)
        self.header = self._described(header, unknown)
        self.line = self._line(gram)

    def save(self, out: Path, described_by: CnnBiRnn) -> None:
        """Write the report of the cross-validation and the checkpoint. Raises OutputError."""
        tested = self._evaluation(out)
        if tested.tested:
            write_report(out / REPORT, tested, summarise(tested))
        save_checkpoint(out / BEST, self.header, self.network(described_by))

    def _tell_groups(self) -> None:
        """Say which clips are kept together."""
        given = {sample.group for sample in self._samples}
        joined = len(given) - len(set(self._groups))
        near = f"; {joined + 1} were joined, whose clips are nearly alike" if joined else ""
        self._observer.note(
            f"cross-validated on {plural(len(set(self._groups)), 'group')} of clips, none of "
            f"which is divided (named by the data, or guessed from the names: see split.csv){near}"
        )

    def _unknown(self, gram: Gram) -> Unknown | None:
        """None if there are no clips to measure it on, or only two classes."""
        found, labels = self._found, self._labels
        if labels.count < 3 or not found.tested.any():
            return None
        unknown = without_each_class(gram, labels, found.penalty, found.temperature)
        sure, best = (found.logits[found.tested] / found.temperature).softmax(1).max(1)
        return tell_unknown(sure, best == labels.classes[found.tested], unknown)

    def _described(self, header: Header, unknown: Unknown | None) -> Header:
        """The header of the fitted model."""
        found, clip = self._found, header.clip
        looks = "and what frames look like" if len(self._masks) == 2 and not found.choice else ""
        if len(self._masks) == 2 and found.choice:
            clip = replace(clip, input="difference")
            looks = "alone: what frames look like does not help on other clips"
        if looks:
            self._observer.note(f"it sees what moves {looks}")
        metrics: dict[str, Any] = {"cross_validated_videos": int(found.tested.sum())}
        if found.tested.any():
            logits, truth = found.logits[found.tested], self._labels.classes[found.tested]
            probabilities = (logits / found.temperature).softmax(1)
            error = calibration_error(probabilities, truth)
            metrics |= {
                "cross_validated_top1": round(top1(logits, truth), 4),
                "cross_validated_calibration_error": round(error, 4),
            }
        if unknown is not None:
            metrics["unknown_auroc"] = round(unknown.auroc, 4)
            self._observer.note(_told_of_unknown(unknown))
        return replace(
            header, clip=clip, temperature=found.temperature, metrics=metrics,
            training={**header.training, "penalty": found.penalty},
            min_confidence=unknown.least if unknown else 0.0,
        )  # fmt: skip

    def _line(self, gram: Gram) -> Epoch:
        labels, found = self._labels, self._found
        every = torch.arange(len(labels.classes))
        own = self._head.logits(gram, labels, every).float()
        loss = nn.functional.cross_entropy
        tested, truth = found.tested, labels.classes
        held = found.logits[tested] / found.temperature
        few = not tested.any()
        return Epoch(
            1, 0.0, float(loss(own, truth)), top1(own, truth),
            0.0 if few else float(loss(held, truth[tested])),
            0.0 if few else top1(held, truth[tested]), 0.0,
        )  # fmt: skip

    def network(self, described_by: CnnBiRnn) -> CnnBiRnn:
        """The network with the fitted head and the trunk of `described_by`, on the CPU; its
        BatchNorm standardises as was done here."""
        header, mask = self.header, self._masks[self._found.choice]
        rows = self._rows * mask
        weights = self._head.factors.T @ rows[self._labels.rows(self._head.clips)].double()
        kept = mask > 0 if header.clip.input == "difference" else torch.ones_like(mask).bool()
        network = cast(CnnBiRnn, build_model(header.model, header.clip))
        network.trunk.load_state_dict(described_by.trunk.state_dict())
        classify = cast(nn.Linear, cast(nn.ModuleDict, network.classify)["statistics"])
        values = {
            network.scale.weight: mask, network.scale.bias: torch.zeros_like(mask),
            network.scale.running_mean: self._mean, network.scale.running_var: self._variance,
        }  # fmt: skip
        with torch.no_grad():
            for place, value in values.items():
                cast(Tensor, place).copy_(value[kept])
            classify.weight.copy_(weights[:, kept])
            classify.bias.copy_(self._head.bias)
        return network.eval()

    def _evaluation(self, out: Path) -> Evaluation:
        """What the heads of the cross-validation say of the clips that they were not fitted on."""
        found, classes = self._found, self.header.classes
        results = []
        for number in found.tested.nonzero().flatten().tolist():
            probabilities = (found.logits[number] / found.temperature).softmax(0).numpy()
            sample = self._samples[number]
            row = Prediction(
                sample.path,
                Status.OK,
                top=ranked(classes, probabilities),
                model=text_path(out.name),
            )
            row = shown(row, len(classes), 0.0)
            results.append(ClipResult(sample, row, probabilities[None], "new", found.temperature))
        note = "each clip was labelled by a model that was fitted without its group"
        missing = len(self._samples) - len(results)
        notes = (note, *([f"{plural(missing, 'clip')} could not be tested: no other group has the "
                          "class"] if missing else []))  # fmt: skip
        return Evaluation(
            "cross-validation",
            out.name,
            classes,
            tuple(results),
            Leak(len(results), 0, 0),
            0,
            notes,
        )


def _told_of_unknown(unknown: Unknown) -> str:
    ability = f"by its probability, AUROC {unknown.auroc:.2f}, each class left out in turn"
    if not unknown.least:
        return f"it cannot tell clips of other classes ({ability}): none will be `uncertain`"
    return (
        f"labels under {unknown.least:.2f} will be `uncertain`: {unknown.caught:.0%} of the clips "
        f"of classes that it does not know ({ability}), and {1 - SURE:.0%} of the right ones"
    )


def _grams(rows: Tensor, masks: Sequence[Tensor]) -> list[Gram]:
    """The inner products of rows (R, D) times each of the masks (D,), of which the first has the
    features of the last, with the same factors, and perhaps more."""
    shared = masks[-1] > 0
    own = (rows * masks[-1])[:, shared].double()
    grams = [own @ own.T]
    if len(masks) > 1:
        more = (rows * masks[0])[:, ~shared].double()
        grams.insert(0, grams[0] + more @ more.T)
    return grams


def _input_masks(clip: ClipSpec, width: int) -> list[Tensor]:
    """Factors (D,) of standardised statistics for each choice of inputs: all of them; with RGB
    frames and difference pictures, then the latter alone."""
    if not clip.has_both:
        return [torch.full((width,), width**-0.5)]
    moving = (torch.arange(width) % (width // 3)) < width // 6  # in each of three statistics
    scale = (width / 2) ** -0.5
    return [torch.where(moving, scale, RGB_SHARE * scale), torch.where(moving, scale, 0.0)]
