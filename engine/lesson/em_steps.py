"""Repeats stage 2 of a run manually: one E-step or M-step at a time, with its results."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from engine.config import RunConfig
from engine.data.batches import DeviceImages
from engine.errors import RunError
from engine.runs.folder import RunFolder
from engine.runs.pipeline import batches_of, load_features
from engine.stages.heads import EStep, Round, Rounds, e_step, m_step


@dataclass(frozen=True, eq=False)
class Half:
    """The result of half a round.

    Attributes:
        round: counted from 0.
        found: the E-step's result; that of the same round after an M-step.
        now: `found` after an E-step; after an M-step, what an E-step would find with the heads as they
            have become, on the same views.
        ids: (M,) int64, the images that the places in `found` stand for.
        losses: (H,) float32 of the M-step; None after an E-step.
    """

    round: int
    found: EStep
    now: EStep
    ids: np.ndarray
    losses: np.ndarray | None


class Steps:
    """Stage 2 of the run in a folder, repeated: after all its rounds the heads equal the run's own.

    It calls the same functions as `learn_heads`, and writes nothing.
    """

    def __init__(self, folder: RunFolder, device: torch.device | str = "cpu") -> None:
        """Raises RunError before stage 1 is done."""
        self.config: RunConfig = folder.config()
        pixels = DeviceImages(folder.images(), torch.device(device))
        decided = folder.load("decided") if folder.has("decided") else {}
        features = load_features(folder, pixels)
        self._rounds = Rounds(
            self.config, batches_of(features, pixels), features, fixed=folder.fixed(), belief=decided.get("belief")
        )
        self.round = 0
        self._drawn: Round | None = None
        self._found: EStep | None = None

    @property
    def heads(self) -> torch.nn.Module:
        """The H heads as they are now."""
        return self._rounds.heads

    @property
    def next(self) -> str:
        """ "E" or "M": what `advance` will do."""
        return "E" if self._found is None else "M"

    @property
    def done(self) -> bool:
        """True after as many rounds as the run has."""
        return self.round >= self.config.heads.epochs

    def advance(self) -> Half:
        """The next E-step or M-step; raises RunError after the last."""
        if self.done:
            raise RunError(f"all {self.round} rounds of stage 2 are done: start again to see them once more")
        return self._e_step() if self._found is None else self._m_step(self._found)

    def _e_step(self) -> Half:
        self._drawn = self._rounds.draw(self.round)
        self._found = e_step(self.config.heads, self._rounds.heads, self._drawn)
        return Half(self.round, self._found, self._found, self._drawn.ids.numpy(), None)

    def _m_step(self, found: EStep) -> Half:
        assert self._drawn is not None
        losses = m_step(self.config.heads, self._rounds.heads, self._rounds.optimiser, self._drawn, found.labels)
        # Whatever the heads were made to believe before, they are asked now.
        now = e_step(self.config.heads, self._rounds.heads, replace(self._drawn, belief=None))
        half = Half(self.round, found, now, self._drawn.ids.numpy(), losses.cpu().numpy())
        self.round, self._drawn, self._found = self.round + 1, None, None
        return half
