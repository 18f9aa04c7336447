"""`--format junit`: JUnit's XML, which most services show as failed tests.

Invariant: well-formed XML 1.0, whatever names and messages hold. Each finding that blocks is a failed test
case; a run without findings is one that passed, so that it isn't taken for a run that didn't happen.
"""

from __future__ import annotations

from xml.etree import ElementTree

from deltaloom_server.lint.outcome import Outcome, Reported
from deltaloom_server.lint.reports.common import TOOL, plain, rule_title, shown, unscanned_sentence
from deltaloom_server.security.finding import Unscanned


def render(outcome: Outcome) -> str:
    """One <testsuites> document."""
    findings = shown(outcome)
    failing = [one for one in findings if outcome.is_blocking(one)]
    suite = ElementTree.Element("testsuite", name="deltaloom lint")
    for reported in findings:
        suite.append(_finding(reported, outcome.is_blocking(reported)))
    for one in outcome.unscanned:
        suite.append(_unscanned(one))
    if not outcome.complete:
        case = ElementTree.SubElement(suite, "testcase", classname="deltaloom", name="the run is complete")
        ElementTree.SubElement(case, "error", message="Not all of the work was done.")
    if not len(suite):
        ElementTree.SubElement(suite, "testcase", classname="deltaloom", name="no findings")
    counts = {
        "tests": len(suite),
        "failures": len(failing),
        "errors": len(outcome.failures) + (not outcome.complete),
        "skipped": len(outcome.unscanned) - len(outcome.failures),
    }
    suites = ElementTree.Element("testsuites", name=TOOL)
    for element in (suite, suites):
        for name, count in counts.items():
            element.set(name, str(count))
        element.set("time", f"{outcome.seconds:.3f}")
    suites.append(suite)
    ElementTree.indent(suites)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(suites, "unicode") + "\n"


def _finding(reported: Reported, fails: bool) -> ElementTree.Element:
    finding = reported.finding
    line = finding.span.start_line + 1
    case = ElementTree.Element(
        "testcase",
        classname=plain(finding.path),
        name=f"{rule_title(finding)} line {line}:{finding.span.start_column + 1}",
        file=plain(finding.path),
        line=str(line),
    )
    text = f"{plain(finding.path)}:{line}: {plain(finding.message)}\n{plain(reported.source)}"
    for fix in reported.fixes:
        text += f"\nFix: {plain(fix.title)} ({plain(fix.label)})"
    if fails:
        tag = ElementTree.SubElement(case, "failure", message=plain(finding.message), type=finding.severity)
    else:
        tag = ElementTree.SubElement(case, "system-out")
    tag.text = text
    return case


def _unscanned(one: Unscanned) -> ElementTree.Element:
    case = ElementTree.Element(
        "testcase", classname=plain(one.path) or "deltaloom", name=f"looked at by {one.scanner}"
    )
    ElementTree.SubElement(case, "error" if one.failed else "skipped", message=unscanned_sentence(one))
    return case
