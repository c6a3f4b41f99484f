"""Protocols carried out: each fold trained and tested, going on where it was stopped."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from vidlabel.console import Counting
from vidlabel.datasets.leaks import Leak, describe_leak, find_leak, known_among
from vidlabel.datasets.protocols import PROTOCOLS, Fold
from vidlabel.datasets.samples import Sample
from vidlabel.device import pick_device
from vidlabel.errors import OutputError, UsageError
from vidlabel.evaluate.evaluate import Evaluation, check_classes, evaluate
from vidlabel.files.lock import holding
from vidlabel.files.write import write_bytes
from vidlabel.models.checkpoint import Header, describe_model
from vidlabel.predict.labeller import PredictSpec, load_labeller
from vidlabel.specs import ClipSpec, ModelSpec, Precision, StreamName
from vidlabel.text import text_path
from vidlabel.train.distributed import join_team
from vidlabel.train.loop import TrainResult, train
from vidlabel.train.observer import Epoch, Together, Watch
from vidlabel.train.recipes import TrainSpec
from vidlabel.train.state import (
    BEST,
    PLAN,
    RESULT,
    SPEC,
    forget,
    has_begun,
    keep_description,
    read_description,
)

_RESTART = "plan.restart"
"""A file in a run folder that is there while it is begun anew."""


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


def places_of_plan(run: Path) -> list[Path]:
    """The folders of the folds that the plan in a run folder names; none without a plan.

    Raises:
        UsageError: the plan cannot be read.
    """
    names = list(read_description(run / PLAN).get("folds", {}))
    return [run] if len(names) == 1 else [run / name for name in names]


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
    about: Mapping[str, Any] | None = None,
    restart: bool = False,
    cache: Path | None = None,
    watch: Watch = Watch(),  # noqa: B008 - it has no state
    on_fold: Callable[[Fold, bool], None],
) -> Iterator[TrainResult]:
    """Train every fold; one that is complete is not trained again.

    Args:
        plan: what to do; kept in `out`, which may not hold another.
        out: the run folder.
        about: kept in every checkpoint, with the data set, the protocol and the fold.
        restart: begin anew: when the first fold begins, all that `out` holds is forgotten.
        cache: folder of the decoded frames, as for `train.train`.
        watch: told how each training goes.
        on_fold: told of each fold, and whether it was complete before.

    Raises:
        UsageError: `out` holds something else, or as `check_tests`.
        RunError: as `train.train`.
        OutputError: `out` cannot be written, or is in use.
    """
    check_tests(plan.folds, plan.protocol, plan.data, plan.spec.init)
    team, anew = join_team(pick_device(device)), None
    if team.leads:
        try:
            out.mkdir(parents=True, exist_ok=True)
            if restart:
                anew = _Anew(plan, out)
                watch = Together(anew, watch)
            else:
                _claim(plan, out)
        except OSError as error:
            raise OutputError(f"{out}: cannot be written: {error.strerror}") from error
    team.wait()
    about = {**(about or {}), "data": text_path(plan.data), "protocol": plan.protocol}
    try:
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
                about={**about, "fold": fold.name},
                restart=restart,
                leaky=PROTOCOLS[plan.protocol].leaky and bool(fold.val),
                cache=cache,
                watch=watch,
            )
    finally:
        if anew is not None:
            anew.settle()


def _claim(plan: Plan, out: Path) -> None:
    """See that a run folder is for this plan, and make it so if nothing has been trained in it.

    Raises:
        UsageError: it is for something else.
    """
    if (out / _RESTART).exists():
        raise UsageError(f"{out}: was ended while it was begun anew; --restart does that again")
    if (out / PLAN).exists():
        if not any(map(has_begun, places_of_plan(out))):
            (out / PLAN).unlink(missing_ok=True)
    elif has_begun(out):
        raise UsageError(
            f"{out}: holds a run without a protocol; --restart begins anew, or name another --out"
        )
    keep_description(out / PLAN, plan.describe())


class _Anew(Watch):
    """Forgets what a run folder held, all folds at once, when the first fold of a new plan begins.

    Not before: what can go wrong until then, such as weights that are missing, leaves all as it
    was. Not later: folds of two runs would lie side by side. `train` forgets the first fold itself,
    a moment before: a file says that this is on, for who finds the folder as a kill has left it.

    Raises:
        OutputError: a fold is being trained by another process.
    """

    def __init__(self, plan: Plan, out: Path) -> None:
        self._plan = plan
        self._out = out
        first = place_of(out, plan.folds, plan.folds[0])
        others = {out, *(place_of(out, plan.folds, fold) for fold in plan.folds)}
        with suppress(UsageError):  # a plan that cannot be read
            others |= set(places_of_plan(out))
        self._others = sorted(place for place in others - {first} if place.is_dir())
        for place in self._others:
            with holding(place / SPEC):
                pass
        self._first_spec = first / SPEC
        self._before = self._stamp()
        write_bytes(out / _RESTART, [])

    def decoding(self, total: int) -> Counting:
        """The first fold is about to be decoded."""
        self._forget()
        return super().decoding(total)

    def begin(self, out: Path, epochs: int, steps: int, log: Sequence[Epoch]) -> None:
        """The first fold is about to be trained, if there was nothing to decode."""
        self._forget()

    def settle(self) -> None:
        """Whatever has happened: take the file away if nothing was begun, nor forgotten."""
        if self._stamp() == self._before:
            (self._out / _RESTART).unlink(missing_ok=True)

    def _forget(self) -> None:
        if not (self._out / _RESTART).exists():  # done before the first fold
            return
        for place in self._others:
            forget(place)
        plan = json.dumps(self._plan.describe(), indent=1)
        write_bytes(self._out / PLAN, [plan.encode()])
        (self._out / _RESTART).unlink(missing_ok=True)

    def _stamp(self) -> tuple[int, int]:
        """Changes when the first fold's description is written."""
        try:
            found = self._first_spec.stat()
        except FileNotFoundError:
            return 0, 0
        return found.st_ino, found.st_mtime_ns


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


def check_tests(folds: Sequence[Fold], protocol: str, data: str, init: str = "") -> None:
    """See, before anything is trained, that what will be trained can be tested.

    Args:
        folds: what is trained on and tested. A training clip without a split may come to choose
            the epoch instead; one of split `val` will.
        protocol: "" where there is none; a leaky one may test on what it trains on.
        data: the data set's name, for messages.
        init: the checkpoint to start from, whose training counts too; "" for none.

    Raises:
        UsageError: a class is tested that is not trained on, or as `check_leak`.
    """
    start = describe_model(init) if init else None
    for fold in folds:
        learned = [sample for sample in fold.train if sample.split != "val"]
        unknown = sorted({s.label for s in fold.test} - {s.label for s in learned})
        if unknown:
            raise UsageError(
                f"{data}: class {unknown[0]} is tested in {fold.name}, but has no video to train on"
            )
        if protocol and PROTOCOLS[protocol].leaky:
            continue
        found = _Overlap(
            {s.id for s in learned},
            {s.group for s in learned},
            {s.id for s in fold.train if s.split == "val"},
            fold,
        )
        if found.first:
            cure = "see --group-pattern" if protocol else "give a group's clips the same split"
            raise UsageError(f"{data}: of {found.told('are to be')}; {cure}")
        if start is not None:
            check_leak(start, fold, f"--init {init}", allowed=False)


def check_leak(header: Header, fold: Fold, model: str, *, allowed: bool) -> Leak:
    """How many of a fold's test clips the model knows.

    Raises:
        UsageError: it knows some, and that is not allowed.
    """
    found = _Overlap(header.trained_on, header.sources, header.selected_on, fold)
    if found.first and not allowed:
        raise UsageError(
            f"{model}: of {found.told('were')}; test on what was held out, or see seen and unseen "
            f"clips apart with --allow-leak of eval{found.hint}"
        )
    return found.leak


class _Overlap:
    """What a fold's test clips have in common with a training: the ids and groups it is on, and
    the ids that choose its epoch."""

    def __init__(
        self,
        trained_on: Collection[str],
        sources: Collection[str],
        selected_on: Collection[str],
        fold: Fold,
    ) -> None:
        self._fold = fold
        self.leak, kinds = find_leak(trained_on, sources, fold.test)
        self._selected = known_among(selected_on, fold.test)
        known = {clip for clip, kind in kinds.items() if kind != "new"} | self._selected
        self.first = next((sample for sample in fold.test if sample.id in known), None)
        """The first clip that is known."""

    def told(self, verb: str) -> str:
        """The numbers, and the first clip, in words. `verb`: were, or are to be."""
        counts = {
            f"{verb} trained on": self.leak.seen,
            f"share a source with clips that {verb} trained on": self.leak.siblings,
            f"{verb} used to choose the epoch": len(self._selected),
        }
        parts = ", ".join(f"{count} {what}" for what, count in counts.items() if count)
        clips = f"{self.leak.tested} test clip{'' if self.leak.tested == 1 else 's'}"
        first = self.first and f", such as {text_path(self.first.path)} (group {self.first.group})"
        return f"{clips} of {self._fold.name}, {parts}{first or ''}"

    @property
    def hint(self) -> str:
        """What to do where it is clips of the same name, and not the same clips."""
        if not self.leak.seen and not self._selected:
            return ""
        return "; clips of one class and file name count as one: rename those that are others"


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
