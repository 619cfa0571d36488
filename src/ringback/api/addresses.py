"""From where an account may be used: its list of networks."""

from __future__ import annotations

import ipaddress


def address_allowed(networks: tuple[str, ...], address: str) -> bool:
    """Whether the list holds the address; an empty list holds every one."""
    if not networks:
        return True
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None:
        found = found.ipv4_mapped
    return any(found in ipaddress.ip_network(network, strict=False) for network in networks)
