"""Encoder files, and runs that start with one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from engine.config import EncoderSettings
from engine.errors import SettingError
from engine.stages import encoder_file
from engine.stages.encoder import Encoder, initialise
from engine.stages.encoder_file import known_encoders, load_encoder, pack_encoder, read_card

SMALL = EncoderSettings(backbone="small", width=4)


def colour_encoder() -> Encoder:
    encoder = Encoder(SMALL, channels=3, side=16)
    initialise(encoder, torch.Generator().manual_seed(0))
    encoder.mean.fill_(0.4)
    encoder.deviation.fill_(0.25)
    return encoder.eval()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "colour.pt"
    path.write_bytes(pack_encoder(colour_encoder(), SMALL, 16, {"images": 7}))
    return path


def test_an_encoder_comes_back_from_its_file(file: Path) -> None:
    x = torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        back, before = load_encoder(f"encoder:{file}").eval()(x), colour_encoder()(x)
    torch.testing.assert_close(back, before, rtol=0.01, atol=0.01)
    kept, own = load_encoder(f"encoder:{file}").state_dict(), colour_encoder().state_dict()
    name = "backbone.0.weight"
    assert torch.equal(kept[name], own[name].half().float())
    assert not torch.equal(kept[name], own[name])
    assert file.stat().st_size < 2 * sum(p.numel() for p in colour_encoder().parameters()) + 20_000
    assert read_card(f"encoder:{file}")["images"] == 7


def test_images_of_another_size_and_colour_are_made_to_fit(file: Path) -> None:
    encoder = load_encoder(f"encoder:{file}").eval()
    grey = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    by_hand = F.interpolate(grey.repeat(1, 3, 1, 1), (16, 16), mode="bilinear", antialias=True)
    with torch.no_grad():
        torch.testing.assert_close(encoder(grey), encoder(by_hand))


def test_colour_images_become_grey_for_an_encoder_of_grey_ones() -> None:
    encoder = Encoder(SMALL, channels=1, side=8)
    initialise(encoder, torch.Generator().manual_seed(0))
    x = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    grey = 0.299 * x[:, :1] + 0.587 * x[:, 1:2] + 0.114 * x[:, 2:]
    with torch.no_grad():
        torch.testing.assert_close(encoder.eval()(x), encoder(grey))


def test_an_unknown_encoder_is_refused_with_the_known_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoder_file, "FOLDER", tmp_path)
    (tmp_path / "birds.pt").touch()
    assert known_encoders() == ["birds"]
    with pytest.raises(SettingError, match="no encoder 'fish': choose one of scratch, encoder:birds"):
        load_encoder("encoder:fish")
    with pytest.raises(SettingError, match=r"features.source is 'birds'"):
        load_encoder("birds")


def test_a_file_that_is_no_encoder_is_refused(tmp_path: Path, file: Path) -> None:
    broken, other = tmp_path / "broken.pt", tmp_path / "other.pt"
    broken.write_bytes(file.read_bytes()[:200])
    torch.save({"something": 1}, other)
    texts = {"empty.pt": "", "text.pt": "hello, I am no encoder\n", "table.pt": "a,b\n1,2\n"}
    written = [tmp_path / name for name in texts]
    for path in written:
        path.write_text(texts[path.name])
    for path in (broken, other, *written):
        for read in (load_encoder, read_card):
            with pytest.raises(SettingError, match=rf"{path.name} is not an encoder \(.+\): choose one"):
                read(f"encoder:{path}")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"encoder": {"backbone": "small", "width": 8}}, "Error.s. in loading state_dict"),
        ({"encoder": {"backbone": "vast"}}, "backbone is 'vast'"),
        ({"encoder": {"depth": 3}}, "unknown settings depth"),
        ({"channels": "three"}, ""),
    ],
    ids=["another width", "unknown backbone", "unknown setting", "no number"],
)
def test_a_card_that_does_not_fit_its_weights_is_refused(file: Path, change: dict[str, object], reason: str) -> None:
    content = torch.load(file, weights_only=True)
    torch.save({**content, "card": {**content["card"], **change}}, file)
    with pytest.raises(SettingError, match=rf"{file} is damaged \({reason}.*\): choose one of"):
        load_encoder(f"encoder:{file}")
