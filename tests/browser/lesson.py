"""A handmade lesson bundle: every field that the player draws, with numbers that a test can predict."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

ASSETS = Path(__file__).parents[2] / "assets" / "lesson"
KINDS = {"uint8": "u8", "uint16": "u16", "uint32": "u32", "int32": "i32", "float32": "f32"}
TITLES = (
    "The problem",
    "Views",
    "Features",
    "Confident images",
    "Prototypes",
    "Nearest images",
    "Agreement",
    "Reliable set",
    "Joint training",
)
KEYS = ("problem", "views", "features", "confident", "prototypes", "nearest", "agreement", "reliable", "joint")
FORMULA = "γₖ = (1 / |Sₖ|) · Σ fᵢ,  i ∈ Sₖ = the M · ρ / K images surest of k"


def array(values: np.ndarray) -> dict[str, Any]:
    """An array in the format of the bundle."""
    data = np.ascontiguousarray(values).astype(values.dtype.newbyteorder("<")).tobytes()
    return {"shape": list(values.shape), "dtype": KINDS[values.dtype.name], "data": base64.b64encode(data).decode()}


def sprite(pixels: np.ndarray, columns: int) -> dict[str, Any]:
    """A sheet of (n, 1, H, W) uint8."""
    count, _, height, width = pixels.shape
    rows = -(-count // columns)
    board = np.zeros((rows * columns, height, width), np.uint8)
    board[:count] = pixels[:, 0]
    board = board.reshape(rows, columns, height, width).transpose(0, 2, 1, 3)
    file = io.BytesIO()
    Image.fromarray(board.reshape(rows * height, columns * width)).save(file, "webp", lossless=True)
    data = base64.b64encode(file.getvalue()).decode()
    return {"data": data, "columns": columns, "width": width, "height": height, "count": count}


def bundle(pixels: np.ndarray, labels: np.ndarray, *, clusters: int) -> dict[str, Any]:
    """A bundle of images (n, 1, H, W) uint8 that get their `labels` (n,) during training."""
    n, rng = len(pixels), np.random.default_rng(0)
    members = [np.flatnonzero(labels == k).tolist() for k in range(clusters)]
    frames = _frames(labels.astype(np.uint16), members, rng)
    steps = [
        {
            "key": key,
            "title": title,
            "sentence": f"{title}: what this step is about, in a sentence that "
            "takes about as much room as the real ones do.",
            "formula": FORMULA,
            "source": "paper, section III-B, equation 3",
            "needs": "",
            "show": {},
            "play": None,
            "wrong": None,
        }
        for key, title in zip(KEYS, TITLES, strict=True)
    ]
    _fill(steps, pixels, members, clusters, rng)
    return {
        "format": 1,
        "run": "by-hand",
        "title": "digits",
        "images": n,
        "of": n,
        "clusters": clusters,
        "truth": True,
        "stages": {"features": True, "heads": True, "joint": True},
        "ids": array(np.arange(n, dtype=np.int32)),
        "names": [f"digit-{i}" for i in range(n)],
        "note": "",
        "sprite": sprite(pixels, 32),
        "map": "pca",
        "curves": [
            {"stage": stage, "losses": {"loss": [[s, 2 / (1 + s)] for s in range(11)]}}
            for stage in ("features", "heads", "joint")
        ],
        "frames": frames,
        "steps": steps,
        "quiz": {
            "labels": labels[:12].tolist(),
            "places": list(range(12)),
            "rejected": [i % 3 == 0 for i in range(12)],
            "why": [f"agreement 0.{i % 10}, 0.95 needed" for i in range(12)],
        },
        "xray": _xray(pixels, labels, clusters, rng),
    }


def _frames(labels: np.ndarray, members: list[list[int]], rng: np.random.Generator) -> list[dict[str, Any]]:
    n, clusters = len(labels), len(members)
    start = rng.random((n, 2))
    turn = 2 * np.pi * labels / clusters
    goal = 0.5 + 0.36 * np.stack([np.cos(turn), np.sin(turn)], 1) + rng.normal(0, 0.03, (n, 2))
    out: list[dict[str, Any]] = []
    for at, stage in enumerate(["features"] * 6 + ["heads"] * 6 + ["joint"] * 6):
        share, clustered = min(1, at / 8), stage != "features"
        points = np.clip(start + share * (goal - start), 0, 1).astype(np.float32)
        own = np.where(rng.random(n) < share, labels, rng.integers(0, clusters, n))
        out.append(
            {
                "stage": stage,
                "step": 2 * (at % 6),
                "of": 10,
                "points": array(points),
                "labels": array(own.astype(np.uint16)) if clustered else None,
                "confidence": array(rng.integers(120, 255, n).astype(np.uint8)) if clustered else None,
                "sizes": np.bincount(own, minlength=clusters).tolist() if clustered else None,
                "prototypes": [m[:8] for m in members] if clustered else None,
            }
        )
    return out


def _fill(
    steps: list[dict[str, Any]], pixels: np.ndarray, members: list[list[int]], clusters: int, rng: np.random.Generator
) -> None:
    n = len(pixels)
    surest = [m[:10] for m in members]
    alike = array(np.corrcoef(rng.random((clusters, 5))).astype(np.float32))
    views = sprite(np.repeat(pixels[:6], 8, 0) // 2 + 60, 8)
    ratios = [0.1, 0.2, 0.3, 0.5, 0.7, 0.9, 1.0]
    near = [
        {
            "example": e,
            "neighbours": members[0][:20],
            "labels": [0] * 17 + [1] * 3,
            "label": 0,
            "agreement": 0.85,
            "verdict": "rejected",
        }
        for e in members[0][:3]
    ]
    steps[0]["show"] = {"places": list(range(48)), "images": n}
    steps[1]["show"] = {"originals": list(range(6)), "sprite": views}
    steps[1]["play"] = _play("crop", "Crop strength", [{"sprite": views, "says": f"Crop {v}."} for v in ratios], ratios)
    steps[2]["show"] = {"frames": list(range(6))}
    points = array((0.5 + rng.normal(0, 0.004, (n, 2))).astype(np.float32))
    steps[2]["wrong"] = {
        "label": "no negatives, no stop-gradient",
        "says": "All features become one point.",
        "show": {"points": points, "spread": [1.31, 0.002]},
    }
    steps[3]["show"] = {"confident": surest, "confidence": [[0.99] * 10] * clusters, "heads": 5, "round": 3}
    steps[3]["wrong"] = {
        "label": "a collapsed head",
        "says": "One cluster takes 93% of the images.",
        "show": {"sizes": [n - clusters + 1] + [1] * (clusters - 1)},
    }
    steps[4]["show"] = {"prototypes": surest, "similarity": alike}
    steps[4]["play"] = _play(
        "center_ratio",
        "center_ratio",
        [
            {
                "prototypes": [m[: 3 + i] for m in members],
                "similarity": alike,
                "says": f"{3 + i} images form each prototype.",
                "truth": {"purity": 0.99 - i / 50},
            }
            for i in range(7)
        ],
        ratios,
    )
    steps[5]["show"] = {"claimed": [m[:16] for m in members], "unclaimed": 31, "twice": 12}
    steps[6]["show"] = {"examples": near, "histogram": array(np.arange(20, dtype=np.uint32))}
    steps[6]["play"] = _play(
        "neighbors",
        "Neighbours asked",
        [
            {"examples": near, "histogram": list(range(i, 20 + i)), "says": f"With {10 * i} neighbours."}
            for i in range(7)
        ],
        ratios,
    )
    steps[7]["show"] = {
        "per_cluster": [len(m) // 2 for m in members],
        "sizes": [len(m) for m in members],
        "accepted": members[0][:14],
        "refused": members[1][:14],
        "kept": n // 2,
        "rejected": n - n // 2,
    }
    steps[7]["wrong"] = {
        "label": "a threshold of 0",
        "says": "Everything is kept.",
        "show": {"per_cluster": [len(m) for m in members], "sizes": [len(m) for m in members], "truth": 0.871},
    }
    steps[8]["show"] = {"xray": True, "passing": [0.2, 0.5, 0.8, 0.9], "threshold": 0.95}
    steps[8]["play"] = _play(
        "threshold",
        "τ",
        [{"passing_now": v, "says": f"{v:.0%} pass.", "truth": {"right": 1 - v / 10}} for v in ratios],
        ratios,
    )


def _play(name: str, label: str, results: list[dict[str, Any]], values: list[float]) -> dict[str, Any]:
    return {"name": name, "label": label, "values": values, "start": 3, "results": results}


def _xray(pixels: np.ndarray, labels: np.ndarray, clusters: int, rng: np.random.Generator) -> dict[str, Any]:
    places, steps = list(range(8)), [0, 5, 10]
    chances = np.full((8, 3, clusters), 0.1 / clusters, np.float32)
    for i in places:
        chances[i, :, labels[i]] += np.array([0.5, 0.8, 0.9], np.float32)
    shown = np.repeat(pixels[:8], 3, 0)
    return {
        "places": places,
        "steps": steps,
        "threshold": 0.88,
        "adapt": "fixed",
        "weak": sprite(shown, 3),
        "strong": sprite(255 - shown, 3),
        "probabilities": array(chances),
        "loss": array(rng.random((8, 3)).astype(np.float32)),
        "weights": array((chances.max(2) >= 0.88).astype(np.float32)),
        "passes": array((chances.max(2) >= 0.88).astype(np.uint8)),
        "labels": array(np.repeat(labels[:8, None], 3, 1).astype(np.uint16)),
    }


def page(data: dict[str, Any]) -> str:
    """The one-file lesson of a bundle."""
    names = (ASSETS / "order.txt").read_text("utf-8").split()
    script = "\n".join((ASSETS / name).read_text("utf-8") for name in names)
    out = (ASSETS / "page.html").read_text("utf-8")
    for marker, text in (
        ("/*PLAYER.CSS*/", (ASSETS / "player.css").read_text("utf-8")),
        ("/*PLAYER.JS*/", script),
        ("/*BUNDLE*/", json.dumps(data).replace("<", "\\u003c")),
    ):
        out = out.replace(marker, text, 1)
    return out
