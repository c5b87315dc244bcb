"""Output to a terminal that may be gone before the command has ended."""

from __future__ import annotations

import errno
import io
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class _Unheard(io.FileIO):
    """Writes to a terminal; what comes after it was closed goes nowhere, where any write is an error."""

    def write(self, data: ReadableBuffer, /) -> int:
        try:
            return super().write(data)
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            return memoryview(data).nbytes


def outliving(stream: TextIO) -> TextIO:
    """The same stream for a command that goes on without its terminal; what is no terminal is left as it is."""
    if not stream.isatty():
        return stream
    writer = io.BufferedWriter(_Unheard(stream.fileno(), "w", closefd=False))
    return io.TextIOWrapper(writer, encoding=stream.encoding, errors=stream.errors, line_buffering=True)
