from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from deltaloom_model.api import Segment, text_digest
from deltaloom_server.context import candidates
from deltaloom_server.context.compaction import is_worth_it
from deltaloom_server.context.layout import Budget, Evidence
from deltaloom_server.context.planning import PlanRequest, plan_base
from deltaloom_server.context.reading import reread
from deltaloom_server.context.reasons import Reason
from deltaloom_server.context.repository import RepositoryContext
from deltaloom_server.context.roots import name_roots
from deltaloom_server.context.scan import scan_workspace
from deltaloom_server.settings import ContextSettings

Write = Callable[[Path, Mapping[str, str | bytes]], None]
Count = Callable[[Sequence[Segment], Mapping[str, str]], "object"]
SETTINGS = ContextSettings()


def request(total: int, **evidence: object) -> PlanRequest:
    return PlanRequest(Budget(total), 0, SETTINGS.max_file_bytes, Evidence(**evidence))  # type: ignore[arg-type]


async def test_base_holds_what_fits_and_the_rest_is_over_budget(
    tmp_path: Path, write: Write, count: Count
) -> None:
    files = {f"f{i}.py": "word " * 99 for i in range(10)} | {"data.csv": "1 2 " * 30}
    write(tmp_path, files | {"bad.py": b"\xff"})
    scan = scan_workspace(name_roots([str(tmp_path)]), SETTINGS)
    plan = await plan_base(scan, request(840), count)  # room for the base: 840 - 105 - 210
    assert [file.path for file in plan.files] == [f"f{i}.py" for i in range(5)]
    assert all(file.tokens == 100 for file in plan.files)
    assert plan.files[0].digest == text_digest("word " * 99)
    left_out = {entry.path: entry.reason for entry in plan.left_out}
    assert left_out == {"bad.py": Reason.INVALID_UTF8, "data.csv": Reason.OVER_BUDGET} | {
        f"f{i}.py": Reason.OVER_BUDGET for i in range(5, 10)
    }


async def test_every_path_is_in_or_out_with_one_reason(tmp_path: Path, write: Write, count: Count) -> None:
    write(
        tmp_path, {f"d{i % 4}/f{i}.py": f"x{i} " * i for i in range(200)} | {"a.png": b"\x89", ".env": "A=1"}
    )
    scan = scan_workspace(name_roots([str(tmp_path)]), SETTINGS)
    plan = await plan_base(scan, request(3000), count)
    inside = [file.path for file in plan.files if file.form != "names"]
    outside = [entry.path for entry in plan.left_out]
    assert not set(inside) & set(outside)
    assert sorted(inside + outside) == sorted([f.path for f in scan.files] + [e.path for e in scan.left_out])


async def test_texts_are_read_only_as_far_as_the_budget_goes(
    tmp_path: Path, write: Write, count: Count, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, {f"f{i:04}.py": "word " * 100 for i in range(1000)})
    read: list[str] = []
    real = candidates.load_text

    def watched(absolute: str, max_bytes: int) -> str | Reason | None:
        read.append(absolute)
        return real(absolute, max_bytes)

    monkeypatch.setattr(candidates, "load_text", watched)
    plan = await plan_base(scan_workspace(name_roots([str(tmp_path)]), SETTINGS), request(2000), count)
    assert len(plan.files) == 12
    assert len(read) < 150


async def test_two_plans_of_one_workspace_are_equal(tmp_path: Path, write: Write, count: Count) -> None:
    write(tmp_path, {f"d{i % 4}/f{i}.py": f"x{i} " * i for i in range(40)})
    roots = name_roots([str(tmp_path)])
    plans = [await plan_base(scan_workspace(roots, SETTINGS), request(2000), count) for _ in range(2)]
    assert plans[0] == plans[1]


async def test_compaction_keeps_unsaved_text_in_the_log_and_disk_text_in_base(
    tmp_path: Path, write: Write, count: Count
) -> None:
    write(tmp_path, {"a.py": "a on disk", "b.py": "b on disk", "c.py": "c on disk"})
    roots = name_roots([str(tmp_path)])
    context = RepositoryContext(roots, SETTINGS)
    budget = Budget(4000)
    for path in ("a.py", "b.py", "c.py"):
        context.document_opened(path, f"{path[0]} on disk")
    context.set_base(await plan_base(scan_workspace(roots, SETTINGS), context.plan_request(budget), count))
    assert [segment.kind for segment in context.segments()] == ["base"] * 3
    context.document_changed("a.py", "a unsaved")
    context.document_changed("b.py", "b saved")
    context.activate("c.py")
    write(tmp_path, {"b.py": "b saved"})
    context.set_base(await plan_base(scan_workspace(roots, SETTINGS), context.plan_request(budget), count))
    assert [(s.path, s.kind, s.digest) for s in context.segments()] == [
        ("c.py", "base", text_digest("c on disk")),
        ("a.py", "base", text_digest("a on disk")),
        ("b.py", "base", text_digest("b saved")),
        ("a.py", "log", text_digest("a unsaved")),
    ]


async def test_unsaved_documents_without_room_are_set_aside_and_compaction_ends(
    tmp_path: Path, write: Write, count: Count
) -> None:
    write(tmp_path, {"big.py": "small", "other.py": "other", "third.py": "third"})
    roots = name_roots([str(tmp_path)])
    context = RepositoryContext(roots, SETTINGS)
    budget = Budget(400)
    context.document_opened("big.py", "small")
    context.document_opened("other.py", "other")
    context.set_base(await plan_base(scan_workspace(roots, SETTINGS), context.plan_request(budget), count))
    context.document_changed("big.py", "word " * 1000)
    context.activate("other.py")
    assert is_worth_it(context.log_state(budget), 0)
    context.set_base(await plan_base(scan_workspace(roots, SETTINGS), context.plan_request(budget), count))
    assert not is_worth_it(context.log_state(budget), 3600)
    assert "big.py" not in {segment.path for segment in context.segments()}
    assert {entry.path: entry.reason for entry in context.report().left_out} == {"big.py": Reason.OVER_BUDGET}


async def test_base_texts_come_from_disk_until_the_disk_moves_on(
    tmp_path: Path, write: Write, count: Count
) -> None:
    write(tmp_path, {"a.py": "a", "b.py": "b"})
    roots = name_roots([str(tmp_path)])
    context = RepositoryContext(roots, SETTINGS)
    context.set_base(
        await plan_base(scan_workspace(roots, SETTINGS), context.plan_request(Budget(1000)), count)
    )
    digests = [segment.digest for segment in context.segments()]
    in_memory, on_disk = context.locate(digests)
    assert in_memory == {}
    assert reread(on_disk, 1000).found == {text_digest("a"): "a", text_digest("b"): "b"}
    write(tmp_path, {"b.py": "new b"})
    texts = reread(on_disk, 1000)
    assert texts.found == {text_digest("a"): "a"}
    assert texts.stale == ("b.py",)


async def test_switching_a_branch_back_finds_the_very_same_sequence(
    tmp_path: Path, write: Write, git: Callable[..., None], count: Count
) -> None:
    write(tmp_path, {f"f{i}.py": f"{i}" for i in range(6)})
    git(tmp_path, "init")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "first")
    roots = name_roots([str(tmp_path)])
    context = RepositoryContext(roots, SETTINGS)

    async def lay_out() -> tuple[Segment, ...]:
        request = context.plan_request(Budget(1000))
        context.set_base(await plan_base(scan_workspace(roots, SETTINGS), request, count))
        return context.segments()

    first = await lay_out()
    git(tmp_path, "switch", "-c", "topic")
    (tmp_path / "f1.py").unlink()
    write(tmp_path, {"f2.py": "changed"})
    context.files_changed_on_disk({"f2.py": "changed"})
    git(tmp_path, "commit", "-am", "topic")
    assert await lay_out() != first
    git(tmp_path, "switch", "main")
    assert await lay_out() == first
