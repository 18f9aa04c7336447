"""DL106: a password, token or key is written to a log (CWE-532).

Seen where a value that is called so stands in a logging call as it is: as an argument, or in its text.

Not seen: whole objects that hold a secret, and `print`. What a call makes of it (`mask(token)`, `len(token)`)
and names that only speak of one (`has_password`, `token_count`) are fine.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from deltaloom_server.security.scanners.own.expressions import dotted, last_word, pieces, words
from deltaloom_server.security.scanners.own.view import Hit, View

RULES = ("DL106",)
WORDS = ("log", "LOG")

_LEVELS = ("debug", "info", "warning", "warn", "error", "critical", "exception", "log")
_ENDINGS = (
    ("password",), ("passwd",), ("passphrase",), ("api", "key"), ("apikey",), ("secret", "key"),
    ("private", "key"), ("access", "token"), ("auth", "token"), ("refresh", "token"), ("bearer", "token"),
    ("api", "token"), ("client", "secret"), ("session", "token"), ("reset", "token"),
)  # fmt: skip
_SPEAKS_OF = frozenset(
    {"has", "is", "no", "num", "need", "needs", "require", "requires", "use", "masked", "hashed"}
)

VALID = (
    "import logging\n\nlogger = logging.getLogger(__name__)\n\ndef login(user, password):\n"
    "    logger.info('login of %s, %d letters', user, len(password))\n",
    "import logging\n\ndef login(has_password):\n    logging.info('password: %s', has_password)\n",
    "def note(blog, password):\n    blog.info(password)\n",
    "import logging\n\ndef login(user):\n    logging.warning('wrong password for %s', user)\n",
)
INVALID = (
    "import logging\n\nlogger = logging.getLogger(__name__)\n\ndef login(user, password):\n"
    "    logger.info('login %s %s', user, password)  # here\n",
    "import logging\n\ndef login(user):\n    logging.debug(f'token {user.access_token}')  # here\n",
    "class Client:\n    def call(self):\n        self.log.debug('key: ' + self.config['api_key'])  # here\n",
)


def check(view: View) -> Iterator[Hit]:
    for call, function in view.methods(*_LEVELS):
        if not _is_logger(function.value):
            continue
        for given in (*call.args, *(one.value for one in call.keywords)):
            shown = next((one for one in (given, *pieces(given)) if _is_secret(one)), None)
            if shown is not None:
                yield Hit("DL106", call, f"`{last_word(shown)}` is written to the log, where others read it.")
                break


def _is_logger(node: ast.expr) -> bool:
    name = last_word(node).lower().strip("_") or dotted(node)
    return name in ("log", "logger", "logging")


def _is_secret(node: ast.expr) -> bool:
    if isinstance(node, ast.FormattedValue):
        node = node.value
    if not isinstance(node, ast.Name | ast.Attribute | ast.Subscript):
        return False
    name = tuple(words(last_word(node)))
    return not set(name) & _SPEAKS_OF and any(name[-len(one) :] == one for one in _ENDINGS)
