"""The folds of a data set: which ones to test, and with which model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from vidlabel import console
from vidlabel.console import Counting
from vidlabel.datasets.protocols import PROTOCOLS, Fold, doubt_classes, doubt_groups, make_folds
from vidlabel.datasets.samples import Dataset
from vidlabel.errors import UsageError
from vidlabel.evaluate.evaluate import Evaluation, check_classes, evaluate
from vidlabel.evaluate.leak_check import check_leak
from vidlabel.models.checkpoint import BEST, describe_model
from vidlabel.models.fusion import StreamName
from vidlabel.predict.labeller import PredictSpec, load_labeller
from vidlabel.specs import Precision


def choose_folds(
    data: str, dataset: Dataset, protocol: str | None, split: str | None, folds: int, seed: int
) -> tuple[list[Fold], str]:
    """The folds that the options ask for, and the name of the protocol.

    Without a protocol the name is "" and there is one fold: its test part is what a table calls
    `test`, or all clips if the table has no such rows.

    Raises:
        UsageError: --split does not fit, or as `make_folds`.
    """
    if protocol is None and (dataset.official or split is not None):
        protocol = "official"
    if protocol is None:
        marked = any(s.split == "test" for s in dataset.samples)
        test = tuple(
            s for s in dataset.samples if s.split == "test" or not (marked or s.split == "train")
        )
        train = tuple(s for s in dataset.samples if marked and s.split != "test")
        return [Fold(Path(data).stem or "all", train, (), test)], ""
    if protocol not in PROTOCOLS:
        raise UsageError(f"--protocol {protocol}: not known; one of {', '.join(PROTOCOLS)}")
    if protocol != "official" and split is not None:
        raise UsageError(f"--split is for --protocol official, not for {protocol}")
    if protocol == "official" and split != "all" and dataset.official:
        wanted = {n: ids for n, ids in dataset.official.items() if str(n) == (split or "1")}
        if not wanted:
            there = ", ".join(map(str, sorted(dataset.official)))
            raise UsageError(f"--split {split}: there are {there}, or all")
        dataset = replace(dataset, official=wanted)
    return make_folds(dataset, protocol, folds=folds, seed=seed), protocol


def warn_of_doubts(dataset: Dataset) -> None:
    """Warn of groups and classes that look wrong, and of clips that are on the disk or in the
    official lists, but not in both."""
    for doubt in filter(None, (doubt_groups(dataset), doubt_classes(dataset))):
        console.warn(doubt)
    for what, ids in (
        ("clips of the official lists are missing", dataset.missing),
        ("clips are in no official list", dataset.extra),
    ):
        if ids:
            named = ", ".join(ids[:3]) + (", ..." if len(ids) > 3 else "")
            console.warn(f"{dataset.name}: {len(ids)} {what}: {named}")


def model_of(model: str, folds: Sequence[Fold], fold: Fold) -> str:
    """The checkpoint that tests a fold: the fold's own in a run folder, or the one named.

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
        protocol: "" for none; a leaky one may test on clips that were trained on.
        data: name of the data set, for messages.
        model: a checkpoint or a run folder.
        spec: how to predict.
        allow_leak: test even if the model knows some of the clips.
        stream: test only this stream of a two-stream model.
        counting: makes a progress bar for this number of clips.

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
