"""Which scanners these are, down to our own rules: what remembered results depend on.

Invariant: whatever may change a result for an unchanged text changes the fingerprint.
"""

from __future__ import annotations

from functools import cache
from hashlib import blake2b
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_PACKAGES = ("ruff", "bandit", "detect-secrets", "semgrep")
_OWN = ("scanners", "rules", "suppressions", "analysis", "assemble.py", "finding.py", "languages.py")


@cache
def versions() -> dict[str, str]:
    """The installed version of each scanner package; "" for one that isn't installed."""
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = ""
    return found


@cache
def fingerprint() -> str:
    """32 hex digits over the versions and over the text of our own checks and rules."""
    digest = blake2b(repr(sorted(versions().items())).encode(), digest_size=16)
    here = Path(__file__).parent
    for name in _OWN:
        place = here / name
        files = [place] if place.is_file() else sorted(place.rglob("*"))
        for file in files:
            if file.suffix in (".py", ".json") and file.is_file():
                digest.update(file.relative_to(here).as_posix().encode())
                digest.update(file.read_bytes())
    return digest.hexdigest()
