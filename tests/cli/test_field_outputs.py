"""Field 20: rare formats by their own suffix, and outputs named like files or in new folders."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import videos
from PIL import Image
from program import Invoke

MakeVideo = Callable[..., Path]
pytestmark = pytest.mark.field


def write_gif(path: Path, frames: int) -> Path:
    pictures = [Image.fromarray(videos.barcode(n, 64, 48)) for n in range(frames)]
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=100)
    return path


def looked_at(vidlabel: Invoke, path: Path, model: Path, folder: Path) -> list[int]:
    """The exit codes of predict, review, render and info for one file."""
    table, cpu = folder / "l.csv", ("--device", "cpu", "-q")
    commands = [
        ("predict", path, "-m", model, "-o", table, *cpu),
        ("review", table, "-q"),
        ("render", path, "--labels", table, "-o", folder / "previews", *cpu),
        ("render", path, "-m", model, "-o", folder / "again.mp4", *cpu),
        ("info", path),
    ]
    return [vidlabel(*command)[0] for command in commands]


@pytest.mark.parametrize(
    ("suffix", "codec", "pix_fmt"),
    [
        (".gif", "", ""),
        (".mjpeg", "mjpeg", "yuvj420p"),
        (".y4m", "wrapped_avframe", "yuv420p"),
        (".apng", "apng", "rgb24"),
    ],
)
def test_every_command_reads_a_rare_format_by_its_suffix(
    suffix: str, codec: str, pix_fmt: str, vidlabel: Invoke, model: Path, make_video: MakeVideo,
    tmp_path: Path,
) -> None:  # fmt: skip
    """field 20: predict read a GIF with a flag, review and render refused it."""
    if suffix == ".gif":
        path = write_gif(tmp_path / "x.gif", 8)
    else:
        path = make_video(suffix=suffix, codec=codec, pix_fmt=pix_fmt, frames=8)
    assert looked_at(vidlabel, path, model, tmp_path) == [0] * 5


@pytest.mark.parametrize("kind", ["gif", "png"])
def test_a_still_picture_is_no_video_for_any_command(
    kind: str, vidlabel: Invoke, model: Path, tmp_path: Path
) -> None:
    """field 20: what is refused is said, by every command alike."""
    path = tmp_path / f"x.{'apng' if kind == 'png' else kind}"
    Image.fromarray(videos.barcode(1, 64, 48)).save(path, format=kind)
    code, rows, _ = vidlabel("predict", path, "-m", model, "--device", "cpu", "-q")
    assert code == 1
    assert "not_video" in rows
    code, _, told = vidlabel("info", path)
    assert code == 1
    assert "not a video" in told


@pytest.mark.parametrize(
    "arguments",
    [
        ("render", "x.mp4", "--flow", "uv", "--out", "one.png"),
        ("render", "x.mp4", "--flow", "uv", "--out", "deep/one.JPG"),
        ("render", "x.mp4", "--flow", "uv", "--out", "labels.csv"),
        ("train", ".", "--out", "model.safetensors"),
        ("eval", ".", "--model", "starter", "--out", "report.json"),
    ],
)
def test_a_folder_is_not_named_like_a_file(
    arguments: tuple[str, ...], vidlabel: Invoke, make_video: MakeVideo, tmp_path: Path
) -> None:
    """field 20: `--out one.png` made a folder called one.png."""
    (tmp_path / "x.mp4").write_bytes(make_video(frames=4).read_bytes())
    code, _, told = vidlabel(*arguments, cwd=tmp_path)
    assert code == 2
    assert told.splitlines()[-1].startswith(f"error: --out {arguments[-1]}: must be a ")
    assert [path.name for path in tmp_path.iterdir()] == ["x.mp4"]


def test_a_folder_may_have_a_dot(vidlabel: Invoke, make_video: MakeVideo, tmp_path: Path) -> None:
    """field 20: a version, or a folder that is there, is no file name."""
    (tmp_path / "there.png").mkdir()
    for name in ("run.v2", "2024.06.01", "there.png"):
        out = tmp_path / name
        assert vidlabel("render", make_video(frames=4), "--flow", "uv", "-o", out)[0] == 0
        assert [path.suffix for path in out.glob("*.mp4")] == [".mp4"]


def test_folders_of_outputs_are_made(
    vidlabel: Invoke, make_video: MakeVideo, model: Path, tmp_path: Path
) -> None:
    """field 20: predict refused a folder that train and render would have made."""
    table, vectors = tmp_path / "new" / "dir" / "l.csv", tmp_path / "other" / "v.npz"
    command = ("predict", make_video(frames=4), "-m", model, "--device", "cpu", "-q", "-o", table)
    assert vidlabel(*command, "--embeddings", vectors)[0] == 0
    assert vidlabel("export", table, "-o", tmp_path / "exported" / "l.json")[0] == 0
    assert vidlabel("review", table, "-q", "-o", tmp_path / "page" / "l.html")[0] == 0
    for path in (table, vectors, tmp_path / "exported" / "l.json", tmp_path / "page" / "l.html"):
        assert path.is_file()
