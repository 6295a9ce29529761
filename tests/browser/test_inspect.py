"""Inspecting a trained run by mouse and keyboard on the Map, Prototypes and Reliability pages."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pytest
from playwright.sync_api import Browser, Locator, Page

from engine.runs.folder import RunFolder
from engine.runs.history import frame_steps_of
from engine.runs.maps import DEFAULT, Moment, artefact_of, has_maps
from engine.runs.results import load_strict
from engine.stages.reliable import judge
from tests.app.conftest import CLUSTERS, IMAGES
from tests.browser.conftest import serving, until_drawn

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("inspect")


@pytest.fixture(scope="module")
def address(place: Path) -> Iterator[str]:
    """One server for all tests of this file: they only look at the run."""
    with serving(place) as where:
        yield where


@pytest.fixture(scope="module")
def run(place: Path, trained: Path) -> RunFolder:
    """A finished run in the server's workspace, with maps of every frame: two rows of images that approach
    each other."""
    shutil.copytree(trained, place / "runs" / "demo")
    folder = RunFolder(place / "runs" / "demo")
    moments: list[Moment | None] = [None, *frame_steps_of(folder)]
    for place, moment in enumerate(moments):
        across = np.linspace(-1, 1, IMAGES) * (1 + 0.02 * place)
        points = np.stack([across, np.where(np.arange(IMAGES) % 2, 0.5, -0.5)], 1)
        folder.save(artefact_of(folder, DEFAULT, moment), {"points": points.astype(np.float32)})
    assert has_maps(folder, frames=True)
    return folder


def opened(page: Page, where: str) -> Page:
    page.goto(page.url.split("/?")[0].rstrip("/") + where)
    until_drawn(page)
    return page


def settled(page: Page) -> None:
    page.wait_for_timeout(150)
    until_drawn(page)


def map_of(page: Page) -> Locator:
    found = page.locator(".map[data-drawn]")
    found.wait_for()
    return found


def lasso(page: Page, left: float, top: float, right: float, bottom: float) -> None:
    """Draws a lasso around a part of the map, given in shares of its width and height."""
    box = page.locator(".over").bounding_box()
    assert box is not None
    corners = [(left, top), (right, top), (right, bottom), (left, bottom), (left, top)]
    places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in corners]
    page.mouse.move(*places[0])
    page.mouse.down()
    for place in places[1:]:
        page.mouse.move(*place, steps=4)
    page.mouse.up()


def state(found: Locator) -> dict[str, Any]:
    return found.evaluate("one => ({...one.dataset})")


def test_a_lasso_fills_the_gallery_and_a_picture_opens_its_panel(page: Page, run: RunFolder) -> None:
    opened(page, "/map?run=demo")
    shown = map_of(page)
    assert state(shown)["drawn"] == str(IMAGES)
    lasso(page, 0.02, 0.15, 0.98, 0.5)  # the upper row: images with odd numbers
    page.get_by_text(f"{IMAGES // 2} images selected").wait_for()
    tiles = page.locator("[role=option]")
    tiles.first.wait_for()
    assert tiles.count() == IMAGES // 2
    tiles.nth(2).click()
    name = page.locator(".st-key-image-panel").get_by_text(run.images().names[5])
    name.wait_for()
    assert "image=5" in page.url
    page.get_by_text(re.compile(r"\d+ of \d+ neighbours say \d, \d+ needed")).wait_for()
    page.keyboard.press("Escape")
    name.wait_for(state="hidden")
    assert "image=" not in page.url


@pytest.mark.usefixtures("run")
def test_marked_pictures_become_the_selection(page: Page) -> None:
    opened(page, "/map?run=demo")
    map_of(page)
    lasso(page, 0.02, 0.15, 0.98, 0.5)
    tiles = page.locator("[role=option]")
    tiles.nth(1).click(modifiers=["Control"])
    tiles.nth(4).click(modifiers=["Shift"])
    page.get_by_role("button", name="Keep only these").click()
    page.get_by_text("4 images selected").wait_for()
    page.locator(".map[data-selected='4']").wait_for()


@pytest.mark.usefixtures("run")
def test_the_view_survives_reruns_pages_and_links(page: Page, browser: Browser) -> None:
    opened(page, "/map?run=demo")
    shown = map_of(page)
    page.get_by_label("Colour by").select_option("confidence")
    box = page.locator(".over").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 300, box["y"] + 200)
    page.mouse.wheel(0, -500)
    page.wait_for_timeout(600)
    before = state(shown)
    assert float(before["zoom"]) > 1.5
    lasso(page, 0.02, 0.12, 0.98, 0.98)
    page.locator("[role=option]").first.wait_for()
    assert (state(shown)["zoom"], state(shown)["colour"]) == (before["zoom"], "confidence")
    selected = state(shown)["selected"]
    link = page.url

    page.get_by_role("link", name="Prototypes").click()
    page.get_by_role("heading", name="Prototypes").wait_for()
    page.get_by_role("link", name="Map", exact=True).click()
    back = state(map_of(page))
    assert [back[key] for key in ("zoom", "colour", "selected")] == [before["zoom"], "confidence", selected]

    with browser.new_context() as another:
        other = another.new_page()
        other.goto(link)
        again = state(map_of(other))
        assert (again["zoom"], again["colour"]) == (before["zoom"], "confidence")


@pytest.mark.usefixtures("run")
def test_a_filter_leaves_the_rest_as_context(page: Page) -> None:
    opened(page, "/map?run=demo")
    shown = map_of(page)
    page.get_by_label("Colour by").select_option("truth")
    settled(page)
    entry = shown.locator(".entry").filter(has=page.get_by_text("2", exact=True))
    images = int(entry.locator("em").inner_text())
    assert 0 < images < IMAGES
    entry.click()
    page.get_by_text(f"{images} pass the filter").wait_for()
    lasso(page, 0.02, 0.12, 0.98, 0.98)
    page.get_by_text(f"{images} images selected").wait_for()


def test_moving_a_threshold_on_the_map_recounts_without_the_server(page: Page, run: RunFolder) -> None:
    opened(page, "/map?run=demo")
    shown = map_of(page)
    page.get_by_label("Colour by").select_option("reliable")
    numbers = shown.locator(".entry em")
    own = np.bincount(load_strict(run, "joint").verdicts, minlength=4)
    page.wait_for_function(
        """want => {
            const within = e => e.shadowRoot ? [...e.shadowRoot.querySelectorAll('.entry em')] : [];
            const own = e => e.matches?.('.entry em') ? [e] : [];
            const all = [...document.querySelectorAll('*')].flatMap(e => [...within(e), ...own(e)]);
            return all.map(e => e.textContent).join() === want;
        }""",
        arg=",".join(map(str, own)),
    )
    sent: list[str] = []
    page.on("websocket", lambda socket: socket.on("framesent", lambda _: sent.append("frame")))
    slider = page.get_by_label("Least agreement")
    slider.fill("1")
    verdict = load_strict(run, "joint")
    agreed = int(((verdict.agreement >= 1) & (verdict.confidence >= np.float32(0.3))).sum())
    page.wait_for_timeout(300)
    assert int(numbers.first.inner_text()) == agreed
    assert sent == []


@pytest.mark.usefixtures("run")
def test_the_slider_replays_the_moments_of_training(page: Page) -> None:
    opened(page, "/map?run=demo")
    shown = map_of(page)
    page.get_by_role("button", name="Replay").click()
    slider = page.get_by_label("Time in training")
    slider.wait_for()
    settled(page)
    last = int(slider.get_attribute("max") or 0)
    assert state(shown)["moment"] == str(last)
    slider.fill("0")
    page.get_by_text("stage 1 · epoch 0 of 3").wait_for()
    page.wait_for_timeout(900)
    assert state(shown)["moment"] == "0"
    before = page.locator(".stage").screenshot()
    slider.fill(str(last))
    page.get_by_text("stage 3 · step 5 of 5").wait_for()
    page.wait_for_timeout(900)
    assert page.locator(".stage").screenshot() != before
    assert re.search(rf"view=[^&]*(~|%7E){last}(~|%7E)", page.url)


@pytest.mark.usefixtures("run")
def test_a_click_on_a_point_opens_its_image(page: Page) -> None:
    opened(page, "/map?run=demo")
    map_of(page)
    box = page.locator(".over").bounding_box()
    assert box is not None
    # Image 0 is the leftmost one of the lower row.
    found = None
    for x in range(4, 60):
        page.mouse.click(box["x"] + x * box["width"] / 100, box["y"] + 0.715 * box["height"])
        settled(page)
        if "image=" in page.url:
            found = page.url
            break
    assert found is not None
    assert int(found.split("image=")[1].split("&")[0]) % 2 == 0


def test_a_moved_threshold_recounts_at_once_and_the_engine_agrees(page: Page, run: RunFolder) -> None:
    opened(page, "/reliability?run=demo")
    page.locator(".inspector[data-checked='true']").wait_for()
    verdict = load_strict(run, "joint")
    count = page.locator(".inspector .tiles .count").first
    assert count.inner_text() == str(verdict.mask.sum())
    line = page.get_by_role("slider", name="Confidence threshold")
    line.focus()
    line.press("End")
    page.wait_for_url("**t=**")
    asked = unquote(page.url.split("t=")[1].split("&")[0]).split(",")
    settings = replace(run.card().config.reliable, confidence=float(asked[1]), floor=float(asked[3]))
    strict = judge(verdict.labels, verdict.confidence, verdict.agreement, CLUSTERS, settings)
    assert strict.mask.sum() < verdict.mask.sum()
    page.locator(".inspector .tiles .count").first.get_by_text(str(strict.mask.sum()), exact=True).wait_for()
    page.locator(".inspector[data-checked='true']").wait_for()
    settled(page)
    # The newly rejected images are one click away, with the reason.
    page.locator(".inspector .tiles").get_by_text("Not confident").click()
    page.wait_for_url("**reason=unsure**")
    page.locator(".st-key-gallery-reliability [role=option]").first.click()
    page.get_by_text(re.compile(r"confidence 0\.\d+, 1(\.0+)? needed")).wait_for()


def test_a_veto_shows_what_would_change(page: Page, run: RunFolder) -> None:
    opened(page, "/prototypes?run=demo")
    size = np.bincount(run.load("reliable-heads")["labels"], minlength=CLUSTERS)
    cluster = int(size.argmax())
    page.get_by_text(f"Open cluster {cluster}:").click()
    page.get_by_text("Form the prototype", exact=True).last.wait_for()
    gallery = page.locator(f".st-key-gallery-forming-{cluster}")
    tiles = gallery.locator("[role=option]")
    tiles.first.wait_for()
    before = tiles.count()
    tiles.nth(0).click(modifiers=["Control"])
    tiles.nth(9).click(modifiers=["Shift"])
    gallery.get_by_role("button", name="Veto").click()
    page.get_by_text("10 vetoes").first.wait_for()
    page.get_by_text("Preview only: nothing is retrained").first.wait_for()
    assert before > 10
    page.get_by_role("button", name="Undo").click()
    page.get_by_text("10 vetoes").first.wait_for(state="hidden")
