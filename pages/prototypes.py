"""Prototypes: what each cluster is about."""

from spice_explorer import session
from spice_explorer.sections import chrome, needs
from spice_explorer.sections.prototypes import forming, page

chrome.heading(
    "Prototypes", "A cluster's most confident images form its prototype; the images nearest to it get its label."
)
with session.plain_errors():
    look = needs.run_of_page()
    if look is not None:
        if needs.labels(look):
            page.show(look.folder)
        else:
            forming.live(look)
