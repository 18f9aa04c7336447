"""Constants that should not be there: passwords, paths, modes, addresses, switches.

Invariant: a value that was written out comes from outside of the program, or is one of the few named here.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from typing import TypeGuard

from deltaloom_server.security.finding import Span

from ..constants import folded, negates
from ..words import words
from .site import Site, constant, keyword, matches

_OUTSIDE = words(
    "os.environ os.getenv os.environ.get getpass.getpass keyring.get_password decouple.config"
    " environ.Env django.conf.settings flask.current_app.config"
)
_OUTSIDE_METHODS = frozenset({".get_secret", ".get_secret_value", ".get_password", ".getpass"})
_ENVIRONMENT_NAME = re.compile(r"^[A-Z][A-Z0-9_]*$")
_CODECS = frozenset({"utf-8", "utf8", "ascii"})
_TEMPORARY = frozenset(["tempfile.*"])
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


def from_outside(site: Site) -> str | None:
    """S105 to S107, secrets: from the environment, a prompt, a vault, the settings; never another literal."""
    old = {one.value for root in site.change.old for one in ast.walk(root) if isinstance(one, ast.Constant)}
    reads = False
    for node in site.change.added:
        if (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str | bytes)
            and node.value not in old
            and node.value not in _CODECS
            and not (isinstance(node.value, str) and _ENVIRONMENT_NAME.match(node.value))
            and not _is_prompt(site, node)
        ):
            return "It puts another literal in the place of the secret."
        reads = reads or _is_outside(site, node)
        if (
            isinstance(node, ast.Call)
            and site.name(node) in ("os.getenv", "os.environ.get", ".get")
            and len(node.args) > 1
            and constant(node.args[1]) is not None
        ):
            return "It gives the secret a default."
    if _is_still_written(site):
        return "The secret is still written in the code."
    if reads or (site.finding.rule == "S107" and _is_required(site)):
        return None
    return "It doesn't take the secret from the environment, a prompt or the settings."


def _is_prompt(site: Site, node: ast.Constant) -> bool:
    parent = site.after.parents.get(node)
    while parent is not None and not isinstance(parent, ast.stmt):
        if isinstance(parent, ast.Call) and (
            site.name(parent) in ("getpass.getpass", "keyring.get_password")
            or isinstance(site.after.parents.get(parent), ast.Raise)
        ):
            return True
        parent = site.after.parents.get(parent)
    return isinstance(parent, ast.Raise)


def _is_outside(site: Site, node: ast.AST) -> bool:
    if isinstance(node, ast.Attribute | ast.Name) and site.after.qualified(node) in _OUTSIDE:
        return True
    if isinstance(node, ast.Call):
        return matches(site.name(node), _OUTSIDE | _OUTSIDE_METHODS)
    if isinstance(node, ast.Attribute):
        root = ast.unparse(node).lower()
        return root.startswith(("settings.", "config.", "self.settings.", "self.config.", "app.config"))
    return False


def _is_still_written(site: Site) -> bool:
    """Does the unit spell the secret as often as before? Where the finding is about a whole statement: is
    there no literal on its lines that has become rarer?"""
    old, new = _literals(site.change.old), _literals(site.change.new)
    start = site.finding.span.start_line, site.finding.span.start_column
    touched = [
        node
        for root in site.change.old
        for node in ast.walk(root)
        if _is_literal(node) and site.touches(node)
    ]
    exact = [node for node in touched if _begins(site.before.span(node)) == start]
    if not exact and _is_name_at(site, start):
        return False
    texts = {_text(node) for node in exact or touched}
    return not any(_count(new, text) < _count(old, text) for text in texts)


def _is_name_at(site: Site, start: tuple[int, int]) -> bool:
    """Is the finding about a variable's use, so that the literal stands elsewhere?"""
    return any(
        isinstance(node, ast.Name) and site.before.span(node) == site.finding.span
        for root in site.change.old
        for node in ast.walk(root)
        if isinstance(node, ast.Name) and _begins(site.before.span(node)) == start
    )


def _begins(span: Span) -> tuple[int, int]:
    return span.start_line, span.start_column


def _is_literal(node: ast.AST) -> TypeGuard[ast.Constant]:
    return isinstance(node, ast.Constant) and isinstance(node.value, str | bytes) and bool(node.value)


def _text(node: ast.Constant) -> str:
    return node.value.decode("latin-1") if isinstance(node.value, bytes) else str(node.value)


def _literals(roots: Sequence[ast.stmt]) -> list[str]:
    return [_text(node) for root in roots for node in ast.walk(root) if _is_literal(node)]


def _count(literals: Sequence[str], text: str) -> int:
    """How many hold the text; of one that is short, how many are it."""
    return sum(text == one or (len(text) > 3 and text in one) for one in literals)


def _is_required(site: Site) -> bool:
    """S107: the default has become None."""
    return any(isinstance(node, ast.Constant) and node.value is None for node in site.change.added)


def temporary(site: Site) -> str | None:
    """S108, S306: a name that tempfile has made."""
    for call in site.added_calls:
        name = site.name(call)
        if matches(name, _TEMPORARY) and name not in ("tempfile.mktemp",):
            return None
    return "It doesn't use a file or folder of tempfile's."


def mode(site: Site) -> str | None:
    """S103: no permission that wasn't given before, and none for everybody to write or run."""
    for call in site.replacements(
        {".chmod", ".mkdir", ".makedirs", ".open", ".mkfifo", ".fchmod", ".lchmod"}
    ):
        new = _mode_of(call)
        if new is None:
            return "It doesn't write the mode as a number."
        bits, rest = new
        for old_call in site.sinks({site.name(call)}):
            old = _mode_of(old_call)
            if old is not None and (bits & ~old[0] or rest != old[1]):
                return "It gives permissions that weren't given before."
        if bits & 0o033 or (bits == 0 and not rest):
            return "It gives others more than to read, or nobody anything."
        return None
    return "It no longer sets the mode."


_STAT = {
    "S_IRWXU": 0o700,
    "S_IRUSR": 0o400,
    "S_IWUSR": 0o200,
    "S_IXUSR": 0o100,
    "S_IRWXG": 0o070,
    "S_IRGRP": 0o040,
    "S_IWGRP": 0o020,
    "S_IXGRP": 0o010,
    "S_IRWXO": 0o007,
    "S_IROTH": 0o004,
    "S_IWOTH": 0o002,
    "S_IXOTH": 0o001,
}


def _mode_of(call: ast.Call) -> tuple[int, str] | None:
    """The bits that are written out, and what they are added to (`stat(path).st_mode`), "" for nothing."""
    given = keyword(call, "mode") or (call.args[-1] if call.args else None)
    if given is None:
        return None
    bits = _bits(given)
    if bits is not None:
        return bits, ""
    if isinstance(given, ast.BinOp) and isinstance(given.op, ast.BitOr):
        bits = _bits(given.right)
        if bits is not None and _is_old_mode(given.left):
            return bits, ast.unparse(given.left)
    return None


def _is_old_mode(node: ast.expr) -> bool:
    return any(isinstance(one, ast.Attribute) and one.attr == "st_mode" for one in ast.walk(node))


def _bits(node: ast.expr) -> int | None:
    if isinstance(node, ast.Constant) and type(node.value) is int:
        return node.value
    if isinstance(node, ast.Attribute):
        return _STAT.get(node.attr)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        left, right = _bits(node.left), _bits(node.right)
        return None if left is None or right is None else left | right
    return None


def loopback(site: Site) -> str | None:
    """S104: this machine only, or an address from outside of the program."""
    for node in site.change.added:
        if isinstance(node, ast.Constant) and node.value in _LOOPBACK:
            return None
        if _is_outside(site, node):
            if any(
                isinstance(one, ast.Constant) and one.value in ("0.0.0.0", "::") for one in site.change.added
            ):
                return "It still listens on all addresses by default."
            return None
    return "It doesn't listen on this machine's own address."


def debug(site: Site) -> str | None:
    """S201: off, or left out, or the environment's choice."""
    values = [one.value for one in site.change.added if isinstance(one, ast.keyword) and one.arg == "debug"]
    for value in values:
        known = folded(value)
        if known is not None and known.value:
            return "It still turns debugging on."
        if known is None and not any(_is_outside(site, node) for node in ast.walk(value)):
            return "It leaves open whether debugging is on."
    return None if site.replacements({".run"}) else "It no longer runs the application."


def archive(site: Site) -> str | None:
    """S202: the filter for data, or members that are checked."""
    for call in site.replacements({".extractall", ".extract"}):
        if constant(keyword(call, "filter")) in ("data", "tar"):
            return None
        if keyword(call, "filter") is not None and site.after.qualified(keyword(call, "filter") or call) in (
            "tarfile.data_filter",
            "tarfile.tar_filter",
        ):
            return None
    if site.replacements({"shutil.unpack_archive"}):
        return None
    return 'It doesn\'t extract with filter="data".'


def autoescape(site: Site) -> str | None:
    """S701, S702, S703, S704, S308: what goes into HTML is escaped."""
    for call in site.added_calls:
        value = keyword(call, "autoescape")
        if constant(value) is True or (
            isinstance(value, ast.Call) and site.name(value) == "jinja2.select_autoescape"
        ):
            return None
        if matches(
            site.name(call),
            {
                "html.escape",
                "markupsafe.escape",
                "django.utils.html.escape",
                ".format_html",
                ".conditional_escape",
                "flask.escape",
                ".format_html_join",
                ".escape",
            },
        ):
            return None
        filters = keyword(call, "default_filters")
        if filters is not None and any(
            constant(one) == "h" for one in ast.walk(filters) if isinstance(one, ast.expr)
        ):
            return None
    if site.finding.rule in ("S308", "S703", "S704") and not site.removed_calls:
        return "It changes nothing about what is marked as safe."
    if site.finding.rule in ("S704",) and site.replacements({"markupsafe.Markup", ".format"}):
        return None
    return "It doesn't escape what goes into the page."


def handled(site: Site) -> str | None:
    """S110, S112: the exception is logged, raised again, or only a certain kind is passed over."""
    for node in site.change.added:
        if isinstance(node, ast.ExceptHandler):
            does = any(isinstance(one, ast.Raise | ast.Call) for part in node.body for one in ast.walk(part))
            if does or not _is_everything(node.type):
                return None
        if isinstance(node, ast.With | ast.AsyncWith):
            return "It passes over the exception in another way."
    return "It doesn't do anything with the exception."


def _is_everything(kind: ast.expr | None) -> bool:
    return kind is None or any(
        isinstance(one, ast.Name) and one.id in ("Exception", "BaseException") for one in ast.walk(kind)
    )


def raised(site: Site) -> str | None:
    """S101: the condition is tested, and its failure raised."""
    for node in site.change.old:
        tests = [one.test for one in ast.walk(node) if isinstance(one, ast.Assert) and site.touches(one)]
        for test in tests:
            if not any(_raises_unless(one, test) for one in site.change.added):
                return "It doesn't raise where the assertion failed."
    return None


def _raises_unless(node: ast.AST, test: ast.expr) -> bool:
    if not isinstance(node, ast.If) or not any(isinstance(one, ast.Raise) for one in node.body):
        return False
    return negates(node.test, test)
