"""Rule 5: what only hides the weakness from scanners is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

Bench = Callable[..., Any]

YAML = "import yaml\n\n\ndef load(s):\n    return yaml.load(s)\n"
SHELL = "import subprocess\n\n\ndef run(c):\n    return subprocess.run(c, shell=True)\n"
HASH = "import hashlib\n\n\ndef h(b):\n    return hashlib.md5(b).hexdigest()\n"
NEW = "import hashlib\n\n\ndef h(b):\n    return hashlib.new('md5', b).hexdigest()\n"
EVAL = "def value(text):\n    return eval(text)\n"
VERIFY = "import requests\n\n\ndef get(u):\n    return requests.get(u, verify=False, timeout=5)\n"
PICKLE = "import pickle\n\n\ndef load(b):\n    return pickle.loads(b)\n"

TRICKS = [
    ("S506", YAML, "return yaml.load(s)", "f = yaml.load\n    return f(s)"),
    ("S506", YAML, "yaml.load(s)", "getattr(yaml, 'load')(s)"),
    ("S506", YAML, "yaml.load(s)", "getattr(yaml, 'lo' + 'ad')(s)"),
    ("S506", YAML, "yaml.load(s)", "__import__('yaml').load(s)"),
    ("S506", YAML, "yaml.load(s)", "yaml.__dict__['load'](s)"),
    ("S506", YAML, "yaml.load(s)", "vars(yaml)['load'](s)"),
    ("S506", YAML, "yaml.load(s)", "(lambda t: yaml.load(t))(s)"),
    ("S506", YAML, "yaml.load(s)", "next(map(yaml.load, [s]))"),
    ("S506", YAML, "yaml.load(s)", "[yaml.load][0](s)"),
    ("S506", YAML, "yaml.load(s)", "(yaml.load if s else yaml.safe_load)(s)"),
    ("S506", YAML, "yaml.load(s)", "(f := yaml.load)(s)"),
    ("S506", YAML, "return yaml.load(s)", "y = yaml\n    return y.load(s)"),
    ("S506", YAML, "return yaml.load(s)", "for f in [yaml.load]:\n        return f(s)"),
    ("S506", YAML, "return yaml.load(s)", "from yaml import load as safe_load\n    return safe_load(s)"),
    ("S506", YAML, "return yaml.load(s)", "import yaml as json\n    return json.load(s)"),
    ("S506", YAML, "return yaml.load(s)", "def inner(t):\n        return yaml.load(t)\n    return inner(s)"),
    ("S506", YAML, "return yaml.load(s)", "import functools\n    return functools.partial(yaml.load, s)()"),
    (
        "S506",
        YAML,
        "return yaml.load(s)",
        "import importlib\n    return importlib.import_module('yaml').load(s)",
    ),
    ("S506", YAML, "return yaml.load(s)", "import operator\n    return operator.attrgetter('load')(yaml)(s)"),
    ("S506", YAML, "return yaml.load(s)", "import sys\n    return sys.modules['yaml'].load(s)"),
    ("S506", YAML, "yaml.load(s)", "yaml.load(s, **{'Loader': yaml.Loader})"),
    ("S506", YAML, "return yaml.load(s)", "loader = yaml.Loader\n    return yaml.load(s, Loader=loader)"),
    ("S506", YAML, "yaml.load(s)", "yaml.Loader(s).get_data()"),
    ("S602", SHELL, "shell=True", "shell=bool(1)"),
    ("S602", SHELL, "shell=True", "shell=not False"),
    ("S602", SHELL, "shell=True", "shell=1 == 1"),
    ("S602", SHELL, "shell=True", "shell=c is not None"),
    ("S602", SHELL, "shell=True", "**{'shell': True}"),
    ("S602", SHELL, "shell=True", "**dict(shell=True)"),
    (
        "S602",
        SHELL,
        "return subprocess.run(c, shell=True)",
        "s = True\n    return subprocess.run(c, shell=s)",
    ),
    ("S602", SHELL, "subprocess.run(c, shell=True)", "subprocess.run(['sh', '-c', c])"),
    ("S602", SHELL, "subprocess.run(c, shell=True)", "subprocess.run(['/bin/bash', '-c', c], check=True)"),
    ("S602", SHELL, "subprocess.run(c, shell=True)", "subprocess.run(c)"),
    ("S602", SHELL, "subprocess.run(c, shell=True)", "subprocess.getoutput(c)"),
    ("S602", SHELL, "return subprocess.run(c, shell=True)", "import os\n    return os.system(c)"),
    ("S602", SHELL, "return subprocess.run(c, shell=True)", "import os\n    return os.popen(c)"),
    ("S324", HASH, "hashlib.md5(b)", "hashlib.new('md5', b)"),
    ("S324", HASH, "hashlib.md5(b)", "hashlib.new('m' + 'd5', b)"),
    ("S324", HASH, "hashlib.md5(b)", "hashlib.new('MD5'.lower(), b)"),
    ("S324", HASH, "hashlib.md5(b)", "hashlib.new(f'md{5}', b)"),
    ("S324", HASH, "hashlib.md5(b)", "hashlib.new('5dm'[::-1], b)"),
    ("S324", HASH, "hashlib.md5(b)", "hashlib.new(''.join(['m', 'd5']), b)"),
    ("S324", HASH, "hashlib.md5(b)", "hashlib.new('%s5' % 'md', b)"),
    ("S324", HASH, "return hashlib.md5(b)", "name = 'md5'\n    return hashlib.new(name, b)"),
    ("S324", HASH, "return hashlib.md5(b)", "h = hashlib.md5\n    return h(b)"),
    ("S324", HASH, "hashlib.md5(b)", "getattr(hashlib, 'md5')(b)"),
    ("S324", NEW, "'md5'", "'md' + '5'"),
    ("S324", NEW, "'md5'", "chr(109) + 'd5'"),
    ("S307", EVAL, "eval(text)", "exec(text)"),
    ("S307", EVAL, "eval(text)", "__builtins__.eval(text)"),
    ("S307", EVAL, "eval(text)", "__builtins__['eval'](text)"),
    ("S307", EVAL, "return eval(text)", "import builtins\n    return builtins.eval(text)"),
    ("S307", EVAL, "return eval(text)", "e = eval\n    return e(text)"),
    ("S307", EVAL, "return eval(text)", "return globals()['eval'](text)"),
    ("S307", EVAL, "eval(text)", "(lambda: eval(text))()"),
    ("S307", EVAL, "eval(text)", "list(map(eval, [text]))[0]"),
    ("S307", EVAL, "eval(text)", "compile(text, '', 'eval')"),
    ("S501", VERIFY, "verify=False", "verify=not True"),
    ("S501", VERIFY, "verify=False", "verify=0"),
    ("S501", VERIFY, "verify=False", "verify=None"),
    ("S501", VERIFY, "verify=False", "verify=''"),
    ("S501", VERIFY, "verify=False", "verify=bool('')"),
    ("S501", VERIFY, "verify=False", "verify=u == ''"),
    ("S501", VERIFY, "verify=False", "**{'verify': False}"),
    (
        "S501",
        VERIFY,
        "return requests.get(u, verify=False",
        "check = False\n    return requests.get(u, verify=check",
    ),
    (
        "S501",
        VERIFY,
        "return requests.get(u, verify=False, timeout=5)",
        "s = requests.Session()\n    s.verify = False\n    return s.get(u, timeout=5)",
    ),
    ("S301", PICKLE, "pickle.loads(b)", "pickle._loads(b)"),
    ("S301", PICKLE, "return pickle.loads(b)", "import dill\n    return dill.loads(b)"),
    (
        "S301",
        PICKLE,
        "return pickle.loads(b)",
        "import io\n    return pickle._Unpickler(io.BytesIO(b)).load()",
    ),
    ("S301", PICKLE, "return pickle.loads(b)", "f = pickle.loads\n    return f(b)"),
    ("S301", PICKLE, "return pickle.loads(b)", "import json\n    return json.loads(b, object_hook=build)"),
]


@pytest.mark.parametrize(("rule", "text", "old", "new"), TRICKS)
def test_hiding_the_weakness_is_refused(bench: Bench, rule: str, text: str, old: str, new: str) -> None:
    verdict = bench(rule, text).put(old, new)
    assert verdict.objections, new


ALONE = [
    ("return yaml.safe_load(s)", "f = yaml.load\n    f(s)\n    return yaml.safe_load(s)"),
    ("return yaml.safe_load(s)", "getattr(yaml, s)(s)\n    return yaml.safe_load(s)"),
    ("return yaml.safe_load(s)", "globals()[s](s)\n    return yaml.safe_load(s)"),
    ("return yaml.safe_load(s)", "return (lambda t: yaml.safe_load(t))(s)"),
    ("return yaml.safe_load(s)", "return yaml.safe_load(*[s], **{})"),
    ("return yaml.safe_load(s)", "return yaml.safe_load('a' + 'b' and s)"),
    ("return yaml.safe_load(s)", "def read(t):\n        return yaml.safe_load(t)\n    return read(s)"),
    ("return yaml.safe_load(s)", "class R:\n        x = yaml.safe_load(s)\n    return R.x"),
    ("return yaml.safe_load(s)", "return yaml.safe_load(s.__class__(s))"),
]


@pytest.mark.parametrize(("good", "bad"), ALONE)
def test_a_trick_is_refused_although_the_finding_is_gone(bench: Bench, good: str, bad: str) -> None:
    one = bench("S506", YAML)
    assert one.put("return yaml.load(s)", good).objections == ()
    assert one.put("return yaml.load(s)", bad).objections != ()


def test_moving_the_flag_into_a_constant_of_the_module_is_refused(bench: Bench) -> None:
    one = bench("S602", SHELL)
    assert one.put(
        "import subprocess\n", "import subprocess\n\nSHELL = True\n", ("shell=True", "shell=SHELL")
    ).objections


def test_moving_the_flag_into_a_default_is_refused(bench: Bench) -> None:
    assert (
        bench("S602", SHELL).put("run(c):", "run(c, shell=True):", ("shell=True)", "shell=shell)")).objections
    )


def test_a_helper_elsewhere_is_refused(bench: Bench) -> None:
    helper = "\n\ndef _load(s):\n    return yaml.load(s)\n"
    one = bench("S506", YAML)
    assert one.whole(YAML.replace("yaml.load(s)", "_load(s)") + helper).objections
    assert one.whole(
        YAML.replace("\n\ndef load", helper + "\n\ndef load").replace(
            "    return yaml.load(s)\n", "    return _load(s)\n", 2
        )
    ).objections
