"""S602, S605, S609: commands for a shell are started without one, from a list of their words.

Invariant: each value becomes one word (or part of one), whatever is in it; a command that needs a shell for
more than its words, its folder, its variables or where its output goes is left alone.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass

from deltaloom_server.security.codemods import Case
from deltaloom_server.security.codemods.above import Built, built_above, keeps_its_values
from deltaloom_server.security.codemods.matching import find_call, keyword, unpacks
from deltaloom_server.security.codemods.rewrite import Rewrite
from deltaloom_server.security.codemods.shellcalls import RUNS, SHELLS, in_place_of, keywords_of
from deltaloom_server.security.codemods.shelllists import list_of, passed_to
from deltaloom_server.security.codemods.shellwords import Command, guarded, read_command, text_of
from deltaloom_server.security.codemods.source import Source
from deltaloom_server.security.codemods.template import holes_in, parts_of
from deltaloom_server.security.finding import Finding
from deltaloom_server.security.proposal import Proposal

RULES = ("S602", "S605", "S609")

_TITLE = "Start the command without a shell"
_MISSING = "A program that isn't there now raises FileNotFoundError instead of giving exit status 127."
_WIDEST = 100


def propose(source: Source, finding: Finding) -> Iterator[Proposal]:
    """One proposal: the command as a list."""
    call = find_call(source, finding, lambda one: _is_meant(source, one))
    line = _line_of(call) if call is not None else None
    if call is None or line is None or unpacks(call):
        return
    if any(isinstance(one, ast.JoinedStr) for one in source.ancestors(call)):
        return
    proposal = (
        _from_list(source, call, line) or _from_line(source, call, line) or _from_callers(source, call, line)
    )
    if proposal is not None:
        yield proposal


def _is_meant(source: Source, call: ast.Call) -> bool:
    name = source.qualified(call.func)
    shell = keyword(call, "shell")
    truthy = shell is not None and isinstance(shell.value, ast.Constant) and bool(shell.value.value)
    return name in SHELLS or (name in RUNS and truthy)


def _line_of(call: ast.Call) -> ast.expr | None:
    """The argument that is the command."""
    if call.args:
        return call.args[0]
    given = next((one for one in call.keywords if one.arg in ("args", "cmd", "command")), None)
    return given.value if given is not None else None


def _from_list(source: Source, call: ast.Call, line: ast.expr) -> Proposal | None:
    """The words are in a list already, perhaps joined to a line."""
    listed = list_of(source, line)
    if listed is None or source.qualified(call.func) not in RUNS:
        return None
    rewrite = Rewrite(source)
    if listed.replaced is not None:
        rewrite.replace(listed.replaced, listed.text)
    if not _drop_shell(rewrite, call):
        return None
    if listed.replaced is None:
        note = "With a shell, only the first member of the list was the command; now all of them are."
        return rewrite.proposal(_TITLE, unsafe=True, note=note)
    return rewrite.proposal(_TITLE, note=_MISSING)


def _from_line(source: Source, call: ast.Call, line: ast.expr) -> Proposal | None:
    """The words are told from the line itself, or from the one variable that holds it."""
    built = None if parts_of(source, line) else built_above(source, line)
    parts = parts_of(source, built.value if built is not None else line)
    rewrite = Rewrite(source)
    command = read_command(source, parts, rewrite.use) if parts else None
    if command is None or parts is None:
        return None
    if (
        built is not None
        and not command.is_words_only
        and not keeps_its_values(source, built, line, holes_in(parts))
    ):
        return None
    site = _Site(source, rewrite, call, line, built)
    if not (site.from_os(command) if source.qualified(call.func) in SHELLS else site.from_run(command)):
        return None
    note, unsafe = _MISSING, source.qualified(call.func) in SHELLS
    if any("split(" in word.spread for word in command.words):
        note, unsafe = "The options in one value are still split at spaces, but no shell reads them.", True
    if any(word.wild for word in command.words):
        note, unsafe = "Python instead of the shell looks for the files that the pattern matches.", True
    return rewrite.proposal(_TITLE, unsafe=unsafe, note=note)


def _from_callers(source: Source, call: ast.Call, line: ast.expr) -> Proposal | None:
    """A parameter that all callers in the file give plain commands to is split at spaces."""
    if source.qualified(call.func) not in RUNS or not isinstance(line, ast.Name):
        return None
    lines = passed_to(source, line)
    if not lines:
        return None
    for one in lines:
        parts = parts_of(source, one)
        command = read_command(source, parts, lambda module, name: f"{module}.{name}") if parts else None
        if command is None or not command.is_words_only or any(word.wild for word in command.words):
            return None
    rewrite = Rewrite(source)
    rewrite.replace(line, f"{rewrite.use('shlex', 'split')}({line.id})")
    if not _drop_shell(rewrite, call):
        return None
    note = "Commands from other files that need a shell (pipes, redirections, variables) no longer work."
    return rewrite.proposal("Split the command and start it without a shell", unsafe=True, note=note)


@dataclass(frozen=True, slots=True)
class _Site:
    """A call, and where its command line is written."""

    source: Source
    rewrite: Rewrite
    call: ast.Call
    line: ast.expr
    built: Built | None

    def from_run(self, command: Command) -> bool:
        """Rewrites a call of one of `RUNS`."""
        given = keywords_of(self.rewrite, command, self.call)
        words = self._words(command)
        taken = {one.arg for one in self.call.keywords}
        if given is None or words is None or command.background:
            return False
        if "env" in taken and command.reads_environment:
            return False
        names = {one.partition("=")[0] for one in given}
        captures = "capture_output" in taken or self.source.qualified(self.call.func).endswith("check_output")
        if (
            names & taken
            or (captures and "stdout" in names)
            or ("capture_output" in taken and "stderr" in names)
        ):
            return False
        self.rewrite.replace(self.built.value if self.built else self.line, words)
        return _drop_shell(self.rewrite, self.call, given)

    def from_os(self, command: Command) -> bool:
        """Rewrites a call of one of `SHELLS`."""
        given = keywords_of(self.rewrite, command, self.call)
        words = self._words(command)
        if given is None or words is None:
            return False
        if self.built is not None:
            self.rewrite.replace(self.built.value, words)
            words = self.source.segment(self.line)
        return in_place_of(self.rewrite, self.call, words, command, given)

    def _words(self, command: Command) -> str | None:
        texts = [text_of(word, self.rewrite.use) for word in guarded(command.words)]
        known = [text for text in texts if text is not None]
        if len(known) != len(texts):
            return None
        where = self.built.value if self.built is not None else self.line
        line = self.source.lines[where.lineno - 1]
        indent = line[: len(line) - len(line.lstrip(" \t"))]
        whole = f"[{', '.join(known)}]"
        if len(indent) + len(whole) < _WIDEST:
            return whole
        end = self.source.line_end
        step = "\t" if indent.startswith("\t") else "    "
        return f"[{end}" + "".join(f"{indent}{step}{one},{end}" for one in known) + f"{indent}]"


def _drop_shell(rewrite: Rewrite, call: ast.Call, given: list[str] | None = None) -> bool:
    """Puts `given` in the place of `shell=True`, and takes a shell's name out; False where both can't be."""
    shell, executable = keyword(call, "shell"), keyword(call, "executable")
    if shell is None:
        return False
    if executable is not None:
        named = isinstance(executable.value, ast.Constant) and str(executable.value.value).endswith("sh")
        apart = abs(call.keywords.index(executable) - call.keywords.index(shell)) > 1
        if not named or not (given or apart):
            return False
        rewrite.remove_argument(call, executable)
    if given:
        rewrite.replace(shell, ", ".join(given))
    else:
        rewrite.remove_argument(call, shell)
    return True


CASES = (
    Case(
        "import subprocess\n\n\ndef show(name):\n"
        '    subprocess.run(f"ls -l {name}", shell=True, check=True)\n',
        "import subprocess\n\n\ndef show(name):\n"
        '    subprocess.run(["ls", "-l", "--", str(name)], check=True)\n',
    ),
    Case(
        "import subprocess\n\n\ndef find(text: str, path: str):\n    return subprocess.check_output(\n"
        "        \"grep -n '%s' %s 2>/dev/null\" % (text, path),\n        shell=True,\n    )\n",
        "import subprocess\n\n\ndef find(text: str, path: str):\n    return subprocess.check_output(\n"
        '        ["grep", "-n", "--", text, path],\n        stderr=subprocess.DEVNULL,\n    )\n',
    ),
    Case(
        "import subprocess\n\n\ndef scale(path, size):\n"
        '    command = "convert " + path + " -resize " + size + "x" + size + " out.png"\n'
        "    print(command)\n    return subprocess.call(command, shell=True)\n",
        "import subprocess\n\n\ndef scale(path, size):\n"
        '    command = ["convert", path, "-resize", f"{size}x{size}", "out.png"]\n'
        "    print(command)\n    return subprocess.call(command)\n",
    ),
    Case(
        'import os\n\n\ndef update(folder):\n    if os.system(f"cd {folder} && git pull") != 0:\n'
        "        raise OSError(folder)\n",
        "import os\nimport subprocess\n\n\ndef update(folder):\n"
        '    if subprocess.run(["git", "pull"], cwd=str(folder), check=False).returncode != 0:\n'
        "        raise OSError(folder)\n",
        "S605",
        unsafe=True,
    ),
    Case(
        'import os\n\n\ndef kind(path):\n    return os.popen("file -b " + path).read().strip()\n',
        "import os\nimport subprocess\n\n\ndef kind(path):\n"
        '    return subprocess.run(["file", "-b", "--", path], stdout=subprocess.PIPE, text=True, '
        "check=False).stdout.strip()\n",
        "S605",
        unsafe=True,
    ),
    Case(
        'import os\n\n\ndef save(path, target):\n    os.system("sort %s > %s" % (path, target))\n',
        "import os\nimport subprocess\n\n\ndef save(path, target):\n"
        '    with open(str(target), "wb") as stdout_file:\n'
        '        subprocess.run(["sort", "--", str(path)], stdout=stdout_file, check=False)\n',
        "S605",
        unsafe=True,
    ),
    Case(
        "import subprocess\n\n\ndef run(command):\n"
        "    return subprocess.check_output(command, shell=True, text=True)\n\n\n"
        'def ping(host):\n    return run(f"ping -c 1 {host}")\n',
        "import subprocess\nimport shlex\n\n\ndef run(command):\n"
        "    return subprocess.check_output(shlex.split(command), text=True)\n\n\n"
        'def ping(host):\n    return run(f"ping -c 1 {host}")\n',
        unsafe=True,
    ),
    Case(
        'import subprocess\n\n\ndef own(user):\n    subprocess.call("chown root *", shell=True)\n',
        "import subprocess\nimport glob\n\n\ndef own(user):\n"
        '    subprocess.call(["chown", "--", "root", *(sorted(glob.glob("*")) or ["*"])])\n',
        "S609",
        unsafe=True,
    ),
    # A pipe needs a shell.
    Case(
        'import subprocess\n\n\ndef count(path):\n    subprocess.run(f"cat {path} | wc -l", shell=True)\n',
        None,
    ),
    # Nobody in this file says what is run.
    Case("import subprocess\n\n\ndef run(command):\n    subprocess.run(command, shell=True)\n", None),
    Case('import os\n\n\ndef list_it(path):\n    return os.system(f"ls {path}") >> 8\n', None, "S605"),
)
