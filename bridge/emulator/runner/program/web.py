"""HTTP calls with JSON."""

import http.client
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode, urlsplit

TIMEOUT = 30.0
"""s for one call."""


class Unreachable(Exception):
    """There was no valid answer; try again."""


@dataclass(frozen=True)
class Answer:
    """An HTTP status below 500, and the JSON object of the answer."""

    status: int
    body: dict[str, Any]

    @property
    def ok(self) -> bool:
        """Whether the call succeeded."""
        return 200 <= self.status < 300

    @property
    def message(self) -> str:
        """The server's error message."""
        return str(self.body.get("errorMessage") or self.body.get("message") or "")

    @property
    def error_kind(self) -> str:
        """The broker's kind of an error."""
        return str(self.body.get("errorKind", ""))


def post(url: str, body: object, authorization: str = "", timeout: float = TIMEOUT) -> Answer:
    """POST JSON."""
    return call("POST", url, json.dumps(body).encode(), _headers(authorization), timeout)


def post_form(url: str, fields: Mapping[str, str]) -> Answer:
    """POST a form."""
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    return call("POST", url, urlencode(fields).encode(), headers, TIMEOUT)


def get(url: str, authorization: str = "", timeout: float = TIMEOUT) -> Answer:
    """GET, with a timeout in s."""
    return call("GET", url, None, _headers(authorization), timeout)


def call(method: str, url: str, body: bytes | None, headers: Mapping[str, str], timeout: float) -> Answer:
    """Make one call.

    Raises:
        Unreachable: no answer, an answer with a status from 500, or one that is not JSON.
    """
    parts = urlsplit(url)
    connect = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = connect(parts.netloc, timeout=timeout)
    try:
        connection.request(method, f"{parts.path or '/'}{'?' * bool(parts.query)}{parts.query}", body, dict(headers))
        response = connection.getresponse()
        return _read(response.status, response.read())
    except (OSError, http.client.HTTPException) as error:
        # In .NET's format: `Connection refused (127.0.0.1:1)`.
        why = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise Unreachable(f"{why} ({parts.netloc})") from error
    finally:
        connection.close()


def download(url: str) -> bytes:
    """GET a file.

    Raises:
        Unreachable: there was no answer, or no success.
    """
    parts = urlsplit(url)
    connect = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = connect(parts.netloc, timeout=TIMEOUT)
    try:
        connection.request("GET", parts.path)
        response = connection.getresponse()
        content = response.read()
    except (OSError, http.client.HTTPException) as error:
        raise Unreachable(f"{error} ({parts.netloc})") from error
    finally:
        connection.close()
    if response.status != 200:
        raise Unreachable(f"Response status code does not indicate success: {response.status}.")
    return content


def _headers(authorization: str) -> dict[str, str]:
    return {"Content-Type": "application/json", **({"Authorization": authorization} if authorization else {})}


def _read(status: int, content: bytes) -> Answer:
    if status >= 500:
        raise Unreachable(f"Response status code does not indicate success: {status}.")
    try:
        body = json.loads(content or b"{}")
    except ValueError as error:
        raise Unreachable(f"the answer with status {status} is not JSON") from error
    return Answer(status, body if isinstance(body, dict) else {})
