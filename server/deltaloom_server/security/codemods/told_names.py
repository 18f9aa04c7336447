"""Which environment variable a file says that its secret is in.

Invariant: a name is taken from the file's words only where just one fits and the variable's own says no more
than that it is a secret; else the name is made of the variable's.
"""

from __future__ import annotations

import ast
import re

from deltaloom_server.security.codemods.source import Source

_NAME = r"[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+"
_TOLD = re.compile(
    rf"\b(?P<before>{_NAME})\b[^\n.]{{0,40}}\benvironment\b"
    rf"|\benvironment\b[^\n.]{{0,30}}?\b(?P<behind>{_NAME})\b|\$\{{?(?P<shell>{_NAME})\b"
)
_GENERAL = frozenset(("PASSWORD", "PASSWD", "PASS", "SECRET", "TOKEN", "KEY", "SECRET_KEY", "API_KEY"))
_SECRET = re.compile(r"KEY|PASS|PWD|SECRET|TOKEN|CREDENTIAL|SALT|PW\b")


def environment_name(source: Source, guessed: str) -> str:
    """The name that docstrings and comments give, or the guessed one."""
    if guessed not in _GENERAL or re.search(rf"\b{re.escape(guessed)}\b", "\n".join(_words_of(source))):
        return guessed
    told = {
        name
        for text in _words_of(source)
        for match in _TOLD.finditer(text)
        for name in match.groups()
        if name and _SECRET.search(name)
    }
    return told.pop() if len(told) == 1 else guessed


def _words_of(source: Source) -> list[str]:
    """The module's docstring, and the comments that have a line of their own."""
    comments = [line.lstrip()[1:] for line in source.lines if line.lstrip().startswith("#")]
    return [ast.get_docstring(source.tree) or "", *comments]
