"""How many threads a model's numerical work gets. Torch-free: it is decided before torch is imported."""

from __future__ import annotations

import os

from deltaloom_model.api import ModelSpec


def thread_count(spec: ModelSpec) -> int:
    """What the spec asks for, or the cores this process may run on (a container may have made them fewer)."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return spec.threads or cores
