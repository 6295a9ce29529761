"""Files from a hub that runs on this machine, and each way in which a download can fail."""

from __future__ import annotations

import errno
import io
import json
import shutil
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save

from engine.errors import SettingError
from engine.networks.hub import Downloads, hub_file
from engine.networks.pretrained import check_download, check_pretrained, kept, pretrained
from tests.local_hub import Hub, in_cache

NAME = "test_vit.r160_in1k"
PLACE = f"timm/{NAME}"


def state(name: str = "test_vit") -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return {k: v.contiguous() for k, v in timm.create_model(name, pretrained=False).state_dict().items()}


@pytest.fixture
def weights(hub: Hub) -> bytes:
    hub.files[f"{PLACE}/model.safetensors"] = save(state())
    return hub.files[f"{PLACE}/model.safetensors"]


def test_weights_are_downloaded_by_name_with_their_size(hub: Hub, weights: bytes, tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    found = pretrained(f"timm:{NAME}", Downloads(tmp_path, lambda *one: told.append(one)))
    own = state()
    assert all(torch.equal(value, own[name]) for name, value in found.state.items())
    assert found.made["origin"]["url"] == f"https://huggingface.co/{PLACE}"
    assert found.made["began"] == f"timm:{NAME}"
    assert told[-1] == ("model.safetensors", len(weights), len(weights))
    assert [one[1] for one in told] == sorted(one[1] for one in told)
    assert [one for one in hub.asked if one.startswith("GET")] == ["GET model.safetensors"]


@pytest.mark.usefixtures("weights")
def test_a_download_is_made_once(hub: Hub, tmp_path: Path) -> None:
    for _ in range(2):
        pretrained(f"timm:{NAME}", Downloads(tmp_path))
    assert [one for one in hub.asked if one.startswith("GET")] == ["GET model.safetensors"]


def test_what_is_in_the_hubs_own_cache_is_not_asked_for(hub: Hub, tmp_path: Path) -> None:
    in_cache(PLACE, "model.safetensors", save(state()))
    pretrained(f"timm:{NAME}", Downloads(tmp_path))
    assert hub.asked == []


def test_an_interrupted_download_goes_on_from_where_it_was(hub: Hub, weights: bytes, tmp_path: Path) -> None:
    half = len(weights) // 2
    hub.breaks = half
    with pytest.raises(SettingError, match=r"broke off after 0\.\d of 1\.5 MB .*: try again, and it goes on"):
        pretrained(f"timm:{NAME}", Downloads(tmp_path))
    hub.breaks = None
    hub.asked.clear()
    pretrained(f"timm:{NAME}", Downloads(tmp_path))
    assert len(hub.asked) == 2
    # What was received last may not have been written yet.
    start = int(hub.asked[1].removeprefix("GET model.safetensors bytes=").removesuffix("-"))
    assert half - 2**16 < start <= half


def test_a_download_that_is_not_what_it_should_be_is_deleted(hub: Hub, weights: bytes, tmp_path: Path) -> None:
    hub.sums[f"{PLACE}/model.safetensors"] = "0" * 64
    with pytest.raises(SettingError, match="arrived damaged, and was deleted: try again"):
        pretrained(f"timm:{NAME}", Downloads(tmp_path))
    assert not list(tmp_path.glob("*.part"))
    assert not list(tmp_path.glob("*.safetensors"))
    hub.sums.clear()
    assert hub_file(PLACE, ("model.safetensors",), Downloads(tmp_path)).read_bytes() == weights


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("GatedRepo", "is gated: accept its licence at https://huggingface.co/timm/.*, then log in"),
        ("RepoNotFound", "there is no timm/.* on the Hugging Face Hub, or it was deleted or is private"),
        ("RevisionNotFound", "there is no timm/.* on the Hugging Face Hub"),
        ("Disabled", "was taken down by the Hugging Face Hub .*: choose another network"),
        ("401", r"refuses timm/.* \(status 401\): your token may have expired .*log in again with `hf auth login`"),
        ("403", r"refuses timm/.* \(status 403\)"),
    ],
)
@pytest.mark.usefixtures("weights")
def test_what_may_not_be_had_is_said(hub: Hub, tmp_path: Path, code: str, words: str) -> None:
    hub.errors[PLACE] = code
    with pytest.raises(SettingError, match=words):
        pretrained(f"timm:{NAME}", Downloads(tmp_path))


@pytest.mark.parametrize("way", ["offline", "no network"])
def test_without_a_network_both_ways_round_it_are_told(
    monkeypatch: pytest.MonkeyPatch, hub: Hub, tmp_path: Path, way: str
) -> None:
    from huggingface_hub import constants

    if way == "offline":
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    else:
        template = "http://127.0.0.1:9/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    with pytest.raises(SettingError, match="could not be downloaded") as caught:
        pretrained(f"timm:{NAME}", Downloads(tmp_path))
    assert f"features.source=weights:{PLACE}:FILE" in str(caught.value)
    assert "HF_HOME" in str(caught.value)
    assert "HF_HUB_OFFLINE=1" in str(caught.value)
    assert hub.asked == []
    in_cache(PLACE, "model.safetensors", save(state()))
    assert pretrained(f"timm:{NAME}", Downloads(tmp_path)).features == 64


@pytest.mark.usefixtures("weights")
def test_a_full_disk_is_said_before_and_during_a_download(
    monkeypatch: pytest.MonkeyPatch, hub: Hub, tmp_path: Path
) -> None:
    usage = namedtuple("usage", "total used free")
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _path: usage(10, 10, 0))
        with pytest.raises(SettingError, match=r"needs \d+ MB, but the disk of .* is full: free some space"):
            pretrained(f"timm:{NAME}", Downloads(tmp_path))
    assert not [one for one in hub.asked if one.startswith("GET")]

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(SettingError, match="is full: free some space, or name another place with SPICE_EXPLORER_CACHE"):
        pretrained(f"timm:{NAME}", Downloads(tmp_path, full))


# -- repositories ------------------------------------------------------------------------------


def described(**changes: Any) -> bytes:
    config = {
        "architecture": "test_resnet",
        "num_classes": 5,
        "pretrained_cfg": {
            "input_size": [3, 64, 64],
            "mean": [0.1, 0.2, 0.3],
            "std": [0.5, 0.6, 0.7],
            "interpolation": "bilinear",
            "crop_pct": 0.9,
            "num_classes": 5,
            "classifier": "fc",
            "license": "mit",
            "a field of tomorrow": 1,
        },
        **changes,
    }
    return json.dumps(config).encode()


def test_a_network_of_the_hub_is_built_as_it_is_described(hub: Hub, tmp_path: Path) -> None:
    hub.files["birds/net/config.json"] = described()
    content = io.BytesIO()
    torch.save({**state("test_resnet"), "fc.weight": torch.zeros(5, 96), "fc.bias": torch.zeros(5)}, content)
    hub.files["birds/net/pytorch_model.bin"] = content.getvalue()
    found = pretrained("timm:hf-hub:birds/net", Downloads(tmp_path))
    assert (found.side, found.interpolation, found.features) == (64, "bilinear", 96)
    assert found.mean.tolist() == pytest.approx([0.1, 0.2, 0.3])
    assert found.deviation.tolist() == pytest.approx([0.5, 0.6, 0.7])
    assert found.made["origin"]["licence"] == "mit"
    assert found.made["origin"]["labels"] == "unknown"


def test_older_descriptions_and_further_arguments_are_understood(hub: Hub, tmp_path: Path) -> None:
    arguments = {"img_size": 48, "patch_size": 8}
    network = timm.create_model("test_vit", pretrained=False, **arguments)
    hub.files["birds/net/model.safetensors"] = save({k: v.contiguous() for k, v in network.state_dict().items()})
    hub.files["birds/net/config.json"] = json.dumps(
        {"architecture": "test_vit", "model_args": arguments, "fixed_input_size": True, "classifier": "head"}
    ).encode()
    found = pretrained("timm:hf-hub:birds/net", Downloads(tmp_path))
    assert (found.side, found.arguments) == (48, {"img_size": 48, "patch_size": 8})


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (json.dumps({"architectures": ["BertForMaskedLM"]}), "is no image network .* tells of BertForMaskedLM"),
        (json.dumps({}), "is no image network in timm's form"),
        (json.dumps({"architecture": "test_resnett"}), "timm has no network 'test_resnett'"),
        ("[1]", "config.json of birds/net is damaged"),
        ("{", "config.json of birds/net is damaged"),
    ],
)
def test_what_is_no_image_network_is_refused(hub: Hub, tmp_path: Path, config: str, words: str) -> None:
    hub.files["birds/net/config.json"] = config.encode()
    with pytest.raises(SettingError, match=words):
        pretrained("timm:hf-hub:birds/net", Downloads(tmp_path))
    in_cache("birds/net", "config.json", config.encode())
    with pytest.raises(SettingError, match=words):
        check_pretrained("timm:hf-hub:birds/net")


@pytest.mark.parametrize("text", ["google-bert/bert-base", "openai/whisper"])
def test_the_weights_of_a_model_that_is_no_image_network_are_not_downloaded(
    hub: Hub, tmp_path: Path, text: str
) -> None:
    hub.files[f"{text}/config.json"] = json.dumps({"architectures": ["TextModel"], "hidden_size": 8}).encode()
    hub.files[f"{text}/model.safetensors"] = save({"embeddings.weight": torch.zeros(3, 8)})
    with pytest.raises(SettingError, match=r"is no image network in timm's form .* tells of TextModel"):
        pretrained(f"timm:hf-hub:{text}", Downloads(tmp_path))
    assert "GET model.safetensors" not in hub.asked


def test_what_could_be_downloaded_is_asked_without_a_download(hub: Hub) -> None:
    with pytest.raises(SettingError, match="there is no timm/"):
        check_download(f"timm:{NAME}")
    hub.files[f"{PLACE}/model.safetensors"] = b"weights"
    hub.asked.clear()
    check_download(f"timm:{NAME}")
    assert hub.asked == ["HEAD model.safetensors"]
    assert not kept(f"timm:{NAME}")
    in_cache(PLACE, "model.safetensors", b"weights")
    hub.asked.clear()
    check_download(f"timm:{NAME}")
    assert kept(f"timm:{NAME}")
    assert hub.asked == []


def test_a_repository_without_weights_says_which_are_wanted(hub: Hub, tmp_path: Path) -> None:
    hub.files["birds/net/config.json"] = described()
    with pytest.raises(SettingError, match=r"has none of the files model\.safetensors, pytorch_model\.bin"):
        pretrained("timm:hf-hub:birds/net", Downloads(tmp_path))
