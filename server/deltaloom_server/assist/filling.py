"""Asking a model to fill in a hole in a file: what every model here can do.

Invariant: the file is shown as a completion shows it, behind the repository's context where it may stand in
it, and apart from it where not.
"""

from __future__ import annotations

from deltaloom_model.api import GenerateRequest, ModelInfo, StopRules
from deltaloom_model.errors import DeltaloomModelError

from ..errors import DeltaloomError
from ..text_lines import with_newlines
from .conversation import Server, Standing, known_model

_AWAY = "The model isn't ready yet; ask again as soon as it is."
_WARMTH = 0.7
"""Temperature of all candidates but the first."""


async def loaded_model(server: Server) -> ModelInfo | None:
    """The model, started if need be. Raises DeltaloomError where it can't be."""
    server.ensure_started()
    if server.client is None:
        raise DeltaloomError(_AWAY)
    try:
        await server.client.start()
        return await known_model(server.client)
    except DeltaloomModelError as error:
        raise DeltaloomError(str(error)) from None


def temperature_of(candidate: int) -> float:
    """The first candidate is the likeliest text; the others are to differ from it."""
    return _WARMTH if candidate else 0.0


async def fill_in(
    server: Server,
    path: str,
    prefix: str,
    typed: str,
    suffix: str,
    *,
    stop: StopRules,
    max_new_tokens: int,
    candidate: int = 0,
) -> str:
    """What the model puts between `prefix + typed` and `suffix`; its lines end in `\\n`.

    `candidate` counts tries at the same hole. Raises DeltaloomError.
    """
    server.ensure_started()
    client, session = server.client, server.session
    if client is None:
        raise DeltaloomError(_AWAY)
    if server.sync is not None:
        await server.sync.flush()
    standing = Standing.of(session, path)
    request = GenerateRequest(
        session.id,
        standing.workspace,
        standing.repository,
        standing.revision,
        path,
        with_newlines(prefix),
        typed,
        with_newlines(suffix),
        max_new_tokens,
        stop,
        temperature=temperature_of(candidate),
        seed=candidate,
        explicit=True,
    )
    try:
        result = await client.generate(request)
    except DeltaloomModelError as error:
        raise DeltaloomError(str(error)) from None
    if not result.text.strip() and result.reason:
        raise DeltaloomError(result.reason)
    return result.text
