"""`vidlabel render --attention`: whether what is lit is what the model has looked at."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
import torch
import videos
from torch import Tensor, nn
from torch.nn import functional as F

from vidlabel.errors import UsageError
from vidlabel.models.base import ClipModel, Normalise
from vidlabel.models.build import build_model
from vidlabel.models.checkpoint import Checkpoint, Header
from vidlabel.predict import labeller as predict
from vidlabel.render.attention import DIMMED, FULL_SHARE, INFERNO, STRONGEST, Attention, Heat, ramp
from vidlabel.render.frames import PreviewFrames
from vidlabel.render.spec import RenderSpec
from vidlabel.specs import ClipSpec, ModelSpec, VideoItem

MakeVideo = Callable[..., Path]
Run = Callable[..., tuple[int, str]]
CPU = torch.device("cpu")
CLIP = ClipSpec(frames=3, size_px=64, resize_px=64)
QUARTERS = ("top_left", "top_right", "bottom_left", "bottom_right")


class Cells(nn.Module):
    """(N, 3, H, W) to the brightness of 8 x 8 cells, each quarter in a channel of its own."""

    def forward(self, pixels: Tensor) -> Tensor:
        cells = F.adaptive_avg_pool2d(pixels.mean(1, keepdim=True), 8)
        where = torch.zeros(4, 8, 8)
        where[0, :4, :4] = where[1, :4, 4:] = where[2, 4:, :4] = where[3, 4:, 4:] = 1
        return cells * where


class Brightest(ClipModel):
    """Labels a clip by its brightest quarter."""

    any_time_steps = True

    def __init__(self) -> None:
        normalise = Normalise(CLIP, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
        super().__init__(normalise, nn.Sequential(Cells(), nn.Identity()), "cells")
        self.dropout = self.classify = nn.Identity()

    def pool(self, frames: Tensor) -> Tensor:
        return 40 * frames.mean(1)


def brightest(clip: ClipSpec = CLIP) -> Checkpoint:
    header = Header(ModelSpec(classes=4), clip, QUARTERS)
    return Checkpoint("brightest", header, Brightest().eval(), "0" * 64)


def random_model(spec: ModelSpec, clip: ClipSpec) -> Checkpoint:
    torch.manual_seed(0)
    names = tuple(f"class_{k}" for k in range(spec.classes))
    return Checkpoint("random", Header(spec, clip, names), build_model(spec, clip).eval(), "1" * 64)


def spot(number: int, width: int, height: int) -> np.ndarray:
    """Something bright on dark ground, left of the middle and above it."""
    frame = np.full((height, width, 3), 30, dtype=np.uint8)
    y, x = height // 2, width // 2
    frame[y - 20 : y - 8, x - 20 : x - 8] = 250
    return frame


def grey(number: int, width: int, height: int) -> np.ndarray:
    return videos.grey_frame(number, width, height)


def centre(weights: np.ndarray) -> np.ndarray:
    """Where the weights (H, W) are on average: down and across."""
    return np.array([(grid * weights).sum() for grid in np.indices(weights.shape)]) / weights.sum()


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, render: Run) -> Run:
    """`vidlabel render ARGUMENTS` on the CPU with `Brightest`: exit code and stderr."""
    monkeypatch.setattr(predict, "load_checkpoint", lambda name, _: brightest())
    return render


def frames(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        return np.stack([f.to_ndarray(format="rgb24") for f in container.decode(video=0)])


@pytest.mark.parametrize("label", QUARTERS)
@pytest.mark.parametrize("size", [(96, 64), (64, 96)])
def test_the_label_s_quarter_is_lit_and_no_other(
    label: str, size: tuple[int, int], make_video: MakeVideo
) -> None:
    path = str(make_video(draw=grey, frames=6, size=size))
    heat = Attention(brightest(), CPU).look(path, label)
    assert heat is not None
    width, height = size
    assert heat.maps.shape == (3, height, width)
    middle = heat.maps[1]
    square = middle[(height - 64) // 2 :][:64, (width - 64) // 2 :][:, :64]
    quarters = [q.mean() for half in np.split(square, 2) for q in np.split(half, 2, 1)]
    assert QUARTERS[int(np.argmax(quarters))] == label
    assert sorted(quarters)[2] < 0.1 * max(quarters)  # what upsampling spreads
    outside = middle.sum() - square.sum()
    assert outside == 0


@pytest.mark.parametrize(
    "how",
    [
        {"size": (96, 64)},
        {"size": (64, 96)},
        {"size": (96, 64), "rotation": (90, False, False)},
        {"size": (96, 64), "rotation": (270, True, False)},
        {"size": (64, 64), "pixel_aspect": (3, 2)},
    ],
    ids=["landscape", "portrait", "rotated", "rotated-flipped", "anamorphic"],
)
@pytest.mark.parametrize("aspect", [0.0, 1.5])
def test_what_is_lit_is_where_it_is_in_the_picture(
    how: dict[str, object], aspect: float, make_video: MakeVideo
) -> None:
    path = str(make_video(draw=spot, frames=6, **how))
    clip = replace(CLIP, resize_px=72, aspect=aspect)
    attention = Attention(brightest(clip), CPU)
    shown = PreviewFrames(VideoItem(0, path), 160, RenderSpec())
    (picture, *_), time_s = list(shown.frames()), shown.times_s[0]
    seen_spot = centre(np.maximum(picture.mean(2) - 100, 0))
    height, width = picture.shape[:2]
    down, across = seen_spot[0] > height / 2, seen_spot[1] > width / 2
    label = QUARTERS[2 * int(down) + int(across)]
    heat = attention.look(path, label)
    assert heat is not None
    (lit,) = heat.over([np.zeros_like(picture)], [time_s], width)
    strong = np.maximum(lit.mean(2) - 0.6 * lit.mean(2).max(), 0)
    assert centre(strong) == pytest.approx(seen_spot, abs=0.08 * min(height, width))


def test_one_scale_for_all_steps_and_most_of_them_below_its_end() -> None:
    attention = Attention(brightest(), CPU)
    levels = np.array([40, 80, 160], dtype=np.uint8)
    clip = np.broadcast_to(levels[:, None, None, None], (1, 3, 3, 64, 64)).copy()
    clip[0, 2, :, :2, :2] = 255  # no more than FULL_SHARE of all places
    maps = attention.maps(clip, 0)
    assert maps.shape == (3, 64, 64)
    assert (maps.min(), maps.max()) == (0, 1)
    inner = maps[:, 12:16, 12:16].mean((1, 2))
    np.testing.assert_allclose(inner[1:] / inner[:-1], 2, rtol=0.02)
    assert inner[2] > 0.5
    assert 0 < (maps == 1).mean() <= 2 * FULL_SHARE
    nothing = attention.maps(np.zeros_like(clip), 0)
    assert (nothing == 0).all()


def test_for_a_map_before_a_mean_it_is_grad_cam() -> None:
    clip = ClipSpec(frames=2, size_px=224, resize_px=224)
    model = random_model(ModelSpec("spatial", classes=3, trunk="mnasnet0_5"), clip)
    noise = np.random.default_rng(0).integers(0, 256, (1, 2, 3, 224, 224), dtype=np.uint8)
    got = Attention(model, CPU).maps(noise, 1)
    network = model.network
    with torch.no_grad():
        found = network.trunk(network.normalise(torch.from_numpy(noise[0]).float()))
    assert found.shape[-2:] == (7, 7)
    weights = network.classify.weight[1].detach()  # of a mean and a linear layer, the slopes
    cam = torch.einsum("f,nfhw->nhw", weights, found).relu()[:, None]
    large = F.interpolate(cam, (224, 224), mode="bilinear")[:, 0].numpy()
    want = np.minimum(large / np.quantile(large, 1 - FULL_SHARE), 1)
    np.testing.assert_allclose(got, want, atol=1e-3)


@pytest.mark.parametrize(
    ("spec", "clip"),
    [
        (ModelSpec(classes=3, trunk="resnet18"), CLIP),
        (ModelSpec("conv-lstm", classes=3, trunk="resnet18", summary="committee"), CLIP),
        (
            ModelSpec("two-stream", classes=3, flow_trunk="shufflenet_v2_x0_5"),
            replace(CLIP, input="rgb+flow", step_s=0.0, pairs=1),
        ),
        (ModelSpec("temporal", classes=3), replace(CLIP, input="flow", pairs=2)),
        (ModelSpec("video-net", classes=3, trunk="r3d_18"), replace(CLIP, frames=8, size_px=56)),
    ],
    ids=["resnet", "committee", "two-stream", "flow", "video-net"],
)
def test_each_kind_of_network_has_maps(
    spec: ModelSpec, clip: ClipSpec, make_video: MakeVideo
) -> None:
    model = random_model(spec, clip)
    before = {key: value.clone() for key, value in model.network.state_dict().items()}
    path = str(make_video(frames=12))
    heat = Attention(model, CPU).look(path, "class_2")
    assert heat is not None
    assert heat.maps.shape == (clip.frames, 64, 85)
    assert heat.maps.max() == 255
    assert heat.maps.std() > 1
    assert all(torch.equal(before[key], now) for key, now in model.network.state_dict().items())
    assert not any(module._forward_hooks for module in model.network.modules())


def test_each_stream_has_its_share() -> None:
    clip = replace(CLIP, input="rgb+flow", step_s=0.0, pairs=1)
    noise = np.random.default_rng(0).integers(0, 256, (1, *clip.shape), dtype=np.uint8)
    other = noise.copy()
    other[:, :, 3:] = np.random.default_rng(1).integers(0, 256, other[:, :, 3:].shape)
    for share, same in ((0.0, True), (0.5, False)):
        small = "shufflenet_v2_x0_5"
        spec = ModelSpec("two-stream", 3, trunk=small, flow_trunk=small, flow_weight=share)
        attention = Attention(random_model(spec, clip), CPU)
        assert np.allclose(attention.maps(noise, 0), attention.maps(other, 0), atol=1e-4) == same


@pytest.mark.parametrize(("trunk", "size_px"), [("vit_b_32", 224), ("swin_t", 64)])
def test_networks_of_tokens_are_refused(trunk: str, size_px: int) -> None:
    clip = ClipSpec(frames=1, size_px=size_px, resize_px=size_px)
    model = random_model(ModelSpec("spatial", 3, trunk=trunk), clip)
    with pytest.raises(UsageError, match=f"--attention: random has no map .* --trunk {trunk} "):
        Attention(model, CPU)


def test_a_trunk_without_places_is_refused() -> None:
    model = brightest()
    model.network.trunk = nn.Sequential(nn.AdaptiveAvgPool2d(6), nn.Flatten())
    with pytest.raises(UsageError, match="--attention: brightest has no map"):
        Attention(model, CPU)


def test_a_label_of_no_class_has_no_map(make_video: MakeVideo) -> None:
    assert Attention(brightest(), CPU).look(str(make_video()), "no label: nan") is None


def drawn(heat: Heat, times_s: list[float]) -> np.ndarray:
    """Grey pictures (N, 2, 6, 3) with the map over the left 4 px."""
    pictures = [np.full((2, 6, 3), 100, dtype=np.uint8) for _ in times_s]
    shown = np.stack(list(heat.over(pictures, times_s, 4)))
    assert all((picture == 100).all() for picture in pictures), "left as they were"
    assert (shown[:, :, 4:] == 100).all(), "what is beside the frame"
    return shown[:, :, :4]


def test_between_two_moments_maps_are_mixed() -> None:
    maps = np.zeros((3, 2, 4), dtype=np.uint8)
    maps[0], maps[2] = 100, 200
    maps[1] = 60  # the same moment as the third
    inside = np.full((2, 4), 255, dtype=np.uint8)
    heat = Heat(np.array([1.0, 2.0, 2.0]), maps, inside, np.inf)
    for time_s, level in ((0.0, 100), (1.0, 100), (1.5, 115), (2.0, 130), (9.0, 130)):
        strength = level / 255
        colour = ramp(np.array([[strength]], dtype=np.float32))[0, 0]
        want = (1 - STRONGEST * strength) * 100 + STRONGEST * strength * colour
        np.testing.assert_allclose(drawn(heat, [time_s])[0, 0, 0], want, atol=1)


def test_what_was_not_seen_is_dimmed() -> None:
    inside = np.zeros((2, 4), dtype=np.uint8)
    inside[:, 2:] = 255
    heat = Heat(np.array([1.0]), np.zeros((1, 2, 4), dtype=np.uint8), inside, 0.5)
    near, far = drawn(heat, [1.4, 1.6])
    assert (near[:, 2:] == 100).all()
    assert (near[:, :2] == int(DIMMED * 100)).all()
    assert (far == int(DIMMED * 100)).all()


def test_the_ramp_gets_lighter_all_the_way() -> None:
    colours = ramp(np.linspace(0, 1, 256, dtype=np.float32)[None])[0]
    np.testing.assert_allclose(colours[[0, -1]], [INFERNO[0], INFERNO[-1]])
    assert (np.diff(colours @ [0.299, 0.587, 0.114]) > 0).all()


# --- the command ----------------------------------------------------------------------------------


def bright_right(number: int, width: int, height: int) -> np.ndarray:
    """Grey, brighter at the bottom right: what `Brightest` then says."""
    frame = np.full((height, width, 3), 90, dtype=np.uint8)
    frame[height // 2 :, width // 2 :] = 150
    return frame


def test_the_caption_s_label_is_the_one_that_is_drawn(
    run: Run, make_video: MakeVideo, tmp_path: Path
) -> None:
    path = make_video(draw=bright_right, frames=6, size=(192, 128))
    plain, out = tmp_path / "plain.mp4", tmp_path / "out.mp4"
    assert run(path, "--out", plain)[0] == 0
    assert run(path, "--attention", "--out", out) == (0, f"1 of 1 video rendered to {out}\n")
    before, after = frames(plain), frames(out)
    changed = np.abs(after[:, : before.shape[1]].astype(int) - before).mean((0, 3))
    square = changed[:128, 32:160]  # the caption is on its lower left
    assert square[70:120, 70:120].mean() > 20
    assert square[:56, :].mean() < 4
    assert changed[:60, :28].mean() > 20, "dimmed"


@pytest.mark.field
@pytest.mark.parametrize(
    ("size", "more", "unseen"),
    [((192, 128), [], True), ((128, 128), [], False), ((128, 96), ["--width", 96], True),
     ((192, 128), ["--flow", "uv", "--max-flow", 3], True)],
)  # fmt: skip
def test_colours_are_explained_below(
    size: tuple[int, int], more: list[object], unseen: bool, run: Run, make_video: MakeVideo,
    tmp_path: Path,
) -> None:  # fmt: skip
    """Field 22: nothing said what the colours of the attention map mean."""
    path = make_video(draw=bright_right, frames=3, size=size)
    plain, out = tmp_path / "plain.gif", tmp_path / "out.gif"
    run(path, *more, "--model", "mine", "--out", plain)
    run(path, *more, "--attention", "--out", out)
    before, after = frames(plain)[0], frames(out)[0]
    legend = after[len(before) :]
    lines = 2 if unseen else 1
    assert lines * 15 < len(legend) < lines * 22
    middle = legend[: len(legend) // lines].astype(int)
    for colour in INFERNO[1], INFERNO[4], INFERNO[-2]:  # GIFs have few colours
        assert np.abs(middle - colour).sum(-1).min() < 60
    assert (middle.min(-1) > 200).any(), "there are words"
    assert np.ptp(legend[-len(legend) // 2 :].astype(int)) > 100, "also about what was not seen"


def test_files_with_and_without_are_not_taken_for_each_other(
    run: Run, make_video: MakeVideo, tmp_path: Path
) -> None:
    path, out = make_video(draw=bright_right, frames=3, size=(192, 128)), tmp_path / "x.gif"
    run(path, "--out", out)
    assert "1 kept" in run(path, "--out", out)[1]
    assert "1 of 1 video rendered" in run(path, "--attention", "--out", out)[1]
    assert "1 kept" in run(path, "--attention", "--out", out)[1]
    assert "1 of 1 video rendered" in run(path, "--out", out)[1]


def test_it_is_drawn_over_the_video_and_not_over_its_flow(
    run: Run, make_video: MakeVideo, tmp_path: Path
) -> None:
    path = make_video(draw=bright_right, frames=3, size=(192, 128))
    plain, out = tmp_path / "plain.mp4", tmp_path / "out.mp4"
    run(path, "--flow", "wheel", "--model", "mine", "--max-flow", 3, "--out", plain)
    run(path, "--flow", "wheel", "--attention", "--max-flow", 3, "--out", out)
    changed = np.abs(frames(out)[:, :128].astype(int) - frames(plain)[:, :128]).mean((0, 1, 3))
    assert changed[:28].mean() > 10
    assert changed[204:].max() < 3


@pytest.mark.parametrize(
    "others", [["--labels", "x.csv"], ["--grid", "1x1"], ["--sheet", "2"]], ids=lambda o: o[0]
)
def test_what_it_does_not_go_with(
    others: list[str], run: Run, make_video: MakeVideo, tmp_path: Path
) -> None:
    code, told = run(make_video(), "--attention", *others, "--out", tmp_path / "x.mp4")
    assert (code, told.count("\n")) == (2, 1), told
    assert "--attention" in told
    assert others[0] in told


def test_classes_that_captions_write_alike_are_told_apart(
    make_video: MakeVideo, tmp_path: Path, render: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = brightest()
    names = ("bottom right", "x", "y", "bottom_right")  # only the last one is where it says
    named = replace(model, header=replace(model.header, classes=names))
    path = make_video(draw=bright_right, frames=6, size=(192, 128))
    attention = Attention(named, CPU)
    wrong, right = (attention.look(str(path), names[k]) for k in (0, 3))
    assert wrong is not None
    assert right is not None
    assert not np.array_equal(wrong.maps, right.maps)
    pictures = []
    for checkpoint in (named, brightest()):
        monkeypatch.setattr(predict, "load_checkpoint", lambda name, _, found=checkpoint: found)
        out = tmp_path / f"{len(pictures)}.mp4"
        assert render(path, "--attention", "--out", out)[0] == 0
        pictures.append(frames(out))
    np.testing.assert_array_equal(*pictures)
