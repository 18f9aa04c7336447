"""How many tokens texts have, asked of a model worker that reads nothing.

Invariant: the counts are the tokenizer's own, of each text alone, as a segment is tokenized.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from deltaloom_model.api import CountRequest, ModelSpec, Segment, text_digest
from deltaloom_model.client import EngineClient
from deltaloom_model.errors import DeltaloomModelError
from deltaloom_server.errors import DeltaloomError

from .processes import end_worker

_BATCH_CHARACTERS = 1 << 19


@dataclass(frozen=True)
class TokenCounts:
    """Tokens by text, and by shown path those of its header."""

    texts: Mapping[str, int]
    headers: Mapping[str, int]

    def segment(self, path: str, text: str) -> int:
        """Tokens of a file as it stands in base or log."""
        return self.headers[path] + self.texts[text]


class TokenCounter:
    """Asks one worker; made by `token_counter`."""

    def __init__(self, client: EngineClient) -> None:
        self._client = client

    async def count(self, texts: Iterable[str], paths: Iterable[str] = ()) -> TokenCounts:
        """Count these texts, without headers, and the headers of these paths."""
        wanted, shown = list(dict.fromkeys(texts)), list(dict.fromkeys(paths))
        bare = (await self._segments([("x", "")]))[0]
        counted = await self._segments([("x", text) for text in wanted])
        headers = await self._segments([(path, "") for path in shown])
        return TokenCounts(
            {text: tokens - bare for text, tokens in zip(wanted, counted, strict=True)},
            dict(zip(shown, headers, strict=True)),
        )

    async def _segments(self, pairs: list[tuple[str, str]]) -> list[int]:
        counts: list[int] = []
        start = 0
        while start < len(pairs):
            end, size = start, 0
            while end < len(pairs) and (end == start or size + len(pairs[end][1]) <= _BATCH_CHARACTERS):
                size += len(pairs[end][1])
                end += 1
            texts = {text_digest(text): text for _, text in pairs[start:end]}
            segments = [Segment(path, text_digest(text)) for path, text in pairs[start:end]]
            counts += (await self._client.count(CountRequest(segments, texts))).tokens
            start = end
        return counts


@asynccontextmanager
async def token_counter(folder: Path) -> AsyncIterator[TokenCounter]:
    """A counter with a worker of its own, whose socket lies in `folder`; both are gone afterwards.

    Raises DeltaloomError where the model can't be loaded.
    """
    client = EngineClient(ModelSpec(threads=1), session="bench", runtime_dir=folder, idle_seconds=1)
    pid = 0
    try:
        await client.count(CountRequest([]))
        pid = (await client.status()).pid
        yield TokenCounter(client)
    except DeltaloomModelError as error:
        raise DeltaloomError(str(error)) from None
    finally:
        await client.close()
        await end_worker(pid)
