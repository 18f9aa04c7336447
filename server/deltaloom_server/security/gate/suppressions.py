"""No comment that quietens a scanner is added, moved to other code, or made to cover more.

Invariant: what counts is the number of such marks in the whole text, wherever they stand, strings included.
"""

from __future__ import annotations

import ast
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator

from deltaloom_server.security.codemods.source import Source

from .change import Change, fingerprints

MARK = re.compile(
    r"""(?ix)
    \bno[ ]?sec(?![a-z]) | \bnoqa(?![a-z]) | \bnosem(?:grep)?(?![a-z]) | \bnosonar\b | \bnolint\b
    | pragma:?\s*(?:allow|white)list | gitleaks:allow | trufflehog:ignore | detect-secrets | \blgtm\b
    | \bskipcq\b | \bcodeql\b | \bdeepcode\s+ignore | \bsnyk:ignore | checkov:skip | kics-scan
    | \btrivy:ignore
    | bandit:\s*(?:skip|ignore|off|disable) | ruff:\s*(?:noqa|ignore|disable) | flake8[:=]\s*noqa
    | pylint:\s*(?:disable|skip) | noinspection | eslint-disable | tslint:disable | @suppresswarnings
    | @suppress(?![a-z]) | \#\s*pragma\s+warning\s+disable | phpcs:(?:ignore|disable) | phpstan-ignore
    | psalm-suppress | coverity\[ | cppcheck-suppress | rubocop:disable | allow\(clippy | njsscan-ignore
    | security/detect | deltaloom:\s*(?:ignore|off|disable|skip)
    """
)


def added_marks(before: str, after: str) -> Iterator[str]:
    """Marks that the text after has more of. For every language."""
    more = _marks(after) - _marks(before)
    for mark in sorted(more):
        yield f"It adds a suppression ({mark})."


def _marks(text: str) -> Counter[str]:
    plain = unicodedata.normalize("NFKC", text)
    plain = "".join(one for one in plain if unicodedata.category(one) != "Cf")
    return Counter(" ".join(found.group().lower().split()) for found in MARK.finditer(plain))


def moved_marks(change: Change) -> Iterator[str]:
    """A comment stays at its statement, with the same words; one at a changed statement may only stay."""
    old, new = _placed(change.before), _placed(change.after)
    lost, gained = old - new, new - old
    if not gained:
        return
    still_there = set(fingerprints(change.after.tree).values())
    for (comment, statement), count in gained.items():
        places = [key for key in lost if key[0] == comment]
        if sum(lost[key] for key in places) < count:
            yield f"It widens or adds a suppression ({comment})."
        elif any(key[1] in still_there for key in places if key[1] != statement):
            yield f"It moves a suppression to other code ({comment})."


def _placed(source: Source) -> Counter[tuple[str, int]]:
    """Each line's marks from the first on, with the statement (0 for none) that the line belongs to."""
    owners = _owners(source)
    numbers = fingerprints(source.tree)
    found: Counter[tuple[str, int]] = Counter()
    for number, line in enumerate(source.lines):
        match = MARK.search(line)
        if match:
            owner = owners.get(number)
            found[" ".join(line[match.start() :].split()), numbers[owner] if owner is not None else 0] += 1
    return found


def _owners(source: Source) -> dict[int, ast.stmt]:
    """The innermost statement on each line; of several on one line, the last."""
    owners: dict[int, ast.stmt] = {}
    for node in ast.walk(source.tree):
        if isinstance(node, ast.stmt):
            last = node.end_lineno or node.lineno
            body = getattr(node, "body", None)
            if isinstance(body, list) and body and isinstance(body[0], ast.stmt):
                last = max(node.lineno, body[0].lineno - 1)
            for line in range(node.lineno - 1, last):
                owners[line] = node
    return owners
