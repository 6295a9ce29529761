"""Curate: check pseudo-labels and correct them, mostly from the keyboard."""

from spice_explorer import session
from spice_explorer.sections import chrome, needs
from spice_explorer.sections.curate import page

chrome.heading(
    "Curate",
    "Decide the labels: whole classes at once, doubtful images one by one. Every decision is saved and can be undone.",
)
with session.plain_errors():
    look = needs.run_of_page()
    if look is not None and needs.labels(look):
        page.show(look.folder)
