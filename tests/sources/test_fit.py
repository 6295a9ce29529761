"""How images become squares: their middle, all of them on a border, or all of them squeezed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from engine.__main__ import main
from engine.errors import SourceError
from engine.runs.create import create_run
from engine.sources.import_job import Asked
from engine.sources.open_source import open_source
from tests.tiny_runs import tiny_config
from tests.two_colours import BLUE, GREEN, RED, content, two_colours


def near(pixels: np.ndarray, colour: object) -> bool:
    """(C, H, W) are all of the colour, as far as JPEG and bicubic scaling leave it."""
    return bool(np.abs(pixels.astype(int).transpose(1, 2, 0) - colour).max() < 30)


def striped() -> Image.Image:
    """900 × 300 pixels: green at both ends, and red and blue between, which is all that a crop keeps."""
    image = two_colours()
    image.paste(GREEN, (0, 0, 300, 300))
    image.paste(GREEN, (600, 0, 900, 300))
    return image


@pytest.fixture(params=["file", "array"])
def source(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Three of these pictures: a folder of PNGs, or one array."""
    if request.param == "array":
        np.save(tmp_path / "a.npy", np.stack([np.asarray(striped())] * 3))
        return str(tmp_path / "a.npy")
    (tmp_path / "files").mkdir()
    for number in range(3):
        (tmp_path / "files" / f"{number}.png").write_bytes(content(striped(), "PNG"))
    return str(tmp_path / "files")


def test_each_way_gives_its_own_squares(source: str) -> None:
    crop, pad, squeeze = (open_source(source, size=30, fit=how).images for how in ("crop", "pad", "squeeze"))
    assert near(crop.pixels[0, :, :, :12], RED)
    assert near(crop.pixels[0, :, :, 18:], BLUE)
    for part in (squeeze.pixels[0], pad.pixels[0, :, 11:19]):
        assert near(part[:, :, :8], GREEN)
        assert near(part[:, :, 11:14], RED)
        assert near(part[:, :, 17:19], BLUE)
        assert near(part[:, :, 22:], GREEN)
    for part in (pad.pixels[0, :, :9], pad.pixels[0, :, 21:]):
        assert near(part, np.array(GREEN) * 2 / 3 + np.array(RED) / 6 + np.array(BLUE) / 6)
    assert open_source(source, size=30, fit="crop").images.fingerprint == crop.fingerprint
    assert open_source(source, size=30).images.fingerprint == crop.fingerprint


def test_another_way_is_refused(source: str) -> None:
    with pytest.raises(SourceError, match="fit is 'stretch': expected crop, pad, squeeze"):
        open_source(source, fit="stretch")  # type: ignore[arg-type]


def test_another_way_is_another_import(source: str) -> None:
    assert Asked(source, 30) != Asked(source, 30, fit="pad")
    assert Asked(source, 30, fit="pad") == Asked(f"{source}/.", 30, fit="pad")


def test_the_command_line_takes_it(source: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["import", source, "--size", "30", "--fit", "squeeze"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["fingerprint"] == open_source(source, size=30, fit="squeeze").images.fingerprint


def test_a_run_remembers_it(source: str, tmp_path: Path) -> None:
    folder = create_run(tmp_path / "run", open_source(source, size=30, fit="pad"), tiny_config())
    origin = folder.card().origin
    assert origin is not None
    assert origin.fit == "pad"
