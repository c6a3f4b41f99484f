"""Recipes and settings: who says what, in which order, and that a file says the same again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING, asdict, fields
from pathlib import Path
from typing import Any

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st
from places import ROOT

from vidlabel.cli.main import cli
from vidlabel.errors import UsageError
from vidlabel.models.build import MODELS
from vidlabel.specs import ClipSpec, ModelSpec
from vidlabel.train.recipes import RECIPES, TrainSpec
from vidlabel.train.settings import SECTIONS, SETTINGS, by_section, gather, read_config

NOT_SET = {"classes", "resample"}
"""Fields that follow from the data, or from a model of Transformers."""


@pytest.fixture
def toml(tmp_path: Path) -> Callable[[str], Path]:
    """`toml(text)`: a file with that text."""

    def write(text: str) -> Path:
        path = tmp_path / "mine.toml"
        path.write_bytes(text.encode())
        return path

    return write


def starter(name: str) -> tuple[ClipSpec, ModelSpec]:
    """A checkpoint, as `gather` asks for it."""
    assert name == "a.safetensors"
    return ClipSpec(12, 80, 90, "motion", 0.1), ModelSpec(classes=18, cell="lstm", hidden=64)


@pytest.mark.parametrize("spec", [TrainSpec, ClipSpec, ModelSpec])
def test_every_field_has_one_flag_and_one_key(spec: type) -> None:
    flags = [each for each in cli.commands["train"].params if isinstance(each, click.Option)]
    for field in fields(spec):
        found = [
            each for each in SETTINGS.values() if (each.spec, each.field) == (spec, field.name)
        ]
        assert len(found) == (field.name not in NOT_SET), field.name
        for each in found:
            (flag,) = [option for option in flags if option.name == each.key]
            assert flag.opts == [each.flag]
            assert flag.default is None
            assert each.doc
            assert each.doc in (flag.help or "")
            assert field.default is not MISSING
            assert type(each.default) is each.kind


def test_every_setting_stands_under_one_heading() -> None:
    keys = [key for keys in by_section().values() for key in keys]
    assert sorted(keys) == sorted(SETTINGS)
    assert tuple(by_section()) == SECTIONS


def test_every_network_has_recipes_that_can_be_used() -> None:
    assert RECIPES.keys() == MODELS.keys()
    for arch, named in RECIPES.items():
        assert set(named) - {"imagenet", "quick"} == {"best", "original"}
        for name, recipe in named.items():
            assert recipe.values.keys() | set(recipe.published) <= SETTINGS.keys() - {"init"}
            made = gather({"model": arch, "recipe": name})
            for key, value in recipe.values.items():
                assert made.values[key] == value
                assert type(value) is SETTINGS[key].kind, key
            assert bool(recipe.published) == bool(recipe.source) == bool(recipe.told)
            assert bool(made.told) == bool(recipe.published)


def test_what_is_published_of_the_cnn_birnn_and_nothing_else() -> None:
    made = gather({"recipe": "original"})
    published = {key: made.values[key] for key, of in made.origins.items() if "published" in of}
    assert published == {
        "model": "cnn-birnn", "epochs": 64, "embed": 256, "trunk_weights": "imagenet",
    }  # fmt: skip
    assert all(of == "ours" for key, of in made.origins.items() if key not in published)
    for word in ("64 epochs", "256", "ImageNet", "MNASNet 0.5", "all other settings are ours"):
        assert word in made.told
    assert gather({}).told == ""


def test_the_shipped_weights_have_a_recipe_that_leaves_them_as_they_are() -> None:
    made = gather({"recipe": "imagenet"})
    assert (made.model.trunk, made.train.trunk_weights) == ("efficientnet_lite0", "imagenet")
    assert made.train.freeze_trunk
    assert not made.train.changes_pixels  # so that each frame passes the trunk only once
    assert (made.clip.input, made.clip.shape) == ("difference", (12, 3, 112, 112))
    with pytest.raises(UsageError, match="--recipe imagenet: conv-lstm has none of that name"):
        gather({"model": "conv-lstm", "recipe": "imagenet"})


def test_the_recipe_of_the_starter_is_that_of_the_shipped_weights() -> None:
    shipped = gather({}, ROOT / "weights" / "starter.toml")
    again = gather({"recipe": "imagenet", "val_fraction": 0.05, "balance": "off"})
    assert (shipped.train, shipped.clip, shipped.model) == (again.train, again.clip, again.model)


def test_best_is_what_the_specs_say_but_for_steps_and_trunk() -> None:
    made = gather({})
    ours = TrainSpec(epoch_steps=50, trunk_weights="auto")
    assert (made.train, made.clip, made.model) == (ours, ClipSpec(), ModelSpec())


def test_flags_go_before_the_file_before_the_checkpoint_before_the_recipe(
    toml: Callable[[str], Path],
) -> None:
    config = toml(
        'recipe = "original"\ninit = "a.safetensors"\nhidden = 32\nlr = 1\nepochs = 7\nflip = 0\n'
    )
    made = gather({"epochs": 3, "lr": None}, config, starter)
    assert made.recipe == "original"
    assert made.train == TrainSpec(
        epochs=3, lr=1.0, flip=0.0, init="a.safetensors", trunk_weights="none"
    )
    assert made.clip == ClipSpec(12, 80, 90, "motion", 0.1)
    assert made.model == ModelSpec(cell="lstm", hidden=32)
    assert type(made.train.lr) is float
    of = made.origins
    assert of["epochs"] == "flag"
    assert of["lr"] == of["init"] == of["hidden"] == str(config)
    assert of["frames"] == of["cell"] == of["trunk_weights"] == "checkpoint a.safetensors"
    assert of["seed"] == "ours"
    assert gather({"recipe": "best"}, config, starter).recipe == "best"
    assert gather({"init": ""}, config, starter).clip == ClipSpec()


@pytest.mark.parametrize(
    ("said", "text", "resize"),
    [
        ({}, "", 128),
        ({"size": 64}, "", 73),
        ({"size": 64}, "resize = 100", 73),
        ({"size": 64, "resize": 80}, "", 80),
        ({"resize": 120}, "size = 64", 120),
        ({}, "size = 64", 73),
        ({}, "size = 64\nresize = 90", 90),
        ({}, 'init = "a.safetensors"', 90),
        ({"size": 64}, 'init = "a.safetensors"', 73),
    ],
)
def test_resize_follows_a_size_that_is_said_without_it(
    said: dict[str, Any], text: str, resize: int, toml: Callable[[str], Path]
) -> None:
    assert gather(said, toml(text), starter).clip.resize_px == resize


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epoch = 3", "epoch is not a setting; did you mean epochs?"),
        ("batch-size = 3", "did you mean batch_size?"),
        ("classes = 3", "classes is not a setting"),
        ("epochs = true", "epochs must be a whole number, got True"),
        ("epochs = 3.0", "epochs must be a whole number, got 3.0"),
        ("lr = '1'", "lr must be a number, got '1'"),
        ("lr = false", "lr must be a number, got False"),
        (f"lr = 1{'0' * 400}", "lr must be a number, got 1000"),
        ("compile = 1", "compile must be true or false, got 1"),
        ("init = 1", "init must be a string, got 1"),
        ("init = ['a']", "init must be a string"),
        (
            "input = 'RGB'",
            "input must be rgb or motion or difference or rgb+difference or flow or rgb+flow, "
            "got 'RGB'",
        ),
        ("seed = 1979-05-27", "seed must be a whole number"),
        ("model = 'resnet'", "model must be cnn-birnn"),
        (
            "recipe = 'worst'",
            "recipe must be auto or best or imagenet or quick or original, got 'worst'",
        ),
        ("recipe = 1", "recipe must be auto or best or imagenet or quick or original"),
        ("[train]\nlr = 1", "train is a table"),
        ("lr.x = 1", "lr is a table"),
        ("epochs = 3\nepochs = 4", "cannot be read"),
        ("epochs = ", "cannot be read: Invalid value"),
        ("x = " + "[" * 5000, "cannot be read"),
        ('"a\\nb" = 1', "a\\x0ab is not a setting"),
    ],
)
def test_what_is_wrong_with_a_file_is_one_line_with_its_name(
    text: str, message: str, toml: Callable[[str], Path]
) -> None:
    path = toml(text)
    with pytest.raises(UsageError) as caught:
        gather({}, path)
    line = str(caught.value)
    assert message in line
    assert line.startswith(f"--config {path}: ")
    assert "\n" not in line
    assert len(line) < 300 + len(str(path))


def test_a_file_may_begin_with_the_mark_of_some_editors(toml: Callable[[str], Path]) -> None:
    assert read_config(toml("\ufeffepochs = 7\n")) == {"epochs": 7}


@pytest.mark.field
@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-32-be"])
def test_settings_may_have_any_utf_encoding(tmp_path: Path, encoding: str) -> None:
    """Field 1: Windows' editors save TOML in UTF-16."""
    path = tmp_path / "mine.toml"
    path.write_text("\ufeffepochs = 7\n", encoding)
    assert read_config(path) == {"epochs": 7}
    path.write_text("epochs = 7\n", encoding)
    with pytest.raises(UsageError, match=r"^--config .*mine\.toml: holds NUL"):
        read_config(path)


def test_kinetics_weights_are_for_video_networks(toml: Callable[[str], Path]) -> None:
    with pytest.raises(UsageError, match="none for mnasnet0_5; use imagenet"):
        gather({"trunk_weights": "kinetics"})
    assert gather({"model": "video-net"}).train.trunk_weights == "kinetics"


def test_a_message_says_who_has_said_what_it_names(toml: Callable[[str], Path]) -> None:
    config = toml('init = "a.safetensors"\nhidden = 32\n')
    made = gather({"lr": 0.1}, config, starter)
    message = "two-stream needs --input rgb+flow, got motion"
    assert made.with_origins(message) == f"{message} (--input is from checkpoint a.safetensors)"
    assert made.with_origins("--hidden, --lr or --seed").endswith(f" (--hidden is from {config})")
    assert made.with_origins("--seed; --restart") == "--seed; --restart"


def test_a_file_that_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        read_config(tmp_path / "none.toml")
    with pytest.raises(UsageError, match="no such file"):
        read_config(tmp_path)
    (tmp_path / "bytes.toml").write_bytes(b"init = '\xff'")
    with pytest.raises(UsageError, match=r"bytes\.toml: cannot be read"):
        read_config(tmp_path / "bytes.toml")


def test_a_value_out_of_range_names_its_flag_and_where_it_is_from(
    toml: Callable[[str], Path],
) -> None:
    with pytest.raises(UsageError, match=r"^--lr must be over 0 and under 10, got 50$"):
        gather({"lr": 50.0})
    path = toml("kernel = 4\nlr = nan\n")
    with pytest.raises(UsageError, match=r"^--lr must be .*, got nan \(.*mine\.toml\)$"):
        gather({}, path)
    with pytest.raises(UsageError, match=r"^--kernel must be odd.*, got 4 \(.*mine\.toml\)$"):
        gather({"lr": 0.1}, path)


def test_a_checkpoint_of_an_unknown_network_is_one_line() -> None:
    def strange(name: str) -> tuple[ClipSpec, ModelSpec]:
        return ClipSpec(), ModelSpec(arch="a\x1bb")

    with pytest.raises(UsageError, match=r"--init x: model a\\x1bb is unknown"):
        gather({"init": "x"}, checkpoint=strange)


def test_a_name_that_is_not_utf8_is_refused() -> None:
    with pytest.raises(UsageError, match=r"--init caf\\xe9: the name is not UTF-8"):
        gather({"init": "caf\udce9"})


_NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
_VALUES: dict[str, st.SearchStrategy[Any]] = {
    key: st.sampled_from(each.choices) if each.choices else st.booleans()
    for key, each in SETTINGS.items()
    if each.choices or each.kind is bool
} | {
    "trunk": _NAMES,
    "embed": st.integers(1, 8192),
    "hidden": st.integers(1, 8192),
    "features": st.integers(1, 8192),
    "kernel": st.integers(0, 15).map(lambda n: 2 * n + 1),
    "dropout": st.floats(0, 1, exclude_max=True),
    "init": _NAMES,
    "trunk_weights": _NAMES,
    "flow_trunk": _NAMES,
    "flow_weight": st.floats(0, 1),
    "frames": st.integers(1, 512).map(lambda n: 2 * n),
    "pairs": st.integers(1, 32),
    "fps": st.floats(0, 240),
    "aspect": st.just(0.0) | st.floats(0.25, 4),
    "size": st.integers(32, 1024),
    "resize": st.integers(1024, 2048),
    "step": st.floats(0, 10, exclude_min=True),
    "epochs": st.integers(1, 100_000),
    "epoch_steps": st.integers(1, 100_000),
    "batch_size": st.integers(1, 32_768).map(lambda n: 2 * n),
    "lr": st.floats(0, 10, exclude_min=True, exclude_max=True),
    "trunk_lr": st.floats(0, 10),
    "momentum": st.floats(0, 0.9999),
    "weight_decay": st.floats(0, 10),
    "warmup": st.floats(0, 1),
    "label_smoothing": st.floats(0, 0.9),
    "clip_norm": st.floats(0, 1e6),
    "ema": st.floats(0, 0.99999),
    "mixup": st.floats(0, 10),
    "cutmix": st.floats(0, 10),
    "crop": st.floats(0.1, 1),
    "window": st.floats(0.05, 1),
    "flip": st.floats(0, 1),
    "colour": st.floats(0, 2),
    "noise": st.floats(0, 50),
    "val_fraction": st.floats(0.01, 0.9),
    "max_bad": st.floats(0, 1),
    "seed": st.integers(0, 2**63 - 1),
}


@given(said=st.fixed_dictionaries({}, optional=_VALUES), recipe=st.sampled_from(["best", None]))
def test_what_is_written_is_read_back_the_same(
    said: dict[str, Any], recipe: str | None, tmp_path_factory: pytest.TempPathFactory
) -> None:
    assert set(_VALUES) == set(SETTINGS), "a setting is not tested"
    # These need a step, and not every network's recipe has one.
    if said.get("input") in ("motion", "difference", "rgb+difference"):
        said.setdefault("step", 0.1)
    if said.get("keep_classes"):  # of what?
        said["init"] = said.get("init") or "a.safetensors"
    made = gather({**said, "recipe": recipe})
    path = tmp_path_factory.getbasetemp() / "recipe.toml"
    path.write_bytes(made.to_toml().encode())
    again = gather({}, path)
    assert (again.train, again.clip, again.model) == (made.train, made.clip, made.model)
    assert again.recipe == made.recipe
    assert again.values == made.values
    kinds = {key: type(value) for key, value in again.values.items()}
    assert kinds == {key: each.kind for key, each in SETTINGS.items()}
    assert again.to_toml() == made.to_toml()
    assert set(again.origins.values()) == {str(path)}
    for spec in (again.train, again.clip, again.model):
        assert asdict(spec)


def test_the_file_says_what_it_is() -> None:
    text = gather({"recipe": "original"}).to_toml()
    assert text.startswith("# ")
    assert "vidlabel train DATA --config recipe.toml --out RUN" in text
    assert [line[2:] for line in text.splitlines() if line[2:] in SECTIONS] == list(SECTIONS)
    assert 'recipe = "original"' in text
