"""Reliability: which labels to trust, and why not the others."""

from spice_explorer import session
from spice_explorer.sections import chrome, needs, reliability

chrome.heading(
    "Reliability",
    "A label is reliable when the image's neighbours share it and the model is sure. Move the "
    "thresholds and see what changes; the run itself stays as it is.",
)
with session.plain_errors():
    run = needs.run_of_page()
    if run is not None and needs.labels(run):
        reliability.show(run)
