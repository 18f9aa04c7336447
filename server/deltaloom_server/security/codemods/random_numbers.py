"""S311: what `random` gives can be foretold from what it gave; `secrets` asks the operating system.

Invariant: the drawn values keep their range and their distribution. A file that seeds the generator wants the
same numbers again, which no secure source gives: nothing is proposed there.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from deltaloom_server.security.codemods import Case
from deltaloom_server.security.codemods.matching import find_call, is_literal, unpacks
from deltaloom_server.security.codemods.rewrite import Rewrite
from deltaloom_server.security.codemods.source import Source
from deltaloom_server.security.finding import Finding
from deltaloom_server.security.proposal import Proposal

RULES = ("S311",)

_SAME = {"random.choice": "choice", "random.getrandbits": "randbits", "random.randbytes": "token_bytes"}
_METHODS = frozenset({
    "random.random", "random.randint", "random.randrange", "random.choices", "random.uniform",
    "random.triangular", "random.sample", "random.shuffle",
})  # fmt: skip

_MOMENTS = ("time.", "datetime.", "os.getpid", "os.urandom", "uuid.", "secrets.")


def propose(source: Source, finding: Finding) -> Iterator[Proposal]:
    call = find_call(source, finding, lambda one: _is_random(source, one))
    if call is None or _is_seeded(source):
        return
    name = source.qualified(call.func)
    rewrite = Rewrite(source)
    below = _below(call) if name in ("random.randrange", "random.randint") else None
    if name == "random.Random":
        rewrite.replace(call.func, rewrite.use("secrets", "SystemRandom"))
        yield rewrite.proposal("Use secrets.SystemRandom")
    elif below is not None:
        start, count = below
        drawn = f"{rewrite.use('secrets', 'randbelow')}({count})"
        rewrite.replace(call, _plus(source, call, start, drawn))
        yield rewrite.proposal("Use secrets.randbelow")
    elif name in _SAME and len(call.args) == 1 and not unpacks(call) and not call.keywords:
        rewrite.replace(call.func, rewrite.use("secrets", _SAME[name]))
        yield rewrite.proposal(f"Use secrets.{_SAME[name]}")
    else:
        method = name.rpartition(".")[2]
        rewrite.replace(call.func, f"{rewrite.use('secrets', 'SystemRandom')}().{method}")
        yield rewrite.proposal(f"Use secrets.SystemRandom().{method}")


def _is_random(source: Source, call: ast.Call) -> bool:
    name = source.qualified(call.func)
    if name == "random.Random":
        return not call.keywords and all(_is_moment(source, one) for one in call.args)
    return name in _METHODS or name in _SAME


def _is_seeded(source: Source) -> bool:
    """Does the file want the same numbers again? A seed that differs each time says no."""
    return any(
        isinstance(node, ast.Call)
        and (
            source.qualified(node.func) == "random.setstate"
            or (
                source.qualified(node.func) == "random.seed"
                and not all(_is_moment(source, one) for one in node.args)
            )
        )
        for node in ast.walk(source.tree)
    )


def _is_moment(source: Source, seed: ast.expr) -> bool:
    """Is it made of the clock, the process or the system's own randomness?"""
    if is_literal(seed, None):
        return True
    names = (source.qualified(one) for one in ast.walk(seed) if isinstance(one, ast.Name | ast.Attribute))
    return any(name.startswith(_MOMENTS) for name in names)


def _below(call: ast.Call) -> tuple[int, int] | None:
    """The first number and how many there are, where both ends are written as numbers."""
    ends = [one.value if isinstance(one, ast.Constant) else None for one in call.args]
    numbers = [one for one in ends if type(one) is int]
    if call.keywords or len(numbers) != len(ends) or not 1 <= len(numbers) <= 2:
        return None
    is_range = ast.unparse(call.func).endswith("randrange")
    if not is_range and len(numbers) != 2:
        return None
    start = numbers[0] if len(numbers) == 2 else 0
    count = numbers[-1] - start + (0 if is_range else 1)
    return (start, count) if count > 0 else None


def _plus(source: Source, call: ast.Call, start: int, drawn: str) -> str:
    if not start:
        return drawn
    parent = source.parents[call]
    loose = isinstance(parent, ast.Call | ast.keyword | ast.stmt | ast.FormattedValue | ast.List | ast.Tuple)
    return (
        f"{drawn} + {start}"
        if loose and call is not getattr(parent, "func", None)
        else f"({drawn} + {start})"
    )


CASES = (
    Case(
        "import random\n\ntoken = ''.join(random.choice(LETTERS) for _ in range(20))\n",
        "import random\nimport secrets\n\ntoken = ''.join(secrets.choice(LETTERS) for _ in range(20))\n",
    ),
    Case(
        "from random import randint\n\ncode = str(randint(100000, 999999))\n",
        "from random import randint\nimport secrets\n\ncode = str(secrets.randbelow(900000) + 100000)\n",
    ),
    Case(
        "import random\n\ncode = random.randint(0, 9) * 2\n",
        "import random\nimport secrets\n\ncode = secrets.randbelow(10) * 2\n",
    ),
    Case(
        "import random\n\ncode = random.randint(1, 6) * 2\n",
        "import random\nimport secrets\n\ncode = (secrets.randbelow(6) + 1) * 2\n",
    ),
    Case(
        "import random\nimport secrets\n\nn = random.randint(low, high)\n",
        "import random\nimport secrets\n\nn = secrets.SystemRandom().randint(low, high)\n",
    ),
    Case(
        "import random as r\n\n\ndef password():\n    return ''.join(r.choices(CHARS, k=12))\n",
        "import random as r\nimport secrets\n\n\ndef password():\n"
        "    return ''.join(secrets.SystemRandom().choices(CHARS, k=12))\n",
    ),
    Case(
        "import random\n\nsalt = '%032x' % random.getrandbits(128)\n",
        "import random\nimport secrets\n\nsalt = '%032x' % secrets.randbits(128)\n",
    ),
    Case(
        "import random\n\nn = int(random.random() * 1000)\n",
        "import random\nimport secrets\n\nn = int(secrets.SystemRandom().random() * 1000)\n",
    ),
    Case(
        "import random\n\nsecrets = ['a', 'b']\npicked = random.choice(secrets)\n",
        "import random\nimport secrets as _secrets\n\nsecrets = ['a', 'b']\n"
        "picked = _secrets.choice(secrets)\n",
    ),
    Case(
        "import random\nimport time\n\n\ndef token():\n    random.seed(int(time.time()))\n"
        "    return '%x' % random.randrange(16**8)\n",
        "import random\nimport time\nimport secrets\n\n\ndef token():\n    random.seed(int(time.time()))\n"
        "    return '%x' % secrets.SystemRandom().randrange(16**8)\n",
    ),
    Case(
        "import os\nimport random\n\nrng = random.Random(os.getpid())\n",
        "import os\nimport random\nimport secrets\n\nrng = secrets.SystemRandom(os.getpid())\n",
    ),
    Case("import random\n\nrandom.seed(7)\nx = random.random()\n", None),
    Case("import random\n\nrng = random.Random(7)\n", None),
)
