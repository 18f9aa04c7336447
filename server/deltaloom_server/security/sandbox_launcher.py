"""The program that stands between `Sandbox` and the command: it cuts the world off, then becomes the command.

Invariant: it runs by itself (standard library only, no import of this package), and the command starts only
after every cut that was asked for has been made; where one can't be, the status is REFUSED and nothing ran.

On Linux it takes new user, mount, network, process, IPC and host name namespaces. The mounts become read-only
but for the sandbox's folder; folders where other programs' sockets live are covered; loopback is a new one.
Capabilities are gone for good before the command starts, so that it can undo none of it. The first process of
a process namespace takes all others with it when it ends: nothing outlives the command.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import resource
import signal
import socket
import struct
import sys
from typing import Any

REFUSED = 125
"""The exit status of a launcher that could not isolate the command."""

_NAMESPACES = 0x10000000 | 0x00020000 | 0x40000000 | 0x20000000 | 0x08000000 | 0x04000000
_MS_NOSUID, _MS_NODEV, _MS_BIND, _MS_REC, _MS_PRIVATE = 2, 4, 4096, 16384, 1 << 18
_PR_SET_PDEATHSIG, _PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS, _PR_CAP_AMBIENT = 1, 24, 38, 47
_SYS_MOUNT_SETATTR, _AT_FDCWD, _AT_RECURSIVE, _ATTR_READONLY = 442, -100, 0x8000, 1
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1

_libc = ctypes.CDLL(None, use_errno=True)


def main(order: dict[str, Any]) -> int:
    """Run `order["command"]` and return its exit status (128 + the signal's number where one ended it)."""
    if order["system"] != "linux":
        _become(order)
    try:
        _new_namespaces()
    except OSError as error:
        return _refuse("take new user, mount, network and process namespaces", error)
    # A request to end must find either nothing started or a handler that ends it.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    first = os.fork()
    if first == 0:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        os._exit(_first_process(order))
    signal.signal(signal.SIGTERM, lambda *_: os.kill(first, signal.SIGKILL))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    return _status_of(os.waitpid(first, 0)[1])


def _first_process(order: dict[str, Any]) -> int:
    """Process 1 of the namespace: make the cuts, start the command, reap what is orphaned."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    try:
        _cover_mounts(order)
        _loopback_up()
        _drop_capabilities()
    except OSError as error:
        return _refuse("cut off the file system and the network", error)
    command = os.fork()
    if command == 0:
        _become(order)
    while True:
        process, status = os.wait()
        if process == command:
            return _status_of(status)


def _become(order: dict[str, Any]) -> None:
    """Take on the limits and turn into the command; doesn't return."""
    try:
        os.chdir(order["folder"])
        for name, value in order["limits"].items():
            kind = getattr(resource, name)
            hard = resource.getrlimit(kind)[1]
            value = value if hard == resource.RLIM_INFINITY else min(value, hard)
            resource.setrlimit(kind, (value, value))
        os.execve(order["command"][0], order["command"], order["environment"])
    except (OSError, ValueError) as error:
        print(f"{order['command'][0]} can't be started: {error}", file=sys.stderr, flush=True)
        os._exit(127)


def _new_namespaces() -> None:
    user, group = os.geteuid(), os.getegid()
    _call("unshare", _libc.unshare(_NAMESPACES))
    _write("/proc/self/setgroups", "deny")
    _write("/proc/self/uid_map", f"{user} {user} 1")
    _write("/proc/self/gid_map", f"{group} {group} 1")


def _cover_mounts(order: dict[str, Any]) -> None:
    base: str = order["base"]
    _mount("none", "/", "", _MS_REC | _MS_PRIVATE)
    covers: list[str] = order["cover"]
    shown = [(one, os.open(one, os.O_PATH | os.O_DIRECTORY)) for one in (base, *order["keep"])]
    for folder in covers:
        _mount("tmpfs", folder, "tmpfs", _MS_NOSUID | _MS_NODEV, f"mode=1777,size={order['cover_bytes']}")
    for folder, handle in shown:
        os.makedirs(folder, exist_ok=True)
        _mount(f"/proc/self/fd/{handle}", folder, "", _MS_BIND)
        os.close(handle)
    _read_only("/", yes=True)
    for folder in (base, *covers):
        _read_only(folder, yes=False)
    # A container may forbid a /proc of one's own; the outer one tells little and changes nothing.
    _libc.mount(b"proc", b"/proc", b"proc", ctypes.c_ulong(_MS_NOSUID | _MS_NODEV), None)


def _mount(source: str, target: str, kind: str, flags: int, data: str = "") -> None:
    result = _libc.mount(
        source.encode(), os.fsencode(target), kind.encode(), ctypes.c_ulong(flags), data.encode()
    )
    _call(f"mount {target}", result)


def _read_only(target: str, *, yes: bool) -> None:
    """Every mount from `target` down (yes), or that one back to writable."""
    attributes = struct.pack("QQQQ", _ATTR_READONLY if yes else 0, 0 if yes else _ATTR_READONLY, 0, 0)
    _call(
        f"mount_setattr {target}",
        _libc.syscall(
            _SYS_MOUNT_SETATTR, _AT_FDCWD, os.fsencode(target), _AT_RECURSIVE if yes else 0,
            attributes, len(attributes),
        ),
    )  # fmt: skip


def _loopback_up() -> None:
    """Tests may talk to servers of their own: over a loopback device that nobody else has."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        request = struct.pack("16sh22x", b"lo", 0)
        flags = struct.unpack("16sh22x", fcntl.ioctl(control, _SIOCGIFFLAGS, request))[1]
        fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sh22x", b"lo", flags | _IFF_UP))


def _drop_capabilities() -> None:
    """Nothing that is executed from here on can get them back, even as root."""
    with open("/proc/sys/kernel/cap_last_cap", encoding="ascii") as file:
        last = int(file.read())
    for capability in range(last + 1):
        _call("drop a capability", _libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0))
    _libc.prctl(_PR_CAP_AMBIENT, 4, 0, 0, 0)
    header = struct.pack("Ii", 0x20080522, 0)
    _call("drop capabilities", _libc.capset(header, struct.pack("6I", *[0] * 6)))
    _call("no new privileges", _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))


def _call(what: str, result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def _write(path: str, text: str) -> None:
    with open(path, "w", encoding="ascii") as file:
        file.write(text)


def _refuse(what: str, error: OSError) -> int:
    print(f"this system does not let a process {what} ({error.strerror})", file=sys.stderr, flush=True)
    return REFUSED


def _status_of(status: int) -> int:
    return 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


if __name__ == "__main__":
    sys.exit(main(json.loads(sys.argv[1])))
