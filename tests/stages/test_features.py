from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from engine.config import EncoderSettings, RunConfig
from engine.data.batches import DeviceImages
from engine.data.images import ImageSet
from engine.events import Event, Progress, StageFinished, StageStarted
from engine.stages import features, loop
from engine.stages.encoder import Adapter, Encoder, SplitBatchNorm, adapted, initialise
from engine.stages.features import EpochOrder, Features, build_encoder, encode, learn_features, take_features
from engine.stages.frames import Frame
from tests.tiny_runs import drawn, tiny_config

CPU = torch.device("cpu")


def pixels() -> DeviceImages:
    return DeviceImages(drawn()[0], CPU)


class Fresh:
    """An empty checkpoint."""

    def load(self) -> None:
        return None

    def save(self, state: dict[str, Any]) -> None:
        del state


def learned(config: RunConfig) -> tuple[Features, list[Event]]:
    events: list[Event] = []
    images = pixels()
    encoder = build_encoder(config, images, channels=1, side=8)
    found = learn_features(config, images, encoder, emit=events.append, stop=lambda: False, checkpoint=Fresh())
    return found, events


def test_an_encoder_begins_with_the_statistics_of_its_images_and_the_seed_s_weights() -> None:
    encoders = [build_encoder(tiny_config(seed=seed), pixels(), channels=1, side=8) for seed in (0, 0, 1)]
    values = torch.from_numpy(drawn()[0].pixels).float() / 255
    torch.testing.assert_close(encoders[0].mean, values.mean((0, 2, 3)))
    torch.testing.assert_close(encoders[0].deviation, values.std((0, 2, 3), correction=0))
    weights = [encoder.state_dict()["backbone.0.weight"] for encoder in encoders]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


@pytest.mark.parametrize(("objective", "split"), [("moco", True), ("simclr", False), ("byol", False)])
def test_only_moco_normalises_parts_of_a_batch(objective: str, split: bool) -> None:
    config = tiny_config(**{"features.objective": objective, "features.norm_groups": 2})
    encoder = build_encoder(config, pixels(), channels=1, side=8)
    assert any(isinstance(layer, SplitBatchNorm) for layer in encoder.modules()) is split


def test_an_encoder_is_as_precise_as_the_settings_want() -> None:
    for precision, narrow in (("float32", False), ("bfloat16", True)):
        config = tiny_config(**{"compute.precision": precision})
        assert build_encoder(config, pixels(), channels=1, side=8).narrow is narrow


def test_views_are_made_outside_of_mixed_precision() -> None:
    images = DeviceImages(ImageSet(np.zeros((3, 1, 8, 8), np.uint8), ("a", "b", "c"), "drawn"), CPU)
    inside: list[bool] = []

    def view(x: torch.Tensor) -> torch.Tensor:
        inside.append(torch.is_autocast_enabled("cpu"))
        return x

    encoder = Encoder(EncoderSettings(backbone="small", width=4), channels=1, side=8).eval()
    initialise(encoder, torch.Generator().manual_seed(0))
    encoder.narrow = True
    encoder.backbone[0].register_forward_hook(  # type: ignore[operator, index, union-attr]
        lambda *_: inside.append(torch.is_autocast_enabled("cpu"))
    )
    assert encode(encoder, images, view=view).dtype == torch.float32
    assert inside == [False, True]


def test_the_first_steps_see_half_the_side_if_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    sides: list[int] = []

    def watched(*arguments: Any, shrink: int) -> torch.Tensor:
        out = plain(*arguments, shrink=shrink)
        sides.append(out.shape[2])
        return out

    plain = features.contrastive_view
    monkeypatch.setattr(features, "contrastive_view", watched)
    learned(tiny_config(**{"features.coarse": 0.3}))
    # 9 steps of two views; those before 30 %, 2.7 steps, are coarse.
    assert sides == [4] * 2 * 3 + [8] * 2 * 6


def test_byol_learns_and_does_not_collapse(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "REPORT_SECONDS", -1.0)  # a report after every step
    config = tiny_config(
        **{
            "features.objective": "byol",
            "features.epochs": 20,
            "features.key_momentum": 0.9,
            "features.learning_rate": 0.1,
            "features.hidden": 32,
        }
    )
    found, events = learned(config)
    losses = [e.losses["prediction loss"] for e in events if isinstance(e, Progress)]
    assert len(losses) == 60
    assert sum(losses[-6:]) < 0.5 * sum(losses[:6])
    unit = F.normalize(torch.from_numpy(found.vectors), dim=1)
    # Independent directions of 16 numbers have a deviation of 1/4 each, a single direction has none.
    assert unit.std(0).mean() > 0.04


def test_a_batch_is_cut_to_whole_groups() -> None:
    assert EpochOrder(100, 128, seed=0, multiple=8).size == 96
    assert EpochOrder(5, 128, seed=0, multiple=8).size == 5


def test_an_epoch_meets_every_image_once_and_each_epoch_another_order() -> None:
    order = EpochOrder(12, 4, seed=3)
    epochs = [torch.cat([order.batch(step) for step in range(e * 3, e * 3 + 3)]) for e in (0, 1)]
    for ids in epochs:
        assert sorted(ids.tolist()) == list(range(12))
    assert not torch.equal(epochs[0], epochs[1])


def test_the_order_of_a_step_does_not_depend_on_where_one_begins() -> None:
    walked = EpochOrder(10, 4, seed=1)
    for step in range(5):
        last = walked.batch(step)
    assert torch.equal(EpochOrder(10, 4, seed=1).batch(4), last)
    assert not torch.equal(EpochOrder(10, 4, seed=2).batch(4), last)


def test_a_batch_is_never_larger_than_the_set() -> None:
    assert len(EpochOrder(5, 256, seed=0).batch(0)) == 5


def test_a_batch_to_encode_is_as_small_as_the_side_it_is_scaled_to_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "ENCODE_PIXELS", 10 * 16 * 16)
    settings, seen = EncoderSettings(backbone="small", width=4), []
    for fixed in (False, True):
        encoder = Encoder(settings, channels=1, side=16, fixed_side=fixed).eval()
        encoder.backbone[0].register_forward_hook(  # type: ignore[operator, index, union-attr]
            lambda _module, _given, out: seen.append(len(out))
        )
        encode(encoder, pixels())
    # 60 images of 8×8 pixels fit into batches of 40 and 20; scaled to 16×16, ten fit into a batch.
    assert seen == [40, 20, *[10] * 6]


def test_imported_vectors_are_taken_as_they_are() -> None:
    events: list[Event] = []
    frames: list[Frame] = []
    vectors = np.eye(4, 3, dtype=np.float32) * 2
    found = take_features(tiny_config(), vectors, torch.device("cpu"), emit=events.append, keep=frames.append)
    assert found.views is not None
    assert found.views.clean is vectors
    assert (found.views.weak.shape, found.views.strong.shape) == ((0, 4, 3), (0, 4, 3))
    assert isinstance(found.encoder, Adapter)
    np.testing.assert_array_equal(found.vectors, adapted(found.encoder, vectors))
    assert events == [StageStarted("features", 0), StageFinished("features", 0.0)]
    [frame] = frames
    assert (frame.stage, frame.step) == ("features", 0)
    assert frame.vectors is not None
    np.testing.assert_allclose(frame.vectors @ frame.vectors.T, np.diag([1, 1, 1, 0]), atol=1e-3)
