"""ONNX: it says what torch says, or is not written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from engine.config import EncoderSettings
from engine.errors import RunError
from engine.models import onnx_file as module
from engine.models.about import About
from engine.models.model import Model
from engine.models.of_run import model_of
from engine.models.onnx_file import MOST_DIFFERENCE, OPSET, onnx_file, opened_onnx, scaling
from engine.models.open_model import open_model
from engine.runs.folder import RunFolder
from engine.stages.encoder import Encoder, Interpolation
from tests.models.conftest import CPU, finish
from tests.tiny_runs import FROZEN_SIDE, MakeRun, drawn

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")


def written(model: Model, images: np.ndarray, place: Path) -> Path:
    content, difference = onnx_file(model, images)
    assert difference <= MOST_DIFFERENCE
    place.write_bytes(content)
    return place


def test_onnxruntime_says_what_torch_says_of_batches_of_any_size(bars: RunFolder, model: Model, tmp_path: Path) -> None:
    file = written(model, bars.images().pixels, tmp_path / "m.onnx")
    onnx.checker.check_model(onnx.load(file), full_check=True)
    assert next(one.version for one in onnx.load(file).opset_import if not one.domain) == OPSET >= 17
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    only = session.get_inputs()[0]
    assert (only.name, only.type, only.shape) == ("images", "tensor(uint8)", ["N", 1, 8, 8])
    pixels, _ = drawn(seed=3, images=50)
    for count in (1, 2, 50):
        batch = pixels.pixels[:count]
        for one, other in zip(session.run(None, {"images": batch}), model.network(batch), strict=True):
            assert np.abs(one - other).max() <= MOST_DIFFERENCE


def test_a_file_of_onnx_predicts_like_the_run(bars: RunFolder, model: Model, tmp_path: Path) -> None:
    found = open_model(written(model, bars.images().pixels, tmp_path / "m.onnx"), CPU)
    assert found.about == model.about
    one, other = (each.answer(bars.images().pixels) for each in (found, model))
    assert np.array_equal(one.classes, other.classes)
    np.testing.assert_allclose(one.distance, other.distance, atol=MOST_DIFFERENCE)


def test_a_transformer_that_scales_grey_images_is_written_too(
    make_run: MakeRun, frozen: dict[str, Any], tmp_path: Path
) -> None:
    folder = finish(make_run(**frozen))
    model = model_of(folder, CPU)
    assert model.recogniser is not None
    assert model.recogniser.encoder.side == FROZEN_SIDE  # of images of 8×8
    assert model.recogniser.encoder.channels == 3
    found = opened_onnx(written(model, folder.images().pixels, tmp_path / "m.onnx"))
    one, other = (each.network(folder.images().pixels)[0] for each in (found, model))
    assert np.abs(one - other).max() <= MOST_DIFFERENCE


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size", [(48, 30), (7, 9), (16, 20)])
def test_scaling_is_a_product_with_two_matrices(interpolation: Interpolation, size: tuple[int, int]) -> None:
    encoder = Encoder(EncoderSettings(width=4), channels=3, side=16, fixed_side=True, interpolation=interpolation)
    x = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(0))
    expected = F.interpolate(x, (16, 16), mode=interpolation, antialias=True)
    down, across = (scaling(length, encoder) for length in size)
    torch.testing.assert_close(down @ x @ across.T, expected, rtol=0, atol=1e-5)


def test_a_file_that_says_something_else_is_not_written(
    bars: RunFolder, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    export = module._exported

    def wrong(network: Any, example: torch.Tensor) -> bytes:
        network.recogniser.encoder.mean.add_(0.01)
        content = export(network, example)
        network.recogniser.encoder.mean.sub_(0.01)
        return content

    monkeypatch.setattr(module, "_exported", wrong)
    with pytest.raises(RunError, match=r"differs from torch by 0\.\d+, more than 0.0001: it is not written"):
        onnx_file(model, bars.images().pixels)


def test_other_files_are_refused_in_a_sentence(bars: RunFolder, model: Model, tmp_path: Path) -> None:
    file = written(model, bars.images().pixels, tmp_path / "m.onnx")
    bare = onnx.load(file)
    del bare.metadata_props[:]
    onnx.save(bare, tmp_path / "bare.onnx")
    (tmp_path / "half.onnx").write_bytes(file.read_bytes()[:1000])
    for name, words in (
        ("bare", "no model of a run"),
        ("half", "cannot be opened by onnxruntime"),
        ("none", "there is no file"),
    ):
        with pytest.raises(RunError, match=words):
            opened_onnx(tmp_path / f"{name}.onnx")


def test_without_the_packages_it_says_what_to_install(
    bars: RunFolder, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(name: str) -> None:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(module.importlib, "import_module", missing)
    with pytest.raises(RunError, match=r"pip install 'spice-explorer\[onnx\]'"):
        onnx_file(model, bars.images().pixels)


def test_about_is_in_the_file_in_plain_words(bars: RunFolder, model: Model, tmp_path: Path) -> None:
    file = written(model, bars.images().pixels, tmp_path / "m.onnx")
    told = {one.key: one.value for one in onnx.load(file).metadata_props}
    about: About = model.about
    assert told["classes"].splitlines() == list(about.classes)
    assert float(told["least_confidence"]) == about.thresholds.confidence
    assert float(told["most_distance"]) == about.thresholds.distance
    assert (told["size"], told["mode"], told["fit"]) == ("8x8", "L", "crop")
