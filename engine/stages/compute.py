"""How a network runs on its device: precision, memory layout, compilation, and running out of memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import nn

from engine.config import ComputeSettings
from engine.data.batches import ImageBatches
from engine.events import Alarm, Emit, Stage
from engine.stages.encoder import Encoder

Losses = dict[str, torch.Tensor]


def narrow_products(settings: ComputeSettings, device: torch.device) -> bool:
    """Whether an encoder multiplies in bfloat16 here.

    A CPU without instructions for it is slower in bfloat16 (ResNet-18: 18 images a second instead
    of 42), and torch does not say which has them, so there it must be asked for.
    """
    if settings.precision == "auto":
        return device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return settings.precision == "bfloat16"


@contextmanager
def whole_products(encoder: nn.Module) -> Iterator[None]:
    """An encoder multiplies in float32 until the end of the block: neighbours and prototypes are found among features
    that are encoded once, and bfloat16 has three digits."""
    parts = [one for one in encoder.modules() if isinstance(one, Encoder) and one.narrow]
    for one in parts:
        one.narrow = False
    try:
        yield
    finally:
        for one in parts:
            one.narrow = True


def memory_format(device: torch.device) -> torch.memory_format:
    """Channels last, which both CPUs and GPUs prefer; Apple's GPUs keep torch's usual layout."""
    return torch.contiguous_format if device.type == "mps" else torch.channels_last


def use_device(device: torch.device) -> None:
    """Makes a GPU this thread's current one, and decides how CUDA computes in this process.

    cuDNN benchmarks its algorithms on each new shape and keeps the fastest, since training uses few shapes,
    each thousands of times. float32 is true float32, in convolutions and products: TensorFloat-32 would
    keep only 10 of 23 bits where exact neighbours and prototypes are compared, and the encoder, the only
    part that would benefit, uses bfloat16 unless configured otherwise.
    """
    if device.type == "cuda":
        torch.cuda.set_device(device)
        torch.backends.cudnn.benchmark = True
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False


def fused(device: torch.device) -> bool:
    """Whether an optimiser shall update all weights in one kernel."""
    return device.type in ("cpu", "cuda")


def compiled(module: nn.Module, settings: ComputeSettings) -> None:
    """Compiles every backbone within `module` for training, in place, if the settings want it.

    Each batch size gets a separate graph: otherwise stage 3's two sizes, or half-size views before full ones,
    would make the second graph a dynamic one, which is slower.
    """
    if settings.compile:
        for part in module.modules():
            if isinstance(backbone := getattr(part, "backbone", None), nn.Module):
                backbone.compile(dynamic=False)


class Portions:
    """Runs a batch through forward and backward pass, in two halves once memory has run out.

    Remedies are tried in turn, each reported once: first the batch in halves, then moving images from the
    device to host memory. A repeated step computes the same gradient, except that batch normalisation (and,
    with SimCLR, the loss) sees half the batch and that, in an odd batch, the smaller half weighs more.
    Moving averages move twice.
    """

    def __init__(self, stage: Stage, pixels: ImageBatches, emit: Emit) -> None:
        self._stage, self._pixels, self._emit = stage, pixels, emit
        self._count = 1

    def state_dict(self) -> dict[str, int]:
        """In how many parts each batch goes through: their views differ from those of the whole."""
        return {"count": self._count}

    def load_state_dict(self, state: dict[str, int], /) -> None:
        self._count = state["count"]

    def backward(
        self, optimiser: torch.optim.Optimizer, losses: Callable[[int, int], tuple[torch.Tensor, Losses]]
    ) -> Losses:
        """Leaves the gradient of a batch's loss in the optimiser's weights.

        Args:
            losses: of portion i of n, called as `losses(i, n)`: the loss to go down, and what to
                report, all 0-d.

        Returns:
            What to report, averaged over the portions.

        Raises:
            torch.OutOfMemoryError: when nothing is left to try.
        """
        while True:
            optimiser.zero_grad(set_to_none=True)
            try:
                return self._backward(losses)
            except torch.OutOfMemoryError:
                if not self._can_yield():
                    raise
            # Only here are the failed step's tensors gone: the exception had held on to them.
            optimiser.zero_grad(set_to_none=True)
            self._yield()

    def _backward(self, losses: Callable[[int, int], tuple[torch.Tensor, Losses]]) -> Losses:
        total: Losses = {}
        for index in range(self._count):
            loss, report = losses(index, self._count)
            (loss / self._count).backward()
            for name, value in report.items():
                share = value.detach() / self._count
                total[name] = total[name] + share if name in total else share
        return total

    def _can_yield(self) -> bool:
        return self._count == 1 or self._pixels.resident

    def _yield(self) -> None:
        if self._count == 1:
            self._count = 2
            cure = "from now on each batch goes through the network in two halves, which is slower"
        else:
            self._pixels.leave_device()
            cure = "from now on the images stay in host memory, which is slower"
        if self._pixels.device.type == "cuda":
            torch.cuda.empty_cache()
        self._emit(Alarm(self._stage, f"{self._pixels.device} ran out of memory", cure))


def portion(batch: torch.Tensor, index: int, count: int) -> torch.Tensor:
    """Part `index` of `count` of a batch (M, …), (M / count, …)."""
    return batch.tensor_split(count)[index]
