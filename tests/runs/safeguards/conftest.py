"""Fixtures: a finished tiny run, once for all tests, and copies of it to be damaged."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from engine.data.columns import ImageColumn
from engine.jobs import Control
from engine.runs.create import create_run
from engine.runs.folder import RunFolder
from engine.runs.runner import choose_device, execute
from engine.sources.open_source import Opened
from tests.tiny_runs import drawn, tiny_config


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    images, truth = drawn()
    folder = create_run(tmp_path_factory.mktemp("made") / "run", Opened(images, truth), tiny_config())
    return finished(folder)


@pytest.fixture
def run(made: RunFolder, tmp_path: Path) -> RunFolder:
    folder = RunFolder(shutil.copytree(made.path, tmp_path / "run"))
    folder.save_columns([ImageColumn("age", folder.images().pixels[:, 0, 0, 0].astype("f4"))])
    return folder


def finished(folder: RunFolder) -> RunFolder:
    with folder.lock():
        assert execute(folder, choose_device("cpu"), Control()) == "finished"
    return folder


def flip(file: Path, place: int = -1, bit: int = 4) -> None:
    """Flips a bit of a file, as a disk may, in place."""
    content = bytearray(file.read_bytes())
    content[place] ^= 1 << bit
    with file.open("r+b") as opened:
        opened.write(content)
