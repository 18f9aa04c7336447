"""DL110: a template's own text holds what came from outside (CWE-1336): it can then call into the program.

Seen for Flask's render_template_string and Jinja2's Template and from_string, where the text is put together
from pieces in the call or in a name given once, or comes from a request.

Not seen: a template that is handed in whole by a parameter, as rendering helpers do, or read from a file;
sandboxed environments are taken for sound.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from deltaloom_server.security.scanners.own.expressions import argument, is_put_together
from deltaloom_server.security.scanners.own.outside import is_outside
from deltaloom_server.security.scanners.own.view import Hit, View

RULES = ("DL110",)
WORDS = ("render_template_string", "jinja2", "mako")

_TEXTS = (
    "flask.render_template_string", "jinja2.Template", "mako.template.Template", "django.template.Template",
)  # fmt: skip

VALID = (
    "from flask import render_template_string\n\ndef show(name):\n"
    "    return render_template_string('Hello {{ name }}', name=name)\n",
    "import jinja2\n\ndef render(text, **values):\n    return jinja2.Template(text).render(**values)\n",
    "import jinja2\n\nHEAD = '<h1>'\n\ndef render():\n    return jinja2.Template(HEAD + 'x').render()\n",
    "from jinja2.sandbox import SandboxedEnvironment\n\ndef render(request):\n"
    "    return SandboxedEnvironment().from_string(request.GET['text']).render()\n",
)
INVALID = (
    "from flask import render_template_string\n\ndef show(name):\n"
    "    return render_template_string(f'Hello {name}')  # here\n",
    "from flask import render_template_string, request\n\ndef show():\n    page = request.form['page']\n"
    "    return render_template_string(page)  # here\n",
    "import jinja2\n\ndef show(name):\n    text = 'Hello ' + name\n"
    "    return jinja2.Template(text).render()  # here\n",
    "from jinja2 import Environment\n\ndef show(name):\n"
    "    return Environment().from_string('Hello %s' % name).render()  # here\n",
)


def check(view: View) -> Iterator[Hit]:
    for call in _made(view):
        text = argument(call, 0, "source", "text", "template_string")
        if text is None:
            continue
        if is_put_together(view.resolve(text)) or is_outside(view, text):
            yield Hit(
                "DL110", call, "This template's text holds what comes from outside: pass it as a value."
            )


def _made(view: View) -> Iterator[ast.Call]:
    yield from view.calls(*_TEXTS)
    if "SandboxedEnvironment" not in view.source.text and view.imports_any("jinja2"):
        yield from (call for call, _ in view.methods("from_string"))
