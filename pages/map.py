"""Map: every image as a point."""

from spice_explorer import session
from spice_explorer.sections import chrome, needs
from spice_explorer.sections.map import page

chrome.heading(
    "Map", "Every image is a point; nearby points have similar features. Draw around points to see their images."
)
with session.plain_errors():
    look = needs.run_of_page()
    if look is not None and needs.features(look):
        page.show(look)
