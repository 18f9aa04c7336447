"""`textDocument/codeAction` and `codeAction/resolve`: a menu at once, the work when an entry is chosen.

Invariant: an edit is of the version that the menu was made for; once the text has moved on, the answer is
"content modified", and nothing is changed. The work shows its progress and ends when it is cancelled.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from lsprotocol import types

from ..errors import ContentModified, DeltaloomError
from ..logs import get_logger

if TYPE_CHECKING:
    from ..actions import Offer, Outcome, Place
    from ..language_server import DeltaloomServer
    from ..security.fixing import Source

COMMAND = "deltaloom.runAction"
"""For clients that can't resolve an action's edit: the server has the client apply it."""

EXPLAIN = "deltaloom.explain"
KINDS = ("quickfix", "source.fixAll.deltaloom", "refactor.rewrite.deltaloom", EXPLAIN)

_LOG = get_logger("actions")


def register(server: DeltaloomServer) -> None:
    """The menu, the work, and the command that stands for it."""
    options = types.CodeActionOptions(code_action_kinds=list(KINDS), resolve_provider=True)
    server.feature(types.TEXT_DOCUMENT_CODE_ACTION, options)(_code_action)
    server.feature(types.CODE_ACTION_RESOLVE)(_resolve)
    server.command(COMMAND)(_run_action)


async def _code_action(ls: DeltaloomServer, params: types.CodeActionParams) -> list[types.CodeAction]:
    from ..actions import actions
    from ..security.editable import refuse_document

    place = _place(ls, params)
    refusal = refuse_document(params.text_document.uri, ls.session.roots) or ""
    only = [str(getattr(kind, "value", kind)) for kind in params.context.only or ()]
    made = []
    for name, action in actions().items():
        if not _wanted(action.KIND, only):
            continue
        for offer in action.offer(place):
            disabled = offer.disabled or (refusal if action.KIND != EXPLAIN else "")
            if not disabled or ls.session.client.disabled_actions:
                made.append(_as_code_action(ls, place, name, action.KIND, replace(offer, disabled=disabled)))
    return made


async def _resolve(ls: DeltaloomServer, action: types.CodeAction) -> types.CodeAction:
    data: Any = action.data
    if not isinstance(data, dict) or action.edit is not None:
        return action
    outcome, document = await _carry_out(ls, data)
    action.edit = _edit(ls, document, outcome)
    action.data = data | {"fix": _told(outcome)}
    if outcome.show:
        action.edit = None
        _show(ls, outcome)
    return action


async def _run_action(ls: Any, *arguments: Any) -> None:  # pygls evaluates a command's annotations
    """The one argument is an action's data: do the work and have the client apply the edit."""
    data = arguments[0] if len(arguments) == 1 else None
    if not isinstance(data, dict):
        raise DeltaloomError("This command belongs to Deltaloom's code actions; choose one of those.")
    outcome, document = await _carry_out(ls, data)
    if outcome.show:
        _show(ls, outcome)
    edit = _edit(ls, document, outcome)
    if edit is not None:
        ls.in_background(
            ls.workspace_apply_edit_async(types.ApplyWorkspaceEditParams(edit, label=outcome.title))
        )


async def _carry_out(ls: DeltaloomServer, data: dict[str, Any]) -> tuple[Outcome, Any]:
    """The work behind an action's data. Raises ContentModified, or what the action has to say."""
    from ..actions import Chosen, actions
    from ..security.editable import refuse_document

    action = actions().get(str(data.get("do")))
    uri, version = data.get("uri"), data.get("version")
    if action is None or not isinstance(uri, str):
        raise DeltaloomError("The editor sent back an action that isn't Deltaloom's; ask for the menu again.")
    document = ls.session.snapshot(uri)
    if document.version != version:
        raise ContentModified("The file has changed since the menu was opened; open it again.")
    if action.KIND != EXPLAIN and (refusal := refuse_document(uri, ls.session.roots)) is not None:
        raise DeltaloomError(refusal)
    about = data.get("about")
    chosen = Chosen(
        document,
        ls.security.diagnosis.path_of(uri, document.language_id),
        about if isinstance(about, dict) else {},
        _sources(data.get("sources")),
    )
    task = asyncio.current_task()
    assert task is not None, "a request is a task"
    with ls.board.work("Deltaloom", task.cancel) as progress:
        try:
            outcome = await action.carry_out(ls, chosen, progress.report)
        except DeltaloomError as error:
            ls.security.last_fix = str(error)
            raise
    ls.security.last_fix = f"{outcome.title} ({outcome.label})" if outcome.label else outcome.title
    if uri not in ls.session.documents or ls.session.documents[uri].version != version:
        raise ContentModified("The file has changed while the fix was made; ask again.")
    return outcome, document


def _sources(named: object) -> tuple[Source, ...]:
    """Where a client wants fixes from; it may narrow what the settings allow, not widen it."""
    if not isinstance(named, list):
        return ()
    return tuple(source for source in ("codemod", "model") if source in named)


def _place(ls: DeltaloomServer, params: types.CodeActionParams) -> Place:
    """What is known of the place without doing anything for it."""
    from ..actions import Place
    from ..security.lsp_diagnostics import SOURCE, identity_of

    uri, span = params.text_document.uri, params.range
    document = ls.session.snapshot(uri)
    first, last = span.start.line, span.end.line
    inspection = ls.security.diagnosis.inspection(uri)
    shown = ls.security.diagnosis.shown(inspection) if inspection is not None else ()
    there = tuple(one for one in shown if one.span.start_line <= last and one.span.end_line >= first)
    ours = {identity: one for one in params.context.diagnostics if (identity := identity_of(one))}
    foreign = tuple(one for one in params.context.diagnostics if one.source != SOURCE)
    return Place(
        document,
        ls.security.diagnosis.path_of(uri, document.language_id),
        first,
        last,
        span.start,
        there,
        shown,
        ours,
        foreign,
        ls.abilities,
        ls.session.settings.security.model_fixes,
    )


def _wanted(kind: str, only: list[str]) -> bool:
    """`only` names kinds and all that is below them. `source` actions come only when they are asked for."""
    if not only:
        return not kind.startswith("source.")
    return any(kind == asked or kind.startswith(asked + ".") for asked in only)


def _as_code_action(
    ls: DeltaloomServer, place: Place, name: str, kind: str, offer: Offer
) -> types.CodeAction:
    uri, version = place.document.uri, place.document.version
    data = {"do": name, "uri": uri, "version": version, "about": offer.about}
    action = types.CodeAction(
        title=offer.title,
        kind=kind,
        diagnostics=list(offer.diagnostics) or None,
        is_preferred=True if offer.preferred else None,
        data=data,
    )
    if offer.disabled:
        action.disabled = types.CodeActionDisabled(reason=offer.disabled)
    elif offer.edits:
        from ..actions import Outcome

        action.edit = _edit(ls, place.document, Outcome(offer.title, offer.edits))
    elif not ls.session.client.resolves_edits:
        action.command = types.Command(title=offer.title, command=COMMAND, arguments=[data])
    return action


def _edit(ls: DeltaloomServer, document: Any, outcome: Outcome) -> types.WorkspaceEdit | None:
    from ..security.minimal_edit import workspace_edit

    return workspace_edit(document, outcome, ls.session)


def _show(ls: DeltaloomServer, outcome: Outcome) -> None:
    from ..documents_shown import show_markdown

    show_markdown(ls, outcome.title, outcome.show)


def _told(outcome: Outcome) -> dict[str, Any]:
    """What a client that wants to know more than the edit is told."""
    return {
        "title": outcome.title,
        "label": outcome.label,
        "note": outcome.note,
        "unsafe": outcome.unsafe,
        "origin": outcome.origin,
    }
