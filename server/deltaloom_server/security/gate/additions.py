"""A fix is small, and brings nothing with it: no hidden letters, addresses, secrets, programs, deletions.

Invariant: what the text held before may stay; only what is new is an objection.
"""

from __future__ import annotations

import ast
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator

from deltaloom_server.security.codemods.source import Source

from .change import Change, Hunk
from .sinks import DELETES, DELETING_METHODS, NETWORK, PROCESSES

MOST_LINES = 40
MOST_CHARACTERS = 6000

_URL = re.compile(
    r"(?i)\b[a-z][a-z0-9+.-]{1,20}://[^\s\"'<>]+|\bwww\.[a-z0-9-]+\.[a-z]{2,}|\b(?:data|javascript):\S+"
)
_ADDRESS = re.compile(
    r"\b\d{1,3}(?:\.\d{1,3}){3}\b|\b[0-9a-f]{1,4}(?::[0-9a-f]{0,4}){3,7}\b|\[::[0-9a-f:]*\]", re.IGNORECASE
)
_LOOPBACK = frozenset({"127.0.0.1", "255.255.255.255"})
_DOMAIN = re.compile(
    r"(?i)\b(?:[a-z0-9-]+\.)+(?:com|net|org|io|dev|app|xyz|ru|cn|info|biz|site|online|onion)\b"
)
_JOINED = re.compile(r"\|\|?|&&|;")
_VALUE = re.compile(r"\{[^{}]*\}|%\(\w+\)[a-z]|%[sdr]")
_WITH_HOST = re.compile(r"(?i)[a-z][a-z0-9+.-]*://[^/\s]+/")
_TOKEN = re.compile(
    r"AKIA[0-9A-Z]{16}|gh[pousr]_[A-Za-z0-9]{20,}|xox[abprs]-[A-Za-z0-9-]{10,}|sk[-_](?:live|test|proj)?[-_]?\w{20,}"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY|eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{5,}|AIza[0-9A-Za-z_-]{30,}"
)
_RANDOM_LOOKING = re.compile(r"[A-Za-z0-9+/=_-]{24,}")


def size(before: str, after: str, hunks: tuple[Hunk, ...], most: int = MOST_LINES) -> Iterator[str]:
    """No more than `most` lines taken away or put in."""
    lines = sum(_lines(before[h.start : h.end], after[h.new_start : h.new_end]) for h in hunks)
    if lines > most:
        yield f"It changes {lines} lines; a fix has at most {most}."
    elif sum(h.new_end - h.new_start for h in hunks) > MOST_CHARACTERS * max(1, most // MOST_LINES):
        yield "It puts in more text than a fix needs."


def _lines(old: str, new: str) -> int:
    return max(_count(old), _count(new))


def _count(text: str) -> int:
    return len(text.splitlines())


def hidden(before: str, after: str) -> Iterator[str]:
    """Letters that can't be seen, or that look like others: for every language."""
    more = Counter(filter(is_odd, after)) - Counter(filter(is_odd, before))
    for letter in sorted(more):
        yield f"It adds a character that can't be seen (U+{ord(letter):04X})."
        return


def is_odd(letter: str) -> bool:
    """Is a character one that nobody sees, or that looks like a blank?"""
    if letter.isascii():
        return letter < " " and letter not in "\t\n\r\f"
    category = unicodedata.category(letter)
    if category in ("Cf", "Co", "Cs", "Cn", "Zl", "Zp", "Cc"):
        return True
    return (
        (category == "Zs")
        or letter in "\u115f\u1160\u3164\uffa0\u2800\u034f"
        or 0xFE00 <= ord(letter) <= 0xFE0F
    )


def strings(before: str, after: str) -> Iterator[str]:
    """Addresses, and what looks like a credential: for every language."""
    for pattern in (_URL, _ADDRESS, _DOMAIN):
        old = Counter(pattern.findall(before))
        known = {_fixed_part(one) for one in old}
        for one in sorted(Counter(pattern.findall(after)) - old):
            if one in old or one in _LOOPBACK or _is_version(pattern, one):
                continue
            if pattern is _URL and _fixed_part(one) in known:
                continue
            yield f"It adds an address: {one[:80]}."
            return
    old_tokens = set(_TOKEN.findall(before))
    if any(one not in old_tokens for one in _TOKEN.findall(after)):
        yield "It adds what looks like a credential."


def _fixed_part(url: str) -> str:
    """Of an address with a complete host: all up to where a value is put in, however that is written. Of one
    whose host is itself a value: all of it, with the values' places marked alike."""
    fixed = _VALUE.split(url, maxsplit=1)[0].rstrip("\\")
    if _WITH_HOST.match(fixed):
        return fixed
    return _VALUE.sub("{}", url)


def _is_version(pattern: re.Pattern[str], text: str) -> bool:
    return pattern is _ADDRESS and "." in text and any(int(part) > 255 for part in text.split("."))


def identifiers(change: Change) -> Iterator[str]:
    """Names in letters of other scripts look like ones that they aren't."""
    old = {name for root in change.old for name in _names(root)}
    for root in change.new:
        for name in _names(root):
            if not name.isascii() and name not in old:
                yield f"It adds a name that isn't ASCII: {name}."
                return


def _names(root: ast.AST) -> Iterator[str]:
    for node in ast.walk(root):
        for field in ("id", "attr", "arg", "name", "asname"):
            value = getattr(node, field, None)
            if isinstance(value, str):
                yield value


def literals(change: Change) -> Iterator[str]:
    """A string that is added and looks drawn at random: a key, a hash, code in disguise."""
    old = {one for root in change.old for one in _constants(root)}
    for root in change.new:
        for text in _constants(root):
            if text in old or text in change.before.text:
                continue
            for found in _RANDOM_LOOKING.findall(text):
                if (
                    _entropy(found) > 3.6
                    and any(one.isdigit() for one in found)
                    and any(map(str.isalpha, found))
                ):
                    yield "It adds what looks like a credential."
                    return
            if isinstance(text, str) and len(text) > 400:
                yield "It adds a very long string."
                return


def _constants(root: ast.AST) -> Iterator[str]:
    for node in ast.walk(root):
        if isinstance(node, ast.Constant) and isinstance(node.value, str | bytes):
            yield node.value if isinstance(node.value, str) else node.value.decode("latin-1")


def _entropy(text: str) -> float:
    """Bits a letter, by the letters' own frequencies (Shannon)."""
    counts = Counter(text).values()
    return -sum(count / len(text) * math.log2(count / len(text)) for count in counts)


def effects(change: Change) -> Iterator[str]:
    """Processes, connections and deletions only where there were as many before."""
    for kind, names, methods in (
        ("starts a process", PROCESSES, frozenset[str]()),
        ("opens a connection", NETWORK, frozenset[str]()),
        ("deletes, moves or ends something", DELETES, DELETING_METHODS),
    ):
        old = sum(
            _is_one(change.before, node, names, methods) for root in change.old for node in ast.walk(root)
        )
        new = sum(
            _is_one(change.after, node, names, methods) for root in change.new for node in ast.walk(root)
        )
        if names is PROCESSES and old:
            old += _joined_commands(change)
        if new > old and not (kind.startswith("opens") and _had_receiver(change)):
            yield f"It {kind} where the code before did not."


def _joined_commands(change: Change) -> int:
    """Further programs that a shell's command line started, which has gone: `cat … | wc -l`."""
    if not any(_is_one(change.before, node, PROCESSES, frozenset()) for node in change.removed):
        return 0
    texts = [one.value for one in change.removed if isinstance(one, ast.Constant)]
    return sum(len(_JOINED.findall(text)) for text in texts if isinstance(text, str))


def _had_receiver(change: Change) -> bool:
    """`urlopen` that was called by a name nobody can resolve: a connection was opened all the same."""
    known = {"urlopen", "urlretrieve"}
    return any(
        isinstance(node, ast.Name) and node.id in known for root in change.old for node in ast.walk(root)
    )


def _is_one(source: Source, node: ast.AST, names: frozenset[str], methods: frozenset[str]) -> bool:
    if not isinstance(node, ast.Call):
        return False
    name = source.qualified(node.func)
    if name:
        return name in names or (name.startswith(("os.exec", "os.spawn")) and names is PROCESSES)
    return isinstance(node.func, ast.Attribute) and node.func.attr in methods
