"""Text messages are on the outbox with the result that they follow: at most one a call, for the right provider."""

from __future__ import annotations

import msgspec

from ringback.model.hang_up_sms import HangUpSms
from ringback.model.outcome import Outcome
from ringback.model.report import Form
from ringback.model.task import NewCall
from ringback.model.template import Hangup, Template
from ringback.store import calls, templates
from ringback.store.calls import CallResult
from tests.store.reports import due, receiver, told
from tests.store.rig import Database, Rig


async def template(rig: Rig, sms: HangUpSms | None) -> int:
    value = Template(name="t", initial_node="a", nodes={"a": [Hangup()]}, sms=sms)
    async with rig.store.write() as tx:
        return await templates.add(tx, value, {}, account_id=None, now_ms=rig.clock.ms)


async def end(rig: Rig, *ends: tuple[Outcome, str, int | None]) -> list[int]:
    """Dial as many calls and end them: outcome, keys, how long they rang. Returns their ids."""
    leased = await rig.lease(len(ends))
    results = [
        CallResult(
            call_id=lease.call_id,
            lease_no=lease.lease_no,
            outcome=outcome,
            ended_at=rig.clock.ms,
            keys=keys,
            ring_ms=ring_ms,
        )
        for lease, (outcome, keys, ring_ms) in zip(leased, ends, strict=True)
    ]
    for _ in range(2):  # what is repeated changes nothing
        async with rig.store.write() as tx:
            await calls.ended(tx, rig.worker, results, rig.clock.ms, minute_seconds=60)
    return [lease.call_id for lease in leased]


def test_the_message_of_each_call(database: Database) -> None:
    async def story(rig: Rig) -> None:
        to = await receiver(rig, Form.SMS)
        again = await receiver(rig, Form.SMS)
        sms = HangUpSms(
            content="Dear ${text1}, ${text2}!", sender="acme", on_key="1", on_success_after_seconds=60, on_ringing=True
        )
        new = [NewCall(f"49300{at}", "Europe/Berlin", '{"text1":"Ann"}') for at in range(4)]
        await rig.new_task(new, template=await template(rig, sms))
        pressed, heard, rang, busy = await end(
            rig,
            (Outcome.ANSWERED, "1", 1000),
            (Outcome.ANSWERED, "", 1000),
            (Outcome.NO_ANSWER, "", 9000),
            (Outcome.BUSY, "", None),
        )
        assert await told(rig, to) == [("sms", pressed), ("sms", heard), ("sms", rang)]
        assert await told(rig, again) == [], "one provider sends it"
        assert [one.subject_id for one in await due(rig, to)] == [pressed, rang]
        rig.clock.advance(60_000)
        waiting = {one.subject_id: one for one in await due(rig, to)}
        assert sorted(waiting) == [pressed, heard, rang]
        assert msgspec.json.decode(waiting[heard].body or "") == {
            "id": f"sms_{heard}",
            "to": "493001",
            "from": "acme",
            "text": "Dear Ann, !",
        }
        assert busy not in waiting

    database.run(story)


def test_no_message_without_a_provider_or_a_wish(database: Database) -> None:
    async def story(rig: Rig) -> None:
        other, _ = await rig.new_account("other")
        strange = await receiver(rig, Form.SMS, account=other)
        sms = HangUpSms(content="hi", on_failure=True)
        await rig.new_task(1, name="wished", template=await template(rig, sms))
        await end(rig, (Outcome.BUSY, "", None))
        mine = await receiver(rig, Form.SMS)
        await rig.new_task(1, name="not wished", template=await template(rig, None))
        await end(rig, (Outcome.BUSY, "", None))
        assert await told(rig, strange) == await told(rig, mine) == []

    database.run(story)


def test_tasks_of_one_group_each_follow_their_own_template(database: Database) -> None:
    async def story(rig: Rig) -> None:
        to = await receiver(rig, Form.SMS)
        for name, sms in (("a", HangUpSms(content="one", on_failure=True)), ("b", None)):
            await rig.new_task(["493001"], name=name, template=await template(rig, sms))
        await end(rig, (Outcome.BUSY, "", None), (Outcome.BUSY, "", None))
        assert len(await told(rig, to)) == 1

    database.run(story)
