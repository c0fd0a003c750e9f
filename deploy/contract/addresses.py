"""Which addresses nothing is sent to, whatever name leads there: all but the public internet's.

From the registries of special-purpose addresses (IANA), and what clouds answer their machines on. IPv6 forms that
carry an IPv4 address are refused whole: behind them may be any address.
"""

import ipaddress
from collections.abc import Sequence
from typing import Final

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_NOT_PUBLIC: Final = tuple(
    map(
        ipaddress.IPv4Network,
        (
            "0.0.0.0/8",
            "10.0.0.0/8",
            "100.64.0.0/10",
            "127.0.0.0/8",
            "168.63.129.16/32",  # what a cloud's virtual machines ask for their secrets; registered as public
            "169.254.0.0/16",
            "172.16.0.0/12",
            "192.0.0.0/24",
            "192.0.2.0/24",
            "192.31.196.0/24",
            "192.52.193.0/24",
            "192.88.99.0/24",
            "192.168.0.0/16",
            "192.175.48.0/24",
            "198.18.0.0/15",
            "198.51.100.0/24",
            "203.0.113.0/24",
            "224.0.0.0/4",
            "240.0.0.0/4",
        ),
    )
)
_GLOBAL_UNICAST: Final = ipaddress.IPv6Network("2000::/3")
"""Outside of it nothing is public: loopback, mapped (::ffff:0:0/96), NAT64 (64:ff9b::/96), private, multicast."""
_NOT_PUBLIC_6: Final = tuple(
    map(
        ipaddress.IPv6Network,
        (
            "2001::/23",  # Teredo, benchmarking, ORCHID
            "2001:db8::/32",
            "2002::/16",  # 6to4
            "2620:4f:8000::/48",
            "3fff::/20",
        ),
    )
)


def is_allowed(address: str, networks: Sequence[Network]) -> bool:
    """Whether something may be sent to an address.

    Args:
        address: as a resolver tells it.
        networks: that the operator lists beside the public internet; an IPv6 form of an IPv4 address is in none of
            IPv4's.
    """
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False  # with a zone: link-local
    if any(parsed in network for network in networks if network.version == parsed.version):
        return True
    return _is_public(parsed)


def _is_public(address: Address) -> bool:
    if isinstance(address, ipaddress.IPv4Address):
        return not any(address in network for network in _NOT_PUBLIC)
    return address in _GLOBAL_UNICAST and not any(address in network for network in _NOT_PUBLIC_6)
