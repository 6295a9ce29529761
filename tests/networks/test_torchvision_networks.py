"""torchvision's networks without their classifier, and weights from files. Nothing is downloaded."""

from __future__ import annotations

import urllib.error
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torchvision import models

from engine.config import WEIGHTS
from engine.errors import SettingError
from engine.networks.pretrained import check_pretrained, pretrained
from engine.networks.torchvision_networks import backbone
from engine.stages import encoder_file
from engine.stages.encoder import SplitBatchNorm
from engine.stages.encoder_file import encoder_content, load_encoder, read_card

# The smallest of them: 1.4 million weights.
SMALL = "shufflenet_v2_x0_5"


def network(seed: int = 0, classes: int = 1000) -> nn.Module:
    torch.manual_seed(seed)
    return models.get_model(SMALL, num_classes=classes)


def written(folder: Path, state: Any, name: str = "weights.pt") -> str:
    """Saves `state` and returns the value for `features.source`."""
    if name.endswith(".safetensors"):
        save_file(state, folder / name)
    else:
        torch.save(state, folder / name)
    return f"{WEIGHTS}{SMALL}:{folder / name}"


@pytest.fixture
def cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Any, nn.Module], None]:
    """Puts weights where torchvision would download them to; downloads fail."""
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path / "hub"))

    def offline(*_: Any, **__: Any) -> None:
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr(torch.hub, "urlopen", offline)

    def put(weights: Any, trained: nn.Module) -> None:
        folder = tmp_path / "hub" / "checkpoints"
        folder.mkdir(parents=True)
        torch.save(trained.state_dict(), folder / weights.url.rsplit("/", 1)[-1])

    return put


# -- networks ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "features"), [(SMALL, 1024), ("mobilenet_v3_small", 1024), ("efficientnet_b0", 1280), ("resnet18", 512)]
)
def test_a_backbone_gives_what_its_classifier_would_have_got(model: str, features: int) -> None:
    found, width = backbone(model, 64)
    x = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    assert width == features
    with torch.no_grad():
        assert found.eval()(x).shape == (2, features)
        # Training it must not draw from torch's global generator.
        state = torch.get_rng_state()
        found.train()(x)
    assert torch.equal(torch.get_rng_state(), state)


def test_a_vision_transformer_is_built_for_its_side() -> None:
    found, width = backbone("vit_b_32", 64)
    assert width == 768
    assert found.get_parameter("encoder.pos_embedding").shape == (1, 2 * 2 + 1, 768)


@pytest.mark.parametrize("model", ["squeezenet1_1", "googlenet"])
def test_a_network_whose_classifier_cannot_be_taken_off_is_refused(model: str) -> None:
    with pytest.raises(SettingError, match=f"{model} has no classifier that can be removed"):
        backbone(model, 64)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("resnet5", "no image classifier 'resnet5': choose another, such as resnet50"),
        ("", "no image classifier ''"),
        ("fcn_resnet50", "no image classifier 'fcn_resnet50'"),
        ("ResNet50_Weights.BEST", "no weights 'ResNet50_Weights.BEST'"),
        ("Nothing.V1", "no weights 'Nothing.V1'"),
        ("FCN_ResNet50_Weights.DEFAULT", "not the weights of an image classifier"),
        ("squeezenet1_1", "no classifier that can be removed"),
    ],
)
def test_names_that_torchvision_does_not_know_are_refused(name: str, words: str) -> None:
    for look in (check_pretrained, pretrained):
        with pytest.raises(SettingError, match=words):
            look(f"torchvision:{name}")


# -- torchvision's own weights -----------------------------------------------------------------


@pytest.mark.parametrize("name", [SMALL, "ShuffleNet_V2_X0_5_Weights.IMAGENET1K_V1"])
def test_weights_come_by_the_name_of_the_network_or_their_own(
    cached: Callable[[Any, nn.Module], None], name: str
) -> None:
    cached(models.ShuffleNet_V2_X0_5_Weights.IMAGENET1K_V1, network())
    found = pretrained(f"torchvision:{name}")
    assert (found.model, found.side) == (SMALL, 224)
    assert found.mean.tolist() == pytest.approx([0.485, 0.456, 0.406])
    assert found.deviation.tolist() == pytest.approx([0.229, 0.224, 0.225])
    own = network().state_dict()
    assert found.state.keys() == own.keys() - {"fc.weight", "fc.bias"}
    assert all(torch.equal(value, own[key]) for key, value in found.state.items())


def test_the_side_is_that_of_the_weights(cached: Callable[[Any, nn.Module], None]) -> None:
    weights = models.RegNet_Y_400MF_Weights.IMAGENET1K_V2
    cached(weights, models.regnet_y_400mf())
    assert pretrained("torchvision:regnet_y_400mf").side == weights.transforms().crop_size[0]


@pytest.mark.usefixtures("cached")
def test_without_a_network_one_sentence_says_what_was_tried_and_what_to_do() -> None:
    url = models.ShuffleNet_V2_X0_5_Weights.DEFAULT.url
    with pytest.raises(SettingError) as caught:
        pretrained(f"torchvision:{SMALL}")
    assert f"could not be downloaded from {url} (<urlopen error no route to host>)" in str(caught.value)
    assert str(caught.value).endswith(f"features.source=weights:{SMALL}:FILE")
    check_pretrained(f"torchvision:{SMALL}")  # the name alone is valid


# -- a file of weights -------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["w.safetensors", "w.pt", "w.pth"])
@pytest.mark.parametrize("classes", [1000, 7])
def test_weights_come_from_a_file_whatever_its_classifier(tmp_path: Path, name: str, classes: int) -> None:
    state = network(classes=classes).state_dict()
    found = pretrained(written(tmp_path, state, name)).state
    assert all(torch.equal(value, state[key]) for key, value in found.items())


@pytest.mark.parametrize("nest", ["state_dict", "model", "module", "no classifier", "half", "old"])
def test_weights_may_be_wrapped_or_incomplete_where_it_does_not_matter(tmp_path: Path, nest: str) -> None:
    own = network().state_dict()
    state: Any = {
        "state_dict": {"epoch": 3, "state_dict": own},
        "model": {"model": own, "optimizer": {}},
        "module": {f"module.{key}": value for key, value in own.items()},
        "no classifier": {k: v for k, v in own.items() if not k.startswith("fc.")},
        "half": {k: v.half() if v.is_floating_point() else v for k, v in own.items()},
        "old": {k: v for k, v in own.items() if not k.endswith("num_batches_tracked")},
    }[nest]
    found = pretrained(written(tmp_path, state)).state
    tolerance = 1e-3 if nest == "half" else 0
    for key, value in found.items():
        torch.testing.assert_close(value, own[key], rtol=tolerance, atol=tolerance)


class Harmful:
    def __reduce__(self) -> tuple[Any, ...]:
        return (print, ("run",))


def test_files_that_are_no_weights_are_refused_and_nothing_of_them_is_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "text.pt").write_text("hello")
    (tmp_path / "text.safetensors").write_text("hello")
    torch.save({"a": Harmful()}, tmp_path / "harmful.pt")
    torch.save(network(), tmp_path / "whole.pt")
    torch.save([1, 2], tmp_path / "list.pt")
    for name, words in {
        "text.pt": r"contains no readable weights \(.+\): save the network's state_dict",
        "text.safetensors": "contains no readable weights",
        "harmful.pt": "contains no readable weights",
        "whole.pt": "contains no readable weights",
        "list.pt": "contains no named weights",
        "gone.pt": "there is no file .*gone.pt",
    }.items():
        with pytest.raises(SettingError, match=words):
            pretrained(f"{WEIGHTS}{SMALL}:{tmp_path / name}")
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("source", ["weights:resnet50", "weights:", "weights:resnet50:"])
def test_a_file_of_weights_needs_the_name_of_its_network(source: str) -> None:
    with pytest.raises(SettingError, match="write weights:MODEL:FILE"):
        pretrained(source)


def test_weights_of_another_network_are_refused_with_what_differs(tmp_path: Path) -> None:
    own = network().state_dict()
    lacking = {k: v for k, v in own.items() if not k.startswith("conv5.1.")}
    more = {**own, "extra.weight": torch.zeros(1)}
    other = {**own, "conv1.0.weight": torch.zeros(8, 3, 3, 3)}
    wild = {**own, "conv1.0.weight": torch.full_like(own["conv1.0.weight"], float("nan"))}
    for state, words in (
        (
            lacking,
            f"weights.pt does not fit {SMALL}: it lacks conv5.1.weight, conv5.1.bias, "
            "conv5.1.running_mean and 1 more; name the network it was made for",
        ),
        (more, "it has unknown extra.weight"),
        (other, "conv1.0.weight is 8×3×3×3 instead of 24×3×3×3"),
        (wild, "not finite: conv1.0.weight"),
    ):
        with pytest.raises(SettingError, match=words):
            pretrained(written(tmp_path, state))


def test_a_transformers_file_says_the_side_of_its_images(tmp_path: Path) -> None:
    state = models.vit_b_32(image_size=96).state_dict()
    torch.save(state, tmp_path / "vit.pt")
    assert pretrained(f"{WEIGHTS}vit_b_32:{tmp_path / 'vit.pt'}").side == 96


# -- as encoders -------------------------------------------------------------------------------


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """An encoder file, made from a file of weights that no longer exists."""
    source = written(tmp_path, network().state_dict())
    (tmp_path / "own.pt").write_bytes(encoder_content(source))
    (tmp_path / "weights.pt").unlink()
    return tmp_path / "own.pt"


def test_an_encoder_of_torchvision_comes_back_from_its_file_alone(file: Path) -> None:
    encoder = load_encoder(f"encoder:{file}").eval()
    x = torch.rand(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    own = network()
    own.fc = nn.Identity()  # type: ignore[assignment]
    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    by_hand = (x - mean[:, None, None]) / deviation[:, None, None]
    with torch.no_grad():
        torch.testing.assert_close(encoder(x), own.eval()(by_hand))
    assert (encoder.features, encoder.side, encoder.channels) == (1024, 224, 3)
    card = read_card(f"encoder:{file}")
    assert (card["torchvision"], card["began"]) == (SMALL, "weights.pt")


def test_its_images_are_scaled_to_its_native_side(file: Path) -> None:
    encoder, seen = load_encoder(f"encoder:{file}").eval(), []
    stem = encoder.backbone.get_submodule("conv1")
    stem.register_forward_pre_hook(lambda _, x: seen.append(tuple(x[0].shape)))
    with torch.no_grad():
        encoder(torch.rand(1, 1, 8, 8))
    assert seen == [(1, 3, 224, 224)]


def test_norms_in_parts_keep_what_the_network_set(tmp_path: Path) -> None:
    model = "mobilenet_v3_small"  # its normalization layers differ from torch's defaults
    torch.save(models.get_model(model).state_dict(), tmp_path / "w.pt")
    (tmp_path / "own.pt").write_bytes(encoder_content(f"{WEIGHTS}{model}:{tmp_path / 'w.pt'}"))
    encoder = load_encoder(f"encoder:{tmp_path / 'own.pt'}", norm_groups=2)
    norms = [one for one in encoder.modules() if isinstance(one, SplitBatchNorm)]
    assert {(one.eps, one.momentum) for one in norms} == {(0.001, 0.01)}


def test_a_card_that_names_another_network_is_refused(file: Path) -> None:
    content = torch.load(file, weights_only=True)
    for name in ("resnet18", "resnet5"):
        torch.save({**content, "card": {**content["card"], encoder_file.TORCHVISION_NAME: name}}, file)
        with pytest.raises(SettingError, match=f"{file} is damaged"):
            load_encoder(f"encoder:{file}")
