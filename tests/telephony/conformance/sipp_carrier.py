"""SIPp as a carrier: one scenario, in which the last three digits dialled choose what happens.

What happens on a number is a row of steps, each a piece of SIPp's XML, made by the functions here. SIPp is strict: a
message that a step does not wait for, or one that does not come, fails the call. Its log of messages says what the
engine under test sent.

What SIPp cannot do without root: send keys (``play_pcap_audio`` and ``play_dtmf`` open raw sockets). Keys come from the
far end and from :mod:`tests.telephony.sip_peer`.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import re
import signal
import socket
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from ringback.clock import RealClock
from tests.parts import parts

#: Who may call numbers that ask for it.
USER, PASSWORD = "trunk", "s3cret"
FIRST_NUMBER = 100
_PREFIX = "4930"
#: How long SIPp waits for a message before the call has failed.
_PATIENCE_MS = 15_000
_SILENCE_MS = 2_500
#: SIPp notes each wait that ends as the scenario says.
_SCRIPTED = "jumping to label"
_START_SECONDS = 5.0
_STOP_SECONDS = 5.0
_STOPS_BY_ITSELF = 0.05

_PHRASES = {100: "Trying", 180: "Ringing", 183: "Session Progress", 200: "OK", 302: "Moved Temporarily"}
_OURSELVES = "<sip:[local_ip]:[local_port]>"
_SESSION = (
    "v=0\no=carrier 1 1 IN IP4 127.0.0.1\ns=-\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio [media_port] RTP/AVP 0 101\n"
    "a=rtpmap:0 PCMU/8000\na=rtpmap:101 telephone-event/8000\na=sendrecv\n"
)
_labels = itertools.count(1)


# --- steps ---


def respond(
    code: int, *, headers: str = "", contact: str = _OURSELVES, session: bool = False, method: str = "INVITE"
) -> str:
    """A response. ``method`` INVITE: to the INVITE, whatever came since; else to the last request."""
    sequence = "CSeq: [last_cseq_number] INVITE" if method == "INVITE" else "[last_CSeq:]"
    # Only a request within the dialog brings our tag along.
    tag = "" if method == "BYE" or code == 100 else ";tag=[pid]c[call_number]"
    body = f"Content-Type: application/sdp\nContent-Length: [len]\n\n{_SESSION}" if session else "Content-Length: 0\n\n"
    return (
        f"<send><![CDATA[\n\nSIP/2.0 {code} {_PHRASES.get(code, 'Refused')}\n"
        f"[last_Via:]\n[last_From:]\n[last_To:]{tag}\n[last_Call-ID:]\n{sequence}\n"
        f"Contact: {contact}\n{headers}{body}]]></send>"
    )


def expect(method: str) -> str:
    """Wait for a request."""
    return f'<recv request="{method}" timeout="{_PATIENCE_MS}"/>'


def pause(seconds: float) -> str:
    """Do nothing."""
    return f'<pause milliseconds="{round(seconds * 1000)}"/>'


def refuse(code: int, *, reason: str = "", headers: str = "", contact: str = _OURSELVES) -> str:
    """A final refusal and its ACK. ``reason``: Reason header."""
    if reason:
        headers += f"Reason: {reason}\n"
    return respond(code, headers=headers, contact=contact) + expect("ACK")


def answer() -> str:
    """200 with a session, and its ACK."""
    return respond(200, session=True) + expect("ACK")


def silence() -> str:
    """Take the INVITE, however often it comes, and answer nothing."""
    patience = f'timeout="{_SILENCE_MS}" ontimeout="end"'
    again = f'<recv request="INVITE" optional="true" {patience}/>' * 6  # after 0.5, 1.5, 3.5 … seconds
    return f'{again}<recv request="CANCEL" {patience}/>'


def caller_hangs_up() -> str:
    """Wait for BYE and confirm it."""
    return expect("BYE") + respond(200, method="BYE")


def callee_hangs_up(reason: str = "") -> str:
    """BYE, with this Reason header if any."""
    header = f"Reason: {reason}\n" if reason else ""
    return (
        "<send><![CDATA[\n\nBYE [next_url] SIP/2.0\nVia: SIP/2.0/UDP [local_ip]:[local_port];branch=[branch]\n"
        "From:[$to];tag=[pid]c[call_number]\nTo:[$from]\n[last_Call-ID:]\nCSeq: 1 BYE\nMax-Forwards: 70\n"
        f"{header}Content-Length: 0\n\n]]></send>"
        f'<recv response="200" timeout="{_PATIENCE_MS}"/>'
    )


def cancelled() -> str:
    """Wait for CANCEL; confirm it and end the INVITE with 487."""
    return expect("CANCEL") + respond(200, method="CANCEL") + refuse(487)


def answer_crosses_cancel() -> str:
    """Wait for CANCEL; confirm it, but answer the call, as if the callee had picked up just before."""
    return expect("CANCEL") + respond(200, method="CANCEL") + answer() + caller_hangs_up()


def authenticated(*then: str) -> str:
    """Challenge with 401; refuse a wrong answer with 403, else go on with ``then``.

    SIPp cannot read the answer to a 407.
    """
    number = next(_labels)
    challenge = 'WWW-Authenticate: Digest realm="carrier", nonce="n[call_number]x[clock_tick]", algorithm=MD5\n'
    return (
        refuse(401, headers=challenge)
        + f'<recv request="INVITE" rrs="true" timeout="{_PATIENCE_MS}"><action>'
        + f'<verifyauth assign_to="right{number}" username="{USER}" password="{PASSWORD}"/></action></recv>'
        + f'<nop next="right{number}" test="right{number}"/>'
        + refuse(403)
        + f'<nop next="end"/><label id="right{number}"/>'
        + "".join(then)
    )


# --- the scenario ---


def scenario(acts: Sequence[Sequence[str]]) -> str:
    """The scenario in which the number of the n-th row of steps ends in ``FIRST_NUMBER`` + n."""
    numbers = range(FIRST_NUMBER, FIRST_NUMBER + len(acts))
    choose = "".join(
        f'<strcmp assign_to="differs" variable="number" value="{number}"/>'
        f'<test assign_to="is{number}" variable="differs" compare="equal" value="0"/>'
        for number in numbers
    )
    return "\n".join(
        [
            '<?xml version="1.0" encoding="ISO-8859-1" ?>',
            '<scenario name="carrier">',
            '<recv request="INVITE" rrs="true"><action>',
            '<ereg regexp="INVITE sip:[0-9]*([0-9]{3})@" search_in="msg" check_it="true" assign_to="uri,number"/>',
            '<ereg regexp=".*" search_in="hdr" header="From:" assign_to="from"/>',
            '<ereg regexp=".*" search_in="hdr" header="To:" assign_to="to"/>',
            f"{choose}</action></recv>",
            *(f'<nop next="number{number}" test="is{number}"/>' for number in numbers),
            respond(404) + expect("ACK") + '<nop next="end"/>',
            *(
                f'<label id="number{number}"/>{"".join(steps)}<nop next="end"/>'
                for number, steps in zip(numbers, acts, strict=True)
            ),
            '<label id="end"/>',
            '<Reference variables="uri,from,to"/>',
            "</scenario>",
        ]
    )


def callee(number: int) -> str:
    """What to dial for the row with this index."""
    return f"{_PREFIX}{FIRST_NUMBER + number}"


# --- the process ---


class SippCarrier:
    """A running SIPp. ``logs``: the folder for its files, which are kept."""

    host = "127.0.0.1"

    def __init__(self, acts: Sequence[Sequence[str]], logs: Path) -> None:
        self._acts = acts
        self._logs = logs
        self.port = 0

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[SippCarrier]:
        """Run inside this block; calls in the air are given a few seconds to end."""
        self._logs.mkdir(parents=True, exist_ok=True)
        script = self._logs / "scenario.xml"
        script.write_text(scenario(self._acts))
        self.port, control, media = free_ports(3)
        with (self._logs / "screen.log").open("wb") as screen:
            process = await asyncio.create_subprocess_exec(
                *parts.sipp_command(),
                *("-sf", str(script), "-i", self.host, "-p", str(self.port), "-cp", str(control), "-ci", self.host),
                *("-mi", self.host, "-mp", str(media), "-nostdin", "-aa"),
                *("-trace_shortmsg", "-shortmessage_file", str(self._messages)),
                *("-trace_err", "-error_file", str(self._errors)),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=screen,
                stderr=screen,
            )
        try:
            await self._wait_until_it_listens(process)
            yield self
        finally:
            await _stop(process)

    @property
    def _messages(self) -> Path:
        return self._logs / "messages.csv"

    @property
    def _errors(self) -> Path:
        return self._logs / "errors.log"

    async def _wait_until_it_listens(self, process: asyncio.subprocess.Process) -> None:
        clock = RealClock()
        async with asyncio.timeout(_START_SECONDS):
            while not await _answers(self.host, self.port):
                if process.returncode is not None:
                    raise AssertionError(f"SIPp ended: {(self._logs / 'screen.log').read_text(errors='replace')}")
                await clock.sleep(_STOPS_BY_ITSELF)

    def requests(self, callee: str) -> list[list[str]]:
        """The methods of the requests that came for this callee, a list for each call, in the order of the calls."""
        calls: dict[str, list[str]] = {}
        for line in self._lines():
            _, _, _, direction, dialog, _, start = line.split("\t", 6)
            if direction == "R" and dialog not in calls and start.startswith(f"INVITE sip:{callee}@"):
                calls[dialog] = []
            if direction == "R" and dialog in calls and not start.startswith("SIP/2.0"):
                calls[dialog].append(start.split(" ", 1)[0])
        return list(calls.values())

    def complaints(self, callee: str) -> str:
        """What SIPp had to complain about on calls to this callee; empty: all went as scripted."""
        if not self._errors.exists():
            return ""
        errors = self._errors.read_text(errors="replace")
        dialogs = {
            line.split("\t", 6)[4]
            for line in self._lines()
            if line.split("\t", 6)[6].startswith(f"INVITE sip:{callee}@")
        }
        found = re.split(r"^(?=\d{4}-\d\d-\d\d\t)", errors, flags=re.MULTILINE)
        return "\n".join(
            entry for entry in found if _SCRIPTED not in entry and any(dialog in entry for dialog in dialogs)
        )

    def _lines(self) -> list[str]:
        return self._messages.read_text(errors="replace").splitlines() if self._messages.exists() else []


async def _answers(host: str, port: int) -> bool:
    """Whether the UDP port is taken: SIPp says nothing of its own when it is ready, so look who has the port."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((host, port))
        except OSError:
            return True
    return False


async def _stop(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    for order, patience in ((signal.SIGUSR1, _STOP_SECONDS), (signal.SIGTERM, 1.0)):
        process.send_signal(order)  # USR1: end when the calls have ended
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience):
                await process.wait()
                return
    process.kill()
    await process.wait()


def free_ports(count: int) -> list[int]:
    """Even UDP ports of loopback that nobody has right now (media wants the next one, too)."""
    found: list[int] = []
    with contextlib.ExitStack() as stack:
        while len(found) < count:
            probe = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
            if port % 2 == 0:
                found.append(port)
    return found
