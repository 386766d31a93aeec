"""The four roles. What waits is a call of the extension; what is awaited is here."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from types import TracebackType
from typing import Any, Self, TypeVar

from . import _shimmy
from ._client import Counters, Info
from ._errors import EndOfChannel, ShimmyTimeout

T = TypeVar("T")

_KINDS = {1: "lock", 2: "lockfree"}
_STATES = {1: "live", 2: "standby", 3: "over"}


class _Endpoint(_shimmy.Endpoint):
    """What all roles have. Calls may be made from any thread; awaited ones from one event loop."""

    _turn: asyncio.Lock | None = None
    _waiting: asyncio.Future[None] | None = None

    def describe(self) -> Info:
        """Says what is known of the channel, and of this role in it."""
        topic, channel, kind, *sizes, state, peers, max_bytes = self._describe()
        return Info(
            topic, channel, _KINDS[kind], *sizes, _STATES[state], peers, max_bytes  # type: ignore
        )

    def counters(self) -> Counters:
        """Sums since the endpoint was attached."""
        return Counters(*self._counters())

    def close(self) -> None:
        """Gives the role up; the channel is not ended. Calls that wait raise ShimmyError.

        Raises BufferError while views of a loan or a room exist.
        """
        if not self.is_closed:
            waiting = self._waiting
            fd = self.fileno()
            self._close()
            if waiting is not None:
                waiting.get_loop().call_soon_threadsafe(_wake, waiting, fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    async def _until(
        self, attempt: Callable[[], T], timeout: float | None, size: int = 0
    ) -> T:
        """Calls `attempt` until it does not raise ShimmyTimeout; in the order of the callers."""
        if self._turn is None:
            self._turn = asyncio.Lock()
        # Nothing is awaited between an attempt that succeeds and the return: no message is lost.
        async with asyncio.timeout(timeout), self._turn:
            while True:
                try:
                    return attempt()
                except ShimmyTimeout:
                    if not self.arm(size):
                        await self._readable()

    async def _readable(self) -> None:
        loop = asyncio.get_running_loop()
        waiting = loop.create_future()
        fd = self.fileno()
        self._waiting = waiting
        loop.add_reader(fd, _wake, waiting, fd)
        try:
            await waiting
        finally:
            self._waiting = None
            if not self.is_closed:
                loop.remove_reader(fd)


def _wake(waiting: asyncio.Future[None], fd: int) -> None:
    waiting.get_loop().remove_reader(fd)
    if not waiting.done():
        waiting.set_result(None)


async def _in_time(awaited: Any, timeout: float | None) -> Any:
    """Awaits with a timeout that is Shimmy's."""
    try:
        return await awaited
    except TimeoutError as err:
        if isinstance(err, ShimmyTimeout) or timeout is None:
            raise
        raise ShimmyTimeout(
            "there was no message, or no room, in time", code="SHIMMY_ERR_TIMEOUT", status=-1
        ) from None


class _Writer(_Endpoint):
    publish = _shimmy.Endpoint._publish
    try_publish = _shimmy.Endpoint._try_publish
    reserve = _shimmy.Endpoint._reserve
    try_reserve = _shimmy.Endpoint._try_reserve
    end = _shimmy.Endpoint._end

    async def apublish(self, data: Any, timeout: float | None = None) -> None:
        """As `publish`; other tasks run meanwhile."""
        size = memoryview(data).nbytes
        await _in_time(self._until(lambda: self._publish(data, 0), timeout, size), timeout)

    async def areserve(self, size: int, timeout: float | None = None) -> _shimmy.Room:
        """As `reserve`; other tasks run meanwhile."""
        room = await _in_time(self._until(lambda: self._reserve(size, 0), timeout, size), timeout)
        return room  # type: ignore[no-any-return]


class _Reader(_Endpoint):
    take = _shimmy.Endpoint._take
    try_take = _shimmy.Endpoint._try_take
    take_into = _shimmy.Endpoint._take_into
    loan = _shimmy.Endpoint._loan
    try_loan = _shimmy.Endpoint._try_loan

    async def atake(self, timeout: float | None = None) -> _shimmy.Message:
        """As `take`; other tasks run meanwhile."""
        message = await _in_time(self._until(lambda: self._take(0), timeout), timeout)
        return message  # type: ignore[no-any-return]

    async def aloan(self, timeout: float | None = None) -> _shimmy.Loan:
        """As `loan`; other tasks run meanwhile."""
        loan = await _in_time(self._until(lambda: self._loan(0), timeout), timeout)
        return loan  # type: ignore[no-any-return]

    def __iter__(self) -> Iterator[_shimmy.Message]:
        """Messages until the channel is ended."""
        while True:
            try:
                message = self._take()
            except EndOfChannel:
                return
            yield message

    async def __aiter__(self) -> AsyncIterator[_shimmy.Message]:
        """Messages until the channel is ended; other tasks run meanwhile."""
        while True:
            try:
                message = await self.atake()
            except EndOfChannel:
                return
            yield message


class Producer(_Writer):
    """Writes to a lock-based channel. A standby waits as on a full one, until it takes over."""

    drain = _shimmy.Endpoint._drain


class Consumer(_Reader):
    """Reads a lock-based channel: each message once. A standby waits as on an empty one."""


class Publisher(_Writer):
    """Writes to a lock-free channel, for every subscriber."""


class Subscriber(_Reader):
    """Reads every message of a lock-free channel, unless it is too slow: see `Message.missed`."""
