"""DL105: a redirect goes to wherever the request says (CWE-601).

Seen for Flask, Django, Starlette, FastAPI, Werkzeug and aiohttp, where the target is a part of the request or
a parameter of the handler, in the same function.

Not seen: targets from a session or a data base. Any look at the target (url_has_allowed_host_and_scheme,
urlparse, startswith, a comparison) silences it; so does a path of our own before it ("/docs/" + page).
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from deltaloom_server.security.scanners.own.expressions import argument
from deltaloom_server.security.scanners.own.outside import is_outside
from deltaloom_server.security.scanners.own.view import Hit, View

RULES = ("DL105",)
WORDS = ("edirect", "HTTPFound")

_REDIRECTS = (
    "flask.redirect", "django.shortcuts.redirect", "django.http.HttpResponseRedirect",
    "django.http.HttpResponsePermanentRedirect", "starlette.responses.RedirectResponse",
    "fastapi.responses.RedirectResponse", "werkzeug.utils.redirect", "aiohttp.web.HTTPFound",
)  # fmt: skip
_CHECKS = frozenset(
    {
        "url_has_allowed_host_and_scheme", "is_safe_url", "is_safe_redirect_url", "urlparse", "urlsplit",
        "startswith", "url_for", "reverse", "fullmatch", "match",
    }
)  # fmt: skip

VALID = (
    "from flask import redirect, url_for\n\ndef home():\n    return redirect(url_for('index'))\n",
    "from flask import redirect, request\n\ndef home():\n    target = request.args.get('next', '/')\n"
    "    if not target.startswith('/'):\n        target = '/'\n    return redirect(target)\n",
    "from flask import redirect, request\n\ndef page():\n    return redirect('/docs/' + request.args['p'])\n",
    "from flask import redirect, request\n\ndef page():\n"
    "    return redirect(f'/docs/{request.args[\"page\"]}')\n",
    "from flask import redirect\n\ndef go(url):\n    return redirect(url)\n",
    "from flask import redirect, request\n\ndef go():\n    return redirect(request.url)\n",
)
INVALID = (
    "from flask import redirect, request\n\ndef home():\n    return redirect(request.args['next'])  # here\n",
    "from django.shortcuts import redirect\n\ndef home(request):\n    to = request.GET.get('next') or '/'\n"
    "    return redirect(to)  # here\n",
    "from fastapi import FastAPI\nfrom fastapi.responses import RedirectResponse\n\napp = FastAPI()\n\n"
    "@app.get('/go')\nasync def go(next: str):\n    return RedirectResponse(next)  # here\n",
)


def check(view: View) -> Iterator[Hit]:
    for call in view.calls(*_REDIRECTS):
        target = argument(call, 0, "location", "to", "redirect_to", "url")
        if target is None or _begins_here(view.resolve(target)) or not is_outside(view, target):
            continue
        scope = view.scope(call)
        if not view.names_called(scope) & _CHECKS and not _is_compared(scope, target):
            yield Hit(
                "DL105", call, "This redirects to any site that the request names: check the target first."
            )


def _begins_here(target: ast.expr) -> bool:
    """A text that begins with a path or an address of our own, or the request's own address."""
    match target:
        case (
            ast.JoinedStr(values=[ast.Constant(value=str() as head), *_])
            | ast.BinOp(left=ast.Constant(value=str() as head))
        ):
            return len(head) > 1
        case ast.Attribute(attr="url" | "path"):
            return True
        case ast.BinOp(left=left):
            return _begins_here(left)
    return False


def _is_compared(scope: ast.AST, target: ast.expr) -> bool:
    names = {node.id for node in ast.walk(target) if isinstance(node, ast.Name)} - {"request"}
    return any(
        isinstance(node, ast.Compare)
        and names & {one.id for one in ast.walk(node) if isinstance(one, ast.Name)}
        for node in ast.walk(scope)
    )
