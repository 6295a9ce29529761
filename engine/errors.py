"""What can go wrong for a reason the user can act on, and what is said of anything else."""

from __future__ import annotations

import logging

log = logging.getLogger(__name__)


class SpiceError(Exception):
    """One sentence for the user: what was found, what was expected, what to do next."""


class SettingError(SpiceError):
    """A setting that does not exist or has a value outside its range."""


class SourceError(SpiceError):
    """Images that cannot be read from where the user pointed."""


class RunError(SpiceError):
    """A run folder that cannot be used as asked."""


class TrainingError(SpiceError):
    """Training that cannot go on: a loss that is not finite, an empty reliable set."""


class DecisionError(SpiceError):
    """Something that a reviewer asked for and that cannot be done."""


class LogBusyError(DecisionError):
    """A decision log that cannot be written at the moment: the same decision may be tried again."""


class Stopped(Exception):
    """Someone asked to stop: nothing is wrong, and whatever has to be kept is kept."""


def sentence_of(error: Exception, what: str) -> str:
    """One sentence for the user about an error: its own, the system's, or that it is a bug.

    A bug is logged with its trace, as the failure of `what`.
    """
    if isinstance(error, SpiceError):
        return str(error)
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror or error}"
    log.error("%s failed", what, exc_info=error)
    return f"unexpected {type(error).__name__}: {error} (this is a bug: please report it)"
