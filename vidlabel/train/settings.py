"""The settings of a training: flags override a TOML file, a checkpoint and a recipe, in this order.

The settings are the fields of `TrainSpec`, `ClipSpec` and `ModelSpec` that are defined by
`specs.setting`; flags, help texts, tables and TOML keys are made from them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, TypeVar, cast, get_args, get_origin, get_type_hints

from vidlabel.errors import UsageError
from vidlabel.files.text_file import as_utf8
from vidlabel.specs import ClipSpec, ModelSpec
from vidlabel.text import safe
from vidlabel.train.recipes import (
    AUTO,
    DEFAULT_RECIPE,
    IMAGENET,
    QUICK,
    QUICK_USES,
    RECIPES,
    SHIPPED_TRUNK,
    TrainSpec,
)

Value = bool | int | float | str
Spec = TypeVar("Spec", TrainSpec, ClipSpec, ModelSpec)

_KINDS = {bool: "true or false", int: "a whole number", float: "a number", str: "a string"}
_AUGMENTATION = ("mixup", "cutmix", "crop", "window", "flip", "colour", "noise")
_START = ("init", "keep_classes", "trunk_weights", "freeze_trunk")
_LONGEST_SHOWN = 60  # characters of a wrong value

HEADER = """\
# All settings of a training. To train again with them, also on other videos:
#     vidlabel train DATA --config recipe.toml --out RUN

"""


@dataclass(frozen=True)
class Setting:
    """One setting: the field that it sets, and its possible values."""

    key: str
    """Name in a TOML file; the flag has hyphens for underscores."""
    spec: type
    field: str
    kind: type
    choices: tuple[str, ...]
    """Possible values of a string; empty for any."""
    default: Value
    doc: str

    @property
    def flag(self) -> str:
        """Its flag on the command line."""
        return "--" + self.key.replace("_", "-")

    @property
    def section(self) -> str:
        """The heading of its group in help and files."""
        if self.key in _AUGMENTATION:
            return "Augmentation"
        if self.key in _START or self.spec is ModelSpec:
            return "Network"
        return "Clips" if self.spec is ClipSpec else "Training"


def _settings_of(spec: type) -> Iterator[Setting]:
    hints = get_type_hints(spec)
    for each in fields(spec):
        if "doc" not in each.metadata:
            continue
        hint, key = hints[each.name], each.metadata["key"] or each.name
        choices = get_args(hint) if get_origin(hint) is Literal else ()
        if key == "model":
            choices = tuple(RECIPES)
        kind = str if choices else hint
        default = cast(Value, each.default)
        yield Setting(key, spec, each.name, kind, choices, default, each.metadata["doc"])


SETTINGS = {
    each.key: each for spec in (ModelSpec, ClipSpec, TrainSpec) for each in _settings_of(spec)
}
"""All settings by key."""
SECTIONS = ("Network", "Clips", "Training", "Augmentation")
RECIPE_NAMES = tuple(dict.fromkeys([AUTO, *(name for named in RECIPES.values() for name in named)]))


@dataclass(frozen=True)
class Settings:
    """The value of every setting, and its origin."""

    recipe: str
    values: Mapping[str, Value]
    origins: Mapping[str, str]
    train: TrainSpec
    clip: ClipSpec
    model: ModelSpec
    for_few: Settings | None = None
    """Those of the recipe `quick`, to use for few clips; None if the user has chosen otherwise."""

    @property
    def told(self) -> str:
        """One line on which settings of the recipe are published; empty if none is."""
        recipe = RECIPES[self.model.arch][self.recipe]
        if not recipe.published:
            return ""
        return (
            f"recipe {self.recipe}: published by {recipe.source}: {recipe.told}; all other "
            "settings are ours"
        )

    def with_origins(self, message: str) -> str:
        """A message, with the origin of each setting that it names and no flag has set."""
        own = ("flag", "ours")
        words = message.replace(",", " ").split()
        said = [
            f"{each.flag} is from {safe(self.origins[key])}"
            for key, each in SETTINGS.items()
            if each.flag in words and self.origins[key] not in own
        ]
        return f"{message} ({', '.join(said)})" if said else message

    def rows(self) -> list[tuple[str, str, str]]:
        """Key, value and origin of every setting, section by section."""
        return [
            (key, show_value(self.values[key]), self.origins[key])
            for keys in by_section().values()
            for key in keys
        ]

    def to_toml(self) -> str:
        """The text of a TOML file with these settings."""
        import tomli_w

        parts = [HEADER, tomli_w.dumps({"recipe": self.recipe})]
        for section, keys in by_section().items():
            parts += [f"\n# {section}\n", tomli_w.dumps({key: self.values[key] for key in keys})]
        return "".join(parts)


def by_section() -> dict[str, list[str]]:
    """The keys of all settings under their headings."""
    found: dict[str, list[str]] = {section: [] for section in SECTIONS}
    for each in SETTINGS.values():
        found[each.section].append(each.key)
    return found


def show_value(value: Value) -> str:
    """A value as in a TOML file, but without quotes, unless it is empty."""
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) or '""'


def gather(
    said: Mapping[str, Value | None],
    config: Path | None = None,
    checkpoint: Callable[[str], tuple[ClipSpec, ModelSpec]] | None = None,
) -> Settings:
    """Every setting, from the first of these that has it: flags, file, checkpoint, recipe, default.

    Args:
        said: flags by key, None if not given; may hold `recipe`.
        config: a TOML file.
        checkpoint: returns clip and network of the checkpoint that `init` names.

    Raises:
        UsageError: the file is wrong, or a value is out of range.
        CheckpointError: as `checkpoint`.
    """
    layers: list[tuple[str, Mapping[str, Value]]] = [
        ("flag", {key: value for key, value in said.items() if value is not None})
    ]
    if config is not None:
        layers.append((str(config), read_config(config)))
    init = str(_first(layers, "init") or "")
    if init and checkpoint is not None:
        own = {**_flat(*checkpoint(init)), "trunk_weights": "none"}  # it has a trunk already
        layers.append((f"checkpoint {init}", own))
    arch = str(_first(layers, "model") or ModelSpec.arch)
    said_name = str(_first(layers, "recipe") or AUTO)
    name = _default_recipe(arch, init, layers) if said_name == AUTO else said_name
    if arch not in RECIPES:  # a checkpoint can say anything
        raise UsageError(f"--init {safe(init)}: model {safe(arch)} is unknown")
    if name not in RECIPES[arch]:
        known = ", ".join(RECIPES[arch])
        raise UsageError(f"--recipe {safe(name)}: {arch} has none of that name; it has {known}")
    recipe = RECIPES[arch][name]
    layers.append(("ours", {"model": arch, **recipe.values}))
    layers.append(("ours", {key: each.default for key, each in SETTINGS.items()}))
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    depth: dict[str, int] = {}
    for key in SETTINGS:
        depth[key] = next(i for i, (_, layer) in enumerate(layers) if key in layer)
        origins[key], layer = layers[depth[key]]
        values[key] = layer[key]
        if depth[key] >= len(layers) - 2 and key in recipe.published:
            origins[key] = f"published by {recipe.source}"
    if depth["size"] < depth["resize"]:  # a size without its resize
        values["resize"], origins["resize"] = round(values["size"] * 8 / 7), "8/7 of size"
    _check_together(values, arch, name)
    named = {key for _, layer in layers[:-2] for key in layer} - {"recipe"}
    few = said_name == AUTO and QUICK in RECIPES[arch] and named <= QUICK_USES
    return Settings(
        name,
        values,
        origins,
        _build(TrainSpec, values, origins),
        _build(ClipSpec, values, origins),
        _build(ModelSpec, values, origins),
        gather({**said, "recipe": QUICK}, config) if few else None,
    )


def _default_recipe(arch: str, init: str, layers: Sequence[tuple[str, Mapping[str, Value]]]) -> str:
    """A model that begins from one on the shipped CNN goes on as that was trained: with the CNN
    frozen."""
    frozen = init and arch == "cnn-birnn" and _first(layers, "trunk") == SHIPPED_TRUNK
    return IMAGENET if frozen else DEFAULT_RECIPE


def _check_together(values: Mapping[str, Value], arch: str, recipe: str) -> None:
    """Raise UsageError for weights that the network does not have, or a setting that `quick` does
    not have."""
    if values["trunk_weights"] == "kinetics" and arch != "video-net":
        raise UsageError(
            f"--trunk-weights kinetics: there are none for {safe(str(values['trunk']))}; use "
            "imagenet, or a network of --model video-net"
        )
    if recipe != QUICK:
        return
    own = RECIPES["cnn-birnn"][QUICK].values
    for key, each in SETTINGS.items():
        if key not in QUICK_USES and values[key] != own.get(key, each.default):
            raise UsageError(
                f"{each.flag} {show_value(values[key])}: --recipe quick has no such choice; use "
                "--recipe best, or leave it out"
            )


def read_config(path: Path) -> dict[str, Value]:
    """The settings in a TOML file, and `recipe` if it names one.

    Raises:
        UsageError: it cannot be read, or holds anything but settings.
    """
    where = f"--config {safe(str(path))}"
    return {key: _checked(where, key, value) for key, value in _read_toml(path).items()}


def read_flags(path: Path, known: Collection[str]) -> dict[str, str | list[str]]:
    """The values of flags in a TOML file, as texts, by names with underscores.

    Raises:
        UsageError: it cannot be read, or has a key that is not `known`.
    """
    where = f"--config {safe(str(path))}"
    found: dict[str, str | list[str]] = {}
    for said, value in _read_toml(path).items():
        key = said.replace("-", "_")
        _check_key(where, key, value, known)
        found[key] = list(map(str, value)) if isinstance(value, list) else str(value)
    return found


def _read_toml(path: Path) -> dict[str, Any]:
    import tomllib  # takes as long to import as click

    if not path.is_file():  # a pipe would block
        raise UsageError(f"--config {safe(str(path))}: there is no such file")
    try:
        return tomllib.loads(as_utf8(path.read_bytes(), f"--config {safe(str(path))}").decode())
    except UsageError:  # a ValueError too
        raise
    except (OSError, ValueError, RecursionError) as error:
        why = safe(str(getattr(error, "strerror", None) or error))
        raise UsageError(f"--config {safe(str(path))}: cannot be read: {why}") from error


def _check_key(where: str, key: str, value: Any, known: Collection[str]) -> None:
    if isinstance(value, dict):
        raise UsageError(f"{where}: {safe(key)} is a table; settings must be outside of tables")
    if key not in known:
        near = get_close_matches(key, known, 1, 0.0)
        raise UsageError(f"{where}: {safe(key)} is not a setting; did you mean {near[0]}?")


def _checked(where: str, key: str, value: Any) -> Value:
    """A value from a TOML file, an int made a float where one is wanted."""
    known = {**{name: (each.kind, each.choices) for name, each in SETTINGS.items()},
             "recipe": (str, RECIPE_NAMES)}  # fmt: skip
    _check_key(where, key, value, known)
    kind, choices = known[key]
    if kind is float and type(value) is int and abs(value) < 2**53:
        value = float(value)
    if type(value) is not kind or (choices and value not in choices):
        wanted = " or ".join(choices) or _KINDS[kind]
        shown = safe(repr(value))[:_LONGEST_SHOWN]
        raise UsageError(f"{where}: {key} must be {wanted}, got {shown}")
    return cast(Value, value)


def _first(layers: Sequence[tuple[str, Mapping[str, Value]]], key: str) -> Value | None:
    return next((layer[key] for _, layer in layers if key in layer), None)


def _flat(*specs: ClipSpec | ModelSpec) -> dict[str, Value]:
    return {
        each.key: getattr(spec, each.field)
        for spec in specs
        for each in SETTINGS.values()
        if each.spec is type(spec)
    }


def _build(spec: type[Spec], values: Mapping[str, Any], origins: Mapping[str, str]) -> Spec:
    """A spec of the values; an error also names the origin of the wrong value."""
    own = [each for each in SETTINGS.values() if each.spec is spec]
    for each in own:
        text = str(values[each.key])
        if text != text.encode("utf-8", "replace").decode():
            raise UsageError(f"{each.flag} {safe(text)}: the name is not UTF-8; rename the file")
    try:
        return spec(**{each.field: values[each.key] for each in own})
    except UsageError as error:
        blamed = [o for e in own if str(error).startswith(e.flag + " ") and (o := origins[e.key])]
        where = "" if blamed in ([], ["flag"]) else f" ({safe(blamed[0])})"
        raise UsageError(f"{error}{where}") from None
