"""What the far side of a call does that a script of the peer cannot say."""

from __future__ import annotations

from typing import Final

from tests.telephony.sip_peer import PeerCall

#: RFC 3261 section 13.3.1.4: a 200 is repeated after T1 first. Sooner it meets a transaction that is just ending.
T1_SECONDS: Final = 0.5


async def repeat_answer(call: PeerCall) -> None:
    """Send the 200 again, as if the ACK had been lost."""
    await call.wait_for("ACK")
    await call.peer.clock.sleep(T1_SECONDS)
    call._reply(call.invite, 200, with_body=True)


async def repeat_refusal(call: PeerCall) -> None:
    """Send the refusal again, and get a second ACK."""
    await call.wait_for("ACK")
    call._reply(call.invite, 486)
    await call.wait_for("ACK", times=2)
