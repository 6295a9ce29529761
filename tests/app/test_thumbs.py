"""Pictures for the browser: thumbnails and originals, what stands in for them, and what is refused."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import shutil
import sqlite3
from concurrent.futures import ThreadPoolExecutor
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

from engine.data.image_store import cache
from engine.data.images import ImageSet
from engine.npy import packed_texts
from engine.presets import preset
from engine.runs.create import create_run
from engine.runs.folder import RunFolder
from engine.sources.open_source import Opened, open_source
from spice_explorer.queries.runs import folder_of
from spice_explorer.web import originals, routes, thumbs
from tests.app.conftest import IMAGES, demo
from tests.two_colours import colours, two_colours

SIDE = 120


def get(run: str, index: int | str, query: str = "") -> Response:
    parts = {"run": run, "id": str(index)}
    scope = {"type": "http", "path_params": parts, "headers": [], "query_string": query.encode()}
    return thumbs.thumb(Request(scope))


def about(run: str, index: int) -> dict[str, Any]:
    status, body = fetch(f"/spice/originals/{run}/{index}.json")
    assert status == 200
    return json.loads(body)


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
def photos(workspace: Path, pictures: Path) -> RunFolder:
    """A run of these."""
    return create_run(workspace / "photos", open_source(str(pictures)), preset("quick", clusters=2, channels=3))


@pytest.fixture
def large(workspace: Path) -> RunFolder:
    """A run of three images that are larger than 32 pixels, each of one colour, from nowhere."""
    pixels = np.zeros((3, 3, SIDE, SIDE // 2), np.uint8)
    pixels[1, 0], pixels[2, 1] = 250, 250
    opened = Opened(ImageSet(pixels, ("a", "b", "c"), "made"), None, ())
    return create_run(workspace / "large", opened, preset("quick", clusters=2, channels=3))


def forget_thumbnails() -> None:
    shutil.rmtree(cache() / "thumbnails", ignore_errors=True)


def test_a_tiny_image_is_served_to_the_pixel_and_leaves_no_file(finished: RunFolder, workspace: Path) -> None:
    answer = get("demo", 7)
    assert answer.media_type == "image/webp"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "max-age" in answer.headers["cache-control"]
    shown = np.asarray(decoded(answer))[..., 0]
    assert np.array_equal(shown, finished.images().pixels[7, 0])
    assert not (workspace / ".thumbs").exists()


@pytest.mark.usefixtures("photos")
@pytest.mark.parametrize("index", [0, 5], ids=["upright", "turned"])
def test_a_photograph_is_shown_whole_and_upright(index: int) -> None:
    answer = get("photos", index)
    assert answer.media_type == "image/jpeg"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert decoded(answer).size == (320, 107)
    assert colours(decoded(answer)) == ["red", "blue"]


def test_the_original_is_the_file_itself(photos: RunFolder, pictures: Path) -> None:
    answer = get("photos", 0, "v=1&full=1")
    assert answer.body == (pictures / "0.jpg").read_bytes()
    assert (answer.media_type, answer.headers[thumbs.KIND]) == ("image/jpeg", "original")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert photos.images().ids[0] == "0.jpg"


def test_what_the_model_sees_can_be_asked_for(photos: RunFolder) -> None:
    answer = get("photos", 0, "square=1")
    assert (answer.media_type, answer.headers[thumbs.KIND]) == ("image/webp", "trained")
    assert np.array_equal(np.asarray(decoded(answer)).transpose(2, 0, 1), photos.images().pixels[0])


def test_a_small_image_among_photographs_is_shown_as_it_is_trained_on(photos: RunFolder) -> None:
    for query in ("", "full=1", "square=1"):
        answer = get("photos", 6, query)
        assert answer.headers["cache-control"] == "private, max-age=3600"
        assert np.array_equal(np.asarray(decoded(answer)).transpose(2, 0, 1), photos.images().pixels[6])


@pytest.mark.usefixtures("photos")
def test_a_thumbnail_that_is_not_kept_is_made_and_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = get("photos", 1).body
    forget_thumbnails()
    assert colours(decoded(get("photos", 1))) == ["red", "blue"]
    with monkeypatch.context() as closed:
        closed.setattr(originals, "make_thumbnails", None)  # it is not made a second time
        assert get("photos", 1).body == whole


def test_runs_of_the_same_source_share_their_thumbnails(
    photos: RunFolder, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(photos.path, workspace / "again")
    monkeypatch.setattr(originals, "make_thumbnails", None)
    assert get("again", 0).body == get("photos", 0).body


@pytest.mark.usefixtures("photos")
@pytest.mark.parametrize("damage", ["empty", "text", "half", "format", "body"])
def test_a_damaged_cache_is_made_again(damage: str) -> None:
    whole = get("photos", 1).body
    (file,) = (cache() / "thumbnails").glob("*.sqlite")
    if damage in ("format", "body"):
        with contextlib.closing(sqlite3.connect(file)) as connection:
            spoil = "PRAGMA user_version = 99" if damage == "format" else "UPDATE thumbnails SET body = x'FFD8FF'"
            connection.execute(spoil)
            connection.commit()
    else:
        file.write_bytes({"empty": b"", "text": b"no database" * 999, "half": file.read_bytes()[:9000]}[damage])
    assert get("photos", 1).body == whole
    assert len(sqlite3.connect(file).execute("SELECT body FROM thumbnails").fetchall()) > 0


@pytest.mark.usefixtures("photos")
def test_a_cache_that_cannot_be_written_is_done_without(monkeypatch: pytest.MonkeyPatch) -> None:
    forget_thumbnails()
    (cache() / "thumbnails").write_text("in the way")
    assert colours(decoded(get("photos", 1))) == ["red", "blue"]
    monkeypatch.setenv("SPICE_EXPLORER_THUMBNAILS", "0")
    (cache() / "thumbnails").unlink()
    assert colours(decoded(get("photos", 1))) == ["red", "blue"]


def test_a_file_that_has_changed_is_not_taken_for_the_image(photos: RunFolder, pictures: Path) -> None:
    two_colours().transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(pictures / "0.jpg", quality=70)
    forget_thumbnails()
    answer = get("photos", 0)
    assert np.array_equal(np.asarray(decoded(answer)).transpose(2, 0, 1), photos.images().pixels[0])
    assert answer.headers["cache-control"] == "no-store"
    full = get("photos", 0, "full=1")
    assert full.headers[thumbs.KIND] == "changed"
    assert full.headers["cache-control"] == "no-store"
    assert colours(decoded(full)) == ["blue", "red"]
    assert about("photos", 0)["changed"] is True


def test_without_its_source_a_run_shows_what_it_is_trained_on(photos: RunFolder, pictures: Path) -> None:
    assert originals.pictures(folder_of("photos")).stand_in() == ""
    shutil.rmtree(pictures)
    assert colours(decoded(get("photos", 1))) == ["red", "blue"]  # the thumbnails are still there
    assert not originals.pictures(folder_of("photos")).sharp
    forget_thumbnails()
    for query in ("", "full=1"):
        answer = get("photos", 1, query)
        assert (answer.headers[thumbs.KIND], answer.headers["cache-control"]) == ("trained", "no-store")
        assert np.array_equal(np.asarray(decoded(answer)).transpose(2, 0, 1), photos.images().pixels[1])
    assert originals.pictures(folder_of("photos")).sharp
    assert originals.pictures(folder_of("photos")).stand_in() == (
        f"{pictures} is not there any more: it was moved, renamed or deleted, or is on a disk that is not "
        "connected. Pictures are shown as the model sees them, 32 × 32 pixels."
    )


def test_text_that_calls_itself_an_image_is_never_served(photos: RunFolder, pictures: Path) -> None:
    for content in (b"<html><script>alert(1)</script></html>", b"<svg xmlns='http://www.w3.org/2000/svg'/>", b""):
        (pictures / "0.jpg").write_bytes(content)
        answer = get("photos", 0, "full=1")
        assert (answer.media_type, answer.headers[thumbs.KIND]) == ("image/webp", "trained")
        assert content == b"" or content not in bytes(answer.body)
        assert np.array_equal(np.asarray(decoded(answer)).transpose(2, 0, 1), photos.images().pixels[0])


@pytest.mark.parametrize(
    "name", ["../secret.jpg", "/etc/secret.jpg", "a/../../secret.jpg", "link.jpg", "..\\secret.jpg"]
)
def test_a_name_that_leads_out_of_the_folder_is_not_followed(name: str, photos: RunFolder, pictures: Path) -> None:
    two_colours().save(pictures.parent / "secret.jpg")
    (pictures / "link.jpg").symlink_to(pictures.parent / "secret.jpg")
    images = photos.images()
    photos.save("images", {"ids": packed_texts([name, *images.ids[1:]]), "pixels": np.array(images.pixels)})
    st.cache_resource.clear()
    forget_thumbnails()
    for query in ("", "full=1"):
        assert get("photos", 0, query).headers[thumbs.KIND] == "trained"
    assert "path" not in about("photos", 0)


def test_many_ask_at_once(photos: RunFolder) -> None:
    forget_thumbnails()
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda each: get("photos", each % 6), range(48)))
    assert all(colours(decoded(answer)) == ["red", "blue"] for answer in answers)
    assert len({bytes(answer.body) for answer in answers[:5]}) == 1
    assert photos.exists


def test_a_run_of_the_first_kind_shows_originals_that_are_still_the_same(photos: RunFolder, pictures: Path) -> None:
    """It has no stamps: what is there now is compared with what was trained on."""
    shutil.rmtree(photos.path / "originals")
    card = json.loads((photos.path / "run.json").read_text())
    del card["origin"]
    (photos.path / "run.json").write_text(json.dumps(card))
    two_colours().transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(pictures / "0.jpg", quality=90)
    forget_thumbnails()
    for query in ("", "full=1"):
        assert get("photos", 0, query).headers[thumbs.KIND] == "trained"
        assert colours(decoded(get("photos", 1, query))) == ["red", "blue"]
    assert get("photos", 6).headers[thumbs.KIND] == "trained"  # it is not larger than the pixels
    told = thumbs.sheet_of(originals.pictures(folder_of("photos")), [0, 1, 5, 6])
    assert told["sizes"] == [(32, 32), (160, 54), (160, 54), (32, 32)]
    found = cells(fetch(told["url"]), told)
    assert [colours(one) for one in found[1:3]] == [["red", "blue"]] * 2
    assert originals.pictures(folder_of("photos")).stand_in() == ""
    assert not originals.pictures(folder_of("photos")).sharp
    shutil.rmtree(pictures)
    assert get("photos", 1).headers[thumbs.KIND] == "trained"
    assert thumbs.sheet_of(originals.pictures(folder_of("photos")), [0, 1])["sizes"] == [(32, 32)] * 2
    assert originals.pictures(folder_of("photos")).stand_in().startswith(f"{pictures} is not there any more")
    assert originals.pictures(folder_of("photos")).sharp


def test_facts_of_an_original(pictures: Path, workspace: Path) -> None:
    exif = Image.Exif()
    exif[0x010F], exif[0x0110], exif[0x0132] = "Canon\0", "Canon EOS 5D", "2020:02:03 04:05:06"
    (pictures / "below").mkdir()
    two_colours().save(pictures / "below" / "x.jpg", exif=exif)
    create_run(workspace / "facts", open_source(str(pictures), fit="pad"), preset("quick", clusters=2, channels=3))
    told = about("facts", 5)
    assert told["name"] == "below/x.jpg"
    file = pictures / "below" / "x.jpg"
    assert (told["path"], told["bytes"], told["modified"]) == (str(file), file.stat().st_size, file.stat().st_mtime)
    assert (told["width"], told["height"], told["trained"], told["fit"]) == (900, 300, [32, 32], "pad")
    assert (told["form"], told["camera"], told["taken"]) == ("JPEG", "Canon EOS 5D", "2020-02-03 04:05:06")
    assert (told["changed"], told["note"]) == (False, "")


@pytest.mark.usefixtures("large")
def test_every_stored_pixel_can_be_asked_for() -> None:
    for query in ("v=1&full=1", "square=1", ""):
        assert decoded(get("large", 1, query)).size == (SIDE // 2, SIDE)


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
    start, end = thumbs.address(originals.pictures(demo()))
    assert fetch(f"{start}3{end}") == (200, get("demo", 3).body)
    assert fetch("/spice/thumbs/demo/..%2f3.webp")[0] == 404
    assert fetch(f"/spice/thumbs/demo/{'9' * 5000}.webp")[0] == 404


def test_an_address_has_the_runs_name_quoted_and_changes_with_the_images(
    finished: RunFolder, large: RunFolder, workspace: Path
) -> None:
    shutil.copytree(finished.path, workspace / "a b#c?")
    start, end = thumbs.address(originals.pictures(RunFolder(workspace / "a b#c?")))
    assert start == "/spice/thumbs/a%20b%23c%3F/"
    assert end == thumbs.address(originals.pictures(demo()))[1]
    assert end != thumbs.address(originals.pictures(large))[1]
    assert fetch(f"{start}3{end}") == (200, get("demo", 3).body)


# -- sheets ------------------------------------------------------------------------------------


def cells(answer: tuple[int, bytes], told: dict[str, Any]) -> list[Image.Image]:
    """The sheet cut as gallery.js does."""
    status, body = answer
    assert status == 200
    image = Image.open(io.BytesIO(body)).convert("RGB")
    corners = [(i % told["columns"] * told["width"], i // told["columns"] * told["height"]) for i in range(400)]
    return [image.crop((x, y, x + w, y + h)) for (x, y), (w, h) in zip(corners, told["sizes"], strict=False)]


def test_a_sheet_holds_the_asked_images_in_their_order(finished: RunFolder) -> None:
    ids = [200, 3, 3, *range(20, 40)]
    told = thumbs.sheet_of(originals.pictures(demo()), ids)
    assert (told["width"], told["height"], told["sizes"]) == (8, 8, [(8, 8)] * len(ids))
    found = np.stack([np.asarray(one) for one in cells(fetch(told["url"]), told)])
    assert np.array_equal(found[..., 0], finished.images().pixels[ids][:, 0])


def test_small_sheets_hold_each_of_the_asked_images_once(finished: RunFolder) -> None:
    ids = np.random.default_rng(0).permutation(IMAGES)[: 2 * thumbs.SMALL_EACH + 5].tolist()
    sheets = thumbs.small_sheets(originals.pictures(demo()), ids)
    assert [len(one["ids"]) for one in sheets] == [thumbs.SMALL_EACH, thumbs.SMALL_EACH, 5]
    assert [image for one in sheets for image in one["ids"]] == ids
    for told in sheets:
        found = np.stack([np.asarray(one) for one in cells(fetch(told["url"]), told)])
        assert np.array_equal(found[..., 0], finished.images().pixels[told["ids"]][:, 0])


@pytest.mark.usefixtures("photos")
def test_small_sheets_of_photographs_show_them_whole() -> None:
    (told,) = thumbs.small_sheets(originals.pictures(folder_of("photos")), [5, 0, 6, 1])
    assert (told["width"], told["height"]) == (64, 64)
    assert told["sizes"][:3] == [(64, 21), (64, 21), (32, 32)]
    assert [colours(one) for one in cells(fetch(told["url"]), told)][1] == ["red", "blue"]


def test_small_sheets_of_large_images_without_originals(large: RunFolder) -> None:
    (told,) = thumbs.small_sheets(originals.pictures(large), [0, 1, 2])
    found = [np.asarray(one).mean((0, 1)) for one in cells(fetch(told["url"]), told)]
    assert [one.argmax() for one in found[1:]] == [0, 1]


@pytest.mark.usefixtures("photos")
@pytest.mark.parametrize(("side", "cell", "high"), [(160, 160, 53), (1, 64, 21), (9999, 320, 107), (100, 112, 37)])
def test_a_sheet_of_photographs_shows_them_whole(side: int, cell: int, high: int) -> None:
    told = thumbs.sheet_of(originals.pictures(folder_of("photos")), [5, 0, 6, *[1] * 12], side)
    assert (told["width"], told["height"]) == (cell, cell)
    assert told["sizes"][:3] == [(cell, high), (cell, high), (32, 32)]
    found = cells(fetch(told["url"]), told)
    assert len(found) == 15
    for picture in [*found[:2], *found[3:]]:
        pixels = np.asarray(picture, int)
        left, right = pixels[:, : cell // 2 - 4], pixels[:, cell // 2 + 4 :]
        # Up to the edges: neither a neighbour nor the black between the pictures runs into them.
        assert np.abs(left - (250, 0, 0)).max() < 30
        assert np.abs(right - (0, 0, 250)).max() < 30
    assert colours(found[2]) == ["green", "green"]


@pytest.mark.usefixtures("photos")
def test_a_sheet_is_drawn_as_it_was_described(pictures: Path) -> None:
    """What can be had may be otherwise when the browser asks: the script cuts by what it was told."""
    told = thumbs.sheet_of(originals.pictures(folder_of("photos")), [0, 1])
    shutil.move(pictures, pictures.parent / "away")
    forget_thumbnails()
    bare = thumbs.sheet_of(originals.pictures(folder_of("photos")), [0, 1])
    assert bare["sizes"] == [(32, 32)] * 2
    whole, square = cells(fetch(told["url"]), told)[0], cells(fetch(bare["url"]), bare)[0]
    assert whole.size == (160, 53)
    pixels = np.asarray(whole, int)
    assert pixels[:, :50].max() < 30  # the square in the middle of what was to be the whole
    assert colours(square) == ["red", "blue"]
    shutil.move(pictures.parent / "away", pictures)
    assert cells(fetch(bare["url"]), bare)[0].size == (32, 32)
    assert colours(cells(fetch(told["url"]), told)[0]) == ["red", "blue"]


def test_a_sheet_of_large_images_without_originals(large: RunFolder) -> None:
    told = thumbs.sheet_of(originals.pictures(large), [1, 0])
    assert told["sizes"] == [(SIDE // 2, SIDE)] * 2
    found = cells(fetch(told["url"]), told)
    for tile, index in zip(found, (1, 0), strict=True):
        alone = np.asarray(decoded(get(large.path.name, index)).convert("RGB"), int)
        assert np.asarray(tile).shape == alone.shape
        assert np.abs(np.asarray(tile, int) - alone).mean() < 8  # both are compressed


@pytest.mark.usefixtures("finished")
@pytest.mark.parametrize("asked", ["", "1.x", "1..2", "-1", str(IMAGES), "9" * 5000, ".".join(["1"] * 401), "1.2;rm"])
def test_a_sheet_of_what_is_not_there_is_refused(asked: str) -> None:
    assert fetch(f"/spice/pages/demo.webp?ids={asked}")[0] == 404
    assert fetch("/spice/pages/other.webp?ids=1")[0] == 404


@pytest.mark.usefixtures("photos")
@pytest.mark.parametrize(
    "odd", ["side=x", "side=-1", "side=" + "9" * 5000, "whole=x", "whole=" + "f" * 500, "whole=-1"]
)
def test_a_sheet_of_odd_wishes_is_refused(odd: str) -> None:
    assert fetch(f"/spice/pages/photos.webp?ids=1&{odd}")[0] == 404


@pytest.mark.usefixtures("photos")
def test_a_sheet_may_be_asked_for_without_being_described() -> None:
    body = fetch("/spice/pages/photos.webp?ids=1&side=96")[1]
    assert Image.open(io.BytesIO(body)).size == (12 * 96, 96)
    assert colours(Image.open(io.BytesIO(body)).crop((0, 0, 96, 32))) == ["red", "blue"]


# -- sheets in parts ---------------------------------------------------------------------------


@pytest.fixture
def many(workspace: Path, tmp_path: Path) -> originals.Pictures:
    """A run of 20 photographs whose thumbnails were lost: the left half of each is red, the right half of
    every third green, of the others blue."""
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(20):
        image = two_colours(400, 200)
        if number % 3 == 0:
            image.paste((0, 250, 0), (200, 0, 400, 200))
        image.save(folder / f"{number:02d}.jpg", quality=90)
    run = create_run(workspace / "many", open_source(str(folder)), preset("quick", clusters=2, channels=3))
    forget_thumbnails()
    return originals.pictures(run)


def test_a_sheet_whose_thumbnails_are_to_be_made_comes_in_parts(many: originals.Pictures) -> None:
    ids = [*range(19, -1, -1)]
    told = thumbs.sheet_of(many, ids)
    assert [(one["first"], one["count"]) for one in told["parts"]] == [(0, 6), (6, 12), (18, 2)]
    for part in told["parts"]:
        own = slice(part["first"], part["first"] + part["count"])
        found = cells(fetch(part["url"]), {**told, "sizes": told["sizes"][own]})
        assert [colours(one)[1] for one in found] == ["blue" if one % 3 else "green" for one in ids[own]]
        assert many.kept_of(ids).sum() == own.stop  # and of no other image has a thumbnail been made
    assert thumbs.sheet_of(many, ids) == {**told, "parts": []}


def test_the_few_that_are_missing_are_no_reason_for_parts_where_they_cannot_be_had(
    many: originals.Pictures, tmp_path: Path
) -> None:
    assert thumbs.sheet_of(many, range(20))["parts"]
    for number in range(20):
        (tmp_path / "many" / f"{number:02d}.jpg").unlink()
    assert thumbs.sheet_of(many, range(20))["parts"] == []


def test_what_is_fetched_ahead_is_the_next_sheet_itself(many: originals.Pictures) -> None:
    ids = range(8, 20)
    told = thumbs.sheet_of(many, ids)
    ahead = thumbs.ahead_of(many, ids)
    assert ahead == [*(one["url"] for one in told["parts"]), told["url"]]
    for url in ahead:
        assert fetch(url)[0] == 200
    assert many.kept_of(ids).all()
    assert thumbs.ahead_of(many, ids) == [told["url"]]
    assert thumbs.ahead_of(many, []) == []


def test_tiny_images_are_not_fetched_ahead(finished: RunFolder) -> None:
    assert thumbs.ahead_of(originals.pictures(finished), range(20)) == []
    assert thumbs.sheet_of(originals.pictures(finished), range(20))["parts"] == []
