"""The benchmark `photos`: its baselines find what is easy to find, its formulas are the papers', its sets are fixed."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file

from benchmarks import embedding_speed, photo_sets, photos, photos_methods, pieces, report
from benchmarks.__main__ import main
from benchmarks.baselines.plain import kmeans, probe, umap_kmeans
from benchmarks.baselines.temi import TemiSettings, temi, temi_losses
from benchmarks.baselines.turtle import TurtleSettings, _Classifier, turtle, turtle_loss
from benchmarks.lite_network import renamed
from benchmarks.photos_report import gain_table
from benchmarks.pieces import Options
from engine import metrics
from engine.errors import SettingError
from engine.sources.open_source import open_source

BLOBS = 5
TRUTH = np.arange(300) % BLOBS


@pytest.fixture(scope="module")
def blobs() -> np.ndarray:
    """(300, 16) float32: five round clusters that touch, with a mean square of about 1."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(BLOBS, 16))
    return (centres[TRUTH] + 0.4 * rng.normal(size=(len(TRUTH), 16))).astype(np.float32)


# -- baselines -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings",
    [
        TurtleSettings(outer_steps=300, warm=True),
        TurtleSettings(outer_steps=1000),
        TurtleSettings(outer_steps=300, warm=True, batch=100),
    ],
    ids=["warm", "cold", "batches"],
)
def test_turtle_finds_clusters_that_are_apart(blobs: np.ndarray, settings: TurtleSettings) -> None:
    assert metrics.accuracy(turtle(blobs, BLOBS, 0, settings), TRUTH) >= 0.95


@pytest.mark.parametrize("hidden", [0, 16])
def test_temi_finds_clusters_that_are_apart(blobs: np.ndarray, hidden: int) -> None:
    settings = TemiSettings(
        heads=4,
        neighbors=20,
        epochs=0,
        least_steps=400,
        batch=128,
        hidden=hidden,
        learning_rate=3e-3,
        teacher_momentum=0.98,
    )
    assert metrics.accuracy(temi(blobs, BLOBS, 0, settings), TRUTH) >= 0.95


def test_plain_clustering_finds_clusters_that_are_apart(blobs: np.ndarray) -> None:
    assert metrics.accuracy(kmeans(blobs, BLOBS, 0), TRUTH) >= 0.95
    assert metrics.accuracy(umap_kmeans(blobs, BLOBS, 0), TRUTH) >= 0.95


def test_the_probe_judges_an_image_by_the_labels_of_others(blobs: np.ndarray) -> None:
    assert (probe(blobs, TRUTH, 0) == TRUTH).mean() >= 0.95
    chance = np.random.default_rng(1).permutation(TRUTH)
    assert (probe(blobs, chance, 0) == chance).mean() < 0.4  # labels that no other image can tell


def test_a_seed_repeats_and_another_differs(blobs: np.ndarray) -> None:
    settings = TurtleSettings(outer_steps=2)
    one, same, other = (turtle(blobs, BLOBS, seed, settings) for seed in (0, 0, 1))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)
    few = TemiSettings(heads=2, neighbors=5, epochs=0, least_steps=2, batch=32, hidden=0)
    one, same, other = (temi(blobs, BLOBS, seed, few) for seed in (0, 0, 1))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


def test_the_loss_of_temi_is_that_of_the_paper() -> None:
    student, teacher = (torch.tensor([[0.9, 0.1], [0.3, 0.7]]), torch.tensor([[0.8, 0.2], [0.4, 0.6]]))
    # One head, one pair, two clusters: rows are the first and the second image.
    pairs = [tuple(row.log().view(1, 2, 1) for row in both) for both in (student, teacher)]
    found = temi_losses(pairs[0], pairs[1], torch.tensor([[[0.6], [0.4]]]), torch.tensor([0.5]), 0.6)
    one = (0.9 * 0.4) ** 0.6 / 0.6 + (0.1 * 0.6) ** 0.6 / 0.4
    other = (0.3 * 0.8) ** 0.6 / 0.6 + (0.7 * 0.2) ** 0.6 / 0.4
    assert float(found[0]) == pytest.approx(-0.5 * (math.log(one) + math.log(other)) / 2, rel=1e-5)


def test_the_steps_of_temi_follow_epochs_or_their_least_number() -> None:
    assert TemiSettings(epochs=100, batch=512).steps(1500) == 200
    assert TemiSettings(epochs=100, batch=512, least_steps=3000).steps(1500) == 3000


def test_the_loss_of_turtle_is_the_cross_entropy_less_the_entropy_of_cluster_sizes() -> None:
    labels = torch.tensor([[0.9, 0.2], [0.1, 0.8]])  # two images, in columns
    said = torch.tensor([[0.7, 0.4], [0.3, 0.6]])
    error = -(0.9 * math.log(0.7) + 0.1 * math.log(0.3) + 0.2 * math.log(0.4) + 0.8 * math.log(0.6)) / 2
    entropy = -(0.55 * math.log(0.55) + 0.45 * math.log(0.45))
    assert float(turtle_loss(labels, said.log(), 10)) == pytest.approx(error - 10 * entropy, rel=1e-5)


def test_the_inner_classifier_steps_as_torch_does() -> None:
    chance = torch.Generator().manual_seed(0)
    x, labels = torch.randn(20, 6, generator=chance), torch.rand(3, 20, generator=chance).softmax(0)
    ours = _Classifier(6, 3, 1e-2, chance)
    theirs = torch.nn.Parameter(ours.weights.clone())
    adam = torch.optim.Adam([theirs], 1e-2)
    for _ in range(4):
        ours.step(x, labels)
        adam.zero_grad()
        torch.nn.functional.cross_entropy(x @ theirs.t(), labels.t()).backward()
        adam.step()
    torch.testing.assert_close(ours.weights, theirs.detach(), rtol=1e-4, atol=1e-6)


# -- network and sets ----------------------------------------------------------------------------


def test_weights_are_matched_by_their_order() -> None:
    own = {"stem.weight": torch.ones(2, 3), "bn.num_batches_tracked": torch.tensor(4), "fc.bias": torch.zeros(2)}
    like = {"conv.weight": torch.zeros(2, 3), "head.bias": torch.ones(2), "n.num_batches_tracked": torch.tensor(0)}
    found = renamed(own, like)
    assert found.keys() == like.keys()
    assert found["conv.weight"].sum() == 6
    assert found["head.bias"].sum() == 0
    assert found["n.num_batches_tracked"] == 0
    with pytest.raises(SettingError, match="2 and 2 of them, the first that differ number 0"):
        renamed({**own, "stem.weight": torch.ones(3, 2)}, like)


def test_a_subset_is_the_same_each_time_and_keeps_its_truth() -> None:
    whole = open_source("digits")
    one, again = photo_sets.drawn(whole, 100), photo_sets.drawn(whole, 100)
    assert len(one.images) == 100
    assert one.images.ids == again.images.ids
    assert one.truth is not None
    assert whole.truth is not None
    row = whole.images.ids.index(one.images.ids[7])
    assert one.truth.labels[7] == whole.truth.labels[row]
    assert np.array_equal(one.images.pixels[7], whole.images.pixels[row])
    assert photo_sets.drawn(whole, 5000) is whole


def test_published_settings_are_measured_once_and_on_small_sets() -> None:
    seeds = {method.published: method.seeds(5, 1500) for method in photos_methods.METHODS}
    assert seeds == {False: range(5), True: range(1)}
    assert {len(m.seeds(5, 10_000)) for m in photos_methods.METHODS if m.published} == {0}


# -- the whole -----------------------------------------------------------------------------------


@pytest.fixture
def small(tmp_path: Path, drawn_photos: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two clusters, a tiny network, k-means and the probe alone; pieces and results in a temporary folder."""
    monkeypatch.setattr(pieces, "WORK", tmp_path / "work")
    monkeypatch.setattr(report, "RESULTS", tmp_path / "results")
    monkeypatch.chdir(tmp_path)
    for module in (photos, photos_methods):
        monkeypatch.setattr(module, "CLUSTERS", 2)
    short = [method for method in photos_methods.METHODS if method.title.startswith(("k-means", "logistic"))]
    monkeypatch.setattr(photos, "METHODS", short)
    monkeypatch.setattr(photos, "_compiled", lambda: None)
    monkeypatch.setattr(photo_sets, "CLOTHES_SIDE", 32)
    monkeypatch.setattr(embedding_speed, "ROUNDS", 1)
    torch.manual_seed(0)
    network = timm.create_model("test_vit", pretrained=False, img_size=32)
    save_file(network.state_dict(), tmp_path / "weights.safetensors")
    source = f"weights:timm/test_vit:{tmp_path / 'weights.safetensors'}"
    monkeypatch.setattr(photos, "lite_source", lambda _place, _side: source)
    shutil.copytree(drawn_photos, tmp_path / "clothes" / "train")
    return tmp_path


SHORT = ["heads.start=kmeans", "heads.epochs=1", "joint.steps=2", "reliable.agreement=0.1"]


def test_sets_are_measured_one_after_the_other_and_missing_ones_are_named(
    small: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = [word for text in SHORT for word in ("--set", text)]
    command = ["photos", "--images", "150", "--seeds", "2", "--device", "cpu", "--clothes", str(small / "clothes")]
    assert main([*command, *settings]) == 0
    said = capsys.readouterr().out
    assert "cifar10 is skipped: CIFAR-10 (JPEG q92) is not at" in said
    assert "clothes: k-means, seed 1: ACC" in said
    data = json.loads((small / "results" / "photos-cpu.json").read_text())
    assert list(data["sets"]) == ["clothes", "digits"]
    assert list(data["skipped"]) == ["cifar10"]
    clothes = data["sets"]["clothes"]
    assert clothes["images"] == 40
    assert [round(run["acc"], 3) for run in clothes["methods"]["logistic regression WITH labels"]] == [1.0, 1.0]
    assert [sorted(run["truth"])[-3:] for run in clothes["spice"]] == [["stage1", "stage2", "stage3"]] * 2
    assert all(0 < run["reliable"]["heads"]["share"] <= 1 for run in clothes["spice"])
    assert clothes["embedding"]["views"] == 4
    assert clothes["embedding"]["count"] == 160  # 40 images in 4 views
    assert 0 < clothes["embedding"]["engine"] < clothes["embedding"]["bare"] * 2
    assert data["sets"]["digits"]["embedding"] is None
    text = (small / "results" / "photos-cpu.md").read_text()
    assert "The set cifar10 was not measured: CIFAR-10 (JPEG q92) is not at" in text
    assert "SPICE, stage 3, over SPICE, stage 2" in text
    assert str(small) not in text.split("The set cifar10")[0]


def test_a_stage_that_vectors_do_not_have_is_not_invented(small: Path) -> None:
    photos.measure(Options(device="cpu", images=150, seeds=1, assignments=tuple(SHORT)))
    digits = json.loads((small / "results" / "photos-cpu.json").read_text())["sets"]["digits"]
    (run,) = digits["spice"]
    text = (small / "results" / "photos-cpu.md").read_text()
    absent = "| SPICE, stage 3 | 0 | not available |" in text
    assert absent == ("stage3" not in run["truth"])
    assert absent == bool(run["skipped"])


def test_gains_are_of_runs_with_the_same_seed() -> None:
    one = {
        "methods": {"k-means": [{"acc": 0.5}, {"acc": 0.6}], "UMAP + k-means": [{"acc": 0.7}, {"acc": 0.7}]},
        "spice": [
            {"truth": {"stage1": {"acc": 0.5}, "stage2": {"acc": second}, "stage3": {"acc": third}}}
            for second, third in ((0.7, 0.75), (0.6, 0.7))
        ],
    }
    rows = gain_table(one).splitlines()
    assert "| SPICE, stage 2, over k-means | 10.0 ± 14.1 (0.0) | +20.0, +0.0 |" in rows
    assert "| SPICE, stage 3, over SPICE, stage 2 | 7.5 ± 3.5 (5.0) | +5.0, +10.0 |" in rows
