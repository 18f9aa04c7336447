"""DL105: a redirect stays on this site.

Invariant: what is passed on begins with one slash and holds no control characters (browsers leave those out,
and take a backslash for a slash); anything else goes to where the code goes without a target, else to "/".
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from deltaloom_server.security.codemods import Case
from deltaloom_server.security.codemods.matching import argument, find_named, free_name
from deltaloom_server.security.codemods.rewrite import Rewrite
from deltaloom_server.security.codemods.source import Source
from deltaloom_server.security.finding import Finding
from deltaloom_server.security.proposal import Proposal

RULES = ("DL105",)

_REDIRECTS = (
    "flask.redirect", "django.shortcuts.redirect", "django.http.HttpResponseRedirect",
    "django.http.HttpResponsePermanentRedirect", "starlette.responses.RedirectResponse",
    "fastapi.responses.RedirectResponse", "werkzeug.utils.redirect", "aiohttp.web.HTTPFound",
)  # fmt: skip
_NOTE = "Addresses of other sites, and paths without a slash at their start, are no longer followed."


def propose(source: Source, finding: Finding) -> Iterator[Proposal]:
    """A look at the target before the redirect."""
    call = find_named(source, finding, _REDIRECTS)
    if call is None:
        return
    target = next(
        (one for name in ("location", "to", "redirect_to", "url") if (one := argument(call, 0, name))), None
    )
    if target is None or isinstance(target, ast.Starred | ast.JoinedStr | ast.BinOp | ast.IfExp):
        return
    if any(isinstance(one, ast.Lambda | ast.IfExp | ast.BoolOp) for one in source.ancestors(call)):
        return
    rewrite = Rewrite(source)
    name = target.id if isinstance(target, ast.Name) else free_name(source, "target", "redirect_target")
    fallback = _fallback(source, target)
    lines = [] if isinstance(target, ast.Name) else [f"{name} = {source.segment(target)}"]
    step = "\t" if source.indent_of(source.statement(call)).startswith("\t") else "    "
    lines += [_test(rewrite, source, call, name), f"{step}{name} = {fallback}"]
    if not rewrite.insert_before(call, *lines):
        return
    if not isinstance(target, ast.Name):
        rewrite.replace(target, name)
    yield rewrite.proposal("Redirect within this site only", note=_NOTE)


def _test(rewrite: Rewrite, source: Source, call: ast.Call, name: str) -> str:
    function = source.enclosing_function(call)
    arguments = [one.arg for one in function.args.args] if function is not None else []
    if source.qualified(call.func).startswith("django.") and "request" in arguments:
        check = rewrite.use_name("django.utils.http", "url_has_allowed_host_and_scheme")
        return f"if not {check}({name}, allowed_hosts={{request.get_host()}}):"
    bad = f'{name}.startswith(("//", "/\\\\"))'
    return f'if not {name} or not {name}.startswith("/") or {bad} or not {name}.isprintable():'


def _fallback(source: Source, target: ast.expr) -> str:
    """Where the code goes without a target: the last of an `or`, the default of a `get`."""
    last: ast.expr | None = None
    if isinstance(target, ast.BoolOp) and isinstance(target.op, ast.Or):
        last = target.values[-1]
    elif (
        isinstance(target, ast.Call) and isinstance(target.func, ast.Attribute) and target.func.attr == "get"
    ):
        last = argument(target, 1, "default")
    if isinstance(last, ast.Constant) and isinstance(last.value, str) and last.value.startswith("/"):
        return source.segment(last)
    if isinstance(last, ast.Call) and ast.unparse(last.func).rpartition(".")[2] in ("url_for", "reverse"):
        return source.segment(last)
    return '"/"'


CASES = (
    Case(
        "from flask import redirect, request\n\n\ndef home():\n    return redirect(request.args['next'])\n",
        "from flask import redirect, request\n\n\ndef home():\n    target = request.args['next']\n"
        '    if not target or not target.startswith("/") or target.startswith(("//", "/\\\\")) '
        'or not target.isprintable():\n        target = "/"\n    return redirect(target)\n',
    ),
    Case(
        "from django.shortcuts import redirect\n\n\ndef home(request):\n"
        "    return redirect(request.GET.get('next', '/start'))\n",
        "from django.shortcuts import redirect\n"
        "from django.utils.http import url_has_allowed_host_and_scheme\n\n\ndef home(request):\n"
        "    target = request.GET.get('next', '/start')\n"
        "    if not url_has_allowed_host_and_scheme(target, allowed_hosts={request.get_host()}):\n"
        "        target = '/start'\n    return redirect(target)\n",
    ),
)
