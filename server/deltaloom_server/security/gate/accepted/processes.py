"""Programs: started without a shell, the same program, with the same words and values.

Invariant: a command that can't be read is accepted only where the new code splits it into words.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Iterator

from ..reaching import values_at
from ..sinks import PROCESSES, SHELLS
from ..words import words
from .instead import is_done_without
from .site import Site, constant, keyword, matches

STARTS = PROCESSES - {
    "subprocess.getoutput",
    "subprocess.getstatusoutput",
    "os.fork",
    "multiprocessing.Process",
}
_ACCEPTED = words(
    "subprocess.run subprocess.call subprocess.check_call subprocess.check_output subprocess.Popen"
    " asyncio.create_subprocess_exec asyncio.subprocess.create_subprocess_exec"
)
MAY_VANISH = frozenset(
    (
        *PROCESSES,
        "shlex.quote",
        "pipes.quote",
        ".format",
        ".join",
        "str",
        ".read",
        ".close",
        "shlex.join",
        "os.WEXITSTATUS",
        ".split",
        "list2cmdline",
        ".decode",
        ".strip",
        "repr",
    )
)
SINKS = PROCESSES | {".exec_command", ".create_subprocess_shell"}

_OPERATORS = re.compile(r"[|&;<>`$(){}*?~\n]")
_SETTING = re.compile(r"\s*([A-Za-z_]\w*)=(\0|[^\s\0'\"$`;&|]*)\s+")
_CHANGES_FOLDER = re.compile(r"\s*cd\s+[^&;|]+(?:&&|;)\s*")
_QUOTES = "'\""


def no_shell(site: Site) -> str | None:
    """S602, S604, S605, S606, S609: a list of words, and no shell that takes them."""
    starts = site.replacements(_ACCEPTED)
    if not starts and is_library_instead(site):
        return None
    if not starts:
        return "It no longer starts the program, or not with a list of its words."
    commands = [_command(call) for call in site.sinks(SINKS)]
    for call in starts:
        if objection := _is_safe_start(site, call):
            return objection
    old = [one for one in commands if one is not None]
    if old and (objection := _same_words(site, old[0], starts)):
        return objection
    return None


def is_library_instead(site: Site) -> bool:
    """Has the program gone, and the standard library does what it did?"""
    if site.new_calls(_ACCEPTED):
        return False
    commands = [one for call in site.sinks(SINKS) if (one := _command(call)) is not None]
    text = _old_text(site, commands[0]) if len(commands) == 1 else ""
    while setting := _SETTING.match(text):
        text = text[setting.end() :]
    return is_done_without(site, text)


def _command(call: ast.Call) -> ast.expr | None:
    return call.args[0] if call.args else keyword(call, "args") or keyword(call, "cmd")


def _is_safe_start(site: Site, call: ast.Call) -> str | None:
    shell = keyword(call, "shell")
    if shell is not None and constant(shell) is not False:
        return "It still starts a shell, or leaves open whether it does."
    exec_like = site.name(call).endswith("create_subprocess_exec")
    if exec_like:
        words: list[ast.expr] = list(call.args)
    else:
        command = _command(call)
        if command is None:
            return "It starts no program."
        command = site.resolved(command)
        if _is_split(site, command) or _is_old_list(site, _command(call)):
            return None
        if not isinstance(command, ast.List | ast.Tuple):
            return "It passes a command that is not a list of words: without a shell that starts nothing."
        words = command.elts
    if not words:
        return "It starts no program."
    first = words[0].value if isinstance(words[0], ast.Starred) else words[0]
    if isinstance(first, ast.Constant) and isinstance(first.value, str):
        if _base(first.value) in SHELLS and any(
            constant(one) in ("-c", "/c", "/C", "-Command") for one in words
        ):
            return f"It starts a shell by another name, {first.value}."
        if " " in first.value.strip():
            return "It passes a whole command line as one word."
    return None


def _is_split(site: Site, node: ast.expr) -> bool:
    return isinstance(node, ast.Call) and site.name(node) == "shlex.split"


def _is_old_list(site: Site, node: ast.expr | None) -> bool:
    """A variable that was a list of words before already, whatever built it."""
    if not isinstance(node, ast.Name):
        return False
    for root in site.change.old:
        for one in ast.walk(root):
            if isinstance(one, ast.Assign | ast.AnnAssign) and isinstance(one.value, ast.List | ast.Tuple):
                targets = one.targets if isinstance(one, ast.Assign) else [one.target]
                if any(isinstance(target, ast.Name) and target.id == node.id for target in targets):
                    return True
            if (
                isinstance(one, ast.arg)
                and one.arg == node.id
                and one.annotation is not None
                and ast.unparse(one.annotation).lower().startswith(("list[", "sequence[", "tuple["))
            ):
                return True
    return False


def _base(program: str) -> str:
    return program.replace("\\", "/").rpartition("/")[2].lower()


def literal_text(node: ast.expr) -> str:
    """The fixed text of a string expression; a NUL where a value comes in."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else "\0"
    if isinstance(node, ast.JoinedStr):
        return "".join(literal_text(one) for one in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return literal_text(node.left) + literal_text(node.right)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mod):
        return re.sub(r"%(?:\(\w+\))?[-#0 +]*[\d.*]*[a-zA-Z]", "\0", literal_text(node.left))
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "format":
        return re.sub(r"\{[^{}]*\}", "\0", literal_text(node.func.value))
    return "\0"


def _old_text(site: Site, command: ast.expr) -> str:
    if isinstance(command, ast.Name):
        for root in site.change.old:
            for one in ast.walk(root):
                if isinstance(one, ast.Assign) and any(ast.dump(t) == _store(command) for t in one.targets):
                    return literal_text(one.value)
    if isinstance(command, ast.List | ast.Tuple):
        return " ".join(literal_text(one) for one in command.elts)
    return literal_text(command)


def _store(name: ast.Name) -> str:
    return ast.dump(ast.Name(name.id, ast.Store()))


def _same_words(site: Site, command: ast.expr, starts: tuple[ast.Call, ...]) -> str | None:
    """Each word that the old command spells out is in the new code; its first one begins the new list."""
    text = _old_text(site, command)
    if not text.strip("\0 "):
        return None
    folder = _CHANGES_FOLDER.match(text)
    if folder:
        if not any(keyword(call, "cwd") is not None for call in starts):
            return "It no longer starts the program in the folder that the command went to."
        text = text[folder.end() :]
    new_text = " ".join(_new_texts(site))
    settings: list[tuple[str, object]] = []
    while setting := _SETTING.match(text):
        settings.append((setting[1], ... if setting[2] == "\0" else setting[2]))
        text = text[setting.end() :]
    if objection := _same_environment(site, settings, starts):
        return objection
    first = text.split()[0] if text.split() else ""
    if first and "\0" not in first and not _OPERATORS.search(first):
        program = _base(first.strip(_QUOTES))
        if not any(_starts_with(site, call, program) for call in starts):
            return f"It starts another program than {program}."
        programs = {_base(word.strip(_QUOTES)) for word in re.split(r"[\s\0|&;]+", text)}
        for call in starts:
            if (other := _program(site, call)) and _base(other) not in programs:
                return f"It starts another program than {program}."
    for word in re.split(r"[\s\0]+", text):
        plain = word.strip(_QUOTES + "=:,")
        known = plain in new_text or _is_spelled_apart(plain, new_text.split())
        known = known or (plain == "/dev/null" and _discards(site))
        if len(plain) > 1 and not _OPERATORS.search(plain) and not known:
            return f"The command loses the word {plain}."
    return None


def _is_spelled_apart(word: str, new: Collection[str]) -> bool:
    """`tar cf` and `tar -cf` are `tar -c -f`."""
    letters = word.removeprefix("-")
    return letters.isalpha() and len(letters) < 6 and all(f"-{letter}" in new for letter in letters)


def _same_environment(
    site: Site, settings: list[tuple[str, object]], starts: tuple[ast.Call, ...]
) -> str | None:
    """`LC_ALL=C git log` becomes env={**os.environ, "LC_ALL": "C"}: these variables, no others, and the rest
    of the environment."""
    environments = [env for call in starts if (env := keyword(call, "env")) is not None]
    found = [dict(_settings(site, env)) for env in environments]
    for name, value in settings:
        if not any(one.get(name) == value for one in found):
            return f"It no longer sets {name} for the program."
    before = [env for call in site.sinks(SINKS) if (env := keyword(call, "env")) is not None]
    known = {*settings, *(one for env in before for one in _settings(site, env))}
    for env, one in zip(environments, found, strict=True):
        if ast.dump(env) in map(ast.dump, before):
            continue
        if more := sorted(name for name, value in one.items() if (name, value) not in known):
            return f"It sets {more[0]} for the program."
        if not before and not any(_is_environment(site, value) for value in values_at(site.after, env)):
            return "It doesn't pass the program the rest of the environment."
    return None


def _settings(site: Site, env: ast.expr) -> Iterator[tuple[str, object]]:
    """The variables that are written out: in a dictionary, as keywords, by `env["NAME"] = value`."""
    for value in values_at(site.after, env):
        for node in ast.walk(value):
            if isinstance(node, ast.Dict):
                for key, one in zip(node.keys, node.values, strict=True):
                    if key is not None:
                        yield str(constant(key)), constant(one)
            elif isinstance(node, ast.Call):
                yield from ((str(one.arg), constant(one.value)) for one in node.keywords if one.arg)
    if isinstance(env, ast.Name):
        for root in site.change.new:
            for node in ast.walk(root):
                target = node.targets[0] if isinstance(node, ast.Assign) else None
                if not isinstance(node, ast.Assign) or not isinstance(target, ast.Subscript):
                    continue
                if ast.unparse(target.value) == env.id:
                    yield str(constant(target.slice)), constant(node.value)


def _is_environment(site: Site, node: ast.expr) -> bool:
    return any(
        site.after.qualified(one) in ("os.environ", "os.environ.copy")
        for one in ast.walk(node)
        if isinstance(one, ast.Attribute)
    )


def _discards(site: Site) -> bool:
    return any(
        isinstance(node, ast.Attribute) and node.attr == "DEVNULL"
        for root in site.change.new
        for node in ast.walk(root)
    )


def _new_texts(site: Site) -> Iterator[str]:
    for root in site.change.new:
        for node in ast.walk(root):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value


def _starts_with(site: Site, call: ast.Call, program: str) -> bool:
    words = call.args if site.name(call).endswith("create_subprocess_exec") else None
    if words is None:
        command = _command(call)
        command = site.resolved(command) if command is not None else None
        if isinstance(command, ast.Call):
            return any(
                literal_text(one).lstrip().startswith(program) or "\0" in literal_text(one)
                for one in command.args
            )
        if isinstance(command, ast.Name):
            return True
        words = list(command.elts) if isinstance(command, ast.List | ast.Tuple) else []
    if not words:
        return False
    first = words[0]
    if isinstance(first, ast.Starred):
        return True
    names = [
        one.value for one in ast.walk(first) if isinstance(one, ast.Constant) and isinstance(one.value, str)
    ]
    return any(_base(one) == program for one in names)


def _program(site: Site, call: ast.Call) -> str:
    """The program that a start spells out; "" where it doesn't."""
    words = list(call.args) if site.name(call).endswith("create_subprocess_exec") else []
    command = _command(call)
    for value in values_at(site.after, command) if not words and command is not None else ():
        words += value.elts if isinstance(value, ast.List | ast.Tuple) else []
    first = constant(words[0]) if words else None
    return first if isinstance(first, str) else ""


def full_path(site: Site) -> str | None:
    """S607: the same program, by a path that is written out or that shutil.which has found."""
    starts = site.replacements(STARTS)
    if not starts and not site.replacements({"shutil.which"}):
        return "It no longer starts the program."
    for call in site.sinks(SINKS):
        command = _command(call)
        if command is not None and (objection := _program_kept(site, command)):
            return objection
    return None


def _program_kept(site: Site, command: ast.expr) -> str | None:
    words = _old_text(site, command).split()
    if words and "\0" not in words[0]:
        program = _base(words[0])
        if not any(_base(text.split()[0]) == program for text in _new_texts(site) if text.split()):
            return f"It starts another program than {program}."
    return None


def remote(site: Site) -> str | None:
    """S601: the value is quoted on its way into a remote command."""
    if not site.replacements({"shlex.quote", "shlex.join"}):
        return "It doesn't quote what goes into the remote command."
    return None if _calls(site, ".exec_command") else "It no longer runs the remote command."


def _calls(site: Site, name: str) -> bool:
    return any(
        isinstance(node, ast.Call) and matches(site.name(node), {name})
        for root in site.change.new
        for node in ast.walk(root)
    )
