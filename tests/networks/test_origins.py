"""What is said of networks is what timm knows of them."""

from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch

from engine.networks.origins import PROPOSED, TAUGHT, Origin, Proposed, origin_of, teaching, unknown

NAMES = [one.origin.name for one in PROPOSED]


@pytest.mark.parametrize("proposed", PROPOSED, ids=NAMES)
def test_a_proposed_network_is_as_timm_builds_it(proposed: Proposed) -> None:
    name = proposed.origin.name
    config = timm.get_pretrained_cfg(name)
    with torch.device("meta"):
        whole = timm.create_model(name, pretrained=False)
        sized = {"img_size": proposed.side} if config.fixed_input_size else {}
        network = timm.create_model(name, pretrained=False, num_classes=0, **sized).eval()
        features = network(torch.zeros(1, 3, proposed.side, proposed.side))
    stored = sum(value.numel() * value.element_size() for value in whole.state_dict().values())
    assert proposed.megabytes == pytest.approx(stored / 1e6, abs=0.1)
    assert features.shape == (1, proposed.features)
    assert proposed.origin.licence == config.license
    assert proposed.origin.labels == teaching(config.tag)
    assert proposed.side == min(224, config.input_size[1])


def test_without_labels_and_with_them_are_both_proposed_and_the_smallest_is_small() -> None:
    assert {one.origin.labels for one in PROPOSED} == {"without", "with", "texts"}
    assert min(one.megabytes for one in PROPOSED) < 25
    assert len(set(NAMES)) == len(NAMES)


@pytest.mark.parametrize(
    ("tag", "labels"),
    [
        ("lvd142m", "without"),
        ("dinov3_lvd1689m", "without"),
        ("dino", "without"),
        ("mae", "without"),
        ("fcmae", "without"),
        ("in1k_ijepa", "without"),
        ("fcmae_ft_in22k_in1k", "with"),
        ("mae_in1k_ft_in1k", "with"),
        ("fb_in22k", "with"),
        ("in22k_ft_in22k_in1k", "with"),
        ("laion2b_ft_in12k_in1k", "with"),
        ("webli", "texts"),
        ("openai", "texts"),
        ("clip_laion2b_ft_320", "texts"),
        ("mim_in22k", "unknown"),
        ("mim_m38m_ft_in22k_in1k", "with"),
        ("eupe_lvd1689m", "unknown"),
        ("c_radio", "unknown"),
        ("something_else", "unknown"),
        ("", "unknown"),
    ],
)
def test_a_tag_says_whether_labels_were_used_or_nothing_is_said(tag: str, labels: str) -> None:
    assert teaching(tag) == labels


def test_what_timm_does_not_say_is_unknown() -> None:
    found = origin_of("convnextv2_atto.fcmae", {"license": "cc-by-nc-4.0", "hf_hub_id": "timm/convnextv2_atto.fcmae"})
    assert found == Origin(
        "convnextv2_atto.fcmae",
        "convnextv2_atto.fcmae",
        "unknown",
        "without",
        "cc-by-nc-4.0",
        "https://huggingface.co/timm/convnextv2_atto.fcmae",
    )
    bare = origin_of("own", {})
    assert bare == unknown("own")
    assert bare.sentence == (
        "own, trained on images that are unknown, it is unknown whether with labels; licence unknown"
    )


def test_the_data_are_read_from_the_tag_in_its_order() -> None:
    found = origin_of("vit_base_patch16_clip_224.laion2b_ft_in12k_in1k", {"license": "mit"})
    assert found.data == "LAION-2B, ImageNet-12k, ImageNet-1k"


def test_a_proposed_network_has_its_own_words() -> None:
    assert origin_of(NAMES[0], {"license": "other"}).sentence == (
        "DINOv2 small, trained on LVD-142M (142 million images), without labels; licence apache-2.0"
    )


@pytest.mark.parametrize("proposed", PROPOSED, ids=NAMES)
def test_the_readme_says_the_same(proposed: Proposed) -> None:
    rows = (Path(__file__).parents[2] / "README.md").read_text("utf-8").splitlines()
    row = next(row for row in rows if row.startswith(f"| `{proposed.origin.name}` |"))
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[2:4] == [f"{proposed.megabytes:.0f}", str(proposed.features)]
    assert cells[4].split(",")[1].strip() == TAUGHT[proposed.origin.labels]
    assert cells[5] == proposed.origin.licence
