"""A sandbox for one command where no namespaces are to be had: Landlock and seccomp, put on by the process itself.

    python -I -S sandbox_landlock.py POLICY ARGV...

POLICY is JSON: `read` and `write` are lists of paths (everything below them), `network` a boolean. Without
network no socket but a local pair can be opened and nothing can be connected to, not even on this machine.
Standard library only. Exits with 126 when the kernel does not oblige: nothing runs unprotected by accident.
"""

import ctypes
import json
import os
import platform
import struct
import sys

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION_FLAG, _PATH_BENEATH = 1, 1
_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _PR_CAPBSET_DROP = 38, 22, 24

_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_REFER, _TRUNCATE, _IOCTL_DEV = 1 << 13, 1 << 14, 1 << 15
_FIRST_ABI = (1 << 13) - 1
_OF_A_FILE = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEV
_NET_BOTH, _SCOPE_BOTH = 3, 3

# Machine -> (audit architecture, socket, connect, io_uring_setup)
_SYSCALLS = {
    "x86_64": (0xC000003E, 41, 42, 425),
    "aarch64": (0xC00000B7, 198, 203, 425),
}
_AF_UNIX = 1
_ALLOW, _ERRNO, _KILL = 0x7FFF0000, 0x00050000, 0x80000000
_EACCES, _ENOSYS = 13, 38


class Refused(Exception):
    """The kernel has no Landlock, or refused a part of the policy."""


def libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def abi() -> int:
    """The version of Landlock that the kernel offers; 0 for none."""
    found = libc().syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(_VERSION_FLAG))
    return max(0, int(found))


def supported() -> bool:
    """Whether this kernel and machine can do all that is promised above."""
    return sys.platform == "linux" and platform.machine() in _SYSCALLS and abi() >= 1


def restrict(read: list[str], write: list[str], network: bool) -> None:
    """Give up everything else, for this process and all it starts, for good. Raises Refused."""
    version = abi()
    if version < 1:
        raise Refused("this kernel has no Landlock")
    library = libc()
    if library.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        raise Refused("no_new_privs was refused")
    everything = _FIRST_ABI
    everything |= _REFER if version >= 2 else 0
    everything |= _TRUNCATE if version >= 3 else 0
    everything |= _IOCTL_DEV if version >= 5 else 0
    fields = [everything]
    if version >= 4:
        fields.append(0 if network else _NET_BOTH)
    if version >= 6:
        fields.append(_SCOPE_BOTH)
    attributes = struct.pack(f"={len(fields)}Q", *fields)
    ruleset = library.syscall(
        _CREATE_RULESET, attributes, ctypes.c_size_t(len(attributes)), ctypes.c_uint32(0)
    )
    if ruleset < 0:
        raise Refused(f"no ruleset: {os.strerror(ctypes.get_errno())}")
    for path in read:
        _allow(library, ruleset, path, _EXECUTE | _READ_FILE | _READ_DIR)
    for path in write:
        _allow(library, ruleset, path, everything)
    # Root's rights over others' processes and files do not pass the next exec.
    for capability in range(64):
        library.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)
    if library.syscall(_RESTRICT_SELF, ruleset, ctypes.c_uint32(0)) != 0:
        raise Refused(f"not restricted: {os.strerror(ctypes.get_errno())}")
    os.close(ruleset)
    if not network:
        _no_sockets(library)


def _allow(library: ctypes.CDLL, ruleset: int, path: str, rights: int) -> None:
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return  # What is not there needs no permission.
    try:
        if not os.path.isdir(path):  # noqa: PTH112  # no pathlib in a starting child
            rights &= _OF_A_FILE
        rule = struct.pack("=Qi", rights, place)
        if library.syscall(_ADD_RULE, ruleset, _PATH_BENEATH, rule, ctypes.c_uint32(0)) != 0:
            raise Refused(f"{path}: {os.strerror(ctypes.get_errno())}")
    finally:
        os.close(place)


def _no_sockets(library: ctypes.CDLL) -> None:
    """Landlock knows TCP only, and no sockets in the file system (docker's, say): those go by seccomp."""
    machine = platform.machine()
    if machine not in _SYSCALLS:
        raise Refused(f"no system call numbers for {machine}")
    audit, socket, connect, io_uring = _SYSCALLS[machine]
    _install(library, _assemble(audit, socket, connect, io_uring))


def _assemble(audit: int, socket: int, connect: int, io_uring: int) -> bytes:
    load, equal, at_least, give = 0x20, 0x15, 0x35, 0x06
    labelled: list[tuple[str, int, str, str, int]] = [
        ("", load, "", "", 4),
        ("", equal, "", "kill", audit),
        ("", load, "", "", 0),
        ("", at_least, "deny", "", 0x40000000),
        ("", equal, "deny", "", connect),
        ("", equal, "absent", "", io_uring),
        ("", equal, "", "allow", socket),
        ("", load, "", "", 16),
        ("", equal, "allow", "deny", _AF_UNIX),
        ("allow", give, "", "", _ALLOW),
        ("deny", give, "", "", _ERRNO | _EACCES),
        ("absent", give, "", "", _ERRNO | _ENOSYS),
        ("kill", give, "", "", _KILL),
    ]
    places = {label: place for place, (label, *_) in enumerate(labelled) if label}
    code = b""
    for place, (_, operation, yes, no, operand) in enumerate(labelled):
        jumps = [places[label] - place - 1 if label else 0 for label in (yes, no)]
        code += struct.pack("=HBBI", operation, *jumps, operand)
    return code


def _install(library: ctypes.CDLL, code: bytes) -> None:
    buffer = ctypes.create_string_buffer(code)
    # struct sock_fprog: a count, padding, a pointer.
    program = struct.pack("@HP", len(code) // 8, ctypes.addressof(buffer))
    if library.prctl(_PR_SET_SECCOMP, 2, program, 0, 0) != 0:
        raise Refused(f"no seccomp filter: {os.strerror(ctypes.get_errno())}")


def main(arguments: list[str]) -> int:
    policy = json.loads(arguments[0])
    try:
        restrict(policy["read"], policy["write"], policy["network"])
        os.execvpe(arguments[1], arguments[1:], os.environ)
    except (Refused, OSError) as error:
        print(f"sandbox: {error}", file=sys.stderr)
        return 126


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
