"""Checkpoints that are broken or malicious, and devices that fail or are not there.

The numbers are those of the failure matrix that the project is built on. Out of memory and a lost
device are played on the CPU, by an inner function that raises what CUDA would; the tests marked
`gpu` do it on a real one.
"""

from __future__ import annotations

import json
import os
import pickle
import struct
import subprocess
import sys
import tracemalloc
import weakref
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fakes import CLIP, colour_checkpoint, random_checkpoint
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file

from vidlabel.device import pick_device
from vidlabel.errors import CheckpointError, DeviceError
from vidlabel.models.build import build_model
from vidlabel.models.checkpoint import Header, load_checkpoint, read_header, save_checkpoint
from vidlabel.models.trunks import load_trunk
from vidlabel.predict import runner as inference
from vidlabel.predict.runner import Runner
from vidlabel.specs import ClipSpec, ModelSpec

CPU = torch.device("cpu")
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.fixture(scope="session")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_checkpoint(tmp_path_factory.mktemp("checkpoint") / "healthy.safetensors")


@pytest.fixture
def path(healthy: Path, tmp_path: Path) -> Path:
    """A healthy checkpoint to break."""
    copy = tmp_path / "model.safetensors"
    copy.write_bytes(healthy.read_bytes())
    return copy


def _refusal(path: Path | str) -> str:
    """Why a checkpoint is refused: one line that names the file."""
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(str(path))
    message = str(caught.value)
    assert message.isprintable()
    assert len(message) < 1000
    return message


def _write(path: Path, text: str | bytes, tensors: bytes = b"") -> None:
    """A file with the layout of safetensors and any JSON."""
    data = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    path.write_bytes(struct.pack("<Q", len(data)) + data + tensors)


def _describe(path: Path, text: str) -> None:
    """Keep the weights, replace the description."""
    save_file(load_file(path), path, metadata={"vidlabel": text})


def _rewrite(path: Path, **changes: object) -> None:
    _describe(path, json.dumps(json.loads(read_header(path).to_json()) | changes))


def _table(path: Path) -> tuple[dict[str, Any], bytes]:
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    return json.loads(data[8 : 8 + length]), data[8 + length :]


class Attack:
    """Unpickling this touches a file."""

    def __init__(self, marker: Path) -> None:
        self._marker = marker

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return (Path.touch, (self._marker,))


def _pickles(folder: Path, marker: Path) -> list[Path]:
    files = [folder / name for name in ("zip.pt", "old.pth", "plain.pkl", "named.safetensors")]
    torch.save(Attack(marker), files[0])
    torch.save(Attack(marker), files[1], _use_new_zipfile_serialization=False)
    files[2].write_bytes(pickle.dumps(Attack(marker), protocol=2))
    torch.save(Attack(marker), files[3])
    return files


def test_b2_43_a_pickle_is_never_unpickled(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    for file in _pickles(tmp_path, marker):
        assert "pickles (.pt, .pth) can run code" in _refusal(file)
        with pytest.raises(CheckpointError):
            read_header(file)
    assert not marker.exists()
    with pytest.raises(AttributeError):  # as pathlib's method returns None: the attack does work
        pickle.loads((tmp_path / "plain.pkl").read_bytes()).nonsense  # noqa: B018
    assert marker.exists()


def test_b2_43_a_pickled_trunk_is_never_unpickled(tmp_path: Path) -> None:
    network = build_model(ModelSpec(classes=2), CLIP)
    marker = tmp_path / "ran"
    for file in _pickles(tmp_path, marker)[:3]:
        with pytest.raises(CheckpointError, match="--trunk-weights"):
            load_trunk(network.trunk, "mnasnet0_5", str(file))
    assert not marker.exists()


def test_b2_43_a_zip_bomb_is_not_unpacked(tmp_path: Path) -> None:
    bomb = tmp_path / "bomb.pt"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("archive/data.pkl", bytes(64 * 1024**2))
    assert bomb.stat().st_size < 100_000
    tracemalloc.start()
    _refusal(bomb)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1_000_000


@pytest.mark.parametrize(
    "content",
    [b"", b"<!doctype html><html>404</html>", b"PK\5\6" + bytes(18), b"\0" * 64, os.urandom(300)],
    ids=["empty", "html", "empty zip", "zeros", "random"],
)
def test_b2_43_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    assert "not a checkpoint of vidlabel" in _refusal(path)


def test_b2_43_what_is_no_file_is_refused_without_opening_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.safetensors")
    (tmp_path / "link.safetensors").symlink_to("/dev/zero")
    (tmp_path / "loop.safetensors").symlink_to("loop.safetensors")
    assert "pipe, socket or device" in _refusal(tmp_path / "fifo.safetensors")
    assert "pipe, socket or device" in _refusal(tmp_path / "link.safetensors")
    assert "a folder" in _refusal(tmp_path)
    for name in ("loop.safetensors", "n" * 300, "a\0b", "healthy.safetensors/x", "no\x1b[2J\nfile"):
        _refusal(tmp_path / name)
    with pytest.raises(CheckpointError):
        read_header(tmp_path / "fifo.safetensors")


def test_b2_43_a_file_that_cannot_be_read_is_refused(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", denied)
    assert "Permission denied" in _refusal(path)
    monkeypatch.setattr(Path, "stat", denied)
    assert "Permission denied" in _refusal(path)


@pytest.mark.parametrize("keep", [0, 4, 8, 100, 5000, -1])
def test_b2_44_a_truncated_file_is_refused(path: Path, keep: int) -> None:
    path.write_bytes(path.read_bytes()[:keep])
    assert str(path) in _refusal(path)


def test_b2_44_a_file_with_more_than_its_tensors_is_refused(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"x")
    assert "corrupt" in _refusal(path)


@pytest.mark.parametrize("length", [0, 1, 50, 10**6, 10**8, 10**8 + 1, 2**60, 2**64 - 1])
def test_b2_44_a_lying_header_length_takes_no_memory(path: Path, length: int) -> None:
    path.write_bytes(struct.pack("<Q", length) + path.read_bytes()[8:100_000])
    tracemalloc.start()
    assert "not a checkpoint of vidlabel" in _refusal(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2_000_000


DEEP = 100_000


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[]",
        b"null",
        b"3",
        b'"x"',
        b"\xff\xfe",
        b"{",
        b'{"a": 1, "a": 2}',
        b'{"__metadata__": {}, "__metadata__": {}}',
        b"[" * DEEP + b"]" * DEEP,
        b'{"a":' * DEEP + b"1" + b"}" * DEEP,
        b"9" * 10_000,
    ],
    ids=lambda text: str(text[:16]),
)
def test_b2_44_a_header_that_is_no_object_is_refused(path: Path, text: bytes) -> None:
    _write(path, text)
    assert "not a checkpoint of vidlabel" in _refusal(path)


@pytest.mark.parametrize("metadata", [None, [], "x", {}, {"vidlabel": 3}, {"vidlabel": None}])
def test_b2_44_other_safetensors_are_refused(path: Path, metadata: object) -> None:
    _write(path, json.dumps({"__metadata__": metadata}))
    assert "not a checkpoint of vidlabel" in _refusal(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda entry: entry.update(data_offsets=[0, 1024]), "corrupt"),  # overlaps others
        (lambda entry: entry.update(data_offsets=[2**40, 2**40 + 1024]), "corrupt"),
        (lambda entry: entry.update(data_offsets=[-1024, 0]), "corrupt"),
        (lambda entry: entry.update(data_offsets=[1024, 0]), "corrupt"),
        (lambda entry: entry.update(data_offsets="x"), "corrupt"),
        (lambda entry: entry.pop("data_offsets"), "corrupt"),
        (lambda entry: entry.update(shape=[2**40]), "the model needs"),
        (lambda entry: entry.update(shape=[-256]), "the model needs"),
        (lambda entry: entry.update(shape="256\n"), "the model needs"),
        (lambda entry: entry.update(shape=[256.0]), "corrupt"),
        (lambda entry: entry.update(dtype="I32"), "of type I32"),
        (lambda entry: entry.update(dtype="F64"), "of type F64"),
        (lambda entry: entry.update(dtype="F16"), "bytes instead of"),
        (lambda entry: entry.update(dtype="X\x1b[2J"), "of type X"),
        (lambda entry: entry.update(dtype=[1]), "of type"),
        (lambda entry: entry.clear(), "the model needs"),
    ],
)
def test_b2_44_tensors_that_lie_are_refused(
    path: Path, change: Callable[[dict[str, Any]], None], message: str
) -> None:
    table, tensors = _table(path)
    change(table["embed.bias"])
    _write(path, json.dumps(table), tensors)
    assert message in _refusal(path)


@pytest.mark.parametrize("entry", [None, 3, "x", []])
def test_b2_44_an_entry_that_is_no_object_is_refused(path: Path, entry: object) -> None:
    table, tensors = _table(path)
    _write(path, json.dumps(table | {"embed.bias": entry}), tensors)
    assert "embed.bias" in _refusal(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"classes": ["a", "b"]}, "2 class names"),
        ({"classes": ["a", "b", "a"]}, "same name"),
        ({"classes": "abc"}, "list of strings"),
        ({"classes": {"a": 1, "b": 2, "c": 3}}, "list of strings"),
        ({"classes": ["a", "b", 3]}, "list of strings"),
        ({"classes": ["a", "b", None]}, "list of strings"),
        ({"classes": ["a", "b", ""]}, "called ''"),
        ({"classes": ["a", "b", " "]}, "called ' '"),
        ({"classes": ["a", "b", "c\nd"]}, r"c\x0ad"),
        ({"classes": ["a", "b", "\x1b[2Jc"]}, r"\x1b[2Jc"),
        ({"classes": ["a", "b", "\u202ec"]}, r"\u202ec"),
        ({"classes": ["a", "b", "\ud800"]}, r"\ud800"),
        ({"classes": ["a", "b", "c" * 10**6]}, "a class cannot be called"),
        ({"format": 99}, "format"),
        ({"format": None}, "format"),
        ({"temperature": 0}, "temperature"),
        ({"temperature": -1.0}, "temperature"),
        ({"temperature": float("nan")}, "temperature"),
        ({"temperature": float("inf")}, "temperature"),
        ({"temperature": 10**400}, "temperature"),
        ({"temperature": "1.0"}, "temperature"),
        ({"temperature": True}, "temperature"),
        ({"temperature": None}, "temperature"),
        ({"clip": {"frames": 0}}, "--frames"),
        ({"clip": {"frames": 4.0}}, "frames must be of type int"),
        ({"clip": {"frames": "4"}}, "frames must be of type int"),
        ({"clip": {"frames": True}}, "frames must be of type int"),
        ({"clip": {"frames": 1024, "size_px": 1024, "resize_px": 1024}}, "MiB"),
        ({"clip": {"step_s": float("nan")}}, "--step"),
        ({"clip": {"input": ["rgb"]}}, "input must be of type str"),
        ({"clip": {"nonsense": 1}}, "nonsense"),
        ({"clip": {"a\nb\x1b[2J": 1}}, r"a\x0ab\x1b[2J"),
        ({"model": None}, "model must be an object"),
        ({"model": []}, "model must be an object"),
        ({"model": {"classes": 3, "hidden": 16.5}}, "hidden must be of type int"),
        ({"model": {"classes": 3, "dropout": float("nan")}}, "--dropout"),
        ({"model": {"classes": 3, "arch": "evil\n"}}, r"no model evil\x0a"),
        ({"model": {"classes": 3, "arch": []}}, "arch must be of type str"),
        ({"model": {"classes": 3, "cell": "transformer"}}, "--cell"),
        ({"metrics": [1]}, "metrics must be an object"),
        ({"metrics": None}, "metrics must be an object"),
        ({"training": "x"}, "training must be an object"),
        ({"trained_on": "x"}, "trained_on must be a list"),
        ({"trained_on": [1]}, "trained_on must be a list"),
    ],
)
def test_b2_45_a_wrong_description_is_refused(
    path: Path, changes: dict[str, Any], message: str
) -> None:
    _rewrite(path, **changes)
    assert message in _refusal(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "header is wrong"),
        ("[]", "must be an object"),
        ("[" * DEEP + "]" * DEEP, "nested too deeply"),
        ('{"format": 1, "format": 1}', "twice"),
        ('{"format": 1}', "classes, clip, metrics, model"),
    ],
)
def test_b2_45_a_description_that_is_none_is_refused(path: Path, text: str, message: str) -> None:
    _describe(path, text)
    assert message in _refusal(path)


def test_b2_45_weights_that_do_not_fit_are_refused(path: Path) -> None:
    state = load_file(path)
    metadata = {"vidlabel": read_header(path).to_json()}
    save_file({k: v for k, v in state.items() if k != "embed.bias"}, path, metadata=metadata)
    assert "missing ['embed.bias']" in _refusal(path)
    save_file(state | {"embed.bias": torch.zeros(3)}, path, metadata=metadata)
    assert "embed.bias is (3,)" in _refusal(path)
    save_file(state | {"a\n\x1b": torch.zeros(3)}, path, metadata=metadata)
    assert "unexpected" in _refusal(path)
    save_file(state | {"embed.bias": torch.zeros(256, dtype=torch.int64)}, path, metadata=metadata)
    assert "of type I64" in _refusal(path)


@pytest.mark.parametrize(
    "huge", [{"hidden": 8192}, {"features": 8192, "kernel": 31, "embed": 8192}]
)
def test_b2_45_a_small_file_cannot_name_a_huge_model(
    path: Path, huge: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    built: list[bool] = []

    def build(model: ModelSpec, clip: ClipSpec) -> object:
        network = build_model(model, clip)
        built.append(all(value.is_meta for value in network.state_dict().values()))
        return network

    monkeypatch.setattr("vidlabel.models.checkpoint.build_model", build)
    model = json.loads(read_header(path).to_json())["model"]
    _rewrite(path, model=model | huge)
    assert "the model needs" in _refusal(path)
    assert built == [True], "only the shapes"


def test_b2_45_a_million_classes_without_weights_are_refused(path: Path) -> None:
    classes = 10**6
    model = json.loads(read_header(path).to_json())["model"]
    _rewrite(path, model=model | {"classes": classes}, classes=[str(i) for i in range(classes)])
    assert "the model needs (1000000" in _refusal(path)


def test_b2_45_more_classes_than_names_are_refused(path: Path) -> None:
    model = json.loads(read_header(path).to_json())["model"]
    _rewrite(path, model=model | {"classes": 10**9})
    assert "3 class names for a model of 1000000000 classes" in _refusal(path)


def test_b2_45_many_training_clips_are_no_problem(path: Path) -> None:
    seen = [f"clips/{i}\n.avi" for i in range(200_000)]
    _rewrite(path, trained_on=seen)
    assert load_checkpoint(str(path)).header.trained_on == tuple(seen)


def test_b2_44_a_broken_checkpoint_ends_the_command_before_any_decoding(
    path: Path, tmp_path: Path
) -> None:
    path.write_bytes(path.read_bytes()[:-1])
    os.mkfifo(tmp_path / "video.mp4")
    command = [sys.executable, "-m", "vidlabel", "predict", str(tmp_path), "--model", str(path)]
    out = tmp_path / "labels.csv"
    done = subprocess.run(
        [*command, "--out", str(out)], capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 3, done.stderr
    assert "corrupt checkpoint" in done.stderr
    assert "Traceback" not in done.stderr
    assert not out.exists()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_b2_46_weights_that_are_not_finite_are_refused(path: Path, value: float) -> None:
    state = load_file(path)
    state["classify.weight"][0, 0] = value
    save_file(state, path, metadata={"vidlabel": read_header(path).to_json()})
    assert "classify.weight holds values that are not finite" in _refusal(path)


@pytest.mark.parametrize(
    ("key", "value"),
    [("classify.weight", 3e38), ("mix.weight", 3e38), ("trunk.1.running_var", -5.0)],
)
def test_b2_46_finite_weights_that_overflow_fail_the_self_test(
    path: Path, key: str, value: float
) -> None:
    healthy = load_checkpoint(str(path))
    Runner(healthy.network, 1.0, CPU).self_test(healthy.header.clip.shape)
    state = load_file(path)
    state[key] = torch.full_like(state[key], value)
    save_file(state, path, metadata={"vidlabel": read_header(path).to_json()})
    checkpoint = load_checkpoint(str(path))
    with pytest.raises(CheckpointError, match="output is not finite, even for a test clip"):
        Runner(checkpoint.network, 1.0, CPU).self_test(checkpoint.header.clip.shape)


def test_b2_46_embeddings_that_are_not_finite_fail_the_self_test() -> None:
    network = colour_checkpoint().network
    network.read = lambda frames: (  # type: ignore[method-assign]
        torch.full((len(frames), 3), torch.inf), torch.zeros(len(frames), 3),
    )  # fmt: skip
    with pytest.raises(CheckpointError, match="output is not finite"):
        Runner(network, 1.0, CPU).self_test(CLIP.shape)


def _clips(count: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (count, *CLIP.shape), dtype=np.uint8)


@pytest.fixture
def runner(healthy: Path) -> Runner:
    return Runner(load_checkpoint(str(healthy)).network, 0.7, CPU, "fp32")


def _expected(runner: Runner, *batches: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
    plain = Runner(runner._source, 0.7, CPU, "fp32")
    found = []
    for batch in batches:
        plain.submit(batch)
        found.append(plain.collect().probabilities)
    return found


def _limit(runner: Runner, most: int, error: RuntimeError) -> list[int]:
    """Let the runner's device have memory for so many clips; gives the numbers it tried."""
    tried: list[int] = []
    compute = runner._on_cpu
    leftover: list[weakref.ref[torch.Tensor]] = []

    def limited(clips: NDArray[Any], stage: Any) -> Any:
        assert not any(ref() is not None for ref in leftover), "a failed try still holds memory"
        tried.append(len(clips))
        if len(clips) > most:
            activation = torch.zeros(3)
            leftover.append(weakref.ref(activation))
            raise type(error)(*error.args)  # a new one: a traceback keeps its frames' tensors
        return compute(clips, stage)

    runner._on_cpu = limited  # type: ignore[method-assign]
    return tried


OUT_OF_MEMORY = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB."),
    torch.AcceleratorError("CUDA error: out of memory\nCUDA kernel errors might be reported later"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    RuntimeError("MPS backend out of memory (MPS allocated: 9.06 GB)"),
]


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=lambda error: str(error)[:30])
def test_b2_47_out_of_memory_halves_the_batch_and_remembers(
    runner: Runner, error: RuntimeError
) -> None:
    first, second = _clips(10), _clips(7, seed=1)
    expected = _expected(runner, first, second)
    tried = _limit(runner, 3, error)
    assert runner.clips_at_once is None
    runner.submit(first)
    assert tried == [10, 5, 2, 2, 2, 2, 2]
    assert (runner.clips_at_once, runner.fell_back) == (2, False)
    tried.clear()
    runner.submit(second)
    assert tried == [2, 2, 2, 1], "no more than what fitted"
    for numbers in expected:
        np.testing.assert_allclose(runner.collect().probabilities, numbers, atol=1e-6)


@pytest.mark.parametrize(("least", "sizes"), [(1, [4, 4, 2, 1, 1, 1, 1]), (0, [4, 4, 2, 1])])
def test_b2_47_memory_that_goes_in_the_middle_of_a_batch(
    runner: Runner, least: int, sizes: list[int]
) -> None:
    clips = _clips(8)
    (expected,) = _expected(runner, clips)
    runner.clips_at_once = 4
    compute = runner._on_cpu
    calls: list[int] = []

    def later(clips: NDArray[Any], stage: Any) -> Any:
        calls.append(len(clips))
        if len(calls) > 1 and len(clips) > least:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return compute(clips, stage)

    runner._on_cpu = later  # type: ignore[method-assign]
    runner.submit(clips)
    assert calls == sizes, "what was computed is kept"
    assert runner.fell_back == (least == 0)
    np.testing.assert_allclose(runner.collect().probabilities, expected, atol=1e-6)


def test_b2_47_where_no_clip_fits_the_cpu_computes(runner: Runner) -> None:
    first, second = _clips(3), _clips(9, seed=1)
    expected = _expected(runner, first, second)
    tried = _limit(runner, 0, OUT_OF_MEMORY[0])
    runner.submit(first)
    assert tried == [3, 1]
    assert runner.fell_back
    stand_in = runner._stand_in
    assert stand_in is not None
    assert (stand_in.device, stand_in.precision) == (CPU, "fp32")
    runner.submit(second)
    assert tried == [3, 1], "the device is not tried again"
    assert runner._stand_in is stand_in, "made once"
    for numbers in expected:
        np.testing.assert_allclose(runner.collect().probabilities, numbers, atol=1e-6)
    again = runner.in_fp32()
    again.submit(first)
    np.testing.assert_allclose(again.collect().probabilities, expected[0], atol=1e-6)


def test_b2_47_no_memory_to_pin_is_no_reason_to_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    empty = torch.empty

    def allocate(*args: Any, pin_memory: bool = False, **settings: Any) -> torch.Tensor:
        if pin_memory:
            raise error
        return empty(*args, **settings)

    monkeypatch.setattr(torch, "empty", allocate)
    for case in OUT_OF_MEMORY:
        error = case
        assert inference._buffer((2, 3), torch.uint8).shape == (2, 3)
    error = torch.AcceleratorError("CUDA error: device-side assert triggered")
    with pytest.raises(torch.AcceleratorError):
        inference._buffer((2, 3), torch.uint8)


LOST = [
    torch.AcceleratorError("CUDA error: device-side assert triggered\nCUDA kernel errors\nmight"),
    torch.AcceleratorError("the accelerator is gone"),
    RuntimeError("CUDA error: an illegal memory access was encountered\nCUDA kernel errors"),
    RuntimeError("CUDA driver error: device not ready"),
    RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"),
    RuntimeError("HIP error: invalid device function"),
    RuntimeError("CUDA unknown error - this may be due to an incorrectly set up environment"),
]


class _Never:
    """The event of a GPU that was lost before it happened."""

    def __init__(self, error: RuntimeError) -> None:
        self._error = error

    def synchronize(self) -> None:
        raise self._error


@pytest.mark.parametrize("error", LOST, ids=lambda error: str(error)[:30])
@pytest.mark.parametrize("late", [False, True], ids=["submit", "collect"])
def test_b2_48_a_lost_device_stays_lost(runner: Runner, error: RuntimeError, late: bool) -> None:
    compute = runner._on_cpu
    calls: list[int] = []

    def lose(clips: NDArray[Any], stage: Any) -> Any:
        calls.append(len(clips))
        if late:
            return replace(compute(clips, stage), done=_Never(error))
        raise error

    runner._on_cpu = lose  # type: ignore[method-assign]

    def use() -> None:
        runner.submit(_clips(2))
        runner.collect()

    with pytest.raises(DeviceError, match="run the same command to resume") as caught:
        use()
    assert str(caught.value).isprintable()
    assert str(error).partition("\n")[0] in str(caught.value)
    assert calls == [2], "no second try"
    for again in (use, runner.collect, lambda: runner.in_fp32().submit(_clips(1))):
        with pytest.raises(DeviceError, match="run the same command to resume"):
            again()
    with pytest.raises(DeviceError):
        runner.self_test(CLIP.shape)
    assert calls == [2]


def test_b2_48_a_device_that_fails_at_the_start(
    healthy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 MiB.")

    network = load_checkpoint(str(healthy)).network
    monkeypatch.setattr(torch.nn.Module, "to", fail)
    with pytest.raises(DeviceError, match="cpu failed"):
        Runner(network, 1.0, CPU)


def test_b2_48_other_errors_are_not_swallowed(runner: Runner) -> None:
    compute = runner._on_cpu
    message = "mat1 and mat2 shapes cannot be multiplied (4x3 and 5x6)"

    def fail(clips: NDArray[Any], stage: Any) -> Any:
        raise RuntimeError(message)

    runner._on_cpu = fail  # type: ignore[method-assign]
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        runner.submit(_clips(2))
    runner._on_cpu = compute  # type: ignore[method-assign]
    runner.submit(_clips(2))
    assert len(runner.collect().probabilities) == 2


def test_b2_49_a_device_that_is_not_there_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    for name in ("cuda", "cuda:0", "cuda:1", "cuda:256"):  # torch reads the last as cuda:0
        with pytest.raises(DeviceError, match=f"--device {name}: there are 0 CUDA devices"):
            pick_device(name)
    with pytest.raises(DeviceError, match="--device mps"):
        pick_device("mps")
    assert pick_device("auto") == CPU


def test_b2_49_a_gpu_too_many_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert pick_device("auto") == torch.device("cuda")
    assert pick_device("cuda:1") == torch.device("cuda:1")
    with pytest.raises(DeviceError, match="there are 2 CUDA devices"):
        pick_device("cuda:2")


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize(("room_mib", "fell_back"), [(300, False), (0, True)])
def test_b2_47_a_real_gpu_out_of_memory(tmp_path: Path, room_mib: int, fell_back: bool) -> None:
    clip = ClipSpec(frames=32, size_px=224, resize_px=224)  # over 100 MiB in the trunk
    network = build_model(ModelSpec(classes=3), clip)
    save_checkpoint(tmp_path / "m", Header(ModelSpec(classes=3), clip, ("a", "b", "c")), network)
    runner = Runner(load_checkpoint(str(tmp_path / "m")).network, 1.0, torch.device("cuda"), "fp32")
    clips = np.random.default_rng(0).integers(0, 256, (6, *clip.shape), dtype=np.uint8)
    runner.submit(clips)
    expected = runner.collect()
    assert runner.clips_at_once is None
    torch.cuda.empty_cache()
    room = torch.cuda.memory_reserved() + room_mib * 1024**2
    torch.cuda.set_per_process_memory_fraction(
        room / torch.cuda.get_device_properties(0).total_memory
    )
    try:
        for _ in range(2):
            runner.submit(clips)
        outputs = [runner.collect(), runner.collect()]
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert runner.clips_at_once is not None
    assert runner.clips_at_once < len(clips)
    assert runner.fell_back == fell_back
    for output in outputs:
        np.testing.assert_allclose(output.probabilities, expected.probabilities, atol=2e-3)


LOSE_GPU = """
import numpy as np, torch
from vidlabel.models.checkpoint import load_checkpoint
from vidlabel.errors import DeviceError
from vidlabel.predict.runner import Runner
import sys
checkpoint = load_checkpoint(sys.argv[1])
runner = Runner(checkpoint.network, 1.0, torch.device("cuda"))
clips = np.zeros((2, *checkpoint.header.clip.shape), dtype=np.uint8)
runner.submit(clips)
runner.collect()
torch.zeros(2, device="cuda")[torch.tensor([5], device="cuda")]
for _ in range(3):
    try:
        runner.submit(clips)
        runner.collect()
    except DeviceError as error:
        print("DeviceError", str(error).isprintable(), "same command to resume" in str(error))
"""


@pytest.mark.gpu
@needs_gpu
def test_b2_48_a_real_gpu_that_is_lost(path: Path) -> None:
    command = [sys.executable, "-c", LOSE_GPU, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.stdout.splitlines() == ["DeviceError True True"] * 3, done.stderr
