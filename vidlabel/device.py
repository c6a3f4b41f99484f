"""The device that a network computes on: which there are, what they can do, how they fail."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from vidlabel.errors import DeviceError, UsageError

# Memory that the driver or a library cannot get comes as another error than what torch's own
# allocator cannot get; all that is left to do is the same.
_OUT_OF_MEMORY = re.compile(
    r"(CUDA|HIP)( driver)? error: out of memory|MPS backend out of memory|STATUS_ALLOC_FAILED"
)


def pick_device(name: str) -> torch.device:
    """The device that a name means; `auto` is the first GPU, else the CPU.

    Raises:
        UsageError: the name is not a device's.
        DeviceError: there is no such device here.
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
    """Whether the device multiplies bfloat16 in hardware, so that it is worth using."""
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
    """Compute with fewer threads while decoder processes keep the cores busy.

    The threads of a matrix kernel wait for the slowest of them. If they outnumber the free cores,
    that one has yet to be scheduled, and the waiting costs far more than the threads bring.
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
    """Whether an error says that a device has too little memory left."""
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
