"""A fix removes the weakness itself: it neither declares it harmless nor takes the data away from it.

Invariant: what is judged is what the change adds; a digest that was said not to be for security stays so.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator

from deltaloom_server.security.codemods.source import Source
from deltaloom_server.security.codemods.sqldrivers import driver_of
from deltaloom_server.security.proposal import Origin
from deltaloom_server.security.rules import canonical

from .accepted import Site
from .accepted.crypto import HASH_SINKS
from .accepted.loading import EVAL_SINKS, PICKLE_SINKS, YAML_SINKS
from .accepted.site import constant, keyword, matches
from .reaching import values_at
from .renamed import is_renamed
from .sinks import XML
from .words import words

_FOR_SECURITY = re.compile(
    r"(?i)passw|passphrase|pwd|secret|token|credential|csrf|(?:^|_)(?:api|private|signing|secret)_?key"
    r"|(?:^|_)sign(?:$|_|ature|ed|ing)"
)
_HASHES = words("S303 S324")
_PICKLE = words("S301 S302 S403")
_XML_RULES = frozenset(f"S{number}" for number in (*range(313, 321), *range(405, 412)))
_LOGS = words("debug info warning warn error exception critical fatal log")
_CODINGS = frozenset({"encode", "decode"})
_HANDLED = words("S110 S112")
_LOGGERS = re.compile(r"(?i)(?:^|_)log(?:ger|ging)?$")
_TAKES_HASHED = re.compile(
    r"^(?:hashlib|hmac|bcrypt|argon2|Crypto|Cryptodome|cryptography|passlib|werkzeug)\b"
)
_DERIVES = words("hashlib.pbkdf2_hmac hashlib.scrypt .hashpw .hash .generate_password_hash .make_password")
"""These take the salt by itself."""

_SQL = re.compile(r"(?i)\b(?:select|insert|update|delete|replace|where|values|set)\b")
_STYLES = {
    "qmark": re.compile(r"\?|(?<![:\w]):\w+|@\w+|\$\w+"),
    "format": re.compile(r"%s|%\(\w+\)s|%b"),
    "numeric": re.compile(r"\$\d+"),
    "named": re.compile(r"(?<![:\w]):\w+"),
}
"""What each style of parameters looks like; SQLite takes names as well."""

_ANY_STYLE = re.compile(r"\?|%s|%\(\w+\)s|(?<![:\w]):\w+|\$\d+")


def silenced(site: Site, origin: Origin) -> Iterator[str]:
    """Objections to a weakness that stays, under another name or with less to do."""
    rule = canonical(site.finding.rule)
    if rule in _HASHES:
        yield from _declared_harmless(site, origin)
        yield from _same_data(site, HASH_SINKS, _takes_hashed)
        yield from _same_data(site, {".update"}, _is_update, first=True)
    elif rule == "S506":
        yield from _as_many_documents(site)
        yield from _same_data(site, YAML_SINKS, _takes_yaml, first=True)
    elif rule == "S307":
        yield from _same_data(site, EVAL_SINKS, _takes_literal, first=True)
    elif rule == "S608":
        yield from _fitting_placeholders(site)
    elif rule in _PICKLE:
        yield from _same_data(site, PICKLE_SINKS, _takes_json, first=True)
    elif rule in _XML_RULES:
        yield from _same_data(site, XML, _takes_xml, first=True)
    yield from _overwritten(site)
    if origin == "model" and rule not in _HANDLED:
        yield from _told_more(site)


def _declared_harmless(site: Site, origin: Origin) -> Iterator[str]:
    for call in site.added_calls:
        if constant(keyword(call, "usedforsecurity")) is not False or _was_harmless(site):
            continue
        if origin == "model":
            yield "It only says that the hash isn't for security; whether that is so, a person has to say."
            return
        if name := next(filter(_FOR_SECURITY.search, _names_around(site, call)), ""):
            yield f"It says that the hash isn't for security, but {name} speaks of a secret."
            return


def _was_harmless(site: Site) -> bool:
    return any(constant(keyword(call, "usedforsecurity")) is False for call in site.sinks(HASH_SINKS))


def _names_around(site: Site, call: ast.Call) -> Iterator[str]:
    """What goes into the hash, what takes it, and the function that it is made in."""
    function = site.after.enclosing_function(call)
    if function is not None:
        yield function.name
    for node in ast.walk(site.after.statement(call)):
        if isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.Attribute):
            yield node.attr


# -- the same data ------------------------------------------------------------------------------------------


def _takes_hashed(name: str) -> bool:
    return bool(_TAKES_HASHED.match(name)) or name in (".update", ".hashpw", ".hash")


def _is_update(name: str) -> bool:
    return name == ".update"


def _takes_yaml(name: str) -> bool:
    return name.startswith(("yaml.", "ruamel.")) or name == ".load"


def _takes_json(name: str) -> bool:
    return name in ("json.loads", "json.load")


def _takes_xml(name: str) -> bool:
    return name.startswith(("defusedxml.", "lxml."))


def _takes_literal(name: str) -> bool:
    return name in ("ast.literal_eval", "json.loads")


def _same_data(
    site: Site, sinks: Collection[str], takes: Callable[[str], bool], *, first: bool = False
) -> Iterator[str]:
    """What the old call was given is given to the new one (`first`: in the first place), as it was, or
    encoded."""
    for sink in site.sinks(sinks)[:1]:
        given = _given(sink)
        if given is None or isinstance(constant(given), str):
            continue
        calls = [call for call in site.added_calls if takes(site.name(call))]
        parts = [given]
        if any(matches(site.name(call), _DERIVES) for call in calls):
            parts += [node for node in ast.walk(given) if isinstance(node, ast.Name | ast.Attribute)]
        passed = [one for call in calls for one in _arguments(call, first=first)]
        if passed and not any(
            _is_same(one, part) or is_renamed(site.change, one, part) for one in passed for part in parts
        ):
            yield f"It doesn't pass {ast.unparse(given)[:60]} on as it was."
            return
        changed = _rebound(site, given)
        if passed and changed:
            yield f"It changes {changed} before it passes it on."
            return


def _arguments(call: ast.Call, *, first: bool) -> list[ast.expr]:
    if first:
        given = _given(call)
        return [] if given is None else [given]
    return [*call.args, *(one.value for one in call.keywords)]


def _given(sink: ast.Call) -> ast.expr | None:
    if sink.args:
        return sink.args[0]
    values = [
        keyword(sink, name) for name in ("stream", "data", "string", "source", "text", "file", "s", "fp")
    ]
    return next((one for one in values if one is not None), None)


def _is_same(one: ast.expr, given: ast.expr) -> bool:
    if ast.dump(one) == ast.dump(given):
        return True
    if isinstance(one, ast.Call) and isinstance(one.func, ast.Attribute) and one.func.attr in _CODINGS:
        return _is_same(one.func.value, given)
    if isinstance(given, ast.Call) and isinstance(given.func, ast.Attribute) and given.func.attr in _CODINGS:
        return _is_same(one, given.func.value)
    return False


def _rebound(site: Site, given: ast.expr) -> str:
    """A variable of the data to which the change gives another value."""
    names = {node.id for node in ast.walk(given) if isinstance(node, ast.Name)}
    for node in site.change.added:
        if isinstance(node, ast.Assign | ast.AugAssign | ast.NamedExpr):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for target in targets:
                for one in ast.walk(target):
                    if isinstance(one, ast.Name) and one.id in names and not _was_bound(site, one.id):
                        return one.id
    return ""


def _overwritten(site: Site) -> Iterator[str]:
    """A variable that went into the weak call is given something else that doesn't come from it."""
    if site.sink is None:
        return
    names = site.data(site.sink, site.before)
    for node in site.change.added:
        if isinstance(node, ast.Assign):
            pairs = [(target, node.value) for target in node.targets]
        elif isinstance(node, ast.NamedExpr):
            pairs = [(node.target, node.value)]
        elif isinstance(node, ast.For | ast.AsyncFor):
            pairs = [(node.target, node.iter)]
        else:
            continue
        for target, value in pairs:
            read = {one.id for one in ast.walk(value) if isinstance(one, ast.Name)}
            for one in ast.walk(target):
                if isinstance(one, ast.Name) and one.id in names - read and not _was_bound(site, one.id):
                    yield f"It overwrites {one.id}, which went into the call."
                    return


def _was_bound(site: Site, name: str) -> bool:
    """Did the old unit assign it as often?"""
    return Counter(_stores(site.change.old))[name] >= Counter(_stores(site.change.new))[name]


def _stores(roots: Collection[ast.stmt]) -> Iterator[str]:
    for root in roots:
        for node in ast.walk(root):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                yield node.id


def _as_many_documents(site: Site) -> Iterator[str]:
    """`load` reads one document, `load_all` gives an iterator over many."""
    old = [site.old_name(call).endswith("_all") for call in site.sinks(YAML_SINKS)]
    new = [site.name(call).endswith("_all") for call in site.added_calls if _takes_yaml(site.name(call))]
    if old and new and sorted(old) != sorted(new) and set(old) != set(new):
        yield "It reads another number of documents than before."


# -- messages and placeholders ------------------------------------------------------------------------------


def _told_more(site: Site) -> Iterator[str]:
    """Prints and log records that nobody asked for."""
    before = sum(_tells(site.before, node) for root in site.change.old for node in ast.walk(root))
    now = sum(_tells(site.after, node) for root in site.change.new for node in ast.walk(root))
    if now > before:
        yield "It prints or logs something, which has nothing to do with the weakness."


def _tells(source: Source, node: ast.AST) -> bool:
    if not isinstance(node, ast.Call):
        return False
    name = source.qualified(node.func)
    if name in ("print", "pprint.pprint", "warnings.warn", "sys.stdout.write", "sys.stderr.write"):
        return True
    if not isinstance(node.func, ast.Attribute) or node.func.attr not in _LOGS:
        return False
    receiver = ast.unparse(node.func.value)
    return name.startswith("logging.") or bool(_LOGGERS.search(receiver.rpartition(".")[2]))


def _fitting_placeholders(site: Site) -> Iterator[str]:
    """The file's driver knows the placeholders of the new statement."""
    added = site.change.added_set
    for call in site.new_calls({".execute", ".executemany", ".fetch", ".fetchrow", ".fetchval", ".raw"}):
        driver = driver_of(site.after, call)
        if driver is None or not call.args:
            continue
        for one in values_at(site.after, call.args[0]):
            text = constant(one)
            if one in added and isinstance(text, str) and _SQL.search(text):
                found = bool(_ANY_STYLE.search(text))
                if found and not _STYLES[driver.style].search(text):
                    yield f"The driver, {driver.name}, doesn't know the statement's placeholders."
                    return
