"""The baseline: a file of findings that are known and accepted for now.

Invariant: an entry accepts as many findings as it counts, of one rule and identity, in one file, or in the
file that this one has become: never another line, rule or number.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import msgspec

from deltaloom_server.errors import WorkspaceError
from deltaloom_server.lint.files import write_file
from deltaloom_server.security.finding import Finding

_FORMAT = 1
_LARGEST = 64 << 20


class Entry(msgspec.Struct, frozen=True, order=True):
    """`count` findings of one rule and identity in one file. All empty: the end of the list."""

    path: str = ""
    rule: str = ""
    identity: str = ""
    count: int = 1


class _File(msgspec.Struct, frozen=True):
    version: int
    findings: tuple[Entry, ...]


@dataclass(frozen=True)
class Baseline:
    """Accepted findings, by (path, rule, identity)."""

    counts: Counter[tuple[str, str, str]] = field(default_factory=Counter)

    @classmethod
    def of(cls, findings: Iterable[Finding]) -> Baseline:
        """A baseline that accepts these findings."""
        return cls(Counter(_key(finding) for finding in findings))

    @classmethod
    def read(cls, path: str) -> Baseline:
        """The baseline in a file. Raises `WorkspaceError` where there is none.

        Where a merge of two branches has left an entry twice, the larger count stands.
        """
        try:
            with open(path, "rb") as file:
                content = file.read(_LARGEST + 1)
        except OSError as error:
            raise WorkspaceError(f"The baseline {path} can't be read ({error.strerror}); make one with "
                                 "--write-baseline.") from None  # fmt: skip
        if len(content) > _LARGEST:
            raise WorkspaceError(f"The baseline {path} is larger than {_LARGEST >> 20} MiB; make a new one.")
        try:
            file_ = msgspec.json.decode(content, type=_File)
        except (msgspec.DecodeError, RecursionError) as error:
            raise WorkspaceError(f"The baseline {path} isn't one ({error}); make a new one with "
                                 "--write-baseline.") from None  # fmt: skip
        if file_.version != _FORMAT:
            raise WorkspaceError(f"The baseline {path} is of another version of Deltaloom; make a new one.")
        counts: Counter[tuple[str, str, str]] = Counter()
        for entry in file_.findings:
            if entry.identity and entry.count > 0:
                key = (entry.path, entry.rule, entry.identity)
                counts[key] = max(counts[key], entry.count)
        return cls(counts)

    def write(self, path: str) -> None:
        """Put it in a file, an entry a line, sorted. Raises `WorkspaceError`."""
        write_file(path, self.text())

    def text(self) -> str:
        """The list ends with an empty entry: so all others end alike, and two branches that each add one
        don't touch a common line."""
        lines = [
            json.dumps({"path": path, "rule": rule, "identity": identity, "count": count}) + ","
            for (path, rule, identity), count in sorted(self.counts.items())
        ]
        return "\n".join(("{", f'"version": {_FORMAT},', '"findings": [', *lines, "{}", "]", "}", ""))

    def accept(
        self, findings: Sequence[Finding], is_gone: Callable[[str], bool] | None
    ) -> tuple[tuple[bool, ...], tuple[Entry, ...]]:
        """Which findings are accepted, and the entries that accepted nothing.

        `is_gone` tells of a path whether its file is no longer there: then its entries accept equal findings
        of files that have no entry for them, provided that all of these are in one file (it was renamed).
        None: renames aren't looked for, since not all files are known.
        """
        left = self.counts.copy()
        accepted = [_take(left, _key(finding)) for finding in findings]
        if is_gone is not None:
            self._follow_renames(findings, accepted, left, is_gone)
        stale = (Entry(*key, count) for key, count in sorted(left.items()) if count > 0)
        return tuple(accepted), tuple(stale)

    def _follow_renames(
        self,
        findings: Sequence[Finding],
        accepted: list[bool],
        left: Counter[tuple[str, str, str]],
        is_gone: Callable[[str], bool],
    ) -> None:
        gone = {path for path in {key[0] for key, count in left.items() if count > 0} if is_gone(path)}
        homeless: dict[tuple[str, str], list[tuple[str, str, str]]] = {}
        for key, count in left.items():
            if count > 0 and key[0] in gone:
                homeless.setdefault(key[1:], []).append(key)
        seekers: dict[tuple[str, str], list[int]] = {}
        for number, finding in enumerate(findings):
            if not accepted[number]:
                seekers.setdefault((finding.rule, finding.identity), []).append(number)
        for what, numbers in seekers.items():
            entries = homeless.get(what, [])
            if len(entries) == 1 and len({findings[number].path for number in numbers}) == 1:
                for number in numbers:
                    accepted[number] = _take(left, entries[0])


def _key(finding: Finding) -> tuple[str, str, str]:
    return finding.path, finding.rule, finding.identity


def _take(left: Counter[tuple[str, str, str]], key: tuple[str, str, str]) -> bool:
    if left[key] <= 0:
        return False
    left[key] -= 1
    return True
