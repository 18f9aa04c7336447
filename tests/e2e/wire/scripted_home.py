"""An engine that does what the files of SCRIPT_FOLDER say, for tests of everything around the engine.

A generate writes `begin PATH TYPED`, waits while `hold PATH` exists, writes `answer PATH` and answers with
the text of the file `say`, or with the text typed in capitals; one closed before that writes `closed PATH`.
`die PATH` ends the process where the generate would begin to wait, `raise PATH` has it fail there with the
text in its words. The text before the cursor's line is written to `prefix`. A sync waits while `hold sync`
exists and writes its paths (`-PATH` for a tombstone). The file `abilities` says what the model can be asked;
asked in words it writes `asked`, and puts the last message into the file `message`.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from deltaloom_model.api import (
    ContextInfo,
    CountRequest,
    CountResult,
    EngineStatus,
    GenerateRequest,
    GenerateResult,
    GenerateSteps,
    ModelInfo,
    ModelSpec,
    PurgeRequest,
    PurgeResult,
    SyncProgress,
    SyncRequest,
    SyncResult,
    SyncSteps,
)


class ScriptedEngine:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._held: dict[tuple[str, str], SyncRequest] = {}

    @property
    def model(self) -> ModelInfo:
        said = self._folder / "abilities"
        able = said.read_text(encoding="utf-8").split() if said.exists() else ["fim"]
        return ModelInfo("scripted", "0" * 32, abilities=tuple(able))  # type: ignore[arg-type]

    def count(self, request: CountRequest) -> CountResult:
        return CountResult([len(segment.path) for segment in request.segments])

    def sync(self, request: SyncRequest) -> SyncSteps:
        total = len(request.segments)
        for done in range(total):
            yield SyncProgress(done, total)
        while self._is("hold sync"):
            time.sleep(0.002)
            yield SyncProgress(total, total)
        self._held[request.session, request.workspace] = request
        shown = [("-" if segment.tombstone else "") + segment.path for segment in request.segments]
        self._write(" ".join(["sync", *sorted(shown)]))
        return SyncResult(request.revision, tokens=total)

    def generate(self, request: GenerateRequest) -> GenerateSteps:
        self._write(f"begin {request.path} {request.typed}".rstrip())
        (self._folder / "prefix").write_bytes(request.prefix.encode())
        if request.messages:
            self._write("asked")
            (self._folder / "message").write_bytes(request.messages[-1].text.encode())
        if self._is(f"die {request.path}"):
            os._exit(3)
        if self._is(f"raise {request.path}"):
            raise RuntimeError(request.prefix + request.typed)
        try:
            while self._is(f"hold {request.path}"):
                time.sleep(0.002)
                yield None
        except GeneratorExit:
            self._write(f"closed {request.path}")
            raise
        self._write(f"answer {request.path}")
        said = self._folder / "say"
        text = said.read_text(encoding="utf-8") if said.exists() else request.typed.strip().upper()
        return GenerateResult(request.revision, text, "stop")

    def status(self) -> EngineStatus:
        contexts = [
            ContextInfo(session, workspace, sync.revision, 1, 1, len(sync.segments))
            for (session, workspace), sync in self._held.items()
        ]
        return EngineStatus("ready", model=self.model, contexts=contexts)

    def purge(self, request: PurgeRequest) -> PurgeResult:
        return PurgeResult()

    def idle(self) -> None:
        pass

    def close(self) -> None:
        pass

    def forget(self, session: str) -> None:
        self._write("forget")
        self._held = {key: sync for key, sync in self._held.items() if key[0] != session}

    def _is(self, name: str) -> bool:
        return (self._folder / name.replace("/", "|")).exists()

    def _write(self, line: str) -> None:
        with (self._folder / "journal").open("a", encoding="utf-8") as journal:
            journal.write(line + "\n")


def build(spec: ModelSpec) -> ScriptedEngine:
    return ScriptedEngine(Path(os.environ["SCRIPT_FOLDER"]))


def build_held(spec: ModelSpec) -> ScriptedEngine:
    """Loads only once `hold load` has gone."""
    folder = Path(os.environ["SCRIPT_FOLDER"])
    while (folder / "hold load").exists():
        time.sleep(0.002)
    return build(spec)
