"""Which files are images: by their ending, or by their first bytes. What is not read has a reason and a cure."""

from __future__ import annotations

import os
from collections.abc import Callable

# The endings of the formats that are read. HEIC needs pillow-heif; AVIF needs Pillow 11.3.
ENDINGS = {
    "PNG": (".png", ".apng"),
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif", ".jfi", ".jif", ".pjpeg", ".pjp", ".mpo"),
    "WebP": (".webp",),
    "BMP": (".bmp", ".dib"),
    "GIF": (".gif",),
    "TIFF": (".tif", ".tiff"),
    "AVIF": (".avif",),
    "HEIC": (".heic", ".heif", ".hif"),
    "JPEG 2000": (".jp2", ".j2k", ".jpx", ".jpf", ".j2c", ".jpc"),
    "PNM": (".ppm", ".pgm", ".pbm", ".pnm"),
}
IMAGE_ENDINGS = frozenset(ending for endings in ENDINGS.values() for ending in endings)
# As messages name them.
USUAL_ENDINGS = ".bmp, .gif, .jpg, .png, .tif, .webp and other endings of images"
_CONVERT = "convert it to PNG or JPEG"
_RAW = f"a camera's raw file: {_CONVERT}"
_RAW_ENDINGS = ".arw .cr2 .cr3 .crw .dng .erf .kdc .nef .nrw .orf .pef .raf .raw .rw2 .sr2 .srf .x3f"
_OTHER = {
    ".svg": f"a drawing (SVG), not pixels: {_CONVERT}",
    ".svgz": f"a drawing (SVG), not pixels: {_CONVERT}",
    ".jxl": f"JPEG XL is not read: {_CONVERT}",
    ".psd": f"Photoshop's own format is not read: {_CONVERT}",
    ".dcm": f"DICOM is not read: {_CONVERT}",
    ".exr": f"OpenEXR is not read: {_CONVERT}",
    ".hdr": f"Radiance HDR is not read: {_CONVERT}",
}
_PILLOW_ALSO = (
    ".bufr .bw .cur .dcx .dds .emf .eps .fit .fits .fli .flc .fpx .ftc .ftu .gbr .grib .icb .icns .ico .iim .im .msp "
    ".pcd .pcx .pfm .pixar .ps .qoi .ras .rgb .rgba .sgi .spi .tga .vda .vst .wal .wmf .xbm .xcf .xpm"
)
UNREAD = {
    **{ending: f"{ending[1:].upper()} is not read: {_CONVERT}" for ending in _PILLOW_ALSO.split()},
    **dict.fromkeys(_RAW_ENDINGS.split(), _RAW),
    **_OTHER,
}
# Endings that say what is in a file, so that nobody has to look: one that no image has.
_NO_IMAGES = (
    ".7z .bin .bz2 .c .cfg .class .cls .conf .cpp .csv .dat .db .doc .docx .dll .exe .geojson .gz .h .h5 .hdf5 .htm "
    ".html .idx .ini .ipynb .java .jpgw .js .json .jsonl .lock .log .m .mat .md .mov .mp3 .mp4 .avi .ndjson .npy .npz "
    ".npx .odt .onnx .parquet .pdf .pgw .pickle .pkl .ply .pptx .pt .pth .py .pyc .rar .rst .rtf .safetensors .sh .so "
    ".sqlite .sql .tar .tfrecord .tfw .tgz .toml .ts .tsv .txt .url .vtt .wav .xls .xlsx .xml .xz .yaml .yml .zip .zst"
)
_NO_IMAGE = frozenset(_NO_IMAGES.split())
HEAD_BYTES = 32
_STARTS = (
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),
    (b"MM\0+", "TIFF"),
    (b"\0\0\0\x0cjP  ", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
    (b"\0\0\0\x0cJXL ", "JPEG XL"),
    (b"\xff\x0a", "JPEG XL"),
    (b"8BPS", "Photoshop's own format"),
)
_BRANDS = {b"avif": "AVIF", b"avis": "AVIF"} | dict.fromkeys(
    (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1"), "HEIC"
)
HEIC_CURE = f"HEIC is read after “pip install pillow-heif” and a restart; or {_CONVERT}"
AVIF_CURE = f"AVIF is read by Pillow 11.3 or newer: pip install -U pillow, or {_CONVERT}"
CURES = {"HEIC": HEIC_CURE, "AVIF": AVIF_CURE}


def ending_of(name: str) -> str:
    """The last ending of a file name in lower case; "" for none.

    >>> ending_of("a/b.tar.GZ"), ending_of("IMG_0001"), ending_of("no. 5")
    ('.gz', '', '')
    """
    ending = os.path.splitext(name)[1].lower()
    return ending if ending[1:].isalnum() else ""


def image_ending(name: str) -> bool:
    """Whether a file of this name is taken for an image."""
    return ending_of(name) in IMAGE_ENDINGS


def sniffed(head: bytes) -> str:
    """The format of a file that begins with `head`, such as "PNG"; "" if it is no image that is known.

    >>> sniffed(b"GIF89a..."), sniffed(b"RIFF\\0\\0\\0\\0WEBPVP8 "), sniffed(b"Dear Sir")
    ('GIF', 'WebP', '')
    """
    for start, form in _STARTS:
        if head.startswith(start):
            return form
    if head[4:8] == b"ftyp":
        return _BRANDS.get(head[8:12], "")
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WebP"
    if head[:2] == b"BM" and head[6:10] == b"\0\0\0\0":
        return "BMP"
    if head[:1] == b"P" and head[1:2] in b"123456" and head[2:3] in (b"\n", b" ", b"\t", b"\r"):
        return "PNM"
    return ""


def judged(name: str, head: Callable[[], bytes]) -> tuple[bool, str]:
    """Whether a file is taken for an image; and if not, why an image in it is not used, "" if there is none.

    Args:
        head: reads its first HEAD_BYTES, where the name tells nothing.

    >>> judged("a.jpe", bytes), judged("a.txt", bytes), judged("IMG_0001", lambda: b"GIF89a")
    ((True, ''), (False, ''), (True, ''))
    """
    ending = ending_of(name)
    if ending in IMAGE_ENDINGS:
        return True, ""
    if ending in UNREAD:
        return False, UNREAD[ending]
    if ending in _NO_IMAGE:
        return False, ""
    form = sniffed(head())
    if form and not ending:
        return True, ""
    return False, f"a {form} with the ending {ending}: rename it to {_first(form)}" if form else ""


def _first(form: str) -> str:
    return ENDINGS[form][0] if form in ENDINGS else "the ending of its format"


def why_unreadable(content: bytes) -> str:
    """Why Pillow does not recognize an image."""
    form = sniffed(content[:HEAD_BYTES])
    if not form:
        return "not an image"
    if form in ENDINGS:
        return CURES.get(form, f"a damaged {form}, or of a kind that Pillow does not read: {_CONVERT}")
    return f"{form} is not read: {_CONVERT}"
