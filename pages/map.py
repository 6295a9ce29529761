"""Map: every image as a point."""

from spice_explorer import session
from spice_explorer.components import chrome, map_view, needs

chrome.heading(
    "Map", "Every image is a point; nearby points have similar features. Draw around points to see their images."
)
with session.plain_errors():
    run = needs.run_of_page()
    if run is not None and needs.features(run):
        map_view.show(run)
