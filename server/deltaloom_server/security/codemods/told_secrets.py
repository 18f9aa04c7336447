"""DL106, DL113: what nobody should read is left out of a log, or of an answer.

Invariant: the log call and the answer stay, and so does everything else that they say.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence

from deltaloom_server.security.codemods import Case
from deltaloom_server.security.codemods.matching import find_call
from deltaloom_server.security.codemods.rewrite import Rewrite
from deltaloom_server.security.codemods.source import Source
from deltaloom_server.security.codemods.template import Hole, Part, compose, parts_of
from deltaloom_server.security.finding import Finding
from deltaloom_server.security.proposal import Proposal

RULES = ("DL106", "DL113")

_GENERAL = "internal error"
_HIDDEN = "[hidden]"
_SHOWN = frozenset(("traceback.format_exc", "traceback.format_exception"))


def propose(source: Source, finding: Finding) -> Iterator[Proposal]:
    """One proposal, by the finding's rule."""
    rewrite = Rewrite(source)
    if finding.rule == "DL106" and _unlogged(rewrite, finding):
        yield rewrite.proposal("Leave the secret out of the log")
    elif finding.rule == "DL113" and _general(rewrite, finding):
        yield rewrite.proposal(
            "Log the error and answer in general", note="The client no longer reads what went wrong."
        )


def _unlogged(rewrite: Rewrite, finding: Finding) -> bool:
    source = rewrite.source
    named = re.match(r"`(\w+)`", finding.message)
    call = find_call(source, finding, lambda one: isinstance(one.func, ast.Attribute))
    if named is None or call is None:
        return False
    done = False
    for argument in (*call.args, *(one.value for one in call.keywords)):
        parts = parts_of(source, argument)
        if _is_named(argument, named[1]):
            rewrite.replace(argument, f'"{_HIDDEN}"')
            done = True
        elif parts is not None:
            kept = [
                _HIDDEN if isinstance(one, Hole) and _is_named(one.node, named[1]) else one for one in parts
            ]
            if kept != list(parts):
                rewrite.replace(argument, compose(kept))
                done = True
    return done


def _is_named(node: ast.expr, name: str) -> bool:
    """The value itself, not what a call makes of it."""
    if isinstance(node, ast.Subscript):
        return isinstance(node.slice, ast.Constant) and node.slice.value == name
    return (isinstance(node, ast.Name) and node.id == name) or (
        isinstance(node, ast.Attribute) and node.attr == name
    )


def _general(rewrite: Rewrite, finding: Finding) -> bool:
    source = rewrite.source
    handler = None
    for node in source.nodes_at(finding.span):
        handler = next((one for one in source.ancestors(node) if isinstance(one, ast.ExceptHandler)), None)
        shown = _whole(source, node) if handler is not None and _tells(source, node, handler.name) else None
        if shown is not None and handler is not None:
            break
    else:
        return False
    assert handler is not None
    assert shown is not None
    parts = parts_of(source, shown)
    rewrite.replace(
        shown, f'"{_GENERAL}"' if parts is None else compose(_without(source, parts, handler.name))
    )
    if not any(isinstance(one, ast.Call) and _logs(one) for one in ast.walk(handler)):
        return rewrite.insert_before(shown, f'{_logger(rewrite)}.exception("The request failed")')
    return True


def _tells(source: Source, node: ast.expr | ast.stmt, error: str | None) -> bool:
    if isinstance(node, ast.Call):
        if source.qualified(node.func) in _SHOWN:
            return True
        shown = isinstance(node.func, ast.Name) and node.func.id in ("str", "repr") and len(node.args) == 1
        return shown and isinstance(node.args[0], ast.Name) and node.args[0].id == error
    return isinstance(node, ast.JoinedStr) and any(
        isinstance(one, ast.Name) and one.id == error for one in ast.walk(node)
    )


def _whole(source: Source, node: ast.expr | ast.stmt) -> ast.expr | None:
    """The string that the error's text is put into, or the text alone."""
    while isinstance(node, ast.expr):
        parent = source.parents[node]
        if isinstance(parent, ast.BinOp | ast.JoinedStr | ast.FormattedValue):
            node = parent
            continue
        if isinstance(parent, ast.Attribute) and parent.attr in ("splitlines", "split", "strip"):
            return None
        return node
    return None


def _without(source: Source, parts: Sequence[Part], error: str | None) -> list[Part]:
    kept = [
        one
        for one in parts
        if isinstance(one, str)
        or not any(
            (isinstance(each, ast.Name) and each.id == error)
            or (isinstance(each, ast.Call) and source.qualified(each.func) in _SHOWN)
            for each in ast.walk(one.node)
        )
    ]
    if kept and isinstance(kept[-1], str):
        kept[-1] = kept[-1].rstrip(" :-(\n")
    return kept if any(isinstance(one, str) and one.strip() for one in kept) else [_GENERAL]


def _logs(call: ast.Call) -> bool:
    return isinstance(call.func, ast.Attribute) and call.func.attr in ("exception", "error", "critical")


def _logger(rewrite: Rewrite) -> str:
    """The file's logger, or one of its name."""
    for node in rewrite.source.tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call):
            made = rewrite.source.qualified(node.value.func)
            if made == "logging.getLogger" and isinstance(node.targets[0], ast.Name):
                return node.targets[0].id
    return f"{rewrite.use('logging', 'getLogger')}(__name__)"


_LOGIN = "import logging\n\nlog = logging.getLogger(__name__)\n\n\ndef login(user, password):\n"
_HOME = (
    "import logging\nfrom flask import Flask, jsonify\n\napp = Flask(__name__)\n"
    "log = logging.getLogger('app')\n\n\n@app.get('/')\ndef home():\n"
    "    try:\n        return work()\n    except Exception as error:\n"
)

CASES = (
    Case(
        _LOGIN + "    log.info('login %s %s', user, password)\n",
        _LOGIN + "    log.info('login %s %s', user, \"[hidden]\")\n",
        "DL106",
    ),
    Case(
        _LOGIN + "    log.info(f'login {user} {password}')\n",
        _LOGIN + '    log.info(f"login {user} [hidden]")\n',
        "DL106",
    ),
    Case(
        _HOME + "        return jsonify(error=str(error)), 500\n",
        _HOME + '        log.exception("The request failed")\n'
        '        return jsonify(error="internal error"), 500\n',
        "DL113",
    ),
    Case(
        _HOME + "        return f'failed: {error}', 500\n",
        _HOME + '        log.exception("The request failed")\n        return "failed", 500\n',
        "DL113",
    ),
)
