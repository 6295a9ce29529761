"""A newcomer's photographs in a real browser: opened, trained on a network that knows photographs, and shown whole."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from playwright.sync_api import Locator, Page, expect
from safetensors.torch import save

from engine import metrics
from engine.presets import PHOTOS
from engine.runs.folder import RunFolder
from tests.browser.conftest import serving, until_drawn
from tests.browser.test_curate import wait
from tests.local_hub import Hub

pytestmark = pytest.mark.browser

NETWORK = PHOTOS.features.source.removeprefix("timm:")
KINDS = ("sea", "wood", "dusk")
EACH = 20
SMALL, LARGE = (640, 480), (3000, 2000)
ORIENTATION, QUARTER_TURN = 0x0112, 6
# Far more than two idle cores need, because they may be busy.
TRAINING_MS = 600_000


# -- the photographs -----------------------------------------------------------------------------


def picture(kind: str, size: tuple[int, int], number: int) -> Image.Image:
    """A picture of waves, of trunks or of the sun, different for each number."""
    rng = np.random.default_rng(100 * KINDS.index(kind) + number)
    width, height = size
    x, y = np.linspace(0, 1, width)[None, :], np.linspace(0, 1, height)[:, None]
    phase, count = rng.uniform(0, 6), rng.uniform(5, 9)
    if kind == "sea":
        waves = np.sin(40 * count * y**2 + 3 * np.sin(6 * x + phase))
        layers = [30 + 20 * waves, 90 + 40 * waves, 190 + 40 * waves]
    elif kind == "wood":
        trunks = np.sin(12 * count * x + np.sin(3 * y + phase)) + 0 * y
        layers = [60 + 30 * trunks, 110 + 60 * trunks, 30 + 20 * trunks]
    else:
        sun = ((x - rng.uniform(0.3, 0.7)) ** 2 + (y - rng.uniform(0.3, 0.6)) ** 2) < 0.02
        layers = [230 - 60 * y + 40 * sun, 110 - 60 * y + 120 * sun, 40 + 20 * y + 80 * sun]
    return Image.fromarray(np.stack([layer + 0 * x * y for layer in layers], 2).clip(0, 255).astype(np.uint8))


def shape(number: int) -> tuple[int, int]:
    """Width and height of a photograph as it is looked at: each tenth is large, each fourth upright."""
    wide = LARGE if number % 10 == 3 else SMALL
    return wide[::-1] if turned(number) else wide


def turned(number: int) -> bool:
    """Whether the camera was held upright: it stores such a photograph lying, with a note of that."""
    return number % 4 == 2


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Photographs as a phone stores them, of three kinds in turn."""
    place = tmp_path / "holiday"
    place.mkdir()
    for number in range(EACH * len(KINDS)):
        image, exif = picture(KINDS[number % len(KINDS)], shape(number), number), Image.Exif()
        if turned(number):
            image, exif[ORIENTATION] = image.transpose(Image.Transpose.ROTATE_90), QUARTER_TURN
        image.save(place / f"IMG_{number:04d}.jpg", quality=85, exif=exif)
    return place


def number_of(name: str) -> int:
    return int(Path(name).stem.removeprefix("IMG_"))


@pytest.fixture
def address(tmp_path: Path, hub_of_servers: Hub) -> Iterator[str]:
    """A server whose Hub has the network of the preset, with random weights."""
    torch.manual_seed(0)
    network = timm.create_model(NETWORK, pretrained=False)
    hub_of_servers.files[f"timm/{NETWORK}/model.safetensors"] = save(
        {name: value.contiguous() for name, value in network.state_dict().items()}
    )
    with serving(tmp_path) as where:
        yield where


# -- the way --------------------------------------------------------------------------------------


def open_folder(page: Page, folder: Path) -> None:
    page.get_by_text("Your images").click()
    path = page.get_by_label("Folder or file")
    path.fill(str(folder))
    path.press("Enter")
    page.get_by_role("button", name="Open", exact=True).click()
    box = page.get_by_test_id("stMetric").filter(has_text="Images")
    expect(box.get_by_test_id("stMetricValue")).to_have_text(str(EACH * len(KINDS)))


def train(page: Page) -> None:
    """Takes what the Train page proposes."""
    page.get_by_role("link", name="Train", exact=True).click()
    proposal = page.locator(".st-key-photographs")
    proposal.get_by_text("88 MB, once").wait_for()
    assert "LVD-142M (142 million images), without labels; licence apache-2.0" in proposal.inner_text()
    until_drawn(page)
    again = proposal.get_by_role("button", name="Import them at 224 pixels")
    again.click()
    try:
        expect(again).to_be_hidden(timeout=30_000)
    except AssertionError:  # the page was drawn once more at that moment, and the click lost: people click again
        again.click()
    table = page.locator(".st-key-choices table")
    table.wait_for()
    assert [row.split("\t")[0] for row in table.locator("tbody tr").all_inner_texts()] == [
        "▸ Photographs",
        "Fast",
        "Paper",
        "Quick",
    ]
    clusters = page.get_by_role("spinbutton", name="Clusters K")
    clusters.fill(str(len(KINDS)))
    clusters.press("Enter")
    until_drawn(page)
    page.get_by_role("button", name="Start training").click()
    page.locator(".spice-step.active").wait_for(timeout=TRAINING_MS)
    page.locator(".spice-state", has_text="· finished").first.wait_for(timeout=TRAINING_MS)
    assert page.locator(".spice-step.done").count() == 4


def check_tiles(found: Locator, names: tuple[str, ...]) -> None:
    """The pictures of a gallery have the shapes of whole, upright photographs, and are not blank."""
    found.locator("[data-shown]").first.wait_for()
    shown = found.locator(".tile").evaluate_all(
        """tiles => tiles.filter(one => one.querySelector("canvas")).map(one => {
            const canvas = one.querySelector("canvas");
            const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
            return [Number(one.dataset.id), canvas.width, canvas.height, Math.max(...data.slice(0, 4000))];
        })"""
    )
    assert len(shown) >= 3
    for index, width, height, brightest in shown:
        across, down = shape(number_of(names[index]))
        assert width / height == pytest.approx(across / down, rel=0.03), names[index]
        assert brightest > 0


def test_a_newcomer_gets_photographs_grouped_by_what_they_show(
    page: Page, address: str, folder: Path, tmp_path: Path, hub_of_servers: Hub
) -> None:
    open_folder(page, folder)
    page.locator(".gallery .tile[title^='IMG_'][data-shown]").first.wait_for()
    check_tiles(page.locator(".gallery").first, tuple(sorted(one.name for one in folder.iterdir())))
    train(page)
    assert hub_of_servers.asked.count("GET model.safetensors") == 1

    (place,) = (one for one in (tmp_path / "runs").iterdir() if one.name.startswith("holiday"))
    run = RunFolder(place)
    names = run.images().ids
    kinds = np.array([number_of(name) % len(KINDS) for name in names])
    labels = np.asarray(run.load("joint")["probabilities"]).argmax(1)
    chance = np.random.default_rng(0)
    by_chance = max(metrics.purity(chance.permutation(labels), kinds) for _ in range(100))
    assert by_chance < 0.65
    assert metrics.purity(labels, kinds) > by_chance + 0.2

    page.goto(f"{address}/prototypes?run={run.name}")
    check_tiles(page.locator(".gallery").first, names)
    page.goto(f"{address}/reliability?run={run.name}")
    page.get_by_role("radio", name=re.compile(r"^Reliable \(")).click()
    check_tiles(page.locator(".gallery").first, names)
    page.goto(f"{address}/curate?run={run.name}")
    found = page.locator(".curator[data-current]")
    viewer = found.locator(".viewer")
    viewer.wait_for()
    wait(viewer, "one.dataset.kind === 'original'", "the original is not shown")
    index = int(found.evaluate("one => one.dataset.current"))
    size = viewer.locator(".view-sheet img").evaluate("one => [one.naturalWidth, one.naturalHeight]")
    assert tuple(size) == shape(number_of(names[index]))
