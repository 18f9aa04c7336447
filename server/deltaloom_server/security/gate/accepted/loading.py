"""Reading data: YAML, pickles, XML, expressions. What reads them may only build plain data.

Invariant: the replacement is a call that is named here, of the module that is named here.
"""

from __future__ import annotations

import ast

from deltaloom_server.security.codemods.source import Function

from ..refusals import only_raises, refuses_classes
from ..words import words
from .site import Site, constant, keyword, matches

_SAFE_YAML = frozenset(["yaml.safe_load", "yaml.safe_load_all"])
_SAFE_LOADERS = frozenset(
    [
        "yaml.SafeLoader",
        "yaml.CSafeLoader",
        "yaml.loader.SafeLoader",
        "yaml.cyaml.CSafeLoader",
        "yaml.BaseLoader",
    ]
)
YAML_SINKS = words(
    "yaml.load yaml.load_all yaml.unsafe_load yaml.unsafe_load_all yaml.full_load yaml.full_load_all"
)

JSON_LIKE = words(
    "json.load json.loads tomllib.load tomllib.loads orjson.loads ujson.load ujson.loads"
    " simplejson.load simplejson.loads msgpack.unpackb msgpack.unpack msgpack.load msgpack.loads"
    " msgspec.json.decode msgspec.msgpack.decode yaml.safe_load csv.reader csv.DictReader"
    " ast.literal_eval plistlib.load plistlib.loads configparser.ConfigParser .model_validate_json"
    " .parse_raw .FromString safetensors.torch.load_file safetensors.numpy.load_file numpy.load"
    " hmac.compare_digest"
)
PICKLE_SINKS = words(
    "pickle.load pickle.loads pickle.Unpickler cPickle.load cPickle.loads _pickle.load _pickle.loads"
    " dill.load dill.loads marshal.load marshal.loads shelve.open jsonpickle.decode pandas.read_pickle"
    " joblib.load numpy.load .read_pickle cloudpickle.load cloudpickle.loads"
)
PICKLE_VANISH = PICKLE_SINKS | frozenset(
    ["pickle.dumps", "pickle.dump", ".load", ".decode", "base64.b64decode"]
)

_LITERALS = words("ast.literal_eval json.loads int float complex decimal.Decimal fractions.Fraction")
EVAL_SINKS = frozenset(["eval", "exec", "compile", "builtins.eval", "builtins.exec"])

XML_METHODS = words(
    ".parse .fromstring .iterparse .XML .parseString .make_parser .XMLParser .fromstringlist .create_parser"
)


def yaml(site: Site) -> str | None:
    """S506."""
    for call in site.added_calls:
        name = site.name(call)
        if name in _SAFE_YAML:
            return None
        if name in ("yaml.load", "yaml.load_all"):
            loader = keyword(call, "Loader") or (call.args[1] if len(call.args) > 1 else None)
            if loader is not None and site.after.qualified(loader) in _SAFE_LOADERS:
                return None
        if name == "ruamel.yaml.YAML" and constant(keyword(call, "typ")) == "safe":
            return None
    return "It doesn't load YAML with yaml.safe_load or a safe loader."


def pickle(site: Site) -> str | None:
    """S301, S302: a format that holds data only; or a check of a MAC before the pickle is read."""
    read = [call for call in site.replacements(JSON_LIKE) if not site.is_discarded(call, site.after)]
    if not read and _loads_plain_data(site):
        return None
    if not read:
        return "It doesn't read the data with json or another format that holds only data."
    for call in read:
        if site.name(call) == "numpy.load" and constant(keyword(call, "allow_pickle")) is not False:
            return "It loads with numpy without allow_pickle=False."
        hook = keyword(call, "object_hook") or keyword(call, "cls")
        if hook is not None:
            return "It builds objects from what it reads."
    return None


def _loads_plain_data(site: Site) -> bool:
    """An unpickler of the unit's own, which refuses every class, loads, and its result is used."""
    names = {
        node.name
        for node in site.change.added
        if isinstance(node, ast.ClassDef) and refuses_classes(site.after, node)
    }
    return any(
        isinstance(call.func, ast.Attribute)
        and call.func.attr == "load"
        and isinstance(made := site.resolved(call.func.value), ast.Call)
        and isinstance(made.func, ast.Name)
        and made.func.id in names
        and not site.is_discarded(call, site.after)
        for call in site.added_calls
    )


def evaluation(site: Site) -> str | None:
    """S307, S102: a literal, a number, or what a dictionary has under that name."""
    read = [
        call for call in site.replacements(_LITERALS | {".get"}) if not site.is_discarded(call, site.after)
    ]
    if any(site.name(call) != ".get" or _is_table(site, call.func) for call in read):
        return None
    for node in site.change.added:
        if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Load) and _is_table(site, node):
            return None
    return "It neither reads a literal (ast.literal_eval, json.loads) nor looks a value up in a table."


def _is_table(site: Site, node: ast.expr) -> bool:
    """A dictionary display, or a variable of that; a name of capitals is taken for a table of the module."""
    assert isinstance(node, ast.Attribute | ast.Subscript)
    table = site.resolved(node.value)
    if isinstance(table, ast.Dict):
        return True
    return isinstance(table, ast.Name) and table.id.isupper()


def torch(site: Site) -> str | None:
    """S614: weights_only=True, or a format without code."""
    for call in site.replacements({"torch.load"}):
        if constant(keyword(call, "weights_only")) is True:
            return None
    if site.replacements({"safetensors.torch.load_file", "safetensors.torch.load"}):
        return None
    return "It doesn't load with weights_only=True."


def xml(site: Site) -> str | None:
    """S313 to S320, S405 to S413: defusedxml's function of the same name, or a parser without entities."""
    if any(one.full.startswith("defusedxml") for one in site.new_imports):
        return None if _parses(site) else "It no longer reads the XML."
    if any(site.name(call).startswith("defusedxml.") for call in site.added_calls):
        return None
    for call in site.added_calls:
        if (
            matches(site.name(call), {"lxml.etree.XMLParser"})
            and constant(keyword(call, "resolve_entities")) is False
            and constant(keyword(call, "no_network"))
            in (
                None,
                True,
            )
        ):
            return None if _parses(site) else "It no longer reads the XML."
        if site.name(call) == "xml.parsers.expat.ParserCreate" and _refuses_entities(site):
            return None
        if (
            site.name(call) == ".setFeature"
            and len(call.args) == 2
            and constant(call.args[1]) is False
            and "external_ges" in ast.unparse(call.args[0])
        ):
            return None
    return "It doesn't read XML with defusedxml, or with a parser that resolves no entities."


def _refuses_entities(site: Site) -> bool:
    """`parser.EntityDeclHandler = refuse`, of a function that only raises, before `parser.Parse(text)`."""
    refusing = {node.name for node in site.change.added if isinstance(node, Function) and only_raises(node)}
    parsers = {
        target.value.id: node.lineno
        for node in site.change.added
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Name) and node.value.id in refusing
        for target in node.targets
        if isinstance(target, ast.Attribute)
        and target.attr == "EntityDeclHandler"
        and isinstance(target.value, ast.Name)
        and _always_runs(site, node)
    }
    parses = [call for call in site.added_calls if site.name(call) in (".Parse", ".ParseFile")]
    handlers = [
        node
        for node in site.change.added
        if isinstance(node, ast.Attribute)
        and node.attr == "EntityDeclHandler"
        and isinstance(node.ctx, ast.Store)
    ]
    return len(handlers) == len(parsers) > 0 < len(parses) and all(
        isinstance(call.func, ast.Attribute)
        and isinstance(call.func.value, ast.Name)
        and parsers.get(call.func.value.id, call.lineno) < call.lineno
        for call in parses
    )


def _always_runs(site: Site, node: ast.stmt) -> bool:
    """Does a statement stand in the function's own body, under no condition?"""
    return any(node in root.body for root in site.change.new if isinstance(root, Function))


def _parses(site: Site) -> bool:
    """Where the import alone has changed there is nothing to compare in the unit."""
    return not site.removed_calls or any(matches(site.name(call), XML_METHODS) for call in site.added_calls)
