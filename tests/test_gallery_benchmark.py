"""The benchmark of photographs: its set and its text are right; what it measures is not tested."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from benchmarks import gallery_pages, made_photographs
from benchmarks.__main__ import NAMES, SUITES
from benchmarks.gallery_report import report_body
from benchmarks.painted import SCRIPT, painted
from engine.data.decode_image import ORIENTATION
from engine.data.thumbnails import pictured, resembles
from engine.runs.folder import RunFolder
from engine.runs.maps import load_map
from engine.runs.results import load_reliable, observe
from engine.sources.originals import make_thumbnails, read_original
from spice_explorer.web import originals
from tests.browser.conftest import blank_page, launched

SMALL = 400, 300
DIFFERENT, IMAGES = 6, 200


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("gallery")


@pytest.fixture(scope="module")
def files(place: Path) -> list[Path]:
    return made_photographs.draw(place / "drawn", DIFFERENT, SMALL)


@pytest.fixture(scope="module")
def run(place: Path, files: list[Path]) -> RunFolder:
    """A finished run of 200 names of six small photographs."""
    made_photographs.link(files, place / "photographs", IMAGES)
    photographs = made_photographs.opened(place / "photographs", files)
    return made_photographs.run_of_photographs(place / "runs" / "photos", photographs)


def test_a_drawn_photograph_has_12_megapixels_stands_upright_and_is_as_large_as_that_of_a_camera(
    tmp_path: Path,
) -> None:
    (file,) = made_photographs.draw(tmp_path / "drawn", 1)
    assert 2e6 < file.stat().st_size < 4e6
    with Image.open(file) as image:
        assert (image.size, image.mode, image.format) == ((4000, 3000), "RGB", "JPEG")
        assert image.getexif()[ORIENTATION] == 1


def test_photographs_differ_and_their_names_take_turns(files: list[Path], run: RunFolder) -> None:
    assert len({file.read_bytes() for file in files}) == DIFFERENT
    images = run.images()
    assert images.ids == tuple(f"DSC{number:05d}.jpg" for number in range(IMAGES))
    assert np.array_equal(images.pixels[1], images.pixels[1 + DIFFERENT])
    assert not np.array_equal(images.pixels[1], images.pixels[2])


def test_every_original_is_found_by_its_name(files: list[Path], run: RunFolder) -> None:
    card, kept = run.card(), run.originals()
    assert card.origin is not None
    assert kept is not None
    stamps, extents = kept
    assert extents.tolist() == [list(SMALL)] * IMAGES
    assert pictured(extents, (made_photographs.SIDE, made_photographs.SIDE)).all()
    for index in (0, 7, IMAGES - 1):
        found = read_original(card.origin, run.images().ids[index])
        assert found.content == files[index % DIFFERENT].read_bytes()
        assert found.stamp == tuple(stamps[index].tolist())


def test_a_thumbnail_is_made_of_the_image_that_was_trained_on(
    run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPICE_EXPLORER_CACHE", str(tmp_path))
    origin, kept, images = run.card().origin, run.originals(), run.images()
    assert origin is not None
    assert kept is not None
    (body,) = make_thumbnails(origin, [images.ids[8]], kept[0][8:9])
    assert body is not None
    assert resembles(body, images.pixels[8])
    found = originals.pictures(run)
    assert found.photographs
    assert found.kept_of([7, 8]).tolist() == [False, True]


def test_the_run_is_finished_and_its_map_is_a_grid(run: RunFolder) -> None:
    assert observe(run).state == "finished"
    points = load_map(run)
    assert points is not None
    assert points[[0, 99, 101]].tolist() == [[0, 0], [99, 0], [1, 1]]


def test_the_list_that_is_turned_holds_images_of_one_cluster_without_the_decided_one(run: RunFolder) -> None:
    labels = np.asarray(load_reliable(run, "joint").labels)
    seed = int(np.flatnonzero(labels == 1)[0])
    ids = gallery_pages.agreeing_with(run, seed)
    assert seed not in ids
    assert (labels[ids] == 1).mean() > 0.9


@pytest.mark.parametrize(("pages", "rounds"), [(83, 10), (54, 10), (45, 10), (44, 10), (43, 9), (11, 1), (8, 1)])
def test_no_page_is_jumped_to_that_was_shown_or_prepared(pages: int, rounds: int) -> None:
    assert gallery_pages.rounds_in(pages) == rounds
    for seed in range(20):
        chosen = gallery_pages.jumps(pages, rounds, np.random.default_rng(seed))
        assert len(chosen) == rounds
        seen = {1, 2}
        for page in chosen:
            assert page not in seen
            assert page + 1 not in seen
            seen |= {page, page + 1, page + 2}  # shown, turned to, prepared
        assert max(seen) < pages - 1 - rounds  # the first of the pages that are shown again


def test_a_list_that_is_too_short_is_refused() -> None:
    with pytest.raises(RuntimeError, match="7 pages is too short for a jump"):
        gallery_pages.rounds_in(7)


def test_a_point_of_the_grid_is_found_on_the_canvas() -> None:
    canvas = (100.0, 50.0, 1000.0, 600.0)  # 900 × 600 pixels are filled to 88 %
    assert gallery_pages.screen(0, 10_000, canvas) == pytest.approx((600 - 396, 350 + 264), abs=0.1)
    assert gallery_pages.screen(9_999, 10_000, canvas) == pytest.approx((600 + 396, 350 - 264), abs=0.1)


def costs(with_: list[float], without: list[float]) -> dict[str, Any]:
    """Of an import that lasts half as long as its processor time with thumbnails, and as long without."""
    elapsed = {"with, elapsed": [one / 2 for one in with_], "without, elapsed": without}
    return {"images": 40, "with": with_, "without": without, **elapsed}


def made(**changed: Any) -> dict[str, Any]:
    figures = [
        {"name": "first", "values": [500.0, 600.0, 690.0], "goal": 700.0},
        {"name": "next", "values": [100.0] * 9 + [900.0], "goal": 400.0},
    ]
    return {
        "images": 10_000,
        "different": 60,
        "megabytes": [2.5, 3.5],
        "figures": figures,
        "training_steps_a_second": [10.0, 20.0],
        "facts": {"stored before": [0, 1]},
        "import": costs([1.1, 2.2, 3.6], [1.0, 2.0, 3.0]),
        "thumbnails": {"count": 500, "bytes": 7_500_000},
        "load": 0.25,
        "yardstick": [0.5, 0.75],
        **changed,
    }


def test_the_text_says_which_goals_are_met() -> None:
    text = report_body(made())
    assert "| first | 600 ms | 681 ms | 500 to 690 ms | 3 | < 700 ms | met |" in text
    assert "| next | 100 ms | 540 ms | 100 to 900 ms | 10 | < 400 ms | **missed** |" in text
    assert "1.10 times as much as without (median of 3 pairs in turn, 1.10 to 1.20); goal ≤ 1.15: met." in text
    assert "It lasted 0.55 times as long (0.55 to 0.60)." in text
    assert "Load of the machine before the start, averaged over a minute: 0.25." in text
    assert "took 0.50 s before the measurements and 0.75 s after them" in text
    assert "Thumbnails take 15.0 MB on disk per 1,000 images (500 were kept)." in text
    assert "10,000 images, whose originals are 60 drawn JPEGs of 12 megapixels (2.5 to 3.5 MB)" in text
    assert "- stored before: [0, 1]" in text


def test_an_import_that_costs_too_much_misses_its_goal() -> None:
    dear = costs([1.2, 1.3, 1.1], [1.0, 1.0, 1.0])
    assert "1.20 times as much as without" in report_body(made(**{"import": dear}))
    assert "goal ≤ 1.15: **missed**." in report_body(made(**{"import": dear}))


def test_the_benchmark_belongs_to_those_of_the_app() -> None:
    assert "gallery" in SUITES["app"]
    assert "gallery" in NAMES


# -- in a browser --------------------------------------------------------------------------------

LATE = """
<button onclick="later()">Show</button><p></p>
<script>
function later() {
  const words = document.querySelector("p");
  setTimeout(() => { words.textContent = "one"; }, 150);
  setTimeout(() => {
    const image = new Image();
    image.src = "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/%3E";
    document.body.append(image);
  }, 300);
}
</script>
"""


@pytest.mark.browser
def test_what_is_painted_later_is_timed_later_and_from_the_event() -> None:
    with launched() as browser, blank_page(browser, 300, 200) as page:
        page.add_init_script(SCRIPT)
        page.route("http://late.test/", lambda route: route.fulfill(body=LATE, content_type="text/html"))
        page.goto("http://late.test/")
        tests = ["document.querySelector('p').textContent", "document.querySelector('img')"]

        def press() -> None:
            page.wait_for_timeout(100)  # before the event: not part of the time
            page.get_by_role("button").click()

        one, two = painted(page, "click", tests, press)
        assert 150 <= one < two
        assert two >= 300
        assert page.evaluate("document.querySelector('img').complete")
        assert not page.evaluate("inWindow(document.querySelector('p').appendChild(document.createElement('i')))")
