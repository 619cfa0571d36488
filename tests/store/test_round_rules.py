"""Rounds in full: each with its own wait, audience, windows and caller id, on every store."""

from __future__ import annotations

import msgspec
import pytest

from ringback.model.audience import Audience
from ringback.model.outcome import FAILED_OUTCOMES, Outcome
from ringback.model.round_rule import RoundRule, narrow
from ringback.model.states import FlowState
from ringback.model.windows import parse_window
from ringback.store import calls, flow_edits, flows
from ringback.store.calls import CallResult
from ringback.store.flows import FlowNotFound, FlowWrongState
from tests.store.rig import MINUTE_MS, Database, Rig, recall

CALLEES = [f"4930000000{number}" for number in range(6)]
WINDOWS = (parse_window("00:00", "24:00"),)


async def make(rig: Rig, *rules: RoundRule) -> tuple[int, int]:
    """A task that calls, with these rounds. Returns the task and the flow."""
    task_id = await rig.new_task(CALLEES)
    async with rig.store.write() as tx:
        return task_id, await flows.create_rounds(
            tx, rig.account, task_id, rules, spec=narrow(rules), now_ms=rig.clock.ms
        )


def rule(rig: Rig, minutes: int = 5, **more: object) -> RoundRule:
    parts = {"audience": Audience(outcomes=FAILED_OUTCOMES), "template_id": rig.template, **more}
    return RoundRule(interval_minutes=minutes, **parts)  # type: ignore[arg-type]  # parts of a rule


async def end_all(rig: Rig, ends: list[tuple[Outcome, str | None, int]]) -> list[str]:
    """Every call that may be made is made, and ends so: outcome, intent, talk in ms. Returns the numbers."""
    leases = (await rig.lease_batch()).leases
    results = [
        CallResult(
            call_id=lease.call_id,
            lease_no=lease.lease_no,
            outcome=outcome,
            intent=intent,
            ended_at=rig.clock.ms,
            answered_at=rig.clock.ms - talk_ms if talk_ms else None,
            talk_ms=talk_ms or None,
        )
        for lease, (outcome, intent, talk_ms) in zip(leases, ends, strict=False)
    ]
    async with rig.store.write() as tx:
        await calls.ended(tx, rig.worker, results, rig.clock.ms, minute_seconds=60)
    return [lease.callee for lease in leases]


ENDS = [
    (Outcome.ANSWERED, "101", 1_000),
    (Outcome.ANSWERED, "101", 5_000),
    (Outcome.ANSWERED, None, 1_000),
    (Outcome.BUSY, None, 0),
    (Outcome.NO_ANSWER, None, 0),
    (Outcome.VOICEMAIL, None, 9_000),
]


def test_each_round_has_its_own_wait_audience_windows_and_caller_id(database: Database) -> None:
    async def story(rig: Rig) -> None:
        another = await rig.new_template()
        first = rule(
            rig,
            3,
            audience=Audience(
                outcomes=frozenset({Outcome.ANSWERED, Outcome.BUSY}), intents=frozenset({"101"}), talk_under_seconds=3
            ),
            windows=WINDOWS,
            caller_id="4930777",
        )
        second = rule(rig, 2_000, audience=Audience(outcomes=frozenset({Outcome.NO_ANSWER})), template_id=another)
        _, flow_id = await make(rig, first, second)
        detail = await rig.flow(flow_id)
        assert [node.rule for node in detail.nodes] == [first, second]
        assert (detail.interval_minutes, detail.rounds) == (3, 2)
        assert await end_all(rig, ENDS) == CALLEES
        rig.clock.advance(3 * MINUTE_MS - 1)
        assert await rig.due_nodes() == []
        rig.clock.advance(1)
        (due,) = await rig.due_nodes()
        task_id = await rig.start_node(due)
        assert task_id is not None
        await rig.submit()
        node = (await rig.flow(flow_id)).nodes[0]
        # Of the answered only the short ones; the busy one whatever it lasted.
        assert (node.qualified, msgspec.json.decode(node.left_out or "")) == (
            3,
            {"answered": 1, "no_answer": 1, "voicemail": 1},
        )
        task = await rig.task(task_id)
        assert (task.limits.windows, task.caller_id, task.template_id) == (WINDOWS, "4930777", rig.template)
        assert await end_all(rig, [(Outcome.NO_ANSWER, None, 0)] * 2 + [(Outcome.BUSY, None, 0)]) == [
            CALLEES[0],
            CALLEES[2],
            CALLEES[3],
        ]
        rig.clock.advance(2_000 * MINUTE_MS - 1)
        assert await rig.due_nodes() == []
        rig.clock.advance(1)
        (due,) = await rig.due_nodes()
        last = await rig.task(await rig.start_node(due) or 0)
        assert (last.total, last.template_id, last.limits.windows, last.caller_id) == (2, another, (), "")
        await rig.check_counters()

    database.run(story)


def test_rounds_that_ask_for_length_and_others_start_together(database: Database) -> None:
    async def story(rig: Rig) -> None:
        short = rule(rig, audience=Audience(outcomes=frozenset({Outcome.ANSWERED}), talk_under_seconds=3))
        long = rule(rig, audience=Audience(outcomes=frozenset({Outcome.ANSWERED}), talk_at_least_seconds=3))
        plain = rule(rig, audience=Audience(outcomes=frozenset({Outcome.ANSWERED})))
        expected = {}
        for asked, count in ((short, 2), (long, 1), (plain, 3)):
            _, flow_id = await make(rig, asked)
            assert await end_all(rig, ENDS) == CALLEES
            expected[flow_id] = count
        rig.clock.advance(5 * MINUTE_MS)
        from ringback.store import node_start

        async with rig.store.write() as tx:
            assert len(await node_start.start_due(tx, rig.clock.ms, 10)) == 3
        assert {flow_id: (await rig.flow(flow_id)).nodes[0].qualified for flow_id in expected} == expected

    database.run(story)


def test_a_round_is_edited_until_it_starts(database: Database) -> None:
    async def story(rig: Rig) -> None:
        _, flow_id = await make(rig, rule(rig), rule(rig), rule(rig))
        first, second, third = [node.id for node in (await rig.flow(flow_id)).nodes]
        await end_all(rig, [(Outcome.BUSY, None, 0)] * 6)
        finished = rig.clock.ms

        async def edit(node_id: int, to: RoundRule, account: int | None = None) -> None:
            async with rig.store.write() as tx:
                await flow_edits.edit_node(
                    tx, account or rig.account, node_id, to, now_ms=rig.clock.ms, minute_seconds=60
                )

        await edit(first, rule(rig, 7))
        detail = await rig.flow(flow_id)
        assert [node.due_at for node in detail.nodes] == [finished + 7 * MINUTE_MS, None, None]
        assert [node.rule.interval_minutes for node in detail.nodes] == [7, 5, 5]
        assert detail.interval_minutes == 7
        rig.clock.advance(7 * MINUTE_MS)
        await rig.start_node(first)
        await rig.submit()
        with pytest.raises(FlowWrongState, match=f"node {first} is in progress; only a pending one can be edited"):
            await edit(first, rule(rig, 9))
        await edit(third, rule(rig, 11, caller_id="49"))
        other, _ = await rig.new_account("other")
        with pytest.raises(FlowNotFound):
            await edit(third, rule(rig, 12), other)
        with pytest.raises(FlowNotFound):
            await edit(4711, rule(rig, 12))
        assert [node.rule.interval_minutes for node in (await rig.flow(flow_id)).nodes] == [7, 5, 11]
        await end_all(rig, [(Outcome.BUSY, None, 0)] * 6)
        ended = rig.clock.ms
        await edit(second, rule(rig, 1))
        detail = await rig.flow(flow_id)
        assert detail.nodes[1].due_at == ended + MINUTE_MS, "counted from the end of the round before"
        assert detail.state is FlowState.IN_PROGRESS

    database.run(story)


def test_a_narrow_edit_of_a_flow_in_full(database: Database) -> None:
    async def story(rig: Rig) -> None:
        _, flow_id = await make(rig, rule(rig, 3, caller_id="49"), rule(rig, 2_000, windows=WINDOWS))
        ids = [node.id for node in (await rig.flow(flow_id)).nodes]
        await rig.edit(flow_id, recall(rounds=3, interval=8))
        detail = await rig.flow(flow_id)
        assert [node.id for node in detail.nodes][:2] == ids
        assert [node.rule.interval_minutes for node in detail.nodes] == [8, 8, 8]
        assert [node.rule.caller_id for node in detail.nodes] == ["49", None, None]
        assert [node.rule.windows for node in detail.nodes] == [None, WINDOWS, None]
        async with rig.store.write() as tx:
            await flow_edits.edit_rounds(tx, rig.account, flow_id, [rule(rig)], now_ms=rig.clock.ms, minute_seconds=60)
        assert await rig.one("SELECT rule FROM node WHERE flow_id = :id", id=flow_id) is None, "the narrow form says it"

    database.run(story)
