"""The model card: what a model is, what it was made of and how good it is, in Markdown."""

from __future__ import annotations

from typing import Any

from engine.models.about import About
from engine.shares import percent

SCORES = {
    "pseudo_label_loss": "loss on its own pseudo-labels",
    "head_agreement": "agreement of the heads",
    "size_entropy": "entropy of the cluster sizes (1: all equal)",
    "silhouette": "silhouette",
    "acc": "accuracy",
    "nmi": "NMI",
    "ari": "ARI",
}
FITS = {
    "crop": "their middle square",
    "pad": "all of each, on a border of its mean colour",
    "squeeze": "all of each, without regard to its aspect",
}


def model_card(about: About, file: str, difference: float | None = None) -> str:
    """The card of the model in `file`; `difference` is that of an ONNX file from torch."""
    parts = [
        f"# {about.run}: {len(about.classes)} classes",
        f"`{file}` labels images as the run **{_cell(about.run)}** (`{about.run_id}`) does after {about.stage}. The "
        "classes were found by clustering without labels (SPICE, arXiv 2103.09382); their names are people's.",
        *_classes(about),
        *_takes(about, difference),
        *_unknown(about),
        *_trained(about),
        *_scores(about),
        *_settings(about.settings),
    ]
    return "\n\n".join(parts) + "\n"


def _classes(about: About) -> list[str]:
    rows = [[place, name, about.home.count(place)] for place, name in enumerate(about.classes)]
    lost = ", ".join(_cell(one) for one in about.without)
    note = f"The model never gives these classes, which people made by hand and no cluster has become: {lost}."
    return ["## Classes", _table(["number", "name", "clusters"], rows), *([note] if lost else [])]


def _takes(about: About, difference: float | None) -> list[str]:
    colour = "colour (RGB)" if about.channels == 3 else "grey"
    depth = (
        f"Values of more than 8 bits become (value − low) · scale: {_depths(about)}."
        if about.depths
        else "Values of more than 8 bits: 16 bits are scaled to 8, floats from 0 to 1 to 0 to 255."
    )
    size = f"({about.channels}, {about.height}, {about.width})"
    return [
        "## What it takes",
        f"Images of {about.width}×{about.height} pixels in {colour}, uint8 {size}. Photographs of other sizes become "
        f"squares first: {FITS[about.fit]} (`{about.fit}`), scaled with bicubic interpolation. {depth}",
        *([] if difference is None else [_onnx(about, difference)]),
    ]


def _onnx(about: About, difference: float) -> str:
    return (
        f"ONNX: input `images`, uint8 (N, {about.channels}, {about.height}, {about.width}); outputs `probabilities`, "
        f"float32 (N, {len(about.classes)}), and `distance`, float32 (N,). Scaling to 0–1 and normalisation "
        f"are inside. It differs from torch's by at most {difference:.1g}."
    )


def _depths(about: About) -> str:
    return "; ".join(f"{name} low {low:g}, scale {scale:g}" for name, (low, scale) in about.depths.items())


def _unknown(about: About) -> list[str]:
    limits = about.thresholds
    return [
        "## Unknown",
        f"An image is *unknown* when its confidence is below **{limits.confidence:.4f}**, or its distance above "
        f"**{limits.distance:.4f}**. The distance is 1 minus the mean cosine of its features to those of the 5 nearest "
        "of up to 2,048 images of the run, which are in the file, once features are scaled to differ equally in all "
        "directions. Of the run's own images, 1 in 100 lie beyond each threshold, "
        f"{percent(limits.share)} beyond at least one. How many images of other kinds are recognised as unknown "
        "depends on how different they are.",
    ]


def _trained(about: About) -> list[str]:
    decided = about.decisions
    said = [f"{decided.get(name, 0):,} {name}" for name in ("decided", "rejected", "excluded")]
    taught = (
        f"Training followed decisions of people about {decided['taught']:,} images, which an earlier run had."
        if decided.get("taught")
        else "Training followed no decisions of people: they only named, merged and excluded."
    )
    return [
        "## What it was made of",
        f"{about.images:,} images of `{about.source}`, fingerprint `{about.fingerprint}`. {taught} Of its images,"
        f" people have since {', '.join(said)}; the excluded ones are not among those that the thresholds come from.",
    ]


def _scores(about: About) -> list[str]:
    parts = ["## Scores", "Without labels:", _stages(about.scores.get("stages", {}))]
    reliable = about.scores.get("reliable")
    if reliable:
        parts.append(
            f"{reliable['count']:,} of its labels ({percent(reliable['fraction'])}) are reliable: neighbours share "
            "them."
        )
    truth = about.scores.get("truth")
    if truth is None:
        return [*parts, "There was no ground truth to score with."]
    stages = {name: one for name, one in truth.items() if isinstance(one, dict)}
    return [
        *parts,
        "**With ground truth**, which the run's images had, and which neither training nor selection saw; clusters are "
        "matched to classes on the same images:",
        _stages(stages),
    ]


def _stages(stages: dict[str, dict[str, float | None]]) -> str:
    names = list(dict.fromkeys(name for one in stages.values() for name in one))
    rows = [
        [stage.replace("stage", "stage "), *("" if one.get(name) is None else f"{one[name]:.4f}" for name in names)]
        for stage, one in stages.items()
    ]
    return _table(["", *(SCORES.get(name, name) for name in names)], rows)


def _settings(settings: dict[str, Any]) -> list[str]:
    rows = [[f"`{name}`", value] for name, value in _flat(settings)]
    return ["## Settings", _table(["setting", "value"], rows)]


def _flat(settings: dict[str, Any], above: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for name, value in settings.items():
        found += _flat(value, f"{above}{name}.") if isinstance(value, dict) else [(f"{above}{name}", value)]
    return found


def _table(heads: list[str], rows: list[list[Any]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(_cell(one) for one in line)} |" for line in lines)


def _cell(value: Any) -> str:
    """`value` as it stands in a table, whatever people named a class."""
    return " ".join(str(value).replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").split())
