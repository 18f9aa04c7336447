"""A workspace that doesn't fit: what stands in it, how, and why not, from the model's counts to `status`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

TOTAL = 4096


def module(number: int) -> str:
    body = "".join(f"    total = total + prices[{i}] * rate\n" for i in range(12))
    return (
        f'"""Module {number}."""\n\nimport shop\n\n\n'
        f"def total_{number}(prices: list[int], rate: int) -> int:\n"
        f'    """What {number} costs."""\n    total = 0\n{body}    return total\n'
    )


@pytest.fixture
def large(tmp_path: Path) -> Path:
    folder = tmp_path / "large"
    (folder / "shop").mkdir(parents=True)
    for number in range(60):
        (folder / "shop" / f"m{number:02}.py").write_text(module(number))
    return folder


async def test_status_says_of_every_file_how_it_stands(home: Any, start_server: Any, large: Path) -> None:
    server = await start_server(home)
    await server.initialize([large], {"context": {"max_tokens": TOTAL}})
    context = (await server.until_context())["context"]
    forms = {file["path"]: file["form"] for file in context["files"]}
    assert {"full", "outline"} <= set(forms.values())
    reasons = {entry["path"]: entry["reason"] for entry in context["left_out"]}
    assert set(forms) - {"FILES"} | set(reasons) == {f"shop/m{number:02}.py" for number in range(60)}
    assert set(reasons.values()) <= {"over budget", "over budget, in as a name only"}
    assert context["base_tokens"] <= TOTAL - TOTAL // 8 - TOTAL // 4
    outlined = [path for path, form in forms.items() if form == "outline"]
    assert len(outlined) >= 5
    uri = server.open(large / outlined[0])
    await server.ghost(uri, 5, 0)
    server.insert(uri, 0, 0, "# changed\n")
    await server.ghost(uri, 6, 0)
    assert forms == {
        file["path"]: file["form"]
        for file in (await server.status())["context"]["files"]
        if file["region"] == "base"
    }
