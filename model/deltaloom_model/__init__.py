"""The model side of Deltaloom: it knows tokens and tensors, and nothing of LSP.

Invariant: importing this package, `api`, `errors` or `client` leaves torch unimported.
"""

from __future__ import annotations

from deltaloom_model._version import __version__

__all__ = ["__version__"]
