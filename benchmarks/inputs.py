"""python -m benchmarks inputs: odd inputs, and whether each ends as the right images or in a sentence."""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal
from unittest.mock import patch

from benchmarks.made_inputs import Input, inputs
from benchmarks.report import table, write
from engine.errors import SpiceError
from engine.sources.open_source import Opened, open_source

Outcome = Literal["right", "refused in words", "wrong", "trace"]
OUTCOMES: tuple[Outcome, ...] = ("right", "refused in words", "wrong", "trace")
# How far JPEG and other lossy formats may change a tone.
TOLERANCE = 4


@dataclass(frozen=True)
class Judged:
    kind: str
    name: str
    outcome: Outcome
    why: str = ""


def judge(one: Input, place: Path) -> Judged:
    """Makes the input in the empty folder `place`, opens it as a person would, and compares it with its truth."""
    labels = one.images is not None and all(kind is not None for _, kind in one.images.values())
    try:
        source = str(one.make(place))
        opened = open_source(source, size=8, labels=labels)
        one.change(place)
        opened = open_source(source, size=8, labels=labels)
    except SpiceError as error:
        said = str(error)
        helpful = len(said) > 20 and "\n" not in said
        outcome: Outcome = "refused in words" if one.images is None and helpful else "wrong"
        return Judged(one.kind, one.name, outcome, said.replace(str(place), "…"))
    except Exception as error:  # which no input may cause
        return Judged(one.kind, one.name, "trace", f"{type(error).__name__}: {error}".replace(str(place), "…"))
    why = difference(one, opened)
    return Judged(one.kind, one.name, "wrong" if why else "right", why)


def difference(one: Input, opened: Opened) -> str:
    """What is not as it should be; "" if all is."""
    if one.images is None:
        return "it should be refused"
    tones = dict(zip(opened.images.ids, opened.images.pixels.mean((1, 2, 3)).tolist(), strict=True))
    if tones.keys() != one.images.keys():
        return f"read {sorted(tones)} in place of {sorted(one.images)}"
    off = [name for name, (tone, _) in one.images.items() if abs(tones[name] - tone) > TOLERANCE]
    if off:
        return f"other pixels: {off}"
    if opened.truth is not None:
        names = [opened.truth.class_names[label] for label in opened.truth.labels]
        classes = dict(zip(opened.images.ids, names, strict=True))
        if classes != {name: kind for name, (_, kind) in one.images.items()}:
            return f"other classes: {classes}"
    said = " ".join([*(skipped.name for skipped in opened.skipped), *opened.notes])
    return next((f"{name} is passed over in silence" for name in one.said if name not in said), "")


def judged_all() -> list[Judged]:
    """All inputs, in a cache of their own."""
    found = []
    with tempfile.TemporaryDirectory() as folder, patch.dict(os.environ, {"SPICE_EXPLORER_CACHE": f"{folder}/cache"}):
        for number, one in enumerate(inputs()):
            place = Path(folder) / str(number)
            place.mkdir()
            found.append(judge(one, place))
    return found


def measure() -> None:
    """Writes results/inputs."""
    found = judged_all()
    counts = Counter(one.outcome for one in found)
    rows = []
    for kind in dict.fromkeys(one.kind for one in found):
        own = [one for one in found if one.kind == kind]
        rows.append([kind, len(own), *(sum(one.outcome == outcome for one in own) for outcome in OUTCOMES)])
    rows.append(["**all**", len(found), *(counts[outcome] for outcome in OUTCOMES)])
    others = [[one.kind, one.name, one.outcome, one.why.replace("|", "\\|")] for one in found if one.outcome != "right"]
    body = "\n\n".join(
        [
            "Odd files, tables and archives, made by the benchmark with their truth. *Right*: every image is read with "
            "its own pixels and class, and what is not read is listed or noted. *Refused in words*: an input that has "
            "no right answer, or that cannot be read, ends in one sentence. *Wrong*: anything else, such as another "
            "class, or an image that is passed over in silence. The goal is wrong = 0, traces = 0.",
            table(["kind", "inputs tried", *OUTCOMES], rows),
            "What was said of those that are not read:",
            table(["kind", "input", "outcome", "sentence"], others),
        ]
    )
    data = {"counts": {outcome: counts[outcome] for outcome in OUTCOMES}, "inputs": [asdict(one) for one in found]}
    write("inputs", "Odd inputs", data, body)
