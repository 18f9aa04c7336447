"""What a run found, as it is written to JSON and read back.

Invariant: everything that a table, a page or a plot shows comes from here, so each can be made again later.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from deltaloom_server.errors import DeltaloomError

FORMAT = 1

OURS = "deltaloom"
LLAMA_IN_PLACE = "llama-server, edits in place"
LLAMA_LOG = "llama-server, our layout"
SYSTEMS = (OURS, LLAMA_IN_PLACE, LLAMA_LOG)


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One scenario at one size.

    `tokens` went through the model between the edit and the first new token, `read` says for which causes;
    new tokens aren't in either. `read_afterwards` was read once the answer was there, before the next edit.
    `milliseconds` run from the request to the answer, `edit_milliseconds` from the edit to the answer. With
    `skipped` (a sentence) nothing was measured. `bound` is in tokens, and the sum of `bound_parts`.
    """

    scenario: str
    group: str
    rule: str
    tokens: int = 0
    read: dict[str, int] = {}
    read_afterwards: dict[str, int] = {}
    context_tokens: int = 0
    restored_at: int = 0
    milliseconds: float = 0.0
    edit_milliseconds: float = 0.0
    first_token_milliseconds: float = 0.0
    repository_context: bool = True
    bound: int | None = None
    bound_parts: dict[str, int] = {}
    same_everywhere: bool = False
    skipped: str = ""

    @property
    def held(self) -> bool | None:
        """Was the bound kept? None where there is none, or nothing was measured. An answer from the open file
        alone keeps none."""
        if self.bound is None or self.skipped:
            return None
        return self.tokens <= self.bound and self.repository_context


class Cold(msgspec.Struct, frozen=True):
    """The first reading of this size's context, with no state kept from before: reading, and the answer."""

    tokens: int
    milliseconds: float


class SizeRun(msgspec.Struct, frozen=True):
    """One system at one context size (in tokens): its first reading, and its rows in their order."""

    system: str
    context: int
    cold: Cold
    rows: list[Row]
    files: int = 0
    model: str = ""


class Growth(msgspec.Struct, frozen=True):
    """The same edit at the smallest and at the largest size."""

    scenario: str
    small_context: int
    large_context: int
    small_tokens: int
    large_tokens: int
    small_milliseconds: float
    large_milliseconds: float
    tokens_held: bool
    milliseconds_held: bool

    @property
    def ratio(self) -> float:
        """How much longer it takes at the largest size."""
        return self.large_milliseconds / max(self.small_milliseconds, 1e-6)


class Result(msgspec.Struct, frozen=True):
    """A whole run."""

    version: str
    machine: str
    runs: list[SizeRun]
    growth: list[Growth] = []
    format: int = FORMAT

    @property
    def broken(self) -> list[str]:
        """Each bound that wasn't kept, in words."""
        sentences = []
        for run in self.runs:
            for row in run.rows:
                if row.held is False:
                    why = "" if row.repository_context else " from the open file alone"
                    sentences.append(
                        f"{run.context:,} tokens, {row.scenario}: {row.tokens:,} read{why}, "
                        f"at most {row.bound:,}"
                    )
        for entry in self.growth:
            if not entry.tokens_held:
                sentences.append(
                    f"{entry.scenario}: {entry.large_tokens:,} tokens read at {entry.large_context:,}, "
                    f"{entry.small_tokens:,} at {entry.small_context:,}"
                )
            if not entry.milliseconds_held:
                sentences.append(
                    f"{entry.scenario}: {entry.ratio:.1f} times the milliseconds at {entry.large_context:,} "
                    f"of those at {entry.small_context:,}"
                )
        return sentences

    def of(self, system: str) -> list[SizeRun]:
        """The runs of one system, smallest first."""
        return sorted((run for run in self.runs if run.system == system), key=lambda run: run.context)


def encode_result(result: Result) -> str:
    """As indented JSON, with `held` in each row that has a bound."""
    tree = msgspec.to_builtins(result)
    for run, run_tree in zip(result.runs, tree["runs"], strict=True):
        for row, row_tree in zip(run.rows, run_tree["rows"], strict=True):
            row_tree["held"] = row.held
    return msgspec.json.format(msgspec.json.encode(tree), indent=2).decode()


def load_result(path: Path) -> Result:
    """Read a result back. Raises DeltaloomError where the file isn't one."""
    try:
        result = msgspec.json.decode(path.read_bytes(), type=Result)
    except OSError as error:
        raise DeltaloomError(f"{path} can't be read ({error.strerror}).") from None
    except msgspec.DecodeError as error:
        raise DeltaloomError(f"{path} isn't a result of `deltaloom bench edits --json` ({error}).") from None
    if result.format != FORMAT:
        raise DeltaloomError(f"{path} was written by another version; measure again with --json.")
    return result
