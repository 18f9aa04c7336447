"""Reports: an outcome in the form that a person or a service reads. One module a format, each with

    def render(outcome: Outcome) -> str      the whole report, with a line end

Invariant: a report is made from the outcome alone, and whatever a file's name, line or message holds, it is
escaped so that it can't be taken for anything else.
"""

from __future__ import annotations

from importlib import import_module

from deltaloom_server.lint.options import Format
from deltaloom_server.lint.outcome import Outcome


def render(outcome: Outcome, format: Format) -> str:
    """The report in any format but text, which knows terminals (see `reports.text`)."""
    module = import_module(f"{__name__}.{'as_json' if format == 'json' else format}")
    text: str = module.render(outcome)
    return text
