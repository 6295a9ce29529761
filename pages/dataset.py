"""Dataset: choose images and look at them."""

from spice_explorer import session
from spice_explorer.components import chrome, dataset

chrome.heading("Dataset", "Choose the images to cluster. Labels are not needed and never used for training.")
with session.plain_errors():
    dataset.chooser()
with session.plain_errors():
    dataset.report(session.opened())
    dataset.to_train()
