"""The text benchmark tells its result to machines and to people."""

from __future__ import annotations

import json

import pytest

from deltaloom_server.bench import text


def test_result_has_both_buffers_for_every_case(capsys: pytest.CaptureFixture[str]) -> None:
    assert text.main(["--lines", "50", "--changes", "60", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert [case["lines"] for case in result["cases"]] == [50, 1]
    for case in result["cases"]:
        assert case["ours"]["changes"] == 60
        assert 0 < case["ours"]["median_us"] <= case["ours"]["p95_us"]
        assert 0 < case["pygls"]["median_us"] <= case["pygls"]["p95_us"]
        assert case["ratio"] > 0


def test_table_names_both_buffers(capsys: pytest.CaptureFixture[str]) -> None:
    assert text.main(["--lines", "20", "--changes", "20"]) == 0
    printed = capsys.readouterr().out
    assert "deltaloom" in printed
    assert "pygls" in printed


@pytest.mark.parametrize("arguments", [["--lines", "0"], ["--changes", "1"], ["--lines", "many"]])
def test_senseless_sizes_are_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as refused:
        text.main(arguments)
    assert refused.value.code == 2
    assert arguments[0] in capsys.readouterr().err
