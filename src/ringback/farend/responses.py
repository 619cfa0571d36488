"""Builds the carrier's SIP responses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from aiosipua import Dialog, generate_tag

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiosipua import SipRequest, SipResponse

ALLOWED_METHODS: Final = ("INVITE", "ACK", "CANCEL", "BYE", "OPTIONS")
SERVER: Final = "Ringback far end"

_PHRASES: Final = {
    100: "Trying",
    180: "Ringing",
    183: "Session Progress",
    200: "OK",
    302: "Moved Temporarily",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    420: "Bad Extension",
    480: "Temporarily Unavailable",
    481: "Call/Transaction Does Not Exist",
    486: "Busy Here",
    487: "Request Terminated",
    488: "Not Acceptable Here",
    491: "Request Pending",
    500: "Server Internal Error",
    503: "Service Unavailable",
    603: "Decline",
}

#: ITU-T Q.850 causes that a carrier's switch gives beside these codes (RFC 3398 section 8.2.6.1).
_Q850_CAUSES: Final = {404: 1, 480: 19, 486: 17, 500: 41, 503: 34, 603: 21}


def build_response(
    request: SipRequest,
    code: int,
    *,
    tag: str | None = None,
    contact: str | None = None,
    sdp: str = "",
    headers: Mapping[str, str] | None = None,
) -> SipResponse:
    """A response to ``request``. ``tag`` is ours in the dialog (100 has none); without one a new tag is made."""
    if tag is None:
        tag = generate_tag()
    if code == 100:
        tag = ""
    response = Dialog(call_id=request.call_id or "", local_tag=tag).create_response(
        request, code, _PHRASES[code], contact=contact
    )
    response.set_header("Server", SERVER)
    if 100 < code < 300 and request.method == "INVITE":
        # A proxy that asked to stay in the path gets the dialog's later requests only if it is named here.
        for route in request.get_header_values("record-route"):
            response.add_header("Record-Route", route)
    if code in {200, 405}:
        response.set_header("Allow", ", ".join(ALLOWED_METHODS))
    if code in _Q850_CAUSES:
        response.set_header("Reason", f"Q.850;cause={_Q850_CAUSES[code]}")
    for name, value in (headers or {}).items():
        response.set_header(name, value)
    if sdp:
        response.content_type = "application/sdp"
        response.text = sdp
    return response
