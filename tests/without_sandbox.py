"""Runs a command on a machine where no sandbox works, or only Landlock does: as in a locked-down container.

    python tests/without_sandbox.py [--landlock] ARGV...

A seccomp filter refuses new namespaces, which bubblewrap needs, and Landlock unless it is asked for. x86-64 only:
elsewhere it exits with 77.
"""

import ctypes
import os
import platform
import struct
import sys

_LOAD, _EQUAL, _ANY_BIT, _GIVE = 0x20, 0x15, 0x45, 0x06
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000
_EPERM, _ENOSYS = 1, 38
_CLONE, _UNSHARE, _CLONE3, _LANDLOCK = 56, 272, 435, 444
_NEW_NAMESPACES = 0x7E020000
SKIPPED = 77


def code(*, landlock: bool) -> bytes:
    steps = [
        (_LOAD, 0, 0, 0),
        (_EQUAL, 5, 0, _UNSHARE),
        # Its flags lie in memory, where no filter can look; the C library then takes clone.
        (_EQUAL, 6, 0, _CLONE3),
        (_EQUAL, 0 if landlock else 5, 0, _LANDLOCK),
        (_EQUAL, 0, 3, _CLONE),
        (_LOAD, 0, 0, 16),
        (_ANY_BIT, 0, 1, _NEW_NAMESPACES),
        (_GIVE, 0, 0, _ERRNO | _EPERM),
        (_GIVE, 0, 0, _ALLOW),
        (_GIVE, 0, 0, _ERRNO | _ENOSYS),
    ]
    return b"".join(struct.pack("=HBBI", *step) for step in steps)


def main(arguments: list[str]) -> int:
    landlock = arguments[:1] == ["--landlock"]
    argv = arguments[1:] if landlock else arguments
    if platform.machine() != "x86_64" or sys.platform != "linux":
        return SKIPPED
    filter = code(landlock=landlock)
    buffer = ctypes.create_string_buffer(filter)
    program = struct.pack("@HP", len(filter) // 8, ctypes.addressof(buffer))
    library = ctypes.CDLL(None, use_errno=True)
    if library.prctl(38, 1, 0, 0, 0) or library.prctl(22, 2, program, 0, 0):
        return SKIPPED
    os.execvp(argv[0], argv)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
