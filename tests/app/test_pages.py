"""Every page in every state of a run, with Streamlit's test harness."""

from __future__ import annotations

import html
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from PIL import Image
from streamlit.testing.v1 import AppTest
from streamlit.testing.v1.element_tree import NumberInput, Selectbox

from engine.config import EncoderSettings, Preset, with_setting
from engine.events import Alarm, RunQueued, RunStarted, StageFinished, StageStarted
from engine.runs.create import create_run
from engine.runs.folder import RunFolder
from engine.runs.runner import the_runner
from engine.sources.open_source import Opened, open_source
from engine.stages import encoder_file
from engine.stages.encoder import Encoder
from engine.stages.encoder_file import pack_encoder
from spice_explorer.queries import imports, runs, training
from spice_explorer.sections.train import choices, form
from spice_explorer.web.originals import pictures_of_source
from tests.app.conftest import IMAGES, ROOT, Visit, button, galleries, texts, tiny_config, until
from tests.tiny_runs import WITHOUT_ADAPTER, unpacked

ALL = ("dataset", "train", "map", "prototypes", "reliability", "curate", "export", "learn")
NEED_LABELS = ("prototypes", "reliability", "curate", "export")


def metrics(at: AppTest) -> dict[str, str]:
    return {one.label: one.value for one in at.metric}


def number(at: AppTest, setting: str) -> NumberInput:
    return next(one for one in at.number_input if str(one.key).endswith(f"-{setting}"))


def choice(at: AppTest, setting: str) -> Selectbox:
    return next(one for one in at.selectbox if str(one.key).endswith(f"-{setting}"))


def box(at: AppTest, label: str) -> Selectbox:
    return next(one for one in at.selectbox if one.label == label)


# -- start -------------------------------------------------------------------------------------


@pytest.mark.usefixtures("workspace")
def test_the_first_paint_needs_neither_torch_nor_umap_nor_faiss() -> None:
    code = (
        "import sys\n"
        "from streamlit.testing.v1 import AppTest\n"
        f"at = AppTest.from_file({str(ROOT / 'spice_explorer' / 'app.py')!r}, default_timeout=30).run()\n"
        "assert not at.metric\n"
        "at.button(key='try digits').click().run()\n"
        "print([n for n in ('torch', 'umap', 'faiss', 'sklearn.cluster') if n in sys.modules])\n"
        "print(at.metric[0].value)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.splitlines() == ["[]", "1,797"]


@pytest.mark.parametrize("page", ["map", "prototypes", "reliability", "curate", "export"])
@pytest.mark.usefixtures("workspace")
def test_without_a_run_a_page_leads_to_train(page: str, visit: Visit) -> None:
    shown = texts(visit(page))
    assert "No run yet" in shown
    assert "Go to Train" in shown


@pytest.mark.parametrize("page", ALL)
@pytest.mark.usefixtures("failed")
def test_no_page_fails_in_any_state(page: str, visit: Visit) -> None:
    at = visit(page)
    assert "An unexpected error occurred" not in texts(at)
    assert "failed" in texts(at)  # the sidebar says so on every page


@pytest.fixture(scope="module")
def without_stage_3(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run on external vectors of an earlier version, which skipped stage 3."""
    return unpacked(WITHOUT_ADAPTER, tmp_path_factory.mktemp("imported")) / "finished"


@pytest.mark.parametrize("page", ALL)
def test_every_page_shows_a_run_that_has_no_stage_3(
    page: str, workspace: Path, without_stage_3: Path, visit: Visit
) -> None:
    shutil.copytree(without_stage_3, workspace / "imported")
    at = visit(page)
    assert not at.error
    assert "An unexpected error occurred" not in texts(at)
    assert "Stage 3 · joint: skipped" in texts(at)
    words = {
        "train": "skipped: it would train the encoder, but external vectors come without one",
        "reliability": "An earlier version trained this run, without stage 3",
    }
    assert words.get(page, "") in texts(at)
    if page == "curate":
        at.segmented_control(key="curate view").set_value("Train with my decisions").run()
        assert "**3 classes**. Stages 2 and 3 learn" in texts(at)


# -- dataset -----------------------------------------------------------------------------------


@pytest.mark.usefixtures("workspace")
def test_a_newcomer_reads_what_this_is_and_opens_a_folder_or_an_example(visit: Visit) -> None:
    at = visit("dataset")
    said = texts(at)
    for words in ("sorts a folder of unlabelled images", "1. Open a folder", "2. Train", "3. Check and export"):
        assert words in said
    assert at.segmented_control(key="source kind").value == "own"
    assert at.text_input(key="source path").label == "Folder or file"
    assert metrics(at) == {}
    button(at, "Digits: 1,797 images, a minute").click().run()
    assert "1. Open a folder" not in texts(at)
    assert metrics(at)["Images"] == "1,797"
    assert metrics(at)["Size"] == "8 × 8"
    assert metrics(at)["Classes in the truth"] == "10"
    (sample,) = [one for one in galleries(at) if one["total"] == 192]
    assert (len(sample["ids"]), sample["pages"], sample["sharp"]) == (96, 2, True)


def open_folder(at: AppTest, path: Path, labels: bool = False) -> AppTest:
    at.session_state["source kind"] = "own"
    at.run()
    at.text_input(key="source path").set_value(str(path))
    at.number_input(key="source size").set_value(12)
    at.checkbox(key="source labels").set_value(labels)
    return imported(button(at, "Open").click().run())


def imported(at: AppTest) -> AppTest:
    """The page after its import has ended."""
    asked = at.session_state["import"]
    while asked is not None and (job := imports.look(asked)) is not None and job.underway:
        time.sleep(0.01)
    return at.run()


@pytest.mark.usefixtures("workspace")
def test_how_images_become_squares_can_be_chosen(drawn_photos: Path, visit: Visit) -> None:
    at = visit("dataset")
    at.session_state["source kind"] = "own"
    at.run()
    at.segmented_control(key="source fit").set_value("pad")
    opened = open_folder(at, drawn_photos).session_state["opened"]
    assert opened.origin.fit == "pad"
    assert opened.images.fingerprint == open_source(str(drawn_photos), size=12, fit="pad").images.fingerprint


@pytest.mark.usefixtures("workspace")
def test_a_folder_is_opened_with_what_was_skipped(drawn_photos: Path, tmp_path: Path, visit: Visit) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for file in list(drawn_photos.rglob("*.png"))[:5]:
        (photos / file.name).write_bytes(file.read_bytes())
    (photos / "<b>broken.png").write_bytes(b"nothing")
    at = open_folder(visit("dataset"), photos)
    assert metrics(at) == {"Images": "5", "Size": "12 × 12", "Colours": "colour", "Skipped files": "1"}
    until(at, lambda at: bool(at.dataframe))  # a part of the health report, which is made in the background
    assert at.dataframe[0].value.values.tolist() == [["<b>broken.png", "not an image"]]
    assert "Ground truth" not in texts(at)
    at.switch_page("../pages/train.py").run()
    assert "**5 images**" in texts(at)


@pytest.mark.usefixtures("workspace")
def test_labels_of_subfolders_are_for_scores_only(drawn_photos: Path, visit: Visit) -> None:
    at = open_folder(visit("dataset"), drawn_photos, labels=True)
    assert metrics(at)["Classes in the truth"] == "2"
    assert "never used in training" in texts(at)


@pytest.mark.usefixtures("workspace")
def test_a_missing_folder_is_a_sentence_and_opens_nothing(visit: Visit) -> None:
    at = open_folder(visit("dataset"), Path("nowhere_at_all"))
    assert at.error[0].value.startswith("There is no folder or file nowhere\\_at\\_all\\: check the")
    assert metrics(at) == {}
    assert "1. Open a folder" in texts(at)


@pytest.mark.usefixtures("workspace")
def test_names_are_escaped_in_galleries(tmp_path: Path, visit: Visit) -> None:
    folder = tmp_path / "evil"
    folder.mkdir()
    pixels = np.random.default_rng(0).integers(0, 255, (12, 12, 3), np.uint8)
    for name in ("'onerror='alert(1)'.png", "<script>x.png"):
        Image.fromarray(pixels).save(folder / name)
    at = open_folder(visit("dataset"), folder)
    assert galleries(at)[0]["titles"] == ["'onerror='alert(1)'.png", "<script>x.png"]  # which a script shows as text
    shown = ""
    for image in range(2):
        at.session_state["sample image"] = (pictures_of_source(at.session_state["opened"]).name, image)
        shown += texts(at.run())
    assert "<script>" not in shown
    assert "&lt;script&gt;x.png" in shown
    assert "&#x27;onerror=&#x27;" in shown


# -- train -------------------------------------------------------------------------------------


@pytest.mark.usefixtures("workspace")
def test_a_newcomer_finds_the_form_with_every_setting(visit: Visit) -> None:
    at = visit("train")
    assert at.number_input(key="k-digits").value == 10
    shown = texts(at)
    assert "Smallest share of the image's area that a random crop keeps" in shown
    assert "Paper\\: 1,000" in shown
    assert not button(at, "Start training").disabled


@pytest.mark.usefixtures("workspace")
def test_a_setting_out_of_range_is_refused_beside_it(visit: Visit) -> None:
    at = visit("train")
    number(at, "features.batch").set_value(1).run()
    assert [one.value for one in at.error] == [
        "Setting features.batch\\: batch is 1\\: allowed from 2"
    ] * 2  # at the button and beside the field
    assert button(at, "Start training").disabled
    number(at, "features.batch").set_value(7).run()
    assert not at.error
    assert "features.batch = 7" in texts(at)


def test_a_warning_that_names_settings_trains_again_with_them(finished: RunFolder, visit: Visit) -> None:
    finished.append(Alarm("features", "the classes seem to differ", "estimate", {"heads.sizes": "estimated"}))
    at = visit("train", run="demo")
    assert "The classes seem to differ" in texts(at)
    button(at, "Train again with heads.sizes = estimated").click().run()
    assert not at.exception
    assert not at.error
    (name,) = set(runs.run_names()) - {"demo"}
    again = runs.folder_of(name)
    assert again.card().parent == "demo"
    assert again.card().config == with_setting(finished.card().config, "heads.sizes", "estimated")
    assert at.query_params["run"] == name
    until(at, lambda _: not runs.look(again).live)
    assert runs.look(again).snapshot.state == "finished"
    assert np.array_equal(again.load("features")["vectors"], finished.load("features")["vectors"])


@pytest.fixture
def encoders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of trained encoders, with one called photos."""
    place, network = tmp_path / "encoders", EncoderSettings(backbone="small", width=4)
    place.mkdir()
    encoder = Encoder(network, channels=3, side=8)
    (place / "photos.pt").write_bytes(pack_encoder(encoder, network, 8, {}))
    monkeypatch.setattr(training, "ENCODERS", place)
    monkeypatch.setattr(encoder_file, "FOLDER", place)
    return place


@pytest.mark.usefixtures("workspace", "encoders")
def test_a_trained_encoder_can_be_kept_as_it_is(visit: Visit) -> None:
    at = visit("train")
    number(at, "features.epochs").set_value(0).run()
    assert "the encoder starts with random weights" in at.error[0].value
    assert button(at, "Start training").disabled
    choice(at, "features.source").set_value("encoder:photos").run()
    assert not at.error
    assert not button(at, "Start training").disabled
    assert "features.source = encoder\\:photos, features.epochs = 0" in texts(at)
    choice(at, "features.source").set_value("scratch").run()
    assert button(at, "Start training").disabled


@pytest.mark.usefixtures("workspace")
def test_an_encoder_whose_file_went_away_is_refused_beside_its_field(encoders: Path, visit: Visit) -> None:
    at = visit("train")
    choice(at, "features.source").set_value("encoder:photos").run()
    (encoders / "photos.pt").unlink()
    at.run()
    assert "There is no encoder 'photos'\\: choose one of scratch" in at.error[0].value
    assert button(at, "Start training").disabled
    choice(at, "features.source").set_value("scratch").run()
    assert not at.error


def type_source(at: AppTest, text: str) -> AppTest:
    """Types the start of stage 1: Streamlit's harness can only choose listed options."""
    box = choice(at, "features.source")
    box.options.append(text)
    return box.set_value(text).run()


def test_vectors_can_be_typed_are_judged_at_once_and_train_all_three_stages(
    workspace: Path, tmp_path: Path, visit: Visit
) -> None:
    file, at = tmp_path / "vectors.npy", visit("train")
    np.save(file, np.zeros((7, 3)))
    type_source(at, f"import:{file}")
    assert "has 7 rows, but digits has 1,797 images" in at.error[0].value
    assert at.error[1].value == at.error[0].value  # below the button and beside the field
    assert button(at, "Start training").disabled
    np.save(file, open_source("digits").images.pixels.reshape(1797, -1))
    at.run()
    assert not at.error
    assert "Not used\\: external vectors are taken as they are" in texts(at)
    assert choice(at, "features.source").value == f"import:{file}"
    number(at, "heads.epochs").set_value(1).run()
    number(at, "joint.steps").set_value(2).run()
    button(at, "Start training").click().run()
    name = runs.run_names()[0]
    run = runs.folder_of(name)
    while runs.look(run).live:
        time.sleep(0.05)
    at = visit("train", run=name)
    assert runs.look(run).snapshot.state == "finished"
    assert runs.look(run).snapshot.stages["joint"].step == 2
    assert "Stage 3 · joint: 100\N{NO-BREAK SPACE}%" in texts(at)
    assert (workspace / name / "imported").is_dir()


@pytest.mark.usefixtures("workspace")
@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("resnet50", "expected scratch, encoder\\:NAME, torchvision\\:NAME"),
        ("torchvision:resnet5", "no image classifier 'resnet5'"),
        ("weights:resnet18:gone.pt", "There is no file gone.pt"),
        ("import:gone.npy", "There is no file gone.npy"),
    ],
)
def test_what_stage_1_cannot_begin_with_is_refused_beside_its_field(visit: Visit, source: str, words: str) -> None:
    at = type_source(visit("train"), source)
    assert words in at.error[0].value
    assert button(at, "Start training").disabled


@pytest.mark.usefixtures("workspace")
def test_the_name_of_a_network_is_right_without_a_download(visit: Visit) -> None:
    at = type_source(visit("train"), "torchvision:ResNet18_Weights.IMAGENET1K_V1")
    assert not at.error
    assert "50 passes will change the trained network; choose 0 to keep it" in texts(at)


@pytest.mark.usefixtures("workspace")
def test_one_of_several_gpus_can_be_chosen_and_one_that_is_gone_is_told(
    visit: Visit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    at = visit("train")
    assert at.selectbox(key="device").options[-2:] == ["GPU 0 (CUDA)", "GPU 1 (CUDA)"]
    at.selectbox(key="device").set_value("cuda:1").run()
    button(at, "Start training").click().run()
    assert "is not available here" in at.error[0].value


@pytest.mark.usefixtures("workspace")
def test_every_preset_of_the_engine_can_be_chosen(visit: Visit) -> None:
    at = visit("train")
    assert set(form.PRESETS) == set(get_args(Preset))
    at.selectbox(key="preset").set_value("fast").run()
    assert choice(at, "features.objective").value == "byol"
    assert number(at, "features.hidden").value == 1024
    assert not at.error


def test_the_authors_settings_for_a_set_are_offered_with_that_set_only() -> None:
    usual = ["quick", "fast", "paper"]
    for source in ("stl10", "stl10:/data/stl10"):
        assert list(form._offered(source)) == [*usual, "paper-stl10"]
    for source in ("digits", "mnist", "folder:/data/stl10", "/data/stl10"):
        assert list(form._offered(source)) == usual


@pytest.mark.usefixtures("workspace", "hub")
def test_tiny_squares_of_photographs_can_be_imported_again_for_a_network_that_knows_photographs(
    visit: Visit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for index in range(4):
        Image.new("RGB", (300, 200), (60 * index, 90, 30)).save(tmp_path / f"{index}.jpg")
    at = visit("train")
    assert "These are photographs" not in texts(at)
    at.session_state["opened"] = open_source(f"folder:{tmp_path}")
    at.run()
    assert "imported as squares of 32 pixels" in texts(at)
    asked: list[tuple[object, ...]] = []
    monkeypatch.setattr(choices.imports, "begin", lambda *given: asked.append(given))
    at.button(key="import photographs").click().run()
    assert asked == [(f"folder:{tmp_path}", 224, False, "", "crop")]
    at = visit("train")
    at.session_state["opened"] = open_source(f"folder:{tmp_path}", size=224)
    at.run()
    assert "These are photographs" not in texts(at)
    assert at.selectbox(key="preset").options[0] == form.PRESETS["photos"]
    at.selectbox(key="preset").set_value("photos").run()
    assert (choice(at, "heads.start").value, number(at, "features.epochs").value) == ("neighbors", 0)


@pytest.mark.usefixtures("workspace")
@pytest.mark.parametrize(
    ("key", "value", "right", "why"),
    [
        ("k-digits", 5000, 12, "clusters is 5000, but digits has 1797 images: choose from 2 to 1797"),
        ("k-digits", 1, 12, "clusters is 1: allowed from 2"),
        ("seed", -1, 3, "seed is -1: allowed from 0"),
        ("seed", 2**32, 3, f"seed is {2**32}: allowed from 0"),
    ],
)
def test_an_impossible_k_or_seed_is_refused_and_nothing_that_was_typed_is_lost(
    key: str, value: int, right: int, why: str, visit: Visit
) -> None:
    at = visit("train")
    number(at, "joint.steps").set_value(77).run()
    at.number_input(key=key).set_value(value).run()
    assert why in at.error[0].value.replace("\\", "").lower()
    assert button(at, "Start training").disabled
    at.number_input(key=key).set_value(right).run()
    assert not at.error
    assert "Changed from the preset: joint.steps = 77" in texts(at)
    assert not button(at, "Start training").disabled


@pytest.mark.usefixtures("finished")
def test_a_finished_run_shows_stages_scores_and_truth_apart(visit: Visit) -> None:
    at = visit("train")
    shown = texts(at)
    assert "demo</b> · finished" in shown
    assert shown.count("spice-step done") == 4
    assert "pseudo-label loss" in shown
    assert "Against ground truth" in shown
    assert "ACC" in shown
    assert not [one for one in at.button if one.label in ("Pause", "Stop", "Resume")]


@pytest.mark.usefixtures("without_truth")
def test_without_truth_no_page_speaks_of_truth(visit: Visit) -> None:
    for page in ALL[1:]:
        shown = texts(visit(page)).lower()
        assert "ground truth" not in shown
        assert "truth:" not in shown


@pytest.mark.parametrize(
    ("note", "captions"),
    [("no GPU was found: training on the CPU", 0), ("the GPU cannot be used (driver <470>): training on the CPU", 1)],
)
def test_a_gpu_that_does_not_work_is_told_and_a_missing_one_only_hinted(
    note: str, captions: int, interrupted: RunFolder, visit: Visit
) -> None:
    interrupted.append(RunStarted("cpu", 1, note))
    with interrupted.lock():
        at = visit("train")
        assert f"title='{html.escape(note)}'>cpu</span>" in texts(at)
        assert len([one for one in at.caption if "cannot be used" in one.value]) == captions
    at.run()  # it is no longer training: the page offers what to do next
    assert "interrupted" in texts(at)
    assert not [one for one in at.caption if "cannot be used" in one.value]


def test_a_run_with_a_kept_encoder_is_watched_from_its_first_moment(
    workspace: Path, few_digits: Opened, visit: Visit
) -> None:
    folder = create_run(workspace / "kept", few_digits, tiny_config())
    for event in (RunStarted("cpu", 1), StageStarted("features", 0)):
        folder.append(event)
    with folder.lock():
        at = visit("train")
        assert "spice-step waiting" in texts(at)
        folder.append(StageFinished("features", 0.0))
        at.run()
    assert "kept frozen" in texts(at)
    assert "computes the features of every image" in texts(at)
    assert not at.error


@pytest.mark.usefixtures("failed")
def test_a_failed_run_says_why_and_can_be_resumed(visit: Visit) -> None:
    at = visit("train")
    assert "The loss of stage 1 is nan" in at.error[0].value
    assert button(at, "Resume")


def test_a_queued_run_can_be_stopped_but_not_paused(
    workspace: Path, few_digits: Opened, visit: Visit, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = create_run(workspace / "waits", few_digits, tiny_config())
    folder.append(RunQueued())
    monkeypatch.setattr(the_runner(), "owns", lambda _folder: True)
    with folder.lock():
        shown = [one.label for one in visit("train", run="waits").button]
    assert ("Stop" in shown, "Pause" in shown) == (True, False)


@pytest.mark.usefixtures("interrupted")
def test_an_interrupted_run_can_be_resumed(visit: Visit, monkeypatch: pytest.MonkeyPatch) -> None:
    resumed = []
    monkeypatch.setattr(training, "resume", lambda run, device: resumed.append((run.name, device)))
    at = visit("train")
    assert "interrupted" in texts(at)
    assert "4 of 10 steps" in texts(at)
    button(at, "Resume").click().run()
    assert resumed == [("halfway", "auto")]


def test_a_run_of_another_process_is_watched_but_not_steered(interrupted: RunFolder, visit: Visit) -> None:
    with interrupted.lock():
        at = visit("train")
        assert "Training in another process" in texts(at)
        assert not [one for one in at.button if one.label == "Pause"]


# -- the pages that need features or labels ----------------------------------------------------


@pytest.mark.parametrize("page", ["map", *NEED_LABELS])
@pytest.mark.usefixtures("interrupted")
def test_a_page_that_comes_too_early_says_what_to_do(page: str, visit: Visit) -> None:
    shown = texts(visit(page))
    assert "halfway has not reached this stage" in shown
    assert "The run was interrupted. Resume it on the Train page." in shown


@pytest.mark.usefixtures("finished")
def test_a_selection_travels_from_page_to_page(visit: Visit) -> None:
    at = visit("map")
    at.session_state["selection"] = ("demo", np.arange(37))
    at.run()
    assert "<b>37</b> images selected" in texts(at)
    at.switch_page("../pages/export.py").run()
    assert "<b>37</b> images selected" in texts(at)
    at.session_state["rows-3"] = "selected images"
    at.run()
    assert len(at.dataframe[0].value) == 37
    button(at, "Clear selection").click().run()
    assert "images selected" not in texts(at)


@pytest.mark.usefixtures("finished")
def test_export_previews_what_the_file_will_hold(visit: Visit) -> None:
    at = visit("export")
    table = at.dataframe[0].value
    assert len(table) == IMAGES
    assert list(table.columns) == [
        "id",
        "name",
        "label",
        "provenance",
        "confidence",
        "agreement",
        "reliable",
        "stage",
        "epoch",
    ]
    at.session_state["rows-2"] = "reliable only"
    at.run()
    assert at.dataframe[0].value["reliable"].all()
    assert metrics(at)["Reliable"] == f"{len(at.dataframe[0].value):,}"


# -- links -------------------------------------------------------------------------------------


@pytest.mark.usefixtures("finished", "interrupted")
def test_a_link_opens_its_run(visit: Visit) -> None:
    assert "demo</b> · finished" in texts(visit("train", run="demo"))
    assert "halfway</b> · interrupted" in texts(visit("train", run="halfway"))


@pytest.mark.usefixtures("finished")
def test_a_link_to_a_lost_run_says_so(visit: Visit) -> None:
    at = visit("map", run="gone")
    assert "The run “gone” no longer exists." in at.warning[0].value
    assert "Choose another one in the sidebar" in texts(at)
    at.selectbox(key="run picker").set_value("demo").run()
    assert not at.warning
    assert "demo" in at.query_params["run"]


@pytest.mark.parametrize("page", ["map", "curate", "export", "train"])
def test_when_the_open_run_goes_away_no_other_takes_its_place(page: str, finished: RunFolder, visit: Visit) -> None:
    shutil.copytree(finished.path, finished.path.with_name("other"))
    at = visit(page, run="demo")
    shutil.rmtree(finished.path)
    for _ in range(2):
        at.run()
        assert "The run “demo” no longer exists." in at.warning[0].value
        assert "demo" in at.query_params["run"]
        assert not at.exception
    at.selectbox(key="run picker").set_value("other").run()
    assert not any("There is no run" in one.value for one in at.warning)
    assert "other" in at.query_params["run"]


@pytest.mark.usefixtures("finished")
def test_the_address_opens_the_same_queue_again(visit: Visit) -> None:
    at = visit("curate", run="demo", queue="border-1-3")
    assert at.selectbox(key="queue kind").value == "border"
    assert [box(at, one).value for one in ("Between", "and")] == [1, 3]
    box(at, "and").set_value(2).run()
    assert "border-1-2" in at.query_params["queue"]
    at.selectbox(key="queue kind").set_value("class").run()
    box(at, "Of class").set_value(3).run()
    assert "class-3" in at.query_params["queue"]


@pytest.mark.usefixtures("finished")
@pytest.mark.parametrize("queue", ["", "nonsense", "border-99-x", "class-", "class-1-2-3"])
def test_an_address_that_means_no_queue_opens_one_that_there_is(queue: str, visit: Visit) -> None:
    at = visit("curate", run="demo", queue=queue)
    assert not at.error
    assert at.selectbox(key="queue kind").value == (queue.split("-")[0] if "-" in queue else "rejected")
