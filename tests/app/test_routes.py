"""What the browser may fetch, and what it may not."""

from __future__ import annotations

import io
import json

import pytest
from PIL import Image
from starlette.requests import Request
from starlette.responses import Response

from engine.runs.folder import RunFolder
from spice_explorer.web import routes
from tests.app.conftest import IMAGES


def get(run: str, sheet: object, kind: str) -> Response:
    parts = {"run": run, "sheet": str(sheet), "kind": kind}
    return routes.sheet(Request({"type": "http", "path_params": parts, "headers": []}))


@pytest.mark.usefixtures("finished")
def test_a_sheet_holds_all_thumbnails() -> None:
    answer = get("demo", 0, "webp")
    assert answer.media_type == "image/webp"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert Image.open(io.BytesIO(bytes(answer.body))).size == (32 * 8, -(-IMAGES // 32) * 8)


@pytest.mark.parametrize("query", ["", "run=a%20b"])
def test_the_first_page_is_found_by_its_name(query: str) -> None:
    scope = {"type": "http", "path": "/dataset", "query_string": query.encode(), "headers": [], "server": ("a", 80)}
    answer = routes.first_page(Request(scope))
    assert answer.status_code == 307
    assert answer.headers["location"] == (f"./?{query}" if query else "./")


def test_a_run_of_any_name_has_an_address() -> None:
    assert routes.address(RunFolder("50% off #2")) == "/spice/sprites/50%25%20off%20%232"


@pytest.mark.usefixtures("finished")
def test_names_come_with_it() -> None:
    names = json.loads(bytes(get("demo", 0, "json").body))
    assert len(names) == IMAGES
    assert names[0] == "digit-0000"


@pytest.mark.usefixtures("finished")
@pytest.mark.parametrize(
    ("run", "sheet"), [("other", 0), ("demo", 1), ("../runs/demo", 0), ("", 0), ("demo", -1), ("demo", "9" * 5000)]
)
def test_nothing_else_is_served(run: str, sheet: int) -> None:
    assert get(run, sheet, "json").status_code == 404
