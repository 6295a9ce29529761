"""Single pictures for the browser: which are served, kept on disk, and refused."""

from __future__ import annotations

import asyncio
import io
import os
import shutil
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import numpy as np
import pytest
import streamlit as st
from PIL import Image
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response

from engine.data.images import ImageSet
from engine.presets import preset
from engine.runs.create import create_run
from engine.runs.folder import RunFolder
from engine.sources.open_source import Opened
from spice_explorer.web import routes, thumbs
from tests.app.conftest import IMAGES, demo

SIDE = 120


def get(run: str, index: int | str, query: str = "") -> Response:
    parts = {"run": run, "id": str(index)}
    scope = {"type": "http", "path_params": parts, "headers": [], "query_string": query.encode()}
    return thumbs.thumb(Request(scope))


def fetch(address: str) -> tuple[int, bytes]:
    """Status and body of the app's answer to a GET request."""
    parts, sent = urlsplit(address), []
    scope = {
        "type": "http",
        "method": "GET",
        "path": unquote(parts.path),
        "headers": [],
        "query_string": parts.query.encode(),
    }

    async def receive() -> dict[str, Any]:
        return {"type": "http.request"}

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(Starlette(routes=routes.options()["routes"])(scope, receive, send))
    return sent[0]["status"], b"".join(one.get("body", b"") for one in sent)


def decoded(answer: Response) -> Image.Image:
    assert answer.status_code == 200
    return Image.open(io.BytesIO(bytes(answer.body)))


@pytest.fixture
def photos(workspace: Path) -> RunFolder:
    """A run of three images, larger than a thumbnail, each of one colour."""
    pixels = np.zeros((3, 3, SIDE, SIDE // 2), np.uint8)
    pixels[1, 0], pixels[2, 1] = 250, 250
    opened = Opened(ImageSet(pixels, ("a", "b", "c"), "photos"), None, ())
    return create_run(workspace / "photos", opened, preset("quick", clusters=2, channels=3))


def kept(workspace: Path) -> list[str]:
    return sorted(file.name for file in (workspace / ".thumbs").rglob("*") if file.is_file())


def test_a_tiny_image_is_served_to_the_pixel_and_leaves_no_file(finished: RunFolder, workspace: Path) -> None:
    answer = get("demo", 7)
    assert answer.media_type == "image/webp"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "max-age" in answer.headers["cache-control"]
    shown = np.asarray(decoded(answer))[..., 0]
    assert np.array_equal(shown, finished.images().pixels[7, 0])
    assert not (workspace / ".thumbs").exists()


def test_a_large_image_is_scaled_once_and_kept(photos: RunFolder, workspace: Path) -> None:
    picture = decoded(get("photos", 1))
    assert picture.size == (48, 96)
    red, green, _ = picture.convert("RGB").getpixel((20, 40))  # type: ignore[misc]
    assert red > 200 > 60 > green
    file = workspace / ".thumbs" / photos.card().fingerprint / "0" / "1.webp"
    assert kept(workspace) == ["1.webp"]
    file.write_bytes(get("photos", 2).body)
    assert get("photos", 1).body == get("photos", 2).body  # the cached file is served


def test_runs_of_the_same_images_share_their_thumbnails(photos: RunFolder, workspace: Path) -> None:
    shutil.copytree(photos.path, workspace / "again")
    assert get("again", 0).body == get("photos", 0).body
    assert kept(workspace) == ["0.webp"]


@pytest.mark.parametrize("damage", [b"", b"RIFF", b"no picture, but longer than a head"])
def test_a_damaged_file_of_the_cache_is_made_again(damage: bytes, photos: RunFolder, workspace: Path) -> None:
    whole = get("photos", 1).body
    file = workspace / ".thumbs" / photos.card().fingerprint / "0" / "1.webp"
    file.write_bytes(damage)
    assert get("photos", 1).body == whole
    assert file.read_bytes() == whole


def test_half_a_file_is_made_again(photos: RunFolder, workspace: Path) -> None:
    whole = bytes(get("photos", 1).body)
    file = workspace / ".thumbs" / photos.card().fingerprint / "0" / "1.webp"
    file.write_bytes(whole[:-8])
    assert get("photos", 1).body == whole


@pytest.mark.usefixtures("photos")
def test_a_full_disk_costs_the_cache_only(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(os, "replace", full)
        assert decoded(get("photos", 1)).size == (48, 96)
        assert kept(workspace) == []  # no partial file is left either
        broken.setattr(Path, "mkdir", full)
        assert decoded(get("photos", 2)).size == (48, 96)


@pytest.mark.usefixtures("photos")
def test_a_cache_that_cannot_be_a_folder_is_done_without(workspace: Path) -> None:
    (workspace / ".thumbs").write_text("in the way")
    assert decoded(get("photos", 1)).size == (48, 96)


@pytest.mark.usefixtures("photos")
def test_every_stored_pixel_can_be_asked_for(workspace: Path) -> None:
    assert decoded(get("photos", 1, "v=1&full=1")).size == (SIDE // 2, SIDE)
    assert not (workspace / ".thumbs").exists()


@pytest.mark.usefixtures("finished")
@pytest.mark.parametrize(
    ("run", "index"),
    [
        ("other", 0),
        ("../runs/demo", 0),
        ("", 0),
        ("demo", IMAGES),
        ("demo", "-1"),
        ("demo", "x"),
        ("demo", "9" * 5000),
        ("demo", "²"),
        ("d\0emo", 0),
    ],
)
def test_nothing_else_is_served(run: str, index: int | str) -> None:
    answer = get(run, index)
    assert answer.status_code == 404
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("damage", ["gone", "empty", "half", "text", "run"])
def test_pixels_that_are_gone_or_damaged_are_a_404(damage: str, finished: RunFolder) -> None:
    st.cache_resource.clear()
    pixels = finished.path / "images" / "pixels.npy"
    if damage == "gone":
        pixels.unlink()
    elif damage == "run":
        shutil.rmtree(finished.path)
    else:
        body = {"empty": b"", "half": pixels.read_bytes()[:300], "text": b"hello"}[damage]
        pixels.unlink()
        pixels.write_bytes(body)
    assert get("demo", 0).status_code == 404


@pytest.mark.usefixtures("finished")
def test_the_app_routes_addresses_to_it() -> None:
    start, end = thumbs.address(demo())
    assert fetch(f"{start}3{end}") == (200, get("demo", 3).body)
    assert fetch("/spice/thumbs/demo/..%2f3.webp")[0] == 404
    assert fetch(f"/spice/thumbs/demo/{'9' * 5000}.webp")[0] == 404


def test_an_address_has_the_runs_name_quoted_and_changes_with_the_images(
    finished: RunFolder, photos: RunFolder, workspace: Path
) -> None:
    shutil.copytree(finished.path, workspace / "a b#c?")
    start, end = thumbs.address(RunFolder(workspace / "a b#c?"))
    assert start == "/spice/thumbs/a%20b%23c%3F/"
    assert end == thumbs.address(demo())[1]
    assert end != thumbs.address(photos)[1]
    assert fetch(f"{start}3{end}") == (200, get("demo", 3).body)


# -- sheets ------------------------------------------------------------------------------------


def tiles_of(answer: tuple[int, bytes], told: dict[str, Any], count: int) -> np.ndarray:
    """(n, H, W, 3): the tiles of the sheet, cut as in gallery.js."""
    status, body = answer
    assert status == 200
    image = np.asarray(Image.open(io.BytesIO(body)).convert("RGB"))
    high, wide, columns = told["height"], told["width"], told["columns"]
    corners = [(i // columns * high, i % columns * wide) for i in range(count)]
    return np.stack([image[y : y + high, x : x + wide] for y, x in corners])


def test_a_sheet_holds_the_asked_images_in_their_order(finished: RunFolder) -> None:
    ids = [200, 3, 3, *range(20, 40)]
    told = thumbs.sheet_of(demo(), ids, (8, 8))
    found = tiles_of(fetch(told["url"]), told, len(ids))
    assert np.array_equal(found[..., 0], finished.images().pixels[ids][:, 0])


def test_a_sheet_of_large_images_is_made_of_their_kept_thumbnails(photos: RunFolder) -> None:
    pixels = photos.images().pixels
    told = thumbs.sheet_of(photos, [1, 0], pixels.shape[2:])
    found = tiles_of(fetch(told["url"]), told, 2)
    for tile, index in zip(found, (1, 0), strict=True):
        alone = np.asarray(decoded(get(photos.path.name, index)).convert("RGB"), int)
        assert tile.shape == alone.shape
        assert np.abs(tile - alone).mean() < 8  # both are compressed
    assert len(list((photos.path.parent / thumbs.CACHE).rglob("*.webp"))) == 2


@pytest.mark.usefixtures("finished")
@pytest.mark.parametrize("asked", ["", "1.x", "1..2", "-1", str(IMAGES), "9" * 5000, ".".join(["1"] * 401), "1.2;rm"])
def test_a_sheet_of_what_is_not_there_is_refused(asked: str) -> None:
    assert fetch(f"/spice/pages/demo.webp?ids={asked}")[0] == 404
    assert fetch("/spice/pages/other.webp?ids=1")[0] == 404
