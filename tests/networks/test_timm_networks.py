"""Networks of timm without their classifier, from files of weights. Nothing is downloaded."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn

from engine.errors import SettingError
from engine.networks.pretrained import check_pretrained, pretrained
from engine.networks.timm_networks import timm_network
from engine.stages.encoder import Encoder, SplitBatchNorm, whole_norms
from engine.stages.encoder_file import encoder_content, load_encoder, network_of, pack_encoder, read_card


def network(name: str, seed: int = 0, **options: Any) -> nn.Module:
    torch.manual_seed(seed)
    return timm.create_model(name, pretrained=False, **options).eval()


def written(folder: Path, name: str, state: dict[str, torch.Tensor]) -> str:
    """Saves `state` and returns what `features.source` would say."""
    file = folder / f"{name}.safetensors"
    save_file({key: value.contiguous() for key, value in state.items()}, file)
    return f"weights:timm/{name}:{file}"


def encoder_of(folder: Path, source: str) -> Encoder:
    (folder / "own.pt").write_bytes(encoder_content(source))
    return load_encoder(f"encoder:{folder / 'own.pt'}").eval()


def photos(side: int) -> list[Image.Image]:
    """Two smooth pictures with noise."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:side, :side] / side
    waves = [np.sin(7 * rows + 3 * columns), np.cos(5 * rows), np.sin(9 * columns * rows)]
    smooth = 110 * np.stack(waves, 2) + 120
    return [Image.fromarray((smooth + rng.normal(0, 10, smooth.shape)).clip(0, 255).astype(np.uint8)) for _ in "ab"]


@pytest.mark.parametrize("name", ["test_vit.r160_in1k", "test_resnet.r160_in1k", "test_efficientnet.r160_in1k"])
@pytest.mark.parametrize("side", [96, 160, 200])
def test_features_are_those_of_timm_with_its_own_transform_and_no_crop(tmp_path: Path, name: str, side: int) -> None:
    direct = network(name)
    encoder = encoder_of(tmp_path, written(tmp_path, name, direct.state_dict()))
    config = timm.data.resolve_model_data_config(direct)
    transform = timm.data.create_transform(**config | {"crop_pct": 1.0}, is_training=False)
    direct.reset_classifier(0)
    pictures = photos(side)
    x = torch.stack([torch.from_numpy(np.array(one)).permute(2, 0, 1) / 255 for one in pictures])
    with torch.inference_mode():
        own, theirs = encoder(x), direct(torch.stack([transform(one) for one in pictures]))
    assert encoder.mean.tolist() == pytest.approx(config["mean"])
    assert encoder.deviation.tolist() == pytest.approx(config["std"])
    assert (encoder.side, encoder.interpolation) == (160, config["interpolation"])
    # Pillow rounds scaled pixels to whole numbers.
    error = (own - theirs).norm() / theirs.norm()
    assert error < 0.01
    assert own.shape == theirs.shape


def test_with_ready_pixels_features_are_equal_up_to_rounding(tmp_path: Path) -> None:
    direct = network("test_efficientnet.r160_in1k")
    encoder = encoder_of(tmp_path, written(tmp_path, "test_efficientnet.r160_in1k", direct.state_dict()))
    direct.reset_classifier(0)
    x = torch.rand(2, 3, 160, 160, generator=torch.Generator().manual_seed(0))
    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    by_hand = (x - mean[:, None, None]) / deviation[:, None, None]
    with torch.inference_mode():
        torch.testing.assert_close(encoder(x), direct(by_hand))


@pytest.mark.parametrize("ending", [".pt", ".pth", ".bin", ".safetensors"])
@pytest.mark.parametrize("classes", [1000, 7, 0])
def test_weights_come_from_a_file_whatever_its_classifier(tmp_path: Path, ending: str, classes: int) -> None:
    state = network("test_efficientnet", num_classes=classes).state_dict()
    file = tmp_path / f"w{ending}"
    if ending == ".safetensors":
        save_file(state, file)
    else:
        torch.save(state, file)
    found = pretrained(f"weights:timm/test_efficientnet:{file}")
    assert found.state.keys() == {name for name in state if not name.startswith("classifier.")}
    assert all(torch.equal(value, state[name]) for name, value in found.state.items())
    assert (found.side, found.features) == (160, 256)


def test_a_classifier_of_several_layers_is_left_out_whole(tmp_path: Path) -> None:
    name = "caformer_s18.sail_in1k"
    state = network(name).state_dict()
    assert "head.fc.fc1.weight" in state  # before the classifier, head.fc.fc2
    found = pretrained(written(tmp_path, name, state))
    assert not [key for key in found.state if key.startswith("head.fc.")]
    assert found.features == 512


def test_a_larger_transformer_is_built_for_224_pixels_and_its_positions_scaled(tmp_path: Path) -> None:
    # As with DINOv2, whose own side is 518; this one is small.
    name = "vit_tiny_patch16_384"
    direct = network(name)
    found = pretrained(written(tmp_path, name, direct.state_dict()))
    assert (found.side, found.arguments) == (224, {"img_size": 224})
    assert found.state["pos_embed"].shape == (1, 14 * 14 + 1, 192)
    direct.set_input_size((224, 224))
    torch.testing.assert_close(found.state["pos_embed"], direct.state_dict()["pos_embed"])


def test_dinov2_is_given_224_pixels_in_patches_of_14(tmp_path: Path) -> None:
    name = "vit_small_patch14_dinov2.lvd142m"
    found = pretrained(written(tmp_path, name, network(name).state_dict()))
    assert (found.side, found.features, found.interpolation) == (224, 384, "bicubic")
    assert found.state["pos_embed"].shape == (1, 16 * 16 + 1, 384)
    assert found.made["origin"]["labels"] == "without"
    assert found.made["origin"]["licence"] == "apache-2.0"


def test_weights_that_allow_only_their_own_side_keep_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name, build = "vit_tiny_patch16_384", timm.create_model

    def rigid(*names: str, **options: Any) -> nn.Module:
        if options.get("img_size") == 224:
            raise RuntimeError("size mismatch for pos_embed: …")
        return build(*names, **options)

    source = written(tmp_path, name, network(name).state_dict())
    monkeypatch.setattr(timm, "create_model", rigid)
    found = pretrained(source)
    assert (found.side, found.arguments) == (384, {"img_size": 384})


# -- what is refused ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("vit_smal_patch14_dinov2", "timm has no network 'vit_smal_patch14_dinov2': .*vit_small_patch14_dinov2"),
        ("vit_small_patch14_dinov2.lvd142", "knows no weights 'lvd142' of .*: choose from .*lvd142m"),
        ("", "timm has no network ''"),
        ("facebook/dinov2-small", "write timm:hf-hub:ORG/NAME"),
        ("hf-hub:three/part/name", "is no repository of the Hugging Face Hub: write ORG/NAME"),
    ],
)
def test_names_that_timm_does_not_know_are_refused_with_the_nearest(name: str, words: str) -> None:
    for look in (check_pretrained, pretrained):
        with pytest.raises(SettingError, match=words):
            look(f"timm:{name}")


def test_a_right_name_is_right_without_a_download() -> None:
    check_pretrained("timm:vit_small_patch14_dinov2.lvd142m")
    check_pretrained("timm:vit_small_patch14_dinov2")
    check_pretrained("timm:hf-hub:some/network")


def test_weights_of_another_network_are_refused_with_what_differs(tmp_path: Path) -> None:
    own = network("test_vit").state_dict()
    wild = {**own, "cls_token": torch.full_like(own["cls_token"], float("nan"))}
    for state, words in (
        (
            {name: value for name, value in own.items() if not name.startswith("blocks.0.")},
            "does not fit test_vit: it lacks blocks.0.norm1.weight, .*, .* and [0-9]+ more; name the network it was",
        ),
        ({**own, "extra.weight": torch.zeros(1)}, "it has unknown extra.weight"),
        ({**own, "norm.weight": torch.zeros(3)}, "norm.weight is 3 instead of 64"),
        (wild, "not finite: cls_token"),
        ({"head.weight": torch.zeros(1000, 64)}, "does not fit test_vit"),
        (network("test_resnet").state_dict(), "it lacks .*; it has unknown"),
    ):
        with pytest.raises(SettingError, match=words):
            pretrained(written(tmp_path, "test_vit", state))


class Harmful:
    def __reduce__(self) -> tuple[Any, ...]:
        return (print, ("run",))


def test_nothing_in_a_file_is_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"a": Harmful()}, tmp_path / "harmful.bin")
    with pytest.raises(SettingError, match="contains no readable weights"):
        pretrained(f"weights:timm/test_vit:{tmp_path / 'harmful.bin'}")
    assert capsys.readouterr().out == ""


def test_without_timm_a_sentence_says_how_to_install_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = written(tmp_path, "test_vit", network("test_vit").state_dict())
    (tmp_path / "own.pt").write_bytes(encoder_content(source))
    monkeypatch.setitem(sys.modules, "timm", None)
    for look in (
        lambda: pretrained("timm:test_vit"),
        lambda: check_pretrained("timm:hf-hub:some/network"),
        lambda: pretrained(source),
        lambda: load_encoder(f"encoder:{tmp_path / 'own.pt'}"),
    ):
        with pytest.raises(SettingError, match="timm, which is not installed: install it with `pip install timm`"):
            look()


# -- as encoders -------------------------------------------------------------------------------


def test_a_card_tells_the_network_and_what_it_learned_from(tmp_path: Path) -> None:
    source = written(tmp_path, "test_vit.r160_in1k", network("test_vit").state_dict())
    encoder_of(tmp_path, source)
    card = read_card(f"encoder:{tmp_path / 'own.pt'}")
    assert card["timm"] == "test_vit"
    assert card["began"] == "test_vit.r160_in1k.safetensors"
    assert card["origin"]["labels"] == "with"
    assert card["origin"]["data"] == "ImageNet-1k"
    assert card["origin"]["licence"] == "apache-2.0"


def test_nothing_is_said_of_a_file_whose_weights_have_no_name(tmp_path: Path) -> None:
    found = pretrained(written(tmp_path, "test_vit", network("test_vit").state_dict()))
    assert found.made["origin"]["labels"] == "unknown"
    assert found.made["origin"]["licence"] == "unknown"


def test_an_encoder_that_was_trained_on_comes_back_from_its_own_file(tmp_path: Path) -> None:
    encoder = encoder_of(tmp_path, written(tmp_path, "test_efficientnet", network("test_efficientnet").state_dict()))
    known, side = network_of(f"encoder:{tmp_path / 'own.pt'}")
    with torch.no_grad():
        encoder.get_parameter("backbone.conv_stem.weight").mul_(2)
    (tmp_path / "again.pt").write_bytes(pack_encoder(encoder, known, side, {"images": 9}, exact=True))
    again = load_encoder(f"encoder:{tmp_path / 'again.pt'}").eval()
    x = torch.rand(2, 1, 40, 40, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert torch.equal(again(x), encoder(x))
    assert read_card(f"encoder:{tmp_path / 'again.pt'}")["origin"] == known["origin"]


@pytest.mark.parametrize("name", ["test_efficientnet", "test_resnet"])
def test_norms_in_parts_keep_the_activations_within_them(tmp_path: Path, name: str) -> None:
    whole = encoder_of(tmp_path, written(tmp_path, name, network(name).state_dict()))
    split = load_encoder(f"encoder:{tmp_path / 'own.pt'}", norm_groups=2)
    assert [one for one in split.modules() if isinstance(one, SplitBatchNorm)]
    assert split.state_dict().keys() == whole.state_dict().keys()
    x = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        torch.testing.assert_close(split.eval()(x), whole(x))
        whole_norms(split)
        torch.testing.assert_close(split.train()(x), whole.train()(x))


def test_a_network_that_trains_draws_nothing_from_the_common_generator() -> None:
    found = timm_network("test_vit", {"img_size": 32, "drop_rate": 0.5, "drop_path_rate": 0.5}).train()
    state = torch.get_rng_state()
    x = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        found(x)
    assert torch.equal(torch.get_rng_state(), state)
