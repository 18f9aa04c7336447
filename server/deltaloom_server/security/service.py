"""Everything about findings and fixes in one session, made when it is first needed.

Invariant: nothing is started before something is asked for; `close` leaves no process behind.
"""

from __future__ import annotations

import os
from functools import cached_property
from typing import TYPE_CHECKING, Any

from deltaloom_server.security.analysis.pool import AnalysisPool
from deltaloom_server.security.diagnosis import Diagnosis
from deltaloom_server.security.finding_cache import FindingCache, default_path
from deltaloom_server.security.fixing import Fixer, FixOptions, Source
from deltaloom_server.security.inspector import Inspector
from deltaloom_server.security.scanner_versions import versions
from deltaloom_server.security.workspace_findings import WorkspaceFindings

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from deltaloom_server.language_server import DeltaloomServer
    from deltaloom_server.security.finding import Finding
    from deltaloom_server.security.model_fix import ModelProposals
    from deltaloom_server.security.proposal import Proposal


class SecurityService:
    """What handlers use. `on_news(uri)`: the findings of an open document are others now."""

    def __init__(
        self, server: DeltaloomServer, on_news: Callable[[str], None], *, cached: bool = True
    ) -> None:
        self._server = server
        processes = server.session.settings.security.processes or os.cpu_count() or 1
        self.pool = AnalysisPool(size=processes)
        self.cache = FindingCache(default_path() if cached else None)
        self.inspector = Inspector(self.pool, self.cache, server.executor)
        self.diagnosis = Diagnosis(server, self.inspector, on_news)
        self.workspace = WorkspaceFindings(server, self.inspector, self.diagnosis)
        self.last_fix = ""
        """What the last code action that had work to do came to."""

    @cached_property
    def model(self) -> ModelProposals:
        """What the model proposes; nothing of it is verified yet."""
        from deltaloom_server.security.model_fix import ModelProposals

        return ModelProposals(self._server, self.pool)

    @cached_property
    def fixer(self) -> Fixer:
        """What makes fixes."""
        from deltaloom_server.security.own_tests import OwnTests

        return Fixer(self.pool, self._propose_by_model, OwnTests(self._server).run_if_asked)

    async def _propose_by_model(
        self, text: str, finding: Finding, tell: Callable[[str], None]
    ) -> Sequence[Proposal]:
        return await self.model.propose(text, finding, tell)

    def fix_options(self, *, unsafe: bool = True, sources: tuple[Source, ...] = ()) -> FixOptions:
        """By the settings: the model only where they allow it."""
        settings = self._server.session.settings.security
        allowed: tuple[Source, ...] = ("codemod", "model") if settings.model_fixes else ("codemod",)
        roots = self._server.session.roots
        chosen = tuple(source for source in sources or allowed if source in allowed)
        return FixOptions(chosen, unsafe, roots)

    def report(self) -> dict[str, Any]:
        """For `deltaloom/status`: numbers, names of scanners and sentences, never code."""
        inspections = self.diagnosis.inspections()
        passed = self.workspace.report
        unscanned = [one for inspection in inspections for one in inspection.unscanned]
        return {
            "enabled": self._server.session.settings.security.enabled,
            "started": True,
            "scanners": {name: version for name, version in versions().items() if version},
            "documents": len(inspections),
            "findings": sum(len(self.diagnosis.shown(one)) for one in inspections),
            "not_scanned": sorted({f"{one.path}: {one.scanner}: {one.reason}" for one in unscanned}),
            "workspace": {
                "files": len(passed.paths),
                "cached": passed.cached,
                "complete": passed.complete,
                "findings": sum(len(self.diagnosis.shown(one)) for one in passed.inspections.values()),
            },
            "last_fix": self.last_fix,
        }

    async def close(self) -> None:
        """End what runs."""
        self.diagnosis.close()
        await self.pool.close()
        self.cache.close()
