"""What the analysis process does with a request. Runs in that process only.

Invariant: a request gets a reply whatever happens in its service, the end of the process apart; a scanner
that fails is told, and costs the others nothing.

Scanners, codemods and the gate are imported where they are needed: a request for one shouldn't wait for all.
"""

from __future__ import annotations

import gc

from deltaloom_server.security.analysis.limits import PARSED_BYTES, oversize, too_large
from deltaloom_server.security.analysis.messages import (
    Assemble,
    Assembled,
    CheckCode,
    Failed,
    Judge,
    Judged,
    Locate,
    Propose,
    Proposed,
    Reply,
    Request,
    ScanResult,
    ScanText,
)
from deltaloom_server.security.finding import Scanner, Unscanned


def serve(request: Request) -> Reply:
    """The reply to a request."""
    try:
        match request:
            case ScanText():
                return scan(request)
            case Assemble():
                from deltaloom_server.security.assemble import assemble

                inspection = assemble(request.path, request.text, [request.result], request.scanners)
                return Assembled(inspection)
            case Propose():
                return _propose(request)
            case Locate():
                from deltaloom_server.security.analysis.locate import locate

                return locate(request)
            case Judge():
                from deltaloom_server.security.gate import judge

                return Judged(judge(request, scan))
            case CheckCode():
                from deltaloom_server.security.gate import check_code

                return Judged(check_code(request, scan))
    except Exception as error:
        return Failed(f"The analysis failed: {_words(error)}.")


def scan(request: ScanText) -> ScanResult:
    """What each of the scanners asked for sees. Blocking; raises nothing."""
    results = [_scan_told(scanner, request) for scanner in request.scanners]
    return ScanResult(
        tuple(finding for result in results for finding in result.findings),
        tuple(unscanned for result in results for unscanned in result.unscanned),
    )


def _scan_told(scanner: Scanner, request: ScanText) -> ScanResult:
    try:
        return _scan(scanner, request)
    except RecursionError:
        return _unscanned(scanner, request, "The text is nested too deeply.")
    except Exception as error:
        why = f"The scan failed: {_words(error)}."
    return _unscanned(scanner, request, why, failed=True)


def _scan(scanner: Scanner, request: ScanText) -> ScanResult:
    path, text = request.path, request.text
    match scanner:
        case "ruff":
            from deltaloom_server.security.scanners import ruff

            return ruff.scan_text(path, text)
        case "bandit":
            from deltaloom_server.security.scanners import bandit

            return bandit.scan(path, text)
        case "secrets":
            from deltaloom_server.security.scanners import secrets

            return secrets.scan(path, text, request.lines)
        case "semgrep":
            from deltaloom_server.security.scanners import semgrep

            return semgrep.scan(path, text)
        case "deltaloom":
            from deltaloom_server.security.scanners import own

            if oversize(text, PARSED_BYTES):
                return _unscanned(scanner, request, too_large(PARSED_BYTES))
            return ScanResult(tuple(own.scan(path, text)))
        case _:
            return _unscanned(scanner, request, f"There is no scanner {scanner!r} here.", failed=True)


def _propose(request: Propose) -> Proposed:
    from deltaloom_server.security import codemods

    if oversize(request.text, PARSED_BYTES):
        return Proposed(reason=too_large(PARSED_BYTES))
    proposals = codemods.propose(request.text, request.finding)
    return Proposed(
        proposals, "" if proposals else f"No codemod knows how to fix {request.finding.rule} here."
    )


def _words(error: Exception) -> str:
    """What to say of an error that nobody expected. What it was about may be much; it is let go first."""
    error.__traceback__ = None
    gc.collect()
    if isinstance(error, MemoryError):
        return "it needs more memory than it may take"
    if isinstance(error, RecursionError):
        return "the text is nested too deeply"
    said = str(error).strip().split("\n", 1)[0].rstrip(".")[:200]
    return f"{type(error).__name__} {said}".strip()


def _unscanned(scanner: Scanner, request: ScanText, why: str, *, failed: bool = False) -> ScanResult:
    return ScanResult((), (Unscanned(request.path, scanner, why, failed),))
