"""S701: jinja2 puts values into pages as they are, unless told to escape them.

Invariant: nothing is proposed for an environment with marks of its own, as it makes other things than pages.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from deltaloom_server.security.codemods import Case
from deltaloom_server.security.codemods.matching import find_named, is_literal, keyword, unpacks
from deltaloom_server.security.codemods.rewrite import Rewrite
from deltaloom_server.security.codemods.source import Source
from deltaloom_server.security.finding import Finding
from deltaloom_server.security.proposal import Proposal

RULES = ("S701",)

_NAMES = ("jinja2.Environment", "jinja2.environment.Environment")
_PLAIN = re.compile(
    r"\.(txt|te?x|ya?ml|py|sql|cfg|conf|ini|md|rst|toml|json|csv|sh|service)(\.j2|\.jinja2?|\.tpl)?$"
)


def propose(source: Source, finding: Finding) -> Iterator[Proposal]:
    call = find_named(source, finding, _NAMES)
    if call is None or unpacks(call):
        return
    given = keyword(call, "autoescape")
    if given is not None and not is_literal(given.value, False):
        return
    if any(one.arg and one.arg.endswith("_start_string") for one in call.keywords):
        return
    rewrite = Rewrite(source)
    if _makes_plain_text(source):
        rewrite.set_keyword(call, "autoescape", f"{rewrite.use('jinja2', 'select_autoescape')}()")
        title = "Escape values in HTML and XML templates"
    else:
        rewrite.set_keyword(call, "autoescape", "True")
        title = "Escape values in templates"
    yield rewrite.proposal(
        title, note="Values that hold markup on purpose must be marked as safe, else it is shown as text."
    )


def _makes_plain_text(source: Source) -> bool:
    """Does the file name templates that aren't pages?"""
    return any(
        isinstance(node, ast.Constant) and isinstance(node.value, str) and _PLAIN.search(node.value)
        for node in ast.walk(source.tree)
    )


CASES = (
    Case(
        "import jinja2\n\nenv = jinja2.Environment(loader=jinja2.DictLoader(pages))\n",
        "import jinja2\n\nenv = jinja2.Environment(loader=jinja2.DictLoader(pages), autoescape=True)\n",
    ),
    Case(
        "from jinja2 import Environment as Env\n\npage = Env().from_string(text).render()\n",
        "from jinja2 import Environment as Env\n\npage = Env(autoescape=True).from_string(text).render()\n",
    ),
    Case(
        "from jinja2 import Environment\n\nx = Environment(\n    autoescape=False,\n    loader=page,\n)\n",
        "from jinja2 import Environment\n\nx = Environment(\n    autoescape=True,\n    loader=page,\n)\n",
    ),
    Case(
        "from jinja2 import Environment\n\nenv = Environment(loader=l)\nmail = env.get_template('m.txt')\n",
        "from jinja2 import Environment, select_autoescape\n\n"
        "env = Environment(loader=l, autoescape=select_autoescape())\nmail = env.get_template('m.txt')\n",
    ),
    Case("import jinja2\n\nenv = jinja2.Environment(block_start_string='<<')\n", None),
    Case("import jinja2\n\nenv = jinja2.Environment(**options)\n", None),
)
