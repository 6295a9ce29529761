"""python -m benchmarks chaos: kills, damaged files, full disks and hostile inputs, and what becomes of decisions and
results.

Each trial is followed by what the app does: the run is read as pages read it, resumed, and read again. Training happens
in forks of this process, which are killed for good (SIGKILL), or have a limit to the size of their files.
"""

from __future__ import annotations

import logging
import random
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.chaos_inputs import HARMS, HONEST, harmed
from benchmarks.chaos_runs import (
    Ended,
    decide,
    finished_run,
    forked,
    look,
    new_run,
    results,
    resume,
    resumed,
    rows_of,
    unlike,
)
from benchmarks.peak_memory import forgotten, peak
from benchmarks.pieces import Options
from benchmarks.report import table, write
from engine.curate.log import FILE as LOG
from engine.curate.log import damaged_logs
from engine.curate.salvage import is_gone
from engine.errors import SpiceError
from engine.runs.folder import DAMAGED, RunFolder
from engine.runs.results import observe
from engine.runs.safeguards.check import check
from engine.sources.open_source import open_source

# How many are tried of each, unless an option of that name says otherwise.
TRIED = {"kills": 200, "files": 400, "saves": 100, "inputs": 50}
WRONGS = ("lost decisions", "silent wrong results", "tracebacks", "advice that loses data")
DAMAGES = ("cut", "removed", "flipped")
# What opening a hostile input may take, beside what the process has already.
MOST_MEMORY, MOST_SECONDS = 2**28, 120.0
# Every how many kills one hits a process that writes decisions.
DECIDING = 4


@dataclass
class Trials:
    """What was tried of one kind, what became of it, and what went wrong, with an example of each."""

    kind: str
    tried: int = 0
    ended: Counter[str] = field(default_factory=Counter)
    wrong: dict[str, list[str]] = field(default_factory=lambda: {one: [] for one in WRONGS})

    def judge(self, about: str, found: Ended) -> None:
        """Counts what was said of a trial: no trace, and no advice to delete anything."""
        for told in found.said:
            if "Traceback" in told or "this is a bug" in told:
                self.wrong["tracebacks"].append(f"{about}: {told.strip().splitlines()[-1]}")
            if "delete" in told.lower() or "remove it" in told.lower():
                self.wrong["advice that loses data"].append(f"{about}: {told}")

    @property
    def row(self) -> list[object]:
        ends = ", ".join(f"{count} {name}" for name, count in sorted(self.ended.items()))
        return [self.kind, self.tried, ends, *(len(self.wrong[one]) for one in WRONGS)]


def measure(options: Options) -> None:
    """Writes results/chaos."""
    logging.getLogger("engine").addHandler(logging.NullHandler())
    asked = {name: usual if (given := getattr(options, name)) is None else given for name, usual in TRIED.items()}
    began = time.monotonic()
    found = trials(**asked)
    named = [(one.kind, name, text) for one in found for name in WRONGS for text in one.wrong[name]]
    examples = [[kind, name, text.replace("|", "\\|")] for kind, name, text in named]
    body = [
        "Runs on 60 drawn images, with 40 decisions. *Killed*: a process that trains, or that writes decisions, is "
        "killed at any moment and the run resumed, until it is finished; arrays and weights have to be those of a run "
        "that nobody disturbed, bit by bit. *Cut, removed, flipped*: one file of a finished run, each in turn, loses "
        "its end, is gone, or has one bit changed; the run is read, resumed and read again, and everything that is "
        "shown has to be as before, or missing with a sentence. *Nearly full disk*: no file may grow beyond a size "
        "that is drawn for each trial, while a run is trained, decisions are made and columns are kept. *Hostile "
        "inputs*: sources made to do harm (bombs, lies about sizes, names that lead elsewhere, programs, pipes, "
        f"noise), each opened in a process that may take {MOST_MEMORY / 2**20:,.0f} MB and {MOST_SECONDS:.0f} s: a "
        "sentence, or the honest images beside it as they are, and nothing written anywhere else.",
        table(["what", "tried", "how it ended", *WRONGS], [one.row for one in found]),
        f"It took {time.monotonic() - began:.0f} seconds. Not tried: power that is cut (a killed process leaves to the "
        "system what it has written), and two damaged files at once.",
    ]
    if examples:
        body.append(table(["what", "went wrong", "example"], examples[:40]))
    counted = {one.kind: {"tried": one.tried, "ended": dict(one.ended), **one.wrong} for one in found}
    data = {"asked": asked, **counted}
    write("chaos", "Chaos", data, "\n\n".join(body))


def trials(kills: int, files: int, saves: int, inputs: int, seed: int = 0) -> list[Trials]:
    """All trials, in a folder of their own."""
    chance = random.Random(seed)
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder:
        place = Path(folder)
        whole = finished_run(place / "whole")
        others = [*damaged(place, whole, files, chance), full(place, whole, saves, chance)]
        others.append(hostile(place, inputs, chance))
        return [killed(place, whole, kills, chance), *others]


# -- kills -----------------------------------------------------------------------------------------


def killed(place: Path, whole: RunFolder, kills: int, chance: random.Random) -> Trials:
    """Kills until `kills` processes have died in the middle of something."""
    told, expected, length = Trials("killed"), results(whole), _length(place)
    while told.tried < kills:
        run = new_run(place / f"killed-{told.tried}")
        ended, confirmed = None, []
        while ended is None:
            if told.tried < kills and told.tried % DECIDING == DECIDING - 1:
                confirmed += _kill_decisions(run, chance)
                told.tried += 1
            ended = resume(run, seconds=chance.uniform(0, length) if told.tried < kills else None)
            told.tried += ended is None
            length *= 1.02 if ended is None else 0.8  # the machine has other things to do, now more, now less
        told.judge(run.name, ended)
        told.ended[observe(run).state] += 1
        for name in unlike(expected, results(run)):
            told.wrong["silent wrong results"].append(f"{run.name}: {name}")
        lost = set(confirmed) - set(rows_of(run))
        told.wrong["lost decisions"] += [f"{run.name}: row {row}" for row in sorted(lost)]
        shutil.rmtree(run.path)
    return told


def _length(place: Path) -> float:
    """Seconds of a run that nobody disturbs."""
    run, began = new_run(place / "timed"), time.monotonic()
    resume(run)
    return time.monotonic() - began


def _kill_decisions(run: RunFolder, chance: random.Random) -> list[int]:
    """Rows that a process confirmed before it was killed."""
    return list(forked(lambda tell: decide(run, 10_000, tell), seconds=chance.uniform(0.05, 0.3)).told)


# -- damaged files ---------------------------------------------------------------------------------


def damaged(place: Path, whole: RunFolder, files: int, chance: random.Random) -> Iterator[Trials]:
    """Every file of a run in turn, in each way."""
    names = sorted(str(one.relative_to(whole.path)) for one in whole.path.rglob("*") if one.is_file())
    names = [one for one in names if Path(one).name not in ("lock", "decisions.sqlite-shm")]
    found = {kind: Trials(kind) for kind in DAMAGES}
    pairs = [(kind, name) for name in names for kind in DAMAGES]
    chance.shuffle(pairs)
    before = look(whole)
    for number in range(files):
        kind, name = pairs[number % len(pairs)]
        run = RunFolder(shutil.copytree(whole.path, place / f"damaged-{number}"))
        _damage(run.path / name, kind, chance)
        _follow(found[kind], f"{kind} {name}", run, before)
        shutil.rmtree(run.path)
    yield from found.values()


def _damage(file: Path, kind: str, chance: random.Random) -> None:
    content = bytearray(file.read_bytes())
    if kind == "removed" or not content:
        file.unlink()
    elif kind == "cut":
        file.write_bytes(content[: chance.randrange(len(content))])
    else:
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        file.write_bytes(content)


def _follow(told: Trials, about: str, run: RunFolder, before: Ended) -> None:
    """Reads the run, resumes it, and reads it again."""
    told.tried += 1
    rows = before.told[0]["decisions"]
    for moment in ("read", "resumed"):
        found = look(run) if moment == "read" else resumed(run)
        told.judge(about, found)
        shown = found.told[0] if found.told else {}
        for name in unlike(before.told[0], shown) if not found.said else []:
            told.wrong["silent wrong results"].append(f"{about}, {moment}: {name}")
        kept = shown.get("decisions", rows if found.said else {})
        lost = rows.keys() - kept.keys()
        if lost and not (damaged_logs(run.path) or is_gone(run.path / LOG)):
            told.wrong["lost decisions"].append(f"{about}, {moment}: {len(lost)} of {len(rows)}")
        if lost and moment == "resumed":
            told.ended[f"decisions could not be read, of {len(rows)} each, and that is said"] += len(lost)
    told.ended[_end(run, found)] += 1


def _end(run: RunFolder, found: Ended) -> str:
    """How a trial ended, in words."""
    if (run.path / DAMAGED).is_dir():
        return "made again" if observe(run).state == "finished" else "moved aside"
    if damaged_logs(run.path):
        return "log salvaged"
    if is_gone(run.path / LOG):
        return "log gone, and that is said"
    if any(one.trouble for one in _checked(run)):
        return "said"
    return "said" if found.said else "without effect"


def _checked(run: RunFolder) -> list[Any]:
    try:
        return list(check(run))
    except SpiceError:  # a run whose card is gone
        return []


# -- full disks ------------------------------------------------------------------------------------


def full(place: Path, whole: RunFolder, saves: int, chance: random.Random) -> Trials:
    """Processes whose files may not grow beyond some size."""
    told, expected = Trials("nearly full disk"), results(whole)
    sizes = sorted(one.stat().st_size for one in whole.path.rglob("*") if one.is_file())
    for number in range(saves):
        limit = max(0, chance.choice(sizes) - chance.choice((0, 1, 100, 4000)))
        run = new_run(place / f"full-{number}")
        made = forked(lambda tell, run=run: decide(run, 20, tell), limit=limit)  # type: ignore[misc]
        ended = resume(run, limit=limit)
        for one in (made, ended):
            if one is not None:
                told.judge(f"{limit:,} bytes", one)
        told.tried += 1
        told.ended["trained all the same" if observe(run).state == "finished" else "said"] += 1
        last = resume(run)
        assert last is not None
        told.judge(f"{limit:,} bytes, resumed", last)
        lost = set(made.told) - set(rows_of(run))
        told.wrong["lost decisions"] += [f"{limit:,} bytes: row {row}" for row in sorted(lost)]
        for name in unlike(expected, results(run)):
            told.wrong["silent wrong results"].append(f"{limit:,} bytes: {name}")
        shutil.rmtree(run.path)
    return told


# -- hostile inputs --------------------------------------------------------------------------------


def hostile(place: Path, inputs: int, chance: random.Random) -> Trials:
    """Sources that somebody made to do harm, each kind in turn."""
    told, names = Trials("hostile input"), list(HARMS)
    for number in range(inputs):
        name = names[number % len(names)]
        make, in_any_case = HARMS[name]
        folder = place / f"hostile-{number}" / "inside"
        folder.mkdir(parents=True)
        source = make(folder, chance)
        ended = forked(lambda tell, source=source: tell(_opened(source)), seconds=MOST_SECONDS)  # type: ignore[misc]
        told.tried += 1
        told.judge(name, ended)
        wrong = [f"wrote {one}" for one in harmed(folder)]
        if ended.killed:
            wrong.append("did not end in time")
        elif ended.told:
            tones, memory = ended.told[0]
            wrong += [f"{one} is not as it is" for one, tone in HONEST.items() if tones.get(one, tone) != tone]
            wrong += [f"took {memory / 2**20:,.0f} MB"] if memory > MOST_MEMORY else []
            if in_any_case and not HONEST.keys() <= tones.keys():
                wrong.append(f"read {sorted(tones)}")
        elif in_any_case:
            wrong.append(f"refused honest images: {ended.said}")
        told.wrong["silent wrong results"] += [f"{name}: {one}" for one in wrong]
        told.ended["said" if ended.said else "read"] += 1
        shutil.rmtree(folder.parent)
    return told


def _opened(source: Path) -> tuple[dict[str, int], int]:
    """The tone of each image of a source, and the bytes of memory that it took to open it."""
    before = forgotten()
    found = open_source(str(source), size=8).images
    return dict(zip(found.ids, found.pixels[:, 0, 0, 0].tolist(), strict=True)), peak() - before
