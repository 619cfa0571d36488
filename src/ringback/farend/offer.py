"""The media part of a call's set-up: reads a caller's SDP offer and answers it (RFC 3264)."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Final

import msgspec
from aiosipua import SdpMessage, SdpNegotiationError, negotiate_sdp, parse_sdp, serialize_sdp

from ringback.farend.sounds import PCMA, PCMU, SAMPLE_RATE

if TYPE_CHECKING:
    from aiosipua import MediaDescription, SipRequest

_PROFILES: Final = frozenset({"RTP/AVP", "RTP/AVPF"})
_NO_EVENTS: Final = 0  # how the library spells "no telephone-event in the answer"


class UnacceptableOffer(Exception):
    """The caller offers nothing that the carrier can do (488)."""


class Offer(msgspec.Struct, frozen=True, kw_only=True):
    """What a caller offered.

    ``payload_type`` is G.711 mu-law or A-law, whichever comes first; ``event_type`` the payload type of its
    telephone-events, if it takes any. ``remote`` is where it wants its audio (IP literal and port), ``None`` when it
    wants none (hold).
    """

    sdp: SdpMessage
    payload_type: int
    event_type: int | None
    remote: tuple[str, int] | None


def read_offer(request: SipRequest, host: str) -> Offer:
    """The offer in an INVITE. ``host``, our own address, tells which IP version can be reached.

    Raises UnacceptableOffer. An INVITE without an offer (the answer would come in the ACK) is not acceptable either.
    """
    if request.content_type is None or not request.body:
        raise UnacceptableOffer("no offer")
    try:
        sdp = parse_sdp(request.text)
    except ValueError as error:
        raise UnacceptableOffer("not SDP") from error
    audio = sdp.audio
    if audio is None or audio.proto not in _PROFILES or not 0 < audio.port < 65_536:
        raise UnacceptableOffer("no plain RTP audio")
    payload_type = next((c.payload_type for c in audio.codecs if c.payload_type in {PCMU, PCMA}), None)
    if payload_type is None:
        raise UnacceptableOffer("no G.711")
    return Offer(sdp=sdp, payload_type=payload_type, event_type=_event_type(audio), remote=_remote(sdp, audio, host))


def answer(offer: Offer, host: str, port: int, session_id: int) -> str:
    """The answer's SDP text: one codec, audio to ``host`` and ``port``.

    Raises UnacceptableOffer.
    """
    try:
        sdp, _ = negotiate_sdp(
            offer.sdp,
            local_ip=host,
            rtp_port=port,
            supported_codecs=[offer.payload_type],
            # The caller's own number: it is the one that we must send with (RFC 3264 section 5.1).
            dtmf_payload_type=offer.event_type or _NO_EVENTS,
            session_id=str(session_id),
        )
    except SdpNegotiationError as error:
        raise UnacceptableOffer("no common codec") from error
    return serialize_sdp(sdp)


def _event_type(audio: MediaDescription) -> int | None:
    for codec in audio.codecs:
        if codec.encoding_name.lower() == "telephone-event" and codec.clock_rate == SAMPLE_RATE:
            return codec.payload_type
    return None


def _remote(sdp: SdpMessage, audio: MediaDescription, host: str) -> tuple[str, int] | None:
    connection = audio.connection or sdp.connection
    if connection is None:
        raise UnacceptableOffer("no address for audio")
    try:
        address = ipaddress.ip_address(connection.address)
    except ValueError as error:  # a host name would have to be looked up
        raise UnacceptableOffer("the address for audio is not an IP address") from error
    if address.version != ipaddress.ip_address(host).version or address.is_multicast:
        raise UnacceptableOffer("the address for audio cannot be reached")
    if address.is_unspecified or audio.direction in {"sendonly", "inactive"}:
        return None
    return (connection.address, audio.port)
