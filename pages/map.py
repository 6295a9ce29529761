"""Map: every image as a point."""

from spice_explorer import session
from spice_explorer.sections import chrome, needs
from spice_explorer.sections.map import page

chrome.heading("Map", "Every image as a point: near points have like features. Drag round points to see them.")
with session.plain_errors():
    run = needs.run_of_page()
    if run is not None and needs.features(run):
        page.show(run)
