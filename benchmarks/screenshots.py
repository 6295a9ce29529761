"""Takes the README's screenshots, in light and dark: a run on photographs, and the replay of one on the digits.

python -m benchmarks.screenshots FOLDER needs Chromium, playwright, the packages of the small ImageNet network, and a
folder of photographs that may be shown to anybody: the README's are from clothing-dataset-small (CC0).
"""

from __future__ import annotations

import argparse
import io
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from benchmarks.lite_network import lite_source
from benchmarks.start import server, wait_for_port

if TYPE_CHECKING:
    from playwright.sync_api import Page

ROOT = Path(__file__).parents[1]
TARGET = ROOT / "assets" / "screenshots"
SETTLED = "[data-testid=stApp][data-test-script-state=notRunning]"
FLAGS = ["--no-sandbox", "--enable-unsafe-swiftshader", "--disable-dev-shm-usage"]
VIEW = {"width": 1440, "height": 960}
# Photographs in small files, and colours of clusters that stay what they are.
QUALITY = 82


def main() -> None:
    from playwright.sync_api import sync_playwright

    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("photos", type=Path, help="a folder of photographs")
    asked.add_argument("--clusters", default="10")
    asked.add_argument("--only", nargs="*", default=list(SHOTS), choices=list(SHOTS), help="these pictures")
    options = asked.parse_args()
    TARGET.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as place, sync_playwright() as play:
        # The path stands in the pictures: it is nobody's own.
        shown = Path(place) / "photos"
        shown.symlink_to(options.photos.resolve(), target_is_directory=True)
        workspace = Path(place) / "runs"
        _train_photos(workspace, shown, options.clusters)
        if "replay" in options.only:
            _train_digits(workspace)
        os.environ["SPICE_EXPLORER_HOME"] = str(Path(place) / "home")
        with server(str(workspace)) as served:
            wait_for_port(served.address)
            browser = play.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
            for scheme in ("light", "dark"):
                page = browser.new_page(viewport=VIEW, color_scheme=scheme)
                for name in options.only:
                    SHOTS[name](page, served.address, shown)
                    _save(page, TARGET / f"{name}-{scheme}.webp")
                page.close()
            browser.close()


def _train_photos(workspace: Path, photos: Path, clusters: str) -> None:
    run = ["--clusters", clusters, "--run", str(workspace / "photos")]
    network = ["--set", f"features.source={lite_source(workspace.parent)}"]
    _engine("run", f"folder:{photos}", "--size", "224", "--preset", "photos", *network, *run)
    _engine("map", str(workspace / "photos"))


def _train_digits(workspace: Path) -> None:
    _engine("run", "digits", "--clusters", "10", "--run", str(workspace / "digits"))
    _engine("map", str(workspace / "digits"), "--replay")


def _engine(*asked: str) -> None:
    subprocess.run([sys.executable, "-m", "engine", *asked], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)


def _save(page: Page, file: Path) -> None:
    page.wait_for_timeout(1500)
    with Image.open(io.BytesIO(page.screenshot())) as picture:
        picture.convert("RGB").save(file, quality=QUALITY, method=6)
    print(f"{file.relative_to(ROOT)}: {file.stat().st_size // 1024} kB")


def _map(page: Page, address: str, _photos: Path) -> None:
    page.goto(f"{address}/map?run=photos&image=5")
    page.locator(".map[data-drawn]").wait_for()
    page.locator(SETTLED).wait_for()


def _replay(page: Page, address: str, _photos: Path) -> None:
    page.goto(f"{address}/map?run=digits")
    page.locator(".map[data-drawn]").wait_for()
    page.get_by_role("button", name="Replay").click()
    slider = page.get_by_label("Time in training")
    for moment in ("3", "4"):
        slider.fill(moment)
        page.wait_for_timeout(1200)


def _reliability(page: Page, address: str, _photos: Path) -> None:
    page.goto(f"{address}/reliability?run=photos&stage=heads")
    page.locator(".inspector").wait_for()
    page.locator(SETTLED).wait_for()
    page.locator("[role=option]").first.wait_for()


def _prototypes(page: Page, address: str, _photos: Path) -> None:
    page.goto(f"{address}/prototypes?run=photos")
    page.get_by_role("heading", name="Prototypes").wait_for()
    page.locator(SETTLED).wait_for()


def _curate(page: Page, address: str, _photos: Path) -> None:
    page.goto(f"{address}/curate?run=photos")
    page.locator(".curator[data-current]").wait_for()
    dark = page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")
    page.get_by_role("textbox", name="Your name").fill("Bea" if dark else "Ann")
    page.keyboard.press("Enter")
    page.get_by_text("Type your name above to decide.").wait_for(state="hidden")
    page.locator(".curator").focus()
    for key in "a3a":
        page.keyboard.press(key)


def _curate_grid(page: Page, address: str, photos: Path) -> None:
    _curate(page, address, photos)
    for key in ("g", "Shift+ArrowRight", "Shift+ArrowRight", "Shift+ArrowRight"):
        page.keyboard.press(key)


def _health(page: Page, address: str, photos: Path) -> None:
    page.goto(address)
    page.get_by_text("Your images").click()
    page.get_by_label("Folder or file").fill(str(photos))
    page.get_by_label("Folder or file").press("Enter")
    page.get_by_role("heading", name="Health").wait_for(timeout=600_000)
    page.locator("[role=option]").first.wait_for(timeout=600_000)
    page.get_by_role("heading", name="Health").scroll_into_view_if_needed()
    page.mouse.wheel(0, 2000)


SHOTS = {
    "health": _health,
    "map": _map,
    "replay": _replay,
    "reliability": _reliability,
    "prototypes": _prototypes,
    "curate": _curate,
    "curate-grid": _curate_grid,
}

if __name__ == "__main__":
    main()
