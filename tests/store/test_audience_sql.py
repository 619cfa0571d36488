"""The audience as the store applies it, against the audience as a value: over every outcome, state and intent."""

from __future__ import annotations

from itertools import chain, combinations

from sqlalchemy import select

from ringback.model.audience import Audience, RecallType, audience_of
from ringback.model.outcome import ANSWERED_OUTCOMES, FAILED_OUTCOMES, Outcome
from ringback.model.states import ON_THE_LINE, CallState
from ringback.store import recalled
from ringback.store.schema import call
from tests.store.rig import Database, Rig

CALL_INTENTS = (None, "", "101", "102", "é'\"%")
TALK_MS = (0, 2_999, 3_000, 10_000)
KINDS = [(outcome, intent, talk_ms) for outcome in Outcome for intent in CALL_INTENTS for talk_ms in TALK_MS]
WITHOUT_OUTCOME = [state for state in CallState if state is not CallState.ENDED]


def audiences() -> list[Audience]:
    sets = [frozenset[Outcome](), frozenset(Outcome), ANSWERED_OUTCOMES, FAILED_OUTCOMES]
    sets += [frozenset({outcome}) for outcome in Outcome]
    intents = [chosen for count in range(3) for chosen in combinations(("101", "102", "", "é'\"%", "999"), count)]
    wide = [Audience(outcomes=outcomes, intents=frozenset(chosen)) for outcomes in sets for chosen in intents]
    narrow = [audience_of(kind, chosen) for kind in RecallType for chosen in intents]
    lasting = [
        Audience(
            outcomes=outcomes, intents=frozenset({"101"}), talk_at_least_seconds=at_least, talk_under_seconds=under
        )
        for outcomes in (frozenset[Outcome](), frozenset(Outcome), ANSWERED_OUTCOMES, FAILED_OUTCOMES)
        for at_least in (None, 0, 3)
        for under in (None, 3, 10.0001)
    ]
    return list(dict.fromkeys(chain(wide, narrow, lasting)))


def test_the_sql_is_the_rule(file_database: Database) -> None:
    async def story(rig: Rig) -> None:
        count = len(KINDS) + len(WITHOUT_OUTCOME)
        task_id = await rig.new_task(count, started=False)
        await rig.new_task(count, name="not asked for", started=False)
        ids = [row.id for row in await rig.rows("SELECT id FROM call WHERE task_id = :id ORDER BY id", id=task_id)]
        ended = dict(zip(ids, KINDS, strict=False))
        async with rig.store.write() as tx:
            # Bare rows: only the condition is under test here, so the counters may say what they like.
            for name in ("task", "call", "flow", "node"):
                await tx.exec_driver_sql(f"DROP TRIGGER guard_{name}_state")
            for call_id, (outcome, intent, talk_ms) in ended.items():
                values = {
                    "state": "ended",
                    "outcome": outcome,
                    "intent": intent,
                    "talk_ms": talk_ms or None,
                    "worker_id": 1,
                    "trunk_id": rig.trunk,
                }
                await tx.execute(call.update().where(call.c.id == call_id).values(**values))
            for call_id, state in zip(ids[len(KINDS) :], WITHOUT_OUTCOME, strict=True):
                held = {"worker_id": 1, "trunk_id": rig.trunk, "answered_at": 1} if state in ON_THE_LINE else {}
                values = {"state": state, "intent": "101", "reason": "r", **held}
                await tx.execute(call.update().where(call.c.id == call_id).values(**values))
        for audience in audiences():
            condition = recalled.in_audience(audience)
            async with rig.store.read() as tx:
                chosen = set(await tx.scalars(select(call.c.id).where(call.c.task_id == task_id, condition)))
            assert chosen == {call_id for call_id, end in ended.items() if audience.includes(*end)}, audience
        await rig.run_sql("DELETE FROM lane")
        await rig.run_sql("DELETE FROM call")
        await rig.run_sql("DELETE FROM task")

    file_database.run(story)
