"""Converts the exceptions of RunPod's SDK to the bridge's errors, without their texts: these may hold URL and body."""

import ssl
from http import HTTPStatus
from typing import Any

from bridge.errors import AuthError, BridgeError, OutcomeUnknown, RateLimited, Rejected, Unavailable

_NO_CERTIFICATES = "Could not find a suitable TLS CA certificate bundle"
"""How the error of Requests begins when there are no certificates to trust."""

_NO_TUNNEL = "Tunnel connection failed"
"""How Python's error begins when a proxy refuses to connect to RunPod."""


def submission_error_of(call: str, error: Exception, retry_at: float) -> BridgeError:
    """The error of a call that must not be repeated unless it certainly was not accepted.

    Args:
        call: such as `RunPod: POST /ep-1/run`.
        error: the SDK's.
        retry_at: Unix seconds when the next call may be sent, if this is a rate limit.
    """
    status = _http_status(error)
    if _unsent(error) or (status is not None and 400 <= status < 500):
        return error_of(call, error, retry_at)
    return OutcomeUnknown(f"{call}: {_what(error)}; the request may have been accepted")


def error_of(call: str, error: Exception, retry_at: float) -> BridgeError:
    """The error of a call that can be repeated; arguments as `submission_error_of`."""
    status = _http_status(error)
    what = f"{call}: {_what(error)}"
    if status == 401:
        return AuthError(f"{what}: RunPod rejected RUNPOD_API_KEY; set a valid key")
    if status == 403:
        return AuthError(f"{what}: RUNPOD_API_KEY may not use this endpoint; give the key access to it")
    if status == 429:
        return RateLimited(f"{what}: rate limit reached", retry_at=retry_at)
    if status is not None and status < 500:
        return Rejected(f"{what}{_hint(status)}", status=status)
    return Unavailable(what)


def retry_after(error: Exception) -> float | None:
    """The seconds that RunPod asks to wait; None if it does not say."""
    response: Any = getattr(error, "response", None)
    value = response.headers.get("Retry-After", "") if response is not None else ""
    return float(value) if value.isdecimal() else None


def _hint(status: int) -> str:
    if status < 400:
        return ": redirects are not followed; correct RUNPOD_ENDPOINT_BASE_URL"
    return ": check the endpoint's id" if status == 404 else ""


def _what(error: Exception) -> str:
    status = _http_status(error)
    if status:
        phrase = HTTPStatus(status).phrase if status in set(HTTPStatus) else ""
        return f"{status} {phrase}".rstrip()
    kind = type(error).__name__
    if _unsendable(error):
        return f"nothing was sent ({kind}); check RUNPOD_API_KEY, RUNPOD_ENDPOINT_BASE_URL and the certificates"
    if _unreached(error):
        return f"nothing was sent ({kind}); check the network and the proxy"
    return f"no readable answer ({kind})"


def _http_status(error: Exception) -> int | None:
    if isinstance(error, RuntimeError) and str(error).startswith("401"):
        return 401  # the SDK raises its own error for it
    response = getattr(error, "response", None)
    return None if response is None else int(response.status_code)


def _unsent(error: Exception) -> bool:
    """Whether nothing was sent, so that nothing can have been accepted."""
    return _unsendable(error) or _unreached(error)


def _unsendable(error: Exception) -> bool:
    """Whether the request could not be built: because of an invalid key or address, or missing certificates."""
    from requests.exceptions import InvalidHeader, InvalidSchema, InvalidURL, MissingSchema

    if isinstance(error, (InvalidHeader, InvalidSchema, InvalidURL, MissingSchema, UnicodeEncodeError)):
        return True
    return type(error) is OSError and str(error).startswith(_NO_CERTIFICATES)


def _unreached(error: Exception) -> bool:
    """Whether there was no connection to send the request over."""
    from requests import ConnectionError as NoConnection
    from urllib3.exceptions import ConnectTimeoutError, ProxyError  # NewConnectionError is a ConnectTimeoutError

    cause = error.args[0] if isinstance(error, NoConnection) and error.args else None
    reason = getattr(cause, "reason", None)
    if isinstance(reason, ProxyError):  # this alone proves nothing: the proxy may have forwarded the request
        reason = reason.original_error
        if str(reason).startswith(_NO_TUNNEL):
            return True
    untrusted = any(isinstance(each, ssl.SSLCertVerificationError) for each in getattr(reason, "args", ()))
    return untrusted or isinstance(reason, ConnectTimeoutError)
