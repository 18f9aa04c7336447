"""What may stand in a weakness's place, by rule.

Invariant: a rule without an entry has the conservative default, never a free pass; and the default's demands
(nothing else is uncalled, what flowed in still flows in, a result isn't thrown away) hold for all of them.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from deltaloom_server.security.rules import canonical

from ..words import words
from . import crypto, keys, loading, processes, settings, sql, texts, web
from .replaced import is_replaced
from .site import Site, matches

__all__ = ["ENTRIES", "Entry", "Site", "accepted"]


@dataclass(frozen=True, slots=True)
class Entry:
    """`check` gives the objection, or None. `sinks` are the calls that are to go (none: whatever changed at
    the finding's place), `may_vanish` further ones that may. `keeps_data` is off where the literal itself is
    the weakness, so that no value need flow on. `keeps_constants` is off where a text of the module may be
    written out anew."""

    check: Callable[[Site], str | None] | None = None
    sinks: frozenset[str] = frozenset()
    may_vanish: frozenset[str] = frozenset()
    keeps_data: bool = True
    keeps_constants: bool = True


_SHELL = Entry(processes.no_shell, processes.SINKS, processes.MAY_VANISH)
_PICKLE = Entry(loading.pickle, loading.PICKLE_SINKS, loading.PICKLE_VANISH)
_XML = Entry(loading.xml, may_vanish=frozenset(loading.XML_METHODS | {".setFeature"}))
_TLS = Entry(
    crypto.protocol,
    may_vanish=frozenset({".wrap_socket", "ssl._create_unverified_context", "ssl.SSLContext"}),
)
_SECRET = Entry(settings.from_outside, keeps_data=False)
_HTML = Entry(settings.autoescape, may_vanish=frozenset({".mark_safe", ".Markup", "str", ".format", ".join"}))
_HASH = Entry(crypto.hashing, crypto.HASH_SINKS, crypto.DIGESTS)

_CONTAINED = Entry(web.contained, may_vanish=frozenset({".send_file", "os.path.join", ".extract"}))

_OWN: dict[str, Entry] = {
    **dict.fromkeys(("DL002", "B613"), Entry(web.made_visible, keeps_data=False)),
    "DL101": Entry(web.same_time),
    "DL102": Entry(keys.token),
    "DL103": _CONTAINED,
    "DL104": _CONTAINED,
    "DL105": Entry(web.redirected),
    "DL106": Entry(web.unlogged, keeps_data=False),
    "DL107": Entry(web.cookie),
    "DL108": Entry(
        texts.escapes(
            {"re.escape", "regex.escape"}, "It doesn't escape the text with re.escape.", in_first=True
        )
    ),
    "DL109": Entry(texts.query, may_vanish=words(".format str .escape")),
    "DL110": Entry(texts.template, may_vanish=frozenset({".format", "str"}), keeps_constants=False),
    "DL113": Entry(
        web.unlogged,
        may_vanish=frozenset({"str", "repr", ".format_exc", ".format_exception"}),
        keeps_data=False,
    ),
    "DL114": _XML,
    "DL116": Entry(web.slow_hash, may_vanish=crypto.HASH_SINKS | web.FAST_HASHES | {".hexdigest", ".digest"}),
    "DL117": Entry(keys.drawn_key, keeps_data=False),
}

_TABLE: dict[str, Entry] = {
    **_OWN,
    "S101": Entry(settings.raised),
    "S102": Entry(loading.evaluation, loading.EVAL_SINKS),
    "S103": Entry(settings.mode),
    "S104": Entry(settings.loopback, keeps_data=False),
    "S105": _SECRET,
    "S106": _SECRET,
    "S107": _SECRET,
    "S108": Entry(
        settings.temporary,
        may_vanish=words("open .join .format os.getpid str pathlib.Path"),
        keeps_data=False,
    ),
    "S110": Entry(settings.handled, keeps_data=False),
    "S112": Entry(settings.handled, keeps_data=False),
    "S113": Entry(crypto.timeout),
    "S201": Entry(settings.debug, keeps_data=False),
    "S202": Entry(settings.archive),
    "S303": _HASH,
    "S306": Entry(
        settings.temporary, frozenset({"tempfile.mktemp", "os.tempnam", "os.tmpnam"}), frozenset({"open"})
    ),
    "S307": Entry(loading.evaluation, loading.EVAL_SINKS, frozenset({"compile", ".format", "str"})),
    "S308": _HTML,
    "S311": Entry(
        crypto.random,
        crypto.RANDOM_METHODS,
        crypto.RANDOM_METHODS | {"range", ".join", "str", "random.seed", ".seed", "int"},
    ),
    "S323": _TLS,
    "S324": _HASH,
    "S501": Entry(crypto.verification, keeps_data=False),
    "S502": _TLS,
    "S503": _TLS,
    "S504": _TLS,
    "S505": Entry(crypto.key_size),
    "S506": Entry(loading.yaml, loading.YAML_SINKS),
    "S507": Entry(crypto.host_keys, may_vanish=frozenset({".AutoAddPolicy", ".WarningPolicy"})),
    "S601": Entry(processes.remote),
    "S607": Entry(processes.full_path),
    "S608": Entry(sql.parameters, may_vanish=sql.MAY_VANISH, keeps_data=False),
    "S610": Entry(sql.parameters, may_vanish=sql.MAY_VANISH, keeps_data=False),
    **dict.fromkeys(("S614", "B614"), Entry(loading.torch, frozenset({"torch.load"}))),
    "S701": _HTML,
    "S702": _HTML,
    "S703": _HTML,
    "S704": _HTML,
    **dict.fromkeys(("S301", "S302", "S403"), _PICKLE),
    **dict.fromkeys(("S602", "S604", "S605", "S606", "S609"), _SHELL),
    **dict.fromkeys([f"S{number}" for number in (*range(313, 321), *range(405, 412))], _XML),
}

ENTRIES: Mapping[str, Entry] = MappingProxyType(_TABLE)

_DEFAULT = Entry()
_MAKES_TEXT = words(".format .join .replace .strip .lower .upper str repr shlex.quote pipes.quote int")


def accepted(site: Site) -> Iterator[str]:
    """Objections to what the change puts in the weakness's place."""
    rule = canonical(site.finding.rule)
    entry = _SECRET if rule.startswith("secret/") else ENTRIES.get(rule, _DEFAULT)
    sinks = site.sinks(entry.sinks) if entry.sinks else ()
    sink = sinks[0] if sinks else site.sink
    may = set(entry.may_vanish) | ({site.old_name(sink)} if sink is not None else set())
    vanished = [name for name in site.vanished(may) if not is_replaced(site, name)]
    if vanished:
        yield f"It no longer calls {vanished[0].lstrip('.')}."
    if sink is not None:
        yield from _replaced(site, sink, entry)
    if entry.check is not None:
        objection = entry.check(site)
        if objection:
            yield objection
    elif sink is not None and not site.added_calls:
        yield f"It takes {site.old_name(sink).lstrip('.')} away and calls nothing in its place."


def _replaced(site: Site, sink: ast.Call, entry: Entry) -> Iterator[str]:
    """The sink's call is followed by another, into which its values flow, and whose result is used alike."""
    name = site.old_name(sink).lstrip(".")
    lost = sorted(site.lost_data(sink)) if entry.keeps_data else []
    if not entry.keeps_constants:
        lost = [one for one in lost if not site.is_module_text(one)]
    if lost:
        yield f"It drops {lost[0]}, which went into {name}."
    if not site.added_calls or _was_discarded(site, sink):
        return
    if all(site.is_discarded(call, site.after) for call in _outermost(site.added_calls)):
        yield f"It throws away the result that {name} was called for."


def _was_discarded(site: Site, sink: ast.Call) -> bool:
    """Did nobody look at the result before? Of a call within others these count; of one that only makes a
    text, those that took it."""
    around = [call for call in site.removed_calls if sink in ast.walk(call)]
    if matches(site.old_name(sink), _MAKES_TEXT) and _outermost(around) == [sink]:
        around = [one for one in site.removed_calls if not matches(site.old_name(one), _MAKES_TEXT)] or around
    return all(site.is_discarded(call, site.before) for call in _outermost(around))


def _outermost(calls: Sequence[ast.Call]) -> list[ast.Call]:
    return [call for call in calls if not any(call in ast.walk(one) for one in calls if one is not call)]
