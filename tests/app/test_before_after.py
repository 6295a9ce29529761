"""The report of a run that was trained with decisions, with known labels before and after."""

from __future__ import annotations

import numpy as np
import pytest

from engine.curate.decisions import Decision
from engine.curate.provenance import Provenance
from engine.runs.folder import RunFolder
from engine.sources.open_source import Opened
from spice_explorer.queries import decisions, runs, training
from tests.app.conftest import CLUSTERS, IMAGES, Visit, demo, texts


@pytest.fixture
def trained_again(finished: RunFolder, few_digits: Opened, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    """A run that was trained with 30 true answers of each class."""
    assert few_digits.truth is not None
    for class_ in range(CLUSTERS):
        ids = np.flatnonzero(few_digits.truth.labels == class_)[:30]
        asked = Decision("relabel", "Ann", visit="Ann", images=ids, class_=class_, provenance=Provenance.SEEN)
        decisions.commit(demo(), [asked])
    monkeypatch.setattr("engine.runs.runner.Runner.submit", lambda *_: None)
    child = runs.folder_of(training.train_with_decisions(demo()))
    for name in ("heads", "reliable-heads", "reliable-joint"):
        child.save(name, dict(finished.load(name)))
    return child


def report(visit: Visit, run: RunFolder, labels: np.ndarray) -> str:
    """What the page says of a run whose model gives the images these labels."""
    run.save("joint", {"probabilities": np.eye(CLUSTERS, dtype=np.float32)[labels]})
    at = visit("curate", run=run.name)
    at.session_state["curate view"] = "Train with my decisions"
    at.run()
    assert not at.exception
    return texts(at)


def test_training_that_does_not_beat_the_suggestions_is_said_with_what_to_do(
    trained_again: RunFolder, few_digits: Opened, visit: Visit
) -> None:
    assert few_digits.truth is not None
    truth = few_digits.truth.labels
    total = int(np.asarray(trained_again.load("decided")["held"]).sum())
    said = report(visit, trained_again, (truth + 1) % CLUSTERS)
    found = decisions.before_after(trained_again)
    assert found is not None
    assert found.light is not None
    assert total / 2 < found.light <= total, "digits of a kind are alike even to a tiny network"
    assert "<th>suggestions</th>" in said
    assert (
        f"Training did not beat the suggestions: of {total} answers held back, the new run gets 0 right, and they get "
        f"{found.light}. Spread these instead: open demo and choose “Spread”."
    ) in said


def test_training_that_beats_them_is_not_warned_of(
    trained_again: RunFolder, few_digits: Opened, visit: Visit, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert few_digits.truth is not None
    said = np.zeros(IMAGES, np.int64)  # the classifier, were it no good
    monkeypatch.setattr("engine.runs.comparison.classified", lambda unit, *_: said[: len(unit)])
    text = report(visit, trained_again, few_digits.truth.labels)
    assert "<th>suggestions</th>" in text
    assert "did not beat" not in text


def test_a_run_of_an_earlier_version_is_compared_with_the_model_before_alone(
    trained_again: RunFolder, few_digits: Opened, visit: Visit
) -> None:
    assert few_digits.truth is not None
    old = {name: array for name, array in trained_again.load("decided").items() if name != "seen"}
    trained_again.save("decided", old)
    text = report(visit, trained_again, few_digits.truth.labels)
    assert "held back from training" in text
    assert "suggestions</th>" not in text
