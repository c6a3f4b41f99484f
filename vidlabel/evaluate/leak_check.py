"""Leak checks before and after training: whether a model knows the clips that test it."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from vidlabel.datasets.leaks import Leak, describe_leak, find_leak, known_among
from vidlabel.datasets.protocols import PROTOCOLS, Fold
from vidlabel.errors import UsageError
from vidlabel.models.checkpoint import Header, describe_model
from vidlabel.text import text_path


def leak_lines(folds: Sequence[Fold], protocol: str) -> list[str]:
    """The warnings for the folds of a leaky protocol; none for other protocols."""
    lines = []
    for fold in folds if protocol and PROTOCOLS[protocol].leaky else ():
        ids = {sample.id for sample in fold.train}
        sources = {sample.group for sample in fold.train}
        lines.append(f"{protocol}: {PROTOCOLS[protocol].summary}")
        lines += describe_leak(find_leak(ids, sources, fold.test)[0], f"{fold.name} test")
        if fold.val:
            lines += describe_leak(find_leak(ids, sources, fold.val)[0], f"{fold.name} validation")
        both = {sample.id for sample in fold.val} & {sample.id for sample in fold.test}
        if both:
            lines.append(f"{len(both)} of {len(fold.test)} test clips also choose the epoch")
    return lines


def check_tests(folds: Sequence[Fold], protocol: str, data: str, init: str = "") -> None:
    """Check, before anything is trained, that the trained models can be tested on these folds.

    Args:
        folds: what is trained on and tested. Training clips of split `val` choose the epoch;
            clips without a split may come to do so.
        protocol: "" for none; a leaky one may test on clips that it trains on.
        data: name of the data set, for messages.
        init: the checkpoint to start from; what it was trained on counts too. "" for none.

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
    """Count the test clips of a fold that the model knows from its training.

    Raises:
        UsageError: it knows some, and that is not allowed.
    """
    found = _Overlap(header.trained_on, header.sources, header.selected_on, fold)
    if found.first and not allowed:
        raise UsageError(
            f"{model}: of {found.told('were')}; test on clips that were held out, or use "
            f"--allow-leak of eval, which reports seen and unseen clips apart{found.hint}"
        )
    return found.leak


class _Overlap:
    """What the test clips of a fold have in common with a training: `trained_on` and `selected_on`
    are ids of clips, `sources` are groups."""

    def __init__(
        self, trained_on: Collection[str], sources: Collection[str], selected_on: Collection[str],
        fold: Fold,
    ) -> None:  # fmt: skip
        self._fold = fold
        self.leak, kinds = find_leak(trained_on, sources, fold.test)
        self._selected = known_among(selected_on, fold.test)
        known = {clip for clip, kind in kinds.items() if kind != "new"} | self._selected
        self.first = next((sample for sample in fold.test if sample.id in known), None)
        """The first test clip that the model knows; None if it knows none."""

    def told(self, verb: str) -> str:
        """The counts and the first known clip in words; `verb` is "were" or "are to be"."""
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
        """What to do if clips only have the same name; empty if no name is the same."""
        if not self.leak.seen and not self._selected:
            return ""
        return "; clips with the same class and file name count as one clip: rename any that differ"
