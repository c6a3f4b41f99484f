"""Leak checks before and after training: whether a model knows the clips that test it."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from vidlabel.datasets.leaks import Leak, describe_leak, find_leak, known_among
from vidlabel.datasets.protocols import PROTOCOLS, Fold
from vidlabel.errors import UsageError
from vidlabel.models.checkpoint import Header, describe_model
from vidlabel.text import plural, text_path


def leak_lines(folds: Sequence[Fold], protocol: str) -> list[str]:
    """The warnings for the folds of a leaky protocol; none for other protocols."""
    lines = []
    for fold in folds if protocol and PROTOCOLS[protocol].leaky else ():
        ids, sources = {s.id for s in fold.train}, {s.group for s in fold.train}
        lines.append(f"{protocol}: {PROTOCOLS[protocol].summary}")
        for part, clips in (("test", fold.test), ("validation", fold.val)):
            if clips:
                leak, _ = find_leak(ids, sources, clips)
                lines += describe_leak(leak, f"{fold.name} {part}")
        both = {s.id for s in fold.val} & {s.id for s in fold.test}
        if both:
            lines.append(f"{len(both)} of {len(fold.test)} test clips also choose the epoch")
    return lines


def check_tests(folds: Sequence[Fold], protocol: str, data: str, init: str = "") -> None:
    """Check, before anything is trained, that the trained models can be tested on these folds.

    Training clips of split `val` choose the epoch; clips without a split may come to do so. A leaky
    protocol ("" for none) may test on clips that it trains on. What the checkpoint `init` ("" for
    none) was trained on counts too. `data` names the data set in messages.

    Raises:
        UsageError: a tested class has no training clips, or as `check_leak`.
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
        ids, groups = {s.id for s in learned}, {s.group for s in learned}
        selected_on = {s.id for s in fold.train if s.split == "val"}
        _, told = _overlap(ids, groups, selected_on, fold, "are to be")
        if told:
            cure = "see --group-pattern" if protocol else "give a group's clips the same split"
            raise UsageError(f"{data}: of {told}; {cure}")
        if start is not None:
            check_leak(start, fold, f"--init {init}", allowed=False)


def check_leak(header: Header, fold: Fold, model: str, *, allowed: bool) -> Leak:
    """Count the test clips of a fold that the model knows from its training.

    Raises:
        UsageError: it knows some, and that is not allowed.
    """
    leak, told = _overlap(header.trained_on, header.sources, header.selected_on, fold, "were")
    if told and not allowed:
        same = leak.seen or known_among(header.selected_on, fold.test)
        hint = "; clips with the same class and file name count as one clip: rename any that differ"
        raise UsageError(
            f"{model}: of {told}; test on clips that were held out, or use --allow-leak of eval, "
            f"which reports seen and unseen clips apart{hint if same else ''}"
        )
    return leak


def _overlap(
    trained_on: Collection[str], sources: Collection[str], selected_on: Collection[str], fold: Fold,
    verb: str,
) -> tuple[Leak, str]:  # fmt: skip
    """The leak of a training into the test clips of a fold, and in words the counts and the first
    clip that it knows ("" for none); `verb` is "were" or "are to be"."""
    leak, kinds = find_leak(trained_on, sources, fold.test)
    selected = known_among(selected_on, fold.test)
    known = (s for s in fold.test if kinds[s.id] != "new" or s.id in selected)
    first = next(known, None)
    if first is None:
        return leak, ""
    counts = {
        f"{verb} trained on": leak.seen,
        f"share a source with clips that {verb} trained on": leak.siblings,
        f"{verb} used to choose the epoch": len(selected),
    }
    parts = ", ".join(f"{count} {what}" for what, count in counts.items() if count)
    clips = f"{plural(leak.tested, 'test clip')} of {fold.name}"
    return leak, f"{clips}, {parts}, such as {text_path(str(first.video))} (group {first.group})"
