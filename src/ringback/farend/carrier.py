"""The carrier: a SIP server that takes every call and lets the number decide what happens on it."""

from __future__ import annotations

import asyncio
import re
import socket
from collections import Counter
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import structlog
from aiosipua import parse_uri

from ringback.farend import log as entries
from ringback.farend import sounds
from ringback.farend.call import Call, Switch
from ringback.farend.digest import Credentials, Gatekeeper, Verdict
from ringback.farend.media import MediaClock
from ringback.farend.responses import build_response
from ringback.farend.timing import Timing
from ringback.farend.transactions import ServerTransaction, TransactionLayer
from ringback.model.numbers import masked
from ringback.model.sandbox_numbers import NOT_FOUND, Behaviour, Kind, behaviour

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiosipua import SipRequest

    from ringback.clock import Clock
    from ringback.farend.log import CallLog

#: Headers by which Ringback names its calls to those who want to compare.
CALL_HEADER: Final = "X-Ringback-Call"
TASK_HEADER: Final = "X-Ringback-Task"

_CALLEE: Final = re.compile(r"[0-9]{2,}", re.ASCII)
#: Characters of a text from the wire that are worth logging.
_LONGEST_TEXT: Final = 256
#: How long the callers have to answer our BYEs when the carrier stops.
_STOP_SECONDS: Final = 1.0

_log = structlog.get_logger(__name__)


class Carrier:
    """Answers calls by the callee's last two digits (``model/sandbox_numbers.py``), over UDP, with G.711 audio.

    Calls of a number are counted as long as the carrier lives. With ``credentials`` every call but those to silent
    numbers is challenged first (401), and refused (403) when the answer is wrong.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        clock: Clock,
        log: CallLog,
        credentials: Credentials | None = None,
        timing: Timing | None = None,
    ) -> None:
        self._listen = (host, port)
        self._address: tuple[str, int] | None = None
        self._gatekeeper = None if credentials is None else Gatekeeper(credentials, clock)
        timing = timing or Timing()
        sip = TransactionLayer(clock, timing, self._on_request)
        self._switch = Switch(clock=clock, timing=timing, log=log, sip=sip, media=MediaClock(clock))
        self._calls_of: Counter[str] = Counter()  # by callee, since the start
        self._calls: dict[str, Call] = {}  # alive, by our tag
        self._by_invite: dict[ServerTransaction, Call] = {}
        self._handlers: dict[str, Callable[[ServerTransaction], None]] = {
            "INVITE": self._on_invite,
            "CANCEL": self._on_cancel,
            "BYE": self._on_bye,
            "OPTIONS": self._on_options,
        }

    @property
    def address(self) -> tuple[str, int]:
        """Host and port on which the carrier listens. Only after :meth:`start`."""
        if self._address is None:
            raise RuntimeError("the carrier has not been started")
        return self._address

    @property
    def live_calls(self) -> int:
        """How many calls are not over yet."""
        return len(self._calls)

    async def start(self) -> None:
        """Listen. Raises OSError when the address cannot be bound."""
        # Made now and not during the first call, whose packets would be late.
        sounds.hello(sounds.PCMU)
        sounds.greeting(sounds.PCMU, self._switch.timing.voicemail_greeting)
        self._address = await self._switch.sip.open(*self._listen)

    async def stop(self) -> None:
        """Refuse or hang up what is going on, for a second at most, and close the socket."""
        closing = [asyncio.ensure_future(call.shut_down()) for call in tuple(self._calls.values())]
        if closing:
            _, late = await asyncio.wait(closing, timeout=_STOP_SECONDS)
            for task in late:
                task.cancel()
            await asyncio.gather(*closing, return_exceptions=True)
        await self._switch.media.stop()
        await self._switch.sip.close()

    # --- requests, each handed up once ---

    def _on_request(self, transaction: ServerTransaction) -> None:
        handler = self._handlers.get(transaction.request.method.upper())
        if handler is None:
            transaction.respond(build_response(transaction.request, 405))
        else:
            handler(transaction)

    def _on_invite(self, transaction: ServerTransaction) -> None:
        request = transaction.request
        if _our_tag(request):
            call = self._calls.get(_our_tag(request))
            if call is None:
                transaction.respond(build_response(request, 481))
            else:
                call.reinvite(transaction)
            return
        callee = _callee(request)
        act = self._behaviour(callee)
        if act.kind is not Kind.SILENT:
            transaction.respond(build_response(request, 100))
            required = request.get_header_values("require")
            if required:
                headers = {"Unsupported": ", ".join(required)}
                transaction.respond(build_response(request, 420, headers=headers))
                return
            if self._gatekeeper is not None and not self._let_in(self._gatekeeper, transaction, callee):
                return
        self._take(transaction, callee, act)

    def _let_in(self, gatekeeper: Gatekeeper, transaction: ServerTransaction, callee: str) -> bool:
        request = transaction.request
        verdict = gatekeeper.check("INVITE", request.get_header("authorization"))
        if verdict is Verdict.RIGHT:
            return True
        if verdict is Verdict.WRONG:
            self._note_invite(request, callee)
            transaction.respond(build_response(request, 403))
            self._switch.log.write(entries.Refused(**self._stamp(request), code=403))
            self._switch.log.write(entries.Ended(**self._stamp(request)))
            return False
        challenge = gatekeeper.challenge(stale=verdict is Verdict.STALE)
        transaction.respond(build_response(request, 401, headers={"WWW-Authenticate": challenge}))
        self._switch.log.write(entries.Challenged(**self._stamp(request), callee=callee))
        return False

    def _take(self, transaction: ServerTransaction, callee: str, act: Behaviour) -> None:
        self._calls_of[callee] += 1
        self._note_invite(transaction.request, callee)
        _log.debug("call", callee=masked(callee), behaviour=act.kind, sip_code=act.sip_code)
        host = self._host_towards(transaction.source[0])
        call = Call(self._switch, transaction, act, host, self.address[1])
        self._calls[call.tag] = call
        self._by_invite[transaction] = call

        def forget(call: Call) -> None:
            del self._calls[call.tag]
            del self._by_invite[transaction]

        call.start(forget)

    def _on_cancel(self, transaction: ServerTransaction) -> None:
        invite = self._switch.sip.find_invite(transaction)
        if invite is None:
            transaction.respond(build_response(transaction.request, 481))
            return
        call = self._by_invite.get(invite)
        if call is not None and call.is_silent:
            transaction.ignore()
        else:
            transaction.respond(build_response(transaction.request, 200, tag=call.tag if call else None))
        if call is not None:
            call.cancel()

    def _on_bye(self, transaction: ServerTransaction) -> None:
        call = self._calls.get(_our_tag(transaction.request))
        transaction.respond(build_response(transaction.request, 200 if call else 481))
        if call is not None:
            call.bye()

    def _on_options(self, transaction: ServerTransaction) -> None:
        transaction.respond(build_response(transaction.request, 200, headers={"Accept": "application/sdp"}))

    # --- helpers ---

    def _behaviour(self, callee: str) -> Behaviour:
        if not _CALLEE.fullmatch(callee):
            return NOT_FOUND
        return behaviour(callee, self._calls_of[callee])

    def _note_invite(self, request: SipRequest, callee: str) -> None:
        caller = request.from_addr
        self._switch.log.write(
            entries.Invited(
                **self._stamp(request),
                callee=callee,
                caller=_shortened((caller.uri.user if caller else None) or ""),
                call=_header(request, CALL_HEADER),
                task=_header(request, TASK_HEADER),
            )
        )

    def _stamp(self, request: SipRequest) -> entries.Stamp:
        return {"at_ms": self._switch.clock.now_ms(), "sip_call_id": request.call_id or ""}

    def _host_towards(self, caller: str) -> str:
        """Our address for a caller: what we listen on, or for a wildcard the interface that leads there."""
        host = self.address[0]
        return _local_address_towards(caller) if host in {"0.0.0.0", "::"} else host  # noqa: S104  # compared, not bound


def _callee(request: SipRequest) -> str:
    """The digits that were called, without a leading plus; what is no number is given as it came."""
    user = parse_uri(request.uri).user or ""
    return _shortened(user.partition(";")[0].removeprefix("+"))


def _our_tag(request: SipRequest) -> str:
    to = request.to_addr
    return (to.tag if to else None) or ""


def _header(request: SipRequest, name: str) -> str | None:
    value = request.get_header(name)
    return None if value is None else _shortened(value)


def _shortened(text: str) -> str:
    return text[:_LONGEST_TEXT]


@lru_cache(maxsize=1_024)
def _local_address_towards(host: str) -> str:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.connect((host, 9))  # sends nothing: only asks for the route
        return str(probe.getsockname()[0])
