"""`textDocument/completion` and `completionItem/resolve`, for clients without ghost text.

Invariant: the one item has the text that ghost text would have, filtered by the word before the cursor; what
costs room (the text in full) is given only when the item is resolved.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from lsprotocol import types

if TYPE_CHECKING:
    from ..language_server import DeltaloomServer
    from ..session import Snapshot

_WORD = re.compile(r"\w+\Z")
_LABEL = 80


def register(server: DeltaloomServer) -> None:
    """The request and its resolve."""
    options = types.CompletionOptions(trigger_characters=[".", "(", " ", "="], resolve_provider=True)
    server.feature(types.TEXT_DOCUMENT_COMPLETION, options)(_completion)
    server.feature(types.COMPLETION_ITEM_RESOLVE)(_resolve)


async def _completion(ls: DeltaloomServer, params: types.CompletionParams) -> types.CompletionList:
    from ..suggest import Cursor

    # The list must be asked for again as the person types: the model may then know more.
    nothing = types.CompletionList(is_incomplete=True, items=[])
    if not _is_wanted(ls):
        return nothing
    asked = params.context.trigger_kind if params.context else types.CompletionTriggerKind.Invoked
    position = params.position
    answer = await ls.suggester.suggest(
        Cursor(
            params.text_document.uri,
            position.line,
            position.character,
            automatic=asked == types.CompletionTriggerKind.TriggerCharacter,
        )
    )
    if answer is None:
        return nothing
    snapshot, suggestion = answer
    item = _item(snapshot, suggestion.text, suggestion.replaces)
    return types.CompletionList(is_incomplete=True, items=[item])


def _is_wanted(ls: DeltaloomServer) -> bool:
    menu = ls.session.settings.completion.menu
    return menu == "always" or (menu == "auto" and not ls.session.client.inline_completion)


def _item(snapshot: Snapshot, text: str, replaces: int) -> types.CompletionItem:
    found = _WORD.search(snapshot.cursor.typed)
    word = found[0] if found else ""
    document = snapshot.document
    at = snapshot.offset
    span = types.Range(document.position_at(at - len(word)), document.position_at(at + replaces))
    whole = word + text
    first, *others = whole.strip().splitlines() or [""]
    label = first if len(first) <= _LABEL else first[: _LABEL - 1] + "…"
    return types.CompletionItem(
        label=label + (" ⏎" if others else ""),
        kind=types.CompletionItemKind.Snippet if others else types.CompletionItemKind.Text,
        detail="Deltaloom",
        filter_text=whole.splitlines()[0] if whole.strip() else whole,
        sort_text="\x7f",  # after what a compiler or type checker is sure of
        insert_text_format=types.InsertTextFormat.PlainText,
        insert_text_mode=types.InsertTextMode.AsIs,
        text_edit=types.TextEdit(span, whole),
        data={"language": document.language_id},
    )


def _resolve(ls: DeltaloomServer, item: types.CompletionItem) -> types.CompletionItem:
    """Add the text in full, as a code block where the client shows Markdown."""
    edit = item.text_edit
    if isinstance(edit, types.TextEdit) and not ls.session.client.markdown:
        item.documentation = edit.new_text
    elif isinstance(edit, types.TextEdit):
        data: Any = item.data
        language = data.get("language", "") if isinstance(data, dict) else ""
        fence = "`" * max(3, 1 + max(map(len, re.findall("`+", edit.new_text)), default=0))
        value = f"{fence}{_plain(language)}\n{edit.new_text}\n{fence}"
        item.documentation = types.MarkupContent(kind=types.MarkupKind.Markdown, value=value)
    return item


def _plain(language: object) -> str:
    return "".join(letter for letter in str(language) if letter.isalnum() or letter in "+#-_")
