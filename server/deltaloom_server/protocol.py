"""The LSP's rules on top of pygls's dispatch.

Invariant: every request gets exactly one answer, malformed, premature or late ones included; an error's
answer is one sentence, and neither it nor the log quotes a document. pygls's own text documents are never
built.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from lsprotocol import types
from pygls.exceptions import JsonRpcException, JsonRpcInvalidParams, JsonRpcMethodNotFound
from pygls.protocol import LanguageServerProtocol, lsp_method

from deltaloom_model.errors import DeltaloomModelError

from .errors import DeltaloomError
from .logs import describe, get_logger

if TYPE_CHECKING:
    from cattrs import Converter

    from .language_server import DeltaloomServer

PARSE_ERROR = -32700
INVALID_REQUEST = -32600
METHOD_NOT_FOUND = -32601
INVALID_PARAMS = -32602
INTERNAL_ERROR = -32603
SERVER_NOT_INITIALIZED = -32002
REQUEST_CANCELLED = -32800

_LOG = get_logger("protocol")


class DeltaloomProtocol(LanguageServerProtocol):
    """Takes message bodies from `receive`, and says through `on_exit` when the client wants us gone."""

    # Not built-in any more, so that ours are called directly: these would build and edit pygls's own text
    # documents (which desync on form feeds) and keep its progress tokens for ever.
    lsp_text_document__did_open = None  # type: ignore[assignment]
    lsp_text_document__did_change = None  # type: ignore[assignment]
    lsp_text_document__did_close = None  # type: ignore[assignment]
    lsp_notebook_document__did_open = None  # type: ignore[assignment]
    lsp_notebook_document__did_change = None  # type: ignore[assignment]
    lsp_notebook_document__did_close = None  # type: ignore[assignment]
    lsp_workspace__did_change_workspace_folders = None  # type: ignore[assignment]
    lsp_work_done_progress_cancel = None  # type: ignore[assignment]

    _server: DeltaloomServer

    def __init__(self, server: DeltaloomServer, converter: Converter) -> None:
        super().__init__(server, converter)
        self.on_exit: Callable[[int], None] = lambda _code: None
        self._initialized = False

    @property
    def is_shut_down(self) -> bool:
        """Has the client sent `shutdown`?"""
        return self._shutdown

    # -- what comes in -----------------------------------------------------------------------------------

    def receive(self, body: bytes) -> None:
        """Handle one message body. Never raises on account of what it says."""
        try:
            message = json.loads(body.decode("utf-8"))
        except (ValueError, RecursionError):
            self.refuse(None, PARSE_ERROR, "A message isn't valid JSON in UTF-8.")
            return
        if not isinstance(message, dict) or message.get("jsonrpc") != self.VERSION:
            identifier = message.get("id") if isinstance(message, dict) else None
            self.refuse(identifier, INVALID_REQUEST, "A message isn't a JSON-RPC 2.0 object.")
        elif "method" in message:
            self._receive_call(message)
        elif "id" in message:
            self._receive_response(message)
        else:
            self.refuse(None, INVALID_REQUEST, "A message has neither a method nor an id.")

    def refuse(self, identifier: object, code: int, sentence: str) -> None:
        """Answer with an error; the id is null where the message had none that can be told."""
        known = identifier if isinstance(identifier, int | str) and not isinstance(identifier, bool) else None
        error = types.ResponseError(code=code, message=sentence)
        self._send_data({"jsonrpc": self.VERSION, "id": known, "error": error})

    def _receive_call(self, message: dict[str, Any]) -> None:
        method, identifier, is_request = message["method"], message.get("id"), "id" in message
        if not isinstance(method, str) or (
            is_request and (isinstance(identifier, bool) or not isinstance(identifier, int | str))
        ):
            self.refuse(identifier, INVALID_REQUEST, "A message's method or id has the wrong type.")
            return
        if refusal := self._refusal(method):
            if is_request:
                self.refuse(identifier, *refusal)
            return
        if is_request and self._is_unknown(method):
            self.refuse(identifier, METHOD_NOT_FOUND, f"Deltaloom doesn't know the method {method[:80]}.")
            return
        message.setdefault("params", None)
        try:
            _require_texts(method, message["params"])
            structured = self.structure_message(message)
        except JsonRpcException as error:
            _LOG.warning("Invalid parameters of %s: %s", method[:80], describe(error.__cause__ or error))
            if is_request:
                self.refuse(identifier, INVALID_PARAMS, f"The parameters of {method} aren't valid.")
            else:
                self._server.notification_failed(method, message["params"])
            return
        self.handle_message(structured)

    def _is_unknown(self, method: str) -> bool:
        try:
            self._get_handler(method)
        except JsonRpcMethodNotFound:
            return True
        return False

    def _refusal(self, method: str) -> tuple[int, str] | None:
        if method == types.EXIT:
            return None
        if self._shutdown:
            return INVALID_REQUEST, "The server is shutting down."
        if method == types.INITIALIZE:
            repeated = INVALID_REQUEST, "The server is initialized already."
            return repeated if self._initialized else None
        if not self._initialized:
            return SERVER_NOT_INITIALIZED, "Send initialize first."
        return None

    def _receive_response(self, message: dict[str, Any]) -> None:
        try:
            if "error" not in message:
                message.setdefault("result", None)
            self.handle_message(self.structure_message(message))
        except Exception as error:
            _LOG.warning("A response can't be used: %s", describe(error))
            identifier = message["id"]
            if isinstance(identifier, int | str) and identifier in self._request_futures:
                self._request_futures.pop(identifier).cancel()

    # -- what goes out -----------------------------------------------------------------------------------

    def _send_handler_result(self, future: Future[Any], *, msg_id: int | str) -> None:
        self._request_futures.pop(msg_id, None)
        if future.cancelled():
            self.refuse(msg_id, REQUEST_CANCELLED, "The request was cancelled.")
            return
        error = future.exception()
        if error is None:
            self._send_response(msg_id, result=future.result())
        elif isinstance(error, DeltaloomError):
            self.refuse(msg_id, error.code, str(error))
        elif isinstance(error, DeltaloomModelError):
            self.refuse(msg_id, DeltaloomError.code, str(error))
        elif isinstance(error, JsonRpcException):
            self.refuse(msg_id, error.code or INTERNAL_ERROR, error.message)
        else:
            _LOG.error("A request failed: %s", describe(error))
            self.refuse(msg_id, INTERNAL_ERROR, "Deltaloom failed to answer; see `deltaloom logs`.")

    def _check_handler_result(self, future: Future[Any]) -> None:
        if not future.cancelled() and (error := future.exception()) is not None:
            _LOG.error("A notification's handler failed: %s", describe(error))

    # -- lifecycle ---------------------------------------------------------------------------------------

    @lsp_method(types.INITIALIZE)
    def lsp_initialize(self, params: types.InitializeParams) -> Any:
        """As pygls does it; from here on other requests are answered."""
        result = yield from super().lsp_initialize(params)
        result.capabilities.position_encoding = self._server.session.encoding.value
        self._initialized = True
        return result

    @lsp_method(types.EXIT)
    def lsp_exit(self, *_args: object) -> None:  # type: ignore[override]
        """Leave with 0 after a shutdown request, else with 1 (LSP 3.18, `exit`)."""
        self.on_exit(0 if self._shutdown else 1)


def _require_texts(method: str, params: object) -> None:
    """A document's text must be one: the converter would make "None" of a null, and a wrong text of that.

    Raises JsonRpcInvalidParams.
    """
    holders: object = None
    if isinstance(params, dict) and method == types.TEXT_DOCUMENT_DID_CHANGE:
        holders = params.get("contentChanges")
    elif isinstance(params, dict) and method == types.TEXT_DOCUMENT_DID_OPEN:
        holders = [params.get("textDocument")]
    for holder in holders if isinstance(holders, list) else ():
        if isinstance(holder, dict) and not isinstance(holder.get("text"), str):
            raise JsonRpcInvalidParams
