"""What can go wrong for a reason the user can act on."""


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
