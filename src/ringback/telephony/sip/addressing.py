"""What a call's SIP addresses are made of, checked before anything is sent.

Every text of a user (callee, caller id, trunk host, credentials) ends up in a request line, a header or the native
stack's account line. What could change the meaning of one of them is refused here with ValueError.
"""

from __future__ import annotations

import contextlib
import ipaddress
import re
from typing import TYPE_CHECKING, Final

import msgspec

from ringback.telephony.addresses import check_callee, check_caller_id, check_phone_user, is_caller_id

if TYPE_CHECKING:
    from ringback.telephony.port import DialOrder

_LABEL: Final = "[0-9A-Za-z_]([0-9A-Za-z_-]*[0-9A-Za-z])?"
_HOST_NAME: Final = re.compile(rf"(?=.{{1,253}}$){_LABEL}(\.{_LABEL})*")
#: Travels bare in the account line, so no delimiter of that line may be in it.
_AUTH_USER: Final = re.compile(r"[!-~]{1,128}")
_AUTH_USER_DENIED: Final = frozenset(';<>"\\')
#: Travels between quotes that know no escape.
_PASSWORD: Final = re.compile(r"[ -~]{0,128}")
_PASSWORD_DENIED: Final = frozenset('"\\')

#: RFC 3261 section 8.1.1.3 and RFC 3323: who calls when nothing says who calls.
ANONYMOUS_USER: Final = "anonymous"
ANONYMOUS_DOMAIN: Final = "anonymous.invalid"

CALL_HEADER: Final = "X-Ringback-Call"
TASK_HEADER: Final = "X-Ringback-Task"


class Account(msgspec.Struct, frozen=True):
    """Who calls and how that is proven: what one user agent of the native stack stands for."""

    user: str  # user part of the From address
    domain: str  # host part of the From address
    auth_user: str
    password: str

    def line(self) -> str:
        """The account line of the native stack. Holds the password: never log it.

        Written out rather than rendered by the binding, whose rendering adds ``;transport=udp`` to every request
        address; some carriers match request addresses literally.
        """
        parameters = ["regint=0", "answermode=manual", "audio_codecs=pcmu,pcma", "dtmfmode=rtpevent"]
        if self.auth_user:
            parameters += [f"auth_user={self.auth_user}", f'auth_pass="{self.password}"']
        return f"<sip:{self.user}@{self.domain}>;" + ";".join(parameters)


class CallAddress(msgspec.Struct, frozen=True):
    """Everything the native stack needs to send one INVITE."""

    account: Account
    request_uri: str
    interface: str  # local address to bind to, "" to let the stack find it


def address_call(order: DialOrder, local_host: str | None = None) -> CallAddress:
    """The addresses of ``order``.

    ``local_host`` is the local IP address to call from; ``None`` picks loopback for a destination on loopback and
    otherwise leaves it to the stack. Without a caller id the From user is the trunk's user, whose number the carrier
    then shows; without either the call is anonymous.

    Raises:
        ValueError: a part that cannot stand in a SIP request unchanged. The text never holds the password.
    """
    destination = order.destination
    check_callee(order.callee)
    check_caller_id(order.caller_id)
    if order.phone_user:
        check_phone_user(order.phone_user)
    if not 1 <= destination.port <= 65_535:
        raise ValueError(f"port must be 1 to 65535, got {destination.port}")
    _check_credentials(destination.user, destination.password)
    host, interface = _locate(destination.host)
    user, domain = order.caller_id, host
    if not user and destination.user and is_caller_id(destination.user):
        user = destination.user
    if not user:
        user, domain = ANONYMOUS_USER, ANONYMOUS_DOMAIN
    return CallAddress(
        Account(user, domain, destination.user, destination.password),
        f"sip:{order.phone_user or order.callee}@{host}:{destination.port}",
        interface if local_host is None else str(ipaddress.ip_address(local_host)),
    )


def transfer_uri(address: CallAddress, target: str) -> str:
    """Where a call at ``address`` is transferred to: ``target`` as its trunk would be asked for it.

    Raises:
        ValueError: ``target`` cannot stand in a SIP request.
    """
    check_callee(target, "transfer target")
    return f"sip:{target}@{address.request_uri.partition('@')[2]}"


def _check_credentials(user: str, password: str) -> None:
    if user and (not _AUTH_USER.fullmatch(user) or _AUTH_USER_DENIED.intersection(user)):
        raise ValueError('trunk user must be printable ASCII without spaces and ; < > " \\')
    if not _PASSWORD.fullmatch(password) or _PASSWORD_DENIED.intersection(password):
        raise ValueError('trunk password must be at most 128 printable ASCII characters without " and \\')


def _locate(host: str) -> tuple[str, str]:
    """The host part of an address for ``host``, and the local interface that reaches it ("" for any)."""
    if host.lower() == "localhost":
        host = "127.0.0.1"
    address = None
    if "%" not in host:  # a zone index may hold anything
        with contextlib.suppress(ValueError):
            address = ipaddress.ip_address(host.removeprefix("[").removesuffix("]"))
    if address is None:
        # A name whose last label is a number would be read as an address by some resolvers.
        if not _HOST_NAME.fullmatch(host) or host.rpartition(".")[2].isdecimal():
            raise ValueError("destination host must be a host name or an IP address")
        return host, ""
    literal = f"[{address}]" if address.version == 6 else str(address)
    if not address.is_loopback:
        return literal, ""
    return literal, "127.0.0.1" if address.version == 4 else "::1"
