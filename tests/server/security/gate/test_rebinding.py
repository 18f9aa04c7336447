"""What an import or the language gives is never given another content by a fix."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

Bench = Callable[..., Any]

EVAL = "import ast\n\n\ndef value(p):\n    return eval(p)\n"
YAML = "import yaml\nimport os\n\n\ndef load(p, f):\n    return yaml.load(p)\n"
HASH = "import hashlib\n\n\ndef h(b):\n    return hashlib.md5(b).hexdigest()\n"
PICKLE = "import json\nimport pickle\n\n\ndef load(p):\n    return pickle.loads(p)\n"
GET = "import os\nimport requests\n\n\ndef get(u):\n    return requests.get(u, verify=False, timeout=5)\n"
TLS = "import ssl\n\n\ndef context():\n    return ssl._create_unverified_context()\n"

REBINDINGS = [
    ("S307", EVAL, "return eval(p)", "ast.literal_eval = eval\n    return ast.literal_eval(p)"),
    ("S307", EVAL, "return eval(p)", "ast.literal_eval: object = int\n    return ast.literal_eval(p)"),
    ("S307", EVAL, "return eval(p)", "setattr(ast, 'literal_eval', int)\n    return ast.literal_eval(p)"),
    ("S301", PICKLE, "return pickle.loads(p)", "json.loads = pickle.loads\n    return json.loads(p)"),
    ("S301", PICKLE, "return pickle.loads(p)", "json.loads, n = int, 1\n    return json.loads(p)"),
    ("S324", HASH, "return hashlib.md5(b)", "hashlib.sha256 = hashlib.md5\n    return hashlib.sha256(b)"),
    *(
        ("S506", YAML, "return yaml.load(p)", f"{line}\n    return yaml.safe_load(p)")
        for line in (
            "yaml.SafeLoader = yaml.Loader",
            "for yaml.SafeLoader in [yaml.Loader]:\n        pass",
            "with open(p) as yaml.SafeLoader:\n        pass",
            "[0 for yaml.SafeLoader in [yaml.Loader]]",
            "del yaml.SafeLoader.yaml_constructors",
            "yaml.SafeLoader.yaml_constructors |= f",
            "yaml.SafeLoader.yaml_constructors['!x'] = f",
            "yaml.SafeLoader.yaml_constructors.update(f)",
            "yaml.SafeLoader.add_constructor('!x', f)",
            "yaml.add_constructor('!x', f, yaml.SafeLoader)",
            "dict.update(yaml.SafeLoader.yaml_constructors, f)",
            "loader = yaml.SafeLoader\n    loader.yaml_constructors = f",
            "for loader in (yaml.SafeLoader,):\n        loader.yaml_constructors = f",
            "(loader := yaml.SafeLoader).add_constructor('!x', f)",
            "yaml.safe_load.__defaults__ = ()",
            "type(f).read = open",
            "os.environ['PYTHONPATH'] = p",
            "os.environ.setdefault('PYTHONPATH', p)",
            "os.chdir(p)",
            "names = {'a': yaml.SafeLoader}\n    names['a'].yaml_constructors = f",
            "f(yaml)",
        )
    ),
    ("S506", YAML, "return yaml.load(p)", "(yaml := f)\n    return yaml.safe_load(p)"),
    ("S506", YAML, "return yaml.load(p)", "for yaml in [f]:\n        return yaml.safe_load(p)"),
    (
        "S501",
        GET,
        "return requests.get(u, verify=False, timeout=5)",
        'os.environ["CURL_CA_BUNDLE"] = ""\n    return requests.get(u, timeout=5)',
    ),
    (
        "S501",
        GET,
        "return requests.get(u, verify=False, timeout=5)",
        "requests.get.__kwdefaults__ = {}\n    return requests.get(u, timeout=5)",
    ),
]


@pytest.mark.parametrize(("rule", "text", "old", "new"), REBINDINGS)
def test_what_others_share_is_not_changed(bench: Bench, rule: str, text: str, old: str, new: str) -> None:
    objections = bench(rule, text).put(old, new).objections
    told = ("It changes", "It calls", "It gives the imported name", "It reaches", "It hides", "It hands")
    assert any(one.startswith(told) for one in objections), objections


def test_a_local_that_the_function_has_made_may_be_set_up(bench: Bench) -> None:
    new = (
        "context = ssl.create_default_context()\n"
        "    context.minimum_version = ssl.TLSVersion.TLSv1_2\n    return context"
    )
    assert bench("S323", TLS).put("return ssl._create_unverified_context()", new).objections == ()


def test_what_was_changed_before_may_stay(bench: Bench) -> None:
    text = (
        "import os\nimport yaml\n\n\ndef load(p):\n    os.environ['SEEN'] = p\n"
        "    os.environ.update(yaml.load(p))\n"
    )
    assert bench("S506", text).put("yaml.load", "yaml.safe_load").objections == ()


def test_a_setting_of_a_module_may_be_put_right(bench: Bench) -> None:
    text = "import os\n\nimport config\n\n\ndef go():\n    config.password = 'hunter2'\n"
    assert bench("S105", text).put("'hunter2'", "os.environ['CONFIG_PASSWORD']").objections == ()
