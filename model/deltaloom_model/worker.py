"""The model worker: one process that owns the weights and serves every editor of one user.

Invariant: the socket answers from its first moment on, whatever the model is doing: sockets belong to this
module's event loop, the engine to the forward thread, and neither waits for the other.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import importlib
import logging
import os
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import msgspec

from deltaloom_model._version import __version__
from deltaloom_model.api import Engine, ModelSpec
from deltaloom_model.errors import DeltaloomModelError, WorkerUnavailable
from deltaloom_model.runtime_folder import (
    log_path,
    private_folder,
    require_unix_sockets,
    worker_identity,
    write_token,
)
from deltaloom_model.spawn import READY, try_lock
from deltaloom_model.threads import thread_count
from deltaloom_model.worker_log import open_log
from deltaloom_model.worker_server import WorkerServer

DEFAULT_ENGINE = "deltaloom_model.engine:build_engine"

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Options:
    """The command line. Times are in seconds; descriptors are None when nobody handed them over."""

    socket: Path
    spec: ModelSpec
    engine: str | None
    idle_seconds: float
    watch_seconds: float
    lock_descriptor: int | None
    ready_descriptor: int | None


def parse_options(arguments: Sequence[str] | None = None) -> Options:
    """Raises SystemExit with a usage message for anything malformed."""
    parser = argparse.ArgumentParser(prog="python -m deltaloom_model.worker", description="The model worker.")
    parser.add_argument("--socket", type=Path, required=True, help="the Unix socket to listen on")
    parser.add_argument("--spec", type=_spec, required=True, help="which model, as a ModelSpec in JSON")
    parser.add_argument("--engine", help="module:function that builds the engine, instead of the model's own")
    parser.add_argument(
        "--idle-seconds", type=float, default=600.0, help="leave after so long without a client"
    )
    parser.add_argument(
        "--watch-seconds", type=float, default=5.0, help="how often to look for the socket file"
    )
    parser.add_argument("--lock-fd", type=int, help="descriptor of the socket's lock, already held")
    parser.add_argument("--ready-fd", type=int, help="descriptor to write to once the socket listens")
    given = parser.parse_args(arguments)
    return Options(
        given.socket.absolute(),
        given.spec,
        given.engine,
        given.idle_seconds,
        given.watch_seconds,
        given.lock_fd,
        given.ready_fd,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until idle or told to end. The exit status: 0, or 1 with the reason given to who started it."""
    options = parse_options(arguments)
    for descriptor in (options.lock_descriptor, options.ready_descriptor):
        if descriptor is not None:
            os.set_inheritable(descriptor, False)  # a compiler started by a kernel must not hold the lock
    try:
        _prepare(options)
    except (DeltaloomModelError, OSError) as error:
        print(error, file=sys.stderr)
        _tell_starter(options, str(error).encode())
        return 1
    try:
        ended_well = asyncio.run(_serve(options))
    except OSError as error:
        _log.error("the socket can't be used: %s", error.strerror)
        _tell_starter(options, f"The model worker can't listen on its socket ({error.strerror}).".encode())
        return 1
    return 0 if ended_well else 1


def own_threads(spec: ModelSpec) -> None:
    """Decide how many threads the numerical libraries use; it must come before the first import of torch."""
    threads = str(thread_count(spec))
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = threads
    # Some ten microseconds of spinning: one pass is hundreds of short parallel regions, and sleeping after
    # each made prefill four times slower on two cores (8.2 s against 2.1 s for 9,543 tokens); spinning for
    # milliseconds, the default, takes the cores from the editor instead.
    os.environ.pop("OMP_WAIT_POLICY", None)
    os.environ["GOMP_SPINCOUNT"] = "10000"


def engine_loader(spec: ModelSpec, engine: str | None) -> Callable[[], Engine]:
    """What builds the engine: `engine` ("module:function"), imported only when it is called."""
    module, _, function = (engine or DEFAULT_ENGINE).partition(":")

    def load() -> Engine:
        build = getattr(importlib.import_module(module), function)
        return cast("Engine", build(spec))

    return load


def _spec(text: str) -> ModelSpec:
    try:
        return msgspec.json.decode(text, type=ModelSpec)
    except msgspec.DecodeError as error:
        raise argparse.ArgumentTypeError(f"not a model spec ({error})") from None


def _prepare(options: Options) -> None:
    require_unix_sockets()
    os.umask(0o077)
    private_folder(options.socket.parent)
    if options.lock_descriptor is None and try_lock(options.socket) is None:  # kept open till the end
        raise WorkerUnavailable(f"Another model worker already serves {options.socket}.")
    open_log(log_path(options.socket))
    own_threads(options.spec)
    with contextlib.suppress(OSError):  # when memory runs out, this process goes before the editor does
        Path("/proc/self/oom_score_adj").write_text("500")


async def _serve(options: Options) -> bool:
    loop = asyncio.get_running_loop()
    server = WorkerServer(
        socket_file=options.socket,
        token=write_token(options.socket),
        identity=worker_identity(options.spec, options.engine),
        model_name=options.spec.path,
        load=engine_loader(options.spec, options.engine),
        idle_seconds=options.idle_seconds,
        watch_seconds=options.watch_seconds,
    )
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, server.leave, "The model worker was told to end.")
    await server.listen()
    _log.info("listening, version %s, model %s", __version__, options.spec.path)
    _tell_starter(options, READY)
    return await server.serve()


def _tell_starter(options: Options, message: bytes) -> None:
    if options.ready_descriptor is None:
        return
    with contextlib.suppress(OSError):  # closed already, or its reader has gone
        os.write(options.ready_descriptor, message)
        os.close(options.ready_descriptor)


def _leave(status: int) -> None:
    # The forward thread may be deep in native code; the interpreter's own end would pull it from under it.
    logging.shutdown()
    os._exit(status)


if __name__ == "__main__":
    _leave(main())
