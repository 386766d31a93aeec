"""Shimmy's channels: topics whose messages go from process to process through shared memory.

    from shimmy_ipc import Client, LockBased

    with Client() as client, client.producer("jobs", create=LockBased()) as producer:
        producer.publish(b"hello")

A lock-based channel (`Producer`, `Consumer`) hands each message to one reader, a lock-free one
(`Publisher`, `Subscriber`) to all. Reference: docs/reference/sdk-python.md.
"""

from ._client import Client, Counters, Info, LockBased, LockFree
from ._endpoints import Consumer, Producer, Publisher, Subscriber
from ._errors import (
    AgentUnavailable,
    EndOfChannel,
    ShimmyError,
    ShimmyTimeout,
    TopicDenied,
)
from ._shimmy import Loan, Message, MessageInto, Room
from ._shimmy import version as __version__

__all__ = [
    "AgentUnavailable",
    "Client",
    "Consumer",
    "Counters",
    "EndOfChannel",
    "Info",
    "Loan",
    "LockBased",
    "LockFree",
    "Message",
    "MessageInto",
    "Producer",
    "Publisher",
    "Room",
    "ShimmyError",
    "ShimmyTimeout",
    "Subscriber",
    "TopicDenied",
    "__version__",
]
