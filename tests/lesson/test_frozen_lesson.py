"""The lesson of a run on a frozen network says nothing that did not happen in it."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch

from engine.jobs import Control
from engine.lesson.build import lesson
from engine.lesson.failure_trials import load_trials, make_trials, missing, spread_of
from engine.lesson.html_file import page
from engine.runs.folder import RunFolder
from engine.runs.runner import choose_device, execute
from engine.views import strong_view, weak_view
from tests.lesson.test_build import KEYS, pictures, step
from tests.tiny_runs import MakeRun


@pytest.fixture
def run(make_run: MakeRun, frozen: dict[str, Any]) -> RunFolder:
    folder = make_run(**frozen, **{"heads.sizes": "estimated", "heads.start": "kmeans", "heads.epochs": 6})
    assert execute(folder, choose_device("cpu"), Control()) == "finished"
    return folder


def made(folder: RunFolder) -> dict[str, Any]:
    return json.loads(json.dumps(lesson(folder), allow_nan=False))


def test_every_step_has_something_to_show(run: RunFolder) -> None:
    found = made(run)
    assert [one["key"] for one in found["steps"]] == KEYS
    assert [one["needs"] for one in found["steps"]] == [""] * len(KEYS)
    assert "<script" in page(found)


def test_views_are_those_of_later_stages(run: RunFolder) -> None:
    found = step(made(run), "views")
    assert "do not train the network of this run" in found["sentence"]
    assert "1 weak and 2 strong views of each image once" in found["sentence"]
    assert (found["play"], found["wrong"]) == (None, None)
    # Six images, of each four weak views and then four strong ones.
    shown, views = pictures(found["show"]["sprite"]), run.config().views
    ids = np.sort(np.random.default_rng(run.config().seed + 1).permutation(60)[:6])
    pixels = torch.from_numpy(np.repeat(run.images().pixels[ids], 4, 0)).float() / 255
    chance = torch.Generator().manual_seed(run.config().features.view_seed)
    weak, strong = weak_view(pixels, views.weak, chance), strong_view(pixels, views.strong, chance)
    for image in range(6):
        own = torch.cat([one[4 * image : 4 * image + 4, 0] for one in (weak, strong)])
        np.testing.assert_array_equal(shown[8 * image : 8 * image + 8], (own * 255).round().clamp(0, 255).numpy())


def test_features_come_from_a_network_that_nothing_changes(run: RunFolder) -> None:
    found = step(made(run), "features")
    assert "nothing changes it here" in found["sentence"]
    assert "licence unknown" in found["sentence"]  # of weights from a file
    apart = spread_of(np.asarray(run.load("features")["vectors"]))
    assert found["show"]["says"] == f"Two images are {apart:.2f} apart on average (cosine distance)."
    assert "before training" not in json.dumps(found)
    assert (found["play"], found["wrong"]) == (None, None)


def test_prototypes_label_as_many_images_as_their_head_finds(run: RunFolder) -> None:
    found = step(made(run), "nearest")
    assert "as many as its head finds in that cluster" in found["sentence"]
    claimed = np.asarray(run.load("heads")["claimed"])
    assert f"claims {claimed.min():,} to {claimed.max():,} images" in found["show"]["says"]


def test_stage_3_trains_an_adapter_and_has_no_x_rays(run: RunFolder) -> None:
    found = made(run)
    assert found["xray"] is None
    joint = step(found, "joint")
    assert joint["show"]["xray"] is False
    assert joint["sentence"].startswith("An adapter on the frozen network and the head train together")


def test_what_goes_wrong_is_tried_where_it_can(run: RunFolder) -> None:
    assert missing(run) == ["head", "unbalanced"]
    make_trials(run)
    found = load_trials(run)
    assert (found.collapse, found.temperatures) == (None, None)
    assert found.unbalanced is not None
    # M/K of the images that are left, for every prototype.
    assert found.unbalanced.nearest.shape[1] == len(found.unbalanced.ids) // 3
    assert missing(run) == []
    for one in made(run)["steps"]:
        if one["key"] in ("views", "features"):
            assert one["wrong"] is None


def test_without_kept_views_the_network_itself_trains_in_stage_3(make_run: MakeRun, frozen: dict[str, Any]) -> None:
    folder = make_run(**{**frozen, "features.weak_views": 0, "features.strong_views": 0})
    assert execute(folder, choose_device("cpu"), Control()) == "finished"
    found = made(folder)
    assert found["xray"] is not None
    assert step(found, "joint")["sentence"].startswith("Network and head train together")
    assert step(found, "joint")["show"]["xray"] is True
    assert "of each image once" not in step(found, "views")["sentence"]
    assert step(found, "nearest")["sentence"].startswith("The M/K images")
