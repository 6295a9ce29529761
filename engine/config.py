"""Frozen settings for each stage, with their meaning, their range and the paper's value; presets.

A `RunConfig` is complete: nothing about training is decided anywhere else, and it is stored with the run.
`override` sets fields from text ("heads.epochs=20").
"""

from __future__ import annotations

import dataclasses
import types
import typing
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal

from engine.errors import SettingError

# Where stage 1 starts: from random weights, or from the network or vectors named after one of these prefixes.
SCRATCH = "scratch"
ENCODER, TORCHVISION, TIMM, WEIGHTS, IMPORT = "encoder:", "torchvision:", "timm:", "weights:", "import:"
PRETRAINED = (TORCHVISION, TIMM, WEIGHTS)


def setting(
    default: Any, meaning: str, *, paper: Any = None, low: float | None = None, high: float | None = None
) -> Any:
    """A dataclass field that carries its meaning, the paper's value and its allowed range."""
    return field(default=default, metadata={"meaning": meaning, "paper": paper, "low": low, "high": high})


_kinds: dict[type[Any], dict[str, Any]] = {}


def _kinds_of(kind: type[Any]) -> dict[str, Any]:
    """The types of a group's fields, cached: resolving them takes longer than reading the settings."""
    if kind not in _kinds:
        _kinds[kind] = typing.get_type_hints(kind)
    return _kinds[kind]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Base of all settings: validates every field on construction.

    Raises:
        SettingError: naming the field, the value found and what is allowed.
    """

    def __post_init__(self) -> None:
        kinds = _kinds_of(type(self))
        for entry in fields(self):
            value = _coerce(entry.name, getattr(self, entry.name), kinds[entry.name])
            _check_range(entry.name, value, entry.metadata)
            object.__setattr__(self, entry.name, value)


def _coerce(name: str, value: Any, kind: Any) -> Any:
    """`value` as `kind`: whole floats become ints and ints become floats; else SettingError."""
    options = typing.get_args(kind)
    if typing.get_origin(kind) is Literal:
        if value in options:
            return value
        raise SettingError(f"{name} is {value!r}: choose one of {', '.join(map(str, options))}")
    if isinstance(kind, types.UnionType):
        if value is None and type(None) in options:
            return None
        kind = next(option for option in options if option is not type(None))
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if kind is int and isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, kind) and not (kind is int and isinstance(value, bool)):
        return value
    raise SettingError(f"{name} is {value!r}: expected {_kind_name(kind)}")


def _kind_name(kind: type) -> str:
    names = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
    return names.get(kind, kind.__name__)


def _check_range(name: str, value: Any, limits: typing.Mapping[str, Any]) -> None:
    low, high = limits.get("low"), limits.get("high")
    if value is None or isinstance(value, (str, bool)) or (low is None and high is None):
        return
    if (low is not None and not value >= low) or (high is not None and not value <= high):
        allowed = f"from {low}" if high is None else f"from {low} to {high}"
        raise SettingError(f"{name} is {value}: allowed {allowed}")


@dataclass(frozen=True, kw_only=True)
class ContrastiveViews(Settings):
    """Two of these views of an image must look alike to the encoder (stage 1)."""

    crop: float = setting(
        0.2,
        "smallest share of the image's area that a random crop keeps; 1 keeps the whole image",
        paper=0.2,
        low=0.01,
        high=1,
    )
    rotation: float = setting(0.0, "largest rotation, degrees", paper=0, low=0, high=180)
    zoom: float = setting(
        0.0, "largest zoom, drawn separately for width and height: from 1/(1+zoom) to 1+zoom", paper=0, low=0, high=2
    )
    shift: float = setting(0.0, "largest shift, as a share of the image's side", paper=0, low=0, high=1)
    shear: float = setting(0.0, "largest shear", paper=0, low=0, high=1)
    flip: float = setting(0.5, "probability of a mirror image", paper=0.5, low=0, high=1)
    jitter: float = setting(0.8, "probability that colours change", paper=0.8, low=0, high=1)
    brightness: float = setting(0.4, "largest change of brightness", paper=0.4, low=0, high=1)
    contrast: float = setting(0.4, "largest change of contrast", paper=0.4, low=0, high=1)
    saturation: float = setting(0.4, "largest change of saturation", paper=0.4, low=0, high=1)
    hue: float = setting(0.1, "largest turn of the colour wheel, in turns", paper=0.1, low=0, high=0.5)
    grey: float = setting(0.2, "probability of a grey image", paper=0.2, low=0, high=1)
    blur: float = setting(0.5, "probability of a Gaussian blur", paper=0.5, low=0, high=1)
    gamma: float = setting(
        0.0, "largest change of gamma: the exponent lies between 1/(1+gamma) and 1+gamma", paper=0, low=0, high=2
    )
    noise: float = setting(0.0, "largest standard deviation of added noise (white is 1)", paper=0, low=0, high=1)


@dataclass(frozen=True, kw_only=True)
class WeakViews(Settings):
    """Views that barely change an image: used for confidence (stage 2) and targets (stage 3).

    `shift` and `padding` add up. The authors' shift is 4 pixels at every size.
    """

    flip: float = setting(0.5, "probability of a mirror image", paper=0.5, low=0, high=1)
    shift: float = setting(0.125, "largest shift, as a share of the image's side", paper=0, low=0, high=1)
    padding: int = setting(
        0,
        "pixels that are added on every side before a random crop of the image's size: a further shift by up to as "
        "many pixels, whatever that size is",
        paper=4,
        low=0,
        high=1024,
    )
    edge: Literal["mirror", "black"] = setting(
        "mirror", "what a shift brings in: the image mirrored at its edge, or black", paper="black"
    )


_LAST_SHIFT = (
    "pixels that are added on every side before a random crop of the image's size, after everything else: a shift by "
    "up to as many pixels, whatever that size is"
)


@dataclass(frozen=True, kw_only=True)
class StrongViews(Settings):
    """Views that change an image as much as its meaning allows: the heads learn from these (stage 2)."""

    flip: float = setting(0.5, "probability of a mirror image", paper=0.5, low=0, high=1)
    operations: int = setting(4, "random operations per image", paper=4, low=0, high=16)
    rotation: float = setting(30.0, "largest rotation, degrees", paper=30, low=0, high=180)
    shear: float = setting(0.3, "largest shear", paper=0.1, low=0, high=1)
    shift: float = setting(0.3, "largest shift, as a share of the image's side", paper=0.1, low=0, high=1)
    tones: Literal["all", "light"] = setting(
        "all",
        "'all' also posterises, solarises, equalises; 'light' keeps to brightness, contrast, sharpness",
        paper="all",
    )
    lowest_factor: float = setting(
        0.1,
        "lowest factor of brightness, contrast, saturation and sharpness; 1 changes nothing",
        paper=0.05,
        low=0,
        high=2,
    )
    highest_factor: float = setting(
        1.9,
        "highest factor of brightness, contrast, saturation and sharpness; up to 1, views are only darker, paler "
        "and softer",
        paper=0.95,
        low=0,
        high=2,
    )
    solarise: float = setting(
        0.3, "lowest threshold of solarising, which inverts whatever is above it (white is 1)", paper=0, low=0, high=1
    )
    cutout: float = setting(
        0.5, "largest side of the blanked square, as a share of the image's side", paper=0.5, low=0, high=1
    )
    padding: int = setting(0, _LAST_SHIFT, paper=0, low=0, high=1024)
    edge: Literal["repeat", "black"] = setting(
        "repeat", "what lies beyond the edge of an image: its outermost pixels repeated, or black", paper="black"
    )


@dataclass(frozen=True, kw_only=True)
class JointViews(StrongViews):
    """The strong views that stage 3 learns from. The authors' are not those of stage 2."""

    operations: int = setting(4, "random operations per image", paper=3, low=0, high=16)
    shear: float = setting(0.3, "largest shear", paper=0.3, low=0, high=1)
    shift: float = setting(0.3, "largest shift, as a share of the image's side", paper=0.3, low=0, high=1)
    padding: int = setting(0, _LAST_SHIFT, paper=4, low=0, high=1024)


@dataclass(frozen=True, kw_only=True)
class ViewSettings(Settings):
    """The views of all stages: `contrastive` of stage 1, `strong` of stage 2 and `joint` of stage 3; `weak` of both.

    Where a frozen network keeps strong views (`FeatureSettings.strong_views`), they are those of `strong`, for
    stage 3 as well, which then has no use for `joint`.
    """

    contrastive: ContrastiveViews = field(default_factory=ContrastiveViews)
    weak: WeakViews = field(default_factory=WeakViews)
    strong: StrongViews = field(default_factory=StrongViews)
    joint: JointViews = field(default_factory=JointViews)


@dataclass(frozen=True, kw_only=True)
class EncoderSettings(Settings):
    """The network that turns an image into a feature vector."""

    backbone: Literal["small", "resnet18", "resnet34"] = setting(
        "resnet18", "'small' trains on a laptop; 'resnet18' and 'resnet34' need a GPU", paper="resnet18"
    )
    width: int = setting(
        16, "channels of the small backbone's first layer (it has 4 times as many features)", low=4, high=256
    )


@dataclass(frozen=True, kw_only=True)
class FeatureSettings(Settings):
    """Stage 1: contrastive training of the feature model (paper, section III-A)."""

    source: str = setting(
        SCRATCH,
        "'scratch' starts with random weights; 'encoder:NAME' or 'encoder:FILE.pt' with an encoder "
        "from this app, 'timm:NAME' with a network by timm's name (or 'timm:hf-hub:ORG/NAME'), "
        "'torchvision:NAME' with a network or weights by torchvision's name, 'weights:timm/NAME:FILE' or "
        "'weights:MODEL:FILE' with a file of weights (.safetensors, .pt) for timm's NAME or torchvision's MODEL; "
        "each replaces the network chosen here. 'import:FILE' uses external vectors (.npy, .parquet) as the "
        "features: nothing is trained on pixels, and stage 3 trains an adapter on them",
        paper="scratch",
    )
    objective: Literal["moco", "simclr", "byol", "attract"] = setting(
        "moco",
        "'moco' compares each image with a queue of earlier images, 'simclr' with the batch; 'byol' "
        "compares with none and predicts the features of a slower copy; 'attract' only pulls two views "
        "together, so all features collapse: it is there to show why the others do more",
        paper="moco",
    )
    epochs: int = setting(
        1000,
        "passes over the images; a trained network is fine-tuned for this many, and 0 keeps it frozen",
        paper=1000,
        low=0,
    )
    batch: int = setting(128, "images per step", paper=128, low=2)
    learning_rate: float = setting(0.015, "highest learning rate", paper=0.015, low=1e-6, high=10)
    warmup: float = setting(0.0, "share of the steps during which the learning rate rises", paper=0, low=0, high=0.9)
    weight_decay: float = setting(1e-4, "weight decay", paper=1e-4, low=0, high=1)
    temperature: float = setting(
        0.2,
        "temperature of the contrastive loss; lower values put more weight on near neighbours",
        paper=0.2,
        low=0.01,
        high=10,
    )
    projection: int = setting(128, "size of the projection in which the loss is computed", paper=128, low=2)
    hidden: int | None = setting(
        None,
        "size of the projector's hidden layer (and of BYOL's predictor); empty means the number of features",
        low=2,
    )
    coarse: float = setting(
        0.0,
        "share of the steps, at the beginning, that use views of half the side: a quarter of the arithmetic",
        paper=0,
        low=0,
        high=1,
    )
    queue: int = setting(
        12_800, "images that MoCo keeps as negatives (never more than the set has)", paper=12_800, low=2
    )
    key_momentum: float = setting(
        0.999, "momentum of the slower copy of the encoder (MoCo, BYOL)", paper=0.999, low=0, high=0.99999
    )
    norm_groups: int = setting(
        8,
        "groups of a batch that MoCo normalises separately, so that batch statistics leak nothing "
        "on one device (the authors shuffle between 4 GPUs)",
        paper=4,
        low=1,
    )

    weak_views: int = setting(
        0,
        "weak views of each image whose features a frozen network computes once, for later stages; 0 for none",
        paper=0,
        low=0,
        high=64,
    )
    strong_views: int = setting(
        0,
        "strong views of each image, as stage 2 has them, whose features a frozen network computes once, for "
        "stages 2 and 3; 0 for none",
        paper=0,
        low=0,
        high=64,
    )
    view_seed: int = setting(
        0,
        "seed of these views; it is not the run's, so that runs with other seeds share them",
        paper=0,
        low=0,
        high=2**31 - 1,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        kinds = (ENCODER, *PRETRAINED, IMPORT)
        if self.source != SCRATCH and not self.source.startswith(kinds):
            raise SettingError(
                f"source is {self.source!r}: expected scratch, encoder:NAME, torchvision:NAME, "
                "timm:NAME, weights:MODEL:FILE or import:FILE"
            )


@dataclass(frozen=True, kw_only=True)
class HeadSettings(Settings):
    """Stage 2: clustering heads by prototype pseudo-labelling (paper, section III-B)."""

    heads: int = setting(10, "heads trained in parallel; one is chosen", paper=10, low=1, high=256)
    epochs: int = setting(
        30,
        "rounds of E-step and M-step; an epoch of the authors has N/M of them (CIFAR-10: 30 epochs are 300 rounds)",
        paper=300,
        low=1,
    )
    images: int = setting(5000, "images labelled per E-step (M)", paper=5000, low=2)
    center_ratio: float = setting(
        0.5,
        "confident images that form a prototype, as a share of the images that each labels (M/K; with estimated sizes, "
        "of those that the smallest cluster labels)",
        paper=0.5,
        low=0.01,
        high=1,
    )
    passes: int = setting(8, "passes over the pseudo-labels per M-step", paper=8, low=1)
    batch: int = setting(128, "images per step and head", paper=128, low=1)
    learning_rate: float = setting(0.005, "Adam's learning rate", paper=0.005, low=1e-6, high=1)
    double_softmax: bool = setting(
        True,
        "cross-entropy on probabilities instead of logits, as in the authors' code: it acts "
        "as label smoothing and makes heads more confident",
        paper=True,
    )
    exclusive: bool = setting(False, "an image claimed by several prototypes goes to the nearest one only", paper=False)
    start: Literal["random", "kmeans", "neighbors"] = setting(
        "random",
        "source of the first round's labels: random heads (SPICE), k-means on the features, or k-means on a map "
        "of neighbourhoods (UMAP), which suits features that were not trained on these images (our extensions)",
        paper="random",
    )
    sizes: Literal["equal", "estimated"] = setting(
        "equal",
        "how many images a prototype labels: as many as every other (SPICE), or as many as its head finds in "
        "that cluster (our extension, for classes of unequal size)",
        paper="equal",
    )
    choose: Literal["loss", "consensus", "neighbors"] = setting(
        "loss",
        "the head with the lowest pseudo-label loss, the one the others agree with most, or the one whose labels "
        "are shared most often by an image and its nearest neighbours",
        paper="loss",
    )


@dataclass(frozen=True, kw_only=True)
class ReliableSettings(Settings):
    """Which pseudo-labels count as reliable (paper, section III-C)."""

    neighbors: int | None = setting(
        None, "nearest neighbours compared; empty means N/(10 K), at least 10 and at most 100", paper=100, low=1
    )
    agreement: float = setting(0.95, "share of the neighbours that must have the same label", paper=0.95, low=0, high=1)
    confidence: float = setting(0.95, "lowest probability of the label", paper=0.95, low=0, high=1)
    floor: float = setting(
        0.0,
        "smallest share of its images that every cluster keeps: its agreement threshold is lowered "
        "until it does, and the run reports this",
        paper=0,
        low=0,
        high=1,
    )


@dataclass(frozen=True, kw_only=True)
class JointSettings(Settings):
    """Stage 3: joint training from the reliable set (paper, section III-C; FixMatch)."""

    steps: int = setting(2**20, "training steps", paper=2**20, low=1)
    batch: int = setting(64, "reliable images per step", paper=64, low=1)
    unlabelled: int = setting(7, "unlabelled images for each reliable one", paper=7, low=1, high=64)
    learning_rate: float = setting(0.03, "highest learning rate", paper=0.03, low=1e-6, high=10)
    ending: float = setting(
        0.195,
        "learning rate of the last step, as a share of the highest; it falls along a cosine",
        paper=0.195,
        low=0,
        high=1,
    )
    weight_decay: float = setting(5e-4, "weight decay; none for scales and shifts of norms", paper=5e-4, low=0, high=1)
    threshold: float = setting(
        0.95, "least confidence at which a weak view teaches the strong one", paper=0.95, low=0, high=1
    )
    adapt: Literal["fixed", "flex", "free", "soft"] = setting(
        "fixed",
        "'fixed' requires that confidence for every image (FixMatch); 'flex' requires less for clusters "
        "that learn slowly (FlexMatch); 'free' requires the model's average confidence (FreeMatch); "
        "'soft' weights images by their confidence (SoftMatch)",
        paper="fixed",
    )
    extra: bool = setting(
        True, "learn from the extra images of stage 1 too, where a set has some (STL-10's unlabelled ones)", paper=True
    )
    reselect: int = setting(
        0,
        "number of times the reliable set is reselected, using the features of the averaged model",
        paper=0,
        low=0,
        high=100,
    )
    weight: float = setting(1.0, "weight of the unlabelled loss", paper=1, low=0, high=100)
    average: float = setting(0.999, "momentum of the averaged model that predicts", paper=0.999, low=0, high=0.99999)
    start: Literal["stages", "random"] = setting(
        "stages",
        "start from stages 1 and 2 (the paper's text) or from random weights (the authors' code)",
        paper="random",
    )


@dataclass(frozen=True, kw_only=True)
class ComputeSettings(Settings):
    """How the networks run. This changes the time, and the results only by rounding."""

    precision: Literal["auto", "float32", "bfloat16"] = setting(
        "auto", "precision of the encoder's products; 'auto' is bfloat16 on GPUs that support it, else float32"
    )
    compile: bool = setting(False, "compile the encoder: a minute or more before the first step, faster steps after it")


Preset = Literal[
    "quick",
    "photos",
    "fast",
    "paper",
    "shapes",
    "paper-stl10",
    "paper-cifar10",
    "paper-cifar100-20",
    "paper-imagenet10",
    "paper-imagenet-dogs",
    "paper-tiny-imagenet",
]


@dataclass(frozen=True, kw_only=True)
class RunConfig(Settings):
    """Everything that determines a run, apart from its images."""

    clusters: int = setting(10, "number of clusters K", low=2)
    seed: int = setting(0, "seed of every random choice", low=0, high=2**31 - 1)
    preset: Preset = setting("quick", "preset that the other settings came from")
    views: ViewSettings = field(default_factory=ViewSettings)
    encoder: EncoderSettings = field(default_factory=EncoderSettings)
    features: FeatureSettings = field(default_factory=FeatureSettings)
    heads: HeadSettings = field(default_factory=HeadSettings)
    reliable: ReliableSettings = field(default_factory=ReliableSettings)
    joint: JointSettings = field(default_factory=JointSettings)
    compute: ComputeSettings = field(default_factory=ComputeSettings)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.features.epochs == 0 and self.features.source == SCRATCH:
            raise SettingError(
                "features.epochs is 0, but the encoder starts with random weights: set at least 1, "
                "or choose a trained encoder with features.source=encoder:NAME"
            )
        if (self.features.weak_views or self.features.strong_views) and not self.frozen:
            raise SettingError(
                f"features.weak_views is {self.features.weak_views} and features.strong_views "
                f"{self.features.strong_views}, but only a frozen network has views to keep: choose a trained network "
                "(such as features.source=timm:NAME) with features.epochs=0, or set both to 0"
            )
        for name, views in (("strong", self.views.strong), ("joint", self.views.joint)):
            if views.lowest_factor > views.highest_factor:
                raise SettingError(
                    f"views.{name}.lowest_factor is {views.lowest_factor:g}, but views.{name}.highest_factor is "
                    f"{views.highest_factor:g}: choose a lowest factor that is not above the highest"
                )
        if self.joint.start == "random" and self.features.source.startswith(PRETRAINED):
            raise SettingError(
                f"joint.start is random, but stage 1 starts from a trained network "
                f"({self.features.source}): choose joint.start=stages, which keeps its weights"
            )

    @property
    def frozen(self) -> bool:
        """Whether stage 1 takes a trained network as it is."""
        source = self.features.source
        return self.features.epochs == 0 and source != SCRATCH and not source.startswith(IMPORT)

    @property
    def keeps_views(self) -> bool:
        """Whether stages 2 and 3 train on what a frozen network made of the images and their views."""
        return self.frozen and bool(self.features.weak_views or self.features.strong_views)


def override(config: RunConfig, *assignments: str) -> RunConfig:
    """`config` with fields set from texts such as "joint.steps=500", all at once.

    Raises:
        SettingError: when a text is not NAME=VALUE, the name is unknown or the value not allowed.
    """
    values = {}
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        if not equals:
            raise SettingError(f"setting {assignment!r} has no value: write it as stage.field=value")
        if name.strip() == "preset":
            raise SettingError("setting preset: it is not a single setting; choose it with --preset")
        values[name.strip()] = parse_value(text.strip())
    return with_settings(config, values)


def with_setting(config: RunConfig, name: str, value: Any) -> RunConfig:
    """`config` with the field at the dotted `name` replaced; raises SettingError."""
    return with_settings(config, {name: value})


def with_settings(config: RunConfig, values: dict[str, Any]) -> RunConfig:
    """`config` with fields replaced by dotted name, all at once, then validated together.

    Raises:
        SettingError: when a name is unknown, or a value is not allowed, alone or together with the others.
    """
    parts: dict[str, Any] = {}
    for name, value in values.items():
        first, *rest = name.split(".")
        try:
            # A top-level field is validated alone, a field of a group within its group.
            if rest and isinstance(group := getattr(config, first, None), Settings):
                parts[first] = _replaced(parts.get(first, group), rest, value)
            else:
                parts[first] = getattr(_replaced(config, [first, *rest], value), first)
        except SettingError as error:
            raise SettingError(f"setting {name}: {error}") from None
    return replace(config, **parts)


def _replaced(settings: Any, path: list[str], value: Any) -> Any:
    known = [entry.name for entry in fields(settings)]
    if path[0] not in known:
        raise SettingError(f"there is no {path[0]!r} here; known are {', '.join(known)}")
    current = getattr(settings, path[0])
    if isinstance(current, Settings) == (len(path) == 1):
        hint = "a group, not a field" if len(path) == 1 else "a field and has no parts"
        raise SettingError(f"{path[0]!r} is {hint}")
    return replace(settings, **{path[0]: value if len(path) == 1 else _replaced(current, path[1:], value)})


def parse_value(text: str) -> Any:
    """Text as None, bool, int, float or str, whichever fits first."""
    named = {"": None, "none": None, "true": True, "false": False}
    if text.lower() in named:
        return named[text.lower()]
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            continue
    return text


def flat(config: Settings, prefix: str = "") -> dict[str, Any]:
    """Every field under its dotted name, in order."""
    out: dict[str, Any] = {}
    for entry in fields(config):
        value = getattr(config, entry.name)
        name = f"{prefix}{entry.name}"
        out |= flat(value, name + ".") if isinstance(value, Settings) else {name: value}
    return out


def to_dict(config: RunConfig) -> dict[str, Any]:
    """Nested plain values, ready for JSON."""
    return dataclasses.asdict(config)


def from_dict(values: dict[str, Any], kind: type[Any] = RunConfig) -> Any:
    """The settings of `kind` from nested plain values; raises SettingError for anything else."""
    if not isinstance(values, dict):
        raise SettingError(f"{kind.__name__} is {values!r}: expected settings by name")
    kinds = _kinds_of(kind)
    if kind is ViewSettings and "strong" in values:
        # Runs of earlier versions had the same strong views in stages 2 and 3.
        values = {"joint": values["strong"], **values}
    unknown = set(values) - set(kinds)
    if unknown:
        raise SettingError(f"unknown settings {', '.join(sorted(unknown))} in {kind.__name__}")
    nested = {
        name: from_dict(value, kinds[name]) if _is_group(kinds[name]) else value for name, value in values.items()
    }
    return kind(**nested)


def _is_group(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Settings)
