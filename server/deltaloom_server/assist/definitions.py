"""Where a name is defined: by the syntax tree where there is a grammar, else by the words before the name.

Invariant: bounded work whatever the text is; nothing here raises, and nothing is kept between calls.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..context.outline import MAX_BYTES, has_grammar
from ..context.outline.languages import Language, language_of

if TYPE_CHECKING:
    from tree_sitter import Node

_MOST_NODES = 50_000
_MOST_FOUND = 50
_MOST_LINES = 12
_KEYWORDS = (
    r"(?:def|class|fn|func|fun|function|sub|struct|interface|type|enum|trait|module|namespace|const|let|var"
    r"|val|macro|define|object|record|proc)"
)


@dataclass(frozen=True, slots=True)
class Definition:
    """One definition: its first and last line (from 1), its name with those of what it stands in, and the
    lines that it begins with."""

    name: str
    first: int
    last: int
    head: str


def find_definitions(path: str, text: str, name: str) -> list[Definition]:
    """Definitions of `name` in a file whose lines end in `\\n`, in order. `Order.total` asks for a `total`
    within an `Order`; where there is none, any `total` will do."""
    *outer, last = [part for part in re.split(r"\.|::|#", name.strip()) if part] or [""]
    if not last or last not in text or len(text) > MAX_BYTES:
        return []
    lines = text.split("\n")
    language = language_of(path) if has_grammar(path) else None
    found = _in_tree(language, text, last) if language is not None else None
    if found is None:
        found = _by_words(lines, last)
    inside = (
        [place for place in found if place[0].split(".")[:-1][-len(outer) :] == outer] if outer else found
    )
    return [
        Definition(qualified, first + 1, end + 1, "\n".join(lines[first : min(end + 1, first + _MOST_LINES)]))
        for qualified, first, end in (inside or found)[:_MOST_FOUND]
    ]


def _by_words(lines: list[str], name: str) -> list[tuple[str, int, int]]:
    pattern = re.compile(
        rf"(?:^|[^\w.]){_KEYWORDS}\s+{re.escape(name)}(?!\w)|^{re.escape(name)}\s*(?::=|=(?!=))"
    )
    return [(name, number, number) for number, line in enumerate(lines) if pattern.search(line[:2000])]


def _in_tree(language: Language, text: str, name: str) -> list[tuple[str, int, int]] | None:
    """(name with those around it, first line, last line), from 0; None where the text can't be parsed."""
    from ..context.outline.parsing import parse

    root = parse(language, text.encode("utf-8", "replace"))
    if root is None:
        return None
    wanted = name.encode("utf-8", "replace")
    found: list[tuple[str, int, int]] = []
    stack: list[tuple[Node, str]] = [(root, "")]
    for _ in range(_MOST_NODES):
        if not stack:
            break
        node, around = stack.pop()
        own = _name_of(language, node)
        if own == wanted:
            start = node.parent if node.parent is not None and node.parent.type in language.wrappers else node
            found.append((around + name, start.start_point[0], node.end_point[0]))
        inner = around
        if own is not None and node.type in language.containers | language.callables:
            inner = f"{around}{own.decode('utf-8', 'replace')}."
        stack += [(child, inner) for child in reversed(node.named_children)]
    return sorted(set(found), key=lambda place: place[1:])


def _name_of(language: Language, node: Node) -> bytes | None:
    """The name that this node defines."""
    kind = node.type
    if kind in language.values:
        target = node.child_by_field_name("left") or node.child_by_field_name("name")
    elif kind in language.callables or kind in language.containers or kind in language.wholes:
        target = node.child_by_field_name("name") or _declared_name(node)
    elif kind in ("variable_declarator", "type_spec", "const_spec", "var_spec"):
        target = node.child_by_field_name("name")
    else:
        return None
    return None if target is None else target.text


def _declared_name(node: Node) -> Node | None:
    """The name inside declarators, as C nests them: `int *name(int x)`."""
    target = node.child_by_field_name("declarator")
    for _ in range(8):
        if target is None or target.type in ("identifier", "field_identifier", "type_identifier"):
            return target
        target = target.child_by_field_name("declarator") or target.child_by_field_name("name")
    return None
