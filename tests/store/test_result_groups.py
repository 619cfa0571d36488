"""What one worker reports together holds no lock that another's lease waits for while it waits for that lease's."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import text

from ringback.model.outcome import Outcome
from ringback.roles.results import ResultBuffer
from ringback.store.calls import CallResult
from ringback.store.leases import Lease
from tests.store.rig import Database, Rig

LOCK = text("SELECT id FROM trunk WHERE id = :id FOR NO KEY UPDATE NOWAIT")
WAITING = text("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'")


@pytest.mark.enable_socket
def test_releases_and_results_of_two_trunks_against_a_lease(postgres_database: Database) -> None:
    async def story(rig: Rig) -> None:
        other = await rig.new_account("other")
        second = await rig.new_trunk("t2")
        await rig.run_sql("UPDATE application SET trunk_id = :t WHERE id = :id", t=second, id=other[1])
        await rig.new_task(1)
        await rig.new_task(1, account=other)
        by_trunk: dict[int, Lease] = {one.trunk_id: one for one in await rig.lease()}
        assert set(by_trunk) == {rig.trunk, second}
        buffer = ResultBuffer(rig.store, rig.clock, rig.worker, minute_seconds=60)
        ended = by_trunk[rig.trunk]
        buffer.ended(
            CallResult(
                call_id=ended.call_id, lease_no=ended.lease_no, outcome=Outcome.BUSY, ended_at=rig.clock.now_ms()
            )
        )
        buffer.released(by_trunk[second])
        buffer.close()
        async with rig.store.write() as lease:
            # As a lease does: every trunk in the order of their ids, the first of them now.
            await lease.execute(LOCK, {"id": rig.trunk})
            writing = asyncio.create_task(buffer.run())
            async with asyncio.timeout(30):
                waiting = 0
                while not waiting:
                    async with rig.store.read() as tx:
                        waiting = int(await tx.scalar(WAITING))
            await lease.execute(LOCK, {"id": second})
        await writing
        assert await rig.state_of(ended.call_id) == "ended"
        assert await rig.state_of(by_trunk[second].call_id) == "queued"

    postgres_database.run(story)
