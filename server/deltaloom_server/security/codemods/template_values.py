"""DL110: values are given to a template, not written into its text.

Invariant: the template's text is constant afterwards, and each value has a variable of its own in it.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from deltaloom_server.security.codemods import Case
from deltaloom_server.security.codemods.above import Built, built_above, keeps_its_values
from deltaloom_server.security.codemods.matching import find_call, unpacks
from deltaloom_server.security.codemods.rewrite import Rewrite
from deltaloom_server.security.codemods.source import Source
from deltaloom_server.security.codemods.sqlsite import string_literal
from deltaloom_server.security.codemods.template import Hole, Part, holes_in, parts_of
from deltaloom_server.security.finding import Finding
from deltaloom_server.security.proposal import Proposal

RULES = ("DL110",)

_JINJA = ("flask.render_template_string", "jinja2.Template")
_NOTE = "Where the template escapes its values, HTML in them is shown as text."


def propose(source: Source, finding: Finding) -> Iterator[Proposal]:
    """One proposal, for Jinja's templates."""
    call = find_call(source, finding, lambda one: _is_template(source, one))
    if call is None or len(call.args) != 1 or unpacks(call):
        return
    renders = call if source.qualified(call.func) == _JINJA[0] else _rendered(source, call)
    if renders is None or any(one.arg is None for one in renders.keywords):
        return
    text = call.args[0]
    built = None if parts_of(source, text) else built_above(source, text)
    made = built.value if built is not None else text
    parts = parts_of(source, made)
    if parts is None or not holes_in(parts):
        return
    if built is not None and not keeps_its_values(source, built, text, holes_in(parts)):
        return
    here = Built(source.statement(call), call)
    if renders is not call and not keeps_its_values(source, here, renders, holes_in(parts)):
        return
    literal, values = _with_variables(parts, {one.arg or "" for one in renders.keywords})
    rewrite = Rewrite(source)
    rewrite.replace(made, string_literal(source, made, literal))
    rewrite.add_argument(renders, ", ".join(f"{name}={value}" for name, value in values))
    yield rewrite.proposal("Give the values to the template", note=_NOTE)


def _is_template(source: Source, call: ast.Call) -> bool:
    method = isinstance(call.func, ast.Attribute) and call.func.attr == "from_string"
    return method or source.qualified(call.func) in _JINJA


def _rendered(source: Source, call: ast.Call) -> ast.Call | None:
    """The `.render(…)` of a template that is rendered once: at once, or by its variable."""
    attribute = source.parents[call]
    if isinstance(attribute, ast.Assign | ast.AnnAssign):
        uses = _uses(source, attribute)
        if len(uses) != 1 or (built := built_above(source, uses[0])) is None or built.value is not call:
            return None
        attribute = source.parents[uses[0]]
    rendered = source.parents[attribute]
    if isinstance(attribute, ast.Attribute) and attribute.attr == "render" and isinstance(rendered, ast.Call):
        return rendered
    return None


def _uses(source: Source, statement: ast.Assign | ast.AnnAssign) -> list[ast.Name]:
    target = statement.target if isinstance(statement, ast.AnnAssign) else statement.targets[0]
    function = source.enclosing_function(statement)
    if not isinstance(target, ast.Name) or function is None:
        return []
    named = [one for one in ast.walk(function) if isinstance(one, ast.Name) and one.id == target.id]
    return [one for one in named if isinstance(one.ctx, ast.Load)]


def _with_variables(parts: tuple[Part, ...], taken: set[str]) -> tuple[str, list[tuple[str, str]]]:
    text, values = "", []
    known: dict[str, str] = {}
    for part in parts:
        if isinstance(part, str):
            text += part
            continue
        name = known.get(part.text) or _name(part, taken)
        if part.text not in known:
            known[part.text] = name
            taken.add(name)
            values.append((name, part.text))
        text += "{{ " + name + " }}"
    return text, values


def _name(hole: Hole, taken: set[str]) -> str:
    node = hole.node
    name = (
        node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else "value"
    )
    while name in taken:
        name += "_"
    return name


CASES = (
    Case(
        "from flask import render_template_string\n\n\ndef show(name):\n"
        "    return render_template_string(f'<h1>Hello {name}</h1>')\n",
        "from flask import render_template_string\n\n\ndef show(name):\n"
        '    return render_template_string("<h1>Hello {{ name }}</h1>", name=name)\n',
    ),
    Case(
        "import jinja2\n\n\ndef show(user):\n    text = 'Hello ' + user.name + '!'\n"
        "    return jinja2.Template(text).render()\n",
        'import jinja2\n\n\ndef show(user):\n    text = "Hello {{ name }}!"\n'
        "    return jinja2.Template(text).render(name=user.name)\n",
    ),
    Case(
        "import jinja2\n\nenvironment = jinja2.Environment()\n\n\ndef show(name, line):\n"
        "    page = environment.from_string('<b>{{ name }}</b>' + line)\n    return page.render(name=name)\n",
        "import jinja2\n\nenvironment = jinja2.Environment()\n\n\ndef show(name, line):\n"
        '    page = environment.from_string("<b>{{ name }}</b>{{ line }}")\n'
        "    return page.render(name=name, line=line)\n",
    ),
    Case(
        "import jinja2\n\nenvironment = jinja2.Environment()\n\n\ndef show(line):\n"
        "    page = environment.from_string('<b>' + line)\n"
        "    line = line.upper()\n    return page.render(line=line)\n",
        None,
    ),
    Case(
        "from flask import render_template_string, request\n\n\ndef show():\n"
        "    return render_template_string(request.form['page'])\n",
        None,
    ),
)
