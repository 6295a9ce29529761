"""Tables of all images by all clusters are worked on in pieces: the results are those of the whole, bit by bit."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from benchmarks.peak_memory import forgotten, peak
from engine.presets import preset
from engine.stages import frames, prototypes
from engine.stages import heads as stage
from engine.stages.encoder import Heads, initialise
from engine.stages.prototypes import Known, confident_images, informed, softened, surest

IMAGES, SIZE, CLUSTERS = 700, 16, 30


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three clusters, or images by the dozen, at a time."""
    monkeypatch.setattr(prototypes, "BLOCK_ENTRIES", 3 * IMAGES)


def drawn(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


def known() -> Known:
    places = torch.arange(IMAGES)
    return Known(places * 7 % CLUSTERS, places % 5 == 0, places % 5 == 1)


@pytest.mark.usefixtures("small_pieces")
def test_softened_is_the_softmax_in_place() -> None:
    for shape in ((IMAGES, CLUSTERS), (2, IMAGES, CLUSTERS)):
        logits = 20 * drawn(*shape)
        whole = logits.softmax(-1)
        found = softened(logits)
        assert found.data_ptr() == logits.data_ptr()
        assert torch.equal(found, whole)


@pytest.mark.usefixtures("small_pieces")
def test_the_surest_images_are_those_of_the_whole_table_also_among_equals() -> None:
    belief = (4 * drawn(2, IMAGES, CLUSTERS)).round().div(4).softmax(2)  # many equals
    whole = belief.topk(20, dim=1).indices.transpose(1, 2)
    assert torch.equal(confident_images(belief, 20), whole)
    said = known()
    assert torch.equal(surest(belief, 20, said), informed(belief, said).topk(20, dim=1).indices.transpose(1, 2))


def test_decisions_reorder_some_clusters_as_they_reorder_all() -> None:
    belief, said = drawn(2, IMAGES, CLUSTERS).softmax(2), known()
    own = F.one_hot(said.labels, CLUSTERS).bool()
    expected = torch.where(said.fixed[:, None], torch.where(own, 1 + belief, -1.0), belief)
    expected = expected.masked_fill(said.refused[:, None] & own, -1.0)
    assert torch.equal(informed(belief, said), expected)
    assert torch.equal(informed(belief[:, :, 4:9], said, 4), expected[:, :, 4:9])


def heads_of(count: int, size: int, clusters: int) -> Heads:
    heads = Heads(count, size, clusters)
    initialise(heads, torch.Generator().manual_seed(1))
    for value in heads.parameters():
        value.requires_grad_(requires_grad=False)
    heads.hidden_bias += drawn(*heads.hidden_bias.shape)
    heads.out_bias += drawn(*heads.out_bias.shape)
    return heads


def test_logits_in_place_are_those_of_the_forward_pass() -> None:
    heads, vectors = heads_of(3, SIZE, CLUSTERS), drawn(IMAGES, SIZE)
    before = vectors.clone()
    for index in range(3):
        inner = F.relu(vectors @ heads.hidden_weight[index] + heads.hidden_bias[index])
        assert torch.equal(heads.logits_of(index, vectors), inner @ heads.out_weight[index] + heads.out_bias[index])
    assert torch.equal(vectors, before)


def test_the_first_belief_is_what_it_was_with_tables_of_its_own() -> None:
    unit = F.normalize(drawn(IMAGES, SIZE), dim=1)
    labels = [prototypes.kmeans(unit.numpy(), 5, 3 * 2 + head, starts=1) for head in range(2)]
    member = F.one_hot(torch.from_numpy(np.stack(labels)).long(), 5).float()
    means = F.normalize(member.transpose(1, 2) @ unit, dim=2)
    expected = (member + (1 + unit @ means.transpose(1, 2)) / 2) / 2
    assert torch.equal(prototypes.kmeans_belief(unit, unit.numpy(), 5, 2, seed=3), expected)


@pytest.mark.parametrize("decided", [False, True])
def test_the_choice_of_a_head_makes_one_table_of_all_images_at_a_time(
    decided: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (prototypes, stage):
        monkeypatch.setattr(module, "BLOCK_ENTRIES", 2**20)
    monkeypatch.setattr(prototypes, "TABLE_ENTRIES", 2**20)
    images, clusters = 20_000, 1_000
    table = 4 * images * clusters
    settings = preset("quick", clusters=clusters, channels=1).heads
    heads, vectors = heads_of(2, SIZE, clusters), drawn(images, SIZE)
    fixed = torch.arange(images) % 100 == 0 if decided else torch.zeros(images, dtype=torch.bool)
    said = Known(torch.arange(images) % clusters, fixed, torch.zeros_like(fixed), not decided)
    for step in (
        lambda: stage._chosen(settings, heads, vectors, said, 1),
        lambda: stage._frame(1, settings, heads, vectors, said),
    ):
        step()
        before = forgotten()
        step()
        # What is freed in small pieces is not always given back at once; with copies it was 3 tables, with decisions 6.
        assert peak() - before < 2.4 * table, f"{(peak() - before) / table:.1f} tables"


def grown(step: Callable[[], object]) -> int:
    """By how many bytes the process grows at most in a step."""
    before = forgotten()
    step()
    return peak() - before


def test_a_frame_makes_no_second_copy_of_the_features(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "BLOCK_ROWS", 1_000)
    images, size, clusters = 40_000, 1_024, 20
    settings = preset("quick", clusters=clusters, channels=1).heads
    heads, vectors = heads_of(1, 8, clusters), drawn(images, size)
    # A head without a hidden layer as wide as the features: that would be a copy of them too.
    monkeypatch.setattr(heads, "logits_of", lambda _index, x: x[:, :clusters].clone())
    said = Known(torch.zeros(images, dtype=torch.long), *2 * [torch.zeros(images, dtype=torch.bool)], silent=True)
    for step in (lambda: stage._frame(1, settings, heads, vectors, said), lambda: frames.condensed(vectors)):
        # The least of a few: what the system had taken from the process meanwhile comes back, and counts.
        assert min(grown(step) for _ in range(4)) < 0.5 * vectors.nbytes


def test_condensed_by_blocks_is_what_it_is_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = drawn(IMAGES, SIZE)
    whole = torch.from_numpy(frames.condensed(vectors)).float()
    monkeypatch.setattr(frames, "BLOCK_ROWS", 64)
    parts = torch.from_numpy(frames.condensed(vectors)).float()
    torch.testing.assert_close(parts @ parts.t(), whole @ whole.t(), atol=2e-3, rtol=0)
