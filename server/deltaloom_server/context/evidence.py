"""What a layout is decided by, beside names and sizes. Invariant: plain data, made in one moment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Form = Literal["full", "outline", "names"]
"""How a file stands in the base: its text, its outline, or its name in a list."""


@dataclass(frozen=True)
class Evidence:
    """What is known of the work at hand. Paths are shown paths; `changed` in the order of change, `previous`
    the base's order at the last layout, `open_texts` path to live text.

    `previous_forms` is how paths stood when they last did (`BasePlan.forms`, older ones kept, so that a file
    that comes back comes back as it was); one of `previous` that it lacks stood in full.
    """

    open_texts: Mapping[str, str] = field(default_factory=dict)
    changed: tuple[str, ...] = ()
    previous: tuple[str, ...] = ()
    previous_forms: Mapping[str, Form] = field(default_factory=dict)
