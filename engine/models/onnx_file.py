"""A model as an ONNX file: uint8 pixels in, probabilities and distance out, checked against torch before it is kept.

Writing needs the package onnx, and the check and reading onnxruntime (`pip install 'spice-explorer[onnx]'`).
"""

from __future__ import annotations

import copy
import importlib
import importlib.util
import warnings
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from engine.errors import RunError, first_sentence
from engine.models.about import from_json
from engine.models.model import Model, Network, Recogniser
from engine.models.packing import KEY, metadata_of
from engine.stages.encoder import Encoder
from engine.views.tone import grey_matrix

OPSET = 17
# How far probabilities and distances may be from torch's.
MOST_DIFFERENCE = 1e-4
INPUT, OUTPUTS = "images", ("probabilities", "distance")
# Images on which it is checked, in batches of different sizes; half of them are noise.
CHECKED = (1, 7, 24)
TOLD = "pip install 'spice-explorer[onnx]'"


class _Arithmetic(nn.Module):
    """A recogniser in operations that ONNX has: scaling is two products with a matrix, which antialiasing is too."""

    def __init__(self, recogniser: Recogniser, size: tuple[int, int], channels: int) -> None:
        super().__init__()
        self.recogniser = recogniser
        encoder = recogniser.encoder
        self.expand = channels < encoder.channels
        self.grey = nn.Parameter(grey_matrix(torch.zeros(1, channels, 1, 1))[0].clone(), requires_grad=False)
        self.becomes_grey = channels > encoder.channels
        self.scaled = encoder.side is not None and size != (encoder.side, encoder.side)
        if self.scaled:
            down, across = (scaling(length, encoder) for length in size)
            self.down, self.across = nn.Parameter(down, requires_grad=False), nn.Parameter(across, requires_grad=False)

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        encoder = self.recogniser.encoder
        x = images.float() / 255
        if self.expand:
            x = x.expand(-1, encoder.channels, -1, -1)
        elif self.becomes_grey:
            x = (x * self.grey[:, None, None]).sum(1, keepdim=True)
        if self.scaled:
            x = (self.down @ x @ self.across.T).clamp(0, 1)
        x = (x - encoder.mean[:, None, None]) / encoder.deviation[:, None, None]
        return self.recogniser.told(encoder.backbone(x))


def scaling(length: int, encoder: Encoder) -> torch.Tensor:
    """(side, length): the matrix that scales a row or column of pixels as the encoder does."""
    side = encoder.side
    assert side is not None, "an encoder without a side does not scale"
    unit = torch.eye(length, dtype=torch.float64)[None, None]
    scaled = F.interpolate(unit, (side, length), mode=encoder.interpolation, antialias=True)
    return scaled[0, 0].float()


def onnx_file(model: Model, images: np.ndarray) -> tuple[bytes, float]:
    """The model as a file of ONNX, and by how much it differs from torch at most.

    Args:
        images: (M, C, H, W) uint8, some of the run's own, on which it is checked, and on noise.

    Raises:
        RunError: when a library is missing, the network has operations that ONNX lacks, or the file says something
            else than torch.
    """
    assert model.recogniser is not None, "a model of ONNX is one already"
    onnx = _library("onnx")
    about = model.about
    recogniser = copy.deepcopy(model.recogniser).cpu().eval()
    for part in recogniser.modules():
        if isinstance(part, Encoder):
            part.narrow = False
    plain = recogniser.to(memory_format=torch.contiguous_format)
    network = _Arithmetic(plain, (about.height, about.width), about.channels).eval()
    example = torch.zeros(2, about.channels, about.height, about.width, dtype=torch.uint8)
    written = onnx.load_from_string(_exported(network, example))
    for key, value in metadata_of(about).items():
        entry = written.metadata_props.add()
        entry.key, entry.value = key, value
    content = bytes(written.SerializeToString())
    difference = _difference(content, recogniser, images)
    if not difference <= MOST_DIFFERENCE:  # nor NaN
        raise RunError(
            f"the ONNX file differs from torch by {difference:.2g}, more than {MOST_DIFFERENCE:g}: it is not written; "
            "use --format safetensors"
        )
    return content, difference


def _exported(network: nn.Module, example: torch.Tensor) -> bytes:
    try:
        # torch's older exporter needs no package but onnx; it says that there is a newer one.
        with warnings.catch_warnings(), torch.no_grad(), TemporaryDirectory() as place:
            warnings.simplefilter("ignore")
            file = Path(place) / "model.onnx"
            torch.onnx.export(
                network,
                (example,),
                file,
                input_names=[INPUT],
                output_names=list(OUTPUTS),
                dynamic_axes={name: {0: "N"} for name in (INPUT, *OUTPUTS)},
                opset_version=OPSET,
                dynamo=False,
            )
            return file.read_bytes()
    except (torch.onnx.errors.OnnxExporterError, RuntimeError) as error:
        raise RunError(
            f"the network cannot be written as ONNX ({first_sentence(error)}): use --format safetensors"
        ) from None


def _difference(content: bytes, recogniser: Recogniser, images: np.ndarray) -> float:
    """The greatest difference between ONNX and torch, in batches of several sizes of images and of noise."""
    network, _ = _session(content, "the ONNX file")
    noise = np.random.default_rng(0).integers(0, 256, (sum(CHECKED), *images.shape[1:]), np.uint8)
    found = [0.0]
    for kind in (images, noise):
        start = 0
        for count in CHECKED:
            batch = np.ascontiguousarray(kind[start : start + count])
            start += count
            if not len(batch):
                break
            with torch.inference_mode():
                expected = [one.numpy() for one in recogniser(torch.from_numpy(batch.copy()))]
            said = network(batch)
            found += [float(np.abs(one - other).max()) for one, other in zip(said, expected, strict=True)]
    return float(np.max(found))


def opened_onnx(path: Path) -> Model:
    """The model in a file of ONNX that `onnx_file` made, ready to answer on the CPU; raises RunError."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise RunError(f"there is no file {path}: expected a model that the command model has written") from None
    network, metadata = _session(content, str(path))
    if KEY not in metadata:
        raise RunError(
            f"{path} is a network, but no model of a run: expected a file that the command model has written"
        )
    return Model(from_json(metadata[KEY], path), network)


def _session(content: bytes, where: str) -> tuple[Network, dict[str, str]]:
    runtime = _library("onnxruntime")
    try:
        session = runtime.InferenceSession(content, providers=["CPUExecutionProvider"])
    except Exception as error:  # it raises classes of its own, which differ between versions
        raise RunError(f"{where} cannot be opened by onnxruntime ({first_sentence(error)})") from None

    def network(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        probabilities, distances = session.run(list(OUTPUTS), {INPUT: pixels})
        return probabilities, distances

    return network, dict(session.get_modelmeta().custom_metadata_map)


def missing() -> str:
    """Which of the packages that ONNX needs is not there, and the command that installs it; "" where none is."""
    absent = [name for name in ("onnx", "onnxruntime") if importlib.util.find_spec(name) is None]
    return _without(absent[0]) if absent else ""


def _without(name: str) -> str:
    return f"ONNX needs the package {name}, which is not installed: {TOLD}"


def _library(name: str) -> Any:
    """An optional library; raises RunError, with the command that installs it, where it is not there."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        raise RunError(_without(name)) from None
