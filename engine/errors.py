"""Errors that the user can act on, and the message for any other error."""

from __future__ import annotations

import errno
import logging

log = logging.getLogger(__name__)

# What torch writes in a plain RuntimeError when the host, or a GPU, has no memory left: also for what its libraries
# allocate themselves, which is seldom a tensor.
_HOST_FULL = ("can't allocate memory", "not enough memory: you tried to allocate")
_NO_MEMORY = (
    *_HOST_FULL,
    "CUDA out of memory",
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "MPS backend out of memory",
)


class SpiceError(Exception):
    """One sentence for the user: what was found, what was expected, what to do next."""


class SettingError(SpiceError):
    """A setting that does not exist or has a value outside its range."""


class SourceError(SpiceError):
    """Images that cannot be read from where the user pointed."""


class RunError(SpiceError):
    """A run folder that cannot be used as asked."""


class TrainingError(SpiceError):
    """Training cannot continue: a loss is not finite, or the reliable set is empty."""


class DecisionError(SpiceError):
    """A reviewer's request that cannot be carried out."""


class LogBusyError(DecisionError):
    """The decision log cannot be written at the moment; the same decision may be retried."""


class Stopped(Exception):
    """A requested stop: not an error, and everything that must be kept is saved."""


def out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, on the host or on a GPU: such an error says nothing about a file.

    torch.OutOfMemoryError is a RuntimeError, and so is what torch raises when the host is full; this
    module does without torch, so both are known by their name or their text. A file that cannot be mapped into memory
    is an OSError, and may be caught as if it were damaged.
    """
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or (isinstance(error, RuntimeError) and any(text in str(error) for text in _NO_MEMORY))
        or (isinstance(error, OSError) and error.errno == errno.ENOMEM)
    )


def host_is_full(error: BaseException) -> bool:
    """Whether an error that is `out_of_memory` is about the host's own memory, not a GPU's."""
    return isinstance(error, (MemoryError, OSError)) or any(text in str(error) for text in _HOST_FULL)


def device_failed(error: BaseException) -> bool:
    """Whether a GPU itself has failed: nothing in this process can use it from then on."""
    return isinstance(error, RuntimeError) and "CUDA error: " in str(error)


def sentence_of(error: Exception, what: str) -> str:
    """One sentence for the user about an error: its own, the system's, or that it is a bug.

    A bug is logged with its trace, as the failure of `what`.
    """
    if isinstance(error, SpiceError):
        return str(error)
    if out_of_memory(error):
        return f"memory ran out ({first_sentence(error)}): choose smaller batches, or close other programs"
    if device_failed(error):
        return f"the GPU failed ({first_sentence(error)}): start SPICE Explorer again, and resume the run"
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{reason_of(error)}"
    log.error("%s failed", what, exc_info=error)
    return f"unexpected {type(error).__name__}: {error} (this is a bug: please report it)"


# What the system calls a disk, or a person's share of it, that is full.
FULL = (errno.ENOSPC, errno.EDQUOT)
_CURES = {
    errno.EROFS: "make it writable, or ",
    errno.EACCES: "make it writable for you, or ",
    errno.EPERM: "make it writable for you, or ",
    errno.EIO: "the disk may be failing: copy what is on it to another one, and ",
    errno.EMFILE: "close other programs, since too many files are open, or ",
    errno.ENFILE: "close other programs, since too many files are open, or ",
}


def reason_of(error: OSError) -> str:
    """What the system says of an error, in its words."""
    return error.strerror or str(error) or type(error).__name__


def disk_cure(error: OSError, elsewhere: str = "choose another folder") -> str:
    """What to do about a file that cannot be written, or `elsewhere`; only on a full disk does free space help.

    >>> disk_cure(OSError(errno.ENOSPC, "")), disk_cure(OSError(errno.EROFS, ""))
    ('free some space or choose another folder', 'make it writable, or choose another folder')
    """
    if error.errno in FULL:
        return f"free some space or {elsewhere}"
    return f"{_CURES.get(error.errno or 0, '')}{elsewhere}"


def first_sentence(error: object) -> str:
    """The first sentence of torch's error or warning, without its advice for programmers."""
    return (str(error).splitlines() or [type(error).__name__])[0].split(". ")[0].rstrip(":.")[:200]


def printable(text: str) -> str:
    """`text` on one line, with characters that would control a terminal escaped.

    >>> printable("red \\x1b[31m.png"), printable("猫.png")
    ('red \\\\x1b[31m.png', '猫.png')
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def sized(count: float) -> str:
    """A number of bytes in a unit in which it is not 0.

    >>> sized(1_234_567_890), sized(35e6), sized(812), sized(0)
    ('1.2 GB', '35.0 MB', '812 bytes', '0 bytes')
    """
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:,.1f} {unit}"
    return f"{count:,.0f} bytes"


def choose_clusters(clusters: int, images: int, source: str) -> str:
    """The sentence about a number of clusters that the images do not allow."""
    found = f"clusters is {clusters}, but {source} has {images} image{'' if images == 1 else 's'}"
    cure = f"choose from 2 to {images}" if images > 2 else "choose 2" if images == 2 else "add more"
    return f"{found}: {cure}"
