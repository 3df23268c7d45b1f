"""Opening files that others made: a pipe or a device may never end, so only regular files are read."""

import errno
import io
import stat
from pathlib import Path

from rich.filesize import decimal

LONGEST_LINE = 2**24  # bytes: more text than any model takes at once, by far; as JSON or as tokens it can take GBs
TOO_LONG = f"longer than {decimal(LONGEST_LINE)}, which no row of texts is: is a line break or a quote missing?"


def opened(path: Path) -> io.BufferedReader:
    """A file, opened for reading; links are followed.

    Raises: OSError when it cannot be opened, or is a pipe, a socket or a device.
    """
    mode = path.stat().st_mode  # first: opening a pipe waits for its other end
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise OSError(errno.EINVAL, "it is a pipe or a device, and only files are read", str(path))
    return path.open("rb")


def text_of(path: Path, most: int) -> str:
    """The text of a file in UTF-8 that has at most so many bytes.

    Raises: OSError as `opened`, or when it is larger; UnicodeDecodeError.
    """
    with opened(path) as file:
        data = file.read(most + 1)
    if len(data) > most:
        size = decimal(path.stat().st_size)
        raise OSError(errno.EFBIG, f"it has {size}, and at most {decimal(most)} are read", str(path))
    return data.decode("utf-8")
