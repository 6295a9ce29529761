"""The picture of one image with its facts, and large in a dialog. Drawn by viewer/*.js, as are parts of the curator."""

from __future__ import annotations

from spice_explorer.components.scripts import component
from spice_explorer.web import thumbs
from spice_explorer.web.originals import Pictures


def viewer(found: Pictures, index: int, name: str, *, key: str = "viewer") -> None:
    """Draws the picture of image `index`, called `name`; Enter or a click opens it large."""
    (start, end), (facts, ending) = thumbs.address(found), thumbs.facts_address(found)
    data = {
        "name": name,
        "thumb": f"{start}{index}{end}",
        "full": f"{start}{index}{end}&full=1",
        "facts": f"{facts}{index}{ending}",
        "sharp": found.sharp,
    }
    component("viewer")(key=key, data=data)
