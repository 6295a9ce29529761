"""Validates a decision and completes it for the log. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from engine.curate.curation import Class, Curation
from engine.curate.decisions import AUDIT, IDS, Decision, plain_name, plain_note
from engine.curate.provenance import Provenance
from engine.errors import DecisionError

MOST_CLASSES = 65_535


@dataclass(frozen=True, eq=False)
class Model:
    """A model's output for all images: labels (N,) int, confidence (N,) float 0–1, and its stage."""

    labels: np.ndarray
    confidence: np.ndarray
    stage: str


def judged(asked: Decision, curation: Curation, model: Model | None) -> Decision:
    """The decision, completed for the log; raises DecisionError if it is invalid."""
    reviewer = plain_name(asked.reviewer, "the reviewer")
    if asked.action in ("undo", "redo", "rename", "recolour", "merge"):
        one = replace(asked, reviewer=reviewer, images=np.zeros(0, IDS))
        return (_turning if asked.action in ("undo", "redo") else _about_class)(one, curation)
    one = _sorted(replace(asked, reviewer=reviewer), curation)
    if one.action == "note":
        return replace(one, text=plain_note(one.text))
    if not len(one.images) and one.action != "new class":
        raise DecisionError(f"no image to {one.action}: select one first")
    one = _with_model(one, curation, model)
    if one.action == "accept":
        return _accepting(one, curation)
    if one.action == "relabel":
        return replace(one, class_=_existing(one.class_, curation).number)
    return one if one.action in ("reject", "exclude") else _making(one, curation, model)


def _sorted(one: Decision, curation: Curation) -> Decision:
    """The decision with its images in order, each once; raises DecisionError for strange ones."""
    images, first = np.unique(np.asarray(one.images, np.int64), return_index=True)
    gone = images[(images < 0) | (images >= len(curation))]
    if len(gone):
        raise DecisionError(f"image {gone[0]:,} is not among the {len(curation):,} images of this run: reload the page")
    if one.new is not None and len(one.new) != len(one.images):
        raise DecisionError(f"{len(one.new):,} classes were shown for {len(one.images):,} images: reload the page")
    shown = None if one.new is None else np.asarray(one.new, np.int64)[first]
    return replace(one, images=images.astype(IDS), new=shown)


def _with_model(one: Decision, curation: Curation, model: Model | None) -> Decision:
    if model is None:
        raise DecisionError("the run has no labels yet: train until stage 2 is done")
    ids = one.images
    old = curation.home[np.where(curation.moved[ids], curation.given[ids], model.labels[ids])]
    whole = replace(one, old=old, said=model.labels[ids], sure=model.confidence[ids], stage=model.stage)
    return replace(whole, among=_drawn_from(whole, curation, model))


def _drawn_from(one: Decision, curation: Curation, model: Model) -> int | None:
    """How many images that nobody had looked at the class had from which an audit drew this one. The answer stands
    for so many: an audit looks at equally many images of every class. None if it was not drawn from these."""
    audit = one.among is not None or (one.text == AUDIT and one.action != "new class")
    if not audit or one.provenance != Provenance.SEEN or len(one.images) != 1:
        return None
    image = int(one.images[0])
    if curation.answered[image]:
        return int(curation.among[image]) or None
    return int(np.count_nonzero(~curation.answered & (curation.classes_of(model.labels) == one.old[0])))


def _accepting(one: Decision, curation: Curation) -> Decision:
    """The reviewer accepts the class that was shown, even if it has changed since."""
    if one.new is None:
        return replace(one, new=one.old)
    for number in np.unique(one.new).tolist():
        _existing(number, curation)
    return replace(one, new=curation.home[one.new])


def _existing(number: int | None, curation: Curation) -> Class:
    found = None if number is None else curation.class_(number)
    if found is None:
        there = len(curation.classes)
        raise DecisionError(f"there is no class {number}: choose one of the {there:,} classes")
    return found


def _turning(one: Decision, curation: Curation) -> Decision:
    undo = one.action == "undo"
    target = (curation.undoable if undo else curation.redoable)(one.reviewer)
    if target is None:
        what = "has no decision to undo" if undo else "has no undone decision"
        raise DecisionError(f"nothing to {one.action}: {one.reviewer} {what}")
    if undo and (made := curation.made(target)) is not None:
        others = curation.users(made, target)
        if others:
            raise DecisionError(
                f"the class “{_existing(made, curation).name}” is in use ({', '.join(sorted(others))}): "
                "move its images to other classes before undoing it"
            )
    return replace(one, target=target)


def _about_class(one: Decision, curation: Curation) -> Decision:
    kept = _existing(one.class_, curation)
    if one.action == "merge":
        gone = _existing(one.other, curation)
        if gone.number == kept.number:
            raise DecisionError(f"“{kept.name}” cannot be merged with itself: choose two classes")
        return replace(one, class_=kept.number, other=gone.number)
    if one.action == "recolour":
        colour = one.text.lower()
        if len(colour) != 7 or colour[0] != "#" or set(colour[1:]) - set("0123456789abcdef"):
            raise DecisionError(f"{one.text[:20]!r} is not a colour: expected one like #0070c2")
        return replace(one, class_=kept.number, text=colour)
    return replace(one, class_=kept.number, text=_free_name(one.text, curation, kept.number))


def _free_name(text: str, curation: Curation, own: int | None = None) -> str:
    name = plain_name(text, "the class")
    for other in curation.classes:
        if other.number != own and other.name.casefold() == name.casefold():
            raise DecisionError(f"a class “{other.name}” already exists: choose another name, or merge the two")
    return name


def _making(one: Decision, curation: Curation, model: Model | None) -> Decision:
    """A new class, or a part of a class that is to become one."""
    if curation.highest + 1 >= MOST_CLASSES:
        raise DecisionError(f"there are already {MOST_CLASSES:,} classes: merge some first")
    new = replace(one, class_=curation.highest + 1, text=_free_name(one.text, curation))
    if one.action == "new class":
        return new
    whole = _existing(one.other, curation)
    if np.any(one.old != whole.number):
        raise DecisionError(
            f"{np.count_nonzero(one.old != whole.number):,} of the images are not in "
            f"“{whole.name}” any more: start the split again"
        )
    assert model is not None
    size = int(np.count_nonzero(curation.classes_of(model.labels) == whole.number))
    if len(one.images) >= size:
        raise DecisionError(
            f"“{whole.name}” has {size:,} {'image' if size == 1 else 'images'} and "
            f"{len(one.images):,} are to go: a split needs at least one on each side"
        )
    return replace(new, other=whole.number)
