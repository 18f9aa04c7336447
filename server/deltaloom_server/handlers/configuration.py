"""`workspace/didChangeConfiguration`, and project files that changed.

Invariant: settings change as a whole, between two requests; the context is begun anew only where a setting
that it depends on has changed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lsprotocol import types

from ..logs import set_level
from ..settings import known_keys

if TYPE_CHECKING:
    from ..language_server import DeltaloomServer

SECTION = "deltaloom"
SECTIONS = frozenset(key.partition(".")[0] for key in known_keys())


def register(server: DeltaloomServer) -> None:
    """`workspace/didChangeConfiguration`."""
    server.feature(types.WORKSPACE_DID_CHANGE_CONFIGURATION)(_did_change_configuration)


def _did_change_configuration(ls: DeltaloomServer, params: types.DidChangeConfigurationParams) -> None:
    tree = params.settings
    if isinstance(tree, dict) and SECTION in tree:
        tree = tree[SECTION]
    elif isinstance(tree, dict) and not set(tree) & SECTIONS:
        tree = None  # other servers' settings, or none at all: nothing was said about ours
    if tree is None and ls.session.client.configuration:
        ls.in_background(_pull(ls))  # the editor keeps its settings for itself until it is asked
    elif tree is not None:
        settings_changed(ls, tree)


async def _pull(ls: DeltaloomServer) -> None:
    items = types.ConfigurationParams(items=[types.ConfigurationItem(section=SECTION)])
    answer: Any = await ls.workspace_configuration_async(items)
    if answer and answer[0] is not None:
        settings_changed(ls, answer[0])


def settings_changed(ls: DeltaloomServer, editor: object = None) -> None:
    """Apply the editor's new tree (None: the one it gave last) and the project files as they are now."""
    before = ls.session.settings
    for sentence in ls.session.reconfigure(editor):
        ls.notices.tell(sentence)
    now = ls.session.settings
    set_level(now.log.level)
    new_model = (before.model, before.worker, before.context.max_tokens) != (
        now.model,
        now.worker,
        now.context.max_tokens,
    )
    if new_model or before.context != now.context:
        ls.session.begin_context()
        ls.restart_context(new_model=new_model)
    if before.security != now.security:
        ls.security_changed()
    ls.forget_suggestions()
    ls.report_soon()
