"""Train: start a run and watch it."""

from spice_explorer import session
from spice_explorer.components import chrome, form, train

chrome.heading("Train", "Start a run, watch its three stages, pause or stop it at any time.")
with session.plain_errors():
    if train.choose_view() == train.NEW:
        form.new_run()
    else:
        train.watch()
