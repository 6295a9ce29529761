"""Runs that start from a network of timm: the network is in the run, and once on the disk."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save, save_file

from benchmarks.tiny_run import TINY
from engine.errors import SettingError
from engine.jobs import Control
from engine.networks import timm_networks
from engine.runs.folder import RunFolder
from engine.runs.initial_weights import cached_encoder
from engine.runs.predict import encoder_file, predict_images
from engine.runs.results import observe
from engine.runs.runner import choose_device, execute
from engine.stages.encoder_file import load_encoder, read_card
from tests.local_hub import Hub
from tests.tiny_runs import MakeRun, drawn

CPU = choose_device("cpu")
IMAGES, _ = drawn()
ROOT = Path(__file__).parents[2]
NAME = "test_efficientnet.r160_in1k"


def state() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return timm.create_model(NAME, pretrained=False).state_dict()


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A file of weights of a network that sees 64 pixels a side instead of 160."""
    monkeypatch.setattr(timm_networks, "MOST_SIDE", 64)
    save_file(state(), tmp_path / "weights.safetensors")
    return f"weights:timm/{NAME}:{tmp_path / 'weights.safetensors'}"


def finish(folder: RunFolder) -> RunFolder:
    with folder.lock():
        assert execute(folder, CPU, Control()) == "finished", observe(folder).message
    return folder


@pytest.mark.parametrize("epochs", [0, 1])
def test_a_network_of_timm_is_kept_or_tuned_predicts_and_is_given_on(
    make_run: MakeRun, source: str, tmp_path: Path, epochs: int
) -> None:
    choices = {
        "features.source": source,
        "features.epochs": epochs,
        "features.objective": "moco",
        "features.norm_groups": 2,
        "features.batch": 30,
        "heads.epochs": 1,
        "joint.steps": 1,
        "joint.batch": 4,
        "joint.unlabelled": 1,
        "joint.average": 0.5,
    }
    folder = make_run(**choices)
    (tmp_path / "weights.safetensors").unlink()
    finish(folder)
    kept = folder.weights("features")
    name = "backbone.conv_stem.weight"
    assert torch.equal(kept[name], state()["conv_stem.weight"]) == (epochs == 0)
    assert folder.load("features")["vectors"].shape == (60, 256)
    found = predict_images(folder, IMAGES, CPU.device)
    np.testing.assert_allclose(found.probabilities, folder.load("joint")["probabilities"], rtol=1e-3, atol=1e-4)
    (tmp_path / "given.pt").write_bytes(encoder_file(folder))
    given = load_encoder(f"encoder:{tmp_path / 'given.pt'}")
    torch.testing.assert_close(given.state_dict()[name], kept[name], rtol=1e-3, atol=1e-3)
    card = read_card(f"encoder:{tmp_path / 'given.pt'}")
    assert (card["timm"], card["origin"]["labels"], card["images"]) == ("test_efficientnet", "with", 60)


def test_runs_with_one_network_share_its_file(make_run: MakeRun, source: str) -> None:
    one, other = (make_run(name, **{"features.source": source}).path for name in ("one", "other"))
    assert (one / "encoder.pt").samefile(other / "encoder.pt")
    assert (one / "encoder.pt").samefile(cached_encoder(source))


def test_another_file_of_the_same_name_is_another_network(make_run: MakeRun, source: str, tmp_path: Path) -> None:
    one = make_run("one", **{"features.source": source}).path
    changed = {name: value * 2 if name == "conv_stem.weight" else value for name, value in state().items()}
    save_file(changed, tmp_path / "weights.safetensors")
    other = make_run("other", **{"features.source": source}).path
    first, second = (load_encoder(f"encoder:{path / 'encoder.pt'}").state_dict() for path in (one, other))
    name = "backbone.conv_stem.weight"
    assert torch.equal(first[name] * 2, second[name])


def test_the_run_says_what_its_network_learned_from_without_its_weights(make_run: MakeRun, source: str) -> None:
    folder = make_run(**{"features.source": source})
    (folder.path / "encoder.pt").unlink()
    card = folder.encoder_card()
    assert card is not None
    assert card["origin"] == {
        "name": NAME,
        "title": NAME,
        "data": "ImageNet-1k",
        "labels": "with",
        "licence": "apache-2.0",
        "url": f"https://huggingface.co/timm/{NAME}",
    }
    assert json.loads((folder.path / "encoder.json").read_text())["timm"] == "test_efficientnet"
    assert make_run("scratch").encoder_card() is None


def test_a_network_is_downloaded_for_the_first_run_only(make_run: MakeRun, hub: Hub) -> None:
    hub.files[f"timm/{NAME}/model.safetensors"] = save(state())
    told: list[int] = []
    file = cached_encoder(f"timm:{NAME}", lambda _name, done, _total: told.append(done))
    assert told[-1] == len(hub.files[f"timm/{NAME}/model.safetensors"])
    hub.asked.clear()
    hub.errors[f"timm/{NAME}"] = "RepoNotFound"
    folder = make_run(**{"features.source": f"timm:{NAME}"})
    assert (folder.path / "encoder.pt").samefile(file)
    assert hub.asked == []
    # What was downloaded is in the encoder's own file, and nowhere else.
    assert sorted(one.suffix for one in file.parent.iterdir()) == [".json", ".lock", ".pt"]


def test_a_run_with_a_network_that_cannot_be_had_is_not_made(make_run: MakeRun, hub: Hub, tmp_path: Path) -> None:
    hub.errors[f"timm/{NAME}"] = "GatedRepo"
    with pytest.raises(SettingError, match="is gated"):
        make_run(**{"features.source": f"timm:{NAME}"})
    assert list(tmp_path.iterdir()) == []


def test_a_network_of_timm_cannot_begin_stage_3_with_random_weights(make_run: MakeRun) -> None:
    with pytest.raises(SettingError, match=r"joint\.start is random, but stage 1 starts from a trained network"):
        make_run(**{"features.source": f"timm:{NAME}", "joint.start": "random"})


def test_without_timm_everything_else_trains(drawn_photos: Path, tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "sys.modules['timm'] = sys.modules['huggingface_hub'] = None\n"
        "from engine.__main__ import main\n"
        f"few = [part for name, value in {TINY!r}.items() for part in ('--set', f'{{name}}={{value}}')]\n"
        f"start = ['run', {f'folder:{drawn_photos}'!r}, '--clusters', '2', '--run', {str(tmp_path / 'run')!r}]\n"
        "assert main([*start, '--set', 'features.source=timm:test_vit']) == 1\n"
        "assert main([*start, *few]) == 0\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert "install it with `pip install timm`" in done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["state"] == "finished"
