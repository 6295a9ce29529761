"""What a report says is what the run's folder, its decisions and the pages say."""

from __future__ import annotations

import contextlib
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from engine.curate.decisions import AUDIT
from engine.curate.provenance import Provenance
from engine.data.thumbnail_store import ThumbnailStore
from engine.errors import RunError
from engine.events import StageStarted
from engine.exports.label_table import export_table, exported
from engine.health.reports import health_of as examined
from engine.lesson.bundle import unpacked
from engine.report.labels import colour_of
from engine.runs.create import create_run
from engine.runs.folder import RunFolder
from engine.runs.results import decision_log, load_strict, observe, summary
from engine.shares import percent
from engine.sources.open_source import open_source
from engine.terms import REASONS, SETTING_GROUPS
from spice_explorer.palette import VERDICTS, cluster_colour
from spice_explorer.present import progress, prototypes, reliability, settings
from spice_explorer.present.names import Names
from tests.report.made import decide, digits, labels, made
from tests.report.made import said as contents
from tests.tiny_runs import tiny_config


def test_counts_by_verdict_are_those_of_the_strict_verdict(run: RunFolder) -> None:
    said, strict = contents(run), load_strict(run, "joint")
    assert sum(said.counts or ()) == 300
    assert said.counts == reliability.split(strict.labels, strict.verdicts).by_reason
    for cluster in said.clusters:
        mine = strict.verdicts[strict.labels == cluster.number]
        assert cluster.counts == tuple(np.bincount(mine, minlength=len(REASONS)))
        assert cluster.size == len(mine)
    confident = np.asarray(run.load("heads")["confident"])
    none = np.zeros(confident.shape, bool)
    page = prototypes.overview(strict.labels, strict.mask, confident, none, none)
    assert [one.size for one in said.clusters] == page.sizes.tolist()
    assert [one.reliable for one in said.clusters] == page.reliable.tolist()
    assert said.figures[2].value == percent(page.reliable.sum() / 300)
    for cluster in said.clusters:  # each of them the surest, in order
        assert cluster.forming == tuple(confident[cluster.number][:10])


def test_what_only_a_lowered_threshold_lets_pass_is_not_reliable(run: RunFolder) -> None:
    """The saved verdict says so of each of them, the report of none that lacks agreement."""
    judged = {name: np.array(values) for name, values in run.load("reliable-joint").items()}
    judged["verdicts"] = np.zeros_like(judged["verdicts"])
    run.save("reliable-joint", judged)
    low = (judged["agreement"] < np.float32(0.9)) | (judged["confidence"] < np.float32(0.8))
    assert (contents(run).counts or ())[0] == np.count_nonzero(~low)


def test_the_map_has_every_image_at_its_place_with_its_class(run: RunFolder) -> None:
    decide(run, "relabel", [17], class_=4)
    decide(run, "exclude", [5])
    said = contents(run)
    kept = np.delete(np.arange(300), 5)
    points = unpacked(said.map["points"]) / 65535
    from_folder = next((run.path / "maps").iterdir()) / "points.npy"
    places = np.load(from_folder)[kept]
    span = (places.max(0) - places.min(0)).max()
    apart = (places - places[0]) / span
    assert np.abs((points - points[0]) - apart).max() < 1e-4
    classes = load_strict(run, "joint").labels.copy()
    classes[17] = 4
    assert unpacked(said.map["classes"]).tolist() == classes[kept].tolist()
    assert unpacked(said.map["verdicts"]).tolist() == load_strict(run, "joint").verdicts[kept].tolist()
    assert said.map["kind"] == "umap"
    assert said.map["names"] == [run.images().names[one] for one in kept]
    assert [one["colour"] for one in said.map["reasons"]] == list(VERDICTS)
    assert not {5} & {image for one in said.clusters for image in (*one.typical, *one.forming)}


def test_a_large_run_has_pictures_of_a_sample_with_equal_shares(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.lesson.bundle.Cast.__init__.__defaults__", (100,))
    said = contents(made(tmp_path / "run"))
    pictured, classes = unpacked(said.map["pictured"]), unpacked(said.map["classes"])
    assert len(pictured) == len(set(pictured.tolist())) == len(said.map["names"]) == said.map["sprite"]["count"] == 100
    sizes = np.bincount(classes, minlength=10) / 3
    assert np.abs(np.bincount(classes[pictured], minlength=10) - sizes).max() <= 1
    names = RunFolder(tmp_path / "run").images().names
    assert said.map["names"] == [names[one] for one in pictured.tolist()]


def test_names_and_colours_are_those_of_the_pages(run: RunFolder) -> None:
    decide(run, "rename", class_=3, text="threes")
    decide(run, "merge", class_=3, other=7)
    decide(run, "recolour", class_=2, text="#123456")
    said = contents(run)
    with contextlib.closing(decision_log(run)) as log:
        called = Names.of(log.curation)
    assert [one.title for one in said.clusters] == [called.title(one) for one in range(10)]
    assert said.clusters[7].title == "threes (cluster 7)"
    assert [one.colour for one in said.clusters[:4]] == [*map(cluster_colour, (0, 1)), "#123456", cluster_colour(3)]
    found = labels(run)
    assert {colour_of(one) for one in found.curation.classes} == {one["colour"] for one in said.map["legend"]}
    assert said.people.classes[3].name == "threes"
    assert said.people.classes[3].images == np.isin(found.labels, (3, 7)).sum()


def test_decisions_count_as_they_stand_after_an_undo(run: RunFolder) -> None:
    decide(run, "accept", [10])
    decide(run, "accept", [11, 12, 13], who="Bob", provenance=Provenance.BULK)
    decide(run, "accept", [20], provenance=Provenance.VOTED)
    decide(run, "reject", [30])
    undone = decide(run, "exclude", [40, 41])
    assert contents(run).people.left_out == 2
    decide(run, "undo", target=undone)
    found = contents(run).people
    assert (found.decided, found.rejected, found.left_out, found.disputed) == (5, 1, 0, 0)
    assert {one.name: one.images for one in found.givers} == {"seen": 1, "bulk": 3, "voted": 1, "model": 295}
    ann, bob = sorted(found.reviewers, key=lambda one: one.name)
    assert (ann.name, ann.seen, ann.bulk, ann.voted, ann.rejected, ann.left_out) == ("Ann", 1, 0, 1, 1, 0)
    assert (bob.name, bob.seen, bob.bulk, bob.voted, bob.rejected, bob.left_out) == ("Bob", 0, 3, 0, 0, 0)
    assert found.classes == ()


def test_who_gave_labels_is_what_the_exported_table_says(run: RunFolder) -> None:
    """Also where training had to follow decisions of the parent run."""
    taught, seen = np.isin(np.arange(300), [50, 51, 52]), np.arange(300) == 51
    said = {"labels": np.zeros(300, np.int64), "taught": taught, "refused": np.zeros(300, bool), "seen": seen}
    run.save("decided", said)
    decide(run, "accept", [10, 52])
    decide(run, "exclude", [11])
    with contextlib.closing(decision_log(run)) as log:
        table, _ = exported(export_table(run, observe(run), log.curation))
    counts = table["provenance"].value_counts().to_dict()
    assert counts == {"model": 295, "seen": 3, "bulk": 1}
    assert {one.name: one.images for one in contents(run).people.givers if one.images} == counts


def test_answers_measure_with_an_interval_only_where_they_are_random(run: RunFolder) -> None:
    said = contents(run).quality.measured
    assert len(said) == 1
    assert said[0].startswith("Nobody has measured these labels yet")
    for image in range(31):
        decide(run, "accept", [image])
    counted = contents(run).quality.measured[0]
    assert counted.startswith("Of all labels, people looked at 31: 31 are right. These were not drawn at random")
    for image in range(40, 80):
        decide(run, "reject" if image == 77 else "accept", [image], text=AUDIT, among=1)
    said = contents(run)
    estimate = labels(run).measured.estimate
    assert estimate is not None
    assert estimate.answers == 40
    assert (
        f"about {percent(estimate.value)} are right (95\xa0% interval: {percent(estimate.low)} to "
        in said.quality.measured[0]
    )
    assert said.figures[3].value == percent(estimate.value)
    assert said.quality.estimate == ""  # an answer takes the place of the estimate, as on the page


def test_scores_are_those_of_the_page(run: RunFolder) -> None:
    said, snapshot = contents(run).quality, observe(run)
    for place, stage in enumerate(progress.label_free(snapshot)):
        assert {one.name: one.value for one in stage.scores} == {
            one.name: one.values[place] for one in said.scores.scores
        }
    assert said.truth is not None
    for place, stage in enumerate(progress.against_truth(snapshot)):
        page = {one.name: one.value for one in stage.scores}
        for score in said.truth.scores:
            assert score.values[place] == page[score.name]
    assert said.purity == percent(summary(run, snapshot)["truth"]["reliable_purity"])


def test_without_truth_nothing_is_said_about_accuracy(tmp_path: Path) -> None:
    said = contents(made(tmp_path / "run", truth=False)).quality
    assert (said.truth, said.purity) == (None, "")
    assert said.estimate.endswith("%")


def test_settings_are_all_there_next_to_the_papers(run: RunFolder) -> None:
    found, config = contents(run).settings, run.card().config
    page = settings.groups(config, {})
    assert [one.title for one in found] == [title for _, title in SETTING_GROUPS]
    for group, other in zip(found, page, strict=True):
        assert [one.name for one in group.values] == [one.label for one in other.fields]
        for value, field in zip(group.values, other.fields, strict=True):
            assert value.value == ("automatic" if field.value is None else settings.plain(field.value))
            assert not value.paper or f"Paper: {value.paper}" in field.help
    (epochs,) = [one for one in found[0].values if one.name == "epochs"]
    assert (epochs.value, epochs.paper, epochs.differs) == ("12", "1,000", True)


def test_the_health_of_the_source(run: RunFolder) -> None:
    found = contents(run).health
    assert (found.same, found.groups) == (2, 1)  # image 1 is a copy of image 0
    assert [(one.reason, one.images) for one in found.skipped] == [("not an image", 2)]
    assert found.findings is None
    opened = digits(300)
    report = examined(replace(opened, images=run.images()))
    found = contents(run).health
    assert found.findings is not None
    assert dict(found.findings) == {name: len(one.images) for name, one in report.findings.items()}
    assert dict(found.findings)["exact duplicates"] == 2


# -- states --------------------------------------------------------------------------------------


def test_before_stage_1_is_done_it_is_refused(tmp_path: Path) -> None:
    folder = create_run(tmp_path / "new", digits(60), tiny_config(clusters=10))
    with pytest.raises(RunError, match="nothing to report yet: train until stage 1 is done"):
        contents(folder)


def test_after_stage_1_alone_it_shows_k_means_and_says_so(tmp_path: Path) -> None:
    folder = made(tmp_path / "run", stages=1, umap=False)
    said = contents(folder)
    assert "Only stage 1 is done" in " ".join(said.notices)
    assert said.counts is None
    assert said.shown.forming == 0
    kmeans = np.asarray(folder.load("features")["labels"])
    assert [one.size for one in said.clusters] == np.bincount(kmeans).tolist()
    assert said.map["verdicts"] is None
    assert {kmeans[image] for one in said.clusters[3:4] for image in one.typical} == {3}
    assert [one.images for one in said.people.givers if one.name == "model"] == [300]


def test_while_it_trains_the_last_finished_stage_is_shown(tmp_path: Path) -> None:
    folder = made(tmp_path / "run", stages=2)
    folder.append(StageStarted("joint", 100))
    with folder.lock():
        said = contents(folder).notices[0]
    assert said == "The run is still training. This report shows stage 2, the last one that is finished."
    assert contents(folder).notices[0].startswith("The run is interrupted. This report shows stage 2")


def test_without_a_umap_principal_components_are_shown_and_that_is_said(tmp_path: Path) -> None:
    said = contents(made(tmp_path / "run", umap=False))
    assert said.map["kind"] == "pca"
    assert "no UMAP of this run has been made" in said.notices[-1]
    assert np.unique(unpacked(said.map["points"]), axis=0).shape[0] == 299  # all but the one copy


def test_one_class_is_left(run: RunFolder) -> None:
    for other in range(1, 10):
        decide(run, "merge", class_=0, other=other)
    said = contents(run)
    assert len(said.map["legend"]) == 1
    assert not unpacked(said.map["classes"]).any()
    assert said.figures[1].note == "1 class as people left it"


def test_pictures_are_whole_thumbnails_while_they_are_kept_and_else_the_pixels(pictures_run: RunFolder) -> None:
    """Also when the originals are gone: they are never read."""
    origin = pictures_run.card().origin
    assert origin is not None
    shutil.rmtree(origin.text.removeprefix("folder:"))
    said = contents(pictures_run)
    assert all(one.startswith("data:image/jpeg") for one in said.shown.addresses.values())
    assert said.map["sprite"]["width"] == 64
    ThumbnailStore(origin.place).path.unlink()
    said = contents(pictures_run)
    assert all(one.startswith("data:image/png") for one in said.shown.addresses.values())
    assert said.map["sprite"]["width"] == 16


@pytest.fixture
def pictures_run(tmp_path: Path) -> RunFolder:
    """A run on 12 photographs of 120 × 80 pixels, scaled to 16, after stage 1."""
    from PIL import Image

    place = tmp_path / "photographs"
    place.mkdir()
    rng = np.random.default_rng(0)
    for number in range(12):
        blocks = rng.integers(0, 255, (2, 3, 3), dtype=np.uint8).repeat(40, 0).repeat(40, 1)
        Image.fromarray(blocks).save(place / f"{number}.png")
    folder = create_run(tmp_path / "run", open_source(f"folder:{place}", size=16), tiny_config(clusters=3))
    folder.save("features", {"vectors": rng.normal(size=(12, 4)).astype(np.float32), "labels": np.arange(12) % 3})
    return folder
