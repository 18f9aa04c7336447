"""Programs: their environment, their words and addresses, pipes, and what the library does without them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

Bench = Callable[..., Any]

SETTING = "import os\nimport subprocess\n\n\ndef log(name):\n    os.system('LC_ALL=C git log -- ' + name)\n"
SYSTEM = "os.system('LC_ALL=C git log -- ' + name)"
START = 'subprocess.run(["git", "log", "--", name], env=env, check=False)'

ENVIRONMENTS = [
    '{**os.environ, "LC_ALL": "C"}',
    'os.environ | {"LC_ALL": "C"}',
    'dict(os.environ, LC_ALL="C")',
    'os.environ.copy()\n    env["LC_ALL"] = "C"',
]
OTHER_ENVIRONMENTS = [
    '{**os.environ, "LC_ALL": "de"}',
    '{**os.environ, "LC_ALL": "C", "LD_PRELOAD": "x.so"}',
    '{"LC_ALL": "C"}',
    "dict(os.environ)",
    'os.environ.copy()\n    env["LC_ALL"] = "C"\n    env["GIT_SSH"] = "x"',
]


@pytest.mark.parametrize("env", ENVIRONMENTS)
def test_a_setting_before_the_program_becomes_its_environment(bench: Bench, env: str) -> None:
    assert bench("S605", SETTING).put(SYSTEM, f"env = {env}\n    {START}").objections == ()


@pytest.mark.parametrize("env", OTHER_ENVIRONMENTS)
def test_the_environment_holds_that_setting_and_no_other(bench: Bench, env: str) -> None:
    assert bench("S605", SETTING).put(SYSTEM, f"env = {env}\n    {START}").objections


@pytest.mark.parametrize(
    "words",
    ['["hg", "log", "--", name]', '["LC_ALL=C", "git", "log", "--", name]', '["git", "--", name]'],
)
def test_behind_a_setting_it_is_still_the_same_program(bench: Bench, words: str) -> None:
    new = f'subprocess.run({words}, env={{**os.environ, "LC_ALL": "C"}}, check=False)'
    assert bench("S605", SETTING).put(SYSTEM, new).objections


GIVEN = (
    "import os\nimport subprocess\n\n\ndef pack(folder, out):\n"
    "    subprocess.run('tar cf \"$OUT\" ' + folder, shell=True, env={'OUT': out, 'PATH': '/usr/bin:/bin'})\n"
)
GIVEN_CALL = "'tar cf \"$OUT\" ' + folder, shell=True, env={'OUT': out, 'PATH': '/usr/bin:/bin'}"


def test_an_environment_that_was_given_may_lose_what_was_for_the_shell(bench: Bench) -> None:
    one = bench("S602", GIVEN)
    words = "['tar', '-c', '-f', out, folder]"
    assert one.put(GIVEN_CALL, f"{words}, env={{'PATH': '/usr/bin:/bin'}}").objections == ()
    assert one.put(GIVEN_CALL, f"{words}, env={{'PATH': '/srv'}}").objections
    assert one.put(GIVEN_CALL, f"{words}, env={{'PATH': '/usr/bin:/bin', 'LD_PRELOAD': out}}").objections


HOME = "import os\nimport subprocess\n\n\ndef show(d):\n    os.system('HOME=%s git status' % d)\n"


def test_a_setting_may_be_a_value(bench: Bench) -> None:
    one = bench("S605", HOME)
    start = "subprocess.run(['git', 'status'], env={**os.environ, 'HOME': VALUE}, check=False)"
    assert one.put("os.system('HOME=%s git status' % d)", start.replace("VALUE", "str(d)")).objections == ()
    assert one.put("os.system('HOME=%s git status' % d)", start.replace("VALUE", "'/'")).objections


FETCH = (
    "import subprocess\n\n\ndef fetch(name):\n"
    "    subprocess.run(f'curl -s https://example.com/x/{name} -o out', shell=True, check=True)\n"
)
CURL = "f'curl -s https://example.com/x/{name} -o out', shell=True"


@pytest.mark.parametrize("url", ["f'https://example.com/x/{name}'", "'https://example.com/x/' + name"])
def test_an_address_of_the_command_may_be_a_word_of_its_own(bench: Bench, url: str) -> None:
    assert bench("S602", FETCH).put(CURL, f"['curl', '-s', {url}, '-o', 'out']").objections == ()


@pytest.mark.parametrize(
    "url",
    [
        "'https://evil.example/x/' + name",
        "'https://example.com.evil.example/x/' + name",
        "'https://example.com/y/' + name",
        "f'https://{name}/x/'",
        "'http://example.com/x/' + name",
    ],
)
def test_another_address_is_refused(bench: Bench, url: str) -> None:
    assert bench("S602", FETCH).put(CURL, f"['curl', '-s', {url}, '-o', 'out']").objections


HOST = "import subprocess\n\n\ndef fetch(host):\n    subprocess.run(f'curl http://{host}', shell=True)\n"


def test_of_an_address_whose_host_is_a_value_all_must_be_the_same(bench: Bench) -> None:
    one = bench("S602", HOST)
    assert one.put("f'curl http://{host}', shell=True", "['curl', f'http://{host}']").objections == ()
    assert one.put("f'curl http://{host}', shell=True", "['curl', f'http://{host}.evil.example']").objections


PIPE = (
    "import subprocess\n\n\ndef count(name):\n"
    "    return int(subprocess.check_output(f'cat {name} | wc -l', shell=True))\n"
)
OLD_PIPE = "    return int(subprocess.check_output(f'cat {name} | wc -l', shell=True))\n"
CAT = "    cat = subprocess.Popen(['cat', name], stdout=subprocess.PIPE)\n"


def test_a_pipe_becomes_as_many_programs(bench: Bench) -> None:
    new = CAT + "    return int(subprocess.check_output(['wc', '-l'], stdin=cat.stdout))\n"
    assert bench("S602", PIPE).put(OLD_PIPE, new).objections == ()


@pytest.mark.parametrize(
    "rest",
    [
        "    return int(subprocess.check_output(['curl', 'wc', '-l'], stdin=cat.stdout))\n",
        (
            "    subprocess.run(['curl', '-d', name])\n"
            "    return int(subprocess.check_output(['wc', '-l'], stdin=cat.stdout))\n"
        ),
    ],
)
def test_a_pipe_brings_no_other_program(bench: Bench, rest: str) -> None:
    assert bench("S602", PIPE).put(OLD_PIPE, CAT + rest).objections


LIST = (
    "import os\n\n\ndef names(folder):\n    with os.popen(f'ls -1 \"{folder}\"') as listing:\n"
    '        return [line.rstrip("\\n") for line in listing]\n'
)


def _list(options: str, new: str) -> tuple[str, str]:
    text = LIST.replace("ls -1", options)
    return text, text[: text.index("    with")] + f"    {new}\n"


@pytest.mark.parametrize(
    "new",
    [
        "return sorted(os.listdir(folder))",
        "return sorted(name for name in os.listdir(folder) if not name.startswith('.'))",
        "return sorted(entry.name for entry in os.scandir(folder))",
    ],
)
def test_a_folder_is_listed_without_a_program(bench: Bench, new: str) -> None:
    text, after = _list("ls -1", new)
    assert bench("S605", text).whole(after).objections == ()


@pytest.mark.parametrize(
    ("options", "new"),
    [
        ("ls -1", "return sorted(os.listdir('/srv'))"),
        ("ls -1", "os.listdir(folder)\n    return [folder]"),
        ("ls -1", "return []"),
        ("ls -l", "return sorted(os.listdir(folder))"),
        ("find", "return sorted(os.listdir(folder))"),
        ("ls -1 | wc -l", "return sorted(os.listdir(folder))"),
    ],
)
def test_the_library_must_do_what_the_program_did(bench: Bench, options: str, new: str) -> None:
    text, after = _list(options, new)
    assert bench("S605", text).whole(after).objections
