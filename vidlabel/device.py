"""The device that a network runs on: which exist, what they can do, how they fail."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

from vidlabel.errors import DeviceError, UsageError

# A failed allocation of the driver or of a library raises another error than one of torch's own
# allocator; both are handled alike.
_OUT_OF_MEMORY = re.compile(
    r"(CUDA|HIP)( driver)? error: out of memory|MPS backend out of memory|STATUS_ALLOC_FAILED"
)


def pick_device(name: str) -> torch.device:
    """The device of a name; `auto` is the first GPU, or the CPU if there is none.

    Raises:
        UsageError: the name is not that of a device.
        DeviceError: this machine has no such device.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    if not (known := re.fullmatch(r"cpu|mps|cuda(:([0-9]{1,3}))?", name)):
        raise UsageError(f"--device {name}: not a device; try auto, cpu, cuda, cuda:1 or mps")
    if name.startswith("cuda") and int(known[2] or 0) >= torch.cuda.device_count():
        count = torch.cuda.device_count()
        raise DeviceError(f"--device {name}: there are {count} CUDA devices here; try --device cpu")
    if name == "mps" and not torch.backends.mps.is_available():
        raise DeviceError("--device mps: not available here; try --device cpu")
    return torch.device(name)


def has_bf16(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 in hardware, so that using it saves time."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type == "cpu":
        try:
            words = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").split()
        except OSError:
            return False
        return not {"avx512_bf16", "amx_bf16", "bf16"}.isdisjoint(words)
    return False


@contextmanager
def beside_decoders(device: torch.device) -> Iterator[None]:
    """Use a quarter of the threads on the CPU while decoder processes keep the cores busy.

    The threads of a matrix kernel wait for the slowest one. If there are more threads than free
    cores, one of them is not even running, and waiting for it costs more than the threads save.
    """
    if device.type != "cpu":
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(max(1, before // 4))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def out_of_memory(error: RuntimeError) -> bool:
    """Whether an error says that a device is out of memory."""
    return isinstance(error, torch.OutOfMemoryError) or bool(_OUT_OF_MEMORY.search(str(error)))


@contextmanager
def device_errors(device: torch.device) -> Iterator[None]:
    """Turns errors of the device into DeviceError."""
    try:
        yield
    except RuntimeError as error:
        if not (out_of_memory(error) or isinstance(error, torch.AcceleratorError)):
            raise
        why = str(error).strip().partition("\n")[0]
        raise DeviceError(f"{device} failed ({why}); try --device cpu") from error


def to_device(values: Tensor, device: torch.device) -> Tensor:
    """A CPU tensor copied to the device without waiting for it: a GPU copies in the background,
    but only from pinned memory."""
    if device.type != "cuda":
        return values.to(device)
    return values.pin_memory().to(device, non_blocking=True)
