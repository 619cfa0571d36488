"""What the far side of a call does that a script of the peer cannot say."""

from __future__ import annotations

from tests.telephony.sip_peer import PeerCall


async def repeat_answer(call: PeerCall) -> None:
    """Send the 200 again, as if the ACK had been lost."""
    await call.wait_for("ACK")
    call._reply(call.invite, 200, with_body=True)


async def repeat_refusal(call: PeerCall) -> None:
    """Send the refusal again, and get a second ACK."""
    await call.wait_for("ACK")
    call._reply(call.invite, 486)
    await call.wait_for("ACK", times=2)


async def accept_transfer(call: PeerCall) -> None:
    """Take the REFER, report that the callee was connected elsewhere (RFC 3515), and leave."""
    refer = await call.wait_for("REFER")
    call._reply(refer, 202)
    call.request(
        "NOTIFY",
        "Event: refer\r\nSubscription-State: terminated;reason=noresource\r\n",
        body="SIP/2.0 200 OK\r\n",
        kind="message/sipfrag",
    )
    # Either side may say BYE now; ours comes only if the caller is still there.
    await call.wait_for_response(200)
    if not call.count("BYE"):
        call.hang_up()


async def refuse_transfer(call: PeerCall) -> None:
    """Refuse the REFER."""
    call._reply(await call.wait_for("REFER"), 603)
