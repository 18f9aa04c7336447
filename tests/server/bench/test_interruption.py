"""Signals that end a run: each lets it tidy up first."""

from __future__ import annotations

import asyncio
import signal

import pytest

from deltaloom_server.bench.edits.interruption import ended_as_by_ctrl_c


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_whatever_waits_is_cancelled_and_tidies_up(number: signal.Signals) -> None:
    tidied: list[str] = []

    async def work() -> None:
        try:
            asyncio.get_running_loop().call_soon(signal.raise_signal, number)
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            tidied.append("cancelled")
            await asyncio.sleep(0)  # tidying up may wait for others to end
            tidied.append("done")
            raise

    with pytest.raises(KeyboardInterrupt), ended_as_by_ctrl_c():
        asyncio.run(work())

    assert tidied == ["cancelled", "done"]


def test_afterwards_signals_are_handled_as_before() -> None:
    before = signal.getsignal(signal.SIGTERM)

    with ended_as_by_ctrl_c():
        assert signal.getsignal(signal.SIGTERM) is not before

    assert signal.getsignal(signal.SIGTERM) is before
