"""`textDocument/inlineCompletion`: ghost text (LSP 3.18).

Invariant: an item's range lies on the cursor's line and begins where the editor expects it: at the cursor, or
where the entry begins that is selected in the editor's own list, whose text the item then begins with.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lsprotocol import types

if TYPE_CHECKING:
    from ..language_server import DeltaloomServer


def register(server: DeltaloomServer) -> None:
    """The request; without options the capability wouldn't be advertised."""
    server.feature(types.TEXT_DOCUMENT_INLINE_COMPLETION, types.InlineCompletionOptions())(_inline_completion)


async def _inline_completion(
    ls: DeltaloomServer, params: types.InlineCompletionParams
) -> types.InlineCompletionList:
    from ..suggest import Cursor

    position, context = params.position, params.context
    selected = context.selected_completion_info
    automatic = context.trigger_kind == types.InlineCompletionTriggerKind.Automatic
    if selected is not None and selected.range.start.line != position.line:
        selected = None
    answer = await ls.suggester.suggest(
        Cursor(
            params.text_document.uri,
            position.line,
            position.character,
            automatic=automatic,
            explicit=not automatic,
            selected=selected.text if selected else None,
            selected_from=selected.range.start.character if selected else 0,
        )
    )
    if answer is None:
        return types.InlineCompletionList(items=[])
    snapshot, suggestion = answer
    start = types.Position(snapshot.line, snapshot.character)
    end = snapshot.document.position_at(snapshot.offset + suggestion.replaces)
    text = suggestion.text
    if selected is not None:
        start = types.Position(snapshot.line, min(selected.range.start.character, snapshot.character))
        text = selected.text + text
    item = types.InlineCompletionItem(insert_text=text, range=types.Range(start, end))
    return types.InlineCompletionList(items=[item])
