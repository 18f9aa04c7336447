"""S105, S106, S107 and found secrets: a password is read from the environment instead of from the code.

Invariant: nothing is proposed for what only looks like a password by its name: placeholders, addresses, the
names of fields, members of an enumeration.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from deltaloom_server.security.codemods import Case
from deltaloom_server.security.codemods.rewrite import Rewrite
from deltaloom_server.security.codemods.source import Function, Source
from deltaloom_server.security.codemods.told_names import environment_name
from deltaloom_server.security.finding import Finding
from deltaloom_server.security.proposal import Proposal

_SECRETS = (
    "aws-access-key", "azure-storage-account-access-key", "base64-high-entropy-string", "private-key",
    "basic-auth-credentials", "discord-bot-token", "github-token", "gitlab-token", "hex-high-entropy-string",
    "json-web-token", "mailchimp-access-key", "npm-tokens", "openai-token", "pypi-token", "secret-keyword",
    "sendgrid-api-key", "slack-token", "square-oauth-secret", "stripe-access-key", "telegram-bot-token",
    "twilio-api-key",
)  # fmt: skip
RULES = ("S105", "S106", "S107", *(f"secret/{name}" for name in _SECRETS))

_PLACEHOLDER = re.compile(
    r"|[<{\[(].*[>}\])]|[*.x_-]+|none|null|true|false|test|changeme|change[-_ ]me|your[-_ ].*|todo.*"
    r"|example.*|(?:https?|file)://[^@]*|[/.~].*|.*\s.*"
    r"|[a-z_.-]*(?:pass|password|passwd|token|secret|pwd|bearer|key)[a-z_.-]*",
    re.IGNORECASE | re.DOTALL,
)
_SECRET_WORDS = frozenset(("password", "passwd", "passphrase", "pass", "pwd", "pw", "secret", "key", "token"))
_PAGES = frozenset(("next", "page", "continuation", "start", "end", "update", "sync", "stop", "pad", "mask"))
_ENUMERATIONS = frozenset(("Enum", "StrEnum", "IntEnum", "TextChoices", "Choices", "Flag"))


def propose(source: Source, finding: Finding) -> Iterator[Proposal]:
    """`os.environ["NAME"]` in the place of the literal."""
    literal = _literal_at(source, finding)
    if literal is None or not isinstance(literal.value, str):
        return
    named = _name_of(source, literal)
    if not named or _is_harmless(source, literal, named, certain=finding.rule.startswith("secret/")):
        return
    variable = environment_name(source, "_".join(_words(named)).upper())
    if not re.fullmatch(r"[A-Z][A-Z0-9_]+", variable):
        return
    rewrite = Rewrite(source)
    value = f'{rewrite.use("os", "environ")}["{variable}"]'
    if not _write(rewrite, literal, named, value):
        return
    note = (
        f"It must be set as {variable} where the program runs; change the value, as it stays in the history."
    )
    yield rewrite.proposal(f"Read {variable} from the environment", unsafe=True, note=note)


def _literal_at(source: Source, finding: Finding) -> ast.Constant | None:
    """The literal nearest to a finding; for a secret in the middle of a line, the one around it."""
    strings = [
        node
        for node in source.nodes_at(finding.span)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and _name_of(source, node)
    ]
    wanted = [one for one in strings if f"'{one.value!s}'" in finding.message.replace('"', "'")]
    if len(wanted) == 1:
        return wanted[0]
    at = source.offset_of(finding.span.start_line, finding.span.start_column)
    around = [one for one in strings if source.start(one) <= at < source.end(one)]
    if around:
        return around[0]
    return strings[0] if len(strings) == 1 else None


def _name_of(source: Source, literal: ast.Constant) -> str:
    """What a literal is assigned or passed to."""
    parent = source.parents[literal]
    if isinstance(parent, ast.Assign) and len(parent.targets) == 1:
        return _last_name(parent.targets[0])
    if isinstance(parent, ast.AnnAssign):
        return _last_name(parent.target)
    if isinstance(parent, ast.keyword):
        return parent.arg or ""
    if isinstance(parent, ast.Dict) and literal in parent.values:
        key = parent.keys[parent.values.index(literal)]
        return str(key.value) if isinstance(key, ast.Constant) and isinstance(key.value, str) else ""
    if isinstance(parent, ast.Compare) and len(parent.ops) == 1:
        other = parent.left if parent.left is not literal else parent.comparators[0]
        return _last_name(other)
    if isinstance(parent, ast.arguments):
        parameter = _parameter(parent, literal)
        return parameter.arg if parameter is not None else ""
    return ""


def _last_name(node: ast.expr) -> str:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return node.attr
    if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant):
        return str(node.slice.value)
    return ""


def _parameter(arguments: ast.arguments, default: ast.expr) -> ast.arg | None:
    placed = [*arguments.posonlyargs, *arguments.args]
    pairs = [*zip(placed[len(placed) - len(arguments.defaults) :], arguments.defaults, strict=True)]
    pairs += [
        (a, d) for a, d in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True) if d is not None
    ]
    return next((argument for argument, one in pairs if one is default), None)


def _is_harmless(source: Source, literal: ast.Constant, named: str, *, certain: bool) -> bool:
    text = str(literal.value)
    if not text or text.lower() == named.lower():
        return True
    if not certain and _PLACEHOLDER.fullmatch(text):
        return True
    if not certain and not _is_secret(source, literal, text, _words(named)):
        return True
    around = next((one for one in source.ancestors(literal) if isinstance(one, ast.ClassDef)), None)
    bases = [ast.unparse(base).rpartition(".")[2] for base in around.bases] if around is not None else []
    return any(base in _ENUMERATIONS for base in bases)


def _is_secret(source: Source, literal: ast.Constant, text: str, words: list[str]) -> bool:
    """Is it a password by its name's last word, and by its own looks? A token is no plain word."""
    if not words or words[-1] not in _SECRET_WORDS or len(text) < 4:
        return False
    if words[-1] == "token":
        mixed = any(map(str.isdigit, text)) and any(map(str.isalpha, text))
        return mixed and len(text) >= 8 and not set(words) & _PAGES
    compared = isinstance(source.parents[literal], ast.Compare)
    return not compared or len(text) > 5


def _words(named: str) -> list[str]:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", named).lower().strip("_").split("_")


def _write(rewrite: Rewrite, literal: ast.Constant, named: str, value: str) -> bool:
    source = rewrite.source
    parent = source.parents[literal]
    if not isinstance(parent, ast.arguments):
        rewrite.replace(literal, value)
        return True
    function = source.parents[parent]
    if not isinstance(function, Function):
        return False
    first = next((one for one in function.body if not _is_docstring(one)), None)
    parameter = _parameter(parent, literal)
    if first is None or parameter is None or first.lineno == function.lineno:
        return False
    if parameter.annotation is not None and "None" not in ast.unparse(parameter.annotation):
        rewrite.insert(source.end(parameter.annotation), " | None")
    rewrite.replace(literal, "None")
    step = "\t" if source.indent_of(first).startswith("\t") else "    "
    return rewrite.insert_before(first, f"if {named} is None:", f"{step}{named} = {value}")


def _is_docstring(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


CASES = (
    Case(
        '"""Mail. In the environment, MAIL_PASS is the relay\'s password."""\n\nimport os\n\n'
        "PASSWORD = 'hunter2-4711'\n",
        '"""Mail. In the environment, MAIL_PASS is the relay\'s password."""\n\nimport os\n\n'
        'PASSWORD = os.environ["MAIL_PASS"]\n',
        "S105",
        unsafe=True,
    ),
    Case(
        'import os\n\nDB_PASSWORD = "hunter2-4711"\n',
        'import os\n\nDB_PASSWORD = os.environ["DB_PASSWORD"]\n',
        "S105",
        unsafe=True,
    ),
    Case(
        'def start(app):\n    app.config["SECRET_KEY"] = "k3y-0815"\n',
        'import os\n\ndef start(app):\n    app.config["SECRET_KEY"] = os.environ["SECRET_KEY"]\n',
        "S105",
        unsafe=True,
    ),
    Case(
        'import db\n\nhandle = db.connect("host", password="hunter2-4711")\n',
        'import db\nimport os\n\nhandle = db.connect("host", password=os.environ["PASSWORD"])\n',
        "S106",
        unsafe=True,
    ),
    Case(
        'import db\n\n\ndef connect(host, password: str = "hunter2-4711"):\n    """Opens it."""\n'
        "    return db.connect(host, password)\n",
        "import db\nimport os\n\n\ndef connect(host, password: str | None = None):\n"
        '    """Opens it."""\n    if password is None:\n        password = os.environ["PASSWORD"]\n'
        "    return db.connect(host, password)\n",
        "S107",
        unsafe=True,
    ),
    Case('TOKEN_URL = "https://example.org/token"\n', None, "S105"),
    Case('password_field = "user_password"\n', None, "S105"),
    Case('from enum import Enum\n\n\nclass Kind(Enum):\n    PASSWORD = "pw1"\n', None, "S105"),
)
