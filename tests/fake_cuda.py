"""Fake GPUs: the engine runs "on cuda" unchanged, but on the CPU, and all transfers are recorded.

Tensors stay ordinary CPU tensors; their storage is tagged with the device it stands for. Within `FakeCuda`

* `x.device`, factories with `device=`, `.to`, `.cpu`, `.pin_memory`, `torch.Generator`, `torch.autocast`
  and `torch.cuda.*` behave as on a machine with GPUs;
* an operation that mixes devices raises as in CUDA (except for 0-d CPU tensors and CPU indices), as do
  a generator of another device and `.numpy()` of a tensor on a GPU;
* each wait for the device and each copy between host and device is counted, with the engine's line;
* a tensor larger than the memory of the GPU raises an out-of-memory error.

All arithmetic is the CPU's, so a run must equal a run on the CPU to the bit. Errors of cuDNN, races between
streams, and the rounding and speed of a GPU cannot be tested.

    with FakeCuda() as gpu:
        learn_features(config, DeviceImages(images, gpu.device), …)
    gpu.waits  # Counter({("item", "stages/heads.py:93"): 2})
"""

from __future__ import annotations

import contextlib
import sys
from collections import Counter
from collections.abc import Iterator
from typing import Any
from unittest import mock

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

CPU = torch.device("cpu")
# Operations that create tensors inside other operations: the result is on the device of the other arguments.
NOWHERE = torch.device("meta")
FACTORIES = {
    getattr(torch, name)
    for name in [
        "rand",
        "randn",
        "randint",
        "randperm",
        "zeros",
        "ones",
        "empty",
        "full",
        "arange",
        "eye",
        "tensor",
        "as_tensor",
        "linspace",
        "scalar_tensor",
        "empty_strided",
        "range",
        "logspace",
    ]
}
# On CUDA each of these waits for the device, to read a size, a number or an error code.
WAITS = frozenset(
    [
        "nonzero",
        "masked_select",
        "_unique2",
        "unique_dim",
        "unique_consecutive",
        "bincount",
        "equal",
        "is_nonzero",
        "linalg_eigh",
        "_linalg_eigh",
        "linalg_svd",
        "_linalg_svd",
        "histc",
        "multinomial",
    ]
)
INDEXING = frozenset(["index", "index_put_", "index_put", "_index_put_impl_", "_unsafe_index"])
NO_KERNEL = frozenset(
    [
        "detach",
        "alias",
        "empty",
        "empty_like",
        "empty_strided",
        "new_empty",
        "new_empty_strided",
        "_unsafe_view",
        "as_strided",
        "set_",
        "resize_",
        "is_pinned",
        "lift_fresh",
        "_local_scalar_dense",
        "is_same_size",
        "record_stream",
        "sym_size",
        "sym_numel",
        "sym_stride",
        "_reshape_alias",
    ]
)
# Here the CPU's kernel reads a number, while CUDA's does not.
ASKS_ON_THE_CPU_ALONE = frozenset({"one_hot"})


def place_of(x: torch.Tensor) -> torch.device:
    """The device that a tensor is on."""
    return getattr(x.untyped_storage(), "fake_place", CPU)


def put(x: torch.Tensor, place: torch.device) -> torch.Tensor:
    x.untyped_storage().fake_place = place
    return x


def numbered(device: Any) -> torch.device:
    """The device with its number: "cuda" is the current GPU, which is the first."""
    device = torch.device(device)
    return torch.device("cuda", 0) if device.type == "cuda" and device.index is None else device


def tensors_in(*things: Any) -> list[torch.Tensor]:
    return [leaf for leaf in tree_leaves(things) if isinstance(leaf, torch.Tensor)]


class FakeGenerator(torch.Generator):
    """A generator for any device that draws the CPU's numbers."""

    def __new__(cls, device: Any = "cpu") -> FakeGenerator:
        self = super().__new__(cls, "cpu")
        self.place = numbered(device)
        return self

    @property
    def device(self) -> torch.device:
        return self.place


class FakeAutocast(torch.autocast):
    """bfloat16 autocast with the CPU's rules."""

    def __init__(self, device_type: str, *args: Any, **kwargs: Any) -> None:
        super().__init__("cpu" if device_type == "cuda" else device_type, *args, **kwargs)


def _pinned(x: torch.Tensor, *_: Any) -> torch.Tensor:
    if place_of(x) != CPU:
        raise RuntimeError("cannot pin 'torch.cuda' only dense CPU tensors can be pinned")
    out = x.clone()
    out.untyped_storage().fake_pinned = True
    return out


class FakeCuda(contextlib.ExitStack):
    """The context manager described above.

    Attributes:
        device: the first GPU.
        waits, copies: how often the host waited for a device, or copied, by operation and line.
        kernels: the number of operations that launch a kernel, by name.
        largest: bytes of the largest tensor created on a GPU.
        streams: the number of streams created.
    """

    device = torch.device("cuda", 0)

    def __init__(
        self, *, count: int = 1, bf16: bool = True, memory: int = 140 * 2**30, free: int | None = None
    ) -> None:
        """`memory` and `free`: bytes of a GPU, and how many of them it reports as free (default: all)."""
        super().__init__()
        self._free = memory if free is None else free
        self.waits: Counter[tuple[str, str]] = Counter()
        self.copies: Counter[tuple[str, str]] = Counter()
        self.kernels: Counter[str] = Counter()
        self.doubles: Counter[str] = Counter()
        self.inside: list[str] = []
        self.largest = self.streams = 0
        self._count, self._bf16, self._memory, self._share = count, bf16, memory, 1.0
        self._waiting_is_an_error = False

    def __enter__(self) -> FakeCuda:
        gpu: dict[str, Any] = {
            "is_available": lambda: True,
            "device_count": lambda: self._count,
            "current_device": lambda: 0,
            "set_device": lambda _device: None,
            "is_bf16_supported": lambda including_emulation=True: self._bf16,  # noqa: ARG005
            "mem_get_info": lambda _device=None: (self._free, self._memory),
            "empty_cache": lambda: None,
            "synchronize": lambda _device=None: self.wait("synchronize"),
            "is_current_stream_capturing": lambda: False,
            "get_device_name": lambda _device=None: "NVIDIA H200",
            "get_device_capability": lambda _device=None: (9, 0),
            "max_memory_allocated": lambda _device=None: self.largest,
            "memory_allocated": lambda _device=None: 0,
            "reset_peak_memory_stats": lambda _device=None: setattr(self, "largest", 0),
            "set_per_process_memory_fraction": self._limit,
            "set_sync_debug_mode": self._judge_waits,
            "Stream": self._stream,
            "Event": lambda: mock.Mock(synchronize=lambda: self.wait("event")),
            "stream": lambda _stream: contextlib.nullcontext(),
        }
        for name, answer in gpu.items():
            self.enter_context(mock.patch.object(torch.cuda, name, answer))
        self.enter_context(mock.patch.object(torch, "Generator", FakeGenerator))
        self.enter_context(mock.patch.object(torch, "autocast", FakeAutocast))
        self.enter_context(mock.patch.object(torch.Tensor, "pin_memory", _pinned))
        for name in ("_accelerator_graph_capture_health_check", "_cuda_graph_capture_health_check"):
            if hasattr(torch.optim.Optimizer, name):  # it queries the driver
                self.enter_context(mock.patch.object(torch.optim.Optimizer, name))
        self.enter_context(self.here())
        return self

    @contextlib.contextmanager
    def here(self) -> Iterator[None]:
        """Makes the GPUs visible to the calling thread; the thread that entered `FakeCuda` sees them already."""
        with _Functions(self), _Operations(self):
            yield

    # -- records -------------------------------------------------------------------------------

    def where(self) -> str:
        """The innermost line of the engine or the benchmarks, such as "stages/heads.py:93"."""
        frame: Any = sys._getframe(1)
        while frame is not None:
            for room in ("/engine/", "/benchmarks/"):
                if room in frame.f_code.co_filename:
                    return f"{frame.f_code.co_filename.rsplit(room)[-1]}:{frame.f_lineno}"
            frame = frame.f_back
        return "?"

    def wait(self, what: str) -> None:
        if self._waiting_is_an_error:
            raise RuntimeError(f"called a synchronizing CUDA operation ({what} at {self.where()})")
        self.waits[what, self.where()] += 1

    def copied(self, source: torch.Tensor, target: torch.device, blocking: bool) -> None:
        """Records a copy from `source` to the device `target`, and a wait if the host has to."""
        pinned = getattr(source.untyped_storage(), "fake_pinned", False)
        way = f"{place_of(source).type}→{target.type}" + (" pinned" if pinned else "")
        self.copies[way, self.where()] += 1
        if target.type == "cpu" or blocking:
            self.wait(f"copy {way}")

    def made(self, out: torch.Tensor, place: torch.device) -> None:
        """Records a tensor created on `place`; raises if it is larger than a GPU's memory."""
        if place.type == "cuda":
            size = out.untyped_storage().nbytes()
            if size > self._memory * self._share:
                raise torch.OutOfMemoryError(f"CUDA out of memory. Tried to allocate {size} bytes")
            self.largest = max(self.largest, size)
            if out.dtype == torch.float64:
                self.doubles[self.where()] += 1
        put(out, place)

    def _stream(self, _device: Any = None) -> str:
        self.streams += 1
        return f"stream {self.streams}"

    def _limit(self, share: float, _device: Any = None) -> None:
        self._share = share

    def _judge_waits(self, mode: str | int) -> None:
        self._waiting_is_an_error = mode in ("error", 2)


class _Functions(TorchFunctionMode):
    """Intercepts what Python code reads about devices."""

    def __init__(self, gpu: FakeCuda) -> None:
        super().__init__()
        self.gpu = gpu

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        name = getattr(func, "__name__", "")
        if name == "__get__":
            return self._attribute(func, args, kwargs)
        if name in ("numpy", "__array__") and place_of(args[0]) != CPU:
            raise TypeError("can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() first")
        if name == "tolist" and place_of(args[0]) != CPU:
            self.gpu.wait("tolist")
        if func in (torch.Tensor.to, torch.Tensor.cpu, torch.Tensor.cuda):
            return self._moved(func, args, kwargs)
        if func == torch.Tensor.__deepcopy__:
            return put(func(*args, **kwargs), place_of(args[0]))
        return self._called(func, name, args, kwargs)

    def _attribute(self, func: Any, args: Any, kwargs: Any) -> Any:
        if func == torch.Tensor.device.__get__:
            return place_of(args[0])
        if func == torch.Tensor.is_cuda.__get__:
            return place_of(args[0]) != CPU
        if func == torch.Tensor.is_cpu.__get__:
            return place_of(args[0]) == CPU
        return func(*args, **kwargs)

    def _called(self, func: Any, name: str, args: Any, kwargs: dict[str, Any]) -> Any:
        asked = kwargs.pop("device", None)
        target = None if asked is None and func not in FACTORIES else numbered(asked or "cpu")
        self._check_generator(args, kwargs, target)
        if asked is not None:
            kwargs["device"] = "cpu" if numbered(asked).type == "cuda" else asked
        self.gpu.inside.append(name)
        try:
            out = func(*args, **kwargs)
        finally:
            self.gpu.inside.pop()
        if target is not None:
            for each in tensors_in(out):
                if name in ("tensor", "as_tensor") and target.type == "cuda":
                    self.gpu.copied(each, target, blocking=True)
                self.gpu.made(each, target)
        return out

    @staticmethod
    def _check_generator(args: Any, kwargs: dict[str, Any], target: torch.device | None) -> None:
        generator = kwargs.get("generator")
        if generator is None:
            return
        given = tensors_in(args)
        wanted = target or (place_of(given[0]) if given else CPU)
        if generator.device != wanted:
            raise RuntimeError(f"Expected a '{wanted}' device type for generator but found '{generator.device}'")

    def _moved(self, func: Any, args: Any, kwargs: dict[str, Any]) -> torch.Tensor:
        x, rest, copy = args[0], args[1:], kwargs.pop("copy", False)
        dtype, layout, blocking = None, None, True
        if func == torch.Tensor.cpu:
            target = CPU
        elif func == torch.Tensor.cuda:
            target, blocking = FakeCuda.device, not kwargs.get("non_blocking")
        elif rest and isinstance(rest[0], torch.Tensor):
            target, dtype = place_of(rest[0]), rest[0].dtype
        else:
            device, dtype, non_blocking, layout = torch._C._nn._parse_to(*rest, **kwargs)
            target, blocking = place_of(x) if device is None else numbered(device), not non_blocking
        form = {} if layout is None else {"memory_format": layout}
        if target == place_of(x):
            return x.to(dtype or x.dtype, copy=copy, **form)
        self.gpu.copied(x, target, blocking)
        out = x.to(dtype or x.dtype, copy=True, **form)
        self.gpu.made(out, target)
        return out


class _Operations(TorchDispatchMode):
    """Intercepts every operation, forward and backward."""

    def __init__(self, gpu: FakeCuda) -> None:
        super().__init__()
        self.gpu = gpu

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func._schema.name.removeprefix("aten::")
        place = self._place(name, args, tensors_in(args, kwargs or {}))
        if place.type == "cuda":
            self._look(name, args)
            if not func.is_view and name not in NO_KERNEL:
                self.gpu.kernels[name] += 1
        out = func(*args, **(kwargs or {}))
        for each in tensors_in(out):
            if not hasattr(each.untyped_storage(), "fake_place"):
                self.gpu.made(each, place)
        return out

    def _place(self, name: str, args: Any, given: list[torch.Tensor]) -> torch.device:
        """The device of the operation; raises if devices are mixed."""
        places = {place_of(each) for each in given} - {NOWHERE}
        if len(places) < 2:
            return next(iter(places), NOWHERE)
        if name in ("copy_", "_to_copy"):
            self.gpu.copied(args[1], place_of(args[0]), not (args[2] if len(args) > 2 else False))
            return place_of(args[0])
        gpus = places - {CPU}
        first = place_of(given[0])
        if len(gpus) == 1 and name in INDEXING and first != CPU:
            indices = [each for each in tensors_in(args[1]) if place_of(each) == CPU]
            values = tensors_in(args[2:])
            if not any(place_of(each) == CPU and each.dim() for each in values):
                for each in indices:
                    self.gpu.copied(each, first, blocking=True)
                return first
        elif len(gpus) == 1 and all(each.dim() == 0 for each in given if place_of(each) == CPU):
            return gpus.pop()
        found = ", ".join(f"{place_of(each)} {tuple(each.shape)}" for each in given)
        raise RuntimeError(
            f"Expected all tensors to be on the same device, but {name} at {self.gpu.where()} got {found}"
        )

    def _look(self, name: str, args: Any) -> None:
        if name == "_local_scalar_dense":
            if not ASKS_ON_THE_CPU_ALONE.intersection(self.gpu.inside):
                self.gpu.wait("item")
        elif name in WAITS:
            self.gpu.wait(name)
        elif name in INDEXING and any(each.dtype in (torch.bool, torch.uint8) for each in tensors_in(args[1])):
            self.gpu.wait(f"{name} by a mask")
