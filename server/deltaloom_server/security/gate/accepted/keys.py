"""Tokens' signatures and cryptographic keys.

Invariant: an algorithm that the token itself may choose, and a key that the text still holds, pass nowhere.
"""

from __future__ import annotations

import ast

from ..algorithms import are_chosen_by_the_program
from .settings import from_outside
from .site import Site, constant, keyword, matches

_DRAWN = frozenset(
    {"os.urandom", "secrets.token_bytes", "secrets.token_hex", "secrets.token_urlsafe", ".generate_key"}
)


def token(site: Site) -> str | None:
    """DL102: the signature is verified, with algorithms that the program chooses."""
    for call in site.replacements({".decode"}):
        given = keyword(call, "algorithms") or (call.args[2] if len(call.args) > 2 else None)
        options = keyword(call, "options") or (call.args[3] if len(call.args) > 3 else None)
        if given is None or not _verifies(options) or constant(keyword(call, "verify")) not in (None, True):
            continue
        kept = any(_passes(old, given) for old in site.sinks({".decode"}))
        if are_chosen_by_the_program(site.after, given, may_be_anything=kept):
            return None
    return "It doesn't verify the signature with algorithms that are written out."


def _verifies(options: ast.expr | None) -> bool:
    """Nothing that is to be verified is turned off, nor left open."""
    if options is None:
        return True
    return isinstance(options, ast.Dict) and all(
        isinstance(name := constant(key), str) and (not name.startswith("verify") or constant(value) is True)
        for key, value in zip(options.keys, options.values, strict=True)
    )


def _passes(call: ast.Call, value: ast.expr) -> bool:
    """Did a call pass just this before?"""
    return ast.dump(value) in {ast.dump(one) for one in (*call.args, *(k.value for k in call.keywords))}


def drawn_key(site: Site) -> str | None:
    """DL117: from outside of the program, or drawn at random."""
    if any(matches(site.name(call), _DRAWN) for call in site.added_calls):
        return None
    objection = from_outside(site)
    if objection is None or not objection.startswith("It doesn't take"):
        return objection
    return "It doesn't take the key from the environment, nor draw it at random."
