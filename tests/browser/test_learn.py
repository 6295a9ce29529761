"""The lesson in a browser: as one file without a network, and in the app on a new run."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser, Page, Route

from engine.sources.open_source import open_source
from tests.browser.conftest import blank_page, serving
from tests.browser.lesson import KEYS, array, bundle
from tests.browser.lesson import page as file_of

pytestmark = pytest.mark.browser

Show = Callable[[dict[str, Any]], Page]
PROJECTOR = {"width": 1280, "height": 720}
TRAINING_MS = 600_000  # far more than two idle cores need, because they may be busy
SCREENS = ["1", "2", "3", "4", "5", "6", "7", "8", "quiz", "9", "run"]
# Elements that are cut off or scroll, except those that are meant to.
CUT = """lesson => [document.scrollingElement, lesson, ...lesson.querySelectorAll('*')]
  .filter(one => one.clientHeight && getComputedStyle(one).overflowY !== 'visible'
    && (one.scrollHeight > one.clientHeight + 1 || one.scrollWidth > one.clientWidth + 1))
  .map(one => `${one.tagName}.${one.className} ${one.scrollHeight}>${one.clientHeight}`)"""


def nothing_is_cut(page: Page) -> None:
    """Waits until pictures have their size, which takes a frame or more, and nothing is cut off."""
    found: list[str] = []
    for _ in range(100):
        page.wait_for_timeout(50)
        found = page.locator(".lesson").evaluate(CUT)
        if not found:
            return
    raise AssertionError(f"cut off: {found}")


@pytest.fixture(scope="module")
def lesson() -> dict[str, Any]:
    """A handmade lesson on all digits."""
    opened = open_source("digits")
    assert opened.truth is not None
    return bundle(opened.images.pixels, opened.truth.labels, clusters=10)


@pytest.fixture
def show(browser: Browser, tmp_path: Path) -> Iterator[Show]:
    """Opens a lesson as a file, in a browser without a network."""
    wrong: list[str] = []
    with browser.new_context(viewport=PROJECTOR, offline=True) as context:

        def open_file(data: dict[str, Any]) -> Page:
            file = tmp_path / "lesson.html"
            file.write_text(file_of(data), "utf-8")
            page = context.new_page()
            page.on("request", lambda one: wrong.append(one.url))
            page.on("pageerror", lambda one: wrong.append(str(one)))
            page.on("console", lambda one: one.type == "error" and wrong.append(one.text))
            page.goto(file.as_uri())
            page.locator(".lesson[data-ready]").wait_for()
            return page

        yield open_file
    assert not [one for one in wrong if not one.startswith(("file:", "data:", "blob:"))]


def screen(page: Page) -> str:
    return str(page.locator(".lesson").get_attribute("data-screen"))


def test_the_arrow_walks_through_every_step_with_its_words_and_formula(show: Show, lesson: dict[str, Any]) -> None:
    page, seen = show(lesson), []
    for _ in SCREENS:
        seen.append(screen(page))
        if seen[-1].isdecimal():
            step = lesson["steps"][int(seen[-1]) - 1]
            assert page.locator(".step").get_attribute("data-step") == step["key"]
            assert page.locator("h2").inner_text() == step["title"]
            assert page.locator(".sentence").inner_text() == step["sentence"]
            assert page.locator(".formula span").text_content() == step["formula"]
            assert page.locator(".figures").evaluate("one => one.childElementCount") > 0
        page.keyboard.press("ArrowRight")
    assert seen == SCREENS
    page.keyboard.press("ArrowRight")
    assert screen(page) == "run"
    for key, wanted in (("Home", "1"), ("5", "5"), ("ArrowLeft", "4"), ("q", "quiz"), ("0", "run")):
        page.keyboard.press(key)
        assert screen(page) == wanted


def test_what_is_played_with_shows_the_engines_result_at_once(show: Show, lesson: dict[str, Any]) -> None:
    page = show(lesson)
    page.keyboard.press("5")
    slider = page.get_by_role("slider", name="center_ratio")
    play = lesson["steps"][4]["play"]
    for at, value in enumerate(play["values"]):
        slider.fill(str(at))
        result = play["results"][at]
        assert page.locator("output").inner_text().startswith(str(value).removesuffix(".0"))
        assert page.locator(".says").inner_text() == result["says"]
        assert page.locator(".figures .row").first.locator(".cell").count() == len(result["prototypes"][0])
        purity = f"{100 * result['truth']['purity']:.1f}\xa0%"
        assert page.locator(".truth").inner_text() == f"TRUTH Purity {purity}"
    assert "this run" not in page.locator("output").evaluate("one => getComputedStyle(one, '::after').content")
    page.keyboard.press("Escape")
    slider.blur()
    for _ in range(3):
        page.keyboard.press("ArrowDown")
    assert slider.input_value() == str(play["start"])
    assert "this run" in page.locator("output").evaluate("one => getComputedStyle(one, '::after').content")


def test_what_goes_wrong_is_a_switch(show: Show, lesson: dict[str, Any]) -> None:
    page = show(lesson)
    page.keyboard.press("4")
    wrong = lesson["steps"][3]["wrong"]
    page.get_by_role("switch").check()
    assert page.locator(".says").inner_text() == wrong["says"]
    counts = page.locator(".figures .bars em").all_inner_texts()
    assert [int(one.replace(",", "")) for one in counts] == wrong["show"]["sizes"]
    page.keyboard.press("w")
    assert not page.get_by_role("switch").is_checked()
    assert page.locator(".figures .row").count() == 10


def test_the_quiz_counts_what_was_right_and_says_why(show: Show, lesson: dict[str, Any]) -> None:
    page, quiz = show(lesson), lesson["quiz"]
    page.keyboard.press("q")
    answers = page.locator(".answer")
    for i in (0, 3, 4):  # two rejected ones, and one that is not
        answers.nth(i).click()
    page.get_by_role("button", name="Check").click()
    right = sum(rejected == (i in (0, 3, 4)) for i, rejected in enumerate(quiz["rejected"]))
    assert f"{right} of 12 right" in page.get_by_role("status").inner_text()
    for i, (why, rejected) in enumerate(zip(quiz["why"], quiz["rejected"], strict=True)):
        assert answers.nth(i).locator(".why").inner_text() == f"{'✗ rejected' if rejected else '✓ kept'}: {why}"
    assert page.locator(".answer.missed").count() == 12 - right
    page.get_by_role("button", name="Again").click()
    assert page.locator(".answer[aria-pressed=true]").count() == 0
    for key in ("Space", "ArrowDown", "Space", "Enter"):
        page.keyboard.press(key)
    assert page.locator(".answer[aria-pressed=true]").count() == 2


def test_the_film_steps_plays_and_stops_with_everything_on_it(show: Show, lesson: dict[str, Any]) -> None:
    page, frames = show(lesson), lesson["frames"]
    page.keyboard.press("0")
    slider, moment = page.get_by_role("slider", name="Time in training"), page.locator(".moment")
    assert moment.inner_text() == "Stage 3 · step 10 of 10"
    slider.fill("7")
    page.get_by_text("Stage 2 · step 2 of 10").wait_for()
    counts = page.locator(".growing em").all_inner_texts()
    assert [int(one.replace(",", "")) for one in counts] == frames[7]["sizes"]
    assert page.locator(".growing .row").nth(3).locator(".cell").first.get_attribute("data-place") == str(
        frames[7]["prototypes"][3][0]
    )
    page.keyboard.press("Escape")
    slider.blur()
    page.keyboard.press(".")
    page.get_by_text("Stage 2 · step 4 of 10").wait_for()
    before = page.locator(".cloud").screenshot()
    page.keyboard.press("s")
    page.keyboard.press("s")
    page.keyboard.press("Space")
    assert page.get_by_role("button", name="Pause").count() == 1
    page.get_by_text("Stage 3 · step 10 of 10").wait_for()
    page.get_by_role("button", name="Play").wait_for()  # the words come up to half a step before the end
    assert page.get_by_role("button", name="Play").count() == 1
    assert page.locator(".cloud").screenshot() != before


def test_the_film_of_stage_1_has_no_clusters(show: Show, lesson: dict[str, Any]) -> None:
    page = show(lesson)
    page.keyboard.press("0")
    page.get_by_role("slider", name="Time in training").fill("0")
    page.get_by_text("Stage 1 has no clusters yet").wait_for()
    assert set(page.locator(".growing em").all_inner_texts()) == {""}


def test_the_x_ray_follows_one_image_through_stage_3(show: Show, lesson: dict[str, Any]) -> None:
    page, xray = show(lesson), lesson["xray"]
    page.keyboard.press("9")
    page.get_by_role("button", name="X-ray of digit-3").click()
    slider = page.get_by_role("slider", name="Time in stage 3")
    for frame, (chance, passes) in enumerate([(0.51, False), (0.81, False), (0.91, True)]):
        slider.fill(str(frame))
        words = page.locator(".xray .verdict").inner_text()
        assert f"{100 * chance:.1f}\xa0%" in words
        assert ("learns cluster 3" in words) == passes
        assert page.locator(".xray .moment").inner_text() == f"step {xray['steps'][frame]} of 10"
        assert page.locator(".xray .view .cell").first.get_attribute("data-place") == str(3 * 3 + frame)


@pytest.mark.parametrize(
    ("adapt", "weight", "verdict", "level"),
    [
        ("fixed", 0, " does not pass: 81.0\xa0% < τ.", "τ"),
        ("flex", 1, " passes: 81.0\xa0% is less than τ, but enough for cluster 3 at this point.", "τ"),
        ("flex", 0, " does not pass: 81.0\xa0% is too little for cluster 3 at this point.", "τ"),
        ("free", 1, " passes: 81.0\xa0% is enough for cluster 3 at this point.", ""),
        ("soft", 0.25, "'s confidence is 81.0\xa0%; it counts 25.0\xa0%.", ""),
    ],
)
def test_the_x_ray_says_what_the_run_asked_instead_of_tau(
    show: Show, lesson: dict[str, Any], adapt: str, weight: float, verdict: str, level: str
) -> None:
    weights = np.full((8, 3), weight, np.float32)
    xray = {
        **lesson["xray"],
        "adapt": adapt,
        "weights": array(weights),
        "passes": array((weights > 0).astype(np.uint8)),
    }
    page = show({**lesson, "xray": xray})
    page.keyboard.press("9")
    page.get_by_role("button", name="X-ray of digit-3").click()
    page.get_by_role("slider", name="Time in stage 3").fill("1")
    words = page.locator(".xray .verdict").inner_text()
    assert words.startswith(f"The weak view{verdict}")
    assert ("learns cluster 3" in words) is (weight > 0)
    line = page.locator(".probabilities .track").first.evaluate("one => getComputedStyle(one, '::after').content")
    assert (line != "none") is bool(level)


def newer(page: Page, changes: dict[str, Any]) -> None:
    """Loads the same lesson again, with some parts replaced."""
    page.evaluate("changes => player.take({ ...JSON.parse(JSON.stringify(told)), ...changes })", changes)


@pytest.fixture
def steered(show: Show, lesson: dict[str, Any]) -> Page:
    """A page whose player can load another lesson."""
    page = show(lesson)
    page.evaluate("""() => {
        const room = document.createElement("div");
        document.getElementById("lesson").replaceWith(room);
        window.player = new Player(room);
        player.take(JSON.parse(JSON.stringify(told)));
    }""")
    return page


def test_a_newer_lesson_leaves_the_reader_where_he_was_with_what_he_chose(
    steered: Page, lesson: dict[str, Any]
) -> None:
    page, steps = steered, lesson["steps"]
    renamed = {"steps": [{**one, "title": f"{one['title']}, renamed"} for one in steps]}
    page.keyboard.press("9")
    page.get_by_role("button", name="X-ray of digit-3").click()
    page.get_by_role("slider", name="Time in stage 3").fill("1")
    page.get_by_role("slider", name="τ", exact=True).fill("5")
    newer(page, renamed)
    assert screen(page) == "9"
    assert page.locator("h2").inner_text() == "Joint training, renamed"
    assert page.locator(".choices [aria-pressed=true]").get_attribute("aria-label") == "X-ray of digit-3"
    assert page.locator(".xray .moment").inner_text() == "step 5 of 10"
    assert page.get_by_role("slider", name="τ", exact=True).input_value() == "5"
    assert page.locator(".says").inner_text() == steps[8]["play"]["results"][5]["says"]
    page.keyboard.press("8")
    page.keyboard.press("w")
    newer(page, {})
    assert page.get_by_role("switch").is_checked()
    assert page.locator(".says").inner_text() == steps[7]["wrong"]["says"]
    page.keyboard.press("0")
    page.get_by_role("slider", name="Time in training").fill("7")
    page.get_by_text("Stage 2 · step 2 of 10").wait_for()
    newer(page, {})
    assert page.locator(".moment").inner_text() == "Stage 2 · step 2 of 10"
    newer(page, {"run": "another"})
    assert screen(page) == "1"


@pytest.mark.parametrize("part", ["title", "quiz"])
def test_marks_in_the_quiz_stay_where_its_questions_do(steered: Page, lesson: dict[str, Any], part: str) -> None:
    page, quiz = steered, lesson["quiz"]
    page.keyboard.press("q")
    for i in (0, 3):
        page.locator(".answer").nth(i).click()
    newer(page, {"title": "the same"} if part == "title" else {"quiz": {**quiz, "places": quiz["places"][::-1]}})
    assert screen(page) == "quiz"
    marked = page.locator(".answer[aria-pressed=true]")
    assert marked.count() == (2 if part == "title" else 0)
    page.get_by_role("button", name="Check").click()
    before = page.get_by_role("status").inner_text()
    newer(page, {})
    assert (page.get_by_role("status").inner_text() == before) is (part == "title")


def test_a_slider_that_has_nothing_of_the_run_says_so(show: Show, lesson: dict[str, Any]) -> None:
    step = {**lesson["steps"][2], "play": {**lesson["steps"][4]["play"], "own": False}}
    page = show({**lesson, "steps": [*lesson["steps"][:2], step, *lesson["steps"][3:]]})
    page.keyboard.press("3")
    assert page.locator("output").inner_text() == ""
    assert page.locator(".own").count() == 0
    page.get_by_role("slider", name="center_ratio").fill("4")
    page.get_by_role("slider", name="center_ratio").fill("3")
    assert page.locator("output").inner_text() == "0.5"
    assert page.locator("output.is-own").count() == 0


@pytest.mark.parametrize("wrong", [False, True])
def test_presenter_mode_fills_a_projector_and_needs_no_scrolling(
    show: Show, lesson: dict[str, Any], wrong: bool
) -> None:
    page = show(lesson)
    page.keyboard.press("p")
    for wanted in SCREENS:
        assert screen(page) == wanted
        if wrong:
            page.keyboard.press("w")
        nothing_is_cut(page)
        assert page.locator(".lesson").bounding_box() == {"x": 0, "y": 0, **PROJECTOR}
        page.keyboard.press("ArrowRight")
    page.keyboard.press("Escape")
    assert page.locator(".lesson.presenting").count() == 0
    assert screen(page) == "run"


def test_a_question_mark_shows_the_keys(show: Show, lesson: dict[str, Any]) -> None:
    page = show(lesson)
    page.keyboard.press("?")
    page.get_by_role("dialog", name="Keys").wait_for()
    page.keyboard.press("ArrowRight")
    assert screen(page) == "1"
    page.keyboard.press("Escape")
    page.get_by_role("dialog", name="Keys").wait_for(state="hidden")
    page.keyboard.press("ArrowRight")
    assert screen(page) == "2"


@pytest.mark.parametrize("clusters", [2, 20, 40])
def test_other_numbers_of_clusters_are_shown(show: Show, clusters: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (400, 1, 24, 24), np.uint8)
    page = show(bundle(pixels, np.arange(400) % clusters, clusters=clusters))
    page.keyboard.press("p")
    for _ in SCREENS:
        nothing_is_cut(page)
        page.keyboard.press("ArrowRight")
    assert page.locator(".growing .row").count() == clusters


def test_pictures_that_are_not_square_keep_their_shape(show: Show) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (60, 1, 8, 16), np.uint8)
    page = show(bundle(pixels, np.arange(60) % 4, clusters=4))
    page.wait_for_timeout(100)
    box = page.locator(".figures .cell").first.bounding_box()
    assert box is not None
    assert box["width"] == pytest.approx(2 * box["height"], abs=0.5)


def test_a_step_without_its_stage_says_what_to_train(show: Show, lesson: dict[str, Any]) -> None:
    step = {**lesson["steps"][8], "needs": "Train stage 3 first.", "show": {}, "play": None}
    page = show({**lesson, "steps": [*lesson["steps"][:8], step], "xray": None, "quiz": None})
    page.keyboard.press("9")
    assert page.locator(".needs").inner_text() == "Train stage 3 first."
    assert page.locator(".dots .locked").all_inner_texts() == ["9"]
    assert "?" not in page.locator(".dots button").all_inner_texts()


def test_words_from_a_run_are_text_and_never_markup(show: Show, lesson: dict[str, Any]) -> None:
    evil = "</script><img src=x onerror=\"document.title='gone'\">"
    first = {**lesson["steps"][0], "sentence": evil}
    page = show({**lesson, "title": evil, "names": [evil] * lesson["images"], "steps": [first, *lesson["steps"][1:]]})
    assert page.locator(".sentence").inner_text() == evil
    assert page.title() == "SPICE, step by step"


# -- in the app --------------------------------------------------------------------------------


def test_a_lesson_that_cannot_be_fetched_is_asked_for_again(page: Page) -> None:
    refused: list[str] = []

    def refuse_once(route: Route) -> None:
        if refused:
            route.continue_()
        else:
            refused.append(route.request.url)
            route.fulfill(status=500, body="busy")

    page.route("**/spice/lesson/**", refuse_once)
    page.get_by_role("link", name="Learn").click()
    page.get_by_text("The lesson could not be loaded (busy)").wait_for()
    page.locator(".lesson[data-screen='1'] .cell").first.wait_for()
    assert len(refused) == 1


def test_a_lesson_that_is_drawn_again_goes_on_where_it_was(page: Page) -> None:
    page.get_by_role("link", name="Learn").click()
    page.locator(".lesson[data-screen='1'] .cell").first.wait_for()
    page.keyboard.press("ArrowRight")
    page.locator(f".step[data-step='{KEYS[1]}']").wait_for()
    page.get_by_role("link", name="Dataset").click()
    page.locator(".lesson").wait_for(state="detached")
    page.get_by_role("link", name="Learn").click()
    page.locator(f".step[data-step='{KEYS[1]}']").wait_for()
    assert page.locator(".lesson").get_attribute("data-screen") == "2"


def test_a_fresh_start_ends_in_a_lesson_that_is_taken_home(browser: Browser, tmp_path: Path) -> None:
    with serving(tmp_path) as where, blank_page(browser, **PROJECTOR) as page:
        page.goto(where)
        page.get_by_role("link", name="Learn").click()
        page.locator(".lesson[data-screen='1']").wait_for()
        assert page.locator(".dots .locked").count() == 8
        page.keyboard.press("ArrowRight")
        assert page.locator("h2").inner_text() == "Views"
        page.get_by_role("button", name="Train the lesson's run").click()
        page.locator(".dots:not(:has(.locked)) button").first.wait_for(timeout=TRAINING_MS)
        # The same step is still shown, now with its pictures.
        assert page.locator(".step").get_attribute("data-step") == KEYS[1]
        page.locator(".figures .cell").first.wait_for()
        page.keyboard.press("p")
        for _ in SCREENS:
            nothing_is_cut(page)
            page.keyboard.press("ArrowRight")
        page.keyboard.press("Escape")
        with page.expect_download() as download:
            page.get_by_role("link", name="Take it home").click()
        assert download.value.suggested_filename == "lesson-digits.html"
        download.value.save_as(tmp_path / "home.html")
    assert screens_of(browser, tmp_path / "home.html") == SCREENS


def screens_of(browser: Browser, file: Path) -> list[str]:
    """The screens of a lesson file, opened without a network."""
    with browser.new_context(offline=True) as context:
        page = context.new_page()
        page.goto(file.as_uri())
        page.locator(".lesson[data-ready]").wait_for()
        told = json.loads(page.locator("#bundle").text_content() or "")
        seen = []
        for _ in SCREENS:
            seen.append(screen(page))
            if seen[-1].isdecimal():
                assert page.locator("h2").inner_text() == told["steps"][int(seen[-1]) - 1]["title"]
            page.keyboard.press("ArrowRight")
        counts = page.locator(".growing em").all_inner_texts()
        assert [int(one.replace(",", "")) for one in counts] == told["frames"][-1]["sizes"]
    return seen
