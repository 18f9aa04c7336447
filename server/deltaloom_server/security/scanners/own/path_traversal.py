"""DL103: a path that holds text from outside is used without checking where it leads (CWE-22).

Seen where such a text is joined to a folder (os.path.join, `/`, an f-string with a slash) and the result is
opened, read, sent or removed in the same function. Text from outside is a request's, or a parameter that is
called as file names are (`filename`, `user_path`); the latter with low confidence, and only in a function for
others to call that joins it to a folder of the program's own (a constant, an attribute).

Not seen: paths that travel between functions. Any sign of a check in the function (is_relative_to,
commonpath, parents, basename, secure_filename, a test of the text itself) silences it, right or wrong.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from deltaloom_server.security.codemods.source import Function
from deltaloom_server.security.finding import Confidence
from deltaloom_server.security.scanners.own.expressions import argument, parameters
from deltaloom_server.security.scanners.own.outside import is_outside
from deltaloom_server.security.scanners.own.view import Hit, Scope, View

RULES = ("DL103",)
WORDS = ("request", "filename", "file_name", "fname", "path", "name", "route", "handler")

FILE_NAMES = frozenset(
    {
        "filename",
        "file_name",
        "fname",
        "user_path",
        "requested_path",
        "rel_path",
        "relative_path",
        "name",
        "path",
    }
)
CHECKS = frozenset(
    {
        "is_relative_to", "relative_to", "commonpath", "commonprefix", "basename", "secure_filename",
        "safe_join", "startswith", "fullmatch", "match", "isalnum", "isidentifier", "isdigit",
    }
)  # fmt: skip
_OPENERS = (
    "open", "io.open", "flask.send_file", "starlette.responses.FileResponse",
    "fastapi.responses.FileResponse", "os.remove", "os.unlink", "shutil.rmtree", "os.open",
    "django.http.FileResponse", "os.listdir",
)  # fmt: skip
_JOINS = frozenset({"os.path.join", "pathlib.Path"})
_WRAPS = frozenset({"pathlib.Path", "str"})
_PATH_METHODS = (
    "open", "read_text", "read_bytes", "write_text", "write_bytes", "unlink", "rmdir", "iterdir",
)  # fmt: skip

VALID = (
    "import os\n\ndef load(name):\n    path = os.path.join(FOLDER, os.path.basename(name))\n"
    "    return open(path).read()\n",
    "def load(folder, filename):\n    path = (BASE / filename).resolve()\n"
    "    if not path.is_relative_to(BASE):\n        raise ValueError\n    return path.read_text()\n",
    "import os\n\ndef load(path):\n    with open(path) as file:\n        return file.read()\n",
    "import os\n\ndef load():\n    return open(os.path.join(FOLDER, 'settings.ini')).read()\n",
    "import os\n\ndef load(name):\n    if name not in KNOWN:\n        raise KeyError(name)\n"
    "    return open(os.path.join(FOLDER, name)).read()\n",
    "import os\n\ndef load(folder, name):\n    return open(os.path.join(folder, name)).read()\n",
    "import os\n\ndef _load(name):\n    return open(os.path.join(FOLDER, name)).read()\n",
    "def load(folder, filename):\n    root = BASE.resolve()\n    path = (root / filename).resolve()\n"
    "    if root not in path.parents:\n        raise ValueError\n    return path.read_text()\n",
    "from flask import request\nfrom werkzeug.utils import secure_filename\n\ndef show():\n"
    "    name = secure_filename(request.args['name'])\n    return open(FOLDER / name).read()\n",
)
INVALID = (
    "import os\nfrom flask import request, send_file\n\ndef show():\n"
    "    return send_file(os.path.join(FOLDER, request.args['name']))  # here\n",
    "import os\n\ndef read_upload(filename):\n    path = os.path.join(UPLOADS, filename)\n"
    "    with open(path, 'rb') as file:  # here\n        return file.read()\n",
    "from pathlib import Path\n\ndef read(name):\n    return (Path('/srv') / name).read_text()  # here\n",
    "from flask import Flask\n\napp = Flask(__name__)\n\n@app.get('/files/<path:key>')\ndef show(key):\n"
    "    return open(f'/srv/files/{key}').read()  # here\n",
    "import os\n\ndef delete(request, which):\n    os.remove('/srv/files/' + request.GET['which'])  # here\n",
)


def check(view: View) -> Iterator[Hit]:
    for call, path in _used(view):
        scope = view.scope(call)
        if not isinstance(scope, Function) or scope.name.startswith(("_", "test_")):
            continue
        joined = view.resolve(path)
        while isinstance(joined, ast.Call) and isinstance(joined.func, ast.Attribute) and not joined.args:
            joined = view.resolve(joined.func.value)
        folder, *texts = _parts(view, joined) or [joined]
        for text in texts:
            confidence = _comes_from_outside(view, text, folder, scope)
            if confidence is not None and not is_checked(view, scope, text):
                said = "This path may lead out of its folder (`../`): nothing checks where it ends."
                yield Hit("DL103", call, said, confidence=confidence)
                break


def _used(view: View) -> Iterator[tuple[ast.Call, ast.expr]]:
    """Calls that do something with a file, and the path that they are given."""
    for call in view.calls(*_OPENERS):
        if (path := argument(call, 0, "path", "file", "path_or_file", "filename_or_fp")) is not None:
            yield call, path
    for call, function in view.methods(*_PATH_METHODS):
        if not view.is_imported(function):
            yield call, function.value


def _parts(view: View, path: ast.expr) -> list[ast.expr]:
    """The folder and the texts that are put behind it; empty where nothing is."""
    match path:
        case ast.Call(func=function, args=[folder, text, *rest]):
            joins = view.name_among(function, _JOINS)
            return [folder, text, *rest] if joins else []
        case ast.Call(func=ast.Attribute(value=folder, attr="joinpath"), args=rest):
            return [folder, *rest]
        case ast.Call(args=[single]) if view.name_among(path.func, _WRAPS):
            return _parts(view, view.resolve(single))
        case ast.BinOp(left=left, op=ast.Div() | ast.Add(), right=right):
            return [*(_parts(view, left) or [left]), right]
        case ast.JoinedStr(values=[first, *rest]):
            texts = [one.value for one in rest if isinstance(one, ast.FormattedValue)]
            return [first.value if isinstance(first, ast.FormattedValue) else first, *texts]
    return []


def _comes_from_outside(view: View, text: ast.expr, folder: ast.expr, scope: Function) -> Confidence | None:
    if is_outside(view, text):
        return "medium"
    named = frozenset(parameters(scope)) & FILE_NAMES
    return "low" if named and _is_our_own(view, folder) and is_outside(view, text, named) else None


def _is_our_own(view: View, folder: ast.expr) -> bool:
    """A folder that the program has chosen: a constant, an attribute, a setting, or one made of these."""
    made = view.resolve(folder)
    match made:
        case ast.Constant() | ast.Attribute():
            return True
        case ast.Name(id=name):
            return name.isupper() or name == "__file__"
        case ast.Subscript(value=value):
            return _is_our_own(view, value)
        case ast.Call(args=args):
            return bool(args) and all(_is_our_own(view, one) for one in args)
        case ast.BinOp(left=left, right=right):
            return _is_our_own(view, left) and _is_our_own(view, right)
    return False


def is_checked(view: View, scope: Scope, text: ast.expr) -> bool:
    """Is there any sign in the function that the text, or the path made of it, is checked?"""
    if view.names_called(scope) & CHECKS:
        return True
    names = {node.id for node in ast.walk(text) if isinstance(node, ast.Name)}
    return any(_is_check(node, names) for node in ast.walk(scope) if isinstance(node, ast.Compare))


def _is_check(node: ast.Compare, names: set[str]) -> bool:
    """A comparison of the text, or one with a path's parents."""
    if not any(isinstance(one, ast.In | ast.NotIn | ast.Eq | ast.NotEq) for one in node.ops):
        return False
    if any(isinstance(one, ast.Attribute) and one.attr == "parents" for one in node.comparators):
        return True
    return bool(names & {one.id for one in ast.walk(node) if isinstance(one, ast.Name)})
