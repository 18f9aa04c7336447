"""Evaluate cases: get an offer for each as an editor gets it, apply it, and let the case's tests judge.

Invariant: a case is asked for only after its own tests have told its program weak and working; whatever goes
wrong with one case is said of that case and stops no other.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from deltaloom_server import private_folders
from deltaloom_server.errors import DeltaloomError
from deltaloom_server.evaluate.case import BrokenCase, Case, load_case
from deltaloom_server.evaluate.fix_source import Column, FixSource
from deltaloom_server.evaluate.score import Broken, Result
from deltaloom_server.evaluate.testing import try_version
from deltaloom_server.security.sandbox import SandboxError

Tell = Callable[[int, int, str], None]
"""(cases done, cases in all, the name of the last)."""


async def evaluate_cases(
    corpus: Path,
    folders: Sequence[Path],
    columns: Sequence[Column],
    source: FixSource,
    jobs: int = 1,
    tell: Tell = lambda done, of, name: None,
) -> tuple[list[Result], list[Broken]]:
    """All results, in the order of cases and columns, and the cases that are broken.

    `jobs` cases at a time. Cancelling it ends what runs.
    """
    slots = asyncio.Semaphore(jobs)
    done = 0

    async def one(folder: Path) -> list[Result] | Broken:
        nonlocal done
        async with slots:
            outcome = await _evaluate_one(corpus, folder, columns, source)
        done += 1
        tell(done, len(folders), folder.name)
        return outcome

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(folder)) for folder in folders]
    results: list[Result] = []
    broken: list[Broken] = []
    for outcome in (task.result() for task in tasks):
        if isinstance(outcome, Broken):
            broken.append(outcome)
        else:
            results += outcome
    return results, broken


async def _evaluate_one(
    corpus: Path, folder: Path, columns: Sequence[Column], source: FixSource
) -> list[Result] | Broken:
    name = folder.relative_to(corpus).as_posix()
    try:
        case = load_case(corpus, folder)
        await _require_weak(case)
        return [await _evaluate_column(case, column, source) for column in columns]
    except BrokenCase as error:
        return Broken(name, str(error))
    except SandboxError as error:
        return Broken(name, f"{name} could not be tested: {error}")


async def _require_weak(case: Case) -> None:
    tested = await try_version(case, {})
    if tested.function != "passed":
        raise BrokenCase(f"{case.name}: the program as it is does not pass test_function.py ({tested.why}).")
    if tested.exploit == "passed":
        raise BrokenCase(
            f"{case.name}: test_exploit.py passes on the program as it is, so it exploits nothing."
        )
    if tested.exploit == "errored":
        raise BrokenCase(f"{case.name}: test_exploit.py does not run ({tested.why}).")


async def _evaluate_column(case: Case, column: Column, source: FixSource) -> Result:
    start = time.monotonic()

    def result(outcome: str, **more: str) -> Result:
        seconds = round(time.monotonic() - start, 3)
        return Result(
            case.name, case.cwe, case.rule, column, outcome,  # type: ignore[arg-type]
            seconds=seconds, held_out=case.held_out, **more,
        )  # fmt: skip

    with private_folders.folder("eval") as place:
        workspace = Path(place).resolve() / case.folder.name
        case.copy_workspace(workspace)
        try:
            answer = await source.ask(workspace, case, column)
        except DeltaloomError as error:
            return result("none", why=str(error))
    if not answer.found:
        return result("unfound", why=answer.note)
    if answer.offer is None:
        return result("none", why=answer.note)
    tested = await try_version(case, answer.offer.files)
    outcome = "correct" if tested.correct else "false"
    return result(outcome, title=answer.offer.title, label=answer.offer.label, why=tested.why)
