from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from engine.config import EncoderSettings, FeatureSettings
from engine.stages import contrast
from engine.stages.contrast import BYOL, Attract, MoCo, byol_loss, moco_loss, objective_of, simclr_loss
from engine.stages.encoder import Encoder, Projector, initialise


def tiny_encoder(norm_groups: int = 1) -> Encoder:
    encoder = Encoder(EncoderSettings(backbone="small", width=4), channels=1, side=8, norm_groups=norm_groups)
    initialise(encoder, torch.Generator().manual_seed(0))
    return encoder


def byol(momentum: float = 0.75) -> BYOL:
    settings = FeatureSettings(objective="byol", projection=3, hidden=5, key_momentum=momentum)
    made = objective_of(settings, tiny_encoder(), batch=4, images=8, generator=torch.Generator().manual_seed(1))
    assert isinstance(made, BYOL)
    return made


def drawn(images: int = 32) -> torch.Tensor:
    """Bright horizontal or vertical bars on noise."""
    x = torch.rand(images, 1, 8, 8, generator=torch.Generator().manual_seed(2)) * 0.2
    x[::2, :, 3:5] = 1
    x[1::2, :, :, 3:5] = 1
    return x


def test_simclr_loss_of_perfect_twins_at_right_angles() -> None:
    points = torch.tensor([[1.0, 0], [0, 1], [1, 0], [0, 1]])
    # Each view sees its twin at cosine 1 and two others at 0.
    expected = -math.log(math.e**2 / (math.e**2 + 2))
    assert simclr_loss(points, 0.5).item() == pytest.approx(expected)


def test_simclr_loss_does_not_compare_a_view_with_itself() -> None:
    points = F.normalize(torch.randn(6, 3, generator=torch.Generator().manual_seed(0)), dim=1)
    by_hand = []
    for one in range(6):
        twin = (one + 3) % 6
        terms = [math.exp(float(points[one] @ points[k]) / 0.2) for k in range(6) if k != one]
        by_hand.append(-math.log(math.exp(float(points[one] @ points[twin]) / 0.2) / sum(terms)))
    assert simclr_loss(points, 0.2).item() == pytest.approx(sum(by_hand) / 6, rel=1e-5)


def test_moco_loss_by_hand() -> None:
    query, key = torch.tensor([[1.0, 0]]), torch.tensor([[0.6, 0.8]])
    queue = torch.tensor([[0.0, 1], [-1, 0]])
    expected = -math.log(math.exp(0.6) / (math.exp(0.6) + 1 + math.exp(-1)))
    assert moco_loss(query, key, queue, 1.0).item() == pytest.approx(expected)


def moco(images: int = 8, **changes: float) -> MoCo:
    settings = FeatureSettings(batch=4, queue=100, projection=3, norm_groups=2, **changes)  # type: ignore[arg-type]
    chance = torch.Generator().manual_seed(0)
    encoder = tiny_encoder(norm_groups=2)
    projector = Projector(encoder.features, encoder.features, 3)
    initialise(projector, chance)
    return MoCo(encoder, projector, settings, batch=4, images=images, generator=chance)


def test_the_queue_holds_whole_batches_and_no_more_than_the_images() -> None:
    assert moco(images=11).queue.shape == (8, 3)


def test_the_newest_keys_replace_the_oldest() -> None:
    model = moco(images=8)
    before = model.queue.clone()
    x = torch.rand(4, 1, 8, 8)
    model(x, x)
    assert not torch.equal(model.queue[:4], before[:4])
    assert torch.equal(model.queue[4:], before[4:])
    model(x, x)
    assert not torch.equal(model.queue[4:], before[4:])
    assert model.place.item() == 0


def test_a_key_is_normalised_in_other_company_than_its_query() -> None:
    model = moco()  # batches of 4 in 2 groups: images 0 and 1, images 2 and 3
    seen: list[torch.Tensor] = []
    model.slow_encoder.register_forward_pre_hook(lambda _, x: seen.append(x[0]))
    x = torch.rand(4, 1, 8, 8)
    model(x, x)
    places = [int((seen[0] == one).flatten(1).all(1).nonzero()) for one in x]
    assert {places[0] // 2, places[1] // 2} == {places[2] // 2, places[3] // 2} == {0, 1}


def test_keys_come_back_in_the_order_of_their_images() -> None:
    model = moco().eval()
    x = torch.rand(4, 1, 8, 8)
    with torch.no_grad():
        torch.testing.assert_close(model._keys(x), model.slow_projector(model.slow_encoder(x)))


def test_the_key_network_follows_slowly_and_gets_no_gradient() -> None:
    model = moco(key_momentum=0.75)
    with torch.no_grad():
        model.encoder.backbone[0].weight.add_(1)  # type: ignore[operator, index, union-attr]
    start = model.slow_encoder.backbone[0].weight.clone()  # type: ignore[operator, index, union-attr]
    x = torch.rand(4, 1, 8, 8)
    model(x, x).backward()
    moved = model.slow_encoder.backbone[0].weight - start  # type: ignore[operator, index, union-attr]
    torch.testing.assert_close(moved, torch.full_like(moved, 0.25))
    assert all(one.grad is None for one in model.slow_encoder.parameters())
    assert all(one.grad is not None for one in model.encoder.parameters())


def test_byol_loss_is_0_for_the_same_direction_and_4_for_the_opposite() -> None:
    one = torch.tensor([[1.0, 0], [0, 1]])
    assert byol_loss(one, one).item() == 0
    assert byol_loss(one, -one).item() == 4
    assert byol_loss(one, one.flip(0)).item() == 2


def test_byol_predicts_from_a_projection_of_any_length() -> None:
    model, given = byol().eval(), []
    model.predictor.register_forward_pre_hook(lambda _module, inputs: given.append(inputs[0]))
    x = drawn(4)
    model(x, x)
    with torch.no_grad():
        model.projector.out.weight *= 3
        model.projector.out.bias *= 3
    model(x, x)
    torch.testing.assert_close(given[2], 3 * given[0])
    assert (given[0].norm(dim=1) - 1).abs().min() > 1e-3


def test_byol_asks_both_views_the_same() -> None:
    model = byol(momentum=0.99).eval()
    first, second = drawn(4), drawn(4).flip(3) * 0.5
    with torch.no_grad():
        one, other = model(first, second), model(second, first)
    assert one.item() == pytest.approx(other.item(), abs=1e-4)
    assert one.item() > 0


def test_byols_slow_copy_follows_and_gets_no_gradient() -> None:
    model = byol(momentum=0.75)
    with torch.no_grad():
        model.projector.out.weight.add_(1)
    start = model.slow_projector.out.weight.clone()  # type: ignore[operator, union-attr]
    model(drawn(4), drawn(4)).backward()
    moved = model.slow_projector.out.weight - start  # type: ignore[operator, union-attr]
    torch.testing.assert_close(moved, torch.full_like(moved, 0.25))
    assert all(one.grad is None for one in model.slow_encoder.parameters())
    assert all(one.grad is not None for one in model.encoder.parameters())
    assert all(one.grad is not None for one in model.predictor.parameters())


def test_byol_learns_to_predict_and_does_not_collapse() -> None:
    model, x = byol(momentum=0.9), drawn()
    trained = [one for one in model.parameters() if one.requires_grad]
    optimiser = torch.optim.SGD(trained, 0.05, momentum=0.9)
    noise = torch.Generator().manual_seed(3)
    losses = []
    for _ in range(40):
        first, second = (x + 0.1 * torch.rand(x.shape, generator=noise) for _ in range(2))
        loss = model(first, second)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert sum(losses[-5:]) < 0.5 * sum(losses[:5])
    with torch.no_grad():
        points = F.normalize(model.encoder.eval()(x), dim=1)
    assert (points[0] @ points[1]) < 0.99  # a flat bar and an upright one stay apart


def test_byols_loss_is_the_mean_of_both_ways() -> None:
    model = byol().eval()
    first, second = drawn(4), 1 - 3 * drawn(4)
    with torch.no_grad():
        for part in (model.projector, model.slow_projector, model.predictor):
            part.hidden.weight.mul_(100)  # type: ignore[operator, union-attr]  # tells images apart
            part.out.bias.zero_()  # type: ignore[operator, union-attr]
        project = [model.projector(model.encoder(x)) for x in (first, second)]
        ways = [
            byol_loss(model.predictor(project[0]), project[1]).item(),
            byol_loss(model.predictor(project[1]), project[0]).item(),
        ]
        found = model(first, second).item()
        itself = byol_loss(model.predictor(project[0]), project[0]).item()
    assert abs(ways[0] - ways[1]) > 0.01  # one direction alone is not the loss
    assert abs(itself - ways[0]) > 0.01  # nor would a view that predicts itself
    assert found == pytest.approx(sum(ways) / 2, abs=1e-5)


def test_byols_slow_copy_keeps_batch_statistics_of_its_own() -> None:
    model = byol(momentum=0.5)
    norm, slow = model.projector.norm, model.slow_projector.norm
    assert isinstance(norm, torch.nn.BatchNorm1d)
    assert isinstance(slow, torch.nn.BatchNorm1d)
    with torch.no_grad():
        norm.running_mean.fill_(100)  # type: ignore[union-attr]
    model(drawn(4), drawn(4))
    assert slow.running_mean.abs().max() < 10  # type: ignore[union-attr]
    assert slow.num_batches_tracked.item() == 2  # type: ignore[union-attr]


@pytest.mark.parametrize(("hidden", "size"), [(None, 16), (5, 5)])
@pytest.mark.parametrize("objective", ["moco", "simclr", "byol"])
def test_the_hidden_layer_is_as_large_as_asked(objective: str, hidden: int | None, size: int) -> None:
    settings = FeatureSettings(objective=objective, projection=3, hidden=hidden, norm_groups=1)  # type: ignore[arg-type]
    made = objective_of(settings, tiny_encoder(), batch=4, images=8, generator=torch.Generator().manual_seed(1))
    assert made.projector.hidden.weight.shape == (size, 16)  # type: ignore[union-attr]
    assert made.projector.out.weight.shape == (3, size)  # type: ignore[union-attr]
    has_norm = isinstance(made.projector.norm, torch.nn.BatchNorm1d)  # type: ignore[union-attr]
    assert has_norm == (objective == "byol")


def test_losses_are_not_rounded_by_mixed_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[torch.dtype] = []

    def watched(query: torch.Tensor, *rest: Any) -> torch.Tensor:
        seen.append(query.dtype)
        assert not torch.is_autocast_enabled("cpu")
        return moco_loss(query, *rest)

    monkeypatch.setattr(contrast, "moco_loss", watched)
    model = moco()
    model.encoder.narrow = True
    x = torch.rand(4, 1, 8, 8)
    assert model(x, x).dtype == torch.float32
    assert seen == [torch.float32]


def test_pulling_together_alone_is_least_where_all_features_are_the_same() -> None:
    settings = FeatureSettings(objective="attract", projection=3, hidden=5)
    encoder = tiny_encoder()
    objective = objective_of(settings, encoder, batch=4, images=8, generator=torch.Generator().manual_seed(0))
    assert isinstance(objective, Attract)
    first, second = torch.rand(2, 4, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    assert objective(first, first).item() == pytest.approx(0, abs=1e-5)
    loss = objective(first, second)
    assert loss.item() > 1e-4
    loss.backward()
    # No gradient is stopped: both views update every weight, and there is no slower copy.
    assert all(one.requires_grad for one in objective.parameters())
    assert any(bool(one.grad.abs().sum() > 0) for one in encoder.parameters() if one.grad is not None)
    with torch.no_grad():
        for one in (objective.projector.out, objective.projector.hidden):
            one.weight.zero_()
    assert objective(first, second).item() == pytest.approx(0, abs=1e-5)
