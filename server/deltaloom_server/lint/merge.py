"""One outcome from several: the shards of a run, or runs over different folders.

Invariant: what is missing is said: a shard that isn't there makes the whole incomplete. The baseline is
applied anew, since only the whole knows which files were renamed.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from deltaloom_server.lint.baseline import Baseline
from deltaloom_server.lint.options import LintOptions, LintUsageError
from deltaloom_server.lint.outcome import Outcome, Reported
from deltaloom_server.lint.reports import as_json
from deltaloom_server.lint.select import selected, stale_note
from deltaloom_server.security.finding import (
    CONFIDENCES,
    SEVERITIES,
    UNUSED_SUPPRESSION,
    Confidence,
    Severity,
)


def merge(options: LintOptions) -> Outcome:
    """The outcome of `options.merge`, whose options are applied to it. Raises `WorkspaceError`."""
    outcomes = [as_json.read(path) for path in options.merge]
    baseline = Baseline.read(options.baseline) if options.baseline else None
    whole = combine(outcomes)
    whole = msgspec.structs.replace(
        whole,
        severity=options.severity or whole.severity,
        confidence=options.confidence or whole.confidence,
    )
    kept = tuple(one for one in whole.findings if _is_selected(one, options))
    told = tuple(one for one in kept if _is_told(one, whole.severity, whole.confidence))
    whole = msgspec.structs.replace(whole, findings=told, left_out=whole.left_out + len(kept) - len(told))
    return whole if baseline is None else _apply(whole, baseline)


def combine(outcomes: Sequence[Outcome]) -> Outcome:
    """All of them as one; findings that two have are there once. Raises `LintUsageError`.

    The time is that of all together. The threshold is the lowest of all.
    """
    assert outcomes, "the command line demands at least one"
    missing = _missing(outcomes)
    findings = {
        (one.finding.path, one.finding.identity): one for outcome in outcomes for one in outcome.findings
    }
    unscanned = dict.fromkeys(one for outcome in outcomes for one in outcome.unscanned)
    notes = dict.fromkeys(note for outcome in outcomes for note in outcome.notes)
    order = sorted(findings.values(), key=lambda one: (one.finding.path, one.finding.span, one.finding.rule))
    return Outcome(
        version=outcomes[0].version,
        root=outcomes[0].root,
        files=sum(outcome.files for outcome in outcomes),
        findings=tuple(order),
        unscanned=tuple(unscanned),
        notes=(*notes, *missing),
        fixed=tuple(one for outcome in outcomes for one in outcome.fixed),
        complete=not missing and all(outcome.complete for outcome in outcomes),
        started=min(outcome.started for outcome in outcomes),
        seconds=sum(outcome.seconds for outcome in outcomes),
        cached=sum(outcome.cached for outcome in outcomes),
        left_out=sum(outcome.left_out for outcome in outcomes),
        severity=_lowest_severity(outcomes),
        confidence=_lowest_confidence(outcomes),
        paths=tuple(dict.fromkeys(path for outcome in outcomes for path in outcome.paths)),
    )


def _lowest_severity(outcomes: Sequence[Outcome]) -> Severity:
    return min((outcome.severity for outcome in outcomes), key=SEVERITIES.index)


def _lowest_confidence(outcomes: Sequence[Outcome]) -> Confidence:
    return min((outcome.confidence for outcome in outcomes), key=CONFIDENCES.index)


def _missing(outcomes: Sequence[Outcome]) -> tuple[str, ...]:
    """A sentence for each shard that isn't there. Raises where they don't belong together."""
    shards = [outcome.shard for outcome in outcomes if outcome.shard is not None]
    if not shards:
        return ()
    if len(shards) < len(outcomes) or len({parts for _, parts in shards}) > 1:
        raise LintUsageError("These are not the shards of one run: they must all be of the same n in i/n.")
    if len(set(shards)) < len(shards):
        raise LintUsageError("A shard is there twice: name the outcome of each shard once.")
    parts = shards[0][1]
    return tuple(
        f"Shard {part} of {parts} is missing." for part in range(1, parts + 1) if (part, parts) not in shards
    )


def _is_selected(reported: Reported, options: LintOptions) -> bool:
    if reported.finding.rule == UNUSED_SUPPRESSION and not options.unused_suppressions:
        return False
    return selected(reported.finding, options.select, options.ignore)


def _is_told(reported: Reported, severity: Severity, confidence: Confidence) -> bool:
    finding = reported.finding
    return finding.rule == UNUSED_SUPPRESSION or finding.at_least(severity, confidence)


def _apply(whole: Outcome, baseline: Baseline) -> Outcome:
    """With the baseline's word on each finding. Renames are followed where all files are known."""
    present = frozenset(whole.paths)
    accepted, stale = baseline.accept(
        [one.finding for one in whole.findings],
        (lambda path: path not in present) if whole.complete and present else None,
    )
    findings = tuple(
        msgspec.structs.replace(one, state="baseline") if known and one.state == "new" else one
        for one, known in zip(whole.findings, accepted, strict=True)
    )
    # Entries of findings below the threshold aren't stale, but can't be told from such here.
    told = whole.complete and not whole.left_out
    note = stale_note(sum(entry.count for entry in stale)) if told else ()
    return msgspec.structs.replace(whole, findings=findings, notes=(*whole.notes, *note))
