"""How an App comes to exist: from a manifest to a code, from the code to the App's credentials, then its installation.

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
"""Of those that GitHub knows, what an App of our kind could ask for."""

EVENTS = {"workflow_job": "actions", "workflow_run": "actions", "push": "contents", "pull_request": "pull_requests"}
"""Of the events that an App may subscribe to: the permission that each needs.

`installation` and its like are sent to every App and are refused in a manifest (facts: "fails validation").
https://docs.github.com/webhooks/webhook-events-and-payloads#workflow_job
"""


@dataclass(kw_only=True)
class Registration:
    """A manifest on its way to an App.

    Args:
        manifest: as it was posted.
        owner: of the App.
        state: returned with the code.
        expires_at: Unix seconds.
        name: the App's, once the owner has confirmed it.
        code: to be converted, once the owner has confirmed.
        converted: a code is good for one conversion.
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
    """What the signed-in person does on GitHub's pages for Apps.

    Args:
        state: the model.
        access: its one App becomes the one that is registered.

    Attributes:
        user: who is signed in.
        not_owned: organisations of which the user is no owner: GitHub shows their settings as 404.
        names: of Apps anywhere: a name is used once in the world, without case.
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
        """The App that exists."""
        return self._access.app

    def begin(self, owner: str | None, manifest: str, state: str) -> str:
        """Take a posted manifest; the id of its registration.

        Args:
            owner: an organisation; None for the user.
            manifest: JSON.
            state: what the redirect returns.

        Raises:
            Refused: GitHub does not take it.
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
        """A registration that waits for its owner's confirmation."""
        if not (found := self._pending.get(number)):
            raise Refused(404, "Not Found")
        return found

    def confirm(self, number: str, name: str) -> Registration:
        """Give the App a name, and make the code.

        Raises:
            Refused: the name is taken or none.
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
        """The App that a code stands for, from now on the one that exists; not installed.

        Raises:
            Refused: GitHub does not know the code, or no longer.
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
    """A manifest that GitHub takes.

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
    # Also of the hook, also of an inactive one, and without saying which of the two it means:
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
    """Whether GitHub accepts a webhook's host; it checks an inactive hook, too (facts: "even with active: false")."""
    try:
        return ipaddress.ip_address(host).is_global
    except ValueError:
        return "." in host and not host.endswith((".localhost", ".local", ".internal"))
