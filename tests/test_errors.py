"""The sentences for errors."""

from __future__ import annotations

import errno
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow
import pytest
import torch

from engine.data.images import ImageSet
from engine.data.vectors import import_vectors
from engine.errors import RunError, SpiceError, host_is_full, out_of_memory, sentence_of
from engine.formats.tables import read_table
from engine.networks.pretrained import pretrained, untrained
from engine.networks.weights import read_weights
from engine.runs.files import FileCheckpoint, load_weights
from engine.sources import downloads, set_files
from engine.sources.tables import TableSource
from engine.stages import encoder_file
from engine.stages.encoder_file import load_encoder


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (RunError("a has no features yet"), "a has no features yet"),
        (OSError(errno.ENOSPC, "No space left on device", "a/b"), "a/b: No space left on device"),
        (OSError("no such socket"), "no such socket"),
        (
            torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has …"),
            "memory ran out (CUDA out of memory): choose smaller batches, or close other programs",
        ),
        (
            RuntimeError("CUDA error: an illegal memory access was encountered\nCUDA kernel errors …"),
            "the GPU failed (CUDA error: an illegal memory access was encountered): start SPICE "
            "Explorer again, and resume the run",
        ),
    ],
)
def test_what_a_user_can_mend_is_one_sentence_and_no_bug(
    error: Exception, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert sentence_of(error, "training") == said
    assert not caplog.records


def test_a_bug_is_called_one_and_logged_with_its_trace(caplog: pytest.LogCaptureFixture) -> None:
    error = KeyError("labels")
    said = sentence_of(error, "the report of a")
    assert said == "unexpected KeyError: 'labels' (this is a bug: please report it)"
    (record,) = caplog.records
    assert record.getMessage() == "the report of a failed"
    assert record.exc_info is not None
    assert record.exc_info[1] is error


def test_a_full_host_and_a_full_gpu_are_told_apart_and_from_all_else() -> None:
    with pytest.raises(RuntimeError, match="can't allocate memory") as full:
        torch.empty(2**50)  # a petabyte
    gpu = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
    for error, ran_out, host in (
        (full.value, True, True),
        (MemoryError(), True, True),
        (gpu, True, False),
        (RuntimeError("MPS backend out of memory (MPS allocated: 1.00 GB)"), True, False),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True, False),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), True, False),
        (RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be …"), True, False),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), True, True),
        (pyarrow.ArrowMemoryError("malloc of size 1099511627776 failed"), True, True),
        (RuntimeError("PytorchStreamReader failed reading zip archive"), False, False),
    ):
        assert out_of_memory(error) == ran_out, error
        assert (ran_out and host_is_full(error)) == host, error
    assert not out_of_memory(OSError(errno.ENOSPC, "No space left on device"))


# -- a full memory is never called damage ----------------------------------------------------------

GPU_FULL = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
HOST_FULL = MemoryError("Unable to allocate 2.00 GiB for an array")


def _raising(error: BaseException) -> Callable[..., Any]:
    def fail(*_args: Any, **_options: Any) -> Any:
        raise error

    return fail


def _weights(path: Path, patch: pytest.MonkeyPatch, error: BaseException) -> None:
    torch.save({"a": torch.zeros(2)}, path / "a.pt")
    patch.setattr(torch, "load", _raising(error))
    read_weights(path / "a.pt")


def _runs_weights(path: Path, patch: pytest.MonkeyPatch, error: BaseException) -> None:
    torch.save({"a": torch.zeros(2)}, path / "a.pt")
    patch.setattr(torch, "load", _raising(error))
    load_weights(path / "a.pt")


def _checkpoint(path: Path, patch: pytest.MonkeyPatch, error: BaseException) -> None:
    checkpoint = FileCheckpoint(path / "a.pt")
    checkpoint.save({"a": torch.zeros(2)})
    patch.setattr(torch, "load", _raising(error))
    checkpoint.load()


def _encoder(path: Path, patch: pytest.MonkeyPatch, error: BaseException) -> None:
    torch.save({"card": {}, "weights": {}}, path / "a.pt")
    patch.setattr(torch, "load", _raising(error))
    load_encoder(f"encoder:{path / 'a.pt'}")


def _built_encoder(path: Path, patch: pytest.MonkeyPatch, error: BaseException) -> None:
    torch.save({"card": {}, "weights": {}}, path / "a.pt")
    patch.setattr(encoder_file, "built_encoder", _raising(error))
    load_encoder(f"encoder:{path / 'a.pt'}")


def _torchvision(_path: Path, patch: pytest.MonkeyPatch, error: BaseException) -> None:
    patch.setattr("torchvision.models.WeightsEnum.get_state_dict", _raising(error))
    pretrained("torchvision:resnet18")


def _timm(_path: Path, patch: pytest.MonkeyPatch, error: BaseException) -> None:
    patch.setattr("timm.create_model", _raising(error))
    untrained("timm:resnet18")


def _timm_probe(_path: Path, patch: pytest.MonkeyPatch, error: BaseException) -> None:
    patch.setattr("timm.models.resnet.ResNet.forward", _raising(error))
    untrained("timm:resnet18")


def _table(path: Path, patch: pytest.MonkeyPatch, error: BaseException) -> None:
    pd.DataFrame({"path": ["a.png"]}).to_parquet(path / "a.parquet")
    patch.setattr("pyarrow.parquet.ParquetFile.read_row_groups", _raising(error))
    read_table((path / "a.parquet").read_bytes(), "a.parquet")


def _image_table(path: Path, patch: pytest.MonkeyPatch, error: BaseException) -> None:
    pd.DataFrame({"path": ["a.png"]}).to_parquet(path / "a.parquet")
    patch.setattr("pyarrow.parquet.ParquetFile", _raising(error))
    TableSource("a", str(path / "a.parquet"))


def _vectors(path: Path, patch: pytest.MonkeyPatch, error: BaseException) -> None:
    np.save(path / "a.npy", np.zeros((3, 2), np.float32))
    patch.setattr("engine.npy.mapped", _raising(error))
    images = ImageSet(np.zeros((3, 1, 4, 4), np.uint8), ("a", "b", "c"), "three")
    import_vectors(f"import:{path / 'a.npy'}", images)


def _cifar(path: Path, patch: pytest.MonkeyPatch, error: BaseException) -> None:
    (path / "data_batch_1").write_bytes(pickle.dumps({}))
    patch.setattr(set_files, "_PlainPickle", _raising(error))
    list(set_files.CifarPart(path / "data_batch_1", "train", "labels", 10).blocks())


def _download(path: Path, patch: pytest.MonkeyPatch, error: BaseException) -> None:
    patch.setattr(downloads, "cache", lambda: path)
    downloads.downloaded("a", "A", "http://a.example", _raising(error))


@pytest.mark.parametrize(
    ("read", "error"),
    [
        *((read, GPU_FULL) for read in (_weights, _runs_weights, _checkpoint, _encoder, _built_encoder)),
        *((read, GPU_FULL) for read in (_torchvision, _timm, _timm_probe)),
        *((read, HOST_FULL) for read in (_weights, _encoder, _cifar, _download)),
        *((read, pyarrow.ArrowMemoryError("malloc failed")) for read in (_table, _image_table)),
        (_vectors, OSError(errno.ENOMEM, "Cannot allocate memory")),
        (_download, GPU_FULL),
    ],
)
def test_a_full_memory_says_nothing_about_a_file(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    read: Callable[[Path, pytest.MonkeyPatch, BaseException], None],
    error: BaseException,
) -> None:
    with pytest.raises(type(error)) as raised, monkeypatch.context() as patch:
        read(tmp_path, patch, error)
    assert raised.value is error
    assert "memory" in sentence_of(raised.value, "reading")
    assert not isinstance(raised.value, SpiceError)
