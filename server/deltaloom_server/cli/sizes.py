"""Numbers as people read them."""

from __future__ import annotations


def format_bytes(count: float) -> str:
    """Bytes in binary units with at most one decimal: `512 B`, `1.5 KiB`, `7.7 GiB`."""
    if count < 1024:
        return f"{count:.0f} B"
    for unit in ("KiB", "MiB", "GiB"):
        count /= 1024
        if count < 1024:
            return f"{count:.1f} {unit}"
    return f"{count / 1024:.1f} TiB"


def format_milliseconds(count: float) -> str:
    """Milliseconds below a second, seconds above: `83 ms`, `2.4 s`."""
    return f"{count:.0f} ms" if count < 1000 else f"{count / 1000:.1f} s"
