"""Export: take the labels away."""

from spice_explorer import session
from spice_explorer.sections import chrome, export, needs, report, what_is_this

chrome.heading("Export", "The latest labels as a table: one row per image, with the source of each label.")
with session.plain_errors():
    look = needs.run_of_page()
    if look is not None and needs.labels(look):
        export.show(look)
        report.show(look.folder)
        what_is_this.show(look)
