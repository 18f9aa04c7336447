"""DL103, DL104: a path that is put together from outside text must stay in its folder.

Invariant: the check stands between the joining and the first use, looks at both with links resolved, and
leaves by an exception (in a web handler by the framework's "not found").
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from deltaloom_server.security.codemods import Case
from deltaloom_server.security.codemods.matching import bindings, free_name
from deltaloom_server.security.codemods.rewrite import Rewrite
from deltaloom_server.security.codemods.source import Source
from deltaloom_server.security.codemods.template import Hole, compose, parts_of
from deltaloom_server.security.finding import Finding
from deltaloom_server.security.proposal import Proposal

RULES = ("DL103", "DL104")

_TITLE = "Check that the path stays in its folder"
_NOTE = "A path that leads out of the folder is refused; so is a link in it that does."


def propose(source: Source, finding: Finding) -> Iterator[Proposal]:
    """The check, after the joining; for Flask's send_file also send_from_directory."""
    for node in source.nodes_at(finding.span):
        if not isinstance(node, ast.expr) or any(
            isinstance(o, ast.JoinedStr) for o in source.ancestors(node)
        ):
            continue
        sent = _sent(source, node)
        if sent is not None:
            yield sent
        found = _joined_in(source, node) if finding.rule == "DL103" else _as_joined(source, node)
        if found is not None:
            proposal = _check(source, *found)
            if proposal is not None:
                yield proposal
            return


def _sent(source: Source, node: ast.expr) -> Proposal | None:
    """Flask's send_file of a path joined in the call, from one folder and one name."""
    if not isinstance(node, ast.Call) or source.qualified(node.func) != "flask.send_file" or not node.args:
        return None
    joined = node.args[0]
    if not isinstance(joined, ast.Call) or source.qualified(joined.func) != "os.path.join":
        return None
    if len(joined.args) != 2 or len(node.args) > 1 or any(isinstance(o, ast.Starred) for o in joined.args):
        return None
    rewrite = Rewrite(source)
    rewrite.replace(node.func, rewrite.use("flask", "send_from_directory"))
    rewrite.replace(joined, ", ".join(map(source.segment, joined.args)))
    return rewrite.proposal("Use send_from_directory")


def _joined_in(source: Source, node: ast.expr) -> tuple[ast.expr, str] | None:
    """The joining that a call opens: in an argument, in what its method belongs to, or in their variables."""
    if not isinstance(node, ast.Call):
        return None
    given = [*node.args, *(one.value for one in node.keywords)]
    if isinstance(node.func, ast.Attribute):
        given.insert(0, node.func.value)
    for one in given:
        found = _as_joined(source, one) or _as_joined(source, _behind(source, one))
        if found is not None:
            return found
    return None


def _behind(source: Source, node: ast.expr) -> ast.expr:
    """What a name was bound to, once."""
    if isinstance(node, ast.Name):
        found = bindings(source, node)
        if len(found) == 1 and isinstance(found[0], ast.expr):
            return found[0]
    return node


def _as_joined(source: Source, node: ast.expr) -> tuple[ast.expr, str] | None:
    """An expression that joins a folder and something else, with the folder's text."""
    if (
        isinstance(node, ast.Call)
        and len(node.args) == 1
        and source.qualified(node.func) in ("pathlib.Path", "str")
    ):
        inner = _as_joined(source, node.args[0])
        return (node, inner[1]) if inner is not None else None
    if isinstance(node, ast.Call) and source.qualified(node.func) == "os.path.join" and len(node.args) > 1:
        folder = (
            node.args[:-1] if all(isinstance(one, ast.Constant) for one in node.args[1:-1]) else node.args[:1]
        )
        if any(isinstance(one, ast.Starred) for one in node.args):
            return None
        texts = ", ".join(map(source.segment, folder))
        return node, texts if len(folder) == 1 else f"{source.segment(node.func)}({texts})"
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
        left = node.left
        while isinstance(left, ast.BinOp) and isinstance(left.op, ast.Div):
            if isinstance(left.right, ast.Constant):
                break
            left = left.left
        return node, source.segment(left)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "joinpath":
        return node, source.segment(node.func.value)
    return _as_text(source, node)


def _as_text(source: Source, node: ast.expr) -> tuple[ast.expr, str] | None:
    """A string with a folder, a slash, and then the first value (or second, where it begins with one)."""
    parts = parts_of(source, node)
    if parts is None or not any(isinstance(one, Hole) for one in parts[1:]):
        return None
    head = parts[:2] if isinstance(parts[0], Hole) else parts[:1]
    last = head[-1]
    if not isinstance(last, str) or "/" not in last:
        return None
    folder = last[: last.rindex("/")]
    if len(head) == 1 and not folder:
        return None
    return node, compose((*head[:-1], folder) if folder else head[:-1])


def _check(source: Source, joined: ast.expr, folder: str) -> Proposal | None:
    """Puts the check behind the statement that binds the joined path, or binds it first."""
    rewrite = Rewrite(source)
    statement = source.statement(joined)
    target = (
        statement.targets[0] if isinstance(statement, ast.Assign) and len(statement.targets) == 1 else None
    )
    path = rewrite.use("pathlib", "Path")
    end = source.line_end
    indent = source.indent_of(statement)
    step = "\t" if indent.startswith("\t") else "    "
    bound = isinstance(statement, ast.Assign) and isinstance(target, ast.Name)
    name = target.id if bound and isinstance(target, ast.Name) else free_name(source, "path", "joined_path")
    test = f"if not {path}({name}).resolve().is_relative_to({path}({folder}).resolve()):"
    leave = _leave(rewrite, joined)
    if not bound:
        if not rewrite.insert_before(joined, f"{name} = {source.segment(joined)}", test, f"{step}{leave}"):
            return None
        if any(
            isinstance(one, ast.comprehension | ast.Lambda | ast.IfExp) for one in source.ancestors(joined)
        ):
            return None
        at = source.start(joined)
        whole = (
            source.text[at - 1 : at] == "("
            and source.text[source.end(joined) : source.end(joined) + 1] == ")"
        )
        parenthesized = whole and isinstance(source.parents[joined], ast.Attribute)
        rewrite.replace_range(at - parenthesized, source.end(joined) + parenthesized, name)
    else:
        line = source.line_start(statement.end_lineno or statement.lineno)
        rest = source.text[source.end(statement) : line].strip()
        if rest and not rest.startswith("#"):
            return None
        text = f"{indent}{test}{end}{indent}{step}{leave}{end}"
        rewrite.insert(line, text if source.text[:line].endswith(("\n", "\r")) else end + text)
    return rewrite.proposal(_TITLE, note=_NOTE)


def _leave(rewrite: Rewrite, node: ast.expr) -> str:
    """How the function turns a request down; ValueError where it answers none."""
    source = rewrite.source
    roots = {full.partition(".")[0] for full in source.imports.values()}
    function = source.enclosing_function(node)
    arguments = [one.arg for one in function.args.args] if function is not None else []
    routed = function is not None and any(
        isinstance(one, ast.Call) and isinstance(one.func, ast.Attribute) for one in function.decorator_list
    )
    asks = "request" in arguments or routed or "request" in ast.unparse(node)
    if asks and "flask" in roots:
        return f"{rewrite.use('flask', 'abort')}(404)"
    if asks and "django" in roots:
        return f'raise {rewrite.use_name("django.http", "Http404")}("There is no such file.")'
    if asks and "fastapi" in roots:
        return f"raise {rewrite.use('fastapi', 'HTTPException')}(status_code=404)"
    return 'raise ValueError("the path leads out of its folder")'


CASES = (
    Case(
        "import os\n\nUPLOADS = '/srv/uploads'\n\n\ndef read_upload(filename):\n"
        "    path = os.path.join(UPLOADS, filename)\n"
        "    with open(path, 'rb') as file:\n        return file.read()\n",
        "import os\nimport pathlib\n\nUPLOADS = '/srv/uploads'\n\n\ndef read_upload(filename):\n"
        "    path = os.path.join(UPLOADS, filename)\n"
        "    if not pathlib.Path(path).resolve().is_relative_to(pathlib.Path(UPLOADS).resolve()):\n"
        '        raise ValueError("the path leads out of its folder")\n'
        "    with open(path, 'rb') as file:\n        return file.read()\n",
        "DL103",
    ),
    Case(
        "from pathlib import Path\n\nFOLDER = Path('/srv/docs')\n\n\ndef read_document(name):\n"
        "    return (FOLDER / name).read_text()\n",
        "from pathlib import Path\n\nFOLDER = Path('/srv/docs')\n\n\ndef read_document(name):\n"
        "    path = FOLDER / name\n    if not Path(path).resolve().is_relative_to(Path(FOLDER).resolve()):\n"
        '        raise ValueError("the path leads out of its folder")\n    return path.read_text()\n',
        "DL103",
    ),
    Case(
        "import os\nfrom flask import request, send_file\n\n\ndef show():\n"
        "    return send_file(os.path.join('/srv', request.args['name']), as_attachment=True)\n",
        "import os\nfrom flask import request, send_file, send_from_directory\n\n\ndef show():\n"
        "    return send_from_directory('/srv', request.args['name'], as_attachment=True)\n",
        "DL103",
    ),
    Case(
        "from flask import Flask\n\napp = Flask(__name__)\n\n\n"
        "@app.get('/files/<path:key>')\ndef show(key):\n    return open(f'/srv/files/{key}').read()\n",
        "from flask import Flask, abort\nimport pathlib\n\napp = Flask(__name__)\n\n\n"
        "@app.get('/files/<path:key>')\ndef show(key):\n    path = f'/srv/files/{key}'\n"
        '    if not pathlib.Path(path).resolve().is_relative_to(pathlib.Path("/srv/files").resolve()):\n'
        "        abort(404)\n    return open(path).read()\n",
        "DL103",
    ),
    Case(
        "import os\nimport zipfile\n\n\ndef unpack(path, folder):\n"
        "    with zipfile.ZipFile(path) as archive:\n        for name in archive.namelist():\n"
        "            target = os.path.join(folder, name)\n            with open(target, 'wb') as file:\n"
        "                file.write(archive.read(name))\n",
        "import os\nimport zipfile\nimport pathlib\n\n\ndef unpack(path, folder):\n"
        "    with zipfile.ZipFile(path) as archive:\n        for name in archive.namelist():\n"
        "            target = os.path.join(folder, name)\n"
        "            if not pathlib.Path(target).resolve().is_relative_to(pathlib.Path(folder).resolve()):\n"
        '                raise ValueError("the path leads out of its folder")\n'
        "            with open(target, 'wb') as file:\n                file.write(archive.read(name))\n",
        "DL104",
    ),
)
