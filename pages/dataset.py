"""Dataset: choose images and look at them."""

from spice_explorer import session
from spice_explorer.sections import chrome
from spice_explorer.sections.dataset import page

chrome.heading("Dataset", "Choose the images to cluster. Labels are not needed and never used for training.")
with session.plain_errors():
    page.introduction()
    page.chooser()
with session.plain_errors():
    page.below()
