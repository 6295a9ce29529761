"""The curator: assigns classes to images from the keyboard. Drawn by curator/*.js.

Decisions go from the browser straight to the routes of `curating`, and are shown before they are written.
Python learns of three things, in the session state under the component's key: `changed`, the last row
written, shortly afterwards, so that the page below is redrawn; and, for one run of the page, `open`, an
image, and `propagate`, the decided images (`ids`) whose class is offered to the images that agree.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from spice_explorer.components.scripts import component


def curator(data: dict[str, Any], *, key: str, on_open: Callable[[], None]) -> None:
    """Draws the curator.

    Args:
        data: its data. A queue with a `mark` includes all its images, decided or not, and the mark becomes
            the text of each decision.
        key: distinct for each run.
        on_open: called when the user opens the panel of an image.
    """
    component("curator")(
        key=key, data=data, on_changed_change=lambda: None, on_open_change=on_open, on_propagate_change=lambda: None
    )
