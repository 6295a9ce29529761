"""A finished run on drawn bars, shared by the tests of models, and a copy that a test may change."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from engine.jobs import Control
from engine.models.model import Model
from engine.models.of_run import model_of
from engine.runs.create import create_run
from engine.runs.folder import RunFolder
from engine.runs.runner import choose_device, execute
from engine.sources.open_source import Opened
from tests.tiny_runs import drawn, tiny_config

CPU = torch.device("cpu")
# Enough steps that the three kinds of bars are told apart.
LONGER = {"encoder.width": 8, "features.epochs": 12, "heads.epochs": 12, "joint.steps": 12}


def finish(folder: RunFolder) -> RunFolder:
    assert execute(folder, choose_device("cpu"), Control()) == "finished"
    return folder


@pytest.fixture(scope="session")
def trained_bars(tmp_path_factory: pytest.TempPathFactory) -> Path:
    images, truth = drawn(images=120)
    place = tmp_path_factory.mktemp("models") / "bars"
    return finish(create_run(place, replace(Opened(images), truth=truth), tiny_config(**LONGER))).path


@pytest.fixture
def bars(trained_bars: Path, tmp_path: Path) -> RunFolder:
    return RunFolder(shutil.copytree(trained_bars, tmp_path / "bars"))


@pytest.fixture
def model(bars: RunFolder) -> Model:
    return model_of(bars, CPU)
