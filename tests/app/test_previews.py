"""Pictures of a source before there is a run: the Dataset page, its health report, and the map's sheets."""

from __future__ import annotations

import io
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from streamlit.testing.v1 import AppTest

from engine.data.images import ImageSet
from engine.presets import preset
from engine.runs.create import create_run
from engine.sources.open_source import Opened, open_source
from spice_explorer.queries import health
from spice_explorer.web import originals, thumbs
from tests.app.conftest import Visit, galleries, texts
from tests.app.test_thumbs import cells, decoded, fetch, forget_thumbnails, get
from tests.two_colours import colours

pytestmark = pytest.mark.usefixtures("workspace")


@pytest.fixture
def opened(pictures: Path) -> Opened:
    return open_source(str(pictures))


def shown(at: AppTest, opened: Opened) -> list[dict[str, Any]]:
    at.session_state["opened"] = opened
    at.run()
    assert not at.exception
    return galleries(at)


def first(gallery: dict[str, Any]) -> Image.Image:
    """The first picture, as the browser cuts it from the sheet."""
    return cells(fetch(gallery["sheet"]["url"]), gallery["sheet"])[0]


def test_the_sample_and_the_findings_show_whole_photographs(
    opened: Opened, visit: Visit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "PATIENCE_SECONDS", 60)
    sample, finding = shown(visit("dataset"), opened)
    assert sample["sheet"]["sizes"] == [[160, 53]] * 6 + [[32, 32]]
    assert finding["sheet"]["sizes"] == [[160, 53]] * 5  # five files are the same picture
    for one in (sample, finding):
        assert not one["sharp"]
        picture = first(one)
        assert picture.size == (160, 53)
        assert colours(picture) == ["red", "blue"]
    turned = cells(fetch(sample["sheet"]["url"]), sample["sheet"])[5]
    assert colours(turned) == ["red", "blue"]


def test_a_picture_of_the_sample_is_opened_with_its_facts(opened: Opened, visit: Visit, pictures: Path) -> None:
    at = visit("dataset")
    found = originals.pictures_of_source(opened)
    at.session_state["sample image"] = (found.name, 5)
    sample = shown(at, opened)[0]
    assert sample["open"] == 5
    assert "**turned.jpg**" in texts(at).replace("\\", "")
    start, end = thumbs.facts_address(found)
    said = fetch(f"{start}5{end}")
    assert said[0] == 200
    assert f'"path":"{pictures / "turned.jpg"}"'.encode() in said[1]
    start, end = thumbs.address(found)
    assert fetch(f"{start}5{end}&full=1") == (200, (pictures / "turned.jpg").read_bytes())


def test_the_opened_image_of_another_source_is_not_shown(opened: Opened, visit: Visit) -> None:
    at = visit("dataset")
    at.session_state["sample image"] = ("another", 5)
    assert shown(at, opened)[0]["open"] == -1


def test_images_without_originals_are_shown_as_they_are_trained_on() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (13, 3, 8, 8), dtype=np.uint8)
    found = originals.pictures_of_source(Opened(ImageSet(pixels, tuple("abcdefghijklm"), "made")))
    told = thumbs.sheet_of(found, range(13))
    assert (told["width"], told["height"], told["columns"], found.sharp) == (8, 8, 12, True)
    for index, cell in enumerate(cells(fetch(told["url"]), told)):
        assert np.array_equal(np.asarray(cell).transpose(2, 0, 1), pixels[index])


def test_two_sources_of_the_same_pixels_have_their_own_originals(opened: Opened, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(tmp_path / "pictures", copy)
    other = open_source(str(copy))
    assert other.images.fingerprint == opened.images.fingerprint
    one, two = originals.pictures_of_source(opened), originals.pictures_of_source(other)
    assert originals.pictures_named(one.name).read(0).where == tmp_path / "pictures" / "0.jpg"
    assert originals.pictures_named(two.name).read(0).where == copy / "0.jpg"


def test_sources_that_were_not_looked_at_for_long_are_forgotten(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(originals, "MOST_SOURCES", 2)
    found = originals.pictures_of_source(opened)
    assert get(found.name, 0).status_code == 200
    for value in (1, 2):
        pixels = np.full((1, 1, 8, 8), value, np.uint8)
        originals.pictures_of_source(Opened(ImageSet(pixels, ("a",), "made")))
    assert get(found.name, 0).status_code == 404
    assert get(originals.pictures_of_source(opened).name, 0).status_code == 200


# -- the map's sheets --------------------------------------------------------------------------


def tile(place: int) -> Image.Image:
    status, body = fetch("/spice/sprites/photos/0.webp")
    assert status == 200
    with Image.open(io.BytesIO(body)) as sheet:
        return sheet.convert("RGBA").crop((64 * place, 0, 64 * place + 64, 64))


def test_the_map_shows_kept_thumbnails_whole_in_the_middle_of_their_cells(opened: Opened, workspace: Path) -> None:
    create_run(workspace / "photos", opened, preset("quick", clusters=2, channels=3))
    for place in (0, 5):
        alpha = np.asarray(tile(place))[..., 3]
        assert alpha[22:42].min() == 255  # 64 × 21
        assert alpha[:20].max() == alpha[44:].max() == 0
        assert colours(tile(place).crop((0, 22, 64, 42))) == ["red", "blue"]
    assert np.asarray(tile(6))[..., 3].min() == 255  # the small square fills its cell
    assert colours(tile(6)) == ["green", "green"]


def test_the_map_makes_no_thumbnails_and_shows_those_that_are_made_later(opened: Opened, workspace: Path) -> None:
    run = create_run(workspace / "photos", opened, preset("quick", clusters=2, channels=3))
    forget_thumbnails()
    with Image.open(io.BytesIO(fetch("/spice/sprites/photos/0.webp")[1])) as sheet:
        assert sheet.size == (32 * 32, 32)  # what is trained on
    assert not originals.pictures(run).kept
    assert decoded(get("photos", 0)).size == (320, 107)
    assert np.asarray(tile(0))[..., 3][:20].max() == 0
    assert np.asarray(tile(1))[..., 3].min() == 255  # not made yet


# -- originals that are gone -------------------------------------------------------------------


@pytest.mark.parametrize("page", ["dataset", "train", "map", "prototypes", "reliability", "curate", "export", "learn"])
def test_every_page_of_a_run_says_once_that_its_originals_are_gone(
    page: str, opened: Opened, pictures: Path, workspace: Path, visit: Visit
) -> None:
    create_run(workspace / "photos", opened, preset("quick", clusters=2, channels=3))
    sentence = (
        f"{pictures} is not there any more: it was moved, renamed or deleted, or is on a disk that is not "
        "connected. Pictures are shown as the model sees them, 32 × 32 pixels."
    )
    pictures.rename(pictures.with_name("moved"))
    at = visit(page, run="photos", **({"teach": "own"} if page == "learn" else {}))
    if page == "dataset":
        shown(at, opened)
    assert texts(at).replace("\\", "").count(sentence) == 1
    pictures.with_name("moved").rename(pictures)
    assert "is not there any more" not in texts(at.run())
