"""The file formats of models, with the ending by which each is known."""

from __future__ import annotations

ENDINGS = {"safetensors": ".safetensors", "onnx": ".onnx"}
