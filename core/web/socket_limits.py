"""The limits of the page's WebSocket: sockets open at the same time, and page runs per second."""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Callable
from dataclasses import dataclass

from core.web.guard import MAX_BODY_BYTES

Clock = Callable[[], float]
# The part of an IPv6 address that a provider gives to one customer.
_IPV6_CUSTOMER_BITS = 64
_MAX_IDLE_ALLOWANCES = 1_000


@dataclass(frozen=True, slots=True)
class SocketLimits:
    """SocketLimits of one socket, user or address.

    - `sockets`: sockets that may be open at the same time.
    - `burst`: page runs that may start at once.
    - `rate`: page runs per second after the burst.
    """

    sockets: int
    burst: float
    rate: float


@dataclass(frozen=True, slots=True)
class Policy:
    """The limits of a signed-in user or of a visitor.

    `max_bytes` is the size of the largest message. `socket` applies to each socket, and `owner` to all
    sockets of the user together. For visitors, `owner` applies to all who have the same address together.
    """

    max_bytes: int
    socket: SocketLimits
    owner: SocketLimits


# A page run takes 10 to 50 ms of a core. A browser that was recorded on a tour through all pages started at
# most 4 runs in a second, and 12 in five seconds. Polls of a fragment count as a quarter of a run.
SIGNED_IN = Policy(MAX_BODY_BYTES, socket=SocketLimits(1, 10, 4), owner=SocketLimits(50, 12, 5))
VISITOR = Policy(16 * 1024, socket=SocketLimits(1, 5, 1), owner=SocketLimits(200, 40, 8))
# A team of hundreds may share an address: an office's, or that of a proxy missing from TRUSTED_PROXIES.
ADDRESS = SocketLimits(2_000, 400, 100)


class TokenBucket:
    """`burst` tokens, to which `rate` tokens are added per second until there are `burst` again."""

    def __init__(self, burst: float, rate: float, clock: Clock) -> None:
        self._burst, self._rate, self._clock = burst, rate, clock
        self._tokens, self._updated = burst, clock()

    def take(self, tokens: float) -> float:
        """Take `tokens`, as a debt if there are too few. Return the seconds until the debt is paid."""
        self._refill()
        self._tokens -= tokens
        return max(0.0, -self._tokens / self._rate)

    def wait(self, tokens: float) -> float:
        """Return the seconds until there are `tokens`, or until the bucket is full if that is earlier."""
        self._refill()
        return max(0.0, (min(tokens, self._burst) - self._tokens) / self._rate)

    @property
    def is_full(self) -> bool:
        self._refill()
        return self._tokens == self._burst

    def _refill(self) -> None:
        now = self._clock()
        self._tokens = min(self._burst, self._tokens + (now - self._updated) * self._rate)
        self._updated = now


class Allowance:
    """The allowance of one user, or of one address: the number of its open sockets, and its page runs."""

    def __init__(self, limits: SocketLimits, clock: Clock) -> None:
        self._max_sockets = limits.sockets
        self.sockets = 0
        self.bucket = TokenBucket(limits.burst, limits.rate, clock)

    @property
    def has_room(self) -> bool:
        return self.sockets < self._max_sockets

    @property
    def is_idle(self) -> bool:
        return not self.sockets and self.bucket.is_full


class Allowances:
    """The allowances of all users and addresses of this process, by their keys."""

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self.clock = clock
        self._allowances: dict[str, Allowance] = {}

    def of_address(self, address: str) -> Allowance:
        """Return the allowance that all sockets from `address` have in common, of users and of visitors."""
        return self._allowance(f"address {network_of(address)}", ADDRESS)

    def of_owner(self, user_id: str | None, address: str) -> Allowance:
        """Return the allowance of a user, or of all visitors from `address` if `user_id` is None."""
        if user_id is not None:
            return self._allowance(f"user {user_id}", SIGNED_IN.owner)
        return self._allowance(f"visitor {network_of(address)}", VISITOR.owner)

    def _allowance(self, key: str, limits: SocketLimits) -> Allowance:
        if key not in self._allowances:
            if len(self._allowances) >= _MAX_IDLE_ALLOWANCES:
                self._allowances = {
                    name: allowance for name, allowance in self._allowances.items() if not allowance.is_idle
                }
            self._allowances[key] = Allowance(limits, self.clock)
        return self._allowances[key]


def network_of(address: str) -> str:
    """Return the network that counts as one address: an IPv4 address, or the /64 network of an IPv6 address.

    Other texts are returned unchanged. On a Unix socket, for example, `address` is empty.
    """
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((int(parsed), _IPV6_CUSTOMER_BITS), strict=False))
