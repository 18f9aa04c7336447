"""S307: text is read as a literal, not run as an expression.

Invariant: nothing is proposed where the text is plainly more than a literal: put together here, called
afterwards, or by its name an expression.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from deltaloom_server.security.codemods import Case
from deltaloom_server.security.codemods.matching import find_named, unpacks
from deltaloom_server.security.codemods.rewrite import Rewrite
from deltaloom_server.security.codemods.source import Source
from deltaloom_server.security.finding import Finding
from deltaloom_server.security.proposal import Proposal

RULES = ("S307",)

_EXPRESSION = re.compile(
    r"expr|formula|cond|code|script|func|rule|predicate|equation|calc|stmt|cmd|name|attr|class|type|request$|label|repr|label",
    re.I,
)
_METHODS = frozenset(name for kind in (dict, list, str, set, tuple, bytes) for name in dir(kind))
_NOTE = (
    "Only literals are read now (numbers, strings, lists, dictionaries …); anything else raises ValueError."
)


def propose(source: Source, finding: Finding) -> Iterator[Proposal]:
    """`ast.literal_eval`, with the one argument."""
    call = find_named(source, finding, {"eval", "builtins.eval"})
    if call is None or not call.args or unpacks(call) or call.keywords or len(call.args) > 3:
        return
    parent = source.parents[call]
    if isinstance(parent, ast.Attribute) or (isinstance(parent, ast.Call) and parent.func is call):
        return
    [text, *scopes] = call.args
    if not all(_is_empty(one) for one in scopes) or not _may_be_literal(text):
        return
    if not _is_used_as_data(source, call):
        return
    function = source.enclosing_function(call)
    if function is not None and _EXPRESSION.search(function.name):
        return
    rewrite = Rewrite(source)
    rewrite.replace(call.func, rewrite.use("ast", "literal_eval"))
    for one in reversed(scopes):
        rewrite.remove_argument(call, one)
    if len(scopes) < 2:
        yield rewrite.proposal("Use ast.literal_eval", unsafe=True, note=_NOTE)


def _is_used_as_data(source: Source, call: ast.Call) -> bool:
    """Is the value never called, and asked for nothing but what plain data has?"""
    parent = source.parents[call]
    if not isinstance(parent, ast.Assign) or not isinstance(target := parent.targets[0], ast.Name):
        return not isinstance(parent, ast.Assign | ast.Expr)
    scope = source.enclosing_function(call) or source.tree
    for one in ast.walk(scope):
        if isinstance(one, ast.Name) and one.id == target.id:
            used = source.parents[one]
            if isinstance(used, ast.Call) and used.func is one:
                return False
            if isinstance(used, ast.Attribute) and used.attr not in _METHODS:
                return False
    return True


def _is_empty(node: ast.expr) -> bool:
    """A scope in which there is nothing: {}, {"__builtins__": {}} or None."""
    if isinstance(node, ast.Constant):
        return node.value is None
    return isinstance(node, ast.Dict) and all(_is_empty(value) for value in node.values)


def _may_be_literal(node: ast.expr) -> bool:
    if isinstance(node, ast.Constant | ast.JoinedStr | ast.BinOp | ast.Lambda):
        return False
    named = ast.unparse(node.func if isinstance(node, ast.Call) else node)
    return not _EXPRESSION.search(named) and "compile" not in named


CASES = (
    Case(
        "def read(text):\n    return eval(text)\n",
        "import ast\n\ndef read(text):\n    return ast.literal_eval(text)\n",
        unsafe=True,
    ),
    Case(
        'import json\n\n\ndef read(line):\n    return eval(line.strip(), {"__builtins__": {}})\n',
        "import json\nimport ast\n\n\ndef read(line):\n    return ast.literal_eval(line.strip())\n",
        unsafe=True,
    ),
    Case("def calculate(expression):\n    return eval(expression)\n", None),
    Case('def read(name):\n    return eval(f"handlers.{name}")\n', None),
    Case("def read(name, value):\n    return eval(name)(value)\n", None),
)
