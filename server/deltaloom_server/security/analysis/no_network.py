"""Nothing in the analysis process talks to anybody.

Invariant: once `refuse_network` has been called, no socket is connected, bound or resolved from this process,
whatever a library that it imports would like to do.
"""

from __future__ import annotations

import socket
import sys

_REFUSED = frozenset(
    {
        "socket.connect",
        "socket.bind",
        "socket.getaddrinfo",
        "socket.gethostbyname",
        "socket.gethostbyaddr",
        "socket.sendto",
        "socket.sendmsg",
    }
)


def refuse_network() -> None:
    """Refuse all of it from here on; it can't be taken back (an audit hook, PEP 578)."""
    # A library that detect-secrets imports tries out at once whether there is IPv6, by binding a socket.
    socket.has_ipv6 = False
    sys.addaudithook(_refuse)


def _refuse(event: str, _arguments: object) -> None:
    if event in _REFUSED:
        raise PermissionError(f"The analysis process has no network ({event}).")
