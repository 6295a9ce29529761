"""Opens a model by its path: a run's folder, or a file that the command model has written."""

from __future__ import annotations

from pathlib import Path

import torch

from engine.errors import RunError
from engine.models.endings import ENDINGS
from engine.models.model import Model
from engine.models.of_run import model_of
from engine.models.onnx_file import opened_onnx
from engine.models.packing import unpacked
from engine.runs.folder import RunFolder


def open_model(path: Path, device: torch.device) -> Model:
    """The model of a run's folder, or in a file .safetensors or .onnx; the last computes on the CPU.

    Raises:
        RunError: when there is none.
    """
    if path.suffix == ENDINGS["safetensors"]:
        return unpacked(path, device)
    if path.suffix == ENDINGS["onnx"]:
        return opened_onnx(path)
    if path.is_file():
        raise RunError(f"{path} is no model: expected a run's folder, or a file .safetensors or .onnx")
    return model_of(RunFolder(path), device)
