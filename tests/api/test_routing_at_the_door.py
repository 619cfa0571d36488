"""Routing as a client of the vendor's door meets it: caller ids that nobody may show, and hostile texts."""

from __future__ import annotations

import itertools
import re
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ringback.store import caller_ids, leases, routes, trunks
from ringback.telephony.port import Destination, DialOrder
from ringback.telephony.sip.addressing import address_call
from tests.api.vendor_world import World

if TYPE_CHECKING:
    from ringback.store.leases import LeaseBatch

SEND = "/voice/group/call/send/agent"


async def sip_trunk(world: World, name: str, *numbers: str, prefix: str | None = None) -> None:
    """A trunk of the engine that the server runs, with numbers of its own."""
    async with world.store.write() as tx:
        trunk_id = await trunks.add(
            tx,
            name=name,
            engine="sip",
            host="sip.example.net",
            calls_per_second=1000,
            channels=1000,
            now_ms=world.clock.now_ms(),
        )
        await caller_ids.add(tx, trunk_id, numbers)
        if prefix is not None:
            await routes.add(tx, account_id=None, prefix=prefix, trunk_id=trunk_id, priority=0, weight=1)


#: Numbers of leases, each once.
_LEASES = itertools.count(1)


async def lease(world: World) -> LeaseBatch:
    async with world.store.write() as tx:
        return await leases.lease(
            tx,
            worker_id=1,
            lease_no=next(_LEASES),
            engine="sip",
            now_us=world.clock.now_us(),
            horizon_us=1_000_000,
            grace_us=0,
            free_lines=1000,
        )


def test_a_number_that_no_trunk_may_show_is_refused_and_nothing_is_stored(world: World) -> None:
    async def story() -> None:
        await sip_trunk(world, "carrier", "4930001")
        before = await world.contents()
        flow = {"recallType": 1, "recallInterval": 30, "recallNum": 2}
        done = await world.post(SEND, world.task_body(displayNum="4930999", recallFlow=flow))
        assert (done["code"], done["msg"]) == (
            -22,
            "displayNum: caller id 4930999 is not one that trunk carrier owns",
        )
        assert await world.contents() == before
        await world.send(displayNum="4930001")
        await world.send(taskName="another", displayNum="")

    world.run(story())


def test_a_number_that_some_trunk_may_show_is_taken_and_the_rest_waits(world: World) -> None:
    async def story() -> None:
        await sip_trunk(world, "german", "4930001", prefix="49")
        await sip_trunk(world, "british", "4420001", prefix="44")
        numbers = [{"calleeNumber": "4915112345600"}, {"calleeNumber": "442012345600"}]
        task_id = await world.send(displayNum="4420001", numberInfoList=numbers)
        refused = await world.post(SEND, world.task_body(taskName="no", displayNum="4420001"))
        assert refused["msg"] == "displayNum: caller id 4420001 is not one that trunk german owns"
        await world.submit()
        assert [(one.callee, one.caller_id) for one in (await lease(world)).leases] == [("442012345600", "4420001")]
        batch = await lease(world)
        assert batch.waiting == {task_id: "caller id 4420001 is not one that trunk german owns"}

    world.run(story())


#: Texts that would change a SIP request, had they a way into one.
HOSTILE = [
    "4915112345600\r\nX-Evil: 1",
    "4915112345600\nX-Evil: 1",
    "4915112345600@evil.example",
    "4915112345600;user=phone",
    "4915112345600>;tag=1",
    '"x" <sip:4915112345600@evil.example>',
    "sip:4915112345600",
    "4915112345600%0d%0aX-Evil:%201",
    "4915112345600\0",
    "4915112345600?Route=evil",
    "٤٩١٥١١٢٣٤٥٦",
    "4915112345600,4915112345601",
    "491511234\x0b5600",
]


def addressed(batch: LeaseBatch) -> list[str]:
    """What would be sent for each leased call, as the dialler asks for it: request URI and account line."""
    texts = []
    for one in batch.leases:
        route = batch.routes[one.trunk_id]
        order = DialOrder(
            call_id=one.call_id,
            task_id=one.task_id,
            callee=one.dialled,
            caller_id=one.caller_id,
            destination=Destination(host=route.host, port=route.port, user=route.username, password=route.password),
        )
        address = address_call(order)
        texts.append(f"{address.request_uri} {address.account.line()}")
    return texts


def assert_plain(texts: list[str]) -> None:
    for text in texts:
        assert re.fullmatch(
            r"sip:\+?[0-9]{1,32}@sip\.example\.net:5060 "
            r"<sip:([0-9]{1,20}@sip\.example\.net|anonymous@anonymous\.invalid)>;"
            r"regint=0;answermode=manual;audio_codecs=pcmu,pcma;dtmfmode=rtpevent",
            text,
        )


@pytest.mark.parametrize("hostile", HOSTILE)
@pytest.mark.parametrize("member", ["calleeNumber", "displayNum"])
def test_hostile_numbers_are_refused_by_name(world: World, member: str, hostile: str) -> None:
    async def story() -> None:
        before = await world.contents()
        changes: dict[str, Any] = {member: hostile}
        if member == "calleeNumber":
            changes = {"numberInfoList": [{"calleeNumber": hostile}]}
        done = await world.post(SEND, world.task_body(**changes))
        assert done["code"] == -22
        assert member in done["msg"]
        assert await world.contents() == before

    world.run(story())


#: Blanks around a number are dropped at the door.
BLANKS = ["4915112345600\r", "4915112345600\u2028", "\r\n4915112345600"]


@pytest.mark.parametrize("number", BLANKS)
def test_blanks_around_a_number_do_not_get_in(world: World, number: str) -> None:
    async def story() -> None:
        await sip_trunk(world, "carrier")
        await world.send(displayNum=number, numberInfoList=[{"calleeNumber": number}])
        await world.submit()
        (one,) = (await lease(world)).leases
        assert (one.dialled, one.caller_id) == ("4915112345600", "4915112345600")

    world.run(story())


texts = st.one_of(
    st.sampled_from(HOSTILE + BLANKS), st.text(st.sampled_from('0149+ aZ_.-@:;<>"\\\r\n\t\0%?&=,/[]é٤'), max_size=20)
)


members = st.fixed_dictionaries(
    {
        "taskName": texts,
        "displayNum": st.sampled_from(["", "4930001"]) | texts,
        "calleeNumber": st.just("4915112345600") | texts,
        "text1": texts,
    }
)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(members)
def test_whatever_a_client_sends_only_digits_reach_a_request(world: World, sent: dict[str, str]) -> None:
    number = {name: sent.pop(name) for name in ("calleeNumber", "text1")}

    async def story() -> None:
        async with world.store.read() as tx:
            known = await trunks.by_name(tx, "plain")
        if known is None:
            await sip_trunk(world, "plain")
        await world.post(SEND, world.task_body(**sent, numberInfoList=[number]))
        await world.submit()
        assert_plain(addressed(await lease(world)))

    world.run(story())


@pytest.mark.parametrize("hostile", HOSTILE + BLANKS)
def test_what_got_into_the_database_some_other_way_is_stopped_too(world: World, hostile: str) -> None:
    """The callee is skipped at the last look; a caller id is refused by the engine before anything is sent."""

    async def story() -> None:
        await sip_trunk(world, "carrier")
        await world.send()
        await world.send(taskName="another")
        await world.submit()
        async with world.store.write() as tx:
            await tx.exec_driver_sql("UPDATE call SET callee = ? WHERE task_id = 1", (hostile,))
            await tx.exec_driver_sql("UPDATE application SET caller_id = ?", (hostile,))
        batch = await lease(world)
        assert [one.task_id for one in batch.leases] == [2]
        with pytest.raises(ValueError, match="caller id must be"):
            addressed(batch)

    world.run(story())
