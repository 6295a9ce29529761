"""Curating a trained run: by keyboard only, two people at once, a server that goes away."""

from __future__ import annotations

import io
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Locator, Page, Route

from engine.curate.decisions import Decision
from engine.curate.judging import Model
from engine.curate.log import FILE, DecisionLog
from engine.curate.provenance import Provenance
from engine.curate.queues import audit, typical_first
from engine.curate.suggestions import Suggestions, least_sure_first, suggested
from engine.runs.folder import RunFolder
from engine.runs.results import load_strict
from engine.space.vectors import units
from tests.app.conftest import IMAGES
from tests.browser.conftest import serving
from tests.browser.test_inspect import opened

pytestmark = pytest.mark.browser
_, VOTED, BULK, SEEN = Provenance


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("curate")


@pytest.fixture(scope="module")
def address(place: Path) -> Iterator[str]:
    """One server for all tests of this file; each test has its own run."""
    with serving(place) as where:
        yield where


@pytest.fixture
def run(place: Path, trained: Path, request: pytest.FixtureRequest) -> RunFolder:
    """A finished run in the server's workspace, without decisions."""
    path = place / "runs" / request.node.name[:40]
    shutil.copytree(trained, path)
    return RunFolder(path)


def log_of(run: RunFolder) -> DecisionLog:
    card = run.card()
    return DecisionLog(run.path, images=card.images, clusters=card.config.clusters, fingerprint=card.fingerprint)


def rows(run: RunFolder) -> list[tuple[str, list[int], int | None]]:
    log = log_of(run)
    found = [(one.action, one.images.tolist(), one.class_) for one in log.decisions()]
    log.close()
    return found


def curator(page: Page, run: RunFolder, name: str = "Ann") -> Locator:
    """The component of the Curate page, with the keyboard focus and a reviewer name."""
    opened(page, f"/curate?run={run.path.name}")
    found = page.locator(".curator[data-current]")
    found.wait_for()
    page.get_by_role("textbox", name="Your name").fill(name)
    page.keyboard.press("Enter")
    wait(found, "one.dataset.ready === 'true' && one.dataset.current !== ''", "nothing to decide")
    found.focus()
    return found


def data(found: Locator, name: str) -> str:
    return str(found.evaluate(f"one => one.dataset.{name}"))


def wait(found: Locator, what: str, message: str) -> None:
    """Waits until `what`, JavaScript about the component `one`, is true."""
    for _ in range(600):
        if found.evaluate(f"one => {what}"):
            return
        found.page.wait_for_timeout(50)
    raise AssertionError(f"{message}: {found.evaluate('one => ({...one.dataset})')}")


def saved(found: Locator, count: int) -> None:
    wait(found, f"one.dataset.waiting === '0' && +one.dataset.saved >= {count}", f"not {count} saved")


def press(found: Locator, *keys: str) -> None:
    for key in keys:
        found.page.keyboard.press(key)


def first_of(run: RunFolder, count: int) -> list[int]:
    """The first images of the queue "rejected first"."""
    from engine.curate.queues import rejected_first

    found = load_strict(run, "joint")
    order = rejected_first(found.verdicts, found.agreement, found.confidence)
    return order[:count].tolist()


def test_a_curator_needs_only_the_keyboard(page: Page, run: RunFolder) -> None:
    own, queue = load_strict(run, "joint").labels, first_of(run, 8)
    found = curator(page, run)
    assert data(found, "current") == str(queue[0])
    press(found, "a", "2", "x", "e")
    wait(found, f"one.dataset.current === '{queue[4]}'", "not at the fifth image")
    saved(found, 4)
    assert rows(run) == [
        ("accept", [queue[0]], None),
        ("relabel", [queue[1]], 1),
        ("reject", [queue[2]], None),
        ("exclude", [queue[3]], None),
    ]
    press(found, "u", "u", "r")
    saved(found, 7)
    log = log_of(run)
    assert log.curation.state[queue[:5]].tolist() == [1, 1, 2, 0, 0]
    assert log.curation.classes_of(own)[queue[:2]].tolist() == [int(own[queue[0]]), 1]
    log.close()


def choose(page: Page, box: str, option: str) -> None:
    page.get_by_role("combobox", name=box, exact=True).click()
    page.keyboard.type(option)
    page.keyboard.press("Enter")


def place_of(found: Locator) -> str:
    return found.locator(".place").inner_text()


def test_another_order_begins_at_its_first_image_and_the_place_is_shown(page: Page, run: RunFolder) -> None:
    from engine.curate.queues import undecided_first

    queue = first_of(run, IMAGES)
    ambiguous = undecided_first(run.load("joint")["probabilities"]).tolist()
    found = curator(page, run)
    press(found, "j", "j", "j")
    assert (data(found, "current"), place_of(found)) == (str(queue[3]), f"4 of {IMAGES}")
    assert found.locator(".spoken").text_content() == (
        f"Image {queue[3]}, Cluster {load_strict(run, 'joint').labels[queue[3]]}, undecided, 4 of {IMAGES}"
    )
    press(found, "End")
    assert (data(found, "current"), place_of(found)) == (str(queue[-1]), f"{IMAGES} of {IMAGES}")
    press(found, "Home")
    assert (data(found, "current"), place_of(found)) == (str(queue[0]), f"1 of {IMAGES}")
    press(found, "j")
    choose(page, "Next images", "Most ambiguous")
    page.wait_for_url("**queue=undecided**")
    wait(found, f"one.dataset.current === '{ambiguous[0]}'", "the new order does not begin at its first image")
    assert place_of(found) == f"1 of {IMAGES}"
    found.focus()
    press(found, "a", "j")
    saved(found, 1)
    choose(page, "Next images", "Rejected first")
    first = next(one for one in queue if one != ambiguous[0])
    wait(found, f"one.dataset.current === '{first}'", "the first that is not decided")


def test_a_reload_brings_back_the_name_the_queue_and_the_place(page: Page, run: RunFolder) -> None:
    from engine.curate.queues import undecided_first

    ambiguous = undecided_first(run.load("joint")["probabilities"]).tolist()
    found = curator(page, run, "Eve")
    choose(page, "Next images", "Most ambiguous")
    wait(found, "one.dataset.queue === 'undecided'", "not this order")
    found.focus()
    press(found, "j", "a", "j", "j")
    saved(found, 1)
    page.wait_for_url("**queue=undecided**")
    page.goto(page.url.split("&queue")[0])  # without the queue in the address
    wait(found, f"one.dataset.current === '{ambiguous[4]}'", "the place is lost")
    assert place_of(found) == f"4 of {IMAGES - 1}"
    assert page.get_by_role("textbox", name="Your name").input_value() == "Eve"
    press(found, "x")
    saved(found, 2)


def test_the_name_comes_back_when_the_server_was_started_again(
    page: Page, browser: Browser, run: RunFolder, place: Path
) -> None:
    found = curator(page, run, "Eve Ü")
    press(found, "a")
    saved(found, 1)
    with serving(place) as again, browser.new_context() as context:
        context.add_cookies(page.context.cookies())  # they are the same for all ports
        later = context.new_page()
        later.goto(f"{again}/curate?run={run.path.name}")
        wait(later.locator(".curator[data-current]"), "one.dataset.ready === 'true'", "nobody is named")
        assert later.get_by_role("textbox", name="Your name").input_value() == "Eve Ü"


def test_on_a_phone_the_words_below_the_picture_take_the_whole_width(page: Page, run: RunFolder) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    found = curator(page, run)
    found.evaluate("one => one.blur()")
    notice = found.locator(".notice")
    width, padding = notice.evaluate("one => [one.clientWidth, parseFloat(getComputedStyle(one).paddingRight)]")
    assert width > 300
    assert padding < 20


def test_a_second_tab_is_the_same_persons_and_another_browser_is_not(
    page: Page, browser: Browser, run: RunFolder
) -> None:
    with browser.new_context() as context:
        mine, second = context.new_page(), context.new_page()
        for tab in (mine, second):
            tab.goto(page.url.split("/?")[0])
            tab.locator("h1", has_text="Dataset").wait_for()
        curator(mine, run, "Eve")
        opened(second, f"/curate?run={run.path.name}")
        second.locator(".curator[data-ready=true]").wait_for()
        assert second.get_by_role("textbox", name="Your name").input_value() == "Eve"
        assert not second.get_by_text("is also deciding").count()
        curator(page, run, "Eve")
        page.get_by_text("is also deciding in another tab").wait_for()


def with_ten_classes(run: RunFolder) -> None:
    said, log = load_strict(run, "joint"), log_of(run)
    made = [Decision("new class", "Bob", visit="elsewhere", text=name) for name in "abcdef"]
    log.commit(made, Model(said.labels, said.confidence, "joint"))
    log.close()


def test_ten_classes_are_named_with_one_click_and_ten_keys(page: Page, run: RunFolder) -> None:
    with_ten_classes(run)
    found = curator(page, run)
    largest = int(np.bincount(load_strict(run, "joint").labels).argmax())
    assert found.locator(f".chip[data-number='{largest}'] img").count() == 3
    names = [f"kind {number}" for number in range(10)]
    found.get_by_role("button", name="Rename").click()
    for name in names:
        page.keyboard.type(name)
        page.keyboard.press("Enter")
    saved(found, 16)
    wait(found, "one.contains(one.getRootNode().activeElement)", "the keys do not work after the last name")
    log = log_of(run)
    assert [one.name for one in log.curation.classes] == names
    log.close()
    assert found.locator(".chip").all_inner_texts() == [f"{(k + 1) % 10}\n{name}" for k, name in enumerate(names)]
    press(found, "u")
    saved(found, 17)
    found.get_by_role("button", name="Rename").click()
    page.keyboard.press("Tab")  # leaves a name as it is
    page.keyboard.type("kind 0")
    page.keyboard.press("Enter")
    page.get_by_text("A class “kind 0” already exists").wait_for()
    assert found.get_by_role("textbox", name="Name of kind 1").input_value() == "kind 1"


def test_each_of_a_hundred_classes_shows_its_pictures_a_sheet_of_many_at_a_time(page: Page, run: RunFolder) -> None:
    said, log = load_strict(run, "joint"), log_of(run)
    made = [
        Decision("new class", "Bob", visit="elsewhere", text=f"kind {k}", images=np.array([2 * k, 2 * k + 1]))
        for k in range(100)
    ]
    log.commit(made, Model(said.labels, said.confidence, "joint"))
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    found = curator(page, run)
    chips = found.locator(".chip")
    assert chips.count() == len(log.curation.classes) == 104
    last = found.locator(f".chip[data-number='{log.curation.classes[-1].number}']")
    assert last.locator("img").count() == 2
    complete = "one => [...one.querySelectorAll('img')].every(image => image.complete && image.naturalWidth)"
    assert not last.evaluate(complete), "it is not in view yet"
    sheets = {url for url in asked if f"/pages/{run.path.name}" in url}
    assert len(sheets) < 6
    last.scroll_into_view_if_needed()
    page.wait_for_function(complete, arg=last.element_handle())
    assert sorted(resembled(run, one) for one in last.locator(".thumb").all()) == [198, 199]
    middle = found.locator(f".chip[data-number='{log.curation.classes[50].number}']")
    middle.scroll_into_view_if_needed()
    page.wait_for_function(complete, arg=middle.element_handle())
    assert sorted(resembled(run, one) for one in middle.locator(".thumb").all()) == [92, 93]
    press(found, "t")
    page.keyboard.type("kind 99")
    entry = found.locator(".entry")
    page.wait_for_function(complete, arg=entry.element_handle())
    assert sorted(resembled(run, one) for one in entry.locator(".thumb").all()) == [198, 199]
    press(found, "Enter")
    saved(found, 101)
    assert rows(run)[-1][0] == "relabel"
    assert rows(run)[-1][2] == log.curation.classes[-1].number
    log.close()


def resembled(run: RunFolder, thumb: Locator) -> int:
    """The image that is most like the one a small picture shows."""
    shown = np.asarray(Image.open(io.BytesIO(thumb.screenshot())).convert("L").resize((24, 24)), float)
    pixels = np.asarray(run.images().pixels)[:, 0].astype(float)
    each = np.repeat(np.repeat(pixels, 24 // pixels.shape[1], 1), 24 // pixels.shape[2], 2)
    inner = np.s_[..., 3:-3, 3:-3]  # the corners are round
    return int(np.abs(each[inner] - shown[inner]).mean((1, 2)).argmin())


def test_eight_classes_are_visible_in_a_low_window(page: Page, run: RunFolder) -> None:
    with_ten_classes(run)
    page.set_viewport_size({"width": 1024, "height": 700})
    found = curator(page, run)
    assert found.locator(".chip").count() == 10
    inside = """list => [...list.children].filter(chip => {
      const end = chip.getBoundingClientRect().bottom;
      return end <= list.getBoundingClientRect().bottom && end <= innerHeight;
    }).length"""
    assert found.locator(".chips").evaluate(inside) >= 8


def test_a_queue_fills_again_when_what_emptied_it_is_undone(page: Page, run: RunFolder) -> None:
    said, log = load_strict(run, "joint"), log_of(run)
    spread = Decision("accept", "Ann", visit="page", images=np.arange(IMAGES), new=said.labels)
    log.commit([spread], Model(said.labels, said.confidence, "joint"))
    log.close()
    opened(page, f"/curate?run={run.path.name}")
    found = page.locator(".curator[data-current]")
    found.wait_for()  # a name that is typed while the page is being drawn may be lost
    page.get_by_role("textbox", name="Your name").fill("Ann")
    page.keyboard.press("Enter")
    page.get_by_text("This queue is empty").wait_for()
    wait(found, "one.dataset.ready === 'true'", "not ready")
    found.focus()
    press(found, "u")
    wait(found, f"one.dataset.current === '{first_of(run, 1)[0]}'", "still empty")
    assert place_of(found) == f"1 of {IMAGES}"


def test_no_key_is_lost_however_fast_they_come(page: Page, run: RunFolder) -> None:
    queue = first_of(run, 30)
    found = curator(page, run)
    for number in range(30):
        press(found, "1" if number % 2 else "a")
        page.wait_for_timeout(30)
    saved(found, 30)
    assert [one[1] for one in rows(run)] == [[image] for image in queue]


def test_marked_images_in_the_grid_are_one_decision(page: Page, run: RunFolder) -> None:
    queue = first_of(run, 6)
    found = curator(page, run)
    press(found, "g")
    wait(found, "one.dataset.view === 'grid'", "no grid")
    press(found, "Shift+ArrowRight", "Shift+ArrowRight", "3")
    saved(found, 1)
    assert rows(run) == [("relabel", sorted(queue[:3]), 2)]
    press(found, "Control+z")
    saved(found, 2)
    assert [one[0] for one in rows(run)] == ["relabel", "undo"]


def test_a_class_is_found_by_typing_and_a_new_one_is_made(page: Page, run: RunFolder) -> None:
    queue = first_of(run, 3)
    found = curator(page, run)
    press(found, "t")
    page.keyboard.type("ter 3")
    press(found, "Enter")
    saved(found, 1)
    press(found, "n")
    page.keyboard.type("<i>odd</i> ones")
    press(found, "Enter")
    saved(found, 2)
    kept = rows(run)
    assert kept[0] == ("relabel", [queue[0]], 3)
    assert (kept[1][0], kept[1][1]) == ("new class", [queue[1]])
    page.get_by_text("<i>odd</i> ones").first.wait_for()


def test_keys_are_explained(page: Page, run: RunFolder) -> None:
    found = curator(page, run)
    press(found, "?")
    page.get_by_text("The class is wrong, and the right one is unknown").wait_for()
    press(found, "Escape", "x")
    saved(found, 1)
    assert rows(run)[0][0] == "reject"


def test_what_another_reviewer_says_meanwhile_is_shown_with_both_answers(page: Page, run: RunFolder) -> None:
    image = first_of(run, 1)[0]
    found = curator(page, run)
    said = load_strict(run, "joint")
    log, model = log_of(run), Model(said.labels, said.confidence, "joint")
    log.commit([Decision("relabel", "Bob", visit="elsewhere", images=np.array([image]), class_=3)], model)
    press(found, "1")
    saved(found, 2)
    log.refresh()
    assert log.curation.disputed[image]
    press(found, "k")
    page.get_by_text("Bob").first.wait_for()
    press(found, ".")  # the second answer: Bob's
    saved(found, 3)
    log.refresh()
    assert not log.curation.disputed.any()
    assert log.curation.given[image] == 3
    log.close()


def test_decisions_wait_for_a_server_that_does_not_answer(page: Page, run: RunFolder) -> None:
    silent: list[bool] = [True]

    def maybe(route: Route) -> None:
        _ = route.abort() if silent[0] else route.continue_()

    # Before the page is opened: one that is open may still send a request past a new route.
    page.route(f"**/spice/curate/{run.path.name}/act", maybe)
    found = curator(page, run)
    press(found, "a", "x")
    wait(found, "one.dataset.waiting === '2'", "nothing waits")
    page.get_by_text("not saved", exact=False).first.wait_for()
    assert not (run.path / FILE).exists()
    silent[0] = False
    saved(found, 2)
    assert [one[0] for one in rows(run)] == ["accept", "reject"]


def test_without_a_name_no_key_decides(page: Page, run: RunFolder) -> None:
    opened(page, f"/curate?run={run.path.name}")
    found = page.locator(".curator[data-current]")
    found.wait_for()
    found.focus()
    press(found, "a", "x")
    page.wait_for_timeout(300)
    assert data(found, "waiting") == "0"
    assert not (run.path / FILE).exists()


def test_a_whole_class_is_accepted_and_the_component_shows_it(page: Page, run: RunFolder) -> None:
    own = load_strict(run, "joint").labels
    largest = int(np.bincount(own).argmax())
    members = np.flatnonzero(own == largest)
    found = curator(page, run)
    page.get_by_role("combobox", name="Class").click()
    page.keyboard.type(f"Cluster {largest}")
    page.keyboard.press("Enter")
    page.get_by_role("button", name=f"Accept all {len(members):,}").click()
    wait(found, f"one.dataset.decided === '{len(members)}'", "the component does not know")
    assert rows(run) == [("accept", members.tolist(), None)]


def test_the_keyboard_sees_and_the_mouse_accepts_in_bulk(page: Page, run: RunFolder) -> None:
    queue = first_of(run, 5)
    found = curator(page, run)
    press(found, "a", "2")
    press(found, "g")
    wait(found, "one.dataset.view === 'grid'", "no grid")
    press(found, "Shift+ArrowRight", "3")
    saved(found, 3)
    log = log_of(run)
    assert log.curation.provenance[queue[:4]].tolist() == [SEEN, SEEN, BULK, BULK]
    log.close()
    assert data(found, "seen") == "2"
    assert found.locator(".tally").text_content() == f"2 seen · 2 bulk of {run.card().images}"
    press(found, "u", "u")
    saved(found, 5)
    wait(found, "one.dataset.seen === '1' && one.dataset.decided === '1'", "the undo is not counted")


def test_after_a_spread_the_page_says_what_is_true(page: Page, run: RunFolder) -> None:
    """Typical images are answered, suggestions are spread; only random answers say how many of them are right."""
    truth, own = run.truth(), load_strict(run, "joint")
    assert truth is not None
    right, model = truth.labels, Model(own.labels, own.confidence, "joint")
    log = log_of(run)

    def answer(image: int, text: str = "") -> None:
        asked = Decision("relabel", "Ann", "ann", images=np.array([image]), class_=int(right[image]), text=text)
        log.commit([replace(asked, provenance=SEEN)], model)

    typical = typical_first(np.asarray(run.load("neighbors")["ids"]))[:20].tolist()
    for image in typical:
        answer(image)
    curator(page, run)
    page.get_by_role("radiogroup").get_by_text("Spread", exact=True).click()
    page.get_by_text("not known yet", exact=False).first.wait_for()
    assert page.get_by_text("Decided: 20 seen.").count() == 1
    slider = page.get_by_role("slider", name="Smallest confidence")
    slider.focus()
    slider.press("Home")
    images = run.card().images
    page.get_by_role("button", name=f"Give these {images - 20} images their classes").click()
    page.get_by_text(f"Decided: 20 seen, {images - 20} voted.").wait_for()
    page.get_by_text("not known yet", exact=False).first.wait_for()
    log.refresh()
    voted = np.flatnonzero(log.curation.provenance == VOTED)
    assert len(voted) == images - 20
    share = (log.curation.classes_of(own.labels) == right)[voted].mean()
    drawn = audit(log.curation.classes_of(own.labels).astype(np.int64), 0)
    for image in drawn[~np.isin(drawn, typical)][:40].tolist():
        answer(image, "audit")
    page.reload()
    page.get_by_role("radiogroup").get_by_text("Spread", exact=True).click()
    text = page.get_by_text("random answers").first
    text.wait_for()
    slider = page.get_by_role("slider", name="Smallest confidence")
    slider.focus()
    slider.press("Home")
    page.get_by_text("estimated from 40 random answers").wait_for()
    said = re.search(r"about [\d.]+\xa0% \((\d+) – (\d+)\xa0%\) have the right one", text.inner_text())
    assert said is not None, text.inner_text()
    low, high = (int(one) / 100 for one in said.groups())
    assert low - 0.005 <= share <= high + 0.005
    found = suggested(
        units(np.asarray(run.load("features")["vectors"])),
        np.asarray(run.load("joint")["probabilities"]),
        log.curation,
        own.labels,
    )
    assert found is not None
    assert len(found.checked) == 60, "no suggestion that was spread counts as an answer"
    log.close()


def suggested_now(run: RunFolder) -> Suggestions:
    """What the answers in the log suggest, learned here."""
    log, own = log_of(run), load_strict(run, "joint").labels
    found = suggested(
        units(np.asarray(run.load("features")["vectors"])),
        np.asarray(run.load("joint")["probabilities"]),
        log.curation,
        own,
    )
    log.close()
    assert found is not None
    return found


def answer_seven(found: Locator, run: RunFolder) -> list[int]:
    """Answers the first images with their true class, until the second class has an answer and then five more; waits
    until that is learned, and returns them."""
    truth, asked, first = run.truth(), list[int](), IMAGES
    assert truth is not None
    while len(asked) < first + 5:
        image = int(data(found, "current"))
        press(found, "1234"[truth.labels[image]])
        asked.append(image)
        saved(found, len(asked))
        if first == IMAGES and len(set(truth.labels[asked])) == 2:
            first = len(asked)
            wait(found, f"one.dataset.learned === '{first}'", "not learned at once")
    wait(found, f"one.dataset.learned === '{len(asked)}'", "not learned after five answers")
    return asked


OFFER = ".suggestion[data-number]"


def test_a_key_answers_with_what_the_answers_suggest(page: Page, run: RunFolder) -> None:
    own = load_strict(run, "joint").labels
    found = curator(page, run)
    assert found.locator(OFFER).count() == 0
    press(found, "s")
    page.get_by_text("Your answers suggest nothing else here.").wait_for()
    asked = answer_seven(found, run)
    expected = suggested_now(run)
    rest = [one for one in first_of(run, IMAGES) if one not in asked]
    skipped = next(place for place, one in enumerate(rest) if expected.labels[one] != own[one])
    press(found, *["j"] * skipped)
    image = rest[skipped]
    class_ = int(expected.labels[image])
    assert data(found, "current") == str(image)
    offer = found.locator(OFFER)
    offer.wait_for()
    assert offer.get_attribute("data-number") == str(class_)
    top = "one => one.querySelector('.acts').getBoundingClientRect().top - one.getBoundingClientRect().top"
    for width, height in ((1024, 700), (1280, 1000)):
        page.set_viewport_size({"width": width, "height": height})
        there = found.evaluate(top)
        offer.evaluate(
            "one => one.replaceWith(Object.assign(document.createElement('div'), {className: 'suggestion'}))"
        )
        assert abs(found.evaluate(top) - there) < 1, "the buttons move when a suggestion comes"
        press(found, "j", "k")
        offer.wait_for()
    assert offer.text_content() == f"SSuggested:Cluster {class_}{class_ + 1}"
    said = f"Your answers suggest Cluster {class_}: key S"
    wait(found, f"one.querySelector('.spoken').textContent.endsWith('{said}')", "screen readers do not hear it")
    page.wait_for_timeout(400)  # a suggestion that has only just come is not answered with
    press(found, "s")
    saved(found, len(asked) + 1)
    assert rows(run)[-1] == ("relabel", [image], class_)
    log = log_of(run)
    assert log.curation.seen[image]
    log.close()
    assert data(found, "current") != str(image)
    press(found, "u")
    wait(found, f"one.dataset.current === '{image}'", "the image does not come back")
    offer.wait_for()
    assert offer.get_attribute("data-number") == str(class_)
    offer.click()  # not only by key
    saved(found, len(asked) + 3)
    assert rows(run)[-1] == ("relabel", [image], class_)


def test_the_key_of_suggestions_can_be_changed_and_is_explained(page: Page, run: RunFolder) -> None:
    found = curator(page, run)
    press(found, "?")
    found.get_by_role("button", name="Key of “Give the class that my answers suggest”: S").click()
    press(found, "y", "Escape")
    press(found, "y")
    page.get_by_text("Your answers suggest nothing else here.").wait_for()
    assert not (run.path / FILE).exists()


def test_an_audit_is_answered_without_suggestions(page: Page, run: RunFolder) -> None:
    found = curator(page, run)
    answer_seven(found, run)
    choose(page, "Next images", "Random audit")
    wait(found, "one.dataset.queue === 'audit-0' && one.dataset.current !== ''", "not this order")
    found.focus()
    for _ in range(8):
        assert found.locator(OFFER).count() == 0
        press(found, "j")
    press(found, "s")
    page.get_by_text("Your answers suggest nothing else here.").wait_for()


def ahead(found: Locator) -> list[int]:
    """The images of the strip behind the current one."""
    strip = found.locator(".strip .tile").evaluate_all("all => all.map(one => +one.id.split('-').pop())")
    return strip[strip.index(int(data(found, "current"))) + 1 :]


def test_least_sure_follows_the_answers_and_the_current_image_stays(page: Page, run: RunFolder) -> None:
    found = curator(page, run)
    choose(page, "Next images", "Least sure")
    wait(found, "one.dataset.queue === 'unsure'", "not this order")
    found.focus()
    passed, second = int(data(found, "current")), ahead(found)[0]
    press(found, "j")  # an image that is passed over stays behind
    asked = answer_seven(found, run)
    assert asked[0] == second
    assert passed not in asked
    left = [one for one in least_sure_first(suggested_now(run)).tolist() if one not in (*asked, passed)]
    wait(found, f"one.dataset.learned === '{len(asked)}'", "not learned")
    current = int(data(found, "current"))
    expected = [one for one in left if one != current]
    for _ in range(100):
        if ahead(found) == expected[: len(ahead(found))]:
            break
        page.wait_for_timeout(50)
    assert ahead(found) == expected[: len(ahead(found))]
    assert len(ahead(found)) >= 3
    assert data(found, "current") == str(current), "the picture in front of me has changed"
    assert place_of(found) == f"{len(asked) + 2} of {IMAGES}"
    press(found, "a")
    saved(found, len(asked) + 1)
    assert data(found, "current") == str(expected[0])
    press(found, "Home")
    assert data(found, "current") == str(passed)
    press(found, "a")
    saved(found, len(asked) + 2)
    assert data(found, "current") == str(expected[0]), "what is answered is not asked again"
    press(found, "u")
    wait(found, f"one.dataset.current === '{passed}'", "the undone image does not come back")


def test_in_the_grid_the_page_in_front_of_me_stays(page: Page, run: RunFolder) -> None:
    found = curator(page, run)
    choose(page, "Next images", "Least sure")
    wait(found, "one.dataset.queue === 'unsure'", "not this order")
    found.focus()
    press(found, "g")
    wait(found, "one.dataset.view === 'grid'", "no grid")
    tiles = "all => all.map(one => +one.id.split('-').pop())"
    shown = found.locator(".page .tile").evaluate_all(tiles)
    asked = answer_seven(found, run)
    left = [one for one in least_sure_first(suggested_now(run)).tolist() if one not in shown]
    assert set(asked) < set(shown)
    page.wait_for_timeout(1000)
    assert found.locator(".page .tile").evaluate_all(tiles) == shown
    press(found, "j")
    behind = found.locator(".page .tile").evaluate_all(tiles)
    assert behind == left[: len(behind)]


def test_other_orders_stay_when_the_answers_are_learned(page: Page, run: RunFolder) -> None:
    queue = first_of(run, IMAGES)
    found = curator(page, run)
    asked = answer_seven(found, run)
    found.locator(OFFER).or_(found.locator(".about")).first.wait_for()
    page.wait_for_timeout(500)
    assert data(found, "current") == str(queue[len(asked)])
    assert ahead(found) == queue[len(asked) + 1 :][: len(ahead(found))]


def test_an_answer_in_the_random_audit_stands_for_its_class(page: Page, run: RunFolder) -> None:
    own = load_strict(run, "joint").labels
    opened(page, f"/curate?run={run.path.name}&queue=audit")
    found = page.locator(".curator[data-current]")
    found.wait_for()
    page.get_by_role("textbox", name="Your name").fill("Ann")
    page.keyboard.press("Enter")
    wait(found, "one.dataset.ready === 'true' && one.dataset.current !== ''", "nothing to decide")
    found.focus()
    first = int(data(found, "current"))
    press(found, "a")
    saved(found, 1)
    log = log_of(run)
    assert log.curation.among[first] == (own == own[first]).sum()
    assert log.curation.seen[first]
    log.close()
