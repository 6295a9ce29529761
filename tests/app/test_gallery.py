"""The gallery: the data sent to the browser, and the effects of its answers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import streamlit as st
from PIL import Image
from streamlit.testing.v1 import AppTest

from engine.presets import preset
from engine.runs.create import create_run
from engine.runs.folder import RunFolder
from engine.sources.open_source import open_source
from spice_explorer import palette
from spice_explorer.present import gallery as present
from spice_explorer.present.gallery import Known
from tests.app.conftest import IMAGES, texts

PLACE = "gallery-all"


def page(ids: list[int], per_page: int = 100, key: str = "all", odd: bool = False) -> None:
    """A page with one gallery, whose result is put into the session state."""
    import numpy as np
    import streamlit as st

    from spice_explorer.components import gallery
    from spice_explorer.queries import artefacts, runs

    run = runs.folder_of("demo")
    asked = gallery.gallery(
        run,
        artefacts.known(run, "joint"),
        ids,
        key=key,
        per_page=per_page,
        actions=[gallery.Action("veto", "Veto"), gallery.Action("keep", "Keep")],
        nothing="Nothing *here*.",
        notes=[f"note {index}" for index in ids] if odd else (),
        odd=np.arange(len(ids)) % 2 == 1 if odd else None,
    )
    st.session_state["returned"] = None if asked is None else (asked.action, asked.ids.tolist())
    st.session_state["type"] = None if asked is None else str(asked.ids.dtype)


def opened(ids: Any, **rest: Any) -> AppTest:
    return AppTest.from_function(page, args=(list(ids),), kwargs=rest).run(timeout=30)


def sent(at: AppTest) -> dict[str, Any]:
    (component,) = at.get("bidi_component")
    return json.loads(component.proto.json)


def turn(at: AppTest, number: Any, version: str | None = None) -> dict[str, Any]:
    at.session_state[PLACE] = {"page": {"version": version or sent(at)["version"], "number": number}}
    return sent(at.run())


# -- data for the browser ----------------------------------------------------------------------


@pytest.mark.usefixtures("finished")
def test_only_the_shown_page_is_sent() -> None:
    data = sent(opened(range(230)))
    assert data["ids"] == list(range(100))
    assert [data[name] for name in ("page", "pages", "perPage", "total")] == [1, 3, 100, 230]
    for name in ("titles", "captions", "colours"):
        assert len(data[name]) == 100
    assert data["actions"] == [{"name": "veto", "label": "Veto"}, {"name": "keep", "label": "Keep"}]
    assert data["sharp"]


def test_a_tile_has_its_own_words_and_colour(finished: RunFolder) -> None:
    data = sent(opened([7, 3], odd=True))
    judged = finished.load("reliable-joint")
    label, sure = int(judged["labels"][3]), judged["confidence"][3]
    names = finished.images().names
    assert data["titles"][1].startswith(f"{names[3]}\ncluster {label}\nconfidence {sure:.3f}\n")
    assert data["titles"][1].endswith("\nnote 3")
    assert data["colours"][1] == palette.cluster_colour(label)
    assert data["odd"] == [False, True]
    assert data["sheet"]["url"].startswith("/spice/pages/demo.webp?ids=7.3&v=")
    assert (data["sheet"]["width"], data["sheet"]["height"]) == (8, 8)


@pytest.mark.usefixtures("finished")
def test_notes_and_outlines_follow_the_page() -> None:
    at = opened(range(5), per_page=3, odd=True)
    data = turn(at, 2)
    assert [title.rpartition("\n")[2] for title in data["titles"]] == ["note 3", "note 4"]
    assert data["odd"] == [True, False]


@pytest.mark.usefixtures("finished")
def test_an_empty_list_is_a_sentence() -> None:
    at = opened([])
    assert not at.get("bidi_component")
    assert "Nothing \\*here\\*." in texts(at)


@pytest.mark.usefixtures("finished")
def test_a_key_may_hold_what_streamlit_keeps_for_itself() -> None:
    assert not opened([1], key="my__run").exception


# -- pages -------------------------------------------------------------------------------------


@pytest.mark.usefixtures("finished")
def test_a_page_is_turned_and_kept_when_the_component_is_gone() -> None:
    at = opened(range(230))
    assert turn(at, 3)["ids"] == list(range(200, 230))
    del at.session_state[PLACE]  # as Streamlit does when another page is visited
    assert sent(at.run())["page"] == 3


@pytest.mark.usefixtures("finished")
def test_another_list_begins_at_its_first_page() -> None:
    at = opened(range(230))
    old = turn(at, 2)["version"]
    at.args = (list(range(1, 230)),)
    assert turn(at, 2, old)["page"] == 1
    at.args = (list(range(230)),)
    assert turn(at, 2, old)["page"] == 2


@pytest.mark.usefixtures("finished")
@pytest.mark.parametrize(("number", "page"), [(99, 3), (0, 1), ("2", 1), (None, 1), (2.5, 1)])
def test_a_page_that_there_is_not_is_the_nearest(number: Any, page: int) -> None:
    assert turn(opened(range(230)), number)["page"] == page


def test_versions_tell_lists_apart() -> None:
    ids = np.array([1, 2, 3])
    own = present.version("run", "photos", ids)
    assert own == present.version("run", "photos", ids.astype(np.int32))
    others = (("run", "photos", ids[::-1]), ("run", "others", ids), ("two", "photos", ids))
    assert own not in {present.version(*one) for one in others}


# -- answers from the browser ------------------------------------------------------------------


@pytest.fixture
def browser(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Triggers put in here are delivered at the next run, because AppTest calls no component callbacks."""
    events: dict[str, Any] = {}

    def component(*_: Any, **__: Any) -> Callable[..., None]:
        def draw(*, key: str, **callbacks: Any) -> None:
            for name in list(events):
                st.session_state[key] = {name: events.pop(name)}
                callbacks[f"on_{name}_change"]()

        return draw

    monkeypatch.setattr(st.components.v2, "component", component)
    return events


def returned(at: AppTest) -> Any:
    return at.run().session_state["returned"]


@pytest.mark.usefixtures("finished")
def test_an_action_is_returned_once(browser: dict[str, Any]) -> None:
    browser["ask"] = {"action": "veto", "ids": [9, 2, 9, 5]}
    at = opened(range(230))
    assert returned(at) == ("veto", [2, 5, 9])
    assert at.session_state["type"] == "int64"
    assert returned(at) is None


@pytest.mark.usefixtures("finished")
def test_an_action_is_returned_although_its_images_are_gone_from_the_list(browser: dict[str, Any]) -> None:
    browser["ask"] = {"action": "keep", "ids": [0]}
    at = opened([0])
    at.args = ([],)
    assert returned(at) == ("keep", [0])


@pytest.mark.usefixtures("finished")
def test_images_that_there_are_not_are_left_out(browser: dict[str, Any]) -> None:
    browser["ask"] = {"action": "veto", "ids": [-1, IMAGES, IMAGES - 1]}
    assert returned(opened(range(230))) == ("veto", [IMAGES - 1])


@pytest.mark.usefixtures("finished")
@pytest.mark.parametrize("found", [{"action": "other", "ids": [1]}, {}, None])
def test_an_action_that_was_not_offered_is_none(found: Any, browser: dict[str, Any]) -> None:
    browser["ask"] = found
    assert returned(opened(range(9))) is None


@pytest.mark.usefixtures("finished")
def test_opening_an_image_is_told_to_the_page_and_shown(browser: dict[str, Any]) -> None:
    browser["open"] = 4
    at = opened(range(9))
    assert at.session_state["image"] == "4"
    assert at.query_params["image"] == "4"


@pytest.mark.usefixtures("finished")
@pytest.mark.parametrize("index", [IMAGES, -1, "4", None, 1.5])
def test_an_image_that_there_is_not_is_not_opened(index: Any, browser: dict[str, Any]) -> None:
    browser["open"] = index
    assert "image" not in opened(range(9)).session_state


@pytest.mark.usefixtures("finished")
@pytest.mark.parametrize(("asked", "shown"), [("4", 4), ("", -1), ("four", -1), ("9" * 20, -1)])
def test_the_open_image_is_told_to_the_gallery(asked: str, shown: int) -> None:
    at = opened(range(9))
    at.query_params["image"] = asked
    assert sent(at.run())["open"] == shown


# -- pictures ----------------------------------------------------------------------------------


def test_names_are_data_not_markup() -> None:
    evil = "<img src=x onerror=alert(1)>"
    (tile,) = present.described(Known(np.zeros((1, 1, 8, 8), np.uint8), [evil]), [0])
    assert (tile.name, tile.title) == (evil, evil)


# -- how large pictures are ------------------------------------------------------------------------


@pytest.fixture
def photos(workspace: Path) -> RunFolder:
    """A run of two photographs of 400 × 200 pixels."""
    folder = workspace.parent / "pictures"
    folder.mkdir()
    for number in range(2):
        Image.new("RGB", (400, 200), (90 * number, 80, 20)).save(folder / f"{number}.png")
    return create_run(workspace / "demo", open_source(str(folder), size=64), preset("quick", clusters=2, channels=3))


def unlabelled(run: str) -> None:
    from spice_explorer.components import gallery
    from spice_explorer.queries import artefacts, runs

    folder = runs.folder_of(run)
    gallery.gallery(folder, artefacts.known(folder, None), [0, 1], key="all")


@pytest.mark.usefixtures("photos")
def test_photographs_begin_larger_and_get_the_pixels_that_are_asked_for() -> None:
    at = AppTest.from_function(unlabelled, args=("demo",)).run(timeout=30)
    data = sent(at)
    assert data["side"] == 132
    assert data["sheet"]["sizes"] == [[160, 80]] * 2
    assert data["sheet"]["largest"] == 320
    for asked, expected in ((240, 240), (5000, 320), ("240", 160)):
        at.session_state[PLACE] = {"pixels": asked}
        sheet = sent(at.run())["sheet"]
        assert sheet["sizes"] == [[expected, expected // 2]] * 2
        assert f"&side={expected}&" in sheet["url"]


@pytest.mark.usefixtures("finished")
def test_tiny_images_have_one_sheet_whatever_is_asked_for() -> None:
    at = opened(range(5))
    before = sent(at)
    assert (before["side"], before["sheet"]["largest"]) == (76, 0)
    at.session_state[PLACE] = {"pixels": 320}
    assert sent(at.run())["sheet"] == before["sheet"]
