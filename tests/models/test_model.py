"""Models: they say what the run says, in people's classes, also from a file, and know what they have never seen."""

from __future__ import annotations

import contextlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

from engine.curate.decisions import Decision
from engine.curate.judging import Model as Labels
from engine.errors import RunError
from engine.models import calibration
from engine.models.about import from_json
from engine.models.calibration import Ruler, calibrated, own_distances
from engine.models.model import Model
from engine.models.model_card import model_card
from engine.models.of_run import ARTEFACT, model_of
from engine.models.open_model import open_model
from engine.models.packing import KEY, packed, unpacked
from engine.runs.folder import RunFolder
from engine.runs.predict import predict_images
from engine.runs.results import decision_log
from tests.models.conftest import CPU, finish
from tests.tiny_runs import MakeRun, drawn


def decide(folder: RunFolder, *decisions: Decision) -> None:
    images = folder.card().images
    labels = Labels(np.zeros(images, np.int64), np.ones(images, np.float32), "joint")
    with contextlib.closing(decision_log(folder)) as log:
        log.commit(list(decisions), labels)


def saved(model: Model, place: Path) -> Path:
    place.write_bytes(packed(model))
    return place


def test_a_model_says_of_the_runs_own_images_what_the_run_said(bars: RunFolder, model: Model) -> None:
    probabilities = bars.load("joint")["probabilities"]
    found, _ = model.network(bars.images().pixels)
    np.testing.assert_allclose(found, probabilities, rtol=1e-4, atol=1e-5)
    said = model.answer(bars.images().pixels)
    assert np.array_equal(said.classes, probabilities.argmax(1))
    assert np.array_equal(said.runners_up, np.argsort(-probabilities, axis=1)[:, 1])
    np.testing.assert_allclose(said.next_confidence, np.sort(probabilities, axis=1)[:, -2], rtol=1e-4, atol=1e-5)


def test_a_file_gives_the_same_answers_without_the_run(bars: RunFolder, model: Model, tmp_path: Path) -> None:
    file, pixels = saved(model, tmp_path / "m.safetensors"), np.array(bars.images().pixels)
    shutil.rmtree(bars.path)
    found = open_model(file, CPU)
    assert found.about == model.about
    for one, other in zip(found.network(pixels), model.network(pixels), strict=True):
        assert np.array_equal(one, other)


@pytest.mark.parametrize("stage", ["joint", "heads"])
def test_a_frozen_network_goes_with_its_adapter(
    stage: str, make_run: MakeRun, frozen: dict[str, Any], tmp_path: Path
) -> None:
    folder = finish(make_run(**frozen))
    if stage == "heads":
        for artefact in ("joint", "reliable-joint"):
            shutil.rmtree(folder.path / artefact)
    model = model_of(folder, CPU)
    expected = predict_images(folder, folder.images(), CPU).probabilities
    pixels = np.array(folder.images().pixels)
    kept = unpacked(saved(model, tmp_path / "m.safetensors"), CPU)
    assert kept.about.stage == {"joint": "stage 3", "heads": "stage 2"}[stage]
    np.testing.assert_allclose(kept.network(pixels)[0], expected, rtol=1e-4, atol=1e-5)
    assert str(tmp_path) not in kept.about.to_json()


def test_classes_are_those_of_people(bars: RunFolder, model: Model) -> None:
    before, _ = model.network(bars.images().pixels)
    decide(
        bars,
        Decision("merge", "ann", class_=2, other=0),
        Decision("rename", "ann", class_=2, text="a|b <c>"),
        Decision("new class", "ann", class_=3, text="by hand"),
    )
    merged = model_of(bars, CPU)
    about = merged.about
    assert (about.classes, about.home, about.without) == (("Cluster 1", "a|b <c>"), (1, 0, 1), ("by hand",))
    after, _ = merged.network(bars.images().pixels)
    np.testing.assert_allclose(after, np.stack((before[:, 1], before[:, 0] + before[:, 2]), 1), rtol=1e-5)
    card = model_card(about, "m.safetensors")
    assert "| 1 | a\\|b &lt;c> | 2 |" in card
    assert "no cluster has become: by hand" in card


def test_excluded_images_are_not_what_others_are_compared_with(bars: RunFolder, model: Model) -> None:
    assert model.recogniser is not None
    count = len(model.recogniser.references)
    decide(bars, Decision("exclude", "ann", images=np.arange(0, 120, 3)))
    again = model_of(bars, CPU)
    assert again.recogniser is not None
    assert (count, len(again.recogniser.references)) == (120, 80)
    assert again.about.decisions["excluded"] == 40
    decide(bars, Decision("exclude", "ann", images=np.arange(120)))
    with pytest.raises(RunError, match=r"all images of .* are excluded"):
        model_of(bars, CPU)


def test_the_sample_is_kept_until_there_are_other_networks(bars: RunFolder, model: Model) -> None:
    kept = bars.modified(ARTEFACT)
    assert model_of(bars, CPU).about == model.about
    assert bars.modified(ARTEFACT) == kept
    for artefact in ("joint", "reliable-joint"):
        shutil.rmtree(bars.path / artefact)
    earlier = model_of(bars, CPU)
    assert earlier.about.thresholds != model.about.thresholds
    np.testing.assert_allclose(
        np.array(bars.load(ARTEFACT)["probabilities"]),
        bars.load("heads")["probabilities"][bars.load(ARTEFACT)["ids"]],
        rtol=1e-4,
        atol=1e-5,
    )


def test_a_damaged_sample_is_made_again(bars: RunFolder, model: Model) -> None:
    file = bars.path / ARTEFACT / "features.npy"
    content = file.read_bytes()
    file.unlink()
    file.write_bytes(content[:-40])
    assert model_of(RunFolder(bars.path), CPU).about == model.about
    assert file.read_bytes() == content


def test_the_metadata_and_the_card_tell_everything_and_no_place(bars: RunFolder) -> None:
    card = bars.path / "run.json"
    told = json.loads(card.read_text())
    told |= {"source": "folder:/home/someone/birds", "depths": {"whole": [0.0, 0.0623]}}
    card.write_text(json.dumps(told))
    model = model_of(bars, CPU)
    content = packed(model)
    assert b"someone" not in content
    about = model.about
    assert (about.source, about.fingerprint, about.images) == ("folder:birds", bars.card().fingerprint, 120)
    assert (about.channels, about.height, about.width, about.fit) == (1, 8, 8, "crop")
    assert about.depth_rule is not None
    assert about.depth_rule["whole"].scale == 0.0623
    words = model_card(about, "m.safetensors")
    for text in ("folder:birds", about.fingerprint, "With ground truth", "`features.epochs` | 12", "scale 0.0623"):
        assert text in words
    acc = about.scores["truth"]["stage3"]["acc"]
    assert f"{acc:.4f}" in words
    shutil.rmtree(bars.path / "truth")
    events = bars.path / "events.jsonl"
    events.write_text(
        "".join(one for one in events.read_text().splitlines(True) if "Truth" not in one and "Reliable" not in one)
    )
    without = model_card(model_of(bars, CPU).about, "m.safetensors")
    assert "There was no ground truth" in without
    assert "accuracy" not in without


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda file: file.write_bytes(file.read_bytes()[:100]), "cannot be read"),
        (lambda file: file.unlink(), "there is no file"),
        (lambda file: save_file(load_file(file), file), "holds weights, but no model of a run"),
        (lambda file: save_file(load_file(file), file, {KEY: "{}"}), "is damaged"),
        (lambda file: save_file(load_file(file), file, {KEY: '{"format": 99}'}), "model format 99"),
        (lambda file: _rewritten(file, "head.out_weight", torch.zeros(1, 3, 3)), "is damaged"),
        (lambda file: _rewritten(file, "encoder.mean", None), "is damaged"),
    ],
)
def test_a_file_that_is_no_model_is_refused_in_a_sentence(
    damage: Any, words: str, model: Model, tmp_path: Path
) -> None:
    file = saved(model, tmp_path / "m.safetensors")
    damage(file)
    with pytest.raises(RunError, match=words):
        open_model(file, CPU)


def _rewritten(file: Path, name: str, value: torch.Tensor | None) -> None:
    from safetensors import safe_open

    with safe_open(file, "pt") as opened:
        metadata = opened.metadata()
    weights = load_file(file)
    del weights[name]
    save_file(weights | ({} if value is None else {name: value}), file, metadata)


def test_about_survives_json(model: Model) -> None:
    assert from_json(model.about.to_json(), "here") == model.about


# -- unknown -------------------------------------------------------------------------------------


def test_the_distance_is_one_minus_the_mean_cosine_of_the_five_nearest() -> None:
    angles = np.radians([0, 10, 20, 30, 40, 170])
    references = torch.tensor(np.stack((np.cos(angles), np.sin(angles)), 1)).float()
    ruler = Ruler(torch.tensor([1.0, 1.0]), torch.eye(2), references)
    found = ruler.distance(torch.tensor([[4.0, 1.0]]))
    assert found.item() == pytest.approx(1 - np.cos(angles[:5]).mean(), abs=1e-6)


def test_features_are_scaled_to_differ_equally_in_all_directions() -> None:
    rng = np.random.default_rng(0)
    features = (rng.normal(size=(500, 3)) @ np.diag([3, 1, 0.5]) @ rng.normal(size=(3, 3)) + 7).astype(np.float32)
    ruler = Ruler.of(features)
    scaled = (torch.from_numpy(features) - ruler.centre) @ ruler.scaling
    np.testing.assert_allclose(torch.cov(scaled.T), np.eye(3), atol=0.02)
    assert torch.allclose(ruler.references, F.normalize(scaled, dim=1), atol=1e-5)
    flat = np.concatenate((features, np.ones((500, 1), np.float32)), 1)  # one direction without any differences
    assert torch.isfinite(Ruler.of(flat).references).all()


def plain(features: np.ndarray) -> Ruler:
    """A ruler that neither centres nor scales."""
    unit = F.normalize(torch.from_numpy(features[: calibration.REFERENCES]), dim=1)
    return Ruler(torch.zeros(features.shape[1]), torch.eye(features.shape[1]), unit)


def test_an_image_is_not_its_own_neighbour(monkeypatch: pytest.MonkeyPatch) -> None:
    features = np.eye(8, dtype=np.float32)
    assert own_distances(features, plain(features)).tolist() == [1.0] * 8
    assert plain(features).distance(torch.from_numpy(features)).tolist() == pytest.approx([0.8] * 8)
    copies = np.concatenate((features[:1], features))  # two equal images are neighbours
    assert own_distances(copies, plain(copies))[0] == pytest.approx(0.8)
    monkeypatch.setattr(calibration, "BLOCK", 3)
    monkeypatch.setattr(calibration, "REFERENCES", 5)
    assert own_distances(features, plain(features)).tolist() == [1.0] * 8


def test_one_in_a_hundred_own_images_lies_beyond_each_threshold() -> None:
    rng = np.random.default_rng(0)
    features = np.concatenate([rng.normal(centre, 0.3, (500, 4)) for centre in ([3, 0, 0, 0], [0, 3, 0, 0])])
    features = rng.permutation(features).astype(np.float32)
    confidence, ruler = rng.random(1000).astype(np.float32), Ruler.of(features)
    found = calibrated(confidence, features, ruler)
    assert (confidence < found.confidence).mean() == pytest.approx(0.01, abs=0.002)
    assert (own_distances(features, ruler) > found.distance).mean() == pytest.approx(0.01, abs=0.002)
    assert 0.01 <= found.share <= 0.02
    others = torch.from_numpy(rng.normal([0, 0, 3, 3], 0.3, (100, 4)).astype(np.float32))
    assert (ruler.distance(others).numpy() > found.distance).mean() > 0.9


def test_images_of_the_kind_are_known_and_others_are_not(model: Model) -> None:
    held, _ = drawn(seed=5, images=120)
    assert model.answer(held.pixels).unknown.mean() < 0.15
    rng = np.random.default_rng(0)
    others = np.kron(rng.integers(0, 256, (200, 1, 4, 4)), np.ones((2, 2), int)).astype(np.uint8)
    assert model.answer(others).unknown.mean() > 0.6
