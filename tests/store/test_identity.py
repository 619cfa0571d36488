"""Keys, answers kept for repeated requests, and the audit log, on every store."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import func, select, update
from sqlalchemy.exc import DBAPIError

from ringback.model.api_key import SCOPES_OF, Role, Scope, make_token
from ringback.store import api_keys, audit, replays
from ringback.store.api_keys import KeyNotFound, NewKey
from ringback.store.replays import Replay
from ringback.store.schema_identity import audit as audit_table
from ringback.store.schema_identity import replay as replay_table
from tests.store.rig import Database, Rig

DAY_MS = 86_400_000


async def new_key(rig: Rig, name: str = "crm", **more: object) -> str:
    token = make_token()
    new = NewKey(name=name, role=Role.OPERATOR, **more)  # type: ignore[arg-type]  # parts of a key
    async with rig.store.write() as tx:
        await api_keys.create(tx, rig.account, new, token, rig.clock.ms, actor="cli")
    return token.key_id


def test_a_key_is_found_with_its_account(database: Database) -> None:
    async def story(rig: Rig) -> None:
        key_id = await new_key(rig, scopes=frozenset({Scope.TASKS_READ}), expires_at=rig.clock.ms + 5)
        whole = await new_key(rig, "whole")
        async with rig.store.read() as tx:
            found = await api_keys.BY_KEY_ID.find(tx, [key_id, whole, "unknown"])
        assert found.keys() == {key_id, whole}
        key = found[key_id]
        assert (key.account_id, key.account, key.role, key.scopes) == (
            rig.account,
            "acme",
            Role.OPERATOR,
            frozenset({Scope.TASKS_READ}),
        )
        assert found[whole].scopes == SCOPES_OF[Role.OPERATOR]
        assert key.is_valid(rig.clock.ms + 4)
        assert not key.is_valid(rig.clock.ms + 5)
        assert found[whole].is_valid(rig.clock.ms + 10**15)

    database.run(story)


def test_keys_are_their_account_s(database: Database) -> None:
    async def story(rig: Rig) -> None:
        key_id = await new_key(rig)
        other, _ = await rig.new_account("other")
        async with rig.store.write() as tx:
            assert await api_keys.of_account(tx, other) == []
            with pytest.raises(KeyNotFound):
                await api_keys.get(tx, other, key_id)
            with pytest.raises(KeyNotFound):
                await api_keys.revoke(tx, other, key_id, rig.clock.ms, actor="cli")
            with pytest.raises(KeyNotFound):
                await api_keys.rotate(tx, other, key_id, make_token(), rig.clock.ms, overlap_ms=1, actor="cli")
            await api_keys.revoke(tx, rig.account, key_id, rig.clock.ms, actor="cli")
            (key,) = await api_keys.of_account(tx, rig.account)
            assert not key.is_valid(rig.clock.ms)
            with pytest.raises(KeyNotFound):
                await api_keys.rotate(tx, rig.account, key_id, make_token(), rig.clock.ms, overlap_ms=1, actor="cli")

    database.run(story)


def test_a_replaced_key_goes_on_for_the_overlap_and_never_longer_than_it_would_have(database: Database) -> None:
    async def story(rig: Rig) -> None:
        narrow = await new_key(rig, scopes=frozenset({Scope.TASKS_READ}), expires_at=rig.clock.ms + 10)
        token = make_token()
        async with rig.store.write() as tx:
            await api_keys.rotate(tx, rig.account, narrow, token, rig.clock.ms, overlap_ms=1_000, actor="cli")
            old, new = await api_keys.of_account(tx, rig.account)
        assert (old.expires_at, new.expires_at) == (rig.clock.ms + 10, rig.clock.ms + 10)
        assert (new.name, new.role, new.scopes) == (old.name, old.role, old.scopes)

    database.run(story)


def test_an_answer_is_kept_with_the_work_or_not_at_all(database: Database) -> None:
    async def story(rig: Rig) -> None:
        now = rig.clock.ms
        other, _ = await rig.new_account("other")
        async with rig.store.write() as tx:
            assert await replays.claim(tx, rig.account, "k", "digest", now, keep_ms=DAY_MS) is None
            await replays.keep(tx, rig.account, "k", 201, '{"id":1}')
        async with rig.store.write() as tx:
            assert await replays.claim(tx, rig.account, "k", "x", now, keep_ms=DAY_MS) == Replay(
                "digest", 201, '{"id":1}'
            )
            assert await replays.claim(tx, other, "k", "x", now, keep_ms=DAY_MS) is None

        async def broken() -> None:
            async with rig.store.write() as tx:
                assert await replays.claim(tx, rig.account, "fails", "x", now, keep_ms=DAY_MS) is None
                raise RuntimeError

        with pytest.raises(RuntimeError):
            await broken()
        async with rig.store.write() as tx:
            assert await replays.claim(tx, rig.account, "fails", "x", now, keep_ms=DAY_MS) is None
            later = now + DAY_MS + 1
            assert await replays.claim(tx, rig.account, "k", "x", later, keep_ms=DAY_MS) is None
        async with rig.store.read() as tx:
            kept = await tx.scalar(select(func.count()).select_from(replay_table))
        assert kept == 1, "what has had its time goes"

    database.run(story)


def test_two_with_one_key_at_the_same_time_do_the_work_once(shared_database: Database) -> None:
    async def one(rig: Rig, done: list[int]) -> Replay | None:
        async with rig.store.write() as tx:
            before = await replays.claim(tx, 1, "k", "digest", rig.clock.ms, keep_ms=DAY_MS)
            if before is None:
                done.append(1)
                await asyncio.sleep(0)
                await replays.keep(tx, 1, "k", 201, "made")
            return before

    async def main() -> None:
        async with shared_database.opened() as first, shared_database.opened() as second:
            await first.furnish()
            done: list[int] = []
            answers = await asyncio.gather(*(one(rig, done) for rig in (first, second) * 5))
            assert done == [1]
            assert sorted(answers, key=lambda answer: answer is not None)[1:] == [Replay("digest", 201, "made")] * 9

    asyncio.run(main())


def test_the_audit_log_is_only_added_to(database: Database) -> None:
    async def story(rig: Rig) -> None:
        other, _ = await rig.new_account("other")
        async with rig.store.write() as tx:
            for number in range(3):
                await audit.write(
                    tx, rig.account, number, actor="cli", action="a", subject=f"s:{number}", after={"n": number}
                )
            await audit.write(tx, other, 9, actor="cli", action="a", subject="theirs")
        async with rig.store.read() as tx:
            newest = await audit.page(tx, rig.account, before=None, limit=2)
            rest = await audit.page(tx, rig.account, before=newest[-1].id, limit=2)
        assert [one.subject for one in (*newest, *rest)] == ["s:2", "s:1", "s:0"]
        assert (newest[0].after, newest[0].before) == ('{"n":2}', None)
        with pytest.raises(DBAPIError, match="audit"):
            async with rig.store.write() as tx:
                await tx.execute(update(audit_table).values(actor="somebody else"))

    database.run(story)
