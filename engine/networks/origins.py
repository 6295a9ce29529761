"""Where a trained network comes from: what it learned from, with or without labels, and under which licence.

Nothing is guessed: what neither timm nor the name of the weights says is "unknown".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

UNKNOWN: Final = "unknown"
# What the network learned from besides images: nothing, labels of images, or the texts that stood beside them.
Teaching = Literal["without", "with", "texts", "unknown"]
TAUGHT: dict[Teaching, str] = {
    "without": "without labels",
    "with": "with labels",
    "texts": "with the texts of its images",
    "unknown": "it is unknown whether with labels",
}


@dataclass(frozen=True)
class Origin:
    """Where a network's weights come from.

    Attributes:
        name: the library's name of network and weights.
        title: what people call it.
        data: the images that it was trained on.
        labels: whether it was trained with labels.
        licence: of the weights, by its short name.
        url: where its authors keep or describe it, "" if nobody says.
    """

    name: str
    title: str
    data: str
    labels: Teaching
    licence: str
    url: str

    @property
    def sentence(self) -> str:
        """ "DINOv2 small, trained on LVD-142M without labels; licence apache-2.0"."""
        data = "images that are unknown" if self.data == UNKNOWN else self.data
        return f"{self.title}, trained on {data}, {TAUGHT[self.labels]}; licence {self.licence}"


@dataclass(frozen=True)
class Proposed:
    """A network that the app proposes.

    Attributes:
        megabytes: of the download (10^6 bytes).
        features: D.
        side: of the images that it is given here, pixels.
        purpose: when to choose it.
    """

    origin: Origin
    megabytes: float
    features: int
    side: int
    purpose: str


def unknown(name: str) -> Origin:
    """Of weights that nobody says anything about."""
    return Origin(name, name, UNKNOWN, UNKNOWN, UNKNOWN, "")


def _hub(name: str) -> str:
    return f"https://huggingface.co/timm/{name}"


def _proposed(
    name: str, title: str, data: str, labels: Teaching, licence: str, size: tuple[float, int, int], purpose: str
) -> Proposed:
    return Proposed(Origin(name, title, data, labels, licence, _hub(name)), *size, purpose)


# The sizes are those of timm's networks with the classifier that is downloaded with them, in float32; licences and
# data are those of timm's configurations and model cards. A test compares what timm knows.
PROPOSED = (
    _proposed(
        "vit_small_patch14_dinov2.lvd142m",
        "DINOv2 small",
        "LVD-142M (142 million images)",
        "without",
        "apache-2.0",
        (88.2, 384, 224),
        "good features of photographs for its size, and no label was used",
    ),
    _proposed(
        "vit_base_patch14_dinov2.lvd142m",
        "DINOv2 base",
        "LVD-142M (142 million images)",
        "without",
        "apache-2.0",
        (346.3, 768, 224),
        "like DINOv2 small, with four times the arithmetic",
    ),
    _proposed(
        "vit_base_patch16_siglip_224.webli",
        "SigLIP base",
        "WebLI (images with texts from the web)",
        "texts",
        "apache-2.0",
        (371.5, 768, 224),
        "groups by what people write about images",
    ),
    _proposed(
        "eva02_base_patch16_clip_224.merged2b",
        "EVA-02 CLIP base",
        "Merged-2B (two billion images with texts)",
        "texts",
        "mit",
        (345.1, 768, 224),
        "groups by what people write about images",
    ),
    _proposed(
        "convnext_tiny.fb_in22k",
        "ConvNeXt tiny",
        "ImageNet-22k",
        "with",
        "apache-2.0",
        (178.5, 768, 224),
        "a convolutional network that learned many classes",
    ),
    _proposed(
        "mobilenetv3_large_100.ra_in1k",
        "MobileNetV3 large",
        "ImageNet-1k",
        "with",
        "apache-2.0",
        (22.0, 1280, 224),
        "for slow computers",
    ),
)

# What the parts of timm's tags say: sets of images, …
DATA = {
    "in1k": "ImageNet-1k",
    "in12k": "ImageNet-12k",
    "in21k": "ImageNet-21k",
    "in22k": "ImageNet-22k",
    "inat21": "iNaturalist 2021",
    "lvd142m": "LVD-142M",
    "lvd1689m": "LVD-1689M",
    "sat493m": "SAT-493M",
    "webli": "WebLI",
    "laion400m": "LAION-400M",
    "laion2b": "LAION-2B",
    "laiona": "LAION-Aesthetics",
    "datacompxl": "DataComp-XL",
    "datacomp1b": "DataComp-1B",
    "merged2b": "Merged-2B",
    "dfn2b": "DFN-2B",
    "dfn5b": "DFN-5B",
    "cc12m": "CC12M",
    "yfcc15m": "YFCC-15M",
    "openai": "OpenAI's 400 million images with texts",
}
LABELLED = {"in1k", "in12k", "in21k", "in22k", "inat21"}
# … methods that use no labels, sets of images with texts, and methods with another network as a teacher.
UNLABELLED = {"dino", "mae", "fcmae", "ijepa", "lvd142m", "lvd1689m", "sat493m"}
TEXTS = {
    *("webli", "laion400m", "laion2b", "laiona", "datacompxl", "datacomp1b", "merged2b", "dfn2b", "dfn5b", "cc12m"),
    *("yfcc15m", "openai", "metaclip", "metaclip2", "mclip", "mclip2", "tinyclip"),
}
TAUGHT_BY_A_NETWORK = {"mim", "radio", "eupe"}
FINE_TUNED = "ft"


def origin_of(name: str, config: Mapping[str, Any]) -> Origin:
    """Of timm's network `name` with the pretrained configuration `config`, a dict."""
    for proposed in PROPOSED:
        if proposed.origin.name == name:
            return proposed.origin
    tag = name.partition(".")[2] or str(config.get("tag") or "")
    parts = tag.split("_")
    data = [DATA[part] for part in parts if part in DATA]
    licence, hub = config.get("license") or UNKNOWN, config.get("hf_hub_id")
    url = f"https://huggingface.co/{hub}" if hub else str(config.get("origin_url") or config.get("url") or "")
    return Origin(name, name, ", ".join(dict.fromkeys(data)) or UNKNOWN, teaching(tag), licence, url)


def teaching(tag: str) -> Teaching:
    """Whether weights with timm's `tag` were trained with labels, as far as the tag says it.

    >>> teaching("lvd142m"), teaching("laion2b_ft_in12k_in1k"), teaching("mim_in22k")
    ('without', 'with', 'unknown')
    """
    parts = tag.split("_")
    tuned = parts[parts.index(FINE_TUNED) + 1 :] if FINE_TUNED in parts else []
    if LABELLED & set(tuned):
        return "with"
    said: tuple[tuple[set[str], Teaching], ...] = (
        (TAUGHT_BY_A_NETWORK, "unknown"),
        (TEXTS, "texts"),
        (UNLABELLED, "without"),
        (LABELLED, "with"),
    )
    return next((taught for words, taught in said if words & set(parts)), "unknown")
