"""What pages show, for numbers that can be checked by hand."""

from __future__ import annotations

import ast
import io
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import get_args, get_type_hints

import numpy as np
import pytest
import torch
from PIL import Image

from engine.config import FeatureSettings, RunConfig, override, with_setting
from engine.curate.audit import Estimate
from engine.curate.measured import Measured
from engine.data.contact_sheet import contact_sheet
from engine.events import (
    Event,
    Progress,
    Record,
    ReliableSelected,
    RunStarted,
    RunStopped,
    StageFinished,
    StageSkipped,
    StageStarted,
    TruthScored,
)
from engine.presets import preset
from engine.runs.runner import choose_device
from engine.runs.snapshot import Snapshot, fold
from engine.shares import percent
from spice_explorer import charts, palette
from spice_explorer.present import curation, dataset, export, gallery, progress, settings, sprites
from tests.app.conftest import NBSP, ROOT

# -- progress ----------------------------------------------------------------------------------


def halfway():
    events = [
        RunStarted("cpu", 1),
        StageStarted("features", 10),
        StageFinished("features", 61.0),
        StageStarted("heads", 20),
        Progress("heads", 5, 100.0, {"loss": 2.0}, (3, 1)),
    ]
    return fold(Record(float(time), event) for time, event in enumerate(events))


def test_several_gpus_are_told_by_their_numbers_and_one_is_not() -> None:
    assert list(settings.devices(0)) == list(settings.devices(1)) == ["auto", "cpu", "cuda", "mps"]
    many = settings.devices(3)
    assert list(many)[4:] == ["cuda:0", "cuda:1", "cuda:2"]
    assert many["cuda:1"] == "GPU 1 (CUDA)"


def test_steps_say_how_far_each_stage_is() -> None:
    features, heads, reliable, joint = progress.steps(halfway(), pace=0.5)
    assert (features.status, features.detail) == ("done", "done in 1@min 01@s".replace("@", NBSP))
    assert (heads.status, heads.fraction) == ("active", 0.25)
    assert heads.detail == "5 of 20 steps · 30@s left".replace("@", NBSP)
    assert (reliable.status, joint.status) == ("waiting", "waiting")


def test_a_skipped_stage_says_why_and_not_that_it_waits() -> None:
    without = fold([Record(9.0, StageSkipped("joint", "there is no network"))], halfway())
    joint = progress.steps(without, None)[3]
    assert (joint.status, joint.detail) == ("skipped", "skipped: there is no network")
    far = [progress.how_far(view) for view in without.stages.values()]
    assert far == ["100\N{NO-BREAK SPACE}%", "25\N{NO-BREAK SPACE}%", "skipped"]


def test_a_reliable_set_is_a_step_of_its_own() -> None:
    found = ReliableSelected("heads", (1, 1), (3, 1), (0.9, 0.9), 3, 0.9, reliable=(1, 1))
    snapshot = fold([Record(9.0, found)], halfway())
    assert progress.steps(snapshot, None)[2].detail == "2 of 4 (50\N{NO-BREAK SPACE}%)"
    assert progress.sizes_of(snapshot) == ("Stage 2 · heads", (3, 1), (1, 1))


def test_what_only_a_lowered_threshold_lets_pass_is_trained_on_but_not_counted_as_reliable() -> None:
    found = ReliableSelected("heads", (3, 1), (6, 2), (0.5, 0.9), 3, 0.9, 0.75, (1, 1), 1.0)
    snapshot = fold([Record(9.0, found), Record(9.0, TruthScored("heads", {"acc": 0.5}))])
    detail = progress.steps(snapshot, None)[2].detail
    assert detail == "2 of 8 (25\N{NO-BREAK SPACE}%); 2 more are trained on, some relaxed to agreement 0.50"
    assert progress.sizes_of(snapshot) == ("Stage 2 · heads", (6, 2), (1, 1))
    shown = {one.name: one.value for one in progress.against_truth(snapshot)[0].scores}
    assert shown["purity of the reliable set"] == "100.0\N{NO-BREAK SPACE}%"
    assert shown["purity of all labels trained on"] == "75.0\N{NO-BREAK SPACE}%"


def test_of_an_earlier_versions_run_it_says_what_was_trained_on() -> None:
    found = ReliableSelected("heads", (3, 1), (6, 2), (0.9, 0.9), 3, 0.9, 0.75)
    snapshot = fold([Record(9.0, found), Record(9.0, TruthScored("heads", {"acc": 0.5}))])
    assert progress.steps(snapshot, None)[2].detail == "4 of 8 (50\N{NO-BREAK SPACE}%) are trained on"
    assert progress.sizes_of(snapshot) == ("Stage 2 · heads", (6, 2), None)
    shown = {one.name: one.value for one in progress.against_truth(snapshot)[0].scores}
    assert shown == {"ACC": "50.0\N{NO-BREAK SPACE}%", "purity of all labels trained on": "75.0\N{NO-BREAK SPACE}%"}


def test_the_state_names_the_stage() -> None:
    assert progress.short_state(halfway()) == "running · stage 2, 25\N{NO-BREAK SPACE}%"


@pytest.mark.parametrize(("seconds", "text"), [(8.4, "8@s"), (200, "3@min 20@s"), (7500, "2@h 05@min")])
def test_durations_read_well(seconds: float, text: str) -> None:
    assert progress.duration(seconds) == text.replace("@", NBSP)


def test_curves_are_split_by_loss() -> None:
    view = halfway().stages["heads"]
    assert progress.curves(view) == {"loss": ([5], [2.0])}


def unmoved(*more: Event) -> Snapshot:
    """A run that keeps a trained encoder unchanged: stage 1 has nothing to do."""
    events = [RunStarted("cpu", 1), StageStarted("features", 0), *more]
    return fold(Record(float(time), event) for time, event in enumerate(events))


def test_a_stage_without_steps_is_kept_as_it_came() -> None:
    done = unmoved(StageFinished("features", 0.0))
    features = progress.steps(done, pace=2.0)[0]
    assert (features.status, features.fraction) == ("done", 1.0)
    assert features.detail == "kept frozen"
    assert progress.short_state(done) == "running · stage 1, 100\N{NO-BREAK SPACE}%"
    assert "computes the features of every image" in progress.now(done, FeatureSettings(objective="simclr"))


def test_a_stage_without_steps_that_was_cut_off_has_not_got_anywhere() -> None:
    features = progress.steps(unmoved(), pace=2.0)[0]
    assert (features.status, features.fraction) == ("waiting", 0.0)
    assert progress.short_state(unmoved()) == "running · stage 1, 0\N{NO-BREAK SPACE}%"


def test_a_stage_without_steps_has_an_empty_curve() -> None:
    view = unmoved(StageFinished("features", 0.0)).stages["features"]
    figure = charts.losses(progress.curves(view), view.steps)
    assert not figure.data
    assert figure.layout.xaxis.range[1] > 0


def test_what_happens_now_is_told_as_the_objective_has_it() -> None:
    training = unmoved(StageStarted("features", 9))
    moco, byol = (FeatureSettings(objective=each) for each in ("moco", "byol"))
    assert "views of different images pushed apart" in progress.now(training, moco)
    assert "predicts the features that a slower" in progress.now(training, byol)
    imported = FeatureSettings(source="import:v.npy")
    assert "the external vectors are clustered" in progress.now(training, imported)
    jointly = fold([Record(9.0, StageStarted("joint", 5))], training)
    assert "an adapter on the external vectors" in progress.now(jointly, imported)
    assert "encoder and head train together" in progress.now(jointly, FeatureSettings())
    assert progress.now(unmoved(RunStopped()), moco) == ""


@pytest.mark.parametrize("objective", get_args(get_type_hints(FeatureSettings)["objective"]))
def test_every_objective_has_its_words(objective: str) -> None:
    assert objective in progress.FEATURES_NOW


@pytest.mark.parametrize("trouble", ["", "the driver is too old"])
def test_only_a_gpu_that_does_not_work_is_told(trouble: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> bool:
        if trouble:
            warnings.warn(trouble, stacklevel=1)
        return False

    monkeypatch.setattr(torch.cuda, "is_available", missing)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    note = choose_device("auto").note
    assert note.endswith("training on the CPU")
    assert progress.broken_gpu(note) == bool(trouble)
    assert not progress.broken_gpu(choose_device("cpu").note)


# -- settings ----------------------------------------------------------------------------------


def form_fields(config: RunConfig, encoders: tuple[str, ...] = ()) -> dict[str, settings.Field]:
    texts = {"features.source": ("scratch", *encoders)}
    return {field.name: field for group in settings.groups(config, texts) for field in group.fields}


def test_the_form_has_every_setting_of_the_engine() -> None:
    config = preset("quick", clusters=3, channels=3)
    names = set(form_fields(config))
    assert names == set(settings.flat(config)) - {"clusters", "seed", "preset"}


def test_a_field_says_meaning_paper_and_range() -> None:
    config = preset("quick", clusters=3, channels=3)
    fields = form_fields(config)
    assert fields["heads.passes"].help == "Passes over the pseudo-labels per M-step · Paper: 8 · at least 1"
    assert fields["reliable.neighbors"].optional
    assert fields["heads.double_softmax"].kind == "switch"
    assert fields["heads.start"].options == ("random", "kmeans", "neighbors")
    assert fields["features.hidden"].optional
    assert fields["features.hidden"].kind == "whole"


def test_where_the_encoder_comes_from_is_chosen_from_a_list() -> None:
    field = form_fields(preset("quick", clusters=3, channels=3), ("encoder:stl",))["features.source"]
    assert (field.kind, field.value) == ("choice", "scratch")
    assert field.options == ("scratch", "encoder:stl")


def test_an_encoder_whose_file_is_gone_stays_a_choice() -> None:
    gone = with_setting(preset("quick", clusters=3, channels=3), "features.source", "encoder:gone")
    field = form_fields(gone, ("encoder:stl",))["features.source"]
    assert field.options == ("scratch", "encoder:stl", "encoder:gone")
    assert field.value == "encoder:gone"


def test_only_texts_may_be_typed() -> None:
    free = {name for name, field in form_fields(preset("quick", clusters=3, channels=3)).items() if field.free}
    assert free == {"features.source"}


@pytest.mark.parametrize(
    ("source", "epochs", "words"),
    [
        ("scratch", 50, None),
        ("torchvision:resnet50", 0, None),
        ("torchvision:resnet50", 50, "50 passes will change the trained network"),
        ("encoder:stl", 1000, "1,000 passes will change"),
        ("import:v.npy", 50, "Not used: external vectors are taken as they are"),
    ],
)
def test_what_the_epochs_mean_depends_on_what_stage_1_begins_with(source: str, epochs: int, words: str | None) -> None:
    config = with_setting(preset("quick", clusters=3, channels=3), "features.source", source)
    advice = settings.advice(with_setting(config, "features.epochs", epochs))
    assert set(advice) == ({"features.epochs"} if words else set())
    assert (words or "") in advice.get("features.epochs", "")


def test_strong_views_of_stage_3_are_of_no_use_where_those_of_stage_2_are_kept() -> None:
    config = preset("photos", clusters=3, channels=3)
    advice = settings.advice(config)
    assert set(advice) == {name for name in form_fields(config) if name.startswith("views.joint.")}
    assert all(text.startswith("Not used") for text in advice.values())
    assert settings.advice(override(config, "features.weak_views=0", "features.strong_views=0")) == {}


def test_each_stage_has_its_own_group_of_strong_views() -> None:
    titles = {group.name: group.title for group in settings.groups(preset("paper", clusters=3, channels=3), {})}
    assert titles["views.strong"] == "Views · strong (stage 2)"
    assert titles["views.joint"] == "Views · strong (stage 3)"
    help_of = {name: field.help for name, field in form_fields(preset("quick", clusters=3, channels=3)).items()}
    assert "Paper: 0.1" in help_of["views.strong.shear"]
    assert "Paper: 0.3" in help_of["views.joint.shear"]


def test_only_changed_settings_are_applied_and_wrong_ones_are_named() -> None:
    config = preset("quick", clusters=3, channels=3)
    values = {"heads.epochs": config.heads.epochs, "joint.steps": 7, "joint.batch": 0}
    final, errors = settings.apply(config, values)
    assert final.joint.steps == 7
    assert final.joint.batch == config.joint.batch
    assert errors == {"joint.batch": "setting joint.batch: batch is 0: allowed from 1"}


@pytest.mark.parametrize("order", [1, -1])
def test_values_that_need_each_other_are_taken_in_any_order(order: int) -> None:
    config = preset("quick", clusters=3, channels=3)
    there = {"features.source": "encoder:stl", "features.epochs": 0}
    frozen, errors = settings.apply(config, dict(list(there.items())[::order]))
    assert not errors
    assert (frozen.features.source, frozen.features.epochs) == ("encoder:stl", 0)
    back = {"features.source": "scratch", "features.epochs": 5}
    trained, errors = settings.apply(frozen, dict(list(back.items())[::order]))
    assert not errors
    assert (trained.features.source, trained.features.epochs) == ("scratch", 5)


def test_no_epochs_from_scratch_are_refused_whichever_came_first() -> None:
    config = preset("quick", clusters=3, channels=3)
    _, errors = settings.apply(config, {"features.epochs": 0})
    assert "the encoder starts with random weights" in errors["features.epochs"]
    frozen, _ = settings.apply(config, {"features.epochs": 0, "features.source": "encoder:stl"})
    final, errors = settings.apply(frozen, {"features.source": "scratch"})
    assert "the encoder starts with random weights" in errors["features.source"]
    assert final == frozen


@pytest.mark.parametrize(("value", "step"), [(0.015, 0.001), (1e-4, 1e-5), (0.0, 0.05), (1.0, 0.1)])
def test_steps_fit_the_size_of_a_setting(value: float, step: float) -> None:
    assert settings.fine_step(value) == pytest.approx(step)


# -- gallery and sprites -----------------------------------------------------------------------


def decoded(body: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(body)))


def test_a_tiny_image_is_kept_to_the_pixel() -> None:
    pixels = np.arange(64, dtype=np.uint8).reshape(1, 8, 8)
    assert np.array_equal(decoded(gallery.webp(pixels, 96))[..., 0], pixels[0])


def test_a_large_image_becomes_a_small_webp() -> None:
    body = gallery.webp(np.zeros((3, 300, 200), np.uint8), 96)
    assert Image.open(io.BytesIO(body)).format == "WEBP"
    assert decoded(body).shape == (96, 64, 3)


def test_a_tile_says_what_is_known() -> None:
    known = gallery.Known(
        np.zeros((2, 1, 8, 8), np.uint8),
        ["a", "b"],
        np.array([1, 0]),
        np.array([0.5, 0.875]),
        np.array([1.0, 0.25]),
        np.array([0, 1]),
        ("cat", "dog"),
    )
    (tile,) = gallery.described(known, [1])
    assert tile.title == "b\ncluster 0\nconfidence 0.875\nagreement 0.25\ntruth: dog"
    assert tile.caption == "0 · 0.88 · 0.25"
    assert tile.colour == palette.cluster_colour(0)


@pytest.mark.parametrize(("count", "pages"), [(0, 1), (96, 1), (97, 2)])
def test_pages_of_a_gallery(count: int, pages: int) -> None:
    assert gallery.pages(count, 96) == pages


def test_a_sheet_holds_images_row_after_row() -> None:
    pixels = np.zeros((40, 1, 2, 2), np.uint8)
    pixels[33] = 200  # second row, second column
    sheet = np.asarray(contact_sheet(pixels, 32))
    assert sheet.shape == (4, 64)
    assert sheet[2:4, 2:4].min() == 200
    assert sheet.sum() == 4 * 200
    assert sprites.sheets(1025) == 2
    assert sprites.ids_of(1, 1025) == slice(1024, 1025)


# -- dataset, export, colours ------------------------------------------------------------------


def test_a_sample_of_a_dataset_is_always_the_same() -> None:
    assert dataset.sample(100, 5).tolist() == dataset.sample(100, 5).tolist()
    assert dataset.sample(3, 5).tolist() == [0, 1, 2]


def test_classes_without_an_image_are_counted_too() -> None:
    assert dataset.class_balance(np.array([0, 2]), ("a", "b", "c"))["images"].tolist() == [1, 0, 1]


def test_rows_to_export() -> None:
    import pandas as pd

    table = pd.DataFrame({"id": list("abc"), "reliable": [True, False, True]})
    assert export.chosen(table, "reliable only")[0]["id"].tolist() == ["a", "c"]
    assert export.chosen(table, "selected images", np.array([1]))[0]["id"].tolist() == ["b"]
    assert export.file_name("demo", "all") == "demo-labels.csv"


def test_no_rows_to_export_are_of_images_that_were_left_out() -> None:
    import pandas as pd

    decisions = ["", "decided", "rejected", "excluded", "excluded", "disputed"]
    table = pd.DataFrame({"id": list("abcdef"), "reliable": [True] * 4 + [False, True], "decision": decisions})

    def rows(kind: export.Rows, *selected: int) -> tuple[str, str]:
        found, dropped = export.chosen(table, kind, np.array(selected, int))
        return "".join(found["id"]), export.dropped_words(dropped)

    assert rows("all") == ("abcf", "Not in the file: images that were left out (2).")
    assert rows("reliable only") == (
        "abf",
        "Not in the file: images that were left out (1) and images whose class was rejected as wrong (1).",
    )
    assert rows("decided only") == ("b", "")
    assert rows("selected images", 2, 3) == ("c", "Not in the file: images that were left out (1).")
    assert rows("selected images", 0) == ("a", "")


def test_every_column_of_the_label_table_is_explained() -> None:
    assert "" not in export.columns_table(list(export.COLUMNS))["meaning"].tolist()


PROTANOPIA = ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998))
DEUTERANOPIA = ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.011820, 0.042940, 0.968881))
TO_LMS = (
    (0.4122214708, 0.5363325363, 0.0514459929),
    (0.2119034982, 0.6806995451, 0.1073969566),
    (0.0883024619, 0.2817188376, 0.6299787005),
)
TO_LAB = (
    (0.2104542553, 0.7936177850, -0.0040720468),
    (1.9779984951, -2.4285922050, 0.4505937099),
    (0.0259040371, 0.7827717662, -0.8086757660),
)


def oklab(linear: np.ndarray) -> np.ndarray:
    return np.cbrt(np.clip(linear @ np.array(TO_LMS).T, 0, None)) @ np.array(TO_LAB).T


@pytest.mark.parametrize("sight", [np.eye(3), np.array(PROTANOPIA), np.array(DEUTERANOPIA)])
def test_ten_clusters_can_be_told_apart_by_every_sight(sight: np.ndarray) -> None:
    """Machado, Oliveira and Fernandes (2009), complete deficiency; distances in OKLab."""
    srgb = np.array([[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in palette.CLUSTERS[:10]]) / 255
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    places = oklab(np.clip(linear @ sight.T, 0, 1))
    far = np.linalg.norm(places[:, None] - places[None], axis=2)
    assert far[~np.eye(10, dtype=bool)].min() > 0.07


def test_a_cluster_keeps_its_colour_whatever_k_is() -> None:
    assert palette.cluster_colours(3) == palette.cluster_colours(300)[:3]


# -- figures and their units -------------------------------------------------------------------


def test_no_line_break_comes_between_a_figure_and_its_unit() -> None:
    found = Estimate(0.904, 0.8, 0.95, 40)
    figures = {
        percent(0.904): "90.4@%",
        percent(0.904, 0): "90@%",
        curation.interval(24, 25, 0.8, 0.99): "96.0@% (24 of 25; 80 – 99@%)",
        curation.estimate(found): "about 90.4@% (80 – 95@%)",
        curation.measured(Measured(36, 40, found)): "about 90.4@% (80 – 95@%) right, measured with 40 random answers",
        curation.measured_shortly(Measured(36, 40, found)): "of all reliable about 90.4@% (80 – 95@%) right",
        progress.duration(200): "3@min 20@s",
    }
    assert list(figures) == [one.replace("@", NBSP) for one in figures.values()]
    assert percent(None) == "–"


def shown_in(path: Path) -> Iterator[str]:
    """The texts in a file, with 0 for each value that is filled in, without comments and docstrings."""
    code = path.read_text("utf-8")
    if path.suffix == ".js":
        filled = re.sub(r"\$\{[^}]*\}+", "0", re.sub(r"(?m)^\s*(//|\*).*$", "", code))
        yield from re.findall(r"`[^`]*`|\"[^\"\n]*\"", filled)
        return
    tree = ast.parse(code)
    said = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield "".join(str(one.value) if isinstance(one, ast.Constant) else "0" for one in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in said:
            yield node.value


def test_no_text_of_a_page_has_a_plain_space_before_a_percent_sign() -> None:
    folders = [ROOT / name for name in ("spice_explorer", "pages", "assets", "engine/lesson")]
    files = [one for folder in folders for end in ("py", "js") for one in folder.rglob(f"*.{end}")]
    texts = [text for one in files for text in shown_in(one)]
    assert [text for text in texts if f"0{NBSP}%" in text], "where a value is filled in"
    assert [text for text in texts if re.search(r"\d %(?![\w(])", text)] == []
