"""Learn: the method step by step, on a run of its own or the chosen one."""

from spice_explorer import session
from spice_explorer.sections import chrome, lesson

chrome.heading("Learn", "How unlabelled images get labels you can trust, in nine steps on a real run.")
with session.plain_errors():
    lesson.show()
