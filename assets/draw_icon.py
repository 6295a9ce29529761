"""Draws icon.png: one dot of each of three clusters round a ring. Run it to draw it again."""

from pathlib import Path

from PIL import Image, ImageDraw

SIDE = 256
DOTS = (("#0070c2", 128, 62), ("#eb9900", 66, 176), ("#b80029", 190, 176))


def draw() -> Image.Image:
    image = Image.new("RGBA", (SIDE * 4, SIDE * 4), (0, 0, 0, 0))
    pen = ImageDraw.Draw(image)
    pen.rounded_rectangle((0, 0, SIDE * 4 - 1, SIDE * 4 - 1), radius=200, fill="#fdfcfa")
    for colour, x, y in DOTS:
        pen.ellipse([4 * (v + d) for d in (-44, 44) for v in (x, y)], fill=colour)
    return image.resize((SIDE, SIDE), Image.Resampling.LANCZOS)


if __name__ == "__main__":
    draw().save(Path(__file__).with_name("icon.png"), optimize=True)
