"""Photographs in a browser: shown whole, in their actual size, with the facts of their files."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Locator, Page

from engine.config import with_settings
from engine.jobs import Control
from engine.presets import preset
from engine.runs.create import create_run
from engine.runs.folder import RunFolder
from engine.runs.history import load_history
from engine.runs.runner import choose_device, execute
from engine.sources.open_source import open_source
from tests.browser.conftest import serving
from tests.browser.test_curate import curator, press, wait
from tests.browser.test_inspect import opened
from tests.tiny_runs import TINY

pytestmark = pytest.mark.browser

WIDE, HIGH = 2000, 900
PHOTOS = 12
TAKEN = "2024:05:03 14:05:00"
CAMERA_TAG, TIME_TAG, EXIF_BLOCK = 0x0110, 0x9003, 0x8769


@dataclass(frozen=True)
class Photos:
    """A folder of photographs, and the run made of it."""

    folder: Path
    run: RunFolder

    def file(self, index: int) -> Path:
        return self.folder / self.run.images().ids[index]


def photograph(number: int) -> Image.Image:
    """A wide picture of hills, different for each number."""
    x = np.linspace(0, 6, WIDE)[None, :]
    y = np.linspace(0, 1, HIGH)[:, None]
    sky = np.stack([120 + 60 * y + 0 * x, 160 + 40 * y + 0 * x, 235 - 40 * y + 0 * x], 2)
    ridge = 0.55 + 0.12 * np.sin(x + number) + 0.05 * np.sin(3.1 * x + 2 * number)
    ground = np.stack([40 + 60 * y + 0 * x, 90 + 50 * (number % 3) + 0 * y + 0 * x, 40 + 30 * y + 0 * x], 2)
    return Image.fromarray(np.where((y > ridge)[..., None], ground, sky).astype(np.uint8))


def saved(folder: Path, number: int) -> None:
    image = photograph(number)
    exif = Image.Exif()
    exif[CAMERA_TAG] = "Pinhole 3"
    exif.get_ifd(EXIF_BLOCK)[TIME_TAG] = TAKEN
    image.save(folder / f"hill {number:02d}.jpg", quality=85, exif=exif)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("viewer")


@pytest.fixture(scope="module")
def address(place: Path) -> Iterator[str]:
    with serving(place) as where:
        yield where


@pytest.fixture(scope="module")
def photos(place: Path) -> Photos:
    """A finished run of photographs in the server's workspace."""
    folder = place / "trip" / "hills"
    folder.mkdir(parents=True)
    for number in range(PHOTOS):
        saved(folder, number)
    source = folder.parent
    # With this seed every label changes during training, which the map's gallery is about.
    small = {"features.batch": 4, "heads.batch": 6, "joint.batch": 4, "seed": 3}
    config = with_settings(preset("quick", clusters=2, channels=3), {**TINY, **small})
    run = create_run(place / "runs" / "trip", open_source(str(source), size=64), config)
    with run.lock():
        assert execute(run, choose_device("cpu"), Control()) == "finished"
    assert load_history(run).flips.all()
    return Photos(source, run)


def drawn(found: Locator) -> tuple[float, float]:
    box = found.bounding_box()
    assert box is not None
    return box["width"], box["height"]


def current(found: Locator) -> int:
    return int(found.evaluate("one => one.dataset.current"))


def originally(viewer: Locator) -> Locator:
    """The picture of a viewer once the original has taken the thumbnail's place."""
    wait(viewer, "one.dataset.kind === 'original'", "the original is not shown")
    return viewer.locator(".view-sheet img")


def test_the_curator_shows_the_original_and_its_facts(page: Page, photos: Photos) -> None:
    found = curator(page, photos.run)
    picture = originally(found.locator(".viewer"))
    assert picture.evaluate("one => [one.naturalWidth, one.naturalHeight]") == [WIDE, HIGH]
    width, height = drawn(picture)
    assert width / height == pytest.approx(WIDE / HIGH, rel=0.01)
    file = photos.file(current(found))
    facts = found.locator(".facts")
    facts.get_by_text("2,000 × 900 pixels · JPEG").wait_for()
    bytes_ = file.stat().st_size
    assert facts.locator("[title$=' bytes']").get_attribute("title") == f"{bytes_:,} bytes"
    assert f"{bytes_ / 1000:.0f} kB" in facts.inner_text()
    assert "Taken 3 May 2024, 14:05 · Pinhole 3" in facts.inner_text()
    assert f"image {current(found)} · hills/" in facts.inner_text()
    assert found.locator(".open").inner_text() == file.name


def test_actual_size_is_one_pixel_for_each_pixel_of_the_screen(page: Page, photos: Photos) -> None:
    found = curator(page, photos.run)
    picture = originally(found.locator(".viewer"))
    press(found, "z")
    assert drawn(picture) == (WIDE, HIGH)
    press(found, "*")
    fitted = drawn(picture)[0]
    press(found, "+", "+")
    assert drawn(picture)[0] == pytest.approx(1.25**2 * fitted, rel=0.01)
    press(found, "-", "-", "-", "-")
    assert drawn(picture)[0] == pytest.approx(fitted, rel=0.01)


def test_the_wheel_zooms_at_the_pointer_and_a_drag_moves(page: Page, photos: Photos) -> None:
    found = curator(page, photos.run)
    viewer = found.locator(".viewer")
    picture = originally(viewer)
    frame, before = viewer.bounding_box(), picture.bounding_box()
    assert frame is not None
    assert before is not None
    x, y = frame["x"] + 0.3 * frame["width"], frame["y"] + 0.5 * frame["height"]
    page.mouse.move(x, y)
    page.mouse.wheel(0, -1000)
    page.wait_for_timeout(100)
    after = picture.bounding_box()
    assert after is not None
    assert after["width"] > 3 * before["width"]
    assert (x - after["x"]) / after["width"] == pytest.approx((x - before["x"]) / before["width"], abs=0.002)
    page.mouse.down()
    page.mouse.move(x - 120, y, steps=4)
    page.mouse.up()
    moved = picture.bounding_box()
    assert moved is not None
    assert moved["x"] == pytest.approx(after["x"] - 120, abs=1)


def test_the_square_that_the_network_sees(page: Page, photos: Photos) -> None:
    found = curator(page, photos.run)
    picture = originally(found.locator(".viewer"))
    found.locator(".facts").get_by_text("pixels").wait_for()
    square = found.locator(".view-square")
    assert square.is_hidden()
    press(found, "w")
    (width, height), (wide, high) = drawn(square), drawn(picture)
    assert (width, height) == (pytest.approx(high, abs=1), pytest.approx(high, abs=1))
    at, box = square.bounding_box(), picture.bounding_box()
    assert at is not None
    assert box is not None
    assert at["x"] - box["x"] == pytest.approx((wide - high) / 2, abs=1)


def test_only_the_next_original_is_fetched_ahead(page: Page, photos: Photos) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if "full=1" in request.url else None)
    found = curator(page, photos.run)
    originally(found.locator(".viewer"))
    page.wait_for_timeout(600)
    assert len(asked) == 2
    assert f"/{current(found)}.webp" in asked[0]
    press(found, "j")
    page.wait_for_timeout(600)
    assert f"/{current(found)}.webp" in asked[1]
    assert len(asked) == 3


def test_the_panel_enlarges_by_enter_and_escape_leaves_the_panel_open(page: Page, photos: Photos) -> None:
    opened(page, "/map?run=trip&image=5")
    panel = page.locator(".st-key-image-panel")
    small = panel.locator(".enlarge")
    small.locator("img").wait_for()
    file = photos.file(5)
    panel.get_by_text(f"{file.stat().st_size / 1000:.0f} kB").wait_for()
    small.focus()
    page.keyboard.press("Enter")
    viewer = panel.locator("dialog .viewer")
    picture = originally(viewer)
    page.keyboard.press("z")
    assert drawn(picture) == (WIDE, HIGH)
    page.keyboard.press("0")
    assert drawn(picture)[0] == pytest.approx(drawn(viewer)[0], abs=1)
    page.keyboard.press("Escape")
    viewer.wait_for(state="hidden")
    assert small.is_visible()
    assert "image=5" in page.url


def test_a_path_is_copied_or_selected(page: Page, photos: Photos) -> None:
    opened(page, "/map?run=trip&image=5")
    panel = page.locator(".st-key-image-panel")
    panel.get_by_role("button", name="Copy path").wait_for()
    page.evaluate("Object.defineProperty(navigator, 'clipboard', { value: undefined })")
    panel.get_by_role("button", name="Copy path").click()
    field = panel.get_by_label("Path of the file")
    field.wait_for()
    page.wait_for_timeout(100)
    chosen = field.evaluate("one => one.value.slice(one.selectionStart, one.selectionEnd)")
    assert chosen == str(photos.file(5))


def gallery(page: Page) -> Locator:
    """The gallery of the Map page, with its pictures."""
    opened(page, "/map?run=trip")
    page.get_by_role("radio", name="Most label changes").click()
    found = page.locator(".gallery").first
    found.locator("[data-shown]").first.wait_for()
    return found


def side(found: Locator) -> float:
    return drawn(found.locator(".frame").first)[0]


def test_a_gallery_keeps_the_shape_of_photographs_and_names_them(page: Page, photos: Photos) -> None:
    found = gallery(page)
    picture = found.locator("canvas").first
    assert picture.evaluate("one => [one.width, one.height]") == [160, 72]
    index = int(found.locator(".tile").first.get_attribute("data-id") or -1)
    with Image.open(photos.file(index)) as file:
        shown = np.asarray(file.resize((160, 72))).astype(int)
    painted = picture.evaluate("one => [...one.getContext('2d').getImageData(0, 0, one.width, one.height).data]")
    assert np.abs(np.array(painted).reshape(72, 160, 4)[..., :3] - shown).mean() < 6
    assert side(found) >= 132
    assert found.locator(".name").first.inner_text() == photos.file(index).name


@pytest.mark.usefixtures("photos")
def test_strips_have_no_slider_each(page: Page) -> None:
    opened(page, "/prototypes?run=trip")
    strip = page.locator(".gallery").first
    strip.wait_for()
    assert strip.get_by_label("Size of the pictures").is_hidden()


@pytest.mark.usefixtures("photos")
def test_the_size_of_pictures_survives_a_reload_and_larger_ones_get_more_pixels(page: Page) -> None:
    found = gallery(page)
    slider = found.get_by_label("Size of the pictures")
    assert slider.input_value() == "132"
    slider.focus()
    page.keyboard.press("End")
    assert slider.input_value() == "256"
    assert side(found) >= 256
    found.locator("[data-shown='320']").first.wait_for()
    assert found.locator("canvas").first.evaluate("one => [one.width, one.height]") == [320, 144]
    page.reload()
    found = gallery(page)
    found.locator("[data-shown='320']").first.wait_for()
    slider = found.get_by_label("Size of the pictures")
    assert slider.input_value() == "256"
    assert side(found) >= 256
    slider.focus()
    page.keyboard.press("Home")
    assert side(found) < 132
    assert found.locator(".name").first.is_hidden()


def test_without_its_photographs_a_page_says_so_once(page: Page, photos: Photos) -> None:
    away = photos.folder.with_name("away")
    photos.folder.rename(away)
    try:
        opened(page, "/prototypes?run=trip&image=5")
        words = page.get_by_text("Pictures are shown as the model sees them, 64 × 64 pixels.")
        words.wait_for()
        assert words.count() == 1
        page.locator(".st-key-image-panel .fact-note").get_by_text("is not there any more").wait_for()
    finally:
        away.rename(photos.folder)
    page.reload()
    page.locator(".st-key-image-panel").get_by_text("kB").wait_for()
    assert words.count() == 0


@pytest.mark.usefixtures("photos")
def test_the_map_shows_the_whole_photograph_under_the_pointer(page: Page) -> None:
    opened(page, "/map?run=trip")
    page.locator(".map[data-drawn]").wait_for()
    box = page.locator(".over").bounding_box()
    assert box is not None
    whole = page.locator(".card .tile[data-whole]")
    for x, y in np.stack(np.meshgrid(np.linspace(0.02, 0.98, 25), np.linspace(0.3, 0.8, 13)), 2).reshape(-1, 2):
        page.mouse.move(box["x"] + float(x) * box["width"], box["y"] + float(y) * box["height"])
        if page.locator(".card").is_visible():
            break
    whole.wait_for()
    width, height = drawn(whole)
    assert width / height == pytest.approx(WIDE / HIGH, rel=0.02)
