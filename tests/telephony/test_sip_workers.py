"""The embedded engine's processes: what happens when one dies, hangs, is full, or cannot start."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import signal
import sys
import textwrap

import pytest

from ringback.clock import RealClock
from ringback.telephony.port import Answered, Ended, EngineUnavailable, Ringing
from ringback.telephony.sip import engine as engine_module
from ringback.telephony.sip import worker_process
from ringback.telephony.sip.engine import SipEngine, available
from tests.telephony.sip_peer import LONGEST_WAIT, Script, SipPeer, end_of, events_until, next_event, order_to

pytestmark = [pytest.mark.enable_socket]
needs_sip = [
    pytest.mark.sip,
    pytest.mark.skipif(available() is not None, reason="no embedded SIP engine on this platform"),
]


def sip(test):
    for mark in needs_sip:
        test = mark(test)
    return test


def run(what, *, default=None, **engine_parts):
    """Run ``what(engine, peer)`` with both up."""

    async def story():
        engine = SipEngine(RealClock(), **{"workers": 1, **engine_parts})
        await engine.start()
        try:
            async with SipPeer(default=default or Script()).listening() as peer:
                return await what(engine, peer)
        finally:
            await engine.stop()

    return asyncio.run(story())


def pids(engine):
    return [worker.pid for worker in engine._workers]


async def process_end(pid):
    """Wait until a process that need not be our child has ended (it may stay a zombie)."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    ended = asyncio.Event()
    asyncio.get_running_loop().add_reader(fd, ended.set)
    try:
        await ended.wait()
    finally:
        asyncio.get_running_loop().remove_reader(fd)
        os.close(fd)


@sip
def test_a_killed_worker_loses_its_calls_and_is_replaced():
    async def what(engine, peer):
        leg = await engine.dial(order_to(peer, "1000", 1))
        await events_until(leg, Answered)
        (killed,) = pids(engine)
        os.kill(killed, signal.SIGKILL)
        ended = await next_event(leg)
        assert ended == Ended(engine_failed=True, reason="the SIP worker process ended (killed by signal 9)")
        await leg.hang_up()  # does nothing, harms nothing
        async with asyncio.timeout(LONGEST_WAIT):
            while True:  # the new worker is starting
                with contextlib.suppress(EngineUnavailable):
                    again = await engine.dial(order_to(peer, "1001", 2))
                    break
                await RealClock().sleep(0.02)
        await events_until(again, Answered)
        assert pids(engine) != [killed]
        await again.hang_up()
        await end_of(again)

    run(what)


@sip
def test_calls_are_spread_and_only_those_of_the_dead_worker_are_lost():
    async def what(engine, peer):
        legs = [await engine.dial(order_to(peer, f"100{n}", n)) for n in range(4)]
        for leg in legs:
            await events_until(leg, Answered)
        assert [worker.live_calls for worker in engine._workers] == [2, 2]
        assert engine.free_lines() == 2
        assert engine.trouble() == ""
        lost = [leg for leg in legs if engine._workers[0].has_call(leg.call_id)]
        os.kill(pids(engine)[0], signal.SIGKILL)
        for leg in legs:
            if leg not in lost:
                await leg.hang_up()
        assert [(await end_of(leg)).engine_failed for leg in legs] == [leg in lost for leg in legs]

    run(what, workers=2, lines_per_worker=3)


@sip
def test_a_worker_takes_no_more_calls_than_it_has_lines():
    async def what(engine, peer):
        legs = [await engine.dial(order_to(peer, "1000", n)) for n in range(2)]
        assert engine.free_lines() == 0
        with pytest.raises(EngineUnavailable, match="in use"):
            await engine.dial(order_to(peer, "1009", 9))
        await legs[0].hang_up()
        await end_of(legs[0])
        assert engine.free_lines() == 1
        third = await engine.dial(order_to(peer, "1003", 3))
        for leg in (legs[1], third):
            await leg.hang_up()
            await end_of(leg)
        assert [call.callee for call in peer.calls] == ["1000", "1000", "1003"]

    run(what, lines_per_worker=2)


@sip
def test_stop_hangs_up_every_call():
    async def story():
        engine = SipEngine(RealClock(), workers=2)
        await engine.start()
        ringing = Script(final=None)
        async with SipPeer({"2000": ringing}).listening() as peer:
            up = await engine.dial(order_to(peer, "1000", 1))
            rings = await engine.dial(order_to(peer, "2000", 2))
            await events_until(up, Answered)
            await events_until(rings, Ringing)
            processes = pids(engine)
            await engine.stop()
            for leg in (up, rings):
                assert not (await end_of(leg)).engine_failed
            by_callee = {call.callee: call for call in peer.calls}
            await by_callee["1000"].wait_for("BYE")
            await by_callee["2000"].wait_for("CANCEL")
            for pid in processes:
                with pytest.raises(ProcessLookupError):
                    os.kill(pid, 0)
            with pytest.raises(EngineUnavailable):
                await engine.dial(order_to(peer, "1000", 3))
            await engine.stop()  # once is enough, twice is harmless

    asyncio.run(story())


@sip
def test_a_frozen_worker_cannot_hold_up_stop(monkeypatch):
    monkeypatch.setattr(worker_process, "STOP_SECONDS", 0.3)

    async def what(engine, peer):
        leg = await engine.dial(order_to(peer, "1000", 1))
        await events_until(leg, Answered)
        os.kill(pids(engine)[0], signal.SIGSTOP)
        async with asyncio.timeout(3):
            await engine.stop()
        assert (await end_of(leg)).engine_failed

    run(what)


@sip
def test_a_frozen_worker_is_noticed_and_ended(monkeypatch):
    monkeypatch.setattr(worker_process, "PING_SECONDS", 0.05)

    async def what(engine, peer):
        leg = await engine.dial(order_to(peer, "1000", 1))
        await events_until(leg, Answered)
        os.kill(pids(engine)[0], signal.SIGSTOP)
        assert (await end_of(leg, within=3)).engine_failed

    run(what)


@sip
def test_a_healthy_worker_answers_its_pings(monkeypatch):
    monkeypatch.setattr(worker_process, "PING_SECONDS", 0.02)

    async def what(engine, peer):
        (before,) = pids(engine)
        leg = await engine.dial(order_to(peer, "1000", 1))
        await events_until(leg, Answered)
        await peer.calls[0].heard_packets(25)  # half a second: many pings
        await leg.hang_up()
        assert not (await end_of(leg)).engine_failed
        assert pids(engine) == [before]

    run(what)


@sip
def test_a_worker_that_does_not_answer_a_dial_is_ended(monkeypatch):
    monkeypatch.setattr(worker_process, "DIAL_SECONDS", 0.2)

    async def what(engine, peer):
        os.kill(pids(engine)[0], signal.SIGSTOP)
        leg = await engine.dial(order_to(peer, "1000", 1))
        assert (await end_of(leg, within=3)).engine_failed  # unknown, not refused: an INVITE may have left

    run(what)


@sip
def test_a_cancelled_dial_leaves_no_call_behind():
    async def what(engine, peer):
        (pid,) = pids(engine)
        os.kill(pid, signal.SIGSTOP)
        dial = asyncio.create_task(engine.dial(order_to(peer, "1000", 1)))
        unreachable = order_to(peer, "1000", 2, host="198.51.100.1")
        refused = asyncio.create_task(engine.dial(unreachable))
        await RealClock().sleep(0)
        for task in (dial, refused):
            task.cancel()
        await asyncio.gather(dial, refused, return_exceptions=True)
        assert engine.free_lines() == 98
        os.kill(pid, signal.SIGCONT)
        await (await peer.call()).wait_for("CANCEL")
        async with asyncio.timeout(LONGEST_WAIT):
            while engine.free_lines() < 100:
                await RealClock().sleep(0.01)

    run(what, default=Script(final=None), local_host="127.0.0.1")


@sip
def test_when_the_engine_is_killed_its_workers_hang_up_and_end():
    program = textwrap.dedent(
        """
        import asyncio, sys
        from ringback.clock import RealClock
        from ringback.telephony.port import Answered, Destination, DialOrder, Ringing
        from ringback.telephony.sip.engine import SipEngine

        async def main():
            engine = SipEngine(RealClock(), workers=2)
            await engine.start()
            to = Destination(host="127.0.0.1", port=int(sys.argv[1]))
            for call_id, callee, last in ((1, "1000", Answered), (2, "2000", Ringing)):
                leg = await engine.dial(
                    DialOrder(call_id=call_id, task_id=1, callee=callee, caller_id="1", destination=to)
                )
                while not isinstance(await leg.next_event(), last):
                    pass
            print("workers", *(worker.pid for worker in engine._workers), flush=True)
            await asyncio.Event().wait()

        asyncio.run(main())
        """
    )

    async def story():
        async with SipPeer({"2000": Script(final=None)}).listening() as peer:
            parent = await asyncio.create_subprocess_exec(
                sys.executable, "-c", program, str(peer.port), stdout=asyncio.subprocess.PIPE
            )
            try:
                async with asyncio.timeout(LONGEST_WAIT):
                    while not (line := await parent.stdout.readline()).startswith(b"workers"):
                        assert line, "the engine's process ended early"
            finally:
                parent.kill()
                await parent.wait()
            async with asyncio.timeout(2):
                for pid in map(int, line.split()[1:]):
                    await process_end(pid)
            by_callee = {call.callee: call for call in peer.calls}
            assert by_callee["1000"].count("BYE") == 1
            assert by_callee["2000"].count("CANCEL") == 1

    asyncio.run(story())


@sip
def test_a_sigterm_ends_a_worker_politely():
    async def what(engine, peer):
        leg = await engine.dial(order_to(peer, "1000", 1))
        await events_until(leg, Answered)
        os.kill(pids(engine)[0], signal.SIGTERM)
        assert not (await end_of(leg)).engine_failed
        await peer.calls[0].wait_for("BYE")

    run(what)


@sip
def test_more_accounts_than_the_native_stack_has_room_for():
    """User agents cannot be given back: the worker must have no call before it can go on."""

    async def what(engine, peer):
        numbers = itertools.count(2)

        async def busy(caller):
            leg = await engine.dial(order_to(peer, "2000", next(numbers), caller_id=f"49{caller}"))
            assert (await end_of(leg)).sip_code == 486

        peer.scripts["2000"] = Script(provisional=(), final=486)
        for caller in range(401):  # idle in between: it starts its stack anew when it must
            await busy(caller)
        held = await engine.dial(order_to(peer, "1000", 1))
        await events_until(held, Answered)
        refused = False
        for caller in range(401, 900):
            try:
                await busy(caller)
            except EngineUnavailable:
                refused = True
                break
        assert refused
        assert engine.free_lines() == 0
        await held.hang_up()
        assert not (await end_of(held)).engine_failed
        assert engine.free_lines() == 100
        await busy(900)

    run(what)


@sip
def test_another_local_interface_gets_a_worker_of_its_own():
    async def what(engine, peer):
        held = await engine.dial(order_to(peer, "1000", 1))
        await events_until(held, Answered)
        try:
            other = await engine.dial(order_to(peer, "1001", 2, host="::1"))
        except EngineUnavailable as error:
            pytest.skip(f"no IPv6 loopback here: {error}")
        assert [worker.interface for worker in engine._workers] == ["127.0.0.1", "::1"]
        for leg in (other, held):
            await leg.hang_up()
            assert not (await end_of(leg)).engine_failed

    run(what)


@sip
def test_a_platform_where_the_native_stack_does_not_load(tmp_path, monkeypatch):
    (tmp_path / "baresip").mkdir()
    (tmp_path / "baresip" / "__init__.py").write_text("raise ImportError('no wheel')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    async def story():
        engine = SipEngine(RealClock())
        with pytest.raises(EngineUnavailable, match="cannot be loaded: no wheel"):
            await engine.start()
        assert engine.free_lines() == 0

    asyncio.run(story())


def test_a_platform_without_the_native_stack(monkeypatch):
    monkeypatch.setattr(engine_module.importlib.util, "find_spec", lambda name: None)
    assert "no wheel for this platform" in available()

    async def story():
        engine = SipEngine(RealClock())
        with pytest.raises(EngineUnavailable, match="no wheel for this platform"):
            await engine.start()
        await engine.stop()

    asyncio.run(story())


@pytest.mark.parametrize("parts", [{"workers": 0}, {"lines_per_worker": 0}, {"lines_per_worker": 151}])
def test_settings_that_make_no_sense(parts):
    with pytest.raises(ValueError, match="must be"):
        SipEngine(RealClock(), **parts)
    with pytest.raises(ValueError, match="IPv4 or IPv6"):
        SipEngine(RealClock(), local_host="eth0")
