"""DL107: a session cookie is set without `secure` or `httponly` (CWE-614, CWE-1004).

Seen for `set_cookie` of Flask, Django, Starlette and aiohttp, where the cookie's name is a constant that says
that it holds a session or a token, and the flags are left out or False.

Not seen: cookies under other names, flags that come from settings, `**options`. A cookie against request
forgery has to be read by scripts, and one that is deleted carries nothing.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from deltaloom_server.security.scanners.own.expressions import argument, is_const, keyword, words
from deltaloom_server.security.scanners.own.view import Hit, View

RULES = ("DL107",)
WORDS = ("set_cookie",)

_SESSION = frozenset({"session", "sessionid", "sid", "auth", "token", "jwt", "remember"})
_READ_BY_SCRIPTS = frozenset({"csrf", "csrftoken", "xsrf"})

VALID = (
    "def login(response, value):\n    response.set_cookie('session', value, secure=True, httponly=True)\n",
    "def login(response, value):\n    response.set_cookie('theme', value)\n",
    "def login(response, value):\n    response.set_cookie('csrf_token', value)\n",
    "def login(response, value, options):\n    response.set_cookie('session', value, **options)\n",
    "def logout(response):\n    response.set_cookie('session', '', max_age=0)\n",
    "def login(response, value, settings):\n"
    "    response.set_cookie('sid', value, secure=settings.https, httponly=True)\n",
)
INVALID = (
    "def login(response, value):\n    response.set_cookie('session', value)  # here\n",
    "def login(response, value):\n    response.set_cookie(key='sid', value=value, httponly=True)  # here\n",
    "def login(response, value):\n    response.set_cookie('jwt', value, secure=1, httponly=False)  # here\n",
)


def check(view: View) -> Iterator[Hit]:
    for call, _ in view.methods("set_cookie"):
        name = argument(call, 0, "key", "name")
        if not isinstance(name, ast.Constant) or not isinstance(name.value, str) or _may_be_set(call):
            continue
        said = set(words(name.value))
        if not said & _SESSION or said & _READ_BY_SCRIPTS:
            continue
        missing = [flag for flag in ("secure", "httponly") if _is_off(keyword(call, flag))]
        if missing:
            lacks = " and ".join(f"`{flag}`" for flag in missing)
            yield Hit(
                "DL107", call, f"The cookie \"{name.value}\" is set without {lacks}.",
                cwe=614 if "secure" in missing else 1004,
            )  # fmt: skip


def _may_be_set(call: ast.Call) -> bool:
    """By what can't be seen here (`**options`, flags given by place); or there is nothing to protect."""
    hidden = any(one.arg is None for one in call.keywords) or len(call.args) > 5
    value = argument(call, 1, "value")
    return hidden or is_const(keyword(call, "max_age"), 0) or is_const(value, "")


def _is_off(flag: ast.expr | None) -> bool:
    return flag is None or is_const(flag, False)
