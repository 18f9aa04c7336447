"""An engine that says what the files of TALK_FOLDER say, for tests of conversations in a real worker.

`abilities` lists the model's, `answers` (JSON) what it says turn by turn, cut off where it ends with `…`; a
request is written to `journal`, one JSON line each. While `hold` exists an answer waits, having said its
first piece; broken off, it writes `closed`. Conversations of more characters than `room` says find no room.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import msgspec

from deltaloom_model.api import (
    CountRequest,
    CountResult,
    EngineStatus,
    FinishReason,
    GenerateRequest,
    GenerateResult,
    GenerateSteps,
    GenerateUpdate,
    ModelInfo,
    ModelSpec,
    PurgeRequest,
    PurgeResult,
    SyncRequest,
    SyncResult,
    SyncSteps,
)

_PIECE = 7


class TalkingEngine:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        abilities = (folder / "abilities").read_text().split()
        self.model = msgspec.convert(
            {"name": "talker", "hash": "0" * 32, "abilities": abilities}, type=ModelInfo
        )

    def count(self, request: CountRequest) -> CountResult:
        return CountResult([1 for _ in request.segments])

    def sync(self, request: SyncRequest) -> SyncSteps:
        yield None
        return SyncResult(request.revision)

    def generate(self, request: GenerateRequest) -> GenerateSteps:
        with (self._folder / "journal").open("a", encoding="utf-8") as journal:
            journal.write(msgspec.json.encode(request).decode() + "\n")
        room = self._folder / "room"
        said = sum(len(message.text) for message in request.messages)
        if room.exists() and said > int(room.read_text()):
            return GenerateResult(request.revision, "", "unavailable", "There is no room.")
        answers = json.loads((self._folder / "answers").read_text(encoding="utf-8"))
        text, rest = answers[0], answers[1:]
        (self._folder / "answers").write_text(json.dumps(rest), encoding="utf-8")
        finish: FinishReason = "length" if text.endswith("…") else "stop"
        text = text.removesuffix("…")
        try:
            for at in range(0, len(text), _PIECE):
                yield GenerateUpdate(text[at : at + _PIECE])
                while (self._folder / "hold").exists():
                    time.sleep(0.002)
                    yield None
        except GeneratorExit:
            (self._folder / "closed").touch()
            raise
        return GenerateResult(request.revision, text, finish)

    def status(self) -> EngineStatus:
        return EngineStatus("ready", model=self.model)

    def purge(self, request: PurgeRequest) -> PurgeResult:
        return PurgeResult()

    def idle(self) -> None:
        pass

    def close(self) -> None:
        pass

    def forget(self, session: str) -> None:
        pass


def build(spec: ModelSpec) -> TalkingEngine:
    return TalkingEngine(Path(os.environ["TALK_FOLDER"]))
