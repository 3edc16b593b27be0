"""What can fail, each error named by what its caller does next."""

from dataclasses import dataclass, field


class BridgeError(Exception):
    """A failure in one line: what happened, where, and what to do. It never holds a secret or an unknown body.

    Args:
        message: that line.
        request_id: the service's id of the request that failed, None if it gave none.
    """

    def __init__(self, message: str, *, request_id: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.request_id = request_id

    def __str__(self) -> str:
        """The line, with the request's id at its end."""
        return _line(self.message, self.request_id)


@dataclass(frozen=True)
class Problem:
    """What a pass could not do. Two problems are equal if they differ only in the request that failed.

    Args:
        message: one line for a person.
        request_id: as of BridgeError.
    """

    message: str
    request_id: str | None = field(default=None, compare=False)

    @classmethod
    def of(cls, error: BridgeError) -> "Problem":
        """What an error says."""
        return cls(error.message, error.request_id)

    def __str__(self) -> str:
        """The line, with the request's id at its end."""
        return _line(self.message, self.request_id)


def _line(message: str, request_id: str | None) -> str:
    return f"{message} (request {request_id})" if request_id else message


class ConfigError(BridgeError):
    """A setting is missing, unknown or impossible; nothing was started."""


class AuthError(BridgeError):
    """A credential was refused, or lacks a permission: retrying does not help; fix the configuration."""


class RateLimited(BridgeError):
    """The service asks to wait; nothing was done.

    Args:
        message: as of BridgeError.
        retry_at: Unix time in seconds before which no call should be made.
        request_id: as of BridgeError.
    """

    def __init__(self, message: str, *, retry_at: float, request_id: str | None = None) -> None:
        super().__init__(message, request_id=request_id)
        self.retry_at = retry_at


class Paced(RateLimited):
    """Not sent: the bridge spreads its calls over time to stay below the service's rate limit."""


class Unavailable(BridgeError):
    """The service could not be reached or failed; nothing was changed, try again later."""


class TooManyDeliveries(BridgeError):
    """The delivery log holds more than one pass may read; a scan of the repositories needs fewer calls.

    Args:
        message: as of BridgeError.
        newest: Unix seconds of GitHub's clock, when the newest delivery was sent.
    """

    def __init__(self, message: str, *, newest: float) -> None:
        super().__init__(message)
        self.newest = newest


class Rejected(BridgeError):
    """The service understood the call and refused it; it will refuse the same call again.

    Args:
        message: as of BridgeError.
        status: the HTTP status code.
        request_id: as of BridgeError.
    """

    def __init__(self, message: str, *, status: int, request_id: str | None = None) -> None:
        super().__init__(message, request_id=request_id)
        self.status = status


class NameTaken(Rejected):
    """GitHub has a runner of this name already (409)."""


class NotYet(BridgeError):
    """The service refused the call because of a state that ends by itself; nothing was changed, try again later."""


class OutcomeUnknown(BridgeError):
    """A call that changes something was sent and got no answer: it may have been accepted."""


class Malformed(Exception):
    """A signed delivery that cannot be read; the message names the field that is wrong."""
