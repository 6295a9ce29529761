"""`Frame` and `Xray`: intermediate results of a stage at one step, kept for the replay of training."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from engine.events import Stage

if TYPE_CHECKING:  # pages read frames, and need not wait for torch
    import torch

# The number of frames per stage, in addition to the one before its first step.
FRAMES = 8
# Features of a frame are kept in this many directions: enough for a map, a sixteenth of 512.
DIRECTIONS = 32
# Images of each prototype that a frame remembers.
CONFIDENT = 16
# Features that are scaled to length 1 at a time.
BLOCK_ROWS = 2**16


@dataclass(frozen=True, eq=False)
class Frame:
    """A stage after `step` steps. Fields that the stage does not have are None.

    Attributes:
        vectors: (N, d) float16, d ≤ 32: features of length 1, in the directions that matter most.
            None where they are those of stage 1's end.
        labels: (H, N) uint16, by each head.
        confidence: (H, N) float16, 0–1.
        prototypes: (H, K, D) float16 of length 1.
        confident: (H, K, c) int32, c ≤ 16: the surest images of each cluster, surest first.
    """

    stage: Stage
    step: int
    vectors: np.ndarray | None = None
    labels: np.ndarray | None = None
    confidence: np.ndarray | None = None
    prototypes: np.ndarray | None = None
    confident: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class Xray:
    """m images after `step` steps of stage 3, in views drawn for this purpose.

    Attributes:
        ids: (m,) int64, rising.
        weak, strong: (m, C, h, w) uint8, sides scaled down to 64 where they are longer.
        probabilities: (m, K) float32, of the weak views, by the model as it is trained, with running
            statistics in the place of a batch's.
        loss: (m,) float32, cross-entropy of the strong view to the weak view's label, before weighing.
        weights: (m,) float32 in 0–1, how much that loss counts.
    """

    step: int
    ids: np.ndarray
    weak: np.ndarray
    strong: np.ndarray
    probabilities: np.ndarray
    loss: np.ndarray
    weights: np.ndarray


Keep = Callable[[Frame], None]
KeepXray = Callable[[Xray], None]
Seen = TypeVar("Seen")


def frame_steps(stage: Stage, steps: int) -> frozenset[int]:
    """The steps after which a frame is taken, 0 and `steps` among them.

    Stage 1's lie closer together at its beginning, where most moves.
    """
    bend = 2 if stage == "features" else 1
    return frozenset(round(steps * (part / FRAMES) ** bend) for part in range(FRAMES + 1))


def watch(
    stage: Stage, steps: int, take: Callable[[int], Seen], keep: Callable[[Seen], None] | None
) -> Callable[[int], None]:
    """What the training loop calls with the number of steps done: `keep` gets what is taken at the
    steps of frames; without it nothing is taken."""
    due = frame_steps(stage, steps) if keep else frozenset()

    def look(done: int) -> None:
        if keep and done in due:
            keep(take(done))

    return look


def condensed(vectors: torch.Tensor) -> np.ndarray:
    """(N, d) float16, d = min(32, D): features (N, D), scaled to length 1, along their leading
    directions (uncentred, so that products stay cosines as nearly as they can)."""
    import torch
    import torch.nn.functional as F

    def blocks() -> Iterator[torch.Tensor]:
        """Of length 1, a block at a time: all of them would be a second copy of the features."""
        for block in vectors.split(BLOCK_ROWS):
            # Features that have become NaN are the loop's to report, not a reason to fail here.
            yield F.normalize(block.float(), dim=1).nan_to_num()

    moments = torch.zeros(vectors.shape[1], vectors.shape[1], device=vectors.device)
    for unit in blocks():
        moments += unit.t() @ unit
    moments = moments.cpu().double()  # not every device has doubles
    directions = torch.linalg.eigh(moments).eigenvectors.flip(1)[:, :DIRECTIONS]
    # An eigenvector's sign is chance: its largest entry is made positive.
    largest = directions.gather(0, directions.abs().argmax(0, keepdim=True))
    directions = (directions * largest.sign()).float().to(vectors.device)
    return torch.cat([(unit @ directions).half() for unit in blocks()]).cpu().numpy()
