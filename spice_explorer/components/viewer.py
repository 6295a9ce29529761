"""The picture of one image with its facts, and large in a dialog. Drawn by viewer/*.js, as are parts of the curator."""

from __future__ import annotations

from engine.runs.folder import RunFolder
from spice_explorer.components.scripts import component
from spice_explorer.web import originals, thumbs


def viewer(run: RunFolder, index: int, name: str) -> None:
    """Draws the picture of image `index`, called `name`; Enter or a click opens it large."""
    (start, end), (facts, ending) = thumbs.address(run), thumbs.facts_address(run)
    data = {
        "name": name,
        "thumb": f"{start}{index}{end}",
        "full": f"{start}{index}{end}&full=1",
        "facts": f"{facts}{index}{ending}",
        "sharp": originals.sharp(run),
    }
    component("viewer")(key="viewer", data=data)
