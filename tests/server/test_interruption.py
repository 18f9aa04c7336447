"""Signals that end a run: each lets it tidy up first."""

from __future__ import annotations

import asyncio
import signal

import pytest

from deltaloom_server.interruption import ToldToEnd, ended_as_by_ctrl_c


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

    with pytest.raises(KeyboardInterrupt) as end, ended_as_by_ctrl_c():
        asyncio.run(work())

    assert isinstance(end.value, ToldToEnd) == (number != signal.SIGINT)
    if isinstance(end.value, ToldToEnd):
        assert end.value.status == 128 + number
    assert tidied == ["cancelled", "done"]


def test_where_ctrl_c_is_ignored_the_others_still_end_the_run() -> None:
    tidied: list[str] = []

    async def work() -> None:
        try:
            asyncio.get_running_loop().call_soon(signal.raise_signal, signal.SIGTERM)
            await asyncio.Event().wait()
        finally:
            tidied.append("done")

    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with pytest.raises(ToldToEnd), ended_as_by_ctrl_c():
            asyncio.run(work())
    finally:
        signal.signal(signal.SIGINT, before)

    assert tidied == ["done"]


def test_a_signal_that_is_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with ended_as_by_ctrl_c():
            signal.raise_signal(signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_afterwards_signals_are_handled_as_before() -> None:
    before = signal.getsignal(signal.SIGTERM)

    with ended_as_by_ctrl_c():
        assert signal.getsignal(signal.SIGTERM) is not before

    assert signal.getsignal(signal.SIGTERM) is before
