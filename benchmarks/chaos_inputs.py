"""Inputs for `chaos` that somebody made to do harm, each with three honest images where its kind can hold them."""

from __future__ import annotations

import io
import os
import pickle
import random
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
from PIL import Image

HONEST = {"honest-0.png": 40, "honest-1.png": 120, "honest-2.png": 200}
# What a program in an input would write.
HARMED = Path("/tmp/spice-chaos-was-here")
# What a bomb would unpack to.
LARGE = 2**29
Make = Callable[[Path, random.Random], Path]


def png(tone: int) -> bytes:
    out = io.BytesIO()
    Image.new("L", (8, 8), tone).save(out, "PNG")
    return out.getvalue()


def honest_folder(place: Path) -> Path:
    folder = place / "images"
    folder.mkdir()
    for name, tone in HONEST.items():
        (folder / name).write_bytes(png(tone))
    return folder


def beside(harm: Callable[[Path, random.Random], None]) -> Make:
    """A folder of honest images and what `harm` adds to it."""

    def make(place: Path, chance: random.Random) -> Path:
        folder = honest_folder(place)
        harm(folder, chance)
        return folder

    return make


# -- files in a folder -------------------------------------------------------------------------------


def huge_png(folder: Path, chance: random.Random) -> None:
    """A header that announces gigapixels."""
    side = chance.choice((40_000, 400_000, 2**31 - 1))
    body = b"IHDR" + struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    chunk = struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body))
    (folder / "huge.png").write_bytes(b"\x89PNG\r\n\x1a\n" + chunk + png(1)[33:])


def noise(folder: Path, chance: random.Random) -> None:
    for end in ("png", "jpg", "gif", "webp", "tif", "bmp", "avif", "jp2"):
        (folder / f"noise.{end}").write_bytes(chance.randbytes(chance.randrange(3_000)))


def cut_or_flipped(folder: Path, chance: random.Random) -> None:
    """Real images of each format, with bits flipped and their end gone."""
    for form in ("PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP"):
        out = io.BytesIO()
        Image.effect_noise((32, 32), 60).save(out, form)
        content = bytearray(out.getvalue())
        for _ in range(chance.randrange(1, 20)):
            content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        (folder / f"broken.{form.lower()}").write_bytes(content[: chance.randrange(1, len(content))])


def not_an_image(folder: Path, _chance: random.Random) -> None:
    (folder / "page.png").write_bytes(b"<html><script>alert(1)</script></html>")
    (folder / "drawing.png").write_bytes(b'<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"/>')
    (folder / "program.jpg").write_bytes(pickle.dumps(_Harm()))


def odd_names(folder: Path, _chance: random.Random) -> None:
    for name in ("<img src=x onerror=alert(1)>.png", "a\nb.png", "\u202egnp.exe.png", "%2e%2e%2f.png", "=1+1.png"):
        (folder / name).write_bytes(png(80))


def odd_files(folder: Path, _chance: random.Random) -> None:
    """A pipe that nobody writes to, links to devices and into themselves."""
    os.mkfifo(folder / "pipe.png")
    (folder / "zero.png").symlink_to("/dev/zero")
    (folder / "me.png").symlink_to("me.png")
    (folder / "again").symlink_to(folder)


def deep(folder: Path, _chance: random.Random) -> None:
    place = folder
    for _ in range(60):
        place /= "d" * 30
    place.mkdir(parents=True)
    (place / "deep.png").write_bytes(png(90))


def bad_sidecars(folder: Path, chance: random.Random) -> None:
    text = chance.choice(("[" * 10**6, '{"a":' * 10**5, "\0" * 10**6, "file_name,label\n" + '"' * 10**6))
    (folder / "metadata.jsonl").write_text(text)


def wide_sidecar(folder: Path, _chance: random.Random) -> None:
    header = "file_name," + ",".join(f"c{number}" for number in range(30_000))
    (folder / "metadata.csv").write_text(header + "\n" + "\n".join(HONEST) + "\n")


def many_frames(folder: Path, _chance: random.Random) -> None:
    frames = [Image.new("L", (4, 4), number % 250) for number in range(2_000)]
    frames[0].save(folder / "frames.gif", save_all=True, append_images=frames[1:])


# -- archives ----------------------------------------------------------------------------------------


def zipped(members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return out.getvalue()


def honest() -> dict[str, bytes]:
    return {name: png(tone) for name, tone in HONEST.items()}


def zip_slip(place: Path, _chance: random.Random) -> Path:
    out = place / "slip.zip"
    out.write_bytes(zipped({"../../evil.png": png(1), "/tmp/evil.png": png(2), "..\\evil.png": png(3), **honest()}))
    return out


def zip_bomb(place: Path, chance: random.Random) -> Path:
    """A member of a gigabyte of zeros that is called an image, or a table."""
    out = place / "bomb.zip"
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, content in honest().items():
            archive.writestr(name, content)
        with archive.open(chance.choice(("big.png", "metadata.csv", "notes.txt")), "w") as member:
            for _ in range(LARGE // 2**20):
                member.write(bytes(2**20))
    return out


def zip_of_itself(place: Path, chance: random.Random) -> Path:
    out = place / "cut.zip"
    content = bytearray(zipped(honest()))
    for _ in range(8):
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    out.write_bytes(content)
    return out


def tar_slip(place: Path, _chance: random.Random) -> Path:
    out = place / "slip.tar"
    with tarfile.open(out, "w") as archive:
        for name, content in {"../evil.png": png(1), "/tmp/evil.png": png(2), **honest()}.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        for kind, name in ((tarfile.SYMTYPE, "link.png"), (tarfile.LNKTYPE, "hard.png"), (tarfile.CHRTYPE, "dev.png")):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "/etc/passwd"
            archive.addfile(member)
    return out


def tar_bomb(place: Path, _chance: random.Random) -> Path:
    out = place / "bomb.tar.gz"
    with tarfile.open(out, "w:gz", compresslevel=1) as archive:
        member = tarfile.TarInfo("big.png")
        member.size = LARGE
        archive.addfile(member, _Zeros(LARGE))  # type: ignore[arg-type]
    return out


def tar_cut(place: Path, chance: random.Random) -> Path:
    out = tar_slip(place, chance)
    content = out.read_bytes()
    out.write_bytes(content[: chance.randrange(len(content))])
    return out


# -- arrays and tables -------------------------------------------------------------------------------


def npz_bomb(place: Path, _chance: random.Random) -> Path:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": (LARGE // 64, 8, 8)})
    out = place / "bomb.npz"
    with (
        zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("images.npy", "w") as member,
    ):
        member.write(header.getvalue())
        for _ in range(LARGE // 2**20):
            member.write(bytes(2**20))
    return out


def npy_objects(place: Path, _chance: random.Random) -> Path:
    out = place / "objects.npy"
    np.save(out, np.array([_Harm(), 1], dtype=object), allow_pickle=True)
    return out


def npy_lie(place: Path, chance: random.Random) -> Path:
    shape = chance.choice(("(99999999, 8, 8)", "(3, 8, 8, 8, 8)", "(-1, 8, 8)", f"({10**30}, 8, 8)", "(0, 8, 8)"))
    header = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    out = place / "lie.npy"
    out.write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + bytes(192))
    return out


def parquet_noise(place: Path, chance: random.Random) -> Path:
    out = place / "noise.parquet"
    length = struct.pack("<I", chance.choice((0, 100, 2**31)))
    out.write_bytes(b"PAR1" + chance.randbytes(2_000) + length + b"PAR1")
    return out


def csv_lies(place: Path, chance: random.Random) -> Path:
    out = honest_folder(place) / "list.csv"
    rows = ["/etc/passwd", "../../../etc/passwd", "file:///etc/passwd", "http://127.0.0.1:1/x.png", "honest-0.png"]
    out.write_text("path,label\n" + "\n".join(f"{one},{chance.randrange(3)}" for one in rows))
    return out


class _Harm:
    """Writes a file when it is unpickled."""

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return (open, (str(HARMED), "w"))


class _Zeros(io.RawIOBase):
    def __init__(self, size: int) -> None:
        self.left = size

    def read(self, size: int = -1) -> bytes:
        out = bytes(min(self.left, size if size >= 0 else self.left))
        self.left -= len(out)
        return out


# Each with whether its honest images have to be read in any case.
HARMS: dict[str, tuple[Make, bool]] = {
    **{
        harm.__name__: (beside(harm), True)
        for harm in (huge_png, noise, cut_or_flipped, not_an_image, odd_names, odd_files, deep, many_frames)
    },
    **{harm.__name__: (beside(harm), False) for harm in (bad_sidecars, wide_sidecar)},
    **{
        make.__name__: (make, False)
        for make in (
            *(zip_slip, zip_bomb, zip_of_itself, tar_slip, tar_bomb, tar_cut),
            *(npz_bomb, npy_objects, npy_lie, parquet_noise, csv_lies),
        )
    },
}


def harmed(place: Path) -> list[str]:
    """What was written where nothing may be; it is removed."""
    evil = [folder / "evil.png" for folder in (place, place.parent, Path("/tmp"))]
    found = [one for one in (HARMED, *evil) if one.exists()]
    for one in found:
        with suppress(OSError):
            one.unlink()
    return [str(one) for one in found]
