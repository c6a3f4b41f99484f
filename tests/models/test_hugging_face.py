"""Checkpoints of Transformers give its own numbers, from the frames that vidlabel chooses."""

from __future__ import annotations

import csv
import io
import json
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from program import Invoke
from safetensors.torch import load_file, save_file

from vidlabel.clips.read import read_clip
from vidlabel.errors import CheckpointError, UsageError
from vidlabel.models.checkpoint import describe_model, load_checkpoint
from vidlabel.predict.labeller import load_labeller
from vidlabel.predict.spec import PredictSpec
from vidlabel.spans import TimelineSpec
from vidlabel.specs import Limits, VideoItem

pytest.importorskip("transformers", reason="needs vidlabel[hf]")

from hf_models import CLASSES, FAMILIES, FRAMES, SIDE_PX, save, save_zero_shot

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

ODD = (106, 74)
"""A size whose scaled width, and whose border beside the crop, are no whole numbers."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Path, Any, Any]]:
    """`folder(family)`: its checkpoint, model and processor, made once."""
    made: dict[str, tuple[Path, Any, Any]] = {}

    def make(family: str) -> tuple[Path, Any, Any]:
        if family not in made:
            path = tmp_path_factory.mktemp(family)
            write = save_zero_shot if family == "xclip" else lambda at: save(family, at)
            made[family] = path, *write(path)
        return made[family]

    return make


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails where anything asks for a host or connects to one."""

    def refuse(*arguments: object, **more: object) -> None:
        raise AssertionError(f"the network is used: {arguments}")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def _middles(video: Path) -> list[NDArray[np.uint8]]:
    """The frames in the middles of FRAMES equal parts, decoded by PyAV alone."""
    with av.open(str(video)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    return [frames[int((part + 0.5) * len(frames) / FRAMES)] for part in range(FRAMES)]


def _theirs(
    model: Any, processor: Any, video: Path, texts: tuple[str, ...] = ()
) -> tuple[torch.Tensor, torch.Tensor]:
    """Transformers' pixels (T, 3, S, S) and logits (K,)."""
    frames, more = _middles(video), {}
    if texts:  # in parts: older releases of its processor of both lose the frames
        more = dict(processor.tokenizer(list(texts), padding=True, return_tensors="pt"))
        processor = processor.image_processor
    clip: Any = [frames] if "Image" in type(processor).__name__ else np.stack(frames)
    seen = dict(processor(clip, return_tensors="pt"))
    with torch.inference_mode():
        found = model(**seen, **more)
    return next(iter(seen.values()))[0], (found.logits_per_video if texts else found.logits)[0]


def _ours(name: str, video: Path, classes: tuple[str, ...] = ()) -> tuple[torch.Tensor, Any, float]:
    """vidlabel's pixels and logits, and how much of a pixel is one of 255 levels."""
    model = load_checkpoint(name, classes)
    clips = torch.from_numpy(read_clip(str(video), model.header.clip, 1, Limits()).clips)
    with torch.inference_mode():
        pixels = model.network.normalise(clips[0].float())
        logits = model.network(clips)[0]
    return pixels, logits, float(model.network.normalise.mix.max())


@pytest.mark.parametrize("family", FAMILIES)
def test_pixels_and_logits_are_those_of_transformers(
    family: str, folder: Any, make_video: Any
) -> None:
    path, model, processor = folder(family)
    for video in (make_video(size=ODD), make_video(size=ODD[::-1], fps=25)):
        pixels, logits = _theirs(model, processor, video)
        own_pixels, own_logits, level = _ours(f"hf:{path}", video)
        assert own_pixels.shape == (FRAMES, 3, SIDE_PX, SIDE_PX)
        assert (own_pixels - pixels).abs().max() < 1.01 * level
        torch.testing.assert_close(own_logits, logits, atol=1e-4, rtol=0)
        assert logits.std() > 0.05  # so that 1e-4 means something


@pytest.mark.parametrize(
    "processing",
    [
        {"resample": 3},
        {"size": {"height": 40, "width": 60}},
        {"size": {"height": SIDE_PX, "width": SIDE_PX}, "do_center_crop": False},
        {"do_normalize": False},
        {"rescale_factor": 1 / 100, "image_mean": [0.1, 0.2, 0.3], "image_std": [0.3, 0.2, 0.1]},
    ],
)
def test_settings_of_the_processor_are_followed(
    processing: dict[str, Any], make_video: Any, tmp_path: Path
) -> None:
    model, processor = save("videomae", tmp_path, **processing)
    video = make_video(size=ODD)
    pixels, _ = _theirs(model, processor, video)
    own_pixels, _, level = _ours(f"hf:{tmp_path}", video)
    # One level of rounding: torchvision and Pillow weigh pixels by numbers of other widths.
    assert (own_pixels - pixels).abs().max() < 1.01 * level
    assert ((own_pixels - pixels).abs() > 0.5 * level).float().mean() < 0.01


@pytest.mark.usefixtures("no_network")
def test_it_labels_videos_like_any_model(
    folder: Any, make_video: Any, vidlabel: Invoke, tmp_path: Path
) -> None:
    path, model, processor = folder("timesformer")
    videos = [make_video(size=ODD), make_video(size=ODD[::-1], fps=25)]
    run = ["predict", *videos, "--model", f"hf:{path}", "--device", "cpu", "--out"]
    code, _, told = vidlabel(*run, tmp_path / "a.csv", "--precision", "fp32")
    assert code == 0, told
    rows = list(csv.DictReader(io.StringIO((tmp_path / "a.csv").read_text())))
    for video, row in zip(videos, rows, strict=True):
        probabilities = _theirs(model, processor, video)[1].softmax(0)
        best = int(probabilities.argmax())
        assert row["label"] == CLASSES[best]
        assert float(row["confidence"]) == pytest.approx(float(probabilities[best]), abs=1e-4)
    assert rows[0]["model"] == load_checkpoint(f"hf:{path}").id
    assert vidlabel(*run, tmp_path / "b.csv", "--precision", "bf16", "--views", 2)[0] == 0
    code, shown, _ = vidlabel("info", f"hf:{path}", "--json")
    assert code == 0
    assert json.loads(shown)["classes"] == list(CLASSES)


def test_a_window_of_a_timeline_has_the_numbers_of_the_video(folder: Any, make_video: Any) -> None:
    video = make_video(size=ODD)
    labeller = load_labeller(f"hf:{folder('vjepa2')[0]}", "cpu", "fp32")
    (row,) = labeller.predict(video)
    whole = PredictSpec(timeline=TimelineSpec(window_s=row.duration_s, stride_s=row.duration_s))
    (part,) = labeller.score_windows([VideoItem(0, str(video))], whole)
    assert part.scores.shape == (1, len(CLASSES))
    assert dict(row.top) == pytest.approx(
        dict(zip(CLASSES, part.scores[0].astype(float), strict=True)), abs=1e-5
    )


def test_training_does_not_start_from_it(folder: Any, vidlabel: Invoke, tmp_path: Path) -> None:
    name = f"hf:{folder('videomae')[0]}"
    code, _, told = vidlabel("train", tmp_path, "--init", name, "--out", tmp_path / "run")
    assert code == 2
    assert "cannot be trained further" in told


def test_the_digest_is_that_of_weights_and_settings(tmp_path: Path) -> None:
    save("vivit", tmp_path)
    first = load_checkpoint(f"hf:{tmp_path}").digest
    assert load_checkpoint(f"hf:{tmp_path}").digest == first
    settings = tmp_path / "preprocessor_config.json"
    values = json.loads(settings.read_text())
    settings.write_text(json.dumps(values | {"resample": 3}))
    second = load_checkpoint(f"hf:{tmp_path}").digest
    weights = load_file(tmp_path / "model.safetensors")
    weights["classifier.bias"] += 1
    save_file(weights, tmp_path / "model.safetensors")
    assert len({first, second, load_checkpoint(f"hf:{tmp_path}").digest}) == 3


def test_weights_in_several_files_and_16_bits_are_joined(tmp_path: Path) -> None:
    model, _ = save("videomae", tmp_path)
    model.half().save_pretrained(tmp_path, max_shard_size="20KB")
    (tmp_path / "model.safetensors").unlink(missing_ok=True)
    own = load_checkpoint(f"hf:{tmp_path}").network
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    assert torch.equal(own.state_dict()["classify.weight"], model.classifier.weight.float())


@pytest.mark.usefixtures("no_network")
def test_a_zero_shot_model_compares_videos_with_texts(folder: Any, make_video: Any) -> None:
    path, model, processor = folder("xclip")
    asked = ("opening a door, falling", "a jump")
    known = ("a jump", "falling", "opening a door")
    for video in (make_video(size=ODD), make_video(size=ODD[::-1], fps=25)):
        pixels, logits = _theirs(model, processor, video, known)
        own_pixels, own_logits, _ = _ours(f"hf:{path}", video, asked)
        torch.testing.assert_close(own_pixels, pixels, atol=1e-3, rtol=0)
        torch.testing.assert_close(own_logits, logits, atol=1e-4, rtol=0)
        assert logits.std() > 0.05
    first, second = (load_checkpoint(f"hf:{path}", each) for each in (asked, ("falling,door",)))
    assert first.header.classes == known
    assert first.digest != second.digest  # other classes are another model
    assert load_checkpoint(f"hf:{path}", ("door,falling",)).digest == second.digest


def test_a_zero_shot_model_needs_classes(folder: Any, make_video: Any, vidlabel: Invoke) -> None:
    path = folder("xclip")[0]
    video = make_video(size=ODD)
    code, _, told = vidlabel("predict", video, "--model", f"hf:{path}")
    assert code == 2
    assert "--classes" in told
    code, table, told = vidlabel(
        "predict", video, "--model", f"hf:{path}", "--classes", "side_gallop,falling", "-q"
    )
    assert code == 0, told
    row = next(csv.DictReader(io.StringIO(table)))
    assert {row["label"], row["top2_label"]} == {"side_gallop", "falling"}
    with pytest.raises(UsageError, match="77 tokens"):
        load_checkpoint(f"hf:{path}", ("a", "b" * 90))


@pytest.mark.usefixtures("rough_intervals")
def test_a_zero_shot_model_is_tested_on_the_classes_of_the_data(
    folder: Any, make_video: Any, vidlabel: Invoke, tmp_path: Path
) -> None:
    path = folder("xclip")[0]
    for label, fps in (("door", 10), ("falling", 25)):
        (tmp_path / label).mkdir()
        (tmp_path / label / "a.mp4").write_bytes(make_video(size=ODD, fps=fps).read_bytes())
    code, _, told = vidlabel("eval", tmp_path, "--model", f"hf:{path}", "--device", "cpu")
    assert code == 0, told


# --- what is refused --------------------------------------------------------------------------


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("hf:owner/no-such-model", "hf download owner/no-such-model"),
        ("hf:/no/such/folder", "no such folder"),
        ("hf:", "no such folder"),
        ("hf:https://host/model", "no such folder"),
    ],
)
def test_a_name_never_reaches_the_network(name: str, told: str) -> None:
    with pytest.raises(CheckpointError, match=told):
        load_checkpoint(name)


@pytest.mark.usefixtures("no_network")
def test_a_name_is_looked_for_in_the_cache(
    folder: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    model = tmp_path / "models--owner--tiny"  # as `hf download owner/tiny` lays it out
    (model / "refs").mkdir(parents=True)
    (model / "refs" / "main").write_text("0123abc")
    (model / "snapshots").mkdir()
    (model / "snapshots" / "0123abc").symlink_to(folder("videomae")[0])
    assert load_checkpoint("hf:owner/tiny").id.startswith("tiny@")


def test_without_the_extra_one_line_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(UsageError, match=r"install vidlabel\[hf\]"):
        describe_model("hf:owner/model")


@pytest.fixture
def broken(folder: Any, tmp_path: Path) -> Callable[..., str]:
    """`broken(file, **changes)`: a copy of a checkpoint with other values in a file, or without
    the file; its name."""

    def change(file: str, **changes: Any) -> str:
        for source in folder("videomae")[0].iterdir():
            (tmp_path / source.name).write_bytes(source.read_bytes())
        place = tmp_path / file
        if changes:
            place.write_text(json.dumps(json.loads(place.read_text()) | changes))
        else:
            place.unlink()
        return f"hf:{tmp_path}"

    return change


@pytest.mark.parametrize(
    ("file", "changes", "told"),
    [
        ("config.json", {}, "has no config.json"),
        ("model.safetensors", {}, "has no model.safetensors"),
        ("preprocessor_config.json", {}, "says how frames are scaled"),
        ("config.json", {"model_type": "bert"}, "type bert; vidlabel reads VideoMAE"),
        ("config.json", {"id2label": None}, "names no classes"),
        ("config.json", {"id2label": {"0": "a", "1": "a", "2": "b"}}, "two classes have the same"),
        ("config.json", {"id2label": {"0": "a", "1": "b\x1b[31m", "2": "c"}}, "cannot be called"),
        ("config.json", {"hidden_size": 64}, "its network needs|do not fit"),
        ("config.json", {"num_hidden_layers": 3}, "its network needs|do not fit"),
        ("config.json", {"num_hidden_layers": 10**9}, "too large"),
        ("config.json", {"hidden_size": 10**9}, "too large"),
        ("config.json", {"hidden_size": "x"}, "cannot read it"),
        ("preprocessor_config.json", {"resample": 0}, "not bilinear or bicubic"),
        ("preprocessor_config.json", {"do_resize": False}, "to one size"),
        ("preprocessor_config.json", {"crop_size": {"height": 24, "width": 32}}, "crops"),
        ("preprocessor_config.json", {"crop_size": {"height": 36, "width": 36}}, "network reads"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_one_line(
    broken: Any, file: str, changes: dict[str, Any], told: str
) -> None:
    with pytest.raises(CheckpointError, match=told) as caught:
        load_checkpoint(broken(file, **changes))
    assert "\n" not in str(caught.value)
    assert "\x1b" not in str(caught.value)


def test_pickles_are_never_read(broken: Any, tmp_path: Path) -> None:
    name = broken("model.safetensors")
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x04not read")
    with pytest.raises(CheckpointError, match="never read"):
        load_checkpoint(name)


@pytest.mark.usefixtures("no_network")
def test_settings_that_fetch_or_run_code_are_left_out(broken: Any, tmp_path: Path) -> None:
    name = broken(
        "config.json", _attn_implementation="owner/kernel", attn_implementation="owner/kernel",
        auto_map={"AutoConfig": "own.Config", "AutoModelForVideoClassification": "own.Model"},
        quantization_config={"quant_method": "bitsandbytes", "load_in_8bit": True},
    )  # fmt: skip
    (tmp_path / "own.py").write_text("raise SystemExit('code of the checkpoint ran')")
    assert load_checkpoint(name).header.classes == CLASSES


def test_a_model_that_was_not_fine_tuned_is_refused(broken: Any, tmp_path: Path) -> None:
    name = broken("config.json", norm_pix_loss=True)
    state = load_file(tmp_path / "model.safetensors")
    state["decoder.weight"] = torch.zeros(4000)  # as large as the head that it lacks, and larger
    save_file(
        {k: v for k, v in state.items() if not k.startswith("classifier.")},
        tmp_path / "model.safetensors",
    )
    with pytest.raises(CheckpointError, match="not yet fine-tuned"):
        load_checkpoint(name)


def test_weights_that_are_not_finite_are_refused(broken: Any, tmp_path: Path) -> None:
    name = broken("config.json", norm_pix_loss=True)
    state = load_file(tmp_path / "model.safetensors")
    state["classifier.bias"][0] = torch.nan
    save_file(state, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match="not finite"):
        load_labeller(name, "cpu")
