"""Hashes, random numbers, certificates, protocols.

Invariant: an algorithm, a version and a flag are read from what is written in the call itself.
"""

from __future__ import annotations

import ast
import re

from ..sinks import HASHES, RANDOM, WEAK_HASHES
from ..words import words
from .replaced import is_replaced
from .site import Site, constant, keyword, matches

HASH_SINKS = frozenset(f"hashlib.{name}" for name in WEAK_HASHES | {"new"}) | words(
    ".MD5 .SHA1 .MD4 .MD2 Crypto.Hash.MD5.new Crypto.Hash.SHA1.new Crypto.Hash.SHA.new crypt.crypt"
    " crypt.mksalt hmac.new"
)
_STRONG = frozenset(f"hashlib.{name}" for name in HASHES) | words(
    "hashlib.pbkdf2_hmac hashlib.scrypt argon2.PasswordHasher bcrypt.hashpw .SHA256 .SHA384 .SHA512"
    " Crypto.Hash.SHA256.new Crypto.Hash.SHA512.new Cryptodome.Hash.SHA256.new hashlib.file_digest"
)
_RANDOM = words(
    "secrets.choice secrets.randbelow secrets.token_hex secrets.token_bytes secrets.token_urlsafe"
    " secrets.randbits secrets.SystemRandom random.SystemRandom os.urandom uuid.uuid4"
)
RANDOM_METHODS = RANDOM | {".choice", ".randint", ".sample", ".shuffle", ".choices", ".randrange", ".random"}
REQUESTS = frozenset(
    f".{name}"
    for name in [
        "get",
        "post",
        "put",
        "patch",
        "delete",
        "head",
        "options",
        "request",
        "send",
        "stream",
        "urlopen",
        "Client",
        "AsyncClient",
        "Session",
    ]
)
_CONTEXTS = frozenset(["ssl.create_default_context", "ssl.SSLContext"])
DIGESTS = frozenset({".hexdigest", ".digest"})
_DERIVES = frozenset({"hashlib.pbkdf2_hmac", "hashlib.scrypt", ".hashpw", ".PasswordHasher", ".file_digest"})
"""These give the bytes themselves."""

_CURVE = re.compile(r"\b(?:SECP|BrainpoolP)(\d+)[KRkr]1\b")
_PROTOCOLS = words(
    "ssl.PROTOCOL_TLS_CLIENT ssl.PROTOCOL_TLS_SERVER ssl.PROTOCOL_TLS ssl.PROTOCOL_TLSv1_2"
    " ssl.TLSVersion.TLSv1_2 ssl.TLSVersion.TLSv1_3 OpenSSL.SSL.TLS_METHOD OpenSSL.SSL.TLSv1_2_METHOD"
    " OpenSSL.SSL.TLS_CLIENT_METHOD OpenSSL.SSL.TLS_SERVER_METHOD"
)


def hashing(site: Site) -> str | None:
    """S303, S324: SHA-256 or stronger; or the same hash, said not to be there for security."""
    lost = [name for name in site.vanished(HASH_SINKS) if not is_replaced(site, name)]
    if lost and not site.replacements(_DERIVES):
        return f"It no longer calls {lost[0].lstrip('.')}."
    for call in site.added_calls:
        name = site.name(call)
        if constant(keyword(call, "usedforsecurity")) is False and matches(name, HASH_SINKS):
            return None if _same_hash(site, call) else "It hashes with another weak algorithm."
        if matches(name, _STRONG):
            return None
        if (
            name == "hashlib.new"
            and isinstance(first := constant(call.args[0] if call.args else None), str)
            and first.lower().replace("-", "") in HASHES
        ):
            return None
        if name == "hmac.new":
            mode = keyword(call, "digestmod") or (call.args[2] if len(call.args) > 2 else None)
            if mode is not None and (site.after.qualified(mode) in _STRONG or constant(mode) in HASHES):
                return None
    return "It doesn't hash with SHA-256 or stronger, nor says that the hash isn't for security."


def _same_hash(site: Site, call: ast.Call) -> bool:
    return any(site.old_name(old) == site.name(call) for old in site.sinks(HASH_SINKS))


def random(site: Site) -> str | None:
    """S311: the operating system's generator."""
    if site.replacements(_RANDOM):
        return None
    return "It doesn't draw from secrets or random.SystemRandom."


def timeout(site: Site) -> str | None:
    """S113: the same request, with a timeout."""
    for call in site.replacements(REQUESTS):
        value = keyword(call, "timeout")
        if value is not None and not _is_endless(site, value):
            return None if _same_request(site, call) else "It makes another request."
    return "It doesn't give the request a timeout."


def _is_endless(site: Site, value: ast.expr) -> bool:
    value = site.resolved(value)
    if isinstance(value, ast.Tuple):
        return any(_is_endless(site, one) for one in value.elts) or not value.elts
    if isinstance(value, ast.Call):
        return _call_is_endless(site, value)
    known = constant(value)
    if known is ...:
        return "inf" in ast.unparse(value).lower()
    return not isinstance(known, int | float) or isinstance(known, bool) or not 0 < known <= 3600


def _call_is_endless(site: Site, call: ast.Call) -> bool:
    """`options.get("timeout")` may be None, with a default it isn't; `httpx.Timeout(None)` has no end."""
    if matches(site.name(call), {".get", ".pop", "os.getenv", "os.environ.get"}):
        return len(call.args) < 2 or (
            not isinstance(constant(call.args[1]), str) and _is_endless(site, call.args[1])
        )
    values = [*call.args, *(one.value for one in call.keywords)]
    if matches(site.name(call), {".Timeout", ".ClientTimeout"}):
        return not values or any(_is_endless(site, one) for one in values)
    return not values and not isinstance(call.func, ast.Attribute)


def _same_request(site: Site, call: ast.Call) -> bool:
    """The same function, with all arguments that it had, as they were."""
    old = site.sinks(REQUESTS)
    if not old:
        return True
    return any(
        site.old_name(one) == site.name(call)
        and [ast.dump(x) for x in one.args] == [ast.dump(x) for x in call.args]
        and all(
            (ast.dump(k.value) == ast.dump(v) if (v := keyword(call, k.arg)) is not None else False)
            for k in one.keywords
            if k.arg and k.arg not in ("timeout", "verify")
        )
        for one in old
    )


def verification(site: Site) -> str | None:
    """S501: verify is left out, True, or a file of certificates."""
    calls = site.replacements(REQUESTS | {".Client", ".request", ".merge_environment_settings"})
    if not calls and not any(isinstance(node, ast.Assign) for node in site.change.added):
        return "It no longer makes the request."
    for call in calls:
        value = keyword(call, "verify")
        if value is None or constant(value) is True:
            continue
        if isinstance(constant(value), str) and constant(value):
            continue
        if isinstance(value, ast.Call) and site.name(value) in (
            "certifi.where",
            "ssl.create_default_context",
        ):
            continue
        return "It doesn't verify the certificate, or leaves open whether it does."
    if calls and not any(_kept_arguments(site, call) for call in calls):
        return "It makes another request."
    return None


def _kept_arguments(site: Site, call: ast.Call) -> bool:
    old = site.sinks(REQUESTS)
    return not old or any([ast.dump(x) for x in one.args] == [ast.dump(x) for x in call.args] for one in old)


def protocol(site: Site) -> str | None:
    """S502, S503, S504, S323: TLS 1.2 or newer, or the default context."""
    for node in site.change.added:
        if isinstance(node, ast.Attribute | ast.Name) and site.after.qualified(node) in _PROTOCOLS:
            return None
        if isinstance(node, ast.Call) and site.name(node) == "ssl.create_default_context":
            return None
    return "It doesn't ask for TLS 1.2 or newer."


def key_size(site: Site) -> str | None:
    """S505."""
    for call in site.added_calls:
        every = [*call.args, *(one.value for one in call.keywords)]
        sizes = [
            number for one in every if type(number := constant(one)) is int and number not in (65537, 3, 17)
        ]
        if any(number >= 2048 for number in sizes):
            return None
        curves = [_CURVE.search(ast.unparse(one)) for one in every]
        if any(curve is not None and int(curve.group(1)) >= 224 for curve in curves):
            return None
        if site.name(call).endswith(("ed25519.Ed25519PrivateKey.generate", ".generate")) and not sizes:
            return None
    return "It doesn't make a key of 2048 bits or more."


def host_keys(site: Site) -> str | None:
    """S507: unknown hosts are turned down."""
    for node in site.change.added:
        if isinstance(node, ast.Attribute | ast.Name) and site.after.qualified(node).endswith("RejectPolicy"):
            return None
    return "It doesn't turn down hosts whose key isn't known."
