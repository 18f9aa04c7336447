"""The one fix that is about comments: a suppression that suppresses nothing goes away.

Invariant: the program is the same, to the last node, and no other line's text has changed.
"""

from __future__ import annotations

import io
import re
import tokenize
from collections import Counter
from collections.abc import Callable, Iterator

from deltaloom_server.security.analysis.messages import Judge, ScanResult, ScanText
from deltaloom_server.security.proposal import Verdict

from . import additions
from .change import Change, fingerprints
from .rescan import FOR_PYTHON, Texts, rescan
from .suppressions import MARK, added_marks

Scan = Callable[[ScanText], ScanResult]
_CODE = re.compile(r"[A-Z]+[0-9]+")


def judge_comment(request: Judge, change: Change, scan: Scan) -> Verdict:
    """May an unused suppression be removed this way?"""
    objections = tuple(dict.fromkeys(_objections(request, change)))
    if objections:
        return Verdict(objections, parsed=True)
    texts = Texts(change.path, change.before.text, change.after.text, FOR_PYTHON, scan)
    line = (request.finding.span.start_line, request.finding.span.end_line)
    seen = rescan(texts, None, request.known, (line, line), ([line], [line]))
    return Verdict(seen.objections, True, seen.scanners)


def _objections(request: Judge, change: Change) -> Iterator[str]:
    before, after = change.before, change.after
    if fingerprints(before.tree)[before.tree] != fingerprints(after.tree)[after.tree]:
        yield "It changes more than a comment."
    first, last = request.finding.span.start_line, request.finding.span.end_line
    limits = before.line_start(first), before.line_start(last + 1)
    if any(hunk.start < limits[0] or hunk.end > limits[1] for hunk in change.hunks):
        yield "It changes text outside of the comment's line."
    old, new = _comments(before.text), _comments(after.text)
    if not any(MARK.search(comment) for comment in old - new):
        yield "It doesn't remove the suppression."
    for comment in new - old:
        if not any(_is_shortened(comment, other) for other in old - new):
            yield f"It writes another comment: {comment[:60]}."
    yield from added_marks(before.text, after.text)
    yield from additions.hidden(before.text, after.text)


def _is_shortened(new: str, old: str) -> bool:
    """Fewer codes of those that stood there, but not none where there were some (that suppresses all), and
    no word that wasn't there."""
    codes, old_codes = _CODE.findall(new), _CODE.findall(old)
    if MARK.search(new) and old_codes and not codes:
        return False
    return set(re.findall(r"\w+", new)) <= set(re.findall(r"\w+", old))


def _comments(text: str) -> Counter[str]:
    try:
        tokens = list(tokenize.generate_tokens(io.StringIO(text).readline))
    except (tokenize.TokenError, SyntaxError):
        return Counter()
    return Counter(token.string for token in tokens if token.type == tokenize.COMMENT)
