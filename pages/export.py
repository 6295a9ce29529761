"""Export: take the labels away."""

from spice_explorer import session
from spice_explorer.sections import chrome, export, labels_back, model_file, needs, report, what_is_this

chrome.heading("Export", "The latest labels, each with its source: as a table, for other tools, and as a report.")
with session.plain_errors():
    look = needs.run_of_page()
    if look is not None:
        labelled = needs.labels(look)
        if labelled:
            export.show(look)
            model_file.show(look.folder)
            labels_back.show(look.folder)
        report.show(look)
        if labelled:
            what_is_this.show(look)
