"""Reliability: which labels are reliable, and why the others are rejected."""

from spice_explorer import session
from spice_explorer.sections import chrome, needs, reliability

chrome.heading(
    "Reliability",
    "A label is reliable when the image's neighbours share it and the model is confident. Move the "
    "thresholds to see what changes; the run itself is not modified.",
)
with session.plain_errors():
    look = needs.run_of_page()
    if look is not None and needs.labels(look):
        reliability.show(look)
