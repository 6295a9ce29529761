"""The health report on the Dataset page, leaving images out, and their absence from training."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from streamlit.testing.v1 import AppTest

from engine.curate.log import FILE
from engine.data.images import ImageSet
from engine.data.thumbnail_store import ThumbnailStore
from engine.health import exclusions, reports
from engine.health.duplicates import STRICTEST, USUAL, NearDuplicates
from engine.health.exclusions import Exclusions
from engine.health.health import Finding, Health, Problem
from engine.runs.create import create_run
from engine.runs.folder import RunFolder
from engine.sources.open_source import Opened, open_source
from spice_explorer.present import health as present
from spice_explorer.queries import health, runs, sources, training
from tests.app.conftest import Visit, button, texts

pytestmark = pytest.mark.usefixtures("workspace")


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine a report may take longer than the page waits by default."""
    monkeypatch.setattr(health, "PATIENCE_SECONDS", 60)


@pytest.fixture
def spoilt(photos: Path) -> Opened:
    """The drawn photographs, one of them three times, a dark, a blank, a wide and a broken one."""
    for name in ("copy", "second"):
        shutil.copy(photos / "bars" / "01.png", photos / f"{name}.png")
    night = np.random.default_rng(0).integers(0, 40, (12, 12, 3), dtype=np.uint8)
    Image.fromarray(night).save(photos / "<night>.png")
    Image.new("RGB", (12, 12), "white").save(photos / "white.png")
    with Image.open(photos / "spots" / "00.png") as one:
        one.resize((60, 12)).save(photos / "wide.png")
    (photos / "broken.png").write_bytes(b"nothing")
    return open_source(str(photos), size=12)


def with_source(at: AppTest, opened: Opened) -> AppTest:
    at.session_state["opened"] = opened
    at.run()
    assert not at.exception
    return at


def finding(at: AppTest) -> Any:
    return next(one for one in at.button_group if one.label == "Finding")


def choose(at: AppTest, problem: str) -> AppTest:
    finding(at).set_value(problem)
    return at.run()


def begins(at: AppTest, words: str) -> Any:
    return next(one for one in at.button if one.label.startswith(words))


def out(opened: Opened) -> list[tuple[str, str]]:
    decided = Exclusions(opened.images)
    found = [(one.name, one.reason) for one in decided.left_out()]
    decided.close()
    return found


# -- the report --------------------------------------------------------------------------------


def test_every_finding_is_counted_and_the_unreadable_come_first(spoilt: Opened, visit: Visit) -> None:
    at = with_source(visit("dataset"), spoilt)
    titles = finding(at).options
    for title in ("Unreadable 1", "Exact duplicates 3", "Dark 1", "Blank 1", "Odd sides 1"):
        assert title in titles
    assert titles[0] == "Unreadable 1"
    assert at.dataframe[0].value.values.tolist() == [["broken.png", "not an image"]]
    assert "Nothing found:" in texts(at)


def test_a_set_without_findings_says_so(visit: Visit) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (20, 1, 8, 8), dtype=np.uint8)
    images = ImageSet(pixels, tuple(f"{index}" for index in range(20)), "made:up")
    at = with_source(visit("dataset"), Opened(images))
    assert [one.value for one in at.success] == ["No problems were found."]
    assert "odd sides" not in texts(at)  # their original sizes are unknown


def test_progress_is_shown_while_the_images_are_looked_at(
    spoilt: Opened, visit: Visit, monkeypatch: pytest.MonkeyPatch
) -> None:
    go, whole = threading.Event(), reports.examine

    def slow(*arguments: Any, **more: Any) -> Health | None:
        go.wait(60)
        return whole(*arguments, **more)

    monkeypatch.setattr(reports, "examine", slow)
    monkeypatch.setattr(health, "PATIENCE_SECONDS", 0)
    at = with_source(visit("dataset"), spoilt)
    assert not [one for one in at.button_group if one.label == "Finding"]
    assert "Looking at the images" in str(at.get("progress")[0].proto)
    go.set()
    monkeypatch.setattr(health, "PATIENCE_SECONDS", 60)
    assert "Dark 1" in finding(at.run()).options


def test_a_failed_report_can_be_made_again(spoilt: Opened, visit: Visit, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise OSError("the disk is gone")

    with monkeypatch.context() as patch:
        patch.setattr(reports, "examine", broken)
        at = with_source(visit("dataset"), spoilt)
    assert at.warning[0].value == "The health check failed: the disk is gone."
    at = button(at, "Try again").click().run()
    assert "Dark 1" in finding(at).options


def test_a_run_of_the_same_images_lends_its_features(finished: RunFolder, few_digits: Opened, visit: Visit) -> None:
    assert health.trained(few_digits) == finished.path.name
    assert health.trained(sources.digits()) is None
    at = with_source(visit("dataset"), few_digits)
    assert "also use the features of demo" in texts(at)


def test_a_run_made_anew_of_other_images_lends_them_nothing(
    finished: RunFolder, few_digits: Opened, spoilt: Opened
) -> None:
    assert health.trained(few_digits) == finished.path.name
    config = finished.card().config
    shutil.rmtree(finished.path)
    other = create_run(finished.path, spoilt, config)
    other.save("features", {"vectors": np.zeros((len(spoilt.images), 2), np.float32)})
    assert health.trained(few_digits) is None
    assert health.trained(spoilt) == finished.path.name


# -- leaving out -------------------------------------------------------------------------------


def test_one_click_keeps_one_of_each_and_one_turns_it_back(spoilt: Opened, visit: Visit) -> None:
    at = choose(with_source(visit("dataset"), spoilt), "exact duplicates")
    at = button(at, "Keep one of each, leave out 2").click().run()
    assert out(spoilt) == [("copy.png", "exact duplicate"), ("second.png", "exact duplicate")]
    assert "Exact duplicates 3 ✓" in finding(at).options
    assert "Left out 2" in finding(at).options
    assert finding(at).value == "exact duplicates"  # the selection on the page stays
    at = button(at, "Undo: exact duplicate, 2 images").click().run()
    assert out(spoilt) == []
    assert "Left out 2" not in finding(at).options


def test_all_of_a_finding_are_left_out_seen_and_put_back(spoilt: Opened, visit: Visit) -> None:
    at = choose(with_source(visit("dataset"), spoilt), "dark")
    at = button(at, "Leave out these 1").click().run()
    assert out(spoilt) == [("<night>.png", "dark")]
    at = choose(at, "left out")
    at = button(at, "Put back all 1").click().run()
    assert out(spoilt) == []


def test_an_image_that_is_opened_can_be_left_out_alone(spoilt: Opened, visit: Visit) -> None:
    at = choose(with_source(visit("dataset"), spoilt), "dark")
    image = spoilt.images.ids.index("<night>.png")
    at.session_state["health image"] = (spoilt.images.fingerprint[:12], image)
    at.run()
    shown = texts(at)
    assert "&lt;night&gt;.png" in shown
    assert "<night>" not in shown.replace("\\<night\\>", "")
    plain = shown.replace("\\", "")
    assert "original: 12 × 12 pixels" in plain
    assert "brightest: 3" in plain
    at = button(at, "Leave out this image").click().run()
    assert out(spoilt) == [("<night>.png", "by hand")]
    assert "left out: by hand" in texts(at).replace("\\", "")
    button(at, "Put back").click().run()
    assert out(spoilt) == []


def test_an_opened_image_of_another_source_is_not_shown(spoilt: Opened, visit: Visit) -> None:
    at = visit("dataset")
    at.session_state["health image"] = ("another", 0)
    at = choose(with_source(at, spoilt), "dark")
    assert not [one for one in at.button if one.label == "Leave out this image"]


def test_a_log_that_cannot_be_written_is_a_sentence(
    spoilt: Opened, visit: Visit, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    at = choose(with_source(visit("dataset"), spoilt), "dark")
    decided = health.decided(spoilt)
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(decided, "folder", tmp_path / "file" / "log")
    at = begins(at, "Leave out these").click().run()
    assert "cannot be written" in at.error[0].value
    assert "nothing was saved" in at.error[0].value


def test_a_damaged_log_is_a_sentence_and_then_a_new_one(spoilt: Opened, visit: Visit) -> None:
    decided = Exclusions(spoilt.images)
    decided.exclude(np.array([0]), "dark")
    decided.close()
    (decided.folder / FILE).write_bytes(b"nothing that SQLite knows" * 100)
    at = choose(with_source(visit("dataset"), spoilt), "dark")
    begins(at, "Leave out these").click().run()
    assert out(spoilt) == [("<night>.png", "dark")]


# -- near duplicates ---------------------------------------------------------------------------


@pytest.fixture
def copied(tmp_path: Path) -> Opened:
    """Ten photographs, a smaller and darker copy of the first, and a copy of the second with a ghost in it."""
    rng, folder = np.random.default_rng(0), tmp_path / "copied"
    folder.mkdir()
    pictures = [Image.fromarray(rng.integers(0, 256, (8, 10, 3), dtype=np.uint8)) for _ in range(11)]
    *pictures, ghost = [small.resize((300, 240), Image.Resampling.BICUBIC) for small in pictures]
    for number, picture in enumerate(pictures):
        picture.save(folder / f"{number}.png")
    pictures[0].resize((200, 160)).point(lambda level: int(0.8 * level)).save(folder / "dark.png")
    Image.blend(pictures[1], ghost, 0.1).resize((200, 160)).save(folder / "ghost.png")
    return open_source(str(folder), size=48)


def near(at: AppTest) -> Any:
    return next(one for one in at.slider if one.label == "How much copies may differ")


def kinds(at: AppTest) -> dict[str, bool]:
    """The buttons that leave images out, and whether each is the primary one."""
    return {one.label: one.proto.type == "primary" for one in at.button if "leave out" in one.label}


def test_near_duplicates_are_to_be_opened_before_a_button_offers_to_leave_them_out(
    copied: Opened, visit: Visit
) -> None:
    at = choose(with_source(visit("dataset"), copied), "near duplicates")
    assert "Near duplicates 4" in finding(at).options
    assert kinds(at) == {"Keep one of each, leave out 2": False}
    opened = copied.images.ids.index("dark.png")
    at.session_state[f"opened near duplicates of {copied.images.fingerprint[:12]}"] = {opened}
    at.run()
    one, every = "Keep one of the group you opened, leave out 1", "All 2 groups: leave out 2"
    assert kinds(at) == {one: True, every: False}
    at = button(at, one).click().run()
    assert out(copied) == [("dark.png", "near duplicate")]
    assert kinds(at) == {"Keep one of the group you opened, leave out 0": True, "All 2 groups: leave out 1": False}
    at = button(at, "Undo: near duplicate, 1 image").click().run()
    assert out(copied) == []
    at = button(at, every).click().run()
    assert [name for name, _ in out(copied)] == ["dark.png", "ghost.png"]


def test_how_strict_near_duplicates_are_changes_them_at_once_and_stays(copied: Opened, visit: Visit) -> None:
    at = choose(with_source(visit("dataset"), copied), "near duplicates")
    assert near(at).value == USUAL
    job = reports.the_examiner().request(copied, patience=60)
    assert job.health is not None
    values = dict(zip(map(max, job.health.near.pairs.tolist()), job.health.near.apart.tolist(), strict=True))
    dark, ghost = (values[copied.images.ids.index(f"{name}.png")] for name in ("dark", "ghost"))
    assert dark < STRICTEST < ghost < USUAL
    at = near(at).set_value(STRICTEST).run()
    assert "Near duplicates 2" in finding(at).options
    assert "Only the same picture" in texts(at)
    assert kinds(at) == {"Keep one of each, leave out 1": False}
    at = near(at).set_value(1.0).run()
    assert "Near duplicates 4" in finding(at).options
    assert "new photographs of the same thing" in texts(at)
    at = choose(at.run(), "near duplicates")
    assert near(at).value == 1.0


def test_an_opened_copy_is_shown_next_to_the_best_of_its_group(copied: Opened, visit: Visit) -> None:
    at = choose(with_source(visit("dataset"), copied), "near duplicates")
    key, ids = copied.images.fingerprint[:12], copied.images.ids
    at.session_state["health image"] = (key, ids.index("dark.png"))
    shown = texts(at.run()).replace("\\", "")
    assert "dark.png" in shown
    assert "from the best of its group" in shown
    assert "0.png" in shown
    at.session_state["health image"] = (key, ids.index("0.png"))
    assert "the best of its group" in texts(at.run())


def test_originals_that_are_gone_are_mentioned(copied: Opened, visit: Visit, tmp_path: Path) -> None:
    assert copied.origin is not None
    ThumbnailStore(copied.origin.place).path.unlink()
    shutil.rmtree(tmp_path / "copied")
    at = choose(with_source(visit("dataset"), copied), "near duplicates")
    assert "are gone: only what the model sees of them was compared" in texts(at)


# -- training ----------------------------------------------------------------------------------


def test_train_uses_what_is_kept_and_says_so(spoilt: Opened, visit: Visit, monkeypatch: pytest.MonkeyPatch) -> None:
    decided = Exclusions(spoilt.images)
    decided.exclude(np.array([0, 1]), "dark")
    decided.close()
    started: list[tuple[Any, ...]] = []
    monkeypatch.setattr(training, "start", lambda *asked: started.append(asked) or "none")
    at = with_source(visit("dataset"), spoilt)
    at.switch_page("../pages/train.py").run()
    count = len(spoilt.images)
    assert f"**{count - 2:,} of {count:,} images**" in texts(at)
    assert "2 left out" in texts(at)
    button(at, "Start training").click().run()
    opened, excluded = started[0][0], started[0][3]
    assert opened.images.ids == spoilt.images.ids[2:]
    assert [one.name for one in excluded] == list(spoilt.images.ids[:2])


def test_train_uses_what_the_page_shows_after_the_decisions_were_removed(spoilt: Opened) -> None:
    count = len(spoilt.images)
    health.decided(spoilt).exclude(np.array([0]), "dark")
    assert len(health.to_train(spoilt)[0].images) == count - 1
    shutil.rmtree(exclusions.home())
    assert health.decided(spoilt).kept.all()
    assert health.to_train(spoilt) == (spoilt, ())
    health.decided(spoilt).exclude(np.array([1, 2]), "blank")  # the first row once more
    opened, excluded = health.to_train(spoilt)
    assert opened.images.ids == (spoilt.images.ids[0], *spoilt.images.ids[3:])
    assert [one.name for one in excluded] == list(spoilt.images.ids[1:3])
    assert health.to_train(spoilt)[0] is opened


def test_nothing_is_said_where_nothing_is_left_out(spoilt: Opened, visit: Visit) -> None:
    at = with_source(visit("dataset"), spoilt)
    at.switch_page("../pages/train.py").run()
    assert f"**{len(spoilt.images):,} images** of" in texts(at)
    assert "left out" not in texts(at)


def test_one_image_that_is_left_cannot_be_trained_on(spoilt: Opened, visit: Visit) -> None:
    decided = Exclusions(spoilt.images)
    decided.exclude(np.arange(1, len(spoilt.images)), "dark")
    decided.close()
    at = with_source(visit("dataset"), spoilt)
    at.switch_page("../pages/train.py").run()
    assert f"1 of the {len(spoilt.images)} images is kept" in at.error[0].value
    assert not [one for one in at.button if one.label == "Start training"]


def test_the_run_shows_what_was_left_out(finished: RunFolder, visit: Visit, few_digits: Opened) -> None:
    assert finished.card().excluded == ()
    assert not [one for one in visit("train", run="demo").expander if "left out" in one.label]
    decided = Exclusions(few_digits.images)
    decided.exclude(np.array([3]), "blank")
    opened, excluded = health.to_train(few_digits)
    create_run(runs.workspace() / "less", opened, finished.card().config, excluded)
    decided.close()
    at = visit("train", run="less")
    assert "1 image was left out before training" in [one.label for one in at.expander]
    assert at.dataframe[-1].value.values.tolist() == [[few_digits.images.ids[3], "blank"]]


# -- sentences ---------------------------------------------------------------------------------


def found(*images: int, groups: tuple[int, ...] = ()) -> Finding:
    values = np.arange(len(images), dtype=np.float32)
    return Finding(np.array(images, np.int32), values, np.array(groups, np.int32))


def test_counts_say_what_a_click_would_still_leave_out() -> None:
    findings: dict[Problem, Finding] = {
        "exact duplicates": found(4, 1, 2, groups=(0, 0, 0)),
        "dark": found(0, 3),
        "blank": found(),
    }
    kept = np.array([True, False, True, False, True])
    counts = present.counts(Health(5, True, findings), kept)
    assert [(one.problem, one.images, one.open) for one in counts] == [("exact duplicates", 3, 1), ("dark", 2, 1)]
    kept[2] = False
    assert present.counts(Health(5, True, findings), kept)[0].label == "Exact duplicates 3 ✓"


def test_groups_are_told_apart_and_their_best_is_named() -> None:
    finding = found(7, 1, 5, 6, groups=(0, 0, 1, 1))
    names = [f"{index}.png" for index in range(8)]
    shown = present.tiles("near duplicates", finding, slice(0, 4), names, {1: "by hand"})
    assert [one.caption for one in shown] == ["1 · best", "left out", "2 · best", "2"]
    assert shown[0].colour == shown[1].colour != shown[2].colour
    assert shown[1].title.splitlines()[-1] == "left out: by hand"
    assert present.tiles("near duplicates", finding, slice(1, 2), names, {})[0].caption == "1"


def test_near_duplicates_are_said_to_be_none_only_where_no_pair_comes_close() -> None:
    findings: dict[Problem, Finding] = {"near duplicates": found(), "dark": found()}
    assert present.nothing_found(Health(5, True, findings)) == "Nothing found: near duplicates, dark."
    pairs = NearDuplicates(np.array([[0, 1]], np.int32), np.array([1.1], np.float32))
    close = Health(5, True, findings, pairs, np.arange(5, dtype=np.int32))
    assert present.nothing_found(close) == "Nothing found: dark."
    assert [one.label for one in present.counts(close, np.ones(5, bool))] == ["Near duplicates 0"]


def test_groups_that_were_opened_are_told_by_any_of_their_images() -> None:
    finding = found(7, 1, 5, 6, 2, 3, groups=(0, 0, 1, 1, 2, 2))
    assert present.opened_groups(finding, {6, 7, 9}).tolist() == [0, 1]
    assert present.in_groups(finding, np.array([1])).images.tolist() == [5, 6]
    assert present.beside(finding, 6) == [5]
    assert present.beside(finding, 9) == []
    assert present.beside(found(3), 3) == []


def test_the_best_of_near_duplicates_is_what_the_others_differ_from() -> None:
    finding = found(7, 1, 5, 6, groups=(0, 0, 1, 1))
    said = [present.measured_at("near duplicates", finding, place) for place in range(4)]
    best, differs = "the best of its group", "differs by {:.2f} from the best of its group"
    assert said == [best, differs.format(1), best, differs.format(3)]
    assert present.measured_at("exact duplicates", finding, 0) == "every pixel the same"
