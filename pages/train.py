"""Train: start a run and watch it."""

from spice_explorer import session
from spice_explorer.sections import chrome
from spice_explorer.sections.train import form, page

chrome.heading("Train", "Start a run, watch its three stages, pause or stop it at any time.")
with session.plain_errors():
    if page.choose_view() == page.NEW:
        form.new_run()
    else:
        page.watch()
