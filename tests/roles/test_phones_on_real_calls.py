"""Phones on real calls: made over the API, registered over UDP, connected with callees by the embedded engine and by a
real Asterisk. Both sides are peers of ours whose tones are measured.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from ringback.api.app import create_app
from ringback.api.itnio.signature import sign
from ringback.clock import RealClock
from ringback.model.connect_step import Connect
from ringback.model.states import TaskState
from ringback.model.task import Limits, NewCall, TaskKind, TaskSpec
from ringback.model.template import Gather, Play, Template
from ringback.roles.conductor import Conductor
from ringback.roles.dialler import Dialler, DiallerSettings
from ringback.roles.library import TemplateLibrary
from ringback.roles.registrar import RegistrarRole
from ringback.settings import Settings
from ringback.store import accounts, records, tasks, templates, trunks
from ringback.store.database import News, Store
from ringback.store.opening import open_store
from ringback.store.records import CallRecord
from ringback.telephony.asterisk.address import read_addresses
from ringback.telephony.asterisk.engine import AsteriskEngine
from ringback.telephony.asterisk.sounds import SoundFolder
from ringback.telephony.port import Engine
from ringback.telephony.sip.engine import SipEngine
from ringback.voice.speech import Speech
from tests.parts.asterisk_process import asterisk as running_asterisk
from tests.telephony.conformance.engines import marks
from tests.telephony.conformance.test_connect import CALLEE_HERTZ, PHONE_HERTZ, hears, says
from tests.telephony.registrar.udp_phone import UdpPhone
from tests.telephony.sip_peer import Script, SipPeer, pcm, tone

KEY, SECRET = "aKey12", "aSecret"
CALLEE = "493012345600"


class Office:
    """A server's roles on a store of its own, a carrier, and a phone on a desk."""

    def __init__(self, store: Store, engine: str, carrier: SipPeer, desk: SipPeer) -> None:
        self.store = store
        self.carrier = carrier
        self.desk = desk
        self.clock = RealClock()
        self.app = create_app(store, self.clock, Settings(telephony=engine))  # type: ignore[arg-type]  # one of them
        self.account = self.application = 0
        self.registrar = ("", 0)

    async def post(self, path: str, body: dict[str, Any]) -> Any:
        """An operation of the vendor's door. Returns its data."""
        now = str(self.clock.now_ms() // 1000)
        headers = {"Api-Key": KEY, "Timestamp": now, "Sign": sign(KEY, SECRET, now)}
        transport = httpx.ASGITransport(app=self.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://ringback") as client:
            answer = (await client.post(path, json={"appId": "default", **body}, headers=headers)).json()
        assert answer["code"] == 0, answer
        return answer["data"]

    async def phone(self) -> dict[str, Any]:
        """A new phone, registered from the desk's socket."""
        (made,) = await self.post("/voice/sipAdd", {"groupName": "sales", "phoneName": "desk", "quantity": 1})
        phone = UdpPhone(made["account"], made["password"], self.registrar)
        phone.transport, phone.port = self.desk._transport, self.desk.port
        phone.send(phone.request())
        challenge = await self.desk.stray("SIP/2.0 401")
        phone.send(phone.request(authorization=phone.authorization(challenge)))
        await self.desk.stray("SIP/2.0 200")
        return dict(made)

    async def seat_task(self, *steps: Any, **nodes: list[Any]) -> int:
        """A task of one number whose template has these steps."""
        template = Template(name="seat", initial_node="start", nodes={"start": list(steps), **nodes})
        async with self.store.write() as tx:
            audio = {"hello.wav": pcm(tone(0.5, hertz=2_000))}
            template_id = await templates.add(tx, template, audio, account_id=None, now_ms=1)
            spec = TaskSpec(
                name="seats",
                template_id=template_id,
                application_id=self.application,
                limits=Limits(ring_seconds=20, call_seconds=60),
                kind=TaskKind.VOICE,
            )
            calls = [NewCall(CALLEE, "Europe/Berlin", None)]
            task_id = await tasks.create(tx, self.account, spec, calls, self.clock.now_ms())
        self.store.announce(News.WORK)
        return task_id

    async def record(self) -> CallRecord:
        """The record of the only call, when its task has finished."""
        async with asyncio.timeout(20):
            while True:
                async with self.store.read() as tx:
                    task = await tasks.get(tx, 1)
                    assert task is not None
                    if task.state is TaskState.FINISHED:
                        (record,) = [record async for record in records.listed(tx, 1)]
                        return record
                await self.clock.sleep(0.05)

    async def talk(self) -> None:
        """Until both have heard each other for a second."""
        await self.carrier.call()
        await self.desk.call()
        await asyncio.gather(hears(self.desk, CALLEE_HERTZ), hears(self.carrier, PHONE_HERTZ))


@contextlib.contextmanager
def not_started(name: str, clock: RealClock) -> Iterator[Engine]:
    """The engine: its dialler starts and stops it."""
    if name == "sip":
        yield SipEngine(clock, workers=1)
        return
    with running_asterisk() as process:
        yield AsteriskEngine(clock, read_addresses(process.address), SoundFolder(process.sounds))


@contextlib.asynccontextmanager
async def office(name: str, path: Path, *, callee: Script, phone: Script) -> AsyncIterator[Office]:
    clock = RealClock()
    carrier, desk = SipPeer(default=callee), SipPeer(default=phone)
    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(carrier.listening())
        await stack.enter_async_context(desk.listening())
        engine = stack.enter_context(not_started(name, clock))
        store = await open_store(f"sqlite:///{path}/r.db", clock)
        stack.push_async_callback(store.close)
        made = Office(store, name, carrier, desk)
        async with store.write() as tx:
            made.account = await accounts.create(
                tx,
                name="a",
                api_key=KEY,
                api_secret=SECRET,
                time_zone="UTC",
                envelope="both",
                allowed_networks=[],
                now_ms=1,
            )
            application = await accounts.application_of(tx, made.account, "default")
            assert application is not None
            made.application = application.id
            await trunks.add(
                tx,
                name="t",
                engine=name,
                host=carrier.host,
                port=carrier.port,
                calls_per_second=5,
                channels=5,
                now_ms=1,
            )
        registrar = RegistrarRole(store, clock, "127.0.0.1", 0)
        dialler = Dialler(
            store, engine, clock, TemplateLibrary(store, Speech(clock, None)), DiallerSettings(drain_seconds=1)
        )
        roles = [registrar, dialler, Conductor(store, clock)]
        running = [asyncio.create_task(role.run()) for role in roles]
        made.registrar = await registrar.listening
        try:
            yield made
        finally:
            for role in roles:
                role.stop()
            await asyncio.gather(*running)


@pytest.fixture(params=[pytest.param(name, marks=marks(name)) for name in ("sip", "asterisk")])
def tell(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(tmp_path)

    def run(story: Callable[[Office], Awaitable[None]], **scripts: Script) -> None:
        async def main() -> None:
            parts = {"callee": Script(says=says(CALLEE_HERTZ)), "phone": Script(says=says(PHONE_HERTZ)), **scripts}
            async with office(request.param, tmp_path, **parts) as made:
                await story(made)

        asyncio.run(main())

    return run


def test_send_sip_calls_the_phone_and_then_the_number(tell: Any) -> None:
    async def story(made: Office) -> None:
        phone = await made.phone()
        (sent,) = await made.post("/voice/sendSip", {"account": phone["account"], "callee": CALLEE})
        await made.talk()
        assert made.desk.calls[0].callee == phone["account"], "as it has registered"
        assert made.carrier.calls[0].callee == CALLEE
        made.carrier.calls[0].hang_up()
        record = await made.record()
        assert (record.outcome, record.reason) == (
            "answered",
            f"connected with phone {phone['account']}; callee hung up",
        )
        assert sent["voiceId"] == "1"
        await made.desk.calls[0].wait_for("BYE")

    tell(story)


def test_a_declined_phone_leaves_the_number_undialled(tell: Any) -> None:
    async def story(made: Office) -> None:
        phone = await made.phone()
        await made.post("/voice/sendSip", {"account": phone["account"], "callee": CALLEE})
        record = await made.record()
        assert (record.state, record.reason) == ("skipped", f"phone {phone['account']} did not answer")
        assert made.carrier.calls == []

    tell(story, phone=Script(final=603))


def test_a_callee_who_is_busy_ends_the_phones_call_too(tell: Any) -> None:
    async def story(made: Office) -> None:
        phone = await made.phone()
        await made.post("/voice/sendSip", {"account": phone["account"], "callee": CALLEE})
        record = await made.record()
        assert (record.outcome, record.sip_code) == ("busy", 486)
        await made.desk.calls[0].wait_for("BYE")

    tell(story, callee=Script(final=486))


def test_whoever_hangs_up_at_the_phone_ends_the_ringing(tell: Any) -> None:
    async def story(made: Office) -> None:
        phone = await made.phone()
        await made.post("/voice/sendSip", {"account": phone["account"], "callee": CALLEE})
        ringing = await made.carrier.call()
        await asyncio.sleep(0.5)
        made.desk.calls[0].hang_up()
        await ringing.wait_for("CANCEL")
        record = await made.record()
        assert (record.outcome, record.reason) == ("no_answer", "the phone hung up before the callee answered")

    tell(story, callee=Script(final=None))


def test_an_answered_callee_is_connected_by_key(tell: Any) -> None:
    async def story(made: Office) -> None:
        phone = await made.phone()
        ask = Gather(prompt=Play("hello.wav"), timeout=5.0, cases={"1": "person"})
        await made.seat_task(ask, person=[Connect(group=phone["groupId"])])
        await made.desk.call()
        await hears(made.carrier, PHONE_HERTZ)
        made.desk.calls[0].hang_up()
        record = await made.record()
        assert (record.keys, record.hung_up_by, record.reason) == (
            "1",
            "ringback",
            f"connected with phone {phone['account']}; phone hung up",
        )
        await made.carrier.calls[0].wait_for("BYE")

    tell(story, callee=Script(presses="1"))


def test_nobody_at_the_phones_lets_the_template_go_on(tell: Any) -> None:
    async def story(made: Office) -> None:
        phone = await made.phone()
        await made.seat_task(Play("hello.wav"), Connect(group=phone["groupId"]), Play("hello.wav"))
        record = await made.record()
        assert record.reason == f"phone {phone['account']} did not answer; template ended"

    tell(story, phone=Script(final=486))
