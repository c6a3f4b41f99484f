"""torchvision's video networks: what is said of them, their weights, and what is made of both."""

from __future__ import annotations

import hashlib
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from fakes import CLIP, colour_video
from loopback import serving, silent
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models import get_model, get_model_weights, get_weight

from vidlabel import load_labeller
from vidlabel.clips.read import read_clip
from vidlabel.datasets.samples import Sample
from vidlabel.errors import CheckpointError, UsageError
from vidlabel.models import video_net, weights
from vidlabel.models.build import build_model
from vidlabel.models.checkpoint import Header, describe_model, find_checkpoint, load_checkpoint
from vidlabel.models.kinetics import KINETICS
from vidlabel.models.trunks import headless, load_trunk
from vidlabel.models.video_net import VideoNet, fetch_kinetics
from vidlabel.predict.folding import fold_batchnorm
from vidlabel.predict.runner import Runner
from vidlabel.specs import ClipSpec, Limits, ModelSpec
from vidlabel.train.loop import train
from vidlabel.train.recipes import RECIPES, TrainSpec
from vidlabel.train.settings import gather

SMALL = replace(CLIP, fps=10.0)
"""4 frames of 32 pixels."""
SMALLEST = {"s3d": (13, 209), "mvit_v2_s": (16, 224)}
"""Frames and size of the smallest clip that a network takes; of the others, SMALL."""
SLOW = ("mvit_v2_s", "swin3d_s", "swin3d_b")
"""Whose logits take seconds; of the Swin networks, the smallest is looked at every time."""
Give = Callable[[str, bytes], str]


def _spec(name: str, classes: int = 400) -> ModelSpec:
    return ModelSpec(arch="video-net", trunk=name, classes=classes)


def _smallest(name: str) -> ClipSpec:
    frames, size_px = SMALLEST.get(name, (SMALL.frames, SMALL.size_px))
    return ClipSpec(frames=frames, size_px=size_px, resize_px=size_px)


def _random(name: str) -> nn.Module:
    """A network of torchvision whose statistics matter, in evaluation mode."""
    torch.manual_seed(0)
    network: nn.Module = get_model(name, weights=None)
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            nn.init.normal_(module.running_mean, 0, 0.1)  # type: ignore[arg-type]
            nn.init.uniform_(module.running_var, 0.5, 1.5)  # type: ignore[arg-type]
    return network.eval()


def _theirs(network: nn.Module, clips: torch.Tensor, name: str) -> torch.Tensor:
    """Logits of torchvision's network of clips (B, T, 3, S, S) uint8, as its transforms end."""
    preset = get_model_weights(name).DEFAULT.transforms()
    mean, std = (torch.tensor(values).reshape(3, 1, 1) for values in (preset.mean, preset.std))
    with torch.inference_mode():
        logits: torch.Tensor = network(((clips / 255 - mean) / std).transpose(1, 2))
    return logits


def _saved(network: nn.Module, path: Path) -> bytes:
    torch.save(network.state_dict(), path)
    return path.read_bytes()


@pytest.fixture(scope="module")
def mc3(tmp_path_factory: pytest.TempPathFactory) -> tuple[nn.Module, bytes]:
    """A random network of 400 classes, and the file of its weights."""
    network = _random("mc3_18")
    return network, _saved(network, tmp_path_factory.mktemp("mc3") / "weights.pth")


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """torch's cache of weights, empty."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    return tmp_path / "torch" / "hub" / "checkpoints"


@pytest.fixture
def name_after(monkeypatch: pytest.MonkeyPatch) -> Give:
    """`name_after(network, data)`: from now on torchvision means a file of those bytes; its
    name. Nobody is listening where it is said to come from."""

    def give(name: str, data: bytes) -> str:
        kinds = get_model_weights(name)
        source = getattr(kinds, "IMAGENET1K_V1", None) or kinds.DEFAULT
        file = f"{name}-{hashlib.sha256(data).hexdigest()[:8]}.pth"
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
        monkeypatch.setattr(source.value, "url", f"http://127.0.0.1:{port}/{file}")
        return file

    return give


@pytest.fixture
def cached(hub: Path, name_after: Give) -> Callable[[str, bytes], Path]:
    """`cached(network, data)`: as `name_after`, with the file in torch's cache; its path."""

    def put(name: str, data: bytes) -> Path:
        path = hub / name_after(name, data)
        hub.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return path

    return put


@pytest.fixture(autouse=True)
def _nothing_is_printed(capsys: pytest.CaptureFixture[str]) -> Iterator[None]:
    """The standard output may be the user's table."""
    yield
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("name", KINETICS)
def test_what_is_said_of_a_network_is_what_torchvision_says(name: str) -> None:
    known, clip = KINETICS[name], KINETICS[name].clip
    source = get_weight(known.weights)
    assert source is get_model_weights(name).DEFAULT
    preset, meta = source.transforms(), source.meta
    assert preset.crop_size == [clip.size_px] * 2
    height, *width = preset.resize_size
    assert height == clip.resize_px
    assert [round(clip.resize_px * clip.aspect)] == width or (not width and clip.aspect == 0)
    assert (list(known.mean), list(known.std)) == (preset.mean, preset.std)
    said = dict(re.findall(r"`(\w+)=([\d.]+)`", meta["_docs"]))
    assert (clip.fps, clip.frames) == (float(said["frame_rate"]), int(said["clip_len"]))
    assert known.clips_per_video == int(said["clips_per_video"])
    assert f" {said['clips_per_video']} clip" in known.protocol
    accuracy = meta["_metrics"]["Kinetics-400"]
    assert known.top1 == pytest.approx(accuracy["acc@1"] / 100)
    assert known.top5 == pytest.approx(accuracy["acc@5"] / 100)
    assert known.gflops == pytest.approx(meta["_ops"] * clip.frames / 16, rel=1e-4)
    with torch.device("meta"):
        network = build_model(_spec(name), clip)
    assert sum(p.numel() for p in network.parameters()) == known.parameters == meta["num_params"]


@pytest.mark.parametrize("name", ["s3d", "swin3d_t"])
def test_the_arithmetic_of_a_clip_is_counted_for_all_its_frames(name: str) -> None:
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        network = build_model(_spec(name), KINETICS[name].clip).eval()
        with torch.no_grad():
            network.trunk(torch.empty(1, *KINETICS[name].clip.shape).transpose(1, 2))
    assert counter.get_total_flops() / 2e9 == pytest.approx(KINETICS[name].gflops, rel=1e-4)


def test_what_is_said_can_be_read_without_torch() -> None:
    code = "import sys, vidlabel.models.kinetics; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize("name", KINETICS)
def test_torchvisions_weights_have_the_shapes_of_ours(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with torch.device("meta"):
        theirs = get_model(name, weights=None).state_dict()
        ours = build_model(_spec(name), KINETICS[name].clip).state_dict()
    monkeypatch.setattr(video_net, "fetch_weights", lambda source, what: (theirs, ""))
    state, _ = fetch_kinetics(name)
    assert {k: v.shape for k, v in state.items()} == {k: v.shape for k, v in ours.items()}
    known = {k for k in ours if k.startswith("classify.")}
    assert known == {"classify.weight", "classify.bias"}


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=pytest.mark.slow if n in SLOW else ())
     for n in KINETICS],
)  # fmt: skip
def test_the_logits_are_torchvisions(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = _random(name)
    monkeypatch.setattr(video_net, "fetch_weights", lambda *_: (theirs.state_dict(), ""))
    ours = build_model(_spec(name), _smallest(name)).eval()
    ours.load_state_dict(fetch_kinetics(name)[0])
    clips = torch.randint(0, 255, (1, *_smallest(name).shape), dtype=torch.uint8)
    with torch.inference_mode():
        features = ours.frame_features(clips)
        logits = ours.read(features)[1]
    expected = _theirs(theirs, clips, name)
    assert features.shape[:2] == (1, 1)
    assert expected.std() > 1e-3
    torch.testing.assert_close(logits, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "size_px"), [("r3d_18", 32), ("mc3_18", 32), ("r2plus1d_18", 32), ("s3d", 64)]
)
def test_folding_batchnorm_keeps_the_function_of_3d_networks(name: str, size_px: int) -> None:
    whole = _random(name)
    network = whole.get_submodule("features") if name == "s3d" else whole
    folded = fold_batchnorm(network)
    assert not any(isinstance(m, nn.BatchNorm3d) for m in folded.modules())
    clip = torch.rand(1, 3, 16, size_px, size_px)
    with torch.inference_mode():
        expected = network(clip)
        torch.testing.assert_close(folded(clip), expected, rtol=1e-3, atol=1e-4)
    assert expected.abs().max() > 1e-3


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("s3d", {"size_px": 112}, "--frames 128 --size 224"),
        ("s3d", {"frames": 8}, "--frames 128 --size 224"),
        ("mvit_v2_s", {"frames": 8}, "--frames 16 --size 224"),
        ("mvit_v2_s", {"frames": 64, "size_px": 112}, "--frames 16 --size 224"),
        ("r3d_18", {"input": "motion", "fps": 0.0}, "--input rgb, got motion"),
        ("r3d_18", {"input": "rgb+flow", "fps": 0.0}, "--input rgb, got rgb\\+flow"),
        ("resnet18", {}, "--trunk resnet18.*r3d_18, mc3_18"),
        ("a\x1bb", {}, r"--trunk a\\x1bb"),
    ],
)
def test_what_a_network_does_not_take_names_its_flag(
    name: str, changes: dict[str, Any], message: str
) -> None:
    clip = replace(KINETICS.get(name, KINETICS["r3d_18"]).clip, **changes)
    with pytest.raises(UsageError, match=message):
        build_model(_spec(name), clip)


def test_the_runner_gives_a_network_that_sees_whole_clips_one_by_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[tuple[int, ...]] = []
    clip = replace(SMALL, frames=6)

    def features(self: VideoNet, clips: torch.Tensor) -> torch.Tensor:
        seen.append(tuple(clips.shape))
        return before(self, clips)

    before = VideoNet.frame_features
    monkeypatch.setattr(VideoNet, "frame_features", features)
    torch.manual_seed(0)
    network = build_model(_spec("mc3_18", 5), clip).eval()
    runner = Runner(network, 1.0, torch.device("cpu"), "fp32")
    runner.self_test(clip.shape)
    assert seen == [(1, *clip.shape)]
    clips = np.random.default_rng(0).integers(0, 256, (3, *clip.shape), dtype=np.uint8)
    runner.submit(clips)
    together = runner.collect()
    assert seen[1:] == [(1, *clip.shape)] * 3
    runner.submit(clips[2:])
    assert np.array_equal(runner.collect().probabilities[0], together.probabilities[2])
    with torch.inference_mode():
        expected = network(torch.from_numpy(clips)).softmax(1).numpy()
    np.testing.assert_allclose(together.probabilities, expected, atol=1e-5)


def test_bf16_stays_near_fp32() -> None:
    torch.manual_seed(0)
    network = build_model(_spec("mc3_18", 5), SMALL).eval()
    nn.init.normal_(network.classify.weight, 0, 0.5)  # type: ignore[arg-type]
    clips = np.random.default_rng(0).integers(0, 256, (1, *SMALL.shape), dtype=np.uint8)
    found = []
    for precision in ("fp32", "bf16"):
        runner = Runner(network, 1.0, torch.device("cpu"), precision)  # type: ignore[arg-type]
        runner.submit(clips)
        found.append(runner.collect().probabilities)
    assert 0 < abs(found[0] - found[1]).max() < 0.05


def test_the_recipe_is_made_for_its_network() -> None:
    clip = KINETICS["r2plus1d_18"].clip
    for name in RECIPES["video-net"]:
        made = gather({"model": "video-net", "recipe": name})
        assert made.clip == clip
        assert made.model.trunk == "r2plus1d_18"
        assert (made.train.trunk_weights, made.train.trunk_lr) == ("kinetics", 0.1)


@pytest.mark.parametrize("name", KINETICS)
def test_a_network_describes_itself_without_its_weights(name: str, hub: Path) -> None:
    header = describe_model(name)
    assert header.clip == KINETICS[name].clip
    assert list(header.classes) == get_model_weights(name).DEFAULT.meta["categories"]
    assert header.classes[0] == "abseiling"
    assert header.metrics["top1"] == KINETICS[name].top1
    assert Header.from_json(header.to_json()) == header
    assert not hub.exists()
    made = gather({"init": name}, checkpoint=lambda init: (header.clip, header.model))
    assert made.clip == header.clip
    assert made.model == replace(header.model, classes=made.model.classes)
    assert made.train.trunk_weights == "none"
    recipe = RECIPES["video-net"]["best"].values
    assert (made.train.trunk_lr, made.model.dropout) == (recipe["trunk_lr"], recipe["dropout"])


def test_a_description_of_a_file_is_its_header(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"starter, r3d_18, .*swin3d_b$"):
        describe_model(str(tmp_path / "none"))
    with pytest.raises(CheckpointError, match=r"no such checkpoint.*starter, r3d_18"):
        find_checkpoint("r3d")
    assert describe_model("starter") == load_checkpoint("starter").header


def test_r3d_labels_a_video_with_what_torchvision_says(
    cached: Callable[[str, bytes], Path], tmp_path: Path
) -> None:
    theirs = _random("r3d_18")
    path = cached("r3d_18", _saved(theirs, tmp_path / "weights"))
    video = str(colour_video(tmp_path / "red.mp4", "red", 30))
    labeller = load_labeller("r3d_18", "cpu", "fp32")
    (row,) = labeller.predict([video])
    assert row.ok
    assert len(labeller.classes) == 400
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert row.model == f"r3d_18@{digest[:8]}" == path.stem.replace("-", "@")
    assert labeller.checkpoint.digest == digest
    clips = torch.from_numpy(read_clip(video, KINETICS["r3d_18"].clip, 1, Limits()).clips)
    probabilities = _theirs(theirs, clips, "r3d_18").softmax(1)[0]
    assert (
        row.label == get_model_weights("r3d_18").DEFAULT.meta["categories"][probabilities.argmax()]
    )
    assert row.confidence == pytest.approx(float(probabilities.max()), rel=1e-3)
    assert len(row.embedding) == 512


def test_other_classes_are_learned_from_there(
    mc3: tuple[nn.Module, bytes], cached: Callable[[str, bytes], Path], tmp_path: Path
) -> None:
    theirs, data = mc3
    cached("mc3_18", data)
    samples = [
        Sample(str(colour_video(tmp_path / c / f"{i}.mp4", c, 12, seed=i)), c, f"place{i}")
        for c in ("red", "blue")
        for i in range(4)
    ]
    spec = TrainSpec(
        epochs=1, batch_size=4, val_fraction=0.3, init="mc3_18", trunk_lr=0, weight_decay=0, ema=0
    )
    result = train(samples, tmp_path / "run", spec, SMALL, _spec("mc3_18"), device="cpu")
    made = load_checkpoint(str(result.checkpoint))
    assert made.header.classes == ("blue", "red")
    kept = made.network.trunk.state_dict()["layer1.0.conv1.0.weight"]
    assert torch.equal(kept, theirs.state_dict()["layer1.0.conv1.0.weight"])
    rows = list(load_labeller(str(result.checkpoint), "cpu").predict([s.path for s in samples]))
    assert {row.label for row in rows} <= {"blue", "red"}
    assert all(row.ok for row in rows)


def test_a_trunk_starts_from_kinetics_or_a_file(
    mc3: tuple[nn.Module, bytes], cached: Callable[[str, bytes], Path]
) -> None:
    theirs, data = mc3
    path = cached("mc3_18", data)
    for source in ("kinetics", str(path)):
        torch.manual_seed(1)
        network = build_model(_spec("mc3_18", 3), SMALL)
        before = network.classify.weight.clone()  # type: ignore[operator]
        network.load_pretrained(source)
        own = network.trunk.state_dict()
        assert all(torch.equal(own[k], v) for k, v in theirs.state_dict().items() if k in own)
        assert torch.equal(network.classify.weight, before)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"--trunk-weights imagenet.*--init mc3_18"):
        network.load_pretrained("imagenet")
    with pytest.raises(CheckpointError, match="do not fit r3d_18"):
        build_model(_spec("r3d_18", 3), SMALL).load_pretrained(str(path))


def test_a_trunk_starts_from_imagenet(cached: Callable[[str, bytes], Path], tmp_path: Path) -> None:
    theirs = _random("resnet18")
    path = cached("resnet18", _saved(theirs, tmp_path / "weights"))
    trunk = headless("resnet18")
    load_trunk(trunk, "resnet18", "imagenet")
    own = trunk.state_dict()
    assert all(torch.equal(own[k], v) for k, v in theirs.state_dict().items() if k in own)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match=r"^--trunk-weights imagenet: .*not whole; remove"):
        load_trunk(trunk, "resnet18", "imagenet")


def _line(call: Callable[[], object]) -> str:
    """The one line that a call fails with, within seconds."""
    started = time.monotonic()
    with pytest.raises(CheckpointError) as caught:
        call()
    assert time.monotonic() - started < 5
    line = str(caught.value)
    assert "\n" not in line
    assert len(line) < 500
    return line


def _resnet() -> None:
    load_trunk(headless("resnet18"), "resnet18", "imagenet")


@pytest.mark.parametrize(
    ("name", "begins", "load"),
    [
        ("mc3_18", "mc3_18: ", lambda: load_checkpoint("mc3_18")),
        ("resnet18", "--trunk-weights imagenet: ", _resnet),
    ],
)
class TestWithoutWeights:
    def test_a_network_that_refuses(
        self, name: str, begins: str, load: Callable[[], object], hub: Path, name_after: Give
    ) -> None:
        file = name_after(name, b"")
        line = _line(load)
        assert line.startswith(f"{begins}cannot be downloaded")
        assert "refused" in line
        assert file in line
        assert line.endswith(f" into {hub}")

    def test_a_network_that_swallows(
        self, name: str, begins: str, load: Callable[[], object], hub: Path, name_after: Give,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:  # fmt: skip
        file = name_after(name, b"")
        monkeypatch.setattr(weights, "ANSWER_S", 0.2)
        with monkeypatch.context() as patch:
            patch.setattr(socket, "getaddrinfo", lambda *_, **__: time.sleep(1) or [])
            line = _line(load)
        assert f"{begins}cannot be downloaded (no answer within 0.2 s); put " in line
        assert file in line

    def test_a_server_that_falls_silent(
        self, name: str, begins: str, load: Callable[[], object], hub: Path, name_after: Give,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:  # fmt: skip
        file = name_after(name, b"")
        monkeypatch.setattr(weights, "SILENCE_S", 0.2)
        with serving() as site:
            site.instead = silent
            _come_from(site.url(file), name, monkeypatch)
            line = _line(load)
        assert line.startswith(f"{begins}cannot be downloaded")
        assert "timed out" in line
        assert socket.getdefaulttimeout() is None
        assert list(hub.iterdir()) == []


def _come_from(url: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kinds = get_model_weights(name)
    source = getattr(kinds, "IMAGENET1K_V1", None) or kinds.DEFAULT
    monkeypatch.setattr(source.value, "url", url)


def test_weights_are_downloaded_once_and_checked(
    mc3: tuple[nn.Module, bytes], hub: Path, name_after: Give, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, data = mc3
    file = name_after("mc3_18", data)
    with serving() as site:
        _come_from(site.url(file), "mc3_18", monkeypatch)
        site.files[file] = data[:-1] + b"?"
        assert "invalid hash value" in _line(lambda: load_checkpoint("mc3_18"))
        assert list(hub.iterdir()) == []
        assert not weights.are_cached("mc3_18")
        site.statuses = [404]
        assert "404" in _line(lambda: load_checkpoint("mc3_18"))
        site.files[file] = data
        assert load_checkpoint("mc3_18").digest == hashlib.sha256(data).hexdigest()
    assert [path.name for path in hub.iterdir()] == [file]
    assert weights.are_cached("mc3_18")
    assert load_checkpoint("mc3_18").name == "mc3_18", "nobody is asked again"


def test_a_cached_file_that_is_broken_is_one_clear_line(
    mc3: tuple[nn.Module, bytes], cached: Callable[[str, bytes], Path], tmp_path: Path
) -> None:
    _, data = mc3
    path = cached("mc3_18", data)

    def load() -> None:
        load_checkpoint("mc3_18")

    path.write_bytes(data[: len(data) // 2])
    line = _line(load)
    assert line.startswith(f"mc3_18: {path} is not whole; remove it, or put http://127.0.0.1:")
    path.unlink()
    os.mkfifo(path)
    assert "is not a file" in _line(load)
    cached("mc3_18", b"no weights")
    assert "mc3_18: cannot be loaded" in _line(load)
    cached("mc3_18", _saved(torchvision.models.resnet18(), tmp_path / "other"))
    assert _line(load) == "mc3_18: the weights are of another network"


def test_code_in_weights_is_not_run(cached: Callable[[str, bytes], Path], tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(tmp_path / "harm"),)

    torch.save({"a": Evil()}, tmp_path / "weights")
    cached("mc3_18", (tmp_path / "weights").read_bytes())
    assert "cannot be loaded" in _line(lambda: load_checkpoint("mc3_18"))
    assert not (tmp_path / "harm").exists()


def test_weights_that_are_not_finite_are_refused(
    cached: Callable[[str, bytes], Path], tmp_path: Path
) -> None:
    network = _random("mc3_18")
    with torch.no_grad():
        next(network.parameters())[0] = float("nan")
    cached("mc3_18", _saved(network, tmp_path / "weights"))
    assert "stem.0.weight holds values that are not finite" in _line(
        lambda: load_checkpoint("mc3_18")
    )
