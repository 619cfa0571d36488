"""What the vendor's requests ask of a call, heard and seen on real calls of both real engines."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import socket
import struct
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from e2e.campaign import FINISHED, Campaign
from e2e.processes import serving
from e2e.receiver import Receiver
from e2e.vendor import Vendor
from e2e.waiting import until
from ringback.voice.transcode import pcm_of
from tests.parts.asterisk_process import asterisk, free_port
from tests.telephony.conformance.test_sound import loudness
from tests.telephony.registrar.udp_phone import phone_at
from tests.telephony.sip_peer import PeerCall, Script, SipPeer, mu_law, tone
from tests.voice.test_transcode import tone as wav_tone

FILE_HERTZ, PHONE_HERTZ, CALLEE_HERTZ = 700, 440, 1_000
TALKS = 4.0

pytestmark = pytest.mark.enable_socket


class House:
    """A whole server on one engine, its carrier, its receivers of reports and text messages, its desk phone."""

    def __init__(
        self, vendor: Vendor, carrier: SipPeer, registrar: tuple[str, int], reports: Receiver, messages: Receiver
    ) -> None:
        self.vendor = vendor
        self.carrier = carrier
        self.registrar = registrar
        self.reports = reports
        self.messages = messages

    async def post(self, path: str, body: dict[str, Any]) -> Any:
        """The ``data`` of a request that is granted."""
        answer = await asyncio.to_thread(self.vendor.post, path, body)
        assert answer["code"] == 0, answer
        return answer["data"]

    async def send(self, name: str, numbers: list[str], **more: Any) -> int:
        """A voice task. Returns its id."""
        return await self.send_each(
            name, [{"calleeNumber": number, "text1": f"Ann {at}"} for at, number in enumerate(numbers)], **more
        )

    async def send_each(self, name: str, listed: list[dict[str, Any]], **more: Any) -> int:
        """The same, with what each number has."""
        body = {"appId": "default", "taskName": name, "numberInfoList": listed, "calloutRate": 10, **more}
        return int(await self.post("/voice/group/call/send", body))

    async def finished(self, *task_ids: int) -> None:
        """Wait until these tasks are over."""
        for task_id in task_ids:
            await asyncio.to_thread(until, lambda one=task_id: self._is_finished(one), what=f"task {task_id}")

    def _is_finished(self, task_id: int) -> bool | None:
        detail = self.vendor.get(f"/voice/group/call/detail/{task_id}")["data"]
        return detail["status"] == FINISHED or None

    async def texts(self, count: int) -> list[tuple[str, str, str]]:
        """So many text messages, when they have come: to, from, text."""
        await asyncio.to_thread(until, lambda: len(self.messages.taken) >= count or None, what="the text messages")
        return sorted((body["to"], body["from"], body["text"]) for body in self.messages.bodies.values())

    async def pushes(self, count: int) -> list[dict[str, Any]]:
        """The pushes of so many calls, when they have come."""
        await asyncio.to_thread(until, lambda: len(self.reports.taken) >= count or None, what="the reports")
        return list(self.reports.bodies.values())

    async def pushed(self, count: int) -> dict[str, dict[str, Any]]:
        """The same by callee."""
        return {body["callee"]: body for body in await self.pushes(count)}

    async def recording(self, key: str) -> list[int]:
        """The samples of a recording."""
        mp3 = await asyncio.to_thread(self.vendor.fetch, f"/voice/getVoiceFile?voiceFileId={key}")
        pcm = pcm_of(mp3, ".mp3")
        return list(struct.unpack(f"<{len(pcm) // 2}h", pcm))

    @contextlib.asynccontextmanager
    async def desk(self, script: Script) -> Any:
        """A registered phone: its peer, its login and its group."""
        asked = {"appId": "default", "groupName": "sales", "phoneName": "desk", "quantity": 1}
        (made,) = await self.post("/voice/sipAdd", asked)
        peer = SipPeer(default=script)
        async with phone_at(self.registrar, made["account"], made["password"]) as phone:
            assert (await phone.register()).start == "SIP/2.0 200 OK"
            peer.port = phone.port
        await asyncio.sleep(0)  # the event loop frees the port in its next turn
        async with peer.listening():
            yield peer, made["account"], made["groupId"]


@pytest.fixture(params=["asterisk", pytest.param("sip", marks=pytest.mark.sip)])
def engine(request: pytest.FixtureRequest) -> Iterator[dict[str, str]]:
    """The environment of a server with that engine."""
    with contextlib.ExitStack() as stack:
        running = stack.enter_context(asterisk()) if request.param == "asterisk" else None
        yield running.environ if running else {"RINGBACK_TELEPHONY": "sip"}


@contextlib.asynccontextmanager
async def house(folder: Path, engine: dict[str, str], scripts: dict[str, Script]) -> Any:
    port = free_port(socket.SOCK_DGRAM)
    environ = {
        **engine,
        "RINGBACK_LOG_LEVEL": "warning",
        "RINGBACK_REGISTRAR": f"127.0.0.1:{port}",
        "RINGBACK_REPORT_NETWORKS": "127.0.0.0/8",
    }
    carrier = SipPeer(scripts)
    async with carrier.listening():
        campaign = Campaign(folder, environ)
        await asyncio.to_thread(campaign.furnish, carrier.port, cps=20, channels=50)
        with (
            Receiver(failures=()) as reports,
            Receiver(failures=()) as messages,
            serving(folder, environ) as server,
        ):
            vendor = await asyncio.to_thread(campaign.vendor, server)
            for form, receiver in (("single", reports), ("sms", messages)):
                await asyncio.to_thread(campaign.run, "report", "add", "me", receiver.url, "--form", form)
            yield House(vendor, carrier, ("127.0.0.1", port), reports, messages)
            # Before the receivers: they wait for its connections to end.
            assert await asyncio.to_thread(server.stop) == 0


def seconds_of(call: PeerCall, hertz: float) -> float:
    """How long the peer heard that sound."""
    return loud_seconds(call.heard(), hertz)


def loud_seconds(heard: list[int], hertz: float) -> float:
    """How long that sound is heard in samples."""
    parts = [heard[at : at + 400] for at in range(0, len(heard) - 399, 400)]
    return sum(loudness(part, hertz) > 2_000 for part in parts) * 0.05


def call_to(peer: SipPeer, callee: str) -> PeerCall:
    (found,) = calls_to(peer, callee)
    return found


def calls_to(peer: SipPeer, callee: str) -> list[PeerCall]:
    return [call for call in peer.calls if call.callee == callee]


def speech_seconds(call: PeerCall) -> float:
    """How long it heard something, in parts of 50 ms."""
    heard = call.heard()
    parts = [heard[at : at + 400] for at in range(0, len(heard) - 399, 400)]
    return sum(max(map(abs, part)) > 1_000 for part in parts) * 0.05


def test_a_voice_file_its_keys_and_a_seat(tmp_path: Path, engine: dict[str, str]) -> None:
    presses, listens = "493010000001", "493010000002"
    says = mu_law(tone(TALKS, hertz=CALLEE_HERTZ))
    scripts = {presses: Script(says=b"\xff" * 4_000, presses="1", then_says=says), listens: Script()}

    async def main() -> None:
        async with (
            house(tmp_path, engine, scripts) as made,
            made.desk(Script(says=mu_law(tone(TALKS, hertz=PHONE_HERTZ)), hangs_up_after=0.1)) as (desk, _, group),
        ):
            wav = base64.b64encode(wav_tone(1.0, rate=44_100, hertz=FILE_HERTZ)).decode()
            file_id = await made.post("/voice/fileUpload", {"fileName": "tone.wav", "file": wav})
            task_id = await made.send(
                "a file",
                [presses, listens],
                source=1,
                voiceFileId=file_id,
                loopCount=2,
                toSeat=1,
                sipGroupId=group,
                toSeatType=2,
                toSeatKey=1,
                enableRecording=1,
                displayNum="4930555",
                hangUpSms=1,
                smsContent="You pressed it, ${text1}.",
                senderId="us",
                feedbackPush=1,
                feedbackValue=1,
            )
            await made.finished(task_id)
            pressed, listened = call_to(made.carrier, presses), call_to(made.carrier, listens)
            (at_the_desk,) = desk.calls
            assert "4930555" in listened.invite.headers["from"]
            assert seconds_of(listened, FILE_HERTZ) == pytest.approx(2.0, abs=0.4), "twice one second"
            assert seconds_of(pressed, FILE_HERTZ) < 1.8, "the key ends it"
            assert seconds_of(pressed, PHONE_HERTZ) > 1.5
            assert seconds_of(at_the_desk, CALLEE_HERTZ) > 1.5
            assert await made.texts(1) == [(presses, "us", "You pressed it, Ann 0.")]
            pushed = await made.pushed(2)
            assert {(one["terminationCode"], one["voiceFileId"]) for one in pushed.values()} == {("200", file_id)}
            assert [pushed[one]["feedbackValue"] for one in (presses, listens)] == ["1", "-1"]
            recording = await made.recording(f"{task_id}-{pushed[presses]['voiceId']}")
            for hertz in (FILE_HERTZ, PHONE_HERTZ, CALLEE_HERTZ):
                assert loud_seconds(recording, hertz) > 0.2, hertz

    asyncio.run(main())


def test_texts_and_the_messages_that_follow_them(tmp_path: Path, engine: dict[str, str]) -> None:
    answers, busy, rings = "493010000001", "493010000002", "493010000003"
    scripts = {busy: Script(provisional=(100,), final=486), rings: Script(final=480, final_after=1.0)}
    triggers: dict[str, dict[str, int]] = {
        "success": {"successPush": 1, "successPushTime": 1},
        "failed": {"failedPush": 1},
        "ring": {"ringPush": 1},
    }

    async def main() -> None:
        async with house(tmp_path, engine, scripts) as made:
            spoken = {"source": 3, "text": "Hello ${text1}, your order is ready.", "lan": "EN", "hangUpSms": 1}
            tasks = [
                await made.send(name, [answers, busy, rings], **spoken, **trigger, smsContent=name, senderId="us")
                for name, trigger in triggers.items()
            ]
            await made.finished(*tasks)
            assert await made.texts(4) == [
                (answers, "us", "success"),
                (busy, "us", "failed"),
                (rings, "us", "failed"),
                (rings, "us", "ring"),
            ]
            pushed = [(one["callee"], one["sipCode"]) for one in await made.pushes(9)]
            assert sorted(pushed) == [(answers, "200")] * 3 + [(busy, "486")] * 3 + [(rings, "480")] * 3
            (*_, heard) = [call for call in made.carrier.calls if call.callee == answers]
            assert sum(abs(sample) > 2_000 for sample in heard.heard()) > 2_000, "it was spoken"
            # Cut off in the middle of it.
            cut = await made.send("cut", [answers], source=3, text="Many words. " * 40, lan="EN", maxCalls=3)
            await made.finished(cut)
            (last,) = [
                one
                for one in await made.pushes(10)
                if one["submitTime"] == max(other["submitTime"] for other in await made.pushes(10))
            ]
            assert 3_000 <= last["hangupTime"] - last["answerTime"] < 4_500

    asyncio.run(main())


def test_when_how_long_and_how_many_at_once(tmp_path: Path, engine: dict[str, str]) -> None:
    answers, other, rings, far = "493010000001", "493010000002", "493010000003", "493010000004"
    scripts = {rings: Script(final=None)}

    async def main() -> None:
        async with (
            house(tmp_path, engine, scripts) as made,
            made.desk(Script(says=mu_law(tone(1.0, hertz=PHONE_HERTZ)), hangs_up_after=0.1)) as (desk, _, group),
        ):
            spoken = {"source": 3, "lan": "EN", "text": "Hello."}
            now = datetime.now(ZoneInfo("Europe/Berlin"))
            shut = {"strTime": f"{now + timedelta(hours=3):%H:%M}", "endTime": f"{now + timedelta(hours=4):%H:%M}"}
            waiting = await made.send("shut", [far], **spoken, allowSendTime=[shut])
            rung = await made.send("rings", [rings], **spoken, maxRingingTime=20)
            starts = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=4)
            later = await made.send("later", [answers], **spoken, sendTime=f"{starts:%Y-%m-%d %H:%M:%S}")
            await made.finished(later)
            (push,) = await made.pushes(1)
            assert 0 <= push["callTime"] - starts.timestamp() * 1000 < 5_000
            # As many at once as there are phones: one.
            seated = await made.send(
                "seats", [answers, other], **spoken, toSeat=1, sipGroupId=group, outboundControl=1, calloutRate=1
            )
            await made.finished(seated)
            _, *both = await made.pushes(3)
            first, second = sorted(both, key=lambda one: one["callTime"])
            assert second["callTime"] >= first["hangupTime"]
            assert len(desk.calls) == 2
            # Each is told its own.
            told = await made.send_each(
                "information",
                [
                    {"calleeNumber": answers, "callInformation": {"items": "One."}},
                    {"calleeNumber": other, "callInformation": {"items": "One, two, three, four, five, six, seven."}},
                ],
                **{**spoken, "text": "${info.items}"},
            )
            await made.finished(told)
            short, long = (speech_seconds(calls_to(made.carrier, one)[-1]) for one in (answers, other))
            assert long > short + 0.5
            await made.finished(rung)
            await call_to(made.carrier, rings).wait_for("CANCEL")
            (push,) = [one for one in await made.pushes(6) if one["callee"] == rings]
            assert (push["terminationReason"], push["ringDuration"]) == ("nobody answered in time", 20)
            assert 19_500 <= push["hangupTime"] - push["ringingTime"] < 22_000
            assert calls_to(made.carrier, far) == []
            listed = await asyncio.to_thread(made.vendor.get, f"/voice/group/call/detail/{waiting}")
            assert listed["data"]["status"] != FINISHED

    asyncio.run(main())


def test_a_call_from_the_desk(tmp_path: Path, engine: dict[str, str]) -> None:
    callee = "493010000001"
    scripts = {callee: Script(says=mu_law(tone(TALKS, hertz=CALLEE_HERTZ)), hangs_up_after=0.1)}

    async def main() -> None:
        async with (
            house(tmp_path, engine, scripts) as made,
            made.desk(Script(says=mu_law(tone(2 * TALKS, hertz=PHONE_HERTZ)))) as (desk, login, _),
        ):
            asked = {"appId": "default", "account": login, "callee": callee, "displayNum": "4930123"}
            (started,) = await made.post("/voice/sendSip", asked)
            (pushed,) = await made.pushes(1)
            assert (pushed["callee"], pushed["voiceId"], pushed["sipCode"]) == (callee, started["voiceId"], "200")
            (at_the_desk,), (at_the_callee,) = desk.calls, made.carrier.calls
            await at_the_desk.wait_for("BYE")
            assert "4930123" in at_the_callee.invite.headers["from"]
            assert seconds_of(at_the_desk, CALLEE_HERTZ) > 1.5
            assert seconds_of(at_the_callee, PHONE_HERTZ) > 1.5

    asyncio.run(main())
