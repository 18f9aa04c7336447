"""What stands in place of `os.system`, `os.popen` and the like, and the keywords that do what a shell did.

Invariant: the value is of the same kind as before, and what can't be had by a keyword isn't offered.
"""

from __future__ import annotations

import ast

from deltaloom_server.security.codemods.matching import free_name
from deltaloom_server.security.codemods.rewrite import Rewrite
from deltaloom_server.security.codemods.shellwords import Command, text_of
from deltaloom_server.security.codemods.source import Source

RUNS = frozenset(f"subprocess.{name}" for name in ("run", "call", "check_call", "check_output", "Popen"))
"""Start a command through a shell only with shell=True."""
SHELLS = frozenset(
    ("os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput")
)  # fmt: skip
"""Always start one through a shell."""

_CONSUMERS = ("list", "tuple", "sorted", "set", "enumerate", "map", "filter")


def keywords_of(rewrite: Rewrite, command: Command, node: ast.AST) -> list[str] | None:
    """The keyword arguments for a command's folder, variables and files; None where there are none that do.

    Files are opened by a `with` statement put around the one that `node` stands in.
    """
    given = []
    if command.directory is not None:
        folder = text_of(command.directory, rewrite.use)
        if folder is None or folder.startswith("*"):
            return None
        given.append(f"cwd={folder}")
    if command.variables:
        pairs = [f'"{name}": {text_of(word, rewrite.use)}' for name, word in command.variables]
        given.append(f"env={{**{rewrite.use('os', 'environ')}, {', '.join(pairs)}}}")
    if len({number for number, _, _ in command.files}) != len(command.files):
        return None
    opened: list[tuple[str, str]] = []
    numbers = [number for number, _, _ in command.files]
    for number, mode, word in command.files:
        name = ("stdin", "stdout", "stderr")[number]
        if mode == "STDOUT":
            if word.literal == "&1" and 1 in numbers[numbers.index(2) :]:
                return None
            given.append(f"stderr={rewrite.use('subprocess', 'STDOUT')}")
        elif word.literal == "/dev/null":
            given.append(f"{name}={rewrite.use('subprocess', 'DEVNULL')}")
        else:
            path = None if word.wild or word.spread else text_of(word, rewrite.use)
            if path is None:
                return None
            variable = free_name(rewrite.source, f"{name}_file")
            opened.append((f'open({path}, "{mode}")', variable))
            given.append(f"{name}={variable}")
    if opened and not _put_inside(rewrite, node, opened):
        return None
    return given


def _put_inside(rewrite: Rewrite, node: ast.AST, opened: list[tuple[str, str]]) -> bool:
    """A `with` statement around the one that a node stands in."""
    source = rewrite.source
    statement = source.statement(node)
    start, end = source.start(statement), source.end(statement)
    first = source.line_start(source.line_of(start))
    rest = source.text[end : source.line_start(source.line_of(end) + 1)]
    if not isinstance(statement, ast.Expr | ast.Assign | ast.AnnAssign | ast.Return):
        return False
    if source.text[first:start].strip() or not (rest.strip() == "" or rest.lstrip().startswith("#")):
        return False
    if "\n" in source.segment(statement) and '"""' in source.segment(statement):
        return False
    items = ", ".join(f"{call} as {name}" for call, name in opened)
    indent = source.text[first:start]
    step = "\t" if indent.startswith("\t") else "    "
    rewrite.insert(start, f"with {items}:{source.line_end}{indent}{step}")
    return True


def in_place_of(rewrite: Rewrite, call: ast.Call, words: str, command: Command, given: list[str]) -> bool:
    """Rewrites a call of one of `SHELLS`; False where its value is used in a way that can't be kept."""
    name = rewrite.source.qualified(call.func)
    numbers = [number for number, _, _ in command.files]
    if name != "os.system" and (1 in numbers or command.background):
        return False
    if name == "os.system":
        return _system(rewrite, call, words, command, given)
    if name == "os.popen":
        return _popen(rewrite, call, words, given)
    errors = [] if 2 in numbers else [f"stderr={rewrite.use('subprocess', 'STDOUT')}"]
    pipe = f"stdout={rewrite.use('subprocess', 'PIPE')}"
    run = _call(rewrite, "run", words, [pipe, *errors, *given, "text=True", "check=False"])
    if name == "subprocess.getoutput":
        rewrite.replace(call, f'{run}.stdout.removesuffix("\\n")')
        return True
    done = free_name(rewrite.source, "done", "finished")
    parent = rewrite.source.parents[call]
    if not isinstance(parent, ast.Assign | ast.Return) or not rewrite.insert_before(call, f"{done} = {run}"):
        return False
    rewrite.replace(call, f'{done}.returncode, {done}.stdout.removesuffix("\\n")')
    return True


def _call(rewrite: Rewrite, function: str, words: str, given: list[str]) -> str:
    return f"{rewrite.use('subprocess', function)}({', '.join((words, *given))})"


def _system(rewrite: Rewrite, call: ast.Call, words: str, command: Command, given: list[str]) -> bool:
    source = rewrite.source
    parent = source.parents[call]
    if command.background:
        if isinstance(parent, ast.Expr):
            rewrite.replace(call, _call(rewrite, "Popen", words, given))
        return isinstance(parent, ast.Expr)
    if not isinstance(parent, ast.Expr) and not _only_zero_or_not(source, call):
        return False
    suffix = "" if isinstance(parent, ast.Expr) else ".returncode"
    rewrite.replace(call, _call(rewrite, "run", words, [*given, "check=False"]) + suffix)
    return True


def _only_zero_or_not(source: Source, node: ast.expr) -> bool:
    """os.system gives a wait status and a process its exit code: they differ, but not in being zero."""
    parent = source.parents[node]
    if isinstance(parent, ast.Compare):
        others = [one for one in (parent.left, *parent.comparators) if one is not node]
        return all(isinstance(one, ast.Constant) and one.value == 0 for one in others) and all(
            isinstance(one, ast.Eq | ast.NotEq | ast.Gt) for one in parent.ops
        )
    if isinstance(parent, ast.If | ast.While | ast.IfExp | ast.Assert):
        return parent.test is node
    if isinstance(parent, ast.BoolOp | ast.NamedExpr):
        return _only_zero_or_not(source, parent)
    if isinstance(parent, ast.Call):
        return source.qualified(parent.func) in ("sys.exit", "exit", "bool", "print")
    if isinstance(parent, ast.Assign) and isinstance(target := parent.targets[0], ast.Name):
        scope = source.enclosing_function(node) or source.tree
        reads = [
            one
            for one in ast.walk(scope)
            if isinstance(one, ast.Name) and one.id == target.id and isinstance(one.ctx, ast.Load)
        ]
        return all(_only_zero_or_not(source, one) for one in reads)
    return isinstance(parent, ast.UnaryOp | ast.Return | ast.FormattedValue | ast.Lambda)


def _popen(rewrite: Rewrite, call: ast.Call, words: str, given: list[str]) -> bool:
    source = rewrite.source
    if len(call.args) > 1 or call.keywords:
        return False
    pipe = f"stdout={rewrite.use('subprocess', 'PIPE')}"
    parent = source.parents[call]
    outer = source.parents[parent]
    run = _call(rewrite, "run", words, [pipe, *given, "text=True", "check=False"])
    lines = ".stdout.splitlines(keepends=True)"
    if isinstance(parent, ast.Attribute) and isinstance(outer, ast.Call) and not outer.args:
        shapes = {"read": ".stdout", "readlines": lines}
        if parent.attr in shapes:
            rewrite.replace(outer, run + shapes[parent.attr])
            return True
        if parent.attr == "close" and isinstance(source.parents[outer], ast.Expr):
            rewrite.replace(outer, _call(rewrite, "run", words, [*_quiet(rewrite), *given, "check=False"]))
            return True
        return False
    consumed = isinstance(parent, ast.Call) and source.qualified(parent.func) in _CONSUMERS
    if consumed or (isinstance(parent, ast.For | ast.comprehension) and parent.iter is call):
        rewrite.replace(call, run + lines)
        return True
    name = (
        parent.targets[0] if isinstance(parent, ast.Assign) and len(parent.targets) == 1
        else parent.optional_vars if isinstance(parent, ast.withitem) else None
    )  # fmt: skip
    if not isinstance(name, ast.Name) or not _read_only(source, name):
        return False
    rewrite.replace(call, _call(rewrite, "Popen", words, [pipe, *given, "text=True"]) + ".stdout")
    return True


def _quiet(rewrite: Rewrite) -> list[str]:
    return [f"stdout={rewrite.use('subprocess', 'DEVNULL')}"]


def _read_only(source: Source, name: ast.Name) -> bool:
    """Is a file from os.popen only read and closed, and the exit status not asked for?"""
    scope = source.enclosing_function(name) or source.tree
    for one in ast.walk(scope):
        if not isinstance(one, ast.Name) or one.id != name.id or one is name:
            continue
        parent = source.parents[one]
        if isinstance(one.ctx, ast.Store):
            return False
        if isinstance(parent, ast.For | ast.comprehension) and parent.iter is one:
            continue
        if not isinstance(parent, ast.Attribute) or parent.attr not in (
            "read",
            "readline",
            "readlines",
            "close",
        ):
            return False
        if parent.attr == "close" and not isinstance(source.parents[source.parents[parent]], ast.Expr):
            return False
    return True
