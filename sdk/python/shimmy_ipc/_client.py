"""The connection to the agent, and what channels are made with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

from . import _shimmy

if TYPE_CHECKING:
    from ._endpoints import Consumer, Producer, Publisher, Subscriber

WaitMode = Literal["adaptive", "spin", "sleep"]
Start = Literal["newest", "oldest"]

_WAIT_MODES: dict[str, int] = {"adaptive": 0, "spin": 1, "sleep": 2}
_STARTS: dict[str, int] = {"newest": 0, "oldest": 1}
_CREATE = 1


class LockBased(NamedTuple):
    """Makes a lock-based channel if there is none; 0 is the default of each."""

    blocks: int = 0
    block_bytes: int = 0
    max_loans: int = 0


class LockFree(NamedTuple):
    """Makes a lock-free channel if there is none; 0 is the default of each."""

    blocks: int = 0
    block_bytes: int = 0
    max_loans: int = 0
    readers: int = 0
    time_to_live_ms: int = 0


class Info(NamedTuple):
    """What is known of a channel and of one's role in it."""

    topic: str
    """`namespace/name`"""
    channel: int
    kind: Literal["lock", "lockfree"]
    blocks: int
    block_bytes: int
    readers: int
    time_to_live_ms: int
    max_loans: int
    state: Literal["live", "standby", "over"]
    peers: int
    max_bytes: int
    """Size of the largest message."""


class Counters(NamedTuple):
    """Sums since an endpoint was attached."""

    messages: int
    bytes: int
    missed: int
    missed_unknown: int
    expired: int
    wakes: int
    bells: int
    sleeps: int
    links: int
    rings: int
    dropped_peers: int


class Client(_shimmy.Client):
    """This process's connection to its node's agent.

    `socket` is a path, or a name behind "@"; by default that of the environment's
    SHIMMY_FD_SOCKET, else "@shimmy/fd". `timeout` is for the agent to answer, in seconds.
    Closing it closes its endpoints.
    """

    def producer(
        self, topic: str, *, create: LockBased | None = None, wait_mode: WaitMode = "adaptive"
    ) -> Producer:
        """Takes the role of a lock-based channel's writer."""
        from ._endpoints import Producer

        return Producer(self, topic, 1, **_options(wait_mode, create))

    def consumer(
        self, topic: str, *, create: LockBased | None = None, wait_mode: WaitMode = "adaptive"
    ) -> Consumer:
        """Takes the role of a lock-based channel's reader."""
        from ._endpoints import Consumer

        return Consumer(self, topic, 2, **_options(wait_mode, create))

    def publisher(
        self, topic: str, *, create: LockFree | None = None, wait_mode: WaitMode = "adaptive"
    ) -> Publisher:
        """Takes the role of a writer of a lock-free channel."""
        from ._endpoints import Publisher

        return Publisher(self, topic, 3, **_options(wait_mode, create))

    def subscriber(
        self,
        topic: str,
        *,
        start: Start = "newest",
        create: LockFree | None = None,
        wait_mode: WaitMode = "adaptive",
    ) -> Subscriber:
        """Takes the role of a reader of a lock-free channel."""
        from ._endpoints import Subscriber

        if start not in _STARTS:
            raise ValueError(f"start is newest or oldest, not {start!r}")
        return Subscriber(self, topic, 4, start=_STARTS[start], **_options(wait_mode, create))


def _options(wait_mode: str, create: LockBased | LockFree | None) -> dict[str, int]:
    if wait_mode not in _WAIT_MODES:
        raise ValueError(f"wait_mode is adaptive, spin or sleep, not {wait_mode!r}")
    options = {"wait_mode": _WAIT_MODES[wait_mode]}
    if create is None:
        return options
    kind = 1 if isinstance(create, LockBased) else 2
    return {**options, "flags": _CREATE, "kind": kind, **create._asdict()}
