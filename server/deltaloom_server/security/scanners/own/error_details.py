"""DL113: an error's text or its traceback is sent to the client (CWE-209).

Seen in functions that answer requests (a route's decorator, a Django view) and in responses that are made of
it: `traceback.format_exc()` anywhere, and the text of an exception that was caught as `Exception`.

Not seen: texts of named exceptions, which are often written for the client, and what a helper returns.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from deltaloom_server.security.codemods.source import Function
from deltaloom_server.security.scanners.own.expressions import last_word, parameters
from deltaloom_server.security.scanners.own.outside import is_routed
from deltaloom_server.security.scanners.own.view import Hit, View

RULES = ("DL113",)
WORDS = ("flask", "django", "fastapi", "starlette", "sanic", "aiohttp", "bottle", "Response", "traceback")

_RESPONSES = frozenset(
    {
        "jsonify", "Response", "JSONResponse", "JsonResponse", "HttpResponse", "HttpResponseServerError",
        "make_response", "HTMLResponse", "PlainTextResponse", "HTTPException",
    }
)  # fmt: skip
_TRACEBACKS = frozenset({"traceback.format_exc", "traceback.format_exception"})
_BROAD = frozenset({"Exception", "BaseException"})

VALID = (
    "from flask import Flask, jsonify\napp = Flask(__name__)\n\n@app.get('/')\ndef home():\n    try:\n"
    "        return work()\n    except Exception as error:\n        log.exception('failed')\n"
    "        return jsonify(error='internal error'), 500\n",
    "from flask import Flask, jsonify\napp = Flask(__name__)\n\n@app.get('/')\ndef home():\n    try:\n"
    "        return work()\n    except ValueError as error:\n        return jsonify(error=str(error)), 400\n",
    "def run():\n    try:\n        return work()\n    except Exception as one:\n        return str(one)\n",
)
INVALID = (
    "from flask import Flask, jsonify\napp = Flask(__name__)\n\n@app.get('/')\ndef home():\n    try:\n"
    "        return work()\n    except Exception as error:\n"
    "        return jsonify(error=str(error)), 500  # here\n",
    "import traceback\nfrom django.http import HttpResponse\n\ndef home(request):\n    try:\n"
    "        return work()\n    except ValueError:\n"
    "        return HttpResponse(traceback.format_exc(), status=500)  # here\n",
    "from flask import Flask\napp = Flask(__name__)\n\n@app.route('/')\ndef home():\n    try:\n"
    "        return work()\n    except Exception as error:\n        return f'failed: {error}', 500  # here\n",
)


def check(view: View) -> Iterator[Hit]:
    for handler in view.all(ast.ExceptHandler):
        scope = view.scope(handler)
        answers = isinstance(scope, Function) and (
            is_routed(scope) or next(iter(parameters(scope)), "") == "request"
        )
        error = handler.name if handler.type is None or last_word(handler.type) in _BROAD else None
        for answer in _answers(handler, answers):
            if shown := next((one for one in ast.walk(answer) if _tells(view, one, error)), None):
                assert isinstance(shown, ast.expr)
                yield Hit(
                    "DL113", shown, "The client is told what went wrong inside: log it and answer in general."
                )


def _answers(handler: ast.ExceptHandler, answers: bool) -> Iterator[ast.expr]:
    """What is returned from a handler that answers requests, and responses wherever they are returned."""
    for node in ast.walk(handler):
        value = (
            node.value if isinstance(node, ast.Return) else node.exc if isinstance(node, ast.Raise) else None
        )
        if value is None:
            continue
        made = value.elts[0] if isinstance(value, ast.Tuple) and value.elts else value
        is_response = isinstance(made, ast.Call) and last_word(made.func) in _RESPONSES
        if is_response or (answers and isinstance(node, ast.Return)):
            yield made


def _tells(view: View, node: ast.AST, error: str | None) -> bool:
    match node:
        case ast.Call(func=function, args=args):
            if view.name_among(function, _TRACEBACKS):
                return True
            shown = isinstance(function, ast.Name) and function.id in ("str", "repr") and len(args) == 1
            return shown and isinstance(args[0], ast.Name) and args[0].id == error
        case ast.FormattedValue(value=ast.Name(id=name)):
            return name == error
    return False
