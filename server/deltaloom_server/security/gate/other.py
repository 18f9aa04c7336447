"""Fixes in languages other than Python: what syntax alone can tell, and the scanner's word.

Invariant: without a grammar for a language nothing is accepted.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterator

from tree_sitter import Node

from deltaloom_server.context.outline.languages import Language, language_of
from deltaloom_server.context.outline.parsing import parse
from deltaloom_server.positions import line_starts, split_lines
from deltaloom_server.security.analysis.messages import Judge, ScanResult, ScanText
from deltaloom_server.security.finding import Scanner
from deltaloom_server.security.proposal import Verdict

from . import additions
from .change import Hunk, hunks_of
from .rescan import Lines, Texts, rescan
from .suppressions import added_marks
from .words import words

Scan = Callable[[ScanText], ScanResult]

_IMPORTS = words(
    "import_statement import_declaration import_spec import_spec_list namespace_use_declaration"
    " use_declaration using_directive preproc_include package_clause"
)
_FUNCTIONS = words(
    "arrow_function function_expression generator_function func_literal lambda_expression"
    " closure_expression anonymous_function anonymous_function_creation_expression lambda"
)
_OUTSIDE = "It changes text outside of the function that the finding is in, and of the imports."


def judge_other(request: Judge, after: str, scan: Scan) -> Verdict:
    """The verdict on a text that isn't Python."""
    path = request.finding.path
    language = language_of(path)
    if language is None:
        return Verdict((f"There is no grammar for {path}, so a change of it can't be verified.",))
    root, new_root = (parse(language, _encoded(text)) for text in (request.text, after))
    if root is None or new_root is None:
        return Verdict(("The result can't be parsed in time.",))
    if _errors(new_root) > _errors(root):
        return Verdict(("The result has syntax errors that the text did not have.",))
    hunks = hunks_of(request.text, request.proposal.edits)
    objections = tuple(dict.fromkeys(_objections(request, after, hunks, language, root, new_root)))
    if objections:
        return Verdict(objections, parsed=True)
    old_lines, new_lines = _starts(request.text), _starts(after)
    changed = [_lines_of(old_lines, h.start, h.end) for h in hunks]
    new_changed = [_lines_of(new_lines, h.new_start, h.new_end) for h in hunks]
    unit, new_unit = _units(request, after, language, root, hunks)
    scanners: list[Scanner] = [one for one in request.finding.scanners if one != "sarif"]
    scanners += [one for one in ("semgrep", "secrets") if one not in scanners]
    texts = Texts(path, request.text, after, scanners, scan)
    seen = rescan(texts, request.finding, request.known, (unit, new_unit), (changed, new_changed))
    return Verdict(seen.objections, True, seen.scanners)


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "replace")


def _errors(root: Node) -> int:
    count, nodes = 0, [root]
    while nodes:
        node = nodes.pop()
        count += node.is_error or node.is_missing
        if node.has_error:
            nodes += node.children
    return count


def _objections(
    request: Judge, after: str, hunks: tuple[Hunk, ...], language: Language, root: Node, new_root: Node
) -> Iterator[str]:
    before = request.text
    yield from additions.size(before, after, hunks)
    yield from added_marks(before, after)
    yield from additions.hidden(before, after)
    yield from additions.strings(before, after)
    yield from _outside(request, after, hunks, language, root, new_root)
    old_calls, new_calls = _calls(root), _calls(new_root)
    gone = old_calls - new_calls
    if sum(gone.values()) > sum((new_calls - old_calls).values()):
        yield f"It no longer calls {min(gone)[:60]}."
    more = _comments(new_root, language) - _comments(root, language)
    if sum(more.values()) > 2:
        yield "It adds several comments; a fix is code."


def _outside(
    request: Judge, after: str, hunks: tuple[Hunk, ...], language: Language, root: Node, new_root: Node
) -> Iterator[str]:
    """In code points of each text; the grammar counts bytes."""
    starts = _starts(request.text)
    limits = _unit(request, language, root)
    for hunk in hunks:
        lines = _lines_of(starts, hunk.start, hunk.end)
        if limits[0] <= hunk.start and hunk.end <= limits[1]:
            continue
        new_lines = _lines_of(_starts(after), hunk.new_start, hunk.new_end)
        old_imports, new_imports = _import_lines(root), _import_lines(new_root)
        was = hunk.start == hunk.end or _only(lines, old_imports, split_lines(request.text))
        if not (was and _only(new_lines, new_imports, split_lines(after))):
            yield _OUTSIDE
            return
    unit, new_unit = _functions(root, language), _functions(new_root, language)
    if unit != new_unit:
        yield "It adds, removes or renames a function."


def _functions(root: Node, language: Language) -> Counter[str]:
    """The heads of all named functions: name, parameters and what stands before the body."""
    found: Counter[str] = Counter()
    nodes = [root]
    while nodes:
        node = nodes.pop()
        nodes += node.children
        if node.type in language.callables:
            body = node.child_by_field_name("body")
            end = body.start_byte if body is not None else node.end_byte
            head = (node.text or b"")[: end - node.start_byte]
            found[" ".join(head.decode("utf-8", "replace").split())] += 1
    return found


def _calls(root: Node) -> Counter[str]:
    """What is called, by how it is written, in any of the grammars."""
    found: Counter[str] = Counter()
    nodes = [root]
    while nodes:
        node = nodes.pop()
        nodes += node.children
        if "call" in node.type or node.type in (
            "method_invocation",
            "object_creation_expression",
            "new_expression",
        ):
            callee = node.child_by_field_name("function") or node.child_by_field_name("name")
            callee = callee or node.child_by_field_name("constructor") or node.child_by_field_name("type")
            if callee is not None and callee.text:
                found[callee.text.decode("utf-8", "replace")] += 1
    return found


def _comments(root: Node, language: Language) -> Counter[str]:
    found: Counter[str] = Counter()
    nodes = [root]
    while nodes:
        node = nodes.pop()
        nodes += node.children
        if node.type in language.comments and node.text:
            found[node.text.decode("utf-8", "replace")] += 1
    return found


def _import_lines(root: Node) -> frozenset[int]:
    """Lines that hold imports and nothing else."""
    lines: set[int] = set()
    other: set[int] = set()
    nodes = list(root.children)
    while nodes:
        node = nodes.pop()
        rows = range(node.start_point[0], node.end_point[0] + (node.end_point[1] > 0))
        if node.type in _IMPORTS or _is_require(node):
            lines.update(rows)
        elif node.type in ("namespace_definition", "module", "program", "declaration_list"):
            nodes += node.children
        elif node.is_named:
            other.update(rows)
    return frozenset(lines - other)


def _is_require(node: Node) -> bool:
    """`const x = require("x");`, and nothing else on its line."""
    if node.type not in ("lexical_declaration", "variable_declaration") or not node.text:
        return False
    text = node.text.decode("utf-8", "replace")
    return text.count("require(") == 1 and text.count("(") == 1 and text.rstrip("; \n").endswith(")")


def _only(lines: Lines, wanted: frozenset[int], text: list[str]) -> bool:
    return all(number in wanted or not text[number].strip() for number in range(lines[0], lines[1] + 1))


def _unit(request: Judge, language: Language, root: Node) -> tuple[int, int]:
    """Code points of the innermost function around the finding; of its statement where there is none."""
    text = request.text
    span = request.finding.span
    lines = split_lines(text)
    row = min(span.start_line, len(lines) - 1)
    column = min(span.start_column, len(lines[row]))
    if not lines[row][:column].strip():
        column = max(column, len(lines[row]) - len(lines[row].lstrip()))
    at = len(_encoded("".join(lines[:row]) + lines[row][:column]))
    node: Node | None = root.descendant_for_byte_range(at, at)
    best: Node | None = node
    while node is not None and node.parent is not None:
        if node.type in language.callables or (
            node.type in _FUNCTIONS and "\n" in (node.text or b"").decode("utf-8", "replace")
        ):
            best = node
            break
        if node.parent.parent is None or node.parent.type in (
            "class_body",
            "declaration_list",
            "field_declaration_list",
        ):
            best = node
            break
        node = node.parent
    if best is None:
        return 0, 0
    encoded = _encoded(text)
    start, end = (len(encoded[:at].decode("utf-8", "replace")) for at in (best.start_byte, best.end_byte))
    return start, end


def _units(
    request: Judge, after: str, language: Language, root: Node, hunks: tuple[Hunk, ...]
) -> tuple[Lines, Lines]:
    start, end = _unit(request, language, root)
    starts = _starts(request.text)
    first, last = _lines_of(starts, start, end)
    after_growth = [0, 0]
    for hunk in hunks:
        grown = _grown_lines(request.text, after, hunk)
        if hunk.end <= start and hunk.start < start:
            after_growth[0] += grown
        if hunk.start <= end:
            after_growth[1] += grown
    return (first, last), (first + after_growth[0], last + after_growth[1])


def _grown_lines(before: str, after: str, hunk: Hunk) -> int:
    return after.count("\n", hunk.new_start, hunk.new_end) - before.count("\n", hunk.start, hunk.end)


def _starts(text: str) -> list[int]:
    return line_starts(split_lines(text))


def _lines_of(starts: list[int], start: int, end: int) -> Lines:
    most = len(starts) - 2
    first = min(bisect_right(starts, start) - 1, most)
    return max(first, 0), max(min(bisect_right(starts, max(start, end - 1)) - 1, most), 0)
