"""Errors of the model package, each one sentence that says what to do.

DeltaloomModelError
├── ModelLoadError        a model folder that can't be used (missing, truncated, foreign, not safetensors)
├── UnsupportedPlatform   this operating system or device isn't supported
├── WorkerUnavailable     the worker can't be started or has gone; a later request may find a new one
├── HandshakeRefused      another protocol, version, model or token at the other end
└── RequestFailed         the worker answered a request with an error
"""

from __future__ import annotations


class DeltaloomModelError(Exception):
    """Base of every error this package raises on purpose; `str(error)` is one sentence for the user."""


class ModelLoadError(DeltaloomModelError):
    """A model folder can't be loaded."""


class UnsupportedPlatform(DeltaloomModelError):
    """This operating system or device isn't supported."""


class WorkerUnavailable(DeltaloomModelError):
    """The worker can't be started, or has gone."""


class HandshakeRefused(WorkerUnavailable):
    """The worker at the socket is of another protocol, version or model, or refused the token."""


class RequestFailed(DeltaloomModelError):
    """The worker answered a request with an error."""


def no_instructions(model: str) -> str:
    """Why the model of this name can't be asked in words."""
    return (
        f"{model} completes code but doesn't follow instructions; choose an instruct model with model.path."
    )
