"""What phones send to the registrar, read with suspicion, and what it answers."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import msgspec
from aiosipua import SipMessage, SipRequest, parse_via, stringify_via

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Far more than any REGISTER has.
MOST_BYTES: Final = 4_096
ALLOWED: Final = "REGISTER, OPTIONS"
#: Seconds; what a phone that names no time gets, and the most that any gets.
LONGEST_EXPIRES: Final = 3_600
SHORTEST_EXPIRES: Final = 60

_SERVER: Final = "Ringback"
_PHRASES: Final = {
    200: "OK",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    405: "Method Not Allowed",
    423: "Interval Too Brief",
    500: "Server Internal Error",
    503: "Service Unavailable",
}
_CONTACT_URI: Final = re.compile(
    r"sip:(?:(?P<user>[0-9A-Za-z._~+-]{1,64})@)?(?P<host>\[[0-9A-Fa-f:.]+\]|[0-9A-Za-z.-]+)(?::[0-9]{1,5})?"
    r"(?P<params>(?:;[!-:=?A-~]+)*)",
    re.IGNORECASE,
)
_NAMED: Final = re.compile(r'(?:"(?:[^"\\]|\\.)*"\s*|[^<"]*)<(?P<uri>[^<>]{1,256})>(?P<params>.*)', re.DOTALL)
_EXPIRES: Final = re.compile(r";\s*expires\s*=\s*(?P<seconds>[0-9]{1,10})(?![^;\s])", re.IGNORECASE)
_SECONDS: Final = re.compile(r"[0-9]{1,10}")


class Malformed(ValueError):
    """The request makes no sense; the text says why."""


class Request(msgspec.Struct, frozen=True):
    """A request that can be answered. ``vias`` are as received, the topmost first."""

    method: str
    login: str  # user part of the To address: who registers
    vias: list[str]
    sender: str
    to: str
    call_id: str
    sequence: str
    authorizations: list[str]
    contacts: list[str]
    expires: str | None


class Wish(msgspec.Struct, frozen=True):
    """What a REGISTER asks for. ``contact`` is the phone's own URI, '' when it only asks; ``seconds`` 0: be forgotten.

    ``user`` is what the phone wants to be called as, '' when it does not say.
    """

    contact: str = ""
    user: str = ""
    seconds: int = LONGEST_EXPIRES


def read_request(data: bytes) -> Request | None:
    """One datagram as a request; ``None`` for what needs no answer: keep-alives, responses, ACK.

    Raises:
        Malformed: it is no SIP request that could be answered.
    """
    if len(data) > MOST_BYTES or not data.strip():
        return None
    try:
        message = SipMessage.parse(data)
    except Exception as error:  # whatever the parser stumbles over came from outside
        raise Malformed(f"no SIP message: {type(error).__name__}") from error
    if not isinstance(message, SipRequest) or message.method == "ACK":
        return None
    try:
        return _request(message)
    except Malformed:
        raise
    except Exception as error:
        raise Malformed(f"a header cannot be read: {type(error).__name__}") from error


def _request(message: SipRequest) -> Request:
    headers = {
        name: message.get_header_values(name)
        for name in ("via", "from", "to", "call-id", "cseq", "authorization", "contact", "expires")
    }
    if any("\r" in value or "\n" in value or "\0" in value for values in headers.values() for value in values):
        raise Malformed("a header holds a line break")
    if any(len(headers[name]) != 1 for name in ("from", "to", "call-id", "cseq")) or not headers["via"]:
        raise Malformed("a mandatory header is missing or repeated")
    sequence, to = message.cseq, message.to_addr
    if sequence is None or to is None or sequence.method.upper() != message.method.upper():
        raise Malformed("CSeq or To cannot be read")
    return Request(
        method=message.method.upper(),
        login=to.uri.user or "",
        vias=headers["via"],
        sender=headers["from"][0],
        to=headers["to"][0],
        call_id=headers["call-id"][0],
        sequence=headers["cseq"][0],
        authorizations=headers["authorization"],
        contacts=headers["contact"],
        expires=headers["expires"][0] if headers["expires"] else None,
    )


def read_wish(request: Request) -> Wish:
    """What the phone wants. Raises :class:`Malformed`.

    Of several contacts the first counts: a phone is called at one place.
    """
    if request.expires is not None and not _SECONDS.fullmatch(request.expires.strip()):
        raise Malformed("Expires must be seconds")
    seconds = LONGEST_EXPIRES if request.expires is None else int(request.expires)
    if not request.contacts:
        return Wish()
    text = request.contacts[0].strip()
    if text == "*":
        if request.expires is None or seconds != 0 or len(request.contacts) > 1:
            raise Malformed("Contact * takes Expires 0 alone")
        return Wish(contact="*", seconds=0)
    named = _NAMED.match(text)
    uri = named["uri"] if named else text.partition(";")[0].partition(",")[0]
    params = named["params"].partition(",")[0] if named else text.partition(",")[0][len(uri) :]
    found = _CONTACT_URI.fullmatch(uri.strip())
    if found is None:
        raise Malformed("Contact must be a plain sip: address")
    if "transport=" in found["params"].lower() and "transport=udp" not in found["params"].lower():
        raise Malformed("Contact must use UDP")
    own = _EXPIRES.search(params)
    return Wish(
        contact=uri.strip(), user=found["user"] or "", seconds=min(int(own["seconds"]) if own else seconds, 2**31)
    )


def answer(request: Request, code: int, source: tuple[str, int], headers: Mapping[str, str] | None = None) -> bytes:
    """A response. Where the request came from is noted in its Via (RFC 3581), whatever that says of it."""
    first = parse_via(request.vias[0])
    if "rport" in first.params:
        first.params["rport"] = str(source[1])
    first.params["received"] = source[0]
    tag = "" if ";tag=" in request.to.replace(" ", "").lower() else ";tag=ringback"
    lines = [
        f"SIP/2.0 {code} {_PHRASES[code]}",
        f"Via: {stringify_via(first)}",
        *(f"Via: {via}" for via in request.vias[1:]),
        f"From: {request.sender}",
        f"To: {request.to}{tag}",
        f"Call-ID: {request.call_id}",
        f"CSeq: {request.sequence}",
        *(f"{name}: {value}" for name, value in (headers or {}).items()),
        f"Server: {_SERVER}",
        "Content-Length: 0",
        "",
        "",
    ]
    return "\r\n".join(lines).encode()
