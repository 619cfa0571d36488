"""A campaign whose account runs out of money: it waits with the reason, and goes on with the payment."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ringback.clock import VirtualClock
from ringback.model.billing import Tariff
from ringback.store import accounts, outlook, tariffs, trunks
from ringback.store.database import News
from ringback.telephony.sandbox import SandboxEngine
from roles.campaign import campaign

if TYPE_CHECKING:
    from ringback.telephony.port import DialOrder, Leg

CENT = Tariff(600_000, 60, 60)
#: All of them are answered, and none talks for a minute.
ANSWERED = [f"4930{number:05}00" for number in range(40)]
LINES = 3


class Counting(SandboxEngine):
    """Notes who was dialled."""

    def __init__(self, clock: VirtualClock) -> None:
        super().__init__(clock)
        self.dialled: list[str] = []

    async def dial(self, order: DialOrder) -> Leg:
        self.dialled.append(order.callee)
        return await super().dial(order)  # type: ignore[return-value]  # a Leg of the sandbox


def test_a_used_up_balance_stops_the_dialling_and_a_payment_starts_it_again() -> None:
    clock = VirtualClock()

    async def main() -> None:
        engine = Counting(clock)
        async with campaign(clock, engine=engine, rate=1000, channels=LINES) as made:
            store = made.store
            async with store.write() as tx:
                trunk = await trunks.by_name(tx, "t")
                assert trunk is not None
                await tariffs.of_trunk(tx, trunk.id, CENT)
                await accounts.set_balance(tx, made.account_id, 10 * 600_000)
            task_id, _ = await made.create(ANSWERED)
            made.start()
            await clock.sleep(3_600)
            stopped = await made.task(task_id)
            # Ten are paid for; those in the air when the tenth was charged overdraw, at most one call a line.
            assert 10 <= len(engine.dialled) < 10 + LINES
            assert (stopped.answered, stopped.active) == (len(engine.dialled), 0)
            assert stopped.cost_micros == 600_000 * stopped.answered
            async with store.read() as tx:
                now_us = clock.now_us()
                waiting = await outlook.waiting_reasons(tx, engine="sandbox", now_us=now_us)
                left = (await accounts.by_name(tx, "a")).balance_micros  # type: ignore[union-attr]  # a story of the tests
            assert waiting[task_id] == "the account's balance is used up"
            assert left == 600_000 * (10 - stopped.answered)
            paid_at = clock.now_ms()
            async with store.write() as tx:
                await accounts.add_to_balance(tx, made.account_id, 100 * 600_000)
            store.announce(News.WORK)
            done = await made.until_task(task_id)
            assert (done.answered, sorted(engine.dialled)) == (40, sorted(ANSWERED))
            assert clock.now_ms() - paid_at < 3_600_000, "nobody waited for the next look"
            async with store.read() as tx:
                left = (await accounts.by_name(tx, "a")).balance_micros  # type: ignore[union-attr]  # a story of the tests
            assert left == 600_000 * (110 - 40)

    clock.run(main())
