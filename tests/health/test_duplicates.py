"""Near duplicates among drawn photographs of clothes: made copies are found, look-alikes are not."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageOps

from engine.data.images import ImageSet
from engine.data.origin import Fit
from engine.data.thumbnail_store import ThumbnailStore
from engine.health import duplicates
from engine.health.duplicates import LOOSEST, STRICTEST, USUAL, NearDuplicates
from engine.health.health import Health, examine
from engine.health.pictures import look_at
from engine.health.reports import health_of
from engine.sources.open_source import Opened, open_source

WIDTH, HEIGHT, COUNT = 240, 300, 24
KINDS = ("shirt", "trousers", "skirt", "coat")


def cloth(rng: np.random.Generator) -> Image.Image:
    """A creased cloth, on which clothes are laid."""
    coarse = Image.fromarray(rng.integers(0, 256, (9, 7), dtype=np.uint8)).resize((WIDTH, HEIGHT), 3)
    fine = Image.fromarray(rng.integers(0, 256, (HEIGHT, WIDTH), dtype=np.uint8)).filter(ImageFilter.GaussianBlur(2))
    creases = Image.blend(coarse, fine, 0.4)
    dark, light = rng.integers(30, 110, 3), rng.integers(130, 230, 3)
    return ImageOps.colorize(creases, tuple(dark.tolist()), tuple(light.tolist()))


def garment(ground: Image.Image, rng: np.random.Generator, kind: str | None = None) -> Image.Image:
    """The same cloth with something on it."""
    picture, kind = ground.copy(), kind or str(rng.choice(KINDS))
    draw, colour = ImageDraw.Draw(picture), tuple(rng.integers(0, 256, 3).tolist())
    left, right = 60 + rng.integers(0, 25), 180 - rng.integers(0, 25)
    top, low = 50 + rng.integers(0, 30), 240 - rng.integers(0, 30)
    if kind == "trousers":
        draw.polygon([(left, top), (right, top), (right, low), (130, low), (120, 120), (110, low), (left, low)], colour)
    elif kind == "skirt":
        draw.polygon([(95, top), (145, top), (right, low), (left, low)], colour)
    else:
        draw.rectangle((left + 15, top, right - 15, low), colour)
        arm = low - 20 if kind == "coat" else top + 60
        draw.polygon([(left + 15, top), (left + 15, top + 40), (left - 25, arm), (left - 40, arm - 20)], colour)
        draw.polygon([(right - 15, top), (right - 15, top + 40), (right + 25, arm), (right + 40, arm - 20)], colour)
    for _ in range(rng.integers(3, 9)):
        x, y, size = rng.integers(left + 20, right - 20), rng.integers(top, low), rng.integers(4, 16)
        draw.ellipse((x - size, y - size, x + size, y + size), tuple(rng.integers(0, 256, 3).tolist()))
    return picture.filter(ImageFilter.GaussianBlur(0.7))


def photographs(count: int = COUNT, seed: int = 0) -> list[Image.Image]:
    """Clothes on a cloth of their own each."""
    rng = np.random.default_rng(seed)
    return [garment(cloth(rng), rng) for _ in range(count)]


def cropped(image: Image.Image, share: float, left: float, top: float) -> Image.Image:
    width, height = image.size
    x, y = left * (1 - share) * width, top * (1 - share) * height
    return image.crop((round(x), round(y), round(x + share * width), round(y + share * height)))


def recompressed(image: Image.Image, quality: int, subsampling: int = 2) -> Image.Image:
    out = io.BytesIO()
    image.save(out, "JPEG", quality=quality, subsampling=subsampling)
    return Image.open(out)


def turned(image: Image.Image) -> Image.Image:
    """By two degrees, without the empty corners."""
    return cropped(image.rotate(2, Image.Resampling.BICUBIC), 0.94, 0.5, 0.5)


MADE: dict[str, Callable[[Image.Image], Image.Image]] = {
    "cropped to 90 %": lambda image: cropped(image, 0.9, 0.2, 1.0),
    "cropped to 80 % at a corner": lambda image: cropped(image, 0.8, 0.0, 0.0),
    "cropped to 80 % in the middle": lambda image: cropped(image, 0.8, 0.5, 0.5),
    "resized": lambda image: image.resize((110, 140), Image.Resampling.BICUBIC),
    "stretched": lambda image: image.resize((260, 290), Image.Resampling.BICUBIC),
    "recompressed": lambda image: recompressed(image, 40),
    "brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.3),
    "darker": lambda image: ImageEnhance.Brightness(image).enhance(0.6),
    "more contrast": lambda image: ImageEnhance.Contrast(image).enhance(1.4),
    "less contrast": lambda image: ImageEnhance.Contrast(image).enhance(0.6),
    "turned": turned,
    "mirrored": ImageOps.mirror,
    "cropped, smaller, darker and recompressed": lambda image: recompressed(
        ImageEnhance.Brightness(cropped(image, 0.88, 0.7, 0.3).resize((150, 190))).enhance(0.8), 50
    ),
}


def written(folder: Path, pictures: dict[str, Image.Image], size: int = 48, fit: Fit = "crop") -> Opened:
    folder.mkdir(exist_ok=True)
    for name, picture in pictures.items():
        picture.save(folder / f"{name}.png")
    return open_source(f"folder:{folder}", size=size, fit=fit)


def seen(opened: Opened) -> Health:
    found = examine(opened.images, opened.extents, look=look_at(opened))
    assert found is not None
    return found


def groups(opened: Opened, health: Health) -> list[set[str]]:
    """The names in each group of near duplicates."""
    near, names = health.findings["near duplicates"], opened.images.ids
    count = int(near.groups.max(initial=-1)) + 1
    return [{names[i].removesuffix(".png") for i in near.images[near.groups == number]} for number in range(count)]


def numbered(pictures: list[Image.Image], what: str = "") -> dict[str, Image.Image]:
    return {f"{what}{number:02d}": picture for number, picture in enumerate(pictures)}


@pytest.mark.parametrize("change", MADE)
def test_every_kind_of_copy_is_found(change: str, tmp_path: Path) -> None:
    pictures = photographs()
    copies = [MADE[change](picture) for picture in pictures[:8]]
    opened = written(tmp_path / "photos", numbered(pictures) | numbered(copies, "copy-"))
    found = groups(opened, seen(opened))
    assert sorted(found, key=sorted) == [{f"{number:02d}", f"copy-{number:02d}"} for number in range(8)]


def test_other_clothes_on_the_same_cloth_are_no_near_duplicates(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    grounds = [cloth(rng) for _ in range(3)]
    pictures = [garment(ground, rng, kind) for ground in grounds for kind in (*KINDS, *KINDS, *KINDS)]
    opened = written(tmp_path / "photos", numbered(pictures))
    assert groups(opened, seen(opened)) == []


def test_another_print_on_the_same_shirt_is_another_shirt(tmp_path: Path) -> None:
    shirt = garment(cloth(np.random.default_rng(2)), np.random.default_rng(3), "shirt")
    pictures = [shirt.copy() for _ in range(4)]
    for picture, colour in zip(pictures, ("red", "white", "navy", "gold"), strict=True):
        ImageDraw.Draw(picture).rectangle((100, 90, 140, 130), fill=colour)
    opened = written(tmp_path / "photos", numbered(pictures) | numbered(photographs(8), "other-"))
    assert groups(opened, seen(opened)) == []


def test_another_colour_of_the_same_brightness_is_another_shirt(tmp_path: Path) -> None:
    ground, pictures = cloth(np.random.default_rng(4)), []
    for colour in ((200, 60, 60), (60, 115, 90)):  # of nearly the same luma
        picture = ground.copy()
        ImageDraw.Draw(picture).rectangle((70, 60, 170, 240), fill=colour)
        pictures.append(picture)
    opened = written(tmp_path / "photos", numbered(pictures) | numbered(photographs(8), "other-"))
    assert groups(opened, seen(opened)) == []


def test_all_copies_of_one_picture_are_one_group(tmp_path: Path) -> None:
    pictures = photographs()
    copies = {f"copy-{number:02d}": change(pictures[3]) for number, change in enumerate(MADE.values())}
    opened = written(tmp_path / "photos", numbered(pictures) | copies)
    assert groups(opened, seen(opened)) == [{"03", *copies}]


def test_a_panorama_is_judged_by_all_of_it_not_by_its_middle(tmp_path: Path) -> None:
    """The square that is trained on is the same in all; what is left and right of it differs in one."""
    middle, sides = photographs(1)[0].crop((0, 30, 240, 270)), photographs(4, seed=7)

    def panorama(left: Image.Image, right: Image.Image) -> Image.Image:
        wide = Image.new("RGB", (720, 240))
        for place, part in enumerate((left, middle, right)):
            wide.paste(part.resize((240, 240)), (240 * place, 0))
        return wide

    one, other = panorama(sides[0], sides[1]), panorama(sides[2], sides[3])
    pictures = {"one": one, "paler": ImageEnhance.Contrast(one).enhance(0.7), "other": recompressed(other, 80)}
    opened = written(tmp_path / "photos", pictures | numbered(photographs(8, seed=8)))
    assert groups(opened, seen(opened)) == [{"one", "paler"}]


@pytest.mark.parametrize("fit", ["crop", "pad", "squeeze"])
def test_it_does_not_matter_how_images_became_squares(fit: Fit, tmp_path: Path) -> None:
    pictures = photographs()
    copies = [cropped(picture, 0.88, 0.1, 0.8) for picture in pictures[:6]]
    opened = written(tmp_path / "photos", numbered(pictures) | numbered(copies, "copy-"), fit=fit)
    found = groups(opened, seen(opened))
    assert sorted(found, key=sorted) == [{f"{number:02d}", f"copy-{number:02d}"} for number in range(6)]


def test_pictures_of_every_mode_are_compared(tmp_path: Path) -> None:
    pictures = photographs(10)
    clear = pictures[2].copy()
    clear.putalpha(255)
    copies = {"alpha": ImageEnhance.Brightness(clear).enhance(0.8), "palette": pictures[3].quantize(128)}
    opened = written(tmp_path / "photos", numbered(pictures) | copies)
    assert sorted(groups(opened, seen(opened)), key=sorted) == [{"02", "alpha"}, {"03", "palette"}]


def test_grey_pictures_are_compared(tmp_path: Path) -> None:
    pictures = [picture.convert("L") for picture in photographs()]
    copies = [cropped(recompressed(picture, 60), 0.85, 0.5, 0.2) for picture in pictures[:5]]
    opened = written(tmp_path / "photos", numbered(pictures) | numbered(copies, "copy-"))
    assert opened.images.channels == 1
    found = groups(opened, seen(opened))
    assert sorted(found, key=sorted) == [{f"{number:02d}", f"copy-{number:02d}"} for number in range(5)]


def test_pictures_that_their_exif_turns_are_compared_upright(tmp_path: Path) -> None:
    pictures, exif = photographs(8), Image.Exif()
    exif[0x0112] = 6
    folder = tmp_path / "photos"
    folder.mkdir()
    pictures[1].rotate(90, expand=True).save(folder / "turned.jpg", exif=exif, quality=90)
    opened = written(folder, numbered(pictures))
    assert groups(opened, seen(opened)) == [{"01", "turned.jpg"}]


def test_strips_and_tiny_pictures_do_no_harm(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    strips = {f"strip-{n}": Image.fromarray(rng.integers(0, 256, (20_000, 1, 3), dtype=np.uint8)) for n in range(3)}
    tiny = {f"tiny-{n}": Image.fromarray(rng.integers(0, 256, (2, 3, 3), dtype=np.uint8)) for n in range(3)}
    opened = written(tmp_path / "photos", strips | tiny | numbered(photographs(6)))
    assert groups(opened, seen(opened)) == []


def test_frames_of_one_tone_are_exact_copies_and_never_near_ones(tmp_path: Path) -> None:
    """Black frames are equal, all but one can go; frames of other tones are blank, but nothing like each other."""
    frames = {f"black-{n}": Image.new("RGB", (60 + n, 60), "black") for n in range(3)}
    frames |= {tone: Image.new("RGB", (60, 60), tone) for tone in ("white", "grey", "#101010", "navy")}
    opened = written(tmp_path / "photos", frames | numbered(photographs(6)))
    health = seen(opened)
    exact = [opened.images.ids[i] for i in health.findings["exact duplicates"].images]
    assert sorted(exact) == ["black-0.png", "black-1.png", "black-2.png"]
    assert groups(opened, health) == []
    assert len(health.findings["blank"].images) == 7


@pytest.mark.parametrize("side", [32, 96])
def test_arrays_have_no_originals_and_are_compared_as_they_are(side: int) -> None:
    pictures = [picture.crop((0, 30, 240, 270)).resize((side, side)) for picture in photographs()]
    copies = [ImageEnhance.Brightness(recompressed(picture, 90, 0)).enhance(0.8) for picture in pictures[:6]]
    pixels = np.stack([np.asarray(picture).transpose(2, 0, 1) for picture in [*pictures, *copies]])
    images = ImageSet(pixels, tuple(map(str, range(len(pixels)))), "drawn")
    health = examine(images)
    assert health is not None
    near = health.findings["near duplicates"]
    pairs = [set(near.images[near.groups == number].tolist()) for number in range(int(near.groups.max()) + 1)]
    assert sorted(pairs, key=min) == [{number, COUNT + number} for number in range(6)]


# -- originals that are gone ---------------------------------------------------------------------


def gone(opened: Opened, folder: Path) -> None:
    """The originals, and their thumbnails."""
    assert opened.origin is not None
    ThumbnailStore(opened.origin.place).path.unlink()
    for file in folder.glob("*.png"):
        file.unlink()


def test_without_originals_squares_are_compared_and_the_report_is_not_kept(tmp_path: Path) -> None:
    pictures = photographs()
    copies = [ImageEnhance.Brightness(picture).enhance(0.8) for picture in pictures[:4]]
    opened = written(tmp_path / "photos", numbered(pictures) | numbered(copies, "copy-"))
    wanted = [{f"{number:02d}", f"copy-{number:02d}"} for number in range(4)]
    gone(opened, tmp_path / "photos")
    without = health_of(opened)
    assert sorted(groups(opened, without), key=sorted) == wanted
    assert without.near.unseen == 8
    again = written(tmp_path / "photos", numbered(pictures) | numbered(copies, "copy-"))
    assert again.images.fingerprint == opened.images.fingerprint
    health = health_of(again)
    assert sorted(groups(again, health), key=sorted) == wanted
    assert health.near.unseen == 0


def test_one_original_that_is_gone_is_compared_by_the_squares_of_both(tmp_path: Path) -> None:
    pictures = photographs()
    copies = [ImageEnhance.Brightness(picture).enhance(0.8) for picture in pictures[:4]]
    opened = written(tmp_path / "photos", numbered(pictures) | numbered(copies, "copy-"))
    gone(opened, tmp_path / "photos" / "none")
    for number in range(4):
        (tmp_path / "photos" / f"copy-{number:02d}.png").unlink()
    health = seen(opened)
    found = sorted(groups(opened, health), key=sorted)
    assert found == [{f"{number:02d}", f"copy-{number:02d}"} for number in range(4)]
    assert health.near.unseen == 4


# -- groups, and how strict they are -------------------------------------------------------------


def near(*pairs: tuple[int, int, float]) -> NearDuplicates:
    return NearDuplicates(
        np.array([pair[:2] for pair in pairs], np.int32).reshape(-1, 2),
        np.array([pair[2] for pair in pairs], np.float32),
    )


def test_chains_do_not_join_what_was_not_compared_with_the_best() -> None:
    """0 is like 1, 1 is like 2, 2 is like 3: the best of them takes its own, the next best of the others theirs."""
    chain = near((0, 1, 0.4), (1, 2, 0.4), (2, 3, 0.4))
    heads, apart = chain.heads(USUAL, np.array([0, 1, 2, 3, 4]))
    assert heads.tolist() == [0, 0, 2, 2, 4]
    assert apart.tolist() == pytest.approx([0, 0.4, 0, 0.4, 0])
    heads, _ = chain.heads(USUAL, np.array([4, 1, 0, 2, 3]))
    assert heads.tolist() == [1, 1, 1, 3, 4]


def test_fewer_pairs_count_the_stricter_it_is() -> None:
    pairs = near((0, 1, 0.35), (0, 2, 0.75), (0, 3, 1.1))
    best = np.arange(4)
    for most, heads in ((STRICTEST, [0, 1, 2, 3]), (0.4, [0, 0, 2, 3]), (USUAL, [0, 0, 0, 3]), (LOOSEST, [0, 0, 0, 0])):
        assert pairs.heads(most, best)[0].tolist() == heads


def test_the_best_is_compared_with_all_that_are_joined_to_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pictures = photographs(6)
    copies = {f"copy-{n}": ImageEnhance.Brightness(pictures[0]).enhance(0.7 + n / 20) for n in range(5)}
    opened = written(tmp_path / "photos", numbered(pictures) | copies)
    monkeypatch.setattr("engine.health.candidates.MOST", 1)
    whole = duplicates._with_the_best
    asked: list[np.ndarray] = []
    monkeypatch.setattr(duplicates, "_with_the_best", lambda *given: asked.append(whole(*given)) or asked[-1])
    assert groups(opened, seen(opened)) == [{"00", *copies}]
    assert len(asked[0]) > 0


def test_a_report_can_be_made_stricter_without_another_look(tmp_path: Path) -> None:
    pictures = photographs()
    copies = {"same": ImageEnhance.Brightness(pictures[0]).enhance(0.9), "cut": cropped(pictures[1], 0.8, 0, 1)}
    opened = written(tmp_path / "photos", numbered(pictures) | copies)
    health = seen(opened)
    pairs, apart = health.near.pairs, health.near.apart
    values = {opened.images.ids[one.max()]: float(value) for one, value in zip(pairs, apart, strict=True)}
    assert set(values) == {"same.png", "cut.png"}
    assert values["same.png"] < values["cut.png"] < USUAL
    between = (values["same.png"] + values["cut.png"]) / 2
    assert groups(opened, health.at(between)) == [{"00", "same"}]
    assert sorted(groups(opened, health.at(LOOSEST)), key=sorted) == [{"00", "same"}, {"01", "cut"}]
    health.save(tmp_path / "kept.npz")
    kept = Health.load(tmp_path / "kept.npz", len(opened.images))
    assert kept is not None
    assert groups(opened, kept.at(between)) == [{"00", "same"}]
    assert kept.findings["dark"] is kept.at(between).findings["dark"]
