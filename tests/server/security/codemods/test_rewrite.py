"""Arguments and imports change in place; all else stays as it is written."""

from __future__ import annotations

import ast
from collections.abc import Callable

import pytest

from deltaloom_server.security.codemods.rewrite import Rewrite
from deltaloom_server.security.codemods.source import Source
from deltaloom_server.security.proposal import apply_edits


def _rewritten(text: str, change: Callable[[Rewrite, ast.Call], object]) -> str:
    """A text after a change about its call of `f`, which must parse."""
    source = Source.parse(text)
    assert source is not None
    calls = [node for node in ast.walk(source.tree) if isinstance(node, ast.Call)]
    [call] = [one for one in calls if isinstance(one.func, ast.Name) and one.func.id == "f"]
    rewrite = Rewrite(source)
    change(rewrite, call)
    result = apply_edits(text, rewrite.proposal("t").edits)
    ast.parse(result)
    return result


def _with_t(text: str) -> str:
    return _rewritten(text, lambda rewrite, call: rewrite.set_keyword(call, "t", "1"))


def _without_v(text: str) -> str:
    def remove(rewrite: Rewrite, call: ast.Call) -> None:
        named = [one for one in call.keywords if one.arg == "v"]
        placed = [one for one in call.args if isinstance(one, ast.Name) and one.id == "v"]
        rewrite.remove_argument(call, (named or placed)[0])

    return _rewritten(text, remove)


def _using(text: str, module: str, name: str = "") -> str:
    """The text with `f()` replaced by how `module.name` is written there."""
    return _rewritten(text, lambda rewrite, call: rewrite.replace(call, rewrite.use(module, name)))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("f()", "f(t=1)"),
        ("f( )", "f( t=1)"),
        ("f(a)", "f(a, t=1)"),
        ("f(a,)", "f(a, t=1)"),
        ("f(t=2, b=3)", "f(t=1, b=3)"),
        ("f((a))", "f((a), t=1)"),
        ("f(((a)), )", "f(((a)), t=1 )"),
        ("(f)(a)", "(f)(a, t=1)"),
        ("f(x for x in y)", "f((x for x in y), t=1)"),
        ("f((x for x in y))", "f((x for x in y), t=1)"),
        ("f(*a, **kw)", "f(*a, **kw, t=1)"),
        ("f(b=(1), *a)", "f(b=(1), *a, t=1)"),
        ("f('ä🎉', g(')'))", "f('ä🎉', g(')'), t=1)"),
        ("f({\n    'a': 1,\n})", "f({\n    'a': 1,\n}, t=1)"),
        ("f(\n    a,\n)", "f(\n    a,\n    t=1,\n)"),
        ("f(\n    a\n)", "f(\n    a,\n    t=1\n)"),
        ("f(\n    a,  # one, two\n)", "f(\n    a,  # one, two\n    t=1,\n)"),
        ("f(\n    a  # one, (two)\n)", "f(\n    a,  # one, (two)\n    t=1\n)"),
        ("f(\n    (\n        a\n    ),\n)", "f(\n    (\n        a\n    ),\n    t=1,\n)"),
        ("f(a,\n  b)", "f(a,\n  b, t=1)"),
        ("f(a, lambda: (1, 2))", "f(a, lambda: (1, 2), t=1)"),
    ],
)
def test_an_argument_is_added_in_the_layout_that_the_call_has(before: str, after: str) -> None:
    assert _with_t(before + "\n") == after + "\n"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("f(v=1)", "f()"),
        ("f(v=1,)", "f()"),
        ("f(a, v=1)", "f(a)"),
        ("f(v=1, a=2)", "f(a=2)"),
        ("f(a, v=1, b=2)", "f(a, b=2)"),
        ("f((a), v=1)", "f((a))"),
        ("f(v, (b))", "f((b))"),
        ("f((v), (b))", "f((b))"),
        ("f(a, (v))", "f(a)"),
        ("f(a, v=(1), **kw)", "f(a, **kw)"),
        ("f(a, v=1,)", "f(a,)"),
        ("f(\n    a,\n    v=1,\n    b=2,\n)", "f(\n    a,\n    b=2,\n)"),
        ("f(\n    a,\n    v=1\n)", "f(\n    a,\n)"),
        (
            "f(\n    a,\n    v=1,  # because, (really)\n    # of b\n    b=2,\n)",
            "f(\n    a,\n    # of b\n    b=2,\n)",
        ),
        ("f(a,\n  v=1)", "f(a)"),
        ("f(\n    v=1,\n)", "f(\n)"),
        ("f(\n    a, v=1,\n    b=2,\n)", "f(\n    a, b=2,\n)"),
    ],
)
def test_an_argument_is_taken_out_with_its_comma_and_its_own_lines(before: str, after: str) -> None:
    assert _without_v(before + "\n") == after + "\n"


def test_windows_line_ends_stay_windows_line_ends() -> None:
    assert _with_t("f(\r\n\ta,  # é\r\n)\r\n") == "f(\r\n\ta,  # é\r\n\tt=1,\r\n)\r\n"
    assert _without_v("f(\r\n\ta,\r\n\tv=1,\r\n)\r\n") == "f(\r\n\ta,\r\n)\r\n"
    assert _using("import b\r\nf()\r\n", "os", "close") == "import b\r\nimport os\r\nos.close\r\n"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("import os\nf()\n", "import os\nos.close\n"),
        ("import os as o\nf()\n", "import os as o\no.close\n"),
        ("from os import close as c\nf()\n", "from os import close as c\nc\n"),
        ("from os import (\n    read,\n)\nf()\n", "from os import (\n    read, close,\n)\nclose\n"),
        ("from os import read\nclose = 1\nf()\n", "from os import read\nimport os\nclose = 1\nos.close\n"),
        ("from os import *\nf()\n", "from os import *\nimport os\nos.close\n"),
        ("f()\n", "import os\n\nos.close\n"),
        (
            "#!/bin/sh\n# -*- coding: utf-8 -*-\n\nf()\n",
            "#!/bin/sh\n# -*- coding: utf-8 -*-\nimport os\n\nos.close\n",
        ),
        ('"""Doc."""\n\nf()\n', '"""Doc."""\n\nimport os\n\nos.close\n'),
        (
            "from __future__ import annotations\n\nf()\n",
            "from __future__ import annotations\n\nimport os\n\nos.close\n",
        ),
        ("import abc\nimport attr\n\nf()\n", "import abc\nimport os\nimport attr\n\nos.close\n"),
        ("import b; import c\nf()\n", "import b; import c\nimport os\nos.close\n"),
        ("os = 3\nf()\n", "import os as _os\n\nos = 3\n_os.close\n"),
        ("def g():\n    import os\n\nf()\n", "import os\n\ndef g():\n    import os\n\nos.close\n"),
        ("import os.path\nf()\n", "import os.path\nos.close\n"),
        (
            "import x\n\ndef g(os):\n    return f()\n",
            "import x\nimport os as _os\n\ndef g(os):\n    return _os.close\n",
        ),
    ],
)
def test_a_module_is_used_as_the_file_imports_it_or_imported(before: str, after: str) -> None:
    assert _using(before, "os", "close") == after


def test_a_submodule_is_imported_where_only_its_package_is() -> None:
    before = "import urllib\nf()\n"
    assert _using(before, "urllib.request", "urlopen") == (
        "import urllib\nimport urllib.request\nurllib.request.urlopen\n"
    )


def test_two_names_of_one_module_come_with_one_import() -> None:
    def change(rewrite: Rewrite, call: ast.Call) -> None:
        rewrite.replace(
            call, f"{rewrite.use('os', 'a')}({rewrite.use('os', 'b')}, {rewrite.use('abc', 'c')})"
        )

    assert _rewritten("import sys\nf()\n", change) == "import sys\nimport abc\nimport os\nos.a(os.b, abc.c)\n"
    assert _rewritten("from os import z\nf()\n", change) == (
        "from os import z, a, b\nimport abc\na(b, abc.c)\n"
    )


def test_a_name_is_imported_by_itself_where_that_is_asked_for() -> None:
    def change(rewrite: Rewrite, call: ast.Call) -> None:
        rewrite.replace(call, rewrite.use_name("web.html", "escape"))

    assert _rewritten("import os\nimport web\n\nf()\n", change) == (
        "import os\nimport web\nfrom web.html import escape\n\nescape\n"
    )
    assert _rewritten("escape = 1\nf()\n", change) == "import web.html\n\nescape = 1\nweb.html.escape\n"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("def g():\n\treturn f()\n", "def g():\n\tx = 1\n\treturn f()\n"),
        ("if a:\n    pass\nelif f():\n    pass\n", None),
        ("while f():\n    pass\n", None),
        ("a = 1; b = f()\n", None),
        ("if a: f()\n", None),
        ("@f()\ndef g(): ...\n", None),
    ],
)
def test_a_statement_goes_before_another_only_where_it_runs_once_before_it(
    before: str, after: str | None
) -> None:
    def change(rewrite: Rewrite, call: ast.Call) -> None:
        assert rewrite.insert_before(call, "x = 1") == (after is not None)

    assert _rewritten(before, change) == (after or before)
