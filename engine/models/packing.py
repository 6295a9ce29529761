"""A model as a safetensors file: weights, and everything else in its metadata. Reading it never runs code."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from engine.errors import RunError, SpiceError, first_sentence, out_of_memory
from engine.models.about import About, from_json
from engine.models.calibration import Ruler
from engine.models.model import Model, Recogniser, on_device
from engine.networks.weights import UNREADABLE
from engine.stages.compute import memory_format
from engine.stages.encoder import Adapter, Heads
from engine.stages.encoder_file import built_encoder

# What the metadata calls the whole `About`, and its plain parts for people and other programs.
KEY = "spice_model"
ENCODER, ADAPTER, HEAD = "encoder.", "adapter.", "head."
RULER = ("centre", "scaling", "references")


def packed(model: Model) -> bytes:
    """The model as a safetensors file."""
    assert model.recogniser is not None, "a model of ONNX has no weights to pack"
    weights = {name: value.detach().cpu().contiguous() for name, value in model.recogniser.state_dict().items()}
    return bytes(save(weights, metadata=metadata_of(model.about)))


def metadata_of(about: About) -> dict[str, str]:
    """All of it under KEY, as JSON; and what a program without this app needs first."""
    return {
        KEY: about.to_json(),
        "classes": "\n".join(about.classes),
        "least_confidence": repr(about.thresholds.confidence),
        "most_distance": repr(about.thresholds.distance),
        "size": f"{about.width}x{about.height}",
        "mode": "RGB" if about.channels == 3 else "L",
        "fit": about.fit,
    }


def unpacked(path: Path, device: torch.device) -> Model:
    """The model in a safetensors file, ready to answer.

    Raises:
        RunError: when it is not there, damaged, or no model of this app.
    """
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            names = list(file.keys())
            weights = {name: file.get_tensor(name) for name in names}
    except FileNotFoundError:
        raise RunError(f"there is no file {path}: expected a model that the command model has written") from None
    except (SafetensorError, OSError) as error:
        raise RunError(f"{path} cannot be read ({first_sentence(error)}): export the model again") from None
    if KEY not in metadata:
        raise RunError(
            f"{path} holds weights, but no model of a run: expected a file that the command model has written"
        )
    about = from_json(metadata[KEY], path)
    try:
        return on_device(about, recogniser_of(about, weights, device), device)
    except (*UNREADABLE, SpiceError) as error:
        if out_of_memory(error) or isinstance(error, SpiceError):
            raise
        raise RunError(f"{path} is damaged ({first_sentence(error)}): export the model again") from None


def recogniser_of(about: About, weights: dict[str, torch.Tensor], device: torch.device) -> Recogniser:
    """The network with these weights; raises what torch raises for weights of another one."""
    encoder = built_encoder(about.network, _part(weights, ENCODER))
    encoder.memory_format = memory_format(device)
    encoder.to(memory_format=encoder.memory_format)
    of_adapter = _part(weights, ADAPTER)
    adapter = Adapter.of(of_adapter) if of_adapter else None
    of_head = _part(weights, HEAD)
    head = Heads(1, *of_head["out_weight"].shape[1:])
    head.load_state_dict(of_head)
    return Recogniser(encoder, adapter, head, Ruler(*(weights[name] for name in RULER)), about.home)


def _part(weights: dict[str, torch.Tensor], name: str) -> dict[str, torch.Tensor]:
    return {key.removeprefix(name): value for key, value in weights.items() if key.startswith(name)}
