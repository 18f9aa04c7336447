"""What our own checks ask for: comparisons, paths, redirects, cookies, error texts, stored passwords.

Invariant: a check that is added counts only where it looks at the value that the finding is about, and turns
a bad one down.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from deltaloom_server.security.codemods.source import Source

from ..reaching import values_at
from ..words import words
from .site import Site, constant, keyword, matches

_DIGESTS = frozenset({"hmac.compare_digest", "secrets.compare_digest", ".constant_time_compare"})
_CONTAINS = words(
    ".is_relative_to .relative_to os.path.commonpath .secure_filename .safe_join .send_from_directory"
)
_HOSTS = words(".url_has_allowed_host_and_scheme .is_safe_url .url_for .urlparse .urlsplit .reverse")
_PARSERS = words(".urlparse .urlsplit")
_SLOW_HASHES = words(
    "hashlib.scrypt hashlib.pbkdf2_hmac .hashpw .PasswordHasher .generate_password_hash .make_password"
)
FAST_HASHES = words("hashlib.sha224 hashlib.sha256 hashlib.sha384 hashlib.sha512 hashlib.new hashlib.blake2b")


def same_time(site: Site) -> str | None:
    """DL101: hmac.compare_digest of the same two values."""
    calls = site.replacements(_DIGESTS)
    if not calls:
        return "It doesn't compare with hmac.compare_digest."
    compared = [one for one in site.change.removed if isinstance(one, ast.Compare) and site.touches(one)]
    given = frozenset(name for call in calls for name in site.data(call, site.after))
    for compare in compared:
        if lost := sorted(site.data(compare, site.before) - given):
            return f"It doesn't compare {lost[0]}."
        wanted = _sense(site.before, compare)
        uses = [use for call in calls for use in _uses(site, call)]
        if not uses or any(_sense(site.after, use) != wanted for use in uses):
            return "It turns the comparison round, or joins it with something else."
    return None


def _uses(site: Site, call: ast.Call) -> Iterator[ast.expr]:
    """The call, or where the variable is read that takes its result."""
    holder = site.after.parents.get(call)
    target = holder.targets[0] if isinstance(holder, ast.Assign) else None
    if not isinstance(target, ast.Name):
        yield call
        return
    for root in site.change.new:
        for node in ast.walk(root):
            if isinstance(node, ast.Name) and node.id == target.id and isinstance(node.ctx, ast.Load):
                yield node


def _sense(source: Source, node: ast.expr) -> tuple[bool, str]:
    """Is a condition meant the other way round, and by what is it joined with others?"""
    turned = isinstance(node, ast.Compare) and isinstance(node.ops[0], ast.NotEq)
    parent = source.parents.get(node)
    while isinstance(parent, ast.UnaryOp) and isinstance(parent.op, ast.Not):
        turned = not turned
        parent = source.parents.get(parent)
    return turned, ast.dump(parent.op) if isinstance(parent, ast.BoolOp) else ""


def contained(site: Site) -> str | None:
    """DL103, DL104: where the path leads is checked, or only its last part is used."""
    for call in site.replacements(_CONTAINS):
        name = site.name(call)
        if matches(name, {".secure_filename", ".safe_join", ".send_from_directory", ".relative_to"}):
            return None
        if _turns_down(site, call):
            return None
    if any(_turns_down(site, call) for call in site.replacements({".startswith"}) if _of_a_folder(call)):
        return None
    parents = (node for node in site.change.added if isinstance(node, ast.Attribute) and _parents(site, node))
    if any(_turns_down(site, node) for node in parents):
        return None
    if site.replacements({"os.path.basename"}):
        return None
    for call in site.replacements({".extractall"}):
        if constant(keyword(call, "filter")) == "data":
            return None
    return "It doesn't check that the path stays in its folder."


def _of_a_folder(call: ast.Call) -> bool:
    """`path.startswith(root + os.sep)`: without the separator, "/srv/files-2" begins with "/srv/files"."""
    text = ast.unparse(call.args[0]) if call.args else ""
    return "sep" in text or "/'" in text


def _parents(site: Site, node: ast.Attribute) -> bool:
    """`root in path.parents`, where the path has been resolved: "root/../x" has root among its parents."""
    compare = site.after.parents.get(node)
    if node.attr != "parents" or not isinstance(compare, ast.Compare):
        return False
    return isinstance(compare.ops[0], ast.In | ast.NotIn) and all(
        isinstance(value, ast.Call) and matches(site.name(value), {".resolve", "os.path.realpath"})
        for value in values_at(site.after, node.value)
    )


def redirected(site: Site) -> str | None:
    """DL105: to this site only."""
    for call in site.replacements(_HOSTS):
        if matches(site.name(call), {".url_for", ".reverse"}) or _turns_down(site, call):
            return None
    for node in site.change.added:
        if (
            isinstance(node, ast.If)
            and ".startswith(" in ast.unparse(node.test)
            and "//" in ast.unparse(node.test)
        ):
            return None
    return "It doesn't check where the redirect leads."


def _turns_down(site: Site, call: ast.expr) -> bool:
    """Does a condition on the call (or on a variable of its result) lead out where it fails?"""
    if any(one is call for node in site.change.added if isinstance(node, ast.Expr) for one in [node.value]):
        return False
    text = ast.unparse(call)
    names = {
        target.id
        for node in site.change.added
        if isinstance(node, ast.Assign) and text in ast.unparse(node.value)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    for node in site.change.added:
        if not isinstance(node, ast.If | ast.IfExp):
            continue
        for one in ast.walk(node.test):
            if one is call or (isinstance(one, ast.Name) and one.id in names):
                parts = isinstance(call, ast.Call) and matches(site.name(call), _PARSERS)
                return _fails_well(site, node, one, parts)
    return False


def _fails_well(site: Site, node: ast.If | ast.IfExp, what: ast.AST, either_way: bool) -> bool:
    """Is the good way taken only where `what` holds? `either_way`: it is no answer but parts to look at."""
    negative = False
    joined: list[type[ast.boolop]] = []
    at: ast.AST = what
    while at is not node.test:
        parent = site.after.parents[at]
        if (isinstance(parent, ast.UnaryOp) and isinstance(parent.op, ast.Not)) or (
            isinstance(parent, ast.Compare) and isinstance(parent.ops[0], ast.NotEq | ast.NotIn | ast.IsNot)
        ):
            negative = not negative
        elif isinstance(parent, ast.BoolOp):
            joined.append(type(parent.op))
        at = parent
    if isinstance(node, ast.IfExp):
        return either_way or len(joined) == 0
    if either_way:
        return _leaves(node.body) or bool(node.orelse)
    if negative:
        return ast.And not in joined and _leaves(node.body)
    return ast.Or not in joined and bool(node.orelse) and _leaves(node.orelse)


def _leaves(body: list[ast.stmt]) -> bool:
    """Control leaves, or the value is exchanged."""
    return isinstance(body[-1], ast.Raise | ast.Return | ast.Continue | ast.Assign) or any(
        isinstance(one, ast.Call) and ast.unparse(one.func).endswith("abort") for one in ast.walk(body[-1])
    )


def cookie(site: Site) -> str | None:
    """DL107: secure and httponly, both True."""
    for call in site.replacements({".set_cookie"}):
        flags = [constant(keyword(call, name)) for name in ("secure", "httponly")]
        if flags == [True, True]:
            return None
    return "It doesn't set secure=True and httponly=True."


def unlogged(site: Site) -> str | None:
    """DL106, DL113: what was said is still said, without the value."""
    lost = [
        one
        for one in site.change.removed
        if isinstance(one, ast.Name | ast.Attribute | ast.Call) and site.touches(one)
    ]
    return None if (lost and site.added_calls) or _answers(site) else "It no longer says anything there."


def _answers(site: Site) -> bool:
    return any(isinstance(one, ast.Return) and one.value is not None for one in site.change.added)


def slow_hash(site: Site) -> str | None:
    """DL116."""
    return (
        None
        if site.replacements(_SLOW_HASHES)
        else "It doesn't derive the hash with scrypt, PBKDF2, bcrypt or Argon2."
    )


def made_visible(site: Site) -> str | None:
    """DL002: hidden characters go, everything else stays. The gate's other rules see that none are added."""
    old, new = (_visible(text) for text in (site.before.text, site.after.text))
    return None if old == new else "It changes more than characters that can't be seen."


def _visible(text: str) -> str:
    from ..additions import is_odd

    return "".join(one for one in text if not is_odd(one))
