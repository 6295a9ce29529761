"""Runs that start with a trained encoder, and predictions of finished runs for other images."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from engine.config import EncoderSettings
from engine.data.images import ImageSet
from engine.errors import RunError, SettingError
from engine.jobs import Control
from engine.runs.predict import coloured_as, encoder_file, predict_images, scores
from engine.runs.runner import choose_device, execute
from engine.stages.encoder import Encoder, initialise
from engine.stages.encoder_file import load_encoder, pack_encoder, read_card
from tests.tiny_runs import MakeRun, drawn

CPU = torch.device("cpu")


@pytest.fixture
def colour(tmp_path: Path) -> Path:
    """A file with an encoder for colour images of 16 pixels."""
    settings = EncoderSettings(backbone="small", width=4)
    encoder = Encoder(settings, channels=3, side=16)
    initialise(encoder, torch.Generator().manual_seed(0))
    path = tmp_path / "colour.pt"
    path.write_bytes(pack_encoder(encoder, settings, 16, {}))
    return path


def run(folder: object) -> str:
    return execute(folder, choose_device("cpu"), Control())  # type: ignore[arg-type]


def test_a_frozen_encoder_stays_as_it_came_and_the_run_can_go_on(make_run: MakeRun, colour: Path) -> None:
    begun = {"features.source": f"encoder:{colour}", "features.epochs": 0}
    folder = make_run(**begun)
    assert run(folder) == "finished"
    kept, came = folder.weights("features"), load_encoder(f"encoder:{colour}").state_dict()
    assert kept.keys() == came.keys()
    assert all(torch.equal(kept[name], came[name]) for name in came)
    for artefact in ("heads", "reliable-heads", "joint", "reliable-joint"):
        shutil.rmtree(folder.path / artefact)
    assert run(folder) == "finished"
    assert folder.has("reliable-joint")


def test_a_tuned_encoder_changes(make_run: MakeRun, colour: Path) -> None:
    begun = {"features.source": f"encoder:{colour}", "features.epochs": 1}
    folder = make_run(**begun)
    assert run(folder) == "finished"
    name = "backbone.0.weight"
    came = load_encoder(f"encoder:{colour}").state_dict()[name]
    assert not torch.equal(folder.weights("features")[name], came)


def test_a_run_gives_its_encoder_to_others(make_run: MakeRun, tmp_path: Path) -> None:
    first = make_run("first")
    assert run(first) == "finished"
    (tmp_path / "own.pt").write_bytes(encoder_file(first))
    begun = {"features.source": f"encoder:{tmp_path / 'own.pt'}", "features.epochs": 0}
    second = make_run("second", **begun)
    assert run(second) == "finished"
    one, other = (torch.from_numpy(f.load("features")["vectors"]) for f in (first, second))
    torch.testing.assert_close(other, one, rtol=0.02, atol=0.02)
    assert read_card(begun["features.source"])["source"] == "drawn"
    again = tmp_path / "again.pt"  # a run that started with an encoder passes it on
    again.write_bytes(encoder_file(second))
    assert read_card(f"encoder:{again}")["began"] == begun["features.source"]


def test_a_finished_run_says_of_its_own_images_what_it_said_in_training(make_run: MakeRun) -> None:
    folder = make_run()
    assert run(folder) == "finished"
    found = predict_images(folder, folder.images(), CPU)
    np.testing.assert_allclose(found.probabilities, folder.load("joint")["probabilities"], rtol=1e-4, atol=1e-5)
    truth = folder.truth()
    assert scores(found, truth).keys() >= {"acc", "nmi", "ari"}
    assert scores(found, None) == {}


def test_before_stage_3_the_chosen_head_speaks(make_run: MakeRun) -> None:
    folder = make_run()
    assert run(folder) == "finished"
    for artefact in ("joint", "reliable-joint"):
        shutil.rmtree(folder.path / artefact)
    found = predict_images(folder, folder.images(), CPU)
    np.testing.assert_allclose(found.probabilities, folder.load("heads")["probabilities"], rtol=1e-4, atol=1e-5)


def test_new_images_must_be_like_those_of_the_run_and_the_run_far_enough(make_run: MakeRun) -> None:
    folder = make_run()
    images, _ = drawn(seed=1, images=6)
    with pytest.raises(RunError, match="no clusters yet"):
        predict_images(folder, images, CPU)
    large = ImageSet(np.zeros((2, 3, 12, 12), np.uint8), ("a", "b"), "photos")
    with pytest.raises(RunError, match="colour images of 12×12, but the run was trained on grey"):
        predict_images(folder, large, CPU)
    with pytest.raises(RunError, match="no encoder yet"):
        encoder_file(folder)


def test_a_run_keeps_the_encoder_it_began_with(make_run: MakeRun, colour: Path) -> None:
    folder = make_run(**{"features.source": f"encoder:{colour}", "features.epochs": 0})
    assert run(folder) == "finished"
    before = predict_images(folder, folder.images(), CPU)
    colour.unlink()
    shutil.rmtree(folder.path / "joint")
    shutil.rmtree(folder.path / "reliable-joint")
    assert run(folder) == "finished"
    after = predict_images(folder, folder.images(), CPU)
    np.testing.assert_allclose(after.probabilities, before.probabilities, rtol=1e-4, atol=1e-5)
    assert folder.card().config.features.source == f"encoder:{colour}"


def test_a_run_that_would_begin_with_an_unknown_encoder_is_not_made(make_run: MakeRun, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="no encoder 'fish'"):
        make_run(**{"features.source": "encoder:fish", "features.epochs": 0})
    assert list(tmp_path.iterdir()) == []


def test_an_encoder_file_tells_nothing_of_the_place_of_its_images(make_run: MakeRun, tmp_path: Path) -> None:
    folder = make_run()
    assert run(folder) == "finished"
    card = folder.path / "run.json"
    card.write_text(card.read_text().replace('"drawn"', '"folder:/home/someone/birds"'))
    (tmp_path / "own.pt").write_bytes(encoder_file(folder))
    assert read_card(f"encoder:{tmp_path / 'own.pt'}")["source"] == "folder:birds"
    assert b"someone" not in (tmp_path / "own.pt").read_bytes()


@pytest.mark.parametrize("channels", [1, 3])
def test_grey_and_colour_images_are_taken_as_those_of_the_run(channels: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (3, 4 - channels, 5, 6), np.uint8)
    found = coloured_as(ImageSet(pixels, ("a", "b", "c"), "photos"), channels).pixels
    assert found.shape == (3, channels, 5, 6)
    if channels == 3:
        assert all(np.array_equal(found[:, one], pixels[:, 0]) for one in range(3))
    else:
        brightness = np.tensordot(pixels, [0.299, 0.587, 0.114], ([1], [0]))
        assert np.abs(found[:, 0] - brightness).max() <= 1


def test_a_run_in_grey_labels_grey_images_in_colour_alike(make_run: MakeRun) -> None:
    folder = make_run()
    assert run(folder) == "finished"
    own = folder.images()
    coloured = ImageSet(np.repeat(own.pixels, 3, axis=1), own.ids, "photos")
    one, other = (predict_images(folder, images, CPU).labels for images in (own, coloured))
    assert np.array_equal(one, other)
