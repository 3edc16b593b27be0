"""The page that posts the manifest to GitHub, and the server on 127.0.0.1 that receives GitHub's redirect."""

import hmac
import json
import secrets
import threading
from collections.abc import Callable, Mapping
from html import escape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

LOOPBACK = "127.0.0.1"

_HEADERS = {
    "Content-Type": "text/html; charset=utf-8",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",  # the callback's URL contains the code
    "X-Frame-Options": "DENY",
    "Connection": "close",
}


def submitting_page(form_url: str, manifest: Mapping[str, Any], owner: str) -> str:
    """A page that posts the manifest to GitHub as soon as it is opened.

    Args:
        form_url: GitHub's form, with the state.
        manifest: the App's.
        owner: shown.
    """
    value = escape(json.dumps(manifest))
    text = f"Sign in to GitHub as an owner of {escape(owner)} first. If GitHub shows 404, you are not its owner."
    form = (
        f'<form method="post" action="{escape(form_url)}"><input type="hidden" name="manifest" value="{value}">'
        '<button type="submit">Continue to GitHub</button></form>'
    )
    script = "<script>document.forms[0].submit()</script>"
    return _html("Register the GitHub App", f"<p>{text}</p>{form}{script}")


def same(given: str, expected: str) -> bool:
    """Compare two secrets in constant time."""
    return hmac.compare_digest(given.encode(errors="replace"), expected.encode())


class LocalPage:
    """A server on 127.0.0.1, as a context manager. Its page has a random address.

    Args:
        page: makes the page, given the address that GitHub redirects to.
        state: that GitHub must return.

    Attributes:
        code: from GitHub's redirect; None until then.
    """

    def __init__(self, page: Callable[[str], str], state: str) -> None:
        self.code: str | None = None
        self._state = state
        self._path = f"/{secrets.token_urlsafe(16)}"  # other users of this machine must not read the state
        self._server = ThreadingHTTPServer((LOOPBACK, 0), self._handler())
        self._server.daemon_threads = True
        self._host = f"{LOOPBACK}:{self._server.server_port}"
        self._page = page(f"http://{self._host}/callback")
        self._thread = threading.Thread(target=lambda: self._server.serve_forever(0.05), daemon=True)

    @property
    def url(self) -> str:
        """The page's address."""
        return f"http://{self._host}{self._path}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, host: str, target: str) -> tuple[int, str]:
        """The status and page for one GET.

        Args:
            host: the Host header. It must be ours: a website could point its own name at 127.0.0.1.
            target: path and query.
        """
        parts = urlsplit(target)
        if not same(host, self._host):
            return 421, _html("Wrong address", f"<p>Open {escape(self._host)} instead.</p>")
        if same(parts.path, self._path):
            return 200, self._page
        if parts.path == "/callback":
            return self._callback(parse_qs(parts.query))
        return 404, _html("Not found", "")

    def _callback(self, query: Mapping[str, list[str]]) -> tuple[int, str]:
        code, state = query.get("code", [""])[0], query.get("state", [""])[0]
        if not same(state, self._state):
            return 400, _html("Refused", "<p>This answer belongs to another set-up. Open the address again.</p>")
        if not code:
            return 400, _html("Refused", "<p>GitHub sent no code. Open the address again.</p>")
        self.code = self.code or code
        return 200, _html("The GitHub App is registered", "<p>Go back to the terminal.</p>")

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        page = self

        class Handler(BaseHTTPRequestHandler):
            timeout = 10.0  # s that a connection may be silent

            def do_GET(self) -> None:
                status, text = page.answer(self.headers.get("Host", ""), self.path)
                body = text.encode()
                self.send_response(status)
                for name, value in {**_HEADERS, "Content-Length": str(len(body))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                """Log nothing: the URL contains the code."""

        return Handler


def _html(title: str, body: str) -> str:
    return f'<!doctype html><meta charset="utf-8"><title>{title}</title><h1>{title}</h1>{body}'
