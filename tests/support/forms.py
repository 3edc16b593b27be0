"""Web forms, filled in without a browser."""

from html.parser import HTMLParser
from urllib.parse import urljoin

import httpx


class Form(HTMLParser):
    """The first form of a page, with its values."""

    def __init__(self, page: httpx.Response) -> None:
        super().__init__()
        self.action = ""
        self.values: dict[str, str] = {}
        self._page = page
        self.feed(page.text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        if tag == "form" and not self.action:
            self.action = urljoin(str(self._page.url), found["action"])
        if tag == "input" and "name" in found and found.get("type") not in ("radio", "checkbox"):
            self.values[found["name"]] = found.get("value", "")


def submitted(client: httpx.Client, page: httpx.Response, **changed: str) -> httpx.Response:
    """The page after the form of `page` was submitted."""
    form = Form(page)
    return client.post(form.action, data=form.values | changed)
