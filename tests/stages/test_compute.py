"""Precision, layout, compilation, and what happens when memory runs out."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from engine.config import ComputeSettings, EncoderSettings
from engine.events import Alarm, Event
from engine.stages.compute import Portions, compiled, memory_format, narrow_products, portion, whole_products
from engine.stages.encoder import Encoder, initialise

CPU = torch.device("cpu")


class Pixels:
    """Images with a device."""

    def __init__(self, resident: bool) -> None:
        self.resident, self.device = resident, CPU

    def leave_device(self) -> None:
        self.resident = False


class Scene:
    """One weight, a batch 1…4 and the loss w · mean(batch), whose gradient is 2.5."""

    def __init__(self, resident: bool = False) -> None:
        self.weight, self.batch = nn.Parameter(torch.tensor(1.0)), torch.tensor([1.0, 2, 3, 4])
        self.optimiser = torch.optim.SGD([self.weight], 0.1)
        self.events: list[Event] = []
        self.pixels = Pixels(resident)
        self.portions = Portions("joint", self.pixels, self.events.append)  # type: ignore[arg-type]
        self.failures = 0
        self.sizes: list[int] = []

    def step(self, failures: int = 0) -> dict[str, torch.Tensor]:
        self.failures = failures
        return self.portions.backward(self.optimiser, self.losses)

    def losses(self, index: int, count: int) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        x = portion(self.batch, index, count)
        self.sizes.append(len(x))
        loss = self.weight * x.mean()
        if self.failures:
            self.failures -= 1
            loss.backward()  # the failed step leaves a gradient
            raise torch.OutOfMemoryError("too much")
        return loss, {"loss": loss}

    @property
    def gradient(self) -> float:
        assert self.weight.grad is not None
        return self.weight.grad.item()


def test_a_batch_that_fits_passes_whole() -> None:
    scene = Scene()
    assert scene.step()["loss"].item() == 2.5
    assert (scene.gradient, scene.sizes, scene.events) == (2.5, [4], [])


def test_a_batch_that_does_not_fit_passes_in_halves_with_the_same_gradient() -> None:
    scene = Scene()
    assert scene.step(failures=1)["loss"].item() == 2.5
    assert (scene.gradient, scene.sizes) == (2.5, [4, 2, 2])
    assert [type(event) for event in scene.events] == [Alarm]
    assert "cpu ran out of memory" in scene.events[0].cause  # type: ignore[union-attr]
    scene.step()
    assert scene.gradient == 2.5  # nothing is left from the failed step
    assert scene.sizes[3:] == [2, 2]  # and so are all later ones, without another alarm
    assert len(scene.events) == 1


def test_if_halves_do_not_fit_either_the_images_leave_the_device() -> None:
    scene = Scene(resident=True)
    scene.step(failures=2)
    assert scene.gradient == 2.5
    assert not scene.pixels.resident
    assert "host memory" in scene.events[1].cure  # type: ignore[union-attr]


@pytest.mark.parametrize(("resident", "failures"), [(False, 2), (True, 3)])
def test_when_nothing_is_left_to_try_the_error_is_told(resident: bool, failures: int) -> None:
    scene = Scene(resident)
    with pytest.raises(torch.OutOfMemoryError):
        scene.step(failures)


def test_a_resumed_run_goes_on_in_the_parts_it_had_come_to() -> None:
    before, after = Scene(), Scene()
    before.step(failures=1)
    after.portions.load_state_dict(before.portions.state_dict())
    after.step()
    assert (after.sizes, after.events) == ([2, 2], [])


def test_an_encoder_multiplies_whole_numbers_of_bits_for_as_long_as_it_is_told_to() -> None:
    encoder = Encoder(EncoderSettings(backbone="small", width=4), channels=1, side=8).eval()
    initialise(encoder, torch.Generator().manual_seed(0))
    x = torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    whole = encoder(x)
    encoder.narrow = True
    narrow = encoder(x)
    with whole_products(nn.Sequential(encoder)):
        assert torch.equal(encoder(x), whole)
    assert torch.equal(encoder(x), narrow)
    assert not torch.equal(narrow, whole)


@pytest.mark.parametrize(("precision", "narrow"), [("auto", False), ("float32", False), ("bfloat16", True)])
def test_a_cpu_multiplies_in_bfloat16_only_when_told_to(precision: str, narrow: bool) -> None:
    assert narrow_products(ComputeSettings(precision=precision), CPU) is narrow  # type: ignore[arg-type]


def test_apples_gpus_keep_the_usual_layout() -> None:
    assert memory_format(CPU) is torch.channels_last
    assert memory_format(torch.device("mps")) is torch.contiguous_format


def tiny(side: int = 8) -> Encoder:
    encoder = Encoder(EncoderSettings(backbone="small", width=4), channels=1, side=side)
    initialise(encoder, torch.Generator().manual_seed(0))
    return encoder


def test_only_backbones_are_compiled_and_only_if_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[Any] = []
    monkeypatch.setattr(nn.Module, "compile", lambda self, *, dynamic: done.append((self, dynamic)))
    both = nn.ModuleDict({"fast": tiny(), "slow": tiny(), "head": nn.Linear(2, 2)})
    compiled(both, ComputeSettings())
    assert done == []
    compiled(both, ComputeSettings(compile=True))
    assert done == [(both["fast"].backbone, False), (both["slow"].backbone, False)]


def test_images_to_be_encoded_go_round_the_compiled_network() -> None:
    encoder, calls = tiny(), []
    encoder.backbone._compiled_call_impl = lambda x: calls.append(x) or torch.zeros(len(x), 16)  # type: ignore[assignment, func-returns-value]
    x = torch.rand(2, 1, 8, 8)
    encoder.train()(x)
    assert len(calls) == 1
    encoder.eval()(x)
    assert len(calls) == 1


def test_features_are_float32_and_hardly_other_in_bfloat16() -> None:
    encoder, x = tiny().eval(), torch.rand(4, 1, 8, 8)
    with torch.no_grad():
        wide = encoder(x)
        encoder.narrow = True
        narrow = encoder(x)
    assert narrow.dtype == torch.float32
    assert not torch.equal(narrow, wide)
    torch.testing.assert_close(narrow, wide, rtol=0.05, atol=0.02)


def test_the_layout_of_the_pixels_does_not_change_the_features() -> None:
    encoder, x = tiny().eval(), torch.rand(4, 1, 8, 8)
    with torch.no_grad():
        usual = encoder(x)
        encoder.memory_format = torch.channels_last
        torch.testing.assert_close(encoder.to(memory_format=torch.channels_last)(x), usual)
