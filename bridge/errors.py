"""What can go wrong outside, each error named by what its caller does next."""


class BridgeError(Exception):
    """One clear line: what happened, and what fixes it. Never holds a secret or an unknown body."""


class ConfigError(BridgeError):
    """A setting is missing, unknown or impossible; nothing was started."""


class AuthError(BridgeError):
    """A credential was refused, or lacks a permission: retrying does not help; fix the configuration."""


class RateLimited(BridgeError):
    """The service asks to wait; nothing was done.

    Args:
        message: one line, with the service's request id where it gave one.
        retry_at: Unix time in seconds before which no call should be made.
    """

    def __init__(self, message: str, *, retry_at: float) -> None:
        super().__init__(message)
        self.retry_at = retry_at


class Paced(RateLimited):
    """Not sent: calls are spread over the time so that the service's limit is not met."""


class Unavailable(BridgeError):
    """The service could not be reached or broke down; nothing was changed, try again later."""


class TooManyDeliveries(BridgeError):
    """The delivery log holds more than one look may read; a scan of the repositories is cheaper.

    Args:
        message: one line.
        newest: Unix seconds of GitHub's clock, when the newest delivery was sent.
    """

    def __init__(self, message: str, *, newest: float) -> None:
        super().__init__(message)
        self.newest = newest


class Rejected(BridgeError):
    """The service understood and refused; the same call will be refused again.

    Args:
        message: one line, with the service's request id where it gave one.
        status: the HTTP status code.
    """

    def __init__(self, message: str, *, status: int) -> None:
        super().__init__(message)
        self.status = status


class NameTaken(Rejected):
    """GitHub knows a runner of this name already (409)."""


class OutcomeUnknown(BridgeError):
    """A call that changes something was sent and its answer did not come: it may have been accepted."""


class Malformed(Exception):
    """A signed delivery that cannot be read; it says which field is wrong."""
