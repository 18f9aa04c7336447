"""Suppression comments, compared with what ruff and bandit themselves make of them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pytest

from deltaloom_server.security.finding import Finding, Scanner, Span
from deltaloom_server.security.rules import rule_info
from deltaloom_server.security.scanners import bandit, ruff
from deltaloom_server.security.suppressions import apply, find_comments

ALL: tuple[Scanner, ...] = ("ruff", "bandit", "deltaloom")
SHELL = 'subprocess.run("x" + y, shell=True)'


def finding(
    rule: str, line: int, *, scanners: tuple[Scanner, ...] = ("ruff",), aliases: Iterable[str] = ()
) -> Finding:
    info = rule_info(rule)
    return Finding(
        rule,
        info.title,
        "a.py",
        Span(line, 0, line, 10),
        info.severity,
        info.confidence,
        scanners,
        tuple(aliases),
    )


def unsuppressed(text: str, findings: Iterable[Finding]) -> Counter[tuple[str, int]]:
    left = apply(text, "a.py", findings)
    return Counter((one.rule, one.span.start_line + 1) for one in left if one.suppressed is None)


def unused(
    text: str, findings: Iterable[Finding] = (), scanners: tuple[Scanner, ...] = ALL, path: str = "a.py"
) -> list[str]:
    return [one.message for one in apply(text, path, findings, scanners) if one.rule == "DL001"]


# -- ruff ----------------------------------------------------------------------------------------------------

RUFF = {
    "codes": (
        f"import subprocess\n{SHELL}  # noqa: S602\n{SHELL}  # noqa: S6\n{SHELL}  # NOQA : s602\n"
        f"{SHELL}  # noqa:S602,S603 because\n{SHELL}  # noqa: S602 S607\n{SHELL}  # why # noqa\n"
        f"{SHELL}  # noqa because\n{SHELL}  # noqa-not\n{SHELL}  #noqa:S101\n{SHELL}  # why noqa: S602\n"
        f"{SHELL}  # noqa: S602foo\n{SHELL}  # noqa: E501, S602,\n{SHELL}  # noqaS602\n"
        f"{SHELL}  # noqa : S602\n"
        f"{SHELL}  # noqa: call-with-shell\n{SHELL}  # noqa:\n"
    ),
    "lines": (
        "import subprocess\n"
        'subprocess.run(  # noqa: S602\n    "x" + y, shell=True)\n'
        'subprocess.run(\n    "x" + y, shell=True)  # noqa: S602\n'
        'subprocess.run("""x\n""" + y, shell=True)  # noqa: S602\n'
        'subprocess.run("x" + \\\n   y, shell=True)  # noqa: S602\n'
        'q = f"""select {\ny  # noqa: S608\n} from t\n"""\n'
        'q = f"""select {y} from\nt"""  # noqa: S608\n'
        'q = """\n# noqa\n"""; ' + SHELL + "\n"
        's = "# noqa"; ' + SHELL + "\n"
    ),
    "ruff's own": (
        f"import subprocess\n{SHELL}  # ruff: ignore[S602] why\n{SHELL}  # ruff: ignore[S6]\n"
        f"{SHELL}  # ruff: ignore\n{SHELL}  # ruff:ignore[S602,S603]\n"
        '# ruff: ignore[S602]\nsubprocess.run(\n  "x" + y, shell=True)\n'
        "# ruff: ignore[S602]\n# more\n\n# and more\n" + f"{SHELL}\n{SHELL}\n"
        f"foo(\n # ruff: ignore[S602]\n {SHELL},\n {SHELL}\n)\n"
        f"# ruff: ignore[S602]\nif {SHELL}:\n    {SHELL}\n"
        f"# ruff: ignore[S602]\n@foo({SHELL})\ndef f(\n  b={SHELL}\n):\n    {SHELL}\n"
        f'q = f"""select {{y}} from\nt"""  # ruff: ignore[S608]\n'
    ),
    "ranges": (
        "import subprocess\ndef f(y):\n    # ruff: disable[S602, E501]\n"
        f"    {SHELL}\n    if y:\n        {SHELL}\n    # ruff: enable[S602]\n    {SHELL}\n{SHELL}\n"
        f"# ruff: disable[S602]\n{SHELL}\n# ruff: disable[S602]\n{SHELL}\n# ruff: enable[S602]\n{SHELL}\n"
        f"# ruff: enable[S602]\n{SHELL}\n"
    ),
    **{
        f"file: {head}": f"{head}\nimport subprocess\n{SHELL}\nassert y\n"
        for head in (
            "# ruff: noqa", "# ruff: noqa: S602", "# flake8: noqa", "# flake8: noqa: S602",
            "# ruff: noqa S602", "    # ruff: noqa", "x = 1  # ruff: noqa", "#ruff:noqa:S6",
            "# ruff: file-ignore[S602]",
            "# flake8:noqa", "# ruff: noqa: assert", "# RUFF: NOQA", "# why # ruff: noqa", "# noqa",
            "# ruff: file-ignore[E501]",
        )
    },
}  # fmt: skip


@pytest.mark.parametrize("text", RUFF.values(), ids=RUFF)
def test_noqa_hides_what_ruff_itself_hides(text: str) -> None:
    options = ("--isolated", "--no-cache", "--select", "S", "--output-format", "json")
    command = (ruff.find_ruff(), "check", *options, "-")
    told = subprocess.run(command, input=text.encode(), capture_output=True, check=False).stdout
    expected = Counter((one["code"], one["location"]["row"]) for one in json.loads(told))
    found = ruff.scan_text("a.py", text)
    assert not found.unscanned
    assert found.findings
    assert unsuppressed(text, found.findings) == expected


# -- bandit --------------------------------------------------------------------------------------------------

BANDIT = {
    "codes": (
        f"import subprocess  # nosec B404\n{SHELL}  # nosec\n{SHELL}  # nosec B602, B404\n"
        f"{SHELL}  # nosec: B602\n{SHELL}  # nosec B101\n"
        f"{SHELL}  # nosec subprocess_popen_with_shell_equals_true\n"
        f"{SHELL}  # nosec it is fine\n{SHELL}  #nosec B602 # noqa\n{SHELL}  # why # nosec\n"
        f"{SHELL}  # NOSEC\n{SHELL}  # nosec B101, it is fine B602\n"
        's = "# nosec"; ' + SHELL + "\n"
    ),
    "lines": (
        "import subprocess\nimport hashlib\n"
        'subprocess.run(  # nosec\n    "x" + y, shell=True)\n'
        'subprocess.run(\n    "x" + y,  # nosec B602\n    shell=True,\n)\n'
        'subprocess.run(\n    "x" + y,\n    shell=True,\n)  # nosec B602\n'
        'print(  # nosec\n    hashlib.md5(\n        y))\n'
        'def f(\n    a="",\n    password="hunter2x"):\n    return a  # nosec\n'
        "try:\n    f()\nexcept Exception:\n    pass  # nosec\n"
        'q = ("select * from t where a = "  # nosec\n     + y)\n'
        'execute(  # nosec\n    f"select * from t where a = {y}")\n'
        "assert (  # nosec\n    y\n)\n"
        'key = {\n    "password": "hunter2x",  # nosec B105\n}\n'
    ),
}  # fmt: skip


@pytest.mark.parametrize("text", BANDIT.values(), ids=BANDIT)
def test_nosec_hides_what_bandit_itself_hides(text: str, tmp_path: Path) -> None:
    file = tmp_path / "a.py"
    file.write_text(text, "utf-8")
    command = (sys.executable, "-m", "bandit", "-q", "-f", "json", str(file))
    told = subprocess.run(command, capture_output=True, check=False, cwd=tmp_path).stdout
    expected = Counter(one["test_id"] for one in json.loads(told)["results"])
    found = bandit.scan("a.py", text).findings
    assert len(found) > sum(expected.values())
    left = [one for one in apply(text, "a.py", found) if one.suppressed is None]
    assert Counter(one.aliases[0] for one in left) == expected


# -- the others ----------------------------------------------------------------------------------------------


def hidden(text: str, one: Finding, path: str) -> bool:
    (result,) = apply(text, path, [one])
    return result.suppressed is not None


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("a.js", "eval(x) // nosemgrep"),
        ("a.js", "eval(x) // nosemgrep: js/eval"),
        ("a.js", "eval(x) // nosemgrep: my.rules.eval"),
        ("a.js", "eval(x) /* nosem */"),
        ("a.c", "system(x); /* nosemgrep */"),
        ("a.go", "run(`a // b`, x) // nosemgrep"),
        ("a.php", "eval($x); # nosemgrep"),
    ],
)
def test_nosemgrep_counts_on_the_line(path: str, text: str) -> None:
    assert hidden(text, finding("js/eval", 0, scanners=("semgrep",)), path)
    assert not hidden(f"{text}\neval(y)", finding("js/eval", 1, scanners=("semgrep",)), path)


@pytest.mark.parametrize(
    ("path", "comment"),
    [("a.js", "// nosemgrep: js/eval"), ("a.php", "# nosemgrep"), ("a.c", "/* nosemgrep */")],
)
def test_nosemgrep_counts_alone_above_the_line(path: str, comment: str) -> None:
    assert hidden(f"{comment}\neval(x)", finding("js/eval", 1, scanners=("semgrep",)), path)
    assert not hidden(f"{comment}\n\neval(x)", finding("js/eval", 2, scanners=("semgrep",)), path)


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("a.js", 'eval("// nosemgrep")'),
        ("a.js", "eval(`\n// nosemgrep`)"),
        ("a.js", "eval(x) // nosemgrep: js/other"),
        ("a.js", "f() // nosemgrep\neval(x)"),
        ("a.c", 'system("/* nosemgrep */");'),
        ("a.php", "eval('\n# nosemgrep');"),
        ("a.json", '{"a": 1} // nosemgrep'),
    ],
)
def test_nosemgrep_in_a_string_or_for_another_rule_counts_for_nothing(path: str, text: str) -> None:
    assert not hidden(text, finding("js/eval", text.count("\n"), scanners=("semgrep",)), path)


@pytest.mark.parametrize(
    ("path", "text", "line"),
    [
        ("a.py", "KEY = 'AKIA...'  # pragma: allowlist secret", 0),
        ("a.py", "# pragma: allowlist nextline secret\nKEY = 'AKIA...'", 1),
        ("a.yaml", "key: AKIA  # pragma: whitelist secret", 0),
        ("a.js", "key = 'AKIA'; // pragma: allowlist secret", 0),
        (".env", "KEY=AKIA # pragma: allowlist secret", 0),
    ],
)
def test_allowlisted_secrets_are_hidden_and_passwords_with_them(path: str, text: str, line: int) -> None:
    assert hidden(text, finding("secret/aws-access-key", line, scanners=("secrets",)), path)
    assert hidden(text, finding("S105", line), path)
    assert not hidden(text, finding("S602", line), path)


def test_comments_of_other_tools_hide_nothing_outside_python() -> None:
    one = finding("js/eval", 0, scanners=("semgrep",))
    assert not hidden("eval(x) // noqa", one, "a.js")
    assert not hidden("eval(x) // nosec", one, "a.js")


def test_a_suppressed_finding_says_by_what() -> None:
    (one,) = apply("import x\nf(y)  # ok # nosec B602 the input is checked\n", "a.py", [finding("S602", 1)])
    assert one.suppressed is not None
    assert (one.suppressed.family, one.suppressed.line) == ("nosec", 1)
    assert one.suppressed.comment.startswith("# nosec B602")


def test_our_own_rules_can_be_named_in_both_families() -> None:
    assert not unsuppressed("f()  # noqa: DL101\n", [finding("DL101", 0)])
    assert not unsuppressed("f()  # nosec DL101\n", [finding("DL101", 0)])
    assert unsuppressed("f()  # nosec DL102\n", [finding("DL101", 0)])


def test_text_that_does_not_parse_keeps_the_comments_before_the_fault() -> None:
    text = f"{SHELL}  # noqa: S602\nx = '''\n{SHELL}  # noqa: S602\n"
    assert unsuppressed(text, [finding("S602", 0), finding("S602", 2)]) == {("S602", 3): 1}


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_every_line_end_counts_as_one(end: str) -> None:
    text = end.join(("x = 1", "\f", f"{SHELL}  # noqa: S602", "s = '''a", "b'''  # noqa: S105", ""))
    assert not unsuppressed(text, [finding("S602", 2), finding("S105", 3)])
    assert unsuppressed(text, [finding("S602", 1)])


# -- unused --------------------------------------------------------------------------------------------------


def test_an_unused_comment_is_reported_where_it_stands() -> None:
    text = "x = 1  # nosec B602\n"
    (one,) = apply(text, "a.py", [], ALL)
    assert (one.rule, one.severity, one.span) == ("DL001", "low", Span(0, 7, 0, 19))
    assert one.message == "`# nosec B602` suppresses nothing."


def test_only_the_codes_that_hide_nothing_are_named() -> None:
    text = "f()  # noqa: S602, E501, S105\n"
    assert unused(text, [finding("S602", 0)]) == ["`# noqa: S602, E501, S105` suppresses nothing of S105."]
    assert unused("f()  # nosec B602, B404\n", [finding("S602", 0, scanners=("bandit",))]) == [
        "`# nosec B602, B404` suppresses nothing of B404."
    ]


@pytest.mark.parametrize(
    "comment",
    [
        "# noqa",
        "# noqa: E501",
        "# ruff: noqa",
        "# noqa: F401, E501",
        "# pragma: allowlist secret",
        "# nosemgrep",
    ],
)
def test_comments_that_another_tool_may_need_are_never_called_unused(comment: str) -> None:
    assert not unused(f"x = 1  {comment}\n{comment}\n")


def test_a_bare_nosec_and_file_level_codes_can_be_unused() -> None:
    assert unused("x = 1  # nosec\n")
    assert unused("# ruff: noqa: S602\nx = 1\n")
    assert not unused("# ruff: noqa: S602\nx = 1\n", [finding("S602", 1)])


def test_nothing_is_called_unused_before_every_scanner_has_looked() -> None:
    for text in ("x = 1  # nosec B614\n", "x = 1  # nosec\n", "x = 1  # noqa: S602\n"):
        assert not unused(text, scanners=("ruff", "deltaloom"))
        assert unused(text)
    assert unused("x = 1  # noqa: DL101\n", scanners=("ruff", "deltaloom"))


def test_what_was_said_of_suppressions_before_is_forgotten() -> None:
    text = "f()  # nosec B602\nx = 1  # nosec B101\n"
    once = apply(text, "a.py", [finding("S602", 0)], ALL)
    assert apply(text, "a.py", once, ALL) == once
    (moved,) = apply("f()\n", "a.py", once, ALL)
    assert moved.suppressed is None


def test_a_text_without_the_words_holds_no_comments_and_strings_are_none() -> None:
    assert find_comments("a.py", "x = 1  # no sec\n") == ()
    assert find_comments("a.py", "x = '# nosec'\ny = '''\n# noqa: S602\n'''\n") == ()
    (one,) = find_comments("a.py", "x = 'é'  # nosec\n")
    assert (one.family, one.span) == ("nosec", Span(0, 9, 0, 16))
