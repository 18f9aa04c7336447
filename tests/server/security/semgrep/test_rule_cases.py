"""Our rules for other languages, by the texts that stand beside them, through the real semgrep-core."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest

from deltaloom_server.security.finding import CONFIDENCES, SEVERITIES
from deltaloom_server.security.languages import language_id, scanners_for
from deltaloom_server.security.rules import rule_info
from deltaloom_server.security.scanners import semgrep, semgrep_rules
from deltaloom_server.security.scanners.semgrep_rules import compile as compiling

RULES = dict(compiling.sources())
LANGUAGES = ("c", "go", "java", "js", "php")


@pytest.mark.usefixtures("needs_semgrep")
async def test_every_rule_sees_what_it_must_and_nothing_else_of_its_cases(tmp_path: Path) -> None:
    wanted: dict[Path, tuple[str, bool]] = {}
    for name, source in RULES.items():
        for hit, texts in ((True, source.cases.hit), (False, source.cases.miss)):
            for number, text in enumerate(texts):
                for ending in compiling.endings_of(name, source):
                    path = tmp_path / f"{name.replace('/', '_')}-{hit}-{number}{ending}"
                    path.write_text(text, "utf-8")
                    wanted[path] = name, hit
    results = await semgrep.scan_files(list(wanted))
    assert results.keys() == wanted.keys()
    assert {path.name: result.unscanned for path, result in results.items() if result.unscanned} == {}
    wrong = [
        path.name
        for path, (name, hit) in wanted.items()
        if hit != (name in {finding.rule for finding in results[path].findings})
    ]
    assert wrong == []


def test_the_compiled_files_are_what_the_sources_give() -> None:
    rules, catalogue = compiling.compiled()
    again = "compile them anew: python -m deltaloom_server.security.scanners.semgrep_rules.compile"
    assert semgrep_rules.COMPILED.read_text("utf-8") == rules, again
    assert semgrep_rules.CATALOGUE.read_text("utf-8") == catalogue, again


def test_there_are_rules_for_every_language_and_no_others() -> None:
    by_language = {prefix: sum(name.startswith(f"{prefix}/") for name in RULES) for prefix in LANGUAGES}
    assert sum(by_language.values()) == len(RULES) >= 60
    assert min(by_language.values()) >= 15


@pytest.mark.parametrize("name", RULES)
def test_a_rule_is_known_to_the_catalogue(name: str) -> None:
    source, info = RULES[name], rule_info(name)
    assert (info.rule, info.title, info.cwe) == (name, source.title, source.cwe)
    assert (info.severity, info.confidence) == (source.severity, source.confidence)
    assert info.severity in SEVERITIES
    assert info.confidence in CONFIDENCES
    for ending in compiling.endings_of(name, source):
        assert language_id(f"a{ending}") in info.languages
        assert "semgrep" in scanners_for(f"a{ending}")


@pytest.mark.parametrize("name", RULES)
def test_a_message_is_a_sentence_of_ours_and_names_nothing_of_the_text(name: str) -> None:
    message = semgrep_rules.messages()[name.replace("/", ".", 1)]
    assert message.endswith(".")
    assert re.search(r"\$[A-Z]", message) is None


def write(folder: Path, **changes: object) -> Path:
    source: dict[str, object] = {
        "title": "T", "cwe": 95, "severity": "high", "confidence": "high", "message": "M.",
        "rule": {"pattern": "f($X)"}, "cases": {"hit": ["f(1)"], "miss": ["g(1)"]},
    }  # fmt: skip
    (folder / "js").mkdir()
    (folder / "js" / "a-rule.yaml").write_bytes(msgspec.yaml.encode(source | changes))
    return folder


def test_a_source_compiles_to_one_rule_without_its_cases(tmp_path: Path) -> None:
    rules, catalogue = compiling.compiled(write(tmp_path))
    assert msgspec.json.decode(rules) == {
        "rules": [
            {
                "id": "js.a-rule", "languages": ["javascript", "typescript"], "severity": "ERROR",
                "message": "M.", "pattern": "f($X)",
            }
        ]
    }  # fmt: skip
    assert msgspec.json.decode(catalogue)["js/a-rule"]["languages"] == [
        "javascript", "javascriptreact", "typescript", "typescriptreact",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"message": "The value $X is bad."}, "metavariable"),
        ({"cases": {"hit": [], "miss": ["g(1)"]}}, "to hit and one to miss"),
        ({"rule": {"pattern": "f()", "paths": {"include": ["/etc"]}}}, "paths"),
        ({"languages": ["go"]}, "javascript, typescript"),
        ({"severity": "dreadful"}, "dreadful"),
        ({"cwes": [1]}, "cwes"),
    ],
)
def test_a_source_that_is_no_good_is_refused_by_its_name(
    tmp_path: Path, changes: dict[str, object], said: str
) -> None:
    with pytest.raises(compiling.BadRule, match=rf"^js/a-rule: .*{said}"):
        compiling.compiled(write(tmp_path, **changes))
