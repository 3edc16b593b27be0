"""The private protocol between this stand-in and the emulated GitHub."""

import http.client
import json
from dataclasses import dataclass
from urllib.parse import urlsplit

PREFIX = "/_runner"


class Unreachable(Exception):
    """There was no valid answer; try again."""


@dataclass(frozen=True)
class Answer:
    """An HTTP status below 500, and the JSON object of the answer."""

    status: int
    body: dict[str, object]

    @property
    def message(self) -> str:
        """The server's error message."""
        return str(self.body.get("message", ""))

    @property
    def deprecated(self) -> bool:
        """Whether the server refuses this runner version."""
        return self.status == 403 and self.message == "version_deprecated"


class Server:
    """A client of the emulator for one runner.

    Args:
        url: any URL of the emulator.
        credential: the runner's bearer credential, if it has one.
    """

    def __init__(self, url: str, credential: str = "") -> None:
        parts = urlsplit(url)
        self.url = f"{parts.scheme}://{parts.netloc}"
        self._connect = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self._netloc = parts.netloc
        self._headers = {"Content-Type": "application/json"}
        if credential:
            self._headers["Authorization"] = f"Bearer {credential}"

    def post(self, path: str, body: dict[str, object] | None = None) -> Answer:
        """POST a JSON object."""
        return self._call("POST", path, body or {})

    def delete(self, path: str) -> Answer:
        """DELETE."""
        return self._call("DELETE", path, None)

    def get(self, path: str, timeout: float) -> Answer:
        """GET, with a timeout in s."""
        return self._call("GET", path, None, timeout)

    def _call(self, method: str, path: str, body: dict[str, object] | None, timeout: float = 30.0) -> Answer:
        connection = self._connect(self._netloc, timeout=timeout)
        try:
            connection.request(method, PREFIX + path, None if body is None else json.dumps(body), self._headers)
            response = connection.getresponse()
            return _read(response.status, response.read())
        except (OSError, http.client.HTTPException) as error:
            # In .NET's format: `Connection refused (127.0.0.1:1)`.
            why = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise Unreachable(f"{why} ({self._netloc})") from error
        finally:
            connection.close()


def _read(status: int, content: bytes) -> Answer:
    if status >= 500:
        raise Unreachable(f"Response status code does not indicate success: {status}.")
    try:
        body = json.loads(content or b"{}")
    except ValueError as error:
        raise Unreachable(f"the answer with status {status} is not JSON") from error
    return Answer(status, body if isinstance(body, dict) else {})
