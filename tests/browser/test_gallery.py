"""The gallery's keys, clicks and marks in a real browser, without a server."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, Route

from spice_explorer.components.scripts import parts
from tests.browser.conftest import blank_page

pytestmark = pytest.mark.browser

PER_PAGE, TOTAL = 12, 30


def _sheet() -> str:
    """Four columns of squares of 4 pixels, whose colours encode column and row."""
    rows, columns = np.divmod(np.arange(PER_PAGE), 4)
    squares = np.stack([20 * columns, 20 * rows, np.full(PER_PAGE, 9)], 1).reshape(3, 4, 3)
    file = io.BytesIO()
    Image.fromarray(squares.repeat(4, 0).repeat(4, 1).astype(np.uint8)).save(file, "png")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


SHEET = {"url": _sheet(), "source": "run", "columns": 4, "width": 4, "height": 4}
DRIVER = """
const heard = [], root = document.querySelector("#root");
const speak = (name) => (event, value) => heard.push([name, event, value]);
const tools = { parentElement: root, setStateValue: speak("state"), setTriggerValue: speak("trigger") };
window.heard = heard;
window.draw = (data) => { component({ ...tools, data }); };
"""


class Driver:
    """Stands in for Streamlit: passes data to the component and records its answers."""

    def __init__(self, page: Page) -> None:
        self.page = page
        text = parts("gallery")
        script = text["js"].replace("export default function", "function component")
        page.goto("about:blank")  # a window without functions and listeners of the last test
        page.set_content(f"<style>{text['css']} #root {{ width: 400px; }}</style><div id='root'>{text['html']}</div>")
        page.add_script_tag(content=script + DRIVER, type="module")
        page.wait_for_function("Boolean(window.draw)")

    def draw(self, number: int = 1, version: str = "a", **changed: Any) -> None:
        ids = list(range((number - 1) * PER_PAGE, min(TOTAL, number * PER_PAGE)))
        words = [f"image {index}" for index in ids]
        data = {
            "version": version,
            "page": number,
            "pages": 3,
            "perPage": PER_PAGE,
            "total": TOTAL,
            "ids": ids,
            "titles": words,
            "captions": words,
            "colours": ["#ff0000"] * len(ids),
            "odd": [],
            "oddColour": "#eb9900",
            "sheet": {**SHEET, "url": f"{SHEET['url']}#{version}{number}"},
            "actions": [{"name": "veto", "label": "<b>Veto</b>"}],
            "open": -1,
            "side": 80,
            "sharp": False,
            **changed,
        }
        self.page.evaluate(f"draw({json.dumps(data)})")

    def keys(self, *names: str) -> None:
        for name in names:
            self.page.keyboard.press(name)

    def click(self, index: int, *modifiers: Any) -> None:
        self.page.locator(f"[data-id='{index}']").click(modifiers=list(modifiers))

    @property
    def heard(self) -> list[list[Any]]:
        return self.page.evaluate("window.heard.splice(0)")

    @property
    def marked(self) -> list[int]:
        found = self.page.locator("[aria-selected=true]").all()
        return [int(one.get_attribute("data-id") or -1) for one in found]

    @property
    def focus(self) -> int:
        assert self.page.locator("[tabindex='0']").count() == 1
        return int(self.page.evaluate("Number(document.activeElement.dataset.id)"))

    @property
    def count(self) -> str:
        return self.page.locator(".count").inner_text()


@pytest.fixture(scope="module")
def browser_page(browser: Browser) -> Iterator[Page]:
    with blank_page(browser, 500, 700) as shown:
        yield shown


@pytest.fixture
def gallery(browser_page: Page) -> Driver:
    """A gallery of four columns on its first page."""
    driver = Driver(browser_page)
    driver.draw()
    return driver


def test_a_click_opens_and_marks_nothing(gallery: Driver) -> None:
    gallery.click(3)
    assert gallery.heard == [["trigger", "open", 3]]
    assert gallery.marked == []
    assert gallery.focus == 3


def test_control_marks_and_shift_marks_the_range_between(gallery: Driver) -> None:
    gallery.click(2, "Control")
    gallery.click(5, "Shift")
    gallery.click(8, "Control")
    assert gallery.marked == [2, 3, 4, 5, 8]
    gallery.click(3, "Control")
    assert gallery.marked == [2, 4, 5, 8]
    assert gallery.count == "4 marked"
    assert gallery.heard == []


def test_the_circle_marks_without_opening(gallery: Driver) -> None:
    gallery.page.locator("[data-id='4']").hover()
    gallery.page.locator("[data-id='4'] .check").click()
    assert gallery.marked == [4]
    assert gallery.heard == []


def test_arrows_walk_and_enter_opens(gallery: Driver) -> None:
    gallery.page.locator("[data-id='0']").focus()
    gallery.keys("ArrowLeft")
    assert gallery.focus == 0
    gallery.keys("ArrowRight", "ArrowDown", "Enter")
    assert gallery.focus == 5
    assert gallery.heard == [["trigger", "open", 5]]
    gallery.keys("ArrowUp", "ArrowUp")
    assert gallery.focus == 1
    gallery.keys("End", "ArrowDown", "ArrowRight")
    assert gallery.focus == 11


def test_shift_and_arrows_make_a_range_longer_and_shorter(gallery: Driver) -> None:
    gallery.click(9, "Control")
    gallery.click(0, "Control")
    gallery.keys("Shift+ArrowRight", "Shift+ArrowRight", "Shift+ArrowLeft")
    assert gallery.marked == [0, 1, 9]
    gallery.keys("Space")
    assert gallery.marked == [0, 9]


def test_marks_outlive_a_page_and_go_with_the_list(gallery: Driver) -> None:
    gallery.click(1, "Control")
    gallery.draw(2)
    gallery.click(14, "Control")
    assert gallery.marked == [14]
    assert gallery.count == "2 marked"
    gallery.draw(1)
    assert gallery.marked == [1]
    gallery.draw(1, version="b")
    assert gallery.marked == []
    assert gallery.count == ""


def test_the_page_is_marked_and_escape_unmarks_all(gallery: Driver) -> None:
    gallery.click(0, "Control")
    gallery.keys("Control+a")
    assert gallery.marked == list(range(PER_PAGE))
    gallery.keys("Escape")
    assert gallery.marked == []


def test_escape_is_left_to_the_page_when_nothing_is_marked(gallery: Driver) -> None:
    gallery.click(0, "Control")
    gallery.page.evaluate("document.addEventListener('keydown', (e) => heard.push(e.key))")
    gallery.keys("Escape", "Escape")
    assert gallery.heard == ["Escape"]


def test_an_action_is_said_once_and_its_marks_are_gone(gallery: Driver) -> None:
    gallery.click(7, "Control")
    gallery.draw(2)
    gallery.click(12, "Control")
    gallery.page.get_by_role("button", name="<b>Veto</b>").click()
    assert gallery.heard == [["trigger", "ask", {"action": "veto", "ids": [7, 12]}]]
    assert gallery.count == ""
    assert not gallery.page.get_by_role("button", name="<b>Veto</b>").is_visible()


def test_without_actions_nothing_can_be_marked(gallery: Driver) -> None:
    gallery.draw(actions=[])
    gallery.click(2, "Control")
    gallery.keys("Space", "Control+a", "Shift+ArrowRight")
    assert gallery.marked == []
    assert gallery.heard == [["trigger", "open", 2]]


def test_pages_turn_by_button_and_beyond_the_ends_by_key(gallery: Driver) -> None:
    turned = lambda number: ["state", "page", {"version": "a", "number": number}]  # noqa: E731
    assert gallery.page.locator(".range").inner_text() == "1–12 of 30"
    assert gallery.page.get_by_role("button", name="Previous page").is_disabled()
    on = gallery.page.get_by_role("button", name="Next page")
    on.click()
    on.click()  # before the second page has arrived
    assert gallery.heard == [turned(2), turned(3)]
    gallery.draw(3)
    assert gallery.page.locator(".range").inner_text() == "25–30 of 30"
    assert on.is_disabled()
    gallery.page.locator("[data-id='24']").focus()
    gallery.keys("PageUp")
    assert gallery.heard == [turned(2)]
    gallery.draw(2)
    assert gallery.focus == 23  # turning back leads to the end of the page
    gallery.keys("PageDown")
    gallery.draw(3)
    assert gallery.focus == 24


def test_pictures_that_do_not_come_are_named_missing(gallery: Driver) -> None:
    missing = {"sheet": {**SHEET, "url": "data:,"}, "version": "b", "ids": list(range(100, 112))}
    gallery.draw(**missing)
    gallery.page.locator(".tile.missing").first.wait_for()
    assert gallery.page.locator(".tile.missing").count() == 12
    assert not gallery.page.locator(".tile.missing canvas").first.is_visible()
    gallery.draw(**missing, captions=["new"] * PER_PAGE)
    assert gallery.page.locator(".tile.missing .caption").last.inner_text() == "new"


def test_each_tile_gets_its_part_of_the_sheet(gallery: Driver) -> None:
    """The squares are rgb(20 column, 20 row, 9), so the colour of a tile tells its place."""
    gallery.page.locator(".tile[data-shown]").last.wait_for()
    colours = gallery.page.evaluate(
        "[...document.querySelectorAll('.tile canvas')].map("
        "(one) => [...one.getContext('2d').getImageData(1, 1, 1, 1).data].slice(0, 3))"
    )
    assert colours == [[20 * (i % 4), 20 * (i // 4), 9] for i in range(PER_PAGE)]


def test_a_picture_that_fills_a_part_of_its_cell_is_shown_whole_in_its_aspect(gallery: Driver) -> None:
    sizes = [[4, 2], [1, 4], *[[4, 4]] * 10]
    gallery.draw(version="b", sheet={**SHEET, "url": f"{SHEET['url']}#parts", "source": "other", "sizes": sizes})
    gallery.page.locator(".tile[data-shown]").last.wait_for()
    canvases = gallery.page.locator(".tile canvas")
    shown = canvases.evaluate_all("all => all.map((one) => [one.width, one.height])")
    assert shown == sizes
    colours = canvases.evaluate_all(
        "all => all.map((one) => [...one.getContext('2d').getImageData(0, one.height - 1, 1, 1).data].slice(0, 3))"
    )
    assert colours == [[20 * (i % 4), 20 * (i // 4), 9] for i in range(PER_PAGE)]
    style = "one => [getComputedStyle(one).objectFit, one.offsetWidth === one.offsetHeight]"
    assert canvases.first.evaluate(style) == ["contain", True]


def test_images_of_another_run_are_not_shown_with_the_old_pictures(gallery: Driver) -> None:
    gallery.page.locator(".tile[data-shown]").last.wait_for()
    gallery.draw(version="b", sheet={**SHEET, "url": "data:,", "source": "other"})
    gallery.page.locator(".tile.missing").last.wait_for()
    assert gallery.page.locator(".tile[data-shown]").count() == 0


def test_a_drawing_with_the_same_images_keeps_tiles_and_focus(gallery: Driver) -> None:
    gallery.click(5)
    gallery.page.evaluate("document.querySelector(\"[data-id='5']\").mine = true")
    gallery.draw(open=5, captions=["new"] * PER_PAGE)
    assert gallery.page.evaluate("document.activeElement.mine")
    assert gallery.page.locator("[aria-current=true]").get_attribute("data-id") == "5"
    assert gallery.page.locator("[data-id='5'] .caption").inner_text() == "new"


def test_names_are_text(gallery: Driver) -> None:
    evil = ["<img src=x onerror='window.evil=1'>"] * PER_PAGE
    gallery.draw(names=evil, titles=evil, captions=evil)
    assert gallery.page.locator(".caption").first.inner_text() == evil[0]
    assert gallery.page.evaluate("window.evil") is None


# -- sheets in parts, and the next page ------------------------------------------------------------


class Server:
    """Answers requests for http://sheets/NAME with the sheet, once it has been let through."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.asked: list[str] = []
        self.held: dict[str, Route] = {}
        page.route("http://sheets/*", self.hold)

    def hold(self, route: Route) -> None:
        name = route.request.url.rpartition("/")[2]
        self.asked.append(name)
        self.held[name] = route

    def wait_for(self, name: str) -> None:
        for _ in range(600):
            if name in self.asked:
                return
            self.page.wait_for_timeout(50)
        raise TimeoutError(f"{name} was not asked for")

    def answer(self, name: str, *, fail: bool = False) -> None:
        """Waits for a request and answers it."""
        self.wait_for(name)
        body = b"no such image" if fail else base64.b64decode(SHEET["url"].partition(",")[2])
        allowed = {"Access-Control-Allow-Origin": "*"}
        self.held.pop(name).fulfill(status=404 if fail else 200, body=body, content_type="image/png", headers=allowed)

    def shown(self) -> list[int]:
        found = self.page.locator(".tile[data-shown]").all()
        return [int(one.get_attribute("data-id") or -1) for one in found]

    def wait_until_shown(self, count: int) -> None:
        self.page.wait_for_function(f"document.querySelectorAll('.tile[data-shown]').length === {count}")


@pytest.fixture
def server(gallery: Driver) -> Iterator[Server]:
    yield Server(gallery.page)
    gallery.page.unroute("http://sheets/*")


def in_parts(name: str, *counts: int) -> dict[str, Any]:
    starts = [sum(counts[:place]) for place in range(len(counts))]
    parts = [
        {"url": f"http://sheets/{name}{place}", "first": first, "count": count}
        for place, (first, count) in enumerate(zip(starts, counts, strict=True))
    ]
    return {**SHEET, "url": f"http://sheets/{name}", "source": name, "parts": parts}


def test_the_first_pictures_do_not_wait_for_the_others(gallery: Driver, server: Server) -> None:
    gallery.draw(version="b", sheet=in_parts("b", 4, 6, 2))
    server.wait_for("b0")
    gallery.page.wait_for_timeout(100)
    assert server.asked == ["b0"]  # the first alone
    server.answer("b0")
    server.wait_until_shown(4)
    assert server.shown() == [0, 1, 2, 3]
    server.answer("b1", fail=True)
    server.answer("b2")
    server.wait_until_shown(6)
    assert server.shown() == [0, 1, 2, 3, 10, 11]
    assert gallery.page.locator(".tile.missing").count() == 6
    assert server.asked == ["b0", "b1", "b2"]  # in their order, and never all in one


def test_parts_of_a_page_that_was_left_are_not_fetched(gallery: Driver, server: Server) -> None:
    gallery.draw(version="b", sheet=in_parts("b", 4, 8))
    gallery.page.wait_for_timeout(100)
    gallery.draw(2, version="b", sheet=in_parts("c", 12))
    server.answer("b0")
    server.answer("c0")
    server.wait_until_shown(12)
    assert server.asked == ["b0", "c0"]
    assert server.shown() == list(range(12, 24))


def test_the_next_page_is_fetched_while_people_look_at_this_one(gallery: Driver, server: Server) -> None:
    gallery.draw(version="b", sheet=in_parts("b", 12), ahead=["http://sheets/next0", "http://sheets/next1"])
    server.answer("b0")
    server.answer("next0")
    server.answer("next1")
    gallery.page.wait_for_timeout(100)
    assert server.asked == ["b0", "next0", "next1"]


def test_nothing_is_fetched_ahead_any_more_once_a_page_is_turned(gallery: Driver, server: Server) -> None:
    gallery.draw(version="b", sheet=in_parts("b", 12), ahead=["http://sheets/next0", "http://sheets/next1"])
    server.answer("b0")
    server.wait_for("next0")
    with gallery.page.expect_event("requestfailed") as failed:
        gallery.page.get_by_role("button", name="Next page").click()
    assert failed.value.url == "http://sheets/next0"
    gallery.page.wait_for_timeout(500)
    assert server.asked == ["b0", "next0"]
