"""From the settings to a client of the model worker.

Invariant: which model runs and with what is the editor's to say; nothing of it comes from a workspace.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from deltaloom_model.api import ModelSpec

    from .language_server import DeltaloomServer
    from .model_client import ModelClient
    from .settings import Settings


def model_spec(settings: Settings) -> ModelSpec:
    """The model that the settings name, with its budgets."""
    from deltaloom_model.api import ModelSpec

    model = settings.model
    return ModelSpec(
        model.path,
        model.device,
        model.dtype,
        model.threads,
        settings.context.max_tokens,
        model.checkpoint_bytes,
        model.kv_bytes,
        settings.cache.host_bytes,
        settings.cache.disk_bytes,
    )


def engine_client(server: DeltaloomServer, spec: ModelSpec) -> ModelClient:
    """A client of a worker with this model; the worker is started by its first use."""
    from deltaloom_model.client import EngineClient

    return EngineClient(
        spec,
        session=server.session.id,
        engine=server.engine,
        on_state=server.engine_changed,
        idle_seconds=server.session.settings.worker.idle_seconds,
    )
