"""Export: take the labels away."""

from spice_explorer import session
from spice_explorer.sections import chrome, export, needs

chrome.heading("Export", "The newest labels as a table: one row an image, with where it came from.")
with session.plain_errors():
    run = needs.run_of_page()
    if run is not None and needs.labels(run):
        export.show(run)
