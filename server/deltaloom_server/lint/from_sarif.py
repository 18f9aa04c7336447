"""`--from-sarif`: other scanners' results become findings.

Invariant: what can't be understood is counted and said, never guessed; nothing outside the root is read.
"""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from deltaloom_server.errors import WorkspaceError
from deltaloom_server.lint.reports.common import as_unicode
from deltaloom_server.lint.sarif_location import place, span_of
from deltaloom_server.lint.sarif_names import our_rule
from deltaloom_server.security.finding import Confidence, Finding, Related, Severity
from deltaloom_server.security.rules import rule_info
from deltaloom_server.security.source_text import SourceText, read_source

_LARGEST = 64 << 20
_LARGEST_TEXT = 4 << 20
_MOST_RESULTS = 100_000
_MESSAGE = 2_000
_RELATED = 8
_CWE = re.compile(r"(?:\A|.*/)cwe[-_ ]?0*(\d{1,5})(?!\d)", re.IGNORECASE)
_LEVELS: dict[str, Severity] = {
    "error": "high", "warning": "medium", "note": "low", "none": "low",
    "high": "high", "medium": "medium", "low": "low",
}  # fmt: skip
_PRECISIONS: dict[str, Confidence] = {"very-high": "high", "high": "high", "medium": "medium", "low": "low"}


@dataclass(frozen=True)
class Imported:
    """Findings without identities, in the order of the file; `notes` say what was left out, and why."""

    findings: tuple[Finding, ...]
    notes: tuple[str, ...]


def read_sarif(path: str, root: str) -> Imported:
    """The results of a SARIF 2.1.0 file that are about files in `root`.

    Raises `WorkspaceError`, in one sentence, for a file that isn't one.
    """
    left: Counter[str] = Counter()
    findings: dict[Finding, None] = {}
    texts: dict[str, str | None] = {}
    for run in _runs(path):
        for result in _objects(run.get("results")):
            if sum(left.values()) + len(findings) >= _MOST_RESULTS:
                left["beyond the first " + str(_MOST_RESULTS)] += 1
                continue
            reason = _skipped(result)
            found = reason or _finding(result, run, root, texts)
            if isinstance(found, str):
                left[found] += 1
            else:
                findings[found] = None
    name = os.path.basename(path)
    notes = (
        f"{count} result{'' if count == 1 else 's'} of {name} left out: {why}." for why, count in left.items()
    )
    return Imported(tuple(findings), tuple(notes))


def _runs(path: str) -> list[Mapping[str, Any]]:
    try:
        with open(path, "rb") as file:
            content = file.read(_LARGEST + 1)
    except OSError as error:
        raise WorkspaceError(f"{path} can't be read ({error.strerror}).") from None
    if len(content) > _LARGEST:
        raise WorkspaceError(f"{path} is larger than {_LARGEST >> 20} MiB: have its scanner write less.")
    try:
        log = json.loads(content.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise WorkspaceError(f"{path} is no SARIF: it isn't JSON ({error}).") from None
    if not isinstance(log, dict) or not isinstance(log.get("runs"), list):
        raise WorkspaceError(f"{path} is no SARIF: it has no runs.")
    if log.get("version") != "2.1.0":
        raise WorkspaceError(f"{path} is SARIF {str(log.get('version'))[:20]!r}: only 2.1.0 is read.")
    return list(_objects(log["runs"]))


def _skipped(result: Mapping[str, Any]) -> str:
    """Why a result is none to report; "" where it is one."""
    if result.get("kind", "fail") not in ("fail", "open", "review"):
        return "they are no findings"
    if result.get("baselineState") == "absent":
        return "they are gone since its baseline"
    suppressions = list(_objects(result.get("suppressions")))
    if any(one.get("status", "accepted") == "accepted" for one in suppressions):
        return "they are suppressed there"
    return ""


def _finding(
    result: Mapping[str, Any], run: Mapping[str, Any], root: str, texts: dict[str, str | None]
) -> Finding | str:
    """The finding, or why there is none."""
    physical = next((_object(one.get("physicalLocation")) for one in _objects(result.get("locations"))), {})
    path = place(root, run, _object(physical.get("artifactLocation")))
    if path is None:
        return "they name no file in this folder"
    if path not in texts:
        texts[path] = _text(os.path.join(root, path))
    text = texts[path]
    if text is None:
        return "their files are too large or no text"
    span = span_of(physical.get("region"), text, run.get("columnKind"))
    if span is None:
        return "their files have no such line any more"
    rule = _rule(result, run)
    identifier = _first_text(result.get("ruleId"), _object(result.get("rule")).get("id"), rule.get("id"))
    if not identifier:
        return "they name no rule"
    name = our_rule(identifier[:200])
    info = rule_info(name)
    url = rule.get("helpUri")
    return Finding(
        rule=name,
        message=_message(result, rule) or info.title,
        path=path,
        span=span,
        severity=_severity(result, rule),
        confidence=_confidence(result, rule),
        scanners=("sarif",),
        aliases=(identifier[:200],),
        cwe=_cwe(result, rule) or info.cwe,
        help_url=url if isinstance(url, str) and url.startswith(("https://", "http://")) else info.help_url,
        related=tuple(_related(result, run, root, path, text))[:_RELATED],
    )


def _text(path: str) -> str | None:
    source = read_source(path, _LARGEST_TEXT)
    return source.text if isinstance(source, SourceText) else None


def _rule(result: Mapping[str, Any], run: Mapping[str, Any]) -> Mapping[str, Any]:
    """The reportingDescriptor of a result, by index or id (SARIF 2.1.0, 3.27.7); {} where it has none."""
    tool = _object(run.get("tool"))
    reference = _object(result.get("rule"))
    components = [_object(tool.get("driver")), *_objects(tool.get("extensions"))]
    which = _object(reference.get("toolComponent")).get("index")
    if isinstance(which, int) and 0 <= which < len(components) - 1:
        components.insert(0, components[which + 1])
    identifier = _first_text(result.get("ruleId"), reference.get("id"))
    index = result.get("ruleIndex", reference.get("index"))
    rules = list(_objects(components[0].get("rules")))
    if isinstance(index, int) and not isinstance(index, bool) and 0 <= index < len(rules):
        return rules[index]
    for component in components:
        for rule in _objects(component.get("rules")):
            if identifier and rule.get("id") in (identifier, identifier.rpartition("/")[0]):
                return rule
    return {}


def _message(result: Mapping[str, Any], rule: Mapping[str, Any]) -> str:
    message = _object(result.get("message"))
    strings = _object(rule.get("messageStrings"))
    text = _first_text(
        message.get("text"),
        _object(strings.get(str(message.get("id")))).get("text"),
        message.get("markdown"),
        _object(rule.get("shortDescription")).get("text"),
    )
    arguments = message.get("arguments")
    for number, argument in enumerate(arguments if isinstance(arguments, list) else ()):
        text = text.replace(f"{{{number}}}", str(argument))
    return " ".join(text.split())[:_MESSAGE]


def _severity(result: Mapping[str, Any], rule: Mapping[str, Any]) -> Severity:
    for bag in (_object(result.get("properties")), _object(rule.get("properties"))):
        if word := _LEVELS.get(str(bag.get("issue_severity", "")).lower()):
            return word
        try:
            score = float(bag["security-severity"])
        except (KeyError, TypeError, ValueError):
            continue
        return "critical" if score >= 9 else "high" if score >= 7 else "medium" if score >= 4 else "low"
    default = _object(rule.get("defaultConfiguration")).get("level")
    return _LEVELS.get(_first_text(result.get("level"), default, "warning"), "medium")


def _confidence(result: Mapping[str, Any], rule: Mapping[str, Any]) -> Confidence:
    for bag in (_object(result.get("properties")), _object(rule.get("properties"))):
        word = _first_text(bag.get("issue_confidence"), bag.get("precision"), bag.get("confidence")).lower()
        if word in _PRECISIONS:
            return _PRECISIONS[word]
    return "medium"


def _cwe(result: Mapping[str, Any], rule: Mapping[str, Any]) -> int | None:
    for word in _cwe_words(result, rule):
        if (match := _CWE.match(word)) is not None:
            return int(match[1])
    return None


def _cwe_words(result: Mapping[str, Any], rule: Mapping[str, Any]) -> Iterator[str]:
    """Where scanners name a CWE: taxa and relationships, then tags, then a property of that name."""
    references = [*_objects(result.get("taxa"))]
    references += [_object(one.get("target")) for one in _objects(rule.get("relationships"))]
    for reference in references:
        identifier = str(reference.get("id", ""))
        name = str(_object(reference.get("toolComponent")).get("name", ""))
        yield f"CWE-{identifier}" if name.upper() == "CWE" and identifier.isdigit() else identifier
    for bag in (_object(result.get("properties")), _object(rule.get("properties"))):
        for key in ("tags", "cwe"):
            value = bag.get(key)
            yield from (str(one) for one in (value if isinstance(value, list) else [value]) if one)


def _related(
    result: Mapping[str, Any], run: Mapping[str, Any], root: str, path: str, text: str
) -> Iterator[Related]:
    for location in _objects(result.get("relatedLocations")):
        physical = _object(location.get("physicalLocation"))
        if place(root, run, _object(physical.get("artifactLocation"))) != path:
            continue
        span = span_of(physical.get("region"), text, run.get("columnKind"))
        message = _first_text(_object(location.get("message")).get("text"))
        if span is not None and message:
            yield Related(span, " ".join(message.split())[:_MESSAGE])


def _object(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _objects(value: object) -> Iterator[Mapping[str, Any]]:
    yield from (one for one in (value if isinstance(value, list) else ()) if isinstance(one, dict))


def _first_text(*values: object) -> str:
    text = next((value for value in values if isinstance(value, str) and value), "")
    return as_unicode(text)  # JSON may hold halves of characters, which nothing after this can pass on
