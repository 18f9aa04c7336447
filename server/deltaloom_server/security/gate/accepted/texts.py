"""Patterns, queries and templates: the text is fixed, and a value comes in escaped or beside it.

Invariant: the value that is escaped or passed is the one that went into the text before.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Iterator

from ..reaching import values_at
from .processes import literal_text
from .site import Site, constant, matches
from .values import outer_values

_RENDERS = frozenset({".render_template_string", ".render_template", ".from_string", ".Template", ".render"})
_FINDS = frozenset({".xpath", ".XPath", ".find", ".findall", ".iterfind", ".findtext", ".iter"})
_UNESCAPED = re.compile(r"\|\s*safe\b|{%-?\s*autoescape\s+(?:false|off)|Markup\(")
_WORD = re.compile(r"\w+")


def query(site: Site) -> str | None:
    """DL109: a fixed query with the value as a variable (lxml), or compared afterwards, or escaped (LDAP)."""
    for call in site.replacements(_FINDS):
        if call.args and _is_fixed(site, call.args[0]) and (call.keywords or _compares_values(site)):
            return None
    escaped = escapes({".escape_filter_chars", ".escape_dn_chars", ".filter_format", ".escape_rdn"}, "")
    return None if escaped(site) is None else "It doesn't escape the value for the query's language."


def _compares_values(site: Site) -> bool:
    """All that was put into the query is compared for equality with what is found."""
    compared = frozenset(
        name
        for node in site.change.added
        if isinstance(node, ast.Compare) and all(isinstance(one, ast.Eq | ast.NotEq) for one in node.ops)
        for name in site.data(node, site.after)
    )
    went = [one for one in site.change.removed if isinstance(one, ast.BinOp | ast.JoinedStr | ast.Call)]
    values = frozenset(
        name
        for node in went
        if literal_text(node).strip("\0")
        for one in _put_in(node)
        for name in site.data(one, site.before)
    )
    return bool(values) and values <= compared


def _put_in(node: ast.expr) -> Iterator[ast.expr]:
    if isinstance(node, ast.JoinedStr):
        yield from (one.value for one in node.values if isinstance(one, ast.FormattedValue))
    elif isinstance(node, ast.BinOp):
        yield from _put_in(node.left)
        yield from _put_in(node.right)
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "format":
        yield from (*node.args, *(one.value for one in node.keywords))
    elif isinstance(node, ast.Name | ast.Subscript | ast.Attribute):
        yield node


class escapes:
    """The change adds a call of one of these names, on what flowed into the weakness (`in_first`: into the
    first argument of the call that went)."""

    def __init__(self, names: Collection[str], what: str, *, in_first: bool = False) -> None:
        self._names, self._what, self._in_first = frozenset(names), what, in_first

    def __call__(self, site: Site) -> str | None:
        """What is passed to the added call stood in the code that went, or says the same."""
        sink = site.sink if self._in_first else None
        first = [sink.args[0]] if sink is not None and sink.args else list(site.change.removed)
        for call in site.replacements(self._names):
            for given in call.args:
                values = (given, *values_at(site.after, given))
                if any(_says_the_same(site, first, value) for value in values):
                    return None
        return self._what


def _says_the_same(site: Site, went: list[ast.expr] | list[ast.AST], value: ast.expr) -> bool:
    """The expression itself; or one that takes the same from the same request, by the same words."""
    dumps = {ast.dump(one) for node in went for one in ast.walk(node) if isinstance(one, ast.expr)}
    if not isinstance(value, ast.Constant) and ast.dump(value) in dumps:
        return True
    outer = outer_values(value, site.after)
    old_outer = frozenset(name for node in went for name in outer_values(node, site.before))
    names = {one.value for one in ast.walk(value) if isinstance(one, ast.Constant) and one.value}
    old_names = {one.value for node in went for one in ast.walk(node) if isinstance(one, ast.Constant)}
    return bool(outer) and outer <= old_outer and bool(names) and names <= old_names


def template(site: Site) -> str | None:
    """DL110: the template is fixed, values come in as variables, and it says what it said."""
    for call in site.new_calls(_RENDERS):
        given = values_at(site.after, call.args[0]) if call.args else ()
        texts = [text for one in given if isinstance(text := constant(one), str)]
        if not texts or len(texts) < len(given):
            continue
        text = " ".join(texts)
        if _UNESCAPED.search(text) and not _UNESCAPED.search(site.before.text):
            return "Its template doesn't escape the value."
        if matches(site.name(call), {".render_template"}):
            return None
        if lost := sorted(_words_before(site) - set(map(str.lower, _WORD.findall(text)))):
            return f"The template loses the word {lost[0]}."
        return None if _shows_variables(site, text) else "The template doesn't show what it is given."
    return "It still makes the template from a value."


def _words_before(site: Site) -> frozenset[str]:
    """What the template said, where it was written out at the finding or in a constant."""
    found: set[str] = set()
    for call in site.removed_calls:
        if matches(site.old_name(call), _RENDERS) and call.args and site.touches(call):
            for one in values_at(site.before, call.args[0]):
                found |= set(map(str.lower, _WORD.findall(_fixed_text(site, one))))
    return frozenset(found)


def _fixed_text(site: Site, node: ast.expr) -> str:
    if isinstance(node, ast.BinOp) and isinstance(node.left, ast.Name):
        left = [literal_text(one) for one in values_at(site.before, node.left)]
        return re.sub(r"%\(?\w*\)?[a-z]", " ", " ".join(left))
    text = literal_text(node).replace("\0", " ")
    return re.sub(r"{{.*?}}|{%.*?%}", " ", text)


def _shows_variables(site: Site, text: str) -> bool:
    """Does the template name a variable that the rendering is given?"""
    shown = set(_WORD.findall(" ".join(re.findall(r"{{.*?}}|{%.*?%}", text))))
    for call in site.new_calls(_RENDERS):
        given: set[object] = {one.arg for one in call.keywords if one.arg}
        for one in call.args:
            if isinstance(one, ast.Dict):
                given |= {constant(key) for key in one.keys if key is not None}
        if given & shown:
            return True
    return False


def _is_fixed(site: Site, node: ast.expr) -> bool:
    return all(isinstance(constant(one), str) for one in values_at(site.after, node))
