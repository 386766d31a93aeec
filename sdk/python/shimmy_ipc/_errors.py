"""What is raised. Match on the class or on `code`: messages may change in any release."""

from typing import Any

from . import _shimmy

# Of sdk/c/include/shimmy.h, enum shimmy_status.
_AGAIN, _END, _UNAVAILABLE = -1, -2, -10


class ShimmyError(Exception):
    """Every error of Shimmy. Codes are explained in docs/reference/errors.md."""

    def __init__(self, message: str, *, code: str, reason: str = "", status: int = 0) -> None:
        super().__init__(message)
        self.code = code
        """`SHIMMY_ERR_…`"""
        self.reason = reason
        """With `SHIMMY_ERR_TOPIC_DENIED` one of the topic reasons, else empty."""
        self.status = status
        """The `shimmy_status` of the C library."""

    def __str__(self) -> str:
        return f"{self.code}: {self.args[0]}"


class ShimmyTimeout(ShimmyError, TimeoutError):
    """There was no message, or no room, in time. Nothing was lost."""


class EndOfChannel(ShimmyError, EOFError):
    """The writer has ended the channel, and everything was read; or we have, and publish."""


class AgentUnavailable(ShimmyError, ConnectionError):
    """No agent answers."""


class TopicDenied(ShimmyError, PermissionError):
    """The agent does not allow this role in this topic; `reason` says why."""


def _make_error(status: int, code: str, reason: str, message: str) -> ShimmyError:
    made: type[ShimmyError] = ShimmyError
    if status == _AGAIN:
        made = ShimmyTimeout
    elif status == _END:
        made = EndOfChannel
    elif status == _UNAVAILABLE:
        made = AgentUnavailable
    elif code == "SHIMMY_ERR_TOPIC_DENIED":
        made = TopicDenied
    return made(message or code, code=code, reason=reason, status=status)


def _make_array(buffer: Any, dtype: Any, shape: Any) -> Any:
    import numpy

    array = numpy.frombuffer(buffer, dtype=dtype)
    return array if shape is None else array.reshape(shape)


_shimmy.register(_make_error, _make_array)
