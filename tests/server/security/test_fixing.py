"""From a finding to a fix: who is asked, in what order, what is taken, and what is said where nothing is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from deltaloom_server.context.roots import name_roots
from deltaloom_server.security import sandbox
from deltaloom_server.security.analysis.messages import (
    Failed,
    Judge,
    Judged,
    Propose,
    Proposed,
    Reply,
    Request,
)
from deltaloom_server.security.finding import UNUSED_SUPPRESSION, Finding, Inspection, Span, identify
from deltaloom_server.security.fixing import Fixer, FixOptions, NoFix, Source
from deltaloom_server.security.own_tests import OwnTests
from deltaloom_server.security.proposal import Edit, Proposal, Verdict, apply_edits
from deltaloom_server.settings import SecuritySettings, Settings, WorkspaceSettings

CODEMOD: tuple[Source, ...] = ("codemod",)
MODEL: tuple[Source, ...] = ("model",)
TEXT = "x = eval(y)\nz = 1\n"
LINES = TEXT.split("\n")
FINDING, OTHER = identify(
    [
        Finding("S307", "eval", "pkg/a.py", Span(0, 4, 0, 11), "medium", "high", ("ruff",)),
        Finding("S105", "z", "pkg/a.py", Span(1, 0, 1, 5), "medium", "high", ("ruff",)),
    ],
    LINES,
)
INSPECTION = Inspection("pkg/a.py", "d", (FINDING, OTHER), (), ("ruff",))


def proposal(text: str, **more: Any) -> Proposal:
    return Proposal(f"Use {text}", (Edit(4, 11, text),), **more)


class Pool:
    """Proposes what it is told to, and accepts the titles that it is told to."""

    def __init__(self, *proposals: Proposal, accepts: Sequence[str] = (), reply: Reply | None = None) -> None:
        self.proposals, self.accepts, self.reply = proposals, accepts, reply
        self.asked: list[Request] = []

    async def ask(self, request: Request, *, seconds: float | None = None) -> Reply:
        self.asked.append(request)
        if self.reply is not None:
            return self.reply
        if isinstance(request, Propose):
            return Proposed(self.proposals, "" if self.proposals else "No codemod knows how.")
        assert isinstance(request, Judge)
        title = request.proposal.title
        if title in self.accepts:
            return Judged(Verdict(parsed=True, rescanned=("ruff",)))
        return Judged(Verdict((f"{title} doesn't hold",), parsed=True))

    @property
    def judged(self) -> list[str]:
        return [one.proposal.title for one in self.asked if isinstance(one, Judge)]


def by_model(*proposals: Proposal, error: str = "") -> Callable[..., Any]:
    async def propose(text: str, finding: Finding, tell: Callable[[str], None]) -> Sequence[Proposal]:
        if error:
            raise NoFix(error)
        return [one for one in proposals if one.origin == "model"]

    return propose


MODELS = [
    proposal("int(yyyyyyyyyy)", origin="model", unsafe=True),
    proposal("int(y)", origin="model", unsafe=True),
    proposal("float(yy)", origin="model", unsafe=True),
]


async def _why(fixer: Fixer, options: FixOptions | None = None, finding: Finding = FINDING) -> str:
    with pytest.raises(NoFix) as refused:
        await fixer.fix(TEXT, finding, INSPECTION, options or FixOptions())
    assert "\n" not in str(refused.value)
    assert str(refused.value).endswith(".")
    return str(refused.value)


async def test_a_codemod_that_holds_comes_before_any_model() -> None:
    pool = Pool(proposal("a"), proposal("b"), accepts=["Use b"])
    fix = await Fixer(pool, by_model(*MODELS)).fix(TEXT, FINDING, INSPECTION, FixOptions())
    assert (fix.proposal.title, fix.verdict.label()) == ("Use b", "parsed; rescanned by ruff")
    assert pool.judged == ["Use a", "Use b"]


async def test_of_the_models_candidates_the_smallest_that_passes_is_taken() -> None:
    pool = Pool(proposal("a"), accepts=["Use int(yyyyyyyyyy)", "Use float(yy)"])
    told: list[str] = []
    fix = await Fixer(pool, by_model(*MODELS)).fix(TEXT, FINDING, INSPECTION, FixOptions(), told.append)
    assert fix.proposal.title == "Use float(yy)"
    assert pool.judged == ["Use a", "Use int(y)", "Use float(yy)"]
    assert told[0] == "Looking for a codemod"
    assert told[-2:] == ["Verifying candidate 1 of 3", "Verifying candidate 2 of 3"]


async def test_the_gate_is_told_what_was_there_before_and_nothing_of_the_finding_itself() -> None:
    pool = Pool(proposal("a"), accepts=["Use a"])
    await Fixer(pool).fix(TEXT, FINDING, INSPECTION, FixOptions())
    (judge,) = [one for one in pool.asked if isinstance(one, Judge)]
    assert (judge.known, judge.finding, judge.text) == ((OTHER,), FINDING, TEXT)


async def test_with_several_folders_modules_are_looked_for_in_the_files_own(tmp_path: Path) -> None:
    for name in ("pkg", "other"):
        (tmp_path / name).mkdir()
    roots = name_roots([str(tmp_path / "pkg"), str(tmp_path / "other")])
    pool = Pool(proposal("a"), accepts=["Use a"])
    await Fixer(pool).fix(TEXT, FINDING, INSPECTION, FixOptions(roots=roots))
    (judge,) = [one for one in pool.asked if isinstance(one, Judge)]
    assert (judge.finding.path, judge.roots) == ("a.py", (str(tmp_path / "pkg"),))


async def test_what_a_person_should_look_at_is_not_taken_unseen() -> None:
    unsafe, safe = proposal("a", unsafe=True), proposal("b")
    pool = Pool(unsafe, safe, accepts=["Use a", "Use b", *(one.title for one in MODELS)])
    fixer = Fixer(pool, by_model(*MODELS))
    assert (await fixer.fix(TEXT, FINDING, INSPECTION, FixOptions())).proposal is unsafe
    assert (await fixer.fix(TEXT, FINDING, INSPECTION, FixOptions(unsafe=False))).proposal is safe
    alone = Fixer(Pool(unsafe, accepts=["Use a"]), by_model(*MODELS))
    why = await _why(alone, FixOptions(unsafe=False))
    assert "changes more than the weakness" in why
    assert "for a person to look at" in why


async def test_only_who_is_named_is_asked() -> None:
    pool = Pool(proposal("a"), accepts=["Use a", "Use int(y)"])
    fixer = Fixer(pool, by_model(*MODELS))
    fix = await fixer.fix(TEXT, FINDING, INSPECTION, FixOptions(MODEL))
    assert fix.proposal.title == "Use int(y)"
    assert not any(isinstance(one, Propose) for one in pool.asked)
    assert "no model was asked" in await _why(fixer, FixOptions(()))


async def test_where_nothing_holds_it_is_said_why_in_one_sentence() -> None:
    why = await _why(Fixer(Pool(proposal("a"), proposal("b"), proposal("a")), by_model(*MODELS)))
    assert why == (
        "No fix of S307 could be verified: Use a doesn't hold; Use b doesn't hold; Use int(y) doesn't hold."
    )
    assert "No codemod knows how; the model suggested nothing" in await _why(Fixer(Pool(), by_model()))
    assert "nano completes code" in await _why(Fixer(Pool(), by_model(error="nano completes code.")))
    died = Failed("The analysis process died.")
    assert "The analysis process died" in await _why(Fixer(Pool(reply=died)))
    assert "gave no answer" in await _why(Fixer(Pool(reply=Judged(Verdict()))))


@pytest.mark.parametrize(
    "path", [".git/hooks/a.py", ".GitHub/x.py", "../a.py", "/etc/a.py", "a/.vscode/b.py", ""]
)
async def test_files_that_steer_tools_and_files_outside_are_refused_before_anything_is_asked(
    path: str,
) -> None:
    pool = Pool(proposal("a"), accepts=["Use a"])
    finding = Finding("S307", "eval", path, FINDING.span, "medium", "high", ("ruff",))
    await _why(Fixer(pool), finding=finding)
    assert pool.asked == []


async def test_cancelling_ends_what_is_asked() -> None:
    class Hanging(Pool):
        ended = False

        async def ask(self, request: Request, *, seconds: float | None = None) -> Reply:
            begun.set()
            try:
                await asyncio.Event().wait()
            finally:
                self.ended = True
            raise AssertionError

    begun, pool = asyncio.Event(), Hanging()
    task = asyncio.create_task(Fixer(pool).fix(TEXT, FINDING, INSPECTION, FixOptions()))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert pool.ended


# -- comments that suppress nothing --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "comment", "left"),
    [
        ("x = 1  # nosec\ny = 2\n", "# nosec", "x = 1\ny = 2\n"),
        ("  # nosec B101\r\ny = 2\r\n", "# nosec B101", "y = 2\r\n"),
        ("x = 1\n# nosec", "# nosec", "x = 1\n"),
        ("f(x);  // nosemgrep: js/eval\n", "// nosemgrep: js/eval", "f(x);\n"),
    ],
)
async def test_only_the_comment_goes(text: str, comment: str, left: str) -> None:
    lines = text.split("\n")
    number = next(at for at, line in enumerate(lines) if comment in line)
    start = lines[number].index(comment)
    span = Span(number, start, number, start + len(comment))
    finding = Finding(UNUSED_SUPPRESSION, "m", "a.py", span, "low", "high", ("deltaloom",))
    pool = Pool(accepts=["Remove the suppression"])
    fix = await Fixer(pool).fix(text, finding, INSPECTION, FixOptions(CODEMOD, unsafe=False))
    assert apply_edits(text, fix.proposal.edits) == left


async def test_a_part_of_a_comment_is_left_for_a_person() -> None:
    finding = Finding(UNUSED_SUPPRESSION, "m", "a.py", Span(0, 4, 0, 8), "low", "high", ("deltaloom",))
    assert "shorten it by hand" in await _why(Fixer(Pool()), finding=finding)


# -- the repository's own tests ------------------------------------------------------------------------------


async def test_a_fix_with_which_the_tests_fail_is_not_offered_and_the_next_is_tried() -> None:
    seen: list[tuple[str, str]] = []

    async def run(path: str, text: str) -> tuple[bool, str]:
        seen.append((path, text))
        return "b" in text, "14 passed" if "b" in text else "1 failed"

    pool = Pool(proposal("a"), proposal("b"), accepts=["Use a", "Use b"])
    fix = await Fixer(pool, run_tests=run).fix(TEXT, FINDING, INSPECTION, FixOptions())
    assert fix.verdict.label() == "parsed; rescanned by ruff; tests: 14 passed"
    assert seen == [("pkg/a.py", "x = a\nz = 1\n"), ("pkg/a.py", "x = b\nz = 1\n")]
    pool = Pool(proposal("a"), accepts=["Use a"])
    assert "1 failed" in await _why(Fixer(pool, run_tests=run))
    seen.clear()
    await _why(Fixer(Pool(proposal("a")), run_tests=run))
    assert seen == []  # what the gate refuses is never run


@pytest.fixture
def own(server: Any, tmp_path: Path) -> Callable[..., OwnTests]:
    (tmp_path / "calc.py").write_text("def add(a, b):\n    return a + b\n")
    (tmp_path / "test_calc.py").write_text(
        "from calc import add\n\n\ndef test_add():\n    assert add(1, 2) == 3\n"
    )
    server.session.roots = name_roots([str(tmp_path)])

    def make(*, trusted: bool = True, **security: Any) -> OwnTests:
        server.session.settings = Settings(
            security=SecuritySettings(**security), workspace=WorkspaceSettings(trusted=trusted)
        )
        return OwnTests(server)

    return make


async def test_nothing_is_run_unasked_or_untrusted(
    own: Callable[..., OwnTests], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(*_: object) -> None:
        raise AssertionError("something was run")

    monkeypatch.setattr(sandbox, "run_tests", never)
    assert await own(run_tests=False).run_if_asked("calc.py", "") == (True, "")
    passed, said = await own(run_tests=True, trusted=False).run_if_asked("calc.py", "")
    assert not passed
    assert "isn't trusted" in said
    monkeypatch.setattr(sandbox, "available", lambda: "Nothing can be isolated: no.")
    assert await own(run_tests=True).run_if_asked("calc.py", "") == (False, "Nothing can be isolated: no")


async def test_the_tests_run_on_a_copy_with_the_fix_in_it(
    own: Callable[..., OwnTests], tmp_path: Path
) -> None:
    if (why := sandbox.available()) is not None:
        pytest.skip(why)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    tests = own(run_tests=True)
    assert await tests.run_if_asked("calc.py", "def add(a, b):\n    return b + a\n") == (True, "1 passed")
    passed, said = await tests.run_if_asked("calc.py", "def add(a, b):\n    return a - b\n")
    assert (passed, "1 failed" in said) == (False, True)
    command = ("sh", "-c", "grep -q 'return [ab]' calc.py")
    told = own(run_tests=True, test_command=command)
    assert await told.run_if_asked("calc.py", "return b\n") == (True, "passed")
    assert await told.run_if_asked("calc.py", "return c\n") == (
        False,
        "the repository's tests fail with it (ended with status 1)",
    )
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
