"""The built-in shapes in the app: offered next to the digits, trained with their own preset."""

from __future__ import annotations

import pytest
from streamlit.testing.v1 import AppTest

from spice_explorer.queries import training
from spice_explorer.sections.train import form
from tests.app.conftest import Visit, button


def with_shapes(visit: Visit) -> AppTest:
    at = visit("dataset")
    at.session_state["source kind"] = "shapes"
    return button(at.run(), "Use the shapes").click().run()


@pytest.mark.usefixtures("workspace")
def test_the_shapes_are_a_second_built_in_set(visit: Visit) -> None:
    shown = {one.label: one.value for one in with_shapes(visit).metric}
    assert shown["Images"] == "960"
    assert (shown["Size"], shown["Colours"]) == ("32 × 32", "colour")
    assert shown["Classes in the truth"] == "4"


@pytest.mark.usefixtures("workspace")
def test_their_preset_is_chosen_with_them(visit: Visit) -> None:
    at = with_shapes(visit)
    at.switch_page("../pages/train.py").run()
    assert at.number_input(key="k-shapes").value == 4
    assert at.selectbox(key="preset").value == "shapes"
    assert not at.error
    config = training.preset("shapes", 4, 3, 0)
    assert config.views.contrastive.hue == 0.5


def test_their_preset_is_offered_with_them_only() -> None:
    usual = ["quick", "fast", "paper"]
    assert list(form._offered("shapes")) == ["shapes", *usual]
    for source in ("digits", "folder:shapes"):
        assert list(form._offered(source)) == usual
