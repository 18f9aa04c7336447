"""Errors of the server package, each with an LSP error code and one sentence for the user.

DeltaloomError (-32803 RequestFailed)
├── NotInitialized      -32002  a request before `initialize`
├── UnknownDocument     -32602  a request about a document that isn't open
├── InvalidPosition     -32602  a position that can't be a position
├── ContentModified     -32801  the document moved on; ask again
├── SettingsError       -32602  a setting that doesn't exist or has the wrong type
└── WorkspaceError      -32803  a folder that can't be read
"""

from __future__ import annotations


class DeltaloomError(Exception):
    """Base of every error this package raises on purpose; `str(error)` is one sentence for the user."""

    code = -32803


class NotInitialized(DeltaloomError):
    """A request came before `initialize`."""

    code = -32002


class UnknownDocument(DeltaloomError):
    """The document isn't open here."""

    code = -32602


class InvalidPosition(DeltaloomError):
    """A position that can't be a position (negative, or not a number)."""

    code = -32602


class ContentModified(DeltaloomError):
    """The document changed while the request was served."""

    code = -32801


class SettingsError(DeltaloomError):
    """A setting that doesn't exist or has the wrong type."""

    code = -32602


class WorkspaceError(DeltaloomError):
    """A workspace folder that can't be read."""
