"""S308, S704: text that is marked as safe goes into a page as it is; only the program's own text may.

Invariant: literals keep their markup, values are escaped, and a value that is markup already (a Markup, a
SafeString) stays as it is. Where a lone value may be markup on purpose, nothing is proposed.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from deltaloom_server.security.codemods import Case
from deltaloom_server.security.codemods.matching import bindings, find_call
from deltaloom_server.security.codemods.rewrite import Rewrite
from deltaloom_server.security.codemods.source import Source
from deltaloom_server.security.codemods.template import Hole, holes_in, is_constant, parts_of, quoted
from deltaloom_server.security.finding import Finding
from deltaloom_server.security.proposal import Proposal

RULES = ("S308", "S704")

_MARKUP = frozenset({"markupsafe.Markup", "flask.Markup", "jinja2.Markup"})
_SAFE = frozenset({
    "django.utils.safestring.mark_safe", "django.utils.safestring.SafeString",
    "django.utils.safestring.SafeText",
})  # fmt: skip
_ON_PURPOSE = re.compile(
    r"html|markup|svg|body|content|render|template|safe|icon|css|json|xml|block|snippet|fragment|tag|link|output"
    r"|result|data|raw|source|page|widget|form|script|style|rows|table|list|items|parts",
    re.I,
)
_MADE = re.compile(r"html|markup|svg|safe|render|icon|widget|escape|linkify|markdown", re.I)
_NOTE = "Values are escaped; one that holds markup on purpose must be marked as safe where it is made."


def propose(source: Source, finding: Finding) -> Iterator[Proposal]:
    call = find_call(source, finding, lambda one: source.qualified(one.func) in _MARKUP | _SAFE)
    if call is None or len(call.args) != 1 or call.keywords:
        return
    value = call.args[0]
    rewrite = Rewrite(source)
    if isinstance(value, ast.Name):
        built = _built_once(source, value)
        safe = _composed(rewrite, source, call, built) if built is not None else None
        if built is not None and safe is not None:
            rewrite.replace(built, safe)
            rewrite.replace(call, value.id)
            yield rewrite.proposal("Escape the values", note=_NOTE)
            return
    safe = _composed(rewrite, source, call, value)
    if safe is not None:
        rewrite.replace(call, safe)
        yield rewrite.proposal("Escape the values", note=_NOTE)
    elif _is_plain_value(source, value):
        rewrite.replace(call.func, _escape(rewrite, source, call))
        yield rewrite.proposal(
            "Escape the value", unsafe=True, note="The value is shown as text, tags and all."
        )


def _composed(rewrite: Rewrite, source: Source, call: ast.Call, value: ast.expr) -> str | None:
    """The expression that puts escaped values into the literals of `value`."""
    parts = parts_of(source, value)
    if (
        parts is None
        or is_constant(parts)
        or any(_may_be_markup(source, one.node) for one in holes_in(parts))
    ):
        return None
    pattern = quoted("".join("{}" if isinstance(one, Hole) else _doubled(one) for one in parts))
    values = ", ".join(one.text for one in holes_in(parts))
    if source.qualified(call.func) in _SAFE:
        return f"{rewrite.use_name('django.utils.html', 'format_html')}({pattern}, {values})"
    return f"{source.segment(call.func)}({pattern}).format({values})"


def _may_be_markup(source: Source, value: ast.expr) -> bool:
    """Is a value made of tags, here or where its name is bound, or escaped already, or called like that?"""
    for node in ast.walk(value):
        name = getattr(node, "id", getattr(node, "attr", ""))
        if _has_tags(node) or (name and _MADE.search(name)):
            return True
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            for bound in bindings(source, node):
                made = source.parents[bound] if isinstance(bound, ast.Name) else bound
                if any(_has_tags(one) for one in ast.walk(made)):
                    return True
    return False


def _has_tags(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str) and "<" in node.value


def _doubled(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")


def _built_once(source: Source, name: ast.Name) -> ast.expr | None:
    """What a variable is assigned, where that is all that happens to it before it is marked as safe."""
    found = bindings(source, name)
    function = source.enclosing_function(name)
    if len(found) != 1 or not isinstance(found[0], ast.expr) or function is None:
        return None
    uses = [one for one in ast.walk(function) if isinstance(one, ast.Name) and one.id == name.id]
    is_own = source.enclosing_function(found[0]) is function
    return (
        found[0] if len(uses) == 2 and is_own and isinstance(source.parents[found[0]], ast.Assign) else None
    )


def _is_plain_value(source: Source, value: ast.expr) -> bool:
    """Is it a value from outside or a field, that nothing says to be markup?"""
    function = source.enclosing_function(value)
    if function is not None and _MADE.search(function.name):
        return False
    if isinstance(value, ast.Name):
        found = bindings(source, value)
        if len(found) == 1 and isinstance(found[0], ast.arg):
            return not _ON_PURPOSE.search(value.id)
        return len(found) == 1 and isinstance(found[0], ast.expr) and _is_request(found[0])
    if isinstance(value, ast.Attribute):
        return not _ON_PURPOSE.search(value.attr)
    return _is_request(value)


def _is_request(value: ast.expr) -> bool:
    """`request.args["q"]`, `request.GET.get("q", "")`, `self.request.form.get("q")`"""
    if isinstance(value, ast.Call) and isinstance(value.func, ast.Attribute) and value.func.attr == "get":
        value = value.func.value
    elif isinstance(value, ast.Subscript):
        value = value.value
    else:
        return False
    return bool(
        re.fullmatch(r"(self\.)?request\.(args|form|values|GET|POST|cookies|headers)", ast.unparse(value))
    )


def _escape(rewrite: Rewrite, source: Source, call: ast.Call) -> str:
    name = source.qualified(call.func)
    if name in _SAFE:
        return rewrite.use_name("django.utils.html", "conditional_escape")
    return rewrite.use_name(name.rpartition(".")[0], "escape")


_DJANGO = "from django.utils.safestring import mark_safe\n"
_FORMATTED = _DJANGO + "from django.utils.html import format_html\n"

CASES = (
    Case(
        "from markupsafe import Markup\n\n\ndef bold(x):\n    return Markup(f'<b id=\"n\">{x}</b>')\n",
        "from markupsafe import Markup\n\n\ndef bold(x):\n"
        "    return Markup('<b id=\"n\">{}</b>').format(x)\n",
        "S704",
    ),
    Case(
        "import markupsafe\n\nx = markupsafe.Markup('<a>' + name + '</a>{}')\n",
        'import markupsafe\n\nx = markupsafe.Markup("<a>{}</a>{{}}").format(name)\n',
        "S704",
    ),
    Case(
        "from markupsafe import Markup\n\n\ndef greet(name):\n    text = '<p>%s, %d</p>' % (name, 3)\n"
        "    return Markup(text)\n",
        "from markupsafe import Markup\n\n\ndef greet(name):\n"
        '    text = Markup("<p>{}, {}</p>").format(name, 3)\n    return text\n',
        "S704",
    ),
    Case(
        "from flask import request\nfrom markupsafe import Markup\n\nq = Markup(request.args.get('q', ''))\n",
        "from flask import request\nfrom markupsafe import Markup, escape\n\n"
        "q = escape(request.args.get('q', ''))\n",
        "S704",
        unsafe=True,
    ),
    Case("from markupsafe import Markup\n\n\ndef page(html):\n    return Markup(html)\n", None, "S704"),
    Case(
        "from markupsafe import Markup\n\n\ndef rows(names):\n"
        "    items = ''.join(f'<li>{one}</li>' for one in names)\n    return Markup(f'<ul>{items}</ul>')\n",
        None,
        "S704",
    ),
    Case(
        "import html\nfrom markupsafe import Markup\n\n\ndef bold(x):\n"
        "    return Markup('<b>%s</b>' % html.escape(x))\n",
        None,
        "S704",
    ),
    Case("from markupsafe import Markup\n\nx = Markup(markdown(text))\n", None, "S704"),
    Case(
        _DJANGO + "\n\ndef bold(x):\n    return mark_safe(f'<b>{x}</b>')\n",
        _FORMATTED + '\n\ndef bold(x):\n    return format_html("<b>{}</b>", x)\n',
        "S308",
    ),
    Case(
        _DJANGO + "\n\ndef show(self, obj):\n    return mark_safe('<i>{}</i>'.format(obj.name))\n",
        _FORMATTED + '\n\ndef show(self, obj):\n    return format_html("<i>{}</i>", obj.name)\n',
        "S308",
    ),
    Case(
        _DJANGO + "\n\ndef show(self, obj):\n    return mark_safe(obj.name)\n",
        _DJANGO
        + "from django.utils.html import conditional_escape\n\n\ndef show(self, obj):\n"
        + "    return conditional_escape(obj.name)\n",
        "S308",
        unsafe=True,
    ),
)
