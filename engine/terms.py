"""What people read: the names of stages, scores, verdicts and settings, and how values are written. The app and the
report say the same."""

from __future__ import annotations

from typing import Any

# By stage, of `engine.events.STAGES`.
STAGE_TITLES = {"features": "Stage 1 · features", "heads": "Stage 2 · heads", "joint": "Stage 3 · joint"}
SCORE_NAMES = {
    "pseudo_label_loss": "pseudo-label loss",
    "head_agreement": "head agreement",
    "size_entropy": "size entropy",
    "silhouette": "silhouette",
}
SCORE_MEANINGS = {
    "pseudo_label_loss": "Loss of the chosen head on its own pseudo-labels.",
    "head_agreement": "Mean mutual information between the heads' labels, 0 to 1: high means that "
    "independent heads found the same clusters.",
    "size_entropy": "1 when all clusters are the same size, 0 when one contains every image.",
    "silhouette": "How much nearer images are to their own cluster than to the next one, −1 to 1.",
}
TRUTH_NAMES = {"acc": "ACC", "nmi": "NMI", "ari": "ARI"}

# In the order of engine.stages.reliable.Verdict.
REASONS = ("reliable", "neighbours disagree", "not confident", "neither")
EXPLANATIONS = (
    "Its neighbours agree and the model is confident.",
    "The model is confident, but too many of its nearest neighbours have another label.",
    "Its neighbours agree, but the model is not confident.",
    "Its neighbours disagree and the model is not confident.",
)

# Each group of settings, by dotted name.
SETTING_GROUPS = (
    ("features", "Stage 1 · features"),
    ("heads", "Stage 2 · clustering heads"),
    ("reliable", "Reliable set"),
    ("joint", "Stage 3 · joint training"),
    ("encoder", "Encoder"),
    ("views.contrastive", "Views · contrastive (stage 1)"),
    ("views.weak", "Views · weak (stages 2 and 3)"),
    ("views.strong", "Views · strong (stage 2)"),
    ("views.joint", "Views · strong (stage 3)"),
    ("compute", "Compute"),
)


def plain(value: Any) -> str:
    """A value as a person writes it: 1048576 → "1,048,576", 0.0001 → "0.0001", True → "on"."""
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:g}" if isinstance(value, float) else str(value)


def duration(seconds: float) -> str:
    """ "8 s", "3 min 20 s", "2 h 05 min"; no line break takes a number and its unit apart."""
    whole = round(seconds)
    if whole < 60:
        return _joined((f"{whole}", "s"))
    if whole < 3600:
        return _joined((f"{whole // 60}", "min"), (f"{whole % 60:02d}", "s"))
    return _joined((f"{whole // 3600}", "h"), (f"{whole % 3600 // 60:02d}", "min"))


def _joined(*figures: tuple[str, str]) -> str:
    return " ".join(f"{figure}\N{NO-BREAK SPACE}{unit}" for figure, unit in figures)
