"""Protocols carried out: each fold trained and tested, going on where it was stopped."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from vidlabel.checkpoint import Header, describe_model
from vidlabel.datasets.leaks import Leak, describe_leak, find_leak
from vidlabel.datasets.protocols import PROTOCOLS, Fold
from vidlabel.datasets.samples import Sample
from vidlabel.errors import OutputError, UsageError
from vidlabel.evaluate import Evaluation, check_classes, evaluate
from vidlabel.fusion import StreamName
from vidlabel.predict import PredictSpec, load_labeller
from vidlabel.recipes import TrainSpec
from vidlabel.specs import ClipSpec, ModelSpec, Precision
from vidlabel.train import BEST, TrainResult, train
from vidlabel.trainstate import RESULT, keep_description
from vidlabel.watch import Counting, Watch

PLAN = "plan.json"
"""What a run folder is for."""


@dataclass(frozen=True)
class Plan:
    """What a run folder is for: data, protocol, folds, and how each is trained."""

    data: str
    group_pattern: str | None
    protocol: str
    folds: tuple[Fold, ...]
    spec: TrainSpec
    clip: ClipSpec
    model: ModelSpec

    def describe(self) -> dict[str, Any]:
        """Everything that decides the outcome, as plain values."""
        return {
            "data": self.data,
            "group_pattern": self.group_pattern,
            "protocol": self.protocol,
            "folds": {
                fold.name: [len(fold.train), len(fold.val), len(fold.test)] for fold in self.folds
            },
            "train": asdict(self.spec),
            "clip": asdict(self.clip),
            "model": asdict(self.model),
        }


def place_of(run: Path, folds: Sequence[Fold], fold: Fold) -> Path:
    """The folder of a fold: that of the run itself if there is only one."""
    return run if len(folds) == 1 else run / fold.name


def model_of(model: str, folds: Sequence[Fold], fold: Fold) -> str:
    """The checkpoint that tests a fold: of a run folder, or the one named.

    Raises:
        UsageError: there is none for this fold, or one model is named for several folds.
    """
    run = Path(model)
    if not run.is_dir():
        if len(folds) > 1:
            raise UsageError(
                f"--model {model}: {len(folds)} folds need a model each; name the run folder of "
                "`vidlabel train` with the same --protocol, or one --split"
            )
        return model
    choices = [run / fold.name / BEST, *([run / BEST] if len(folds) == 1 else [])]
    for choice in choices:
        if choice.is_file():
            return str(choice)
    raise UsageError(f"--model {model}: has no {choices[0].relative_to(run)} for {fold.name}")


def train_folds(
    plan: Plan,
    out: Path,
    *,
    device: str = "auto",
    workers: int | None = None,
    restart: bool = False,
    cache: Path | None = None,
    watch: Watch = Watch(),  # noqa: B008 - it has no state
    on_fold: Callable[[Fold, bool], None],
) -> Iterator[TrainResult]:
    """Train every fold; one that is complete is not trained again.

    Args:
        plan: what to do; kept in `out`, which may not hold another.
        out: the run folder.
        restart: begin anew, whatever `out` holds.
        cache: folder of the decoded frames, as for `train.train`.
        watch: told how each training goes.
        on_fold: told of each fold, and whether it was complete before.

    Raises:
        UsageError: `out` holds a run with other settings.
        RunError: as `train.train`.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        if restart:
            (out / PLAN).unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"{out}: cannot be written: {error.strerror}") from error
    keep_description(out / PLAN, plan.describe())
    for fold in plan.folds:
        place = place_of(out, plan.folds, fold)
        on_fold(fold, (place / RESULT).is_file() and not restart)
        yield train(
            parts_of(fold),
            place,
            plan.spec,
            plan.clip,
            plan.model,
            device=device,
            workers=workers,
            about={"data": plan.data, "protocol": plan.protocol, "fold": fold.name},
            restart=restart,
            leaky=PROTOCOLS[plan.protocol].leaky and bool(fold.val),
            cache=cache,
            watch=watch,
        )


def parts_of(fold: Fold) -> list[Sample]:
    """What a fold is trained on: with a prescribed validation part, or without a split, so that
    one is carved out of the training part by group."""
    if not fold.val:
        return [replace(sample, split="") for sample in fold.train]
    # A leaky protocol validates on clips it trains on; `train` then has them in both parts.
    return [
        *(replace(sample, split="train") for sample in fold.train),
        *(replace(sample, split="val") for sample in fold.val),
    ]


def leak_lines(fold: Fold, protocol: str) -> list[str]:
    """What a leaky protocol has to say before it runs: nothing for a clean one."""
    if not protocol or not PROTOCOLS[protocol].leaky:
        return []
    ids = {sample.id for sample in fold.train}
    sources = {sample.group for sample in fold.train}
    lines = [f"{protocol}: {PROTOCOLS[protocol].summary}"]
    lines += describe_leak(find_leak(ids, sources, fold.test)[0], f"{fold.name} test")
    if fold.val:
        lines += describe_leak(find_leak(ids, sources, fold.val)[0], f"{fold.name} validation")
    both = {sample.id for sample in fold.val} & {sample.id for sample in fold.test}
    if both:
        lines.append(f"{len(both)} of {len(fold.test)} test clips also choose the epoch")
    return lines


def check_leak(header: Header, fold: Fold, model: str, *, allowed: bool) -> Leak:
    """How many of a fold's test clips the model knows.

    Raises:
        UsageError: it knows some, and that is not allowed.
    """
    leak, _ = find_leak(set(header.trained_on), set(header.sources), fold.test)
    selected = len({sample.id for sample in fold.test} & set(header.selected_on))
    if allowed or not (leak.seen or leak.siblings or selected):
        return leak
    parts = [
        f"{leak.seen} were trained on" if leak.seen else "",
        f"{leak.siblings} share a source with clips that were" if leak.siblings else "",
        f"{selected} were used to choose the epoch" if selected else "",
    ]
    raise UsageError(
        f"{model}: of {leak.tested} test clips of {fold.name}, {', '.join(filter(None, parts))}; "
        "test on what was held out, or see seen and unseen clips apart with --allow-leak"
    )


def evaluate_folds(
    folds: Sequence[Fold],
    protocol: str,
    data: str,
    model: str,
    spec: PredictSpec,
    *,
    allow_leak: bool = False,
    device: str = "auto",
    precision: Precision = "auto",
    stream: StreamName | None = None,
    counting: Callable[[int], Counting],
) -> Iterator[Evaluation]:
    """Test each fold with its own model.

    Args:
        folds: what to test.
        protocol: "" where there is none; a leaky one may test on what was trained on.
        data: the data set's name, for messages.
        model: a checkpoint or a run folder.
        spec: how to predict.
        allow_leak: test though the model knows clips.
        stream: of two-stream models, test this stream alone.
        counting: makes, from the number of clips, a context whose `advance` counts them.

    Raises:
        UsageError: a model is missing, knows the test clips, or does not fit the data's classes.
    """
    allowed = allow_leak or (protocol != "" and PROTOCOLS[protocol].leaky)
    models = [model_of(model, folds, fold) for fold in folds]
    for fold, each in zip(folds, models, strict=True):  # before anything is decoded
        header = describe_model(each)
        check_classes(header, fold.test, data)
        check_leak(header, fold, each, allowed=allowed)
    for fold, each in zip(folds, models, strict=True):
        labeller = load_labeller(each, device, precision, stream)
        with counting(len(fold.test)) as progress:
            yield evaluate(
                labeller, fold.test, spec, name=fold.name, data=data, on_clip=progress.advance
            )
