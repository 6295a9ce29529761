"""Takes the README's screenshots: a run on the digits, in light and dark.

python -m benchmarks.screenshots needs Chromium and playwright.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from benchmarks.start import server, wait_for_port

if TYPE_CHECKING:
    from playwright.sync_api import Page

ROOT = Path(__file__).parents[1]
TARGET = ROOT / "assets" / "screenshots"
SETTLED = "[data-testid=stApp][data-test-script-state=notRunning]"
FLAGS = ["--no-sandbox", "--enable-unsafe-swiftshader", "--disable-dev-shm-usage"]
VIEW = {"width": 1440, "height": 960}
# Colours in a screenshot: few enough for small files, enough for colour ramps.
COLOURS = 192


def main() -> None:
    from playwright.sync_api import sync_playwright

    TARGET.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as workspace, sync_playwright() as play:
        _train(Path(workspace) / "digits")
        with server(workspace) as served:
            wait_for_port(served.address)
            browser = play.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
            for scheme in ("light", "dark"):
                page = browser.new_page(viewport=VIEW, color_scheme=scheme)
                for name, take in SHOTS.items():
                    take(page, served.address)
                    _save(page, TARGET / f"{name}-{scheme}.png")
                page.close()
            browser.close()


def _train(folder: Path) -> None:
    engine = [sys.executable, "-m", "engine"]
    asked = ["run", "digits", "--clusters", "10", "--run", str(folder)]
    subprocess.run([*engine, *asked], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    subprocess.run([*engine, "map", str(folder), "--replay"], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)


def _save(page: Page, file: Path) -> None:
    page.wait_for_timeout(1500)
    page.screenshot(path=file)
    with Image.open(file) as picture:
        small = picture.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
    small.save(file, optimize=True)
    print(f"{file.relative_to(ROOT)}: {file.stat().st_size // 1024} kB")


def _map(page: Page, address: str) -> None:
    page.goto(f"{address}/map?run=digits&image=5")
    page.locator(".map[data-drawn]").wait_for()
    page.locator(SETTLED).wait_for()


def _replay(page: Page, address: str) -> None:
    page.goto(f"{address}/map?run=digits")
    page.locator(".map[data-drawn]").wait_for()
    page.get_by_role("button", name="Replay").click()
    slider = page.get_by_label("Time in training")
    for moment in ("3", "4"):
        slider.fill(moment)
        page.wait_for_timeout(1200)


def _reliability(page: Page, address: str) -> None:
    page.goto(f"{address}/reliability?run=digits&stage=heads")
    page.locator(".inspector").wait_for()
    page.locator(SETTLED).wait_for()
    page.locator("[role=option]").first.wait_for()


def _prototypes(page: Page, address: str) -> None:
    page.goto(f"{address}/prototypes?run=digits")
    page.get_by_role("heading", name="Prototypes").wait_for()
    page.locator(SETTLED).wait_for()


def _curate(page: Page, address: str) -> None:
    page.goto(f"{address}/curate?run=digits")
    page.locator(".curator[data-current]").wait_for()
    dark = page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")
    page.get_by_role("textbox", name="Your name").fill("Bea" if dark else "Ann")
    page.keyboard.press("Enter")
    page.get_by_text("Type your name above to decide.").wait_for(state="hidden")
    page.locator(".curator").focus()
    for key in "a3a":
        page.keyboard.press(key)


def _curate_grid(page: Page, address: str) -> None:
    _curate(page, address)
    for key in ("g", "Shift+ArrowRight", "Shift+ArrowRight", "Shift+ArrowRight"):
        page.keyboard.press(key)


def _health(page: Page, address: str) -> None:
    page.goto(address)
    page.get_by_role("heading", name="Health").wait_for(timeout=60_000)
    page.locator("[role=option]").first.wait_for(timeout=60_000)
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
