"""Registers an App: a manifest leads to a code, the code to the App's credentials; then the App is installed.

https://docs.github.com/apps/sharing-github-apps/registering-a-github-app-from-a-manifest
"""

import ipaddress
import json
import re
import secrets
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.asymmetric import rsa

from bridge.emulator.github.access import Access, App
from bridge.emulator.github.state import GitHubState, Refused

LIFE = 3600.0
"""s in which all steps must be done: "You must complete all three steps in the manifest flow within one hour"."""

LONGEST_NAME = 34
"""Characters, says the form."""

PERMISSIONS = frozenset(
    """actions administration checks contents deployments issues members metadata organization_administration
    organization_self_hosted_runners pull_requests secrets statuses workflows""".split()
)
"""Some of GitHub's permissions: those that an App like the bridge's could request."""

EVENTS = {"workflow_job": "actions", "workflow_run": "actions", "push": "contents", "pull_request": "pull_requests"}
"""Some of the events that an App may subscribe to, with the permission that each needs.

`installation` and similar events go to every App; GitHub refuses a manifest that lists them.
https://docs.github.com/webhooks/webhook-events-and-payloads#workflow_job
"""


@dataclass(kw_only=True)
class Registration:
    """A manifest that was posted, until its App exists.

    Args:
        manifest: as it was posted.
        owner: of the App.
        state: returned with the code.
        expires_at: Unix seconds.
        name: the App's, once the owner has confirmed it.
        code: to be converted, once the owner has confirmed.
        converted: whether the code was used; it works once.
    """

    manifest: Mapping[str, Any]
    owner: str
    state: str
    expires_at: float
    name: str = ""
    code: str = ""
    converted: bool = False

    def redirect(self) -> str:
        """Where the browser is sent with the code."""
        given = self.manifest["redirect_url"]
        return f"{given}{'&' if '?' in given else '?'}code={self.code}&state={self.state}"


class Registrations:
    """Registers and installs Apps, as the person who is signed in at GitHub.

    Args:
        state: the model.
        access: has one App; a new registration replaces it.

    Attributes:
        user: who is signed in.
        not_owned: organisations that the user does not own: GitHub answers 404 for their settings.
        names: of all Apps: a name must be unique, and case does not matter.
    """

    def __init__(self, state: GitHubState, access: Access) -> None:
        self.user = "octocat"
        self.not_owned: set[str] = set()
        self.names = {access.app.name}
        self._state = state
        self._access = access
        self._pending: dict[str, Registration] = {}
        self._by_code: dict[str, Registration] = {}

    @property
    def app(self) -> App:
        """The current App."""
        return self._access.app

    def begin(self, owner: str | None, manifest: str, state: str) -> str:
        """Accept a posted manifest; returns the id of its registration.

        Args:
            owner: an organisation; None for the user.
            manifest: JSON.
            state: returned with the redirect.

        Raises:
            Refused: GitHub does not accept it.
        """
        if owner is not None and (owner not in self._state.organisations or owner in self.not_owned):
            raise Refused(404, "Not Found")
        number = secrets.token_hex(8)
        self._pending[number] = Registration(
            manifest=checked(manifest),
            owner=owner or self.user,
            state=state,
            expires_at=self._state.clock() + LIFE,
        )
        return number

    def pending(self, number: str) -> Registration:
        """A registration that its owner has not confirmed yet."""
        if not (found := self._pending.get(number)):
            raise Refused(404, "Not Found")
        return found

    def confirm(self, number: str, name: str) -> Registration:
        """Give the App its name, and create the code.

        Raises:
            Refused: the name is taken, empty or too long.
        """
        made = self.pending(number)
        if not name or len(name) > LONGEST_NAME:
            raise Refused(422, f"Name is too long (maximum is {LONGEST_NAME} characters)" if name else "Name is empty")
        if name.lower() in {each.lower() for each in self.names}:
            raise Refused(422, "Name is already taken")
        self.names.add(name)
        made.name, made.code = name, secrets.token_hex(20)
        self._by_code[made.code] = self._pending.pop(number)
        return made

    def convert(self, code: str) -> App:
        """Create the App of a code. It replaces the current App, and is not installed yet.

        Raises:
            Refused: the code is unknown, was used or has expired.
        """
        made = self._by_code.get(code)
        if made is None or made.converted or self._state.clock() >= made.expires_at:
            raise Refused(404, "Not Found")
        made.converted = True
        hook = made.manifest.get("hook_attributes") or {}
        app = self._access.app
        app.owner, app.name, app.slug = made.owner, made.name, re.sub(r"[^a-z0-9]+", "-", made.name.lower()).strip("-")
        app.app_id, app.installation_id = self._state.next_id(), self._state.next_id()
        app.client_id = f"Iv23li{secrets.token_hex(7)}"
        app.key = rsa.generate_private_key(65537, 2048)
        app.permissions = {"metadata": "read", **made.manifest.get("default_permissions", {})}
        app.events = list(made.manifest.get("default_events", ()))
        app.webhook_url = hook["url"] if hook.get("active", True) and hook else None
        app.webhook_secret = secrets.token_hex(20)
        app.installed, app.suspended, app.repositories = False, False, None
        self._access.revoke()
        return app

    def install(self, repositories: Collection[str] | None) -> None:
        """Install the App on its owner.

        Args:
            repositories: names of those selected; None for all.
        """
        self.app.installed = True
        self.app.repositories = None if repositories is None else frozenset(repositories)


def checked(text: str) -> Mapping[str, Any]:
    """Parse a manifest, and check it as GitHub does.

    Raises:
        Refused: as GitHub words it on its page "Invalid GitHub App configuration".
    """
    try:
        manifest = json.loads(text)
    except ValueError:
        manifest = None
    if not isinstance(manifest, dict):
        raise Refused(422, "The configuration does not appear to be a valid GitHub App manifest.")
    hook = manifest.get("hook_attributes")
    # GitHub also needs the hook's URL, even if the hook is inactive, and names it with the same words:
    # https://github.com/vikasprogrammer/agentric/pull/317
    if not manifest.get("url") or (hook is not None and not hook.get("url")):
        raise Refused(422, '"url" wasn\'t supplied.')
    if hook and not _is_public(urlsplit(hook["url"]).hostname or ""):
        host = urlsplit(hook["url"]).hostname
        raise Refused(422, f"Hook url is not supported because it isn't reachable over the public Internet ({host})")
    if urlsplit(manifest.get("redirect_url") or "").scheme not in ("http", "https"):
        raise Refused(422, "Redirect url must be a URL")
    _check_access(manifest.get("default_permissions", {}), manifest.get("default_events", ()))
    return manifest


def _check_access(permissions: Mapping[str, str], events: Collection[str]) -> None:
    if any(name not in PERMISSIONS or level not in ("read", "write", "admin") for name, level in permissions.items()):
        raise Refused(422, "Default permission records resource is not included in the list")
    unsupported = sorted(set(events) - EVENTS.keys())
    if unsupported:
        raise Refused(422, f"Default events unsupported: {', '.join(unsupported)}")
    if bare := [event for event in events if EVENTS[event] not in permissions]:
        raise Refused(422, f"Default events are not supported by permissions: {', '.join(bare)}")


def _is_public(host: str) -> bool:
    """Whether GitHub accepts a webhook's host. It checks an inactive hook, too."""
    try:
        return ipaddress.ip_address(host).is_global
    except ValueError:
        return "." in host and not host.endswith((".localhost", ".local", ".internal"))
