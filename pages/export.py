"""Export: take the labels away."""

from spice_explorer import session
from spice_explorer.sections import chrome, export, labels_back, needs, report, what_is_this

chrome.heading("Export", "The latest labels, each with its source: as a table, for other tools, and as a report.")
with session.plain_errors():
    look = needs.run_of_page()
    if look is not None and needs.labels(look):
        export.show(look)
        labels_back.show(look.folder)
        report.show(look.folder)
        what_is_this.show(look)
