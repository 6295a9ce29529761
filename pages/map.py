"""Map: every image as a point."""

from spice_explorer import session
from spice_explorer.components import chrome, map_view, needs

chrome.heading("Map", "Every image as a point: near points have like features. Drag round points to see them.")
with session.plain_errors():
    run = needs.run_of_page()
    if run is not None and needs.features(run):
        map_view.show(run)
