"""Scanners look at the result: the finding is gone from its unit, and nothing has come that wasn't there.

Invariant: suppression comments count for nothing, and a scanner that didn't look vouches for nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from deltaloom_server.positions import split_lines
from deltaloom_server.security.analysis.messages import ScanResult, ScanText
from deltaloom_server.security.finding import Finding, Scanner, Severity
from deltaloom_server.security.rules import canonical

Scan = Callable[[ScanText], ScanResult]
Lines = tuple[int, int]

FOR_PYTHON: tuple[Scanner, ...] = ("ruff", "bandit", "deltaloom", "secrets")

_NO_SHELL = "starting a program without a shell is still seen by this rule, at its lowest severity"
_BY_NAME = "the program was named without a folder before, too; only the shell hid that from this rule"
_IMPORTED = "the module has to be imported to do it safely; the import itself is harmless"
CONSEQUENCES: dict[str, dict[str, str]] = {
    rule: {"S603": _NO_SHELL, "S607": _BY_NAME, "S404": _IMPORTED}
    for rule in ("S602", "S604", "S605", "S606", "S609")
}
"""By the rule that is fixed: rules that may appear at severity low, and why that is no new weakness."""


@dataclass(frozen=True)
class Rescan:
    """What came of it. `scanners`: those that looked at the result and have nothing to say against it."""

    objections: tuple[str, ...] = ()
    scanners: tuple[Scanner, ...] = ()


@dataclass
class _View:
    """One text's findings, as one scanner sees it: by rule and normalized line, and where each stands."""

    places: Counter[tuple[str, str]] = field(default_factory=Counter)
    rows: list[tuple[str, int, Severity, str]] = field(default_factory=list)


class Texts:
    """One file before and after, and which scanners are asked about it."""

    def __init__(self, path: str, before: str, after: str, scanners: Sequence[Scanner], scan: Scan) -> None:
        self.path = path
        self.before, self.after = before, after
        self.scanners = tuple(scanners)
        self._scan = scan
        self.lines, self.new_lines = split_lines(before), split_lines(after)

    def look(self, changed: Sequence[Lines], new_changed: Sequence[Lines]) -> tuple[ScanResult, ScanResult]:
        """Both results. Secrets are looked for on changed lines only."""
        return (
            self._scan(ScanText(self.path, self.before, self.scanners, tuple(changed) or None)),
            self._scan(ScanText(self.path, self.after, self.scanners, tuple(new_changed) or None)),
        )


def rescan(
    texts: Texts,
    finding: Finding | None,
    known: Iterable[Finding],
    unit: tuple[Lines, Lines],
    changed: tuple[Sequence[Lines], Sequence[Lines]],
    least: tuple[Severity, ...] = ("low", "medium", "high", "critical"),
) -> Rescan:
    """`unit`: the lines of the unit before and after. `changed`: those of the hunks. `least`: the severities
    at which a new finding is an objection."""
    old, new = texts.look(*changed)
    blind = {one.scanner: one.reason for one in new.unscanned}
    blind_before = {one.scanner for one in old.unscanned}
    seeing = tuple(one for one in texts.scanners if one not in blind and one not in blind_before)
    objections = [*_unscanned(finding, blind, seeing)]
    before = {one: _view(old.findings, texts.lines, one) for one in seeing}
    after = {one: _view(new.findings, texts.new_lines, one) for one in seeing}
    if finding is not None:
        objections += _still_there(finding, before, after, unit, _line(texts.lines, finding.span.start_line))
    extra = _known(known, texts.lines)
    accepted = CONSEQUENCES.get(canonical(finding.rule), {}) if finding is not None else {}
    bad: set[Scanner] = set()
    for scanner in seeing:
        for row in _new(before[scanner], after[scanner], extra.get(scanner, Counter())):
            rule, line, severity, message = row
            if severity not in least or (severity == "low" and rule in accepted):
                continue
            bad.add(scanner)
            objections.append(f"It adds a finding on line {line + 1}: {rule}, {message.rstrip('.')}.")
    return Rescan(tuple(dict.fromkeys(objections)), tuple(one for one in seeing if one not in bad))


def _unscanned(
    finding: Finding | None, blind: dict[Scanner, str], seeing: Sequence[Scanner]
) -> Iterator[str]:
    wanted = [one for one in finding.scanners if one != "sarif"] if finding is not None else []
    for scanner in wanted:
        if scanner not in seeing:
            reason = blind.get(scanner, "it does not look at files of this kind").rstrip(".")
            yield f"The result can't be rescanned by {scanner}: {reason}."
    if not wanted and not seeing:
        yield "No scanner could look at the result."


def _line(lines: Sequence[str], number: int) -> str:
    return " ".join(lines[number].split()) if number < len(lines) else ""


def _view(findings: Iterable[Finding], lines: Sequence[str], scanner: Scanner) -> _View:
    view = _View()
    for one in findings:
        if scanner in one.scanners:
            line = one.span.start_line
            rule = canonical(one.rule)
            view.places[rule, _line(lines, line)] += 1
            view.rows.append((rule, line, one.severity, one.message))
    return view


def _known(known: Iterable[Finding], lines: Sequence[str]) -> dict[Scanner, Counter[tuple[str, str]]]:
    found: dict[Scanner, Counter[tuple[str, str]]] = {}
    for one in known:
        for scanner in one.scanners:
            found.setdefault(scanner, Counter())[canonical(one.rule), _line(lines, one.span.start_line)] += 1
    return found


def _still_there(
    finding: Finding,
    before: dict[Scanner, _View],
    after: dict[Scanner, _View],
    unit: tuple[Lines, Lines],
    line: str,
) -> Iterator[str]:
    """Fewer findings of the rule in the unit, and on the finding's own line; seen there before at all."""
    rules = {canonical(one) for one in (finding.rule, *finding.aliases)}
    seen = False
    for scanner, view in before.items():
        count = _within(view, rules, unit[0])
        if not count:
            continue
        seen = True
        new_count = _within(after[scanner], rules, unit[1])
        on_line = sum(view.places[rule, line] for rule in rules)
        still = sum(after[scanner].places[rule, line] for rule in rules)
        if new_count >= count or (on_line and still >= on_line):
            yield f"{scanner} still sees {finding.rule} in the result."
    if not seen:
        yield f"No scanner sees {finding.rule} at this place of the text, so none can tell that it is gone."


def _within(view: _View, rules: Collection[str], lines: Lines) -> int:
    return sum(one in rules and lines[0] <= line <= lines[1] for one, line, _, _ in view.rows)


def _new(
    before: _View, after: _View, known: Counter[tuple[str, str]]
) -> Iterator[tuple[str, int, Severity, str]]:
    """Findings of the result beyond those of the text, for each rule: one whose line has changed is the same
    as long as the rule has no more of them than before."""
    old = before.places | known
    more = after.places - old
    fewer = old - after.places
    for rule in sorted({rule for rule, _ in more}):
        here = sum(count for (one, _), count in more.items() if one == rule)
        gone = sum(count for (one, _), count in fewer.items() if one == rule)
        if here > gone:
            rows = [row for row in after.rows if row[0] == rule]
            yield rows[-1]
