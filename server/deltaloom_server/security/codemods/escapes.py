"""DL108, DL109, DL112: what is put into a pattern, a query or a header is escaped for it.

Invariant: each value is escaped once, by the function that its language has for that.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from deltaloom_server.security.codemods import Case
from deltaloom_server.security.codemods.above import built_above, keeps_its_values
from deltaloom_server.security.codemods.matching import argument, find_call, unpacks
from deltaloom_server.security.codemods.rewrite import Rewrite
from deltaloom_server.security.codemods.source import Source
from deltaloom_server.security.codemods.template import Part, holes_in, parts_of, quoted
from deltaloom_server.security.codemods.wrapping import wrap_values
from deltaloom_server.security.finding import Finding
from deltaloom_server.security.proposal import Proposal

RULES = ("DL108", "DL109", "DL112")

_FILTERS = ("search", "search_s", "search_st", "search_ext", "search_ext_s", "paged_search")
_HEADER = "Line breaks in the value are left out."


def propose(source: Source, finding: Finding) -> Iterator[Proposal]:
    """One proposal, by the finding's rule."""
    rewrite = Rewrite(source)
    if finding.rule == "DL108":
        yield from _pattern(rewrite, finding)
    elif finding.rule == "DL112":
        call = find_call(source, finding, lambda one: _attribute(one) == "send_header")
        value = argument(call, 1, "value") if call is not None else None
        if value is not None and ".splitlines(" not in source.segment(value):
            rewrite.replace(value, f'"".join({_called(source, value)}.splitlines())')
            yield rewrite.proposal("Leave line breaks out of the header", note=_HEADER)
    elif finding.cwe == 643 or _is_xpath(source, finding):
        yield from _xpath(rewrite, finding)
    else:
        yield from _filter(rewrite, finding)


def _pattern(rewrite: Rewrite, finding: Finding) -> Iterator[Proposal]:
    source = rewrite.source
    call = find_call(
        source, finding, lambda one: source.qualified(one.func).partition(".")[0] in ("re", "regex")
    )
    pattern = argument(call, 0, "pattern") if call is not None else None
    if pattern is None:
        return
    built = None if parts_of(source, pattern) else built_above(source, pattern)
    made = built.value if built is not None and parts_of(source, built.value) else pattern
    escape = rewrite.use("re", "escape")
    if wrap_values(rewrite, made, lambda text: f"{escape}({text})"):
        note = "The text is looked for as it is; patterns that somebody wrote on purpose no longer work."
        yield rewrite.proposal("Escape the text with re.escape", unsafe=True, note=note)


def _filter(rewrite: Rewrite, finding: Finding) -> Iterator[Proposal]:
    source = rewrite.source
    call = find_call(source, finding, lambda one: _attribute(one) in _FILTERS)
    if call is None:
        return
    roots = {full.partition(".")[0] for full in source.imports.values()}
    module = "ldap.filter" if "ldap" in roots else "ldap3.utils.conv" if "ldap3" in roots else ""
    made = _made(source, call, "(")
    if not module or made is None:
        return
    escape = rewrite.use_name(module, "escape_filter_chars")
    if wrap_values(rewrite, made, lambda text: f"{escape}({text})"):
        yield rewrite.proposal("Escape the values of the filter")


def _is_xpath(source: Source, finding: Finding) -> bool:
    return find_call(source, finding, lambda one: _attribute(one) == "xpath") is not None


def _xpath(rewrite: Rewrite, finding: Finding) -> Iterator[Proposal]:
    """Variables of the query, which lxml's `xpath` takes as keyword arguments."""
    source = rewrite.source
    call = find_call(source, finding, lambda one: _attribute(one) == "xpath")
    if call is None or unpacks(call) or len(call.args) != 1:
        return
    query = call.args[0]
    built = None if parts_of(source, query) else built_above(source, query)
    made = built.value if built is not None else query
    parts = parts_of(source, made)
    if parts is None or (built is not None and not keeps_its_values(source, built, query, holes_in(parts))):
        return
    text, variables = _with_variables(parts, {one.arg or "" for one in call.keywords})
    if not variables:
        return
    rewrite.replace(made, quoted(text))
    rewrite.add_argument(call, ", ".join(f"{name}={value}" for name, value in variables))
    yield rewrite.proposal("Pass the values as XPath variables")


def _with_variables(parts: tuple[Part, ...], taken: set[str]) -> tuple[str, list[tuple[str, str]]]:
    """The query with a variable for each value between quotes; none where one stands elsewhere."""
    text, variables = "", []
    for number, part in enumerate(parts):
        if isinstance(part, str):
            text += part[1:] if number and part[:1] in "'\"" else part
            continue
        after = parts[number + 1] if number + 1 < len(parts) else ""
        mark = text[-1:]
        if mark not in ("'", '"') or not isinstance(after, str) or after[:1] != mark or part.shaped:
            return "", []
        name = part.node.id if isinstance(part.node, ast.Name) else "value"
        while name in taken or name in ("namespaces", "extensions", "smart_strings"):
            name += "_"
        taken.add(name)
        text = text[:-1] + f"${name}"
        variables.append((name, part.text if part.is_text else f"str({part.text})"))
    return text, variables


def _made(source: Source, call: ast.Call, head: str) -> ast.expr | None:
    """The one argument that is put together and begins so, or the assignment that puts it together."""
    found = []
    for one in [*call.args, *(each.value for each in call.keywords)]:
        built = built_above(source, one)
        made = built.value if built is not None else one
        parts = parts_of(source, made)
        if parts and isinstance(parts[0], str) and parts[0].startswith(head) and holes_in(parts):
            found.append(made)
    return found[0] if len(found) == 1 else None


def _attribute(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else ""


def _called(source: Source, node: ast.expr) -> str:
    """As something that a method can be called of."""
    text = source.segment(node)
    simple = isinstance(node, ast.Name | ast.Attribute | ast.Subscript | ast.Call | ast.JoinedStr)
    return text if simple else f"({text})"


CASES = (
    Case(
        "import re\nfrom flask import request\n\n\ndef find(text):\n"
        "    return re.search(request.args['q'], text)\n",
        "import re\nfrom flask import request\n\n\ndef find(text):\n"
        "    return re.search(re.escape(request.args['q']), text)\n",
        "DL108",
        unsafe=True,
    ),
    Case(
        "import re\n\n\ndef find(request, text):\n    wanted = request.GET.get('q', '')\n"
        "    return re.findall(rf'\\b{wanted}\\b', text)\n",
        "import re\n\n\ndef find(request, text):\n    wanted = request.GET.get('q', '')\n"
        "    return re.findall(rf'\\b{re.escape(wanted)}\\b', text)\n",
        "DL108",
        unsafe=True,
    ),
    Case(
        "import ldap\n\n\ndef find(connection, name):\n"
        "    return connection.search_s('dc=x', 2, f'(uid={name})')\n",
        "import ldap\nfrom ldap.filter import escape_filter_chars\n\n\ndef find(connection, name):\n"
        "    return connection.search_s('dc=x', 2, f'(uid={escape_filter_chars(name)})')\n",
        "DL109",
    ),
    Case(
        "from lxml import etree\n\n\ndef find(tree, name: str):\n"
        "    return tree.xpath(f\"//user[@name='{name}']/mail\")\n",
        "from lxml import etree\n\n\ndef find(tree, name: str):\n"
        '    return tree.xpath("//user[@name=$name]/mail", name=name)\n',
        "DL109",
    ),
    Case(
        "import xml.etree.ElementTree as ET\n\n\ndef find(root, name):\n"
        "    return root.find(\".//user[@name='%s']\" % name)\n",
        None,
        "DL109",
    ),
    Case(
        "from urllib.parse import unquote\n\n\nclass H:\n    def do_GET(self):\n"
        "        self.send_header('X-Name', unquote(self.path))\n",
        "from urllib.parse import unquote\n\n\nclass H:\n    def do_GET(self):\n"
        "        self.send_header('X-Name', \"\".join(unquote(self.path).splitlines()))\n",
        "DL112",
    ),
)
