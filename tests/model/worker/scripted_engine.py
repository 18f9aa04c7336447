"""An engine that does as its requests say, for tests of everything around the engine.

A generate's `path` names the deed; a sync's segments are its steps, and a segment "endless" never ends.
`build*` are engine factories for `--engine scripted_engine:NAME`.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

from deltaloom_model.api import (
    DECODING,
    ContextInfo,
    CountRequest,
    CountResult,
    EngineStatus,
    GenerateRequest,
    GenerateResult,
    GenerateSteps,
    GenerateUpdate,
    ModelInfo,
    ModelSpec,
    PurgeRequest,
    PurgeResult,
    SyncProgress,
    SyncRequest,
    SyncResult,
    SyncSteps,
)
from deltaloom_model.errors import ModelLoadError

SECRET = "api_key = 'do not write me anywhere'"


class ScriptedEngine:
    def __init__(self) -> None:
        self.journal: list[str] = []
        self.held: dict[tuple[str, str], SyncRequest] = {}

    @property
    def model(self) -> ModelInfo:
        return ModelInfo("scripted", "0" * 32)

    def count(self, request: CountRequest) -> CountResult:
        if request.segments and request.segments[0].path == "raise":
            raise RuntimeError(SECRET)
        return CountResult([len(request.texts.get(s.digest, "")) for s in request.segments])

    def sync(self, request: SyncRequest) -> SyncSteps:
        try:
            for done, segment in enumerate(request.segments):
                yield SyncProgress(done, len(request.segments))
                while segment.path == "endless":
                    time.sleep(0.002)
                    yield SyncProgress(done, len(request.segments))
                if segment.path == "raise":
                    raise RuntimeError(SECRET)
            self.held[request.session, request.workspace] = request
            self.journal.append(f"sync {request.session} {request.revision}")
            return SyncResult(request.revision, tokens=len(request.segments))
        except GeneratorExit:
            self.journal.append(f"closed sync {request.session} {request.revision}")
            raise

    def generate(self, request: GenerateRequest) -> GenerateSteps:
        try:
            if request.path == "raise":
                raise RuntimeError(SECRET)
            if request.path == "no memory":
                raise MemoryError
            if request.path == "anchor":  # the open file's part takes two steps
                yield from (None, None)
                yield DECODING
            for character in request.typed:
                yield GenerateUpdate(character)
            while request.path == "endless":
                time.sleep(0.002)
                yield GenerateUpdate("x")
            if request.path == "system exit":
                raise SystemExit
            if request.path == "surrogate":
                return GenerateResult(request.revision, "\ud800", "stop")
            if request.path == "exit":
                os._exit(3)
            text = json.dumps(self._facts()) if request.path == "facts" else request.typed
            return GenerateResult(request.revision, text, "stop")
        except GeneratorExit:
            self.journal.append(f"closed generate {request.revision}")
            raise

    def status(self) -> EngineStatus:
        contexts = [
            ContextInfo(session, workspace, sync.revision, 1, 1, len(sync.segments))
            for (session, workspace), sync in self.held.items()
        ]
        return EngineStatus("ready", model=self.model, contexts=contexts)

    def purge(self, request: PurgeRequest) -> PurgeResult:
        self.journal.append(f"purge {request.workspace}")
        return PurgeResult(checkpoints=len(request.paths))

    def idle(self) -> None:
        self.journal.append("idle")

    def close(self) -> None:
        self.journal.append("close")

    def forget(self, session: str) -> None:
        self.journal.append(f"forget {session}")
        self.held = {key: sync for key, sync in self.held.items() if key[0] != session}

    def _facts(self) -> dict[str, object]:
        return {
            "pid": os.getpid(),
            "group": os.getpgid(0),
            "session": os.getsid(0),
            "threads": os.environ["OMP_NUM_THREADS"],
            "policy": os.environ["GOMP_SPINCOUNT"],
            "standard_input": os.readlink("/proc/self/fd/0"),
            "standard_output": os.readlink("/proc/self/fd/1"),
            "torch": "torch" in sys.modules,
            "safe_path": sys.flags.safe_path,
            "journal": self.journal,
        }


def build(spec: ModelSpec) -> ScriptedEngine:
    return ScriptedEngine()


def build_gated(spec: ModelSpec) -> ScriptedEngine:
    """Loads only once somebody has opened the FIFO named in the environment for writing."""
    Path(os.environ["SCRIPTED_GATE"]).read_bytes()
    return ScriptedEngine()


def build_failing(spec: ModelSpec) -> ScriptedEngine:
    """Fails as long as the file named in the environment doesn't exist."""
    if not Path(os.environ["SCRIPTED_GATE"]).exists():
        raise ModelLoadError("The model folder has no config.json; download the model again.")
    return ScriptedEngine()


def build_crashing(spec: ModelSpec) -> ScriptedEngine:
    os._exit(7)
