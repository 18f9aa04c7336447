"""S311, graded up: a token, password or key is made by `random`, which can be foretold (CWE-338).

Ruff and bandit mark every use of `random`, most of which are harmless, so that their finding is a low one.
Where the function or the name that takes the value says that it is a secret, it is one of them.

Not seen: secrets under other names, generators of one's own (`random.Random(seed)`); SystemRandom is sound.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from deltaloom_server.security.codemods.source import Function
from deltaloom_server.security.scanners.own.expressions import last_word, words
from deltaloom_server.security.scanners.own.view import Hit, View

RULES = ("S311",)
WORDS = ("random",)

_DRAWS = tuple(
    f"random.{name}"
    for name in (
        "random", "randrange", "randint", "choice", "choices", "uniform", "sample", "getrandbits", "randbytes"
    )
)  # fmt: skip
_SECRETS = frozenset(
    {"token", "password", "passwd", "secret", "otp", "nonce", "salt", "csrf", "apikey", "passcode", "pin"}
)

VALID = (
    "import random\n\ndef pause():\n    return random.random() * 3\n",
    "import secrets\n\ndef make_token():\n    return secrets.token_hex(16)\n",
    "import random\n\ndef sample_tokens(tokens):\n    kept = random.sample(tokens, 3)\n    return kept\n",
)
INVALID = (
    "import random\n\ndef make_token():\n    return ''.join(random.choice('ab') for _ in 'x' * 9)  # here\n",
    "import random\n\ndef invite(user):\n    user.reset_token = random.getrandbits(64)  # here\n",
    "from random import randint\n\ncode = {}\notp = randint(0, 999_999)  # here\n",
)


def check(view: View) -> Iterator[Hit]:
    for call in view.calls(*_DRAWS):
        if any(words(name)[-1:] and words(name)[-1] in _SECRETS for name in _taken_by(view, call)):
            said = "Whoever sees some numbers of `random` can tell the next: use the secrets module."
            yield Hit("S311", call, said, severity="medium", confidence="high")


def _taken_by(view: View, call: ast.Call) -> Iterator[str]:
    """The names that take a value: what it is assigned to, and the function that makes it."""
    statement = view.source.statement(call)
    if isinstance(statement, ast.Assign):
        yield from map(last_word, statement.targets)
    elif isinstance(statement, ast.AnnAssign):
        yield last_word(statement.target)
    scope = view.scope(call)
    if isinstance(scope, Function):
        yield scope.name
