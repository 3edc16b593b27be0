"""GitHub's web pages to register an App from a manifest and to install it, and the conversion of a manifest's code.

https://docs.github.com/apps/sharing-github-apps/registering-a-github-app-from-a-manifest
https://docs.github.com/apps/using-github-apps/installing-your-own-github-app
"""

from collections.abc import Awaitable, Callable
from html import escape
from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from bridge.emulator.github import shapes
from bridge.emulator.github.access import App
from bridge.emulator.github.app_registration import Registrations
from bridge.emulator.github.state import GitHubState, Refused
from bridge.emulator.github.webhooks import Webhooks

Answer = Callable[[Request], Awaitable[Response]]


class AppPages:
    """The pages, for a browser in which `registrations.user` is signed in.

    Args:
        state: the model.
        registrations: changed by what the person does on the pages.
        base_url: where this emulator is served; known once it listens.
        webhooks: sends the App the event of its installation.
    """

    def __init__(
        self, state: GitHubState, registrations: Registrations, base_url: Callable[[], str], webhooks: Webhooks
    ) -> None:
        self._state = state
        self._registrations = registrations
        self._base_url = base_url
        self._webhooks = webhooks

    def routes(self, api_prefix: str) -> list[Route]:
        """The pages, and the API call that converts a code."""
        return [
            _page("POST", "/settings/apps/new", self._new),
            _page("POST", "/organizations/{owner}/settings/apps/new", self._new),
            _page("POST", "/settings/apps/manifest", self._confirm),
            _page("GET", "/apps/{slug}", self._app),
            _page("GET", "/apps/{slug}/installations/new", self._choose),
            _page("POST", "/apps/{slug}/installations", self._install),
            _page("GET", "/settings/installations/{id:int}", self._installed),
            _page("GET", "/organizations/{owner}/settings/installations/{id:int}", self._installed),
            Route(f"{api_prefix}/app-manifests/{{code}}/conversions", self._convert, methods=["POST"]),
        ]

    async def _new(self, request: Request) -> Response:
        form, owner = await _form(request), request.path_params.get("owner")
        try:
            number = self._registrations.begin(owner, form.get("manifest", ""), request.query_params.get("state", ""))
        except Refused as refused:
            if refused.status == 404:
                raise
            return _html("Invalid GitHub App configuration", _flash(f"Error {refused.message}"), status=422)
        return self._confirmation(number, self._registrations.pending(number).manifest.get("name", ""))

    def _confirmation(self, number: str, name: str, error: str = "") -> Response:
        owner = escape(self._registrations.pending(number).owner)
        return _html(
            f"Create GitHub App for {owner}",
            f"""{_flash(error) if error else ""}
            <form method="post" action="/settings/apps/manifest">
            <input type="hidden" name="registration" value="{escape(number)}">
            <label>GitHub App name <input name="name" value="{escape(name)}"></label>
            <button type="submit">Create GitHub App for {owner}</button></form>""",
        )

    async def _confirm(self, request: Request) -> Response:
        form = await _form(request)
        number, name = form.get("registration", ""), form.get("name", "").strip()
        try:
            made = self._registrations.confirm(number, name)
        except Refused as refused:
            if refused.status == 404:
                raise
            return self._confirmation(number, name, refused.message)
        return RedirectResponse(made.redirect(), 302)

    async def _convert(self, request: Request) -> Response:
        try:
            app = self._registrations.convert(request.path_params["code"])
        except Refused as refused:
            return JSONResponse({"message": refused.message}, refused.status)
        return JSONResponse(conversion(self._state, app, self._base_url(), api=str(request.base_url)), 201)

    def _named(self, request: Request) -> App:
        app = self._registrations.app
        if request.path_params["slug"] != app.slug:
            raise Refused(404, "Not Found")
        return app

    async def _app(self, request: Request) -> Response:
        app = self._named(request)
        link = f'<a href="/apps/{app.slug}/installations/new">Install</a>'
        return _html(escape(app.name), link)

    async def _choose(self, request: Request) -> Response:
        app = self._named(request)
        owned = [r.name for r in self._state.repositories.values() if r.owner == app.owner]
        boxes = "".join(
            f'<label><input type="checkbox" name="repository" value="{escape(name)}">{escape(name)}</label>'
            for name in owned
        )
        asked = "".join(f"<li>{escape(level)} access to {escape(name)}</li>" for name, level in app.permissions.items())
        return _html(
            f"Install {escape(app.name)}",
            f"""<p>Install on {escape(app.owner)}</p><ul>{asked}</ul>
            <form method="post" action="/apps/{app.slug}/installations">
            <label><input type="radio" name="selection" value="all" checked>All repositories</label>
            <label><input type="radio" name="selection" value="selected">Only select repositories</label>
            {boxes}<button type="submit">Install</button></form>""",
        )

    async def _install(self, request: Request) -> Response:
        app, fields = self._named(request), parse_qs((await request.body()).decode())
        chosen = fields.get("repository", []) if fields.get("selection") == ["selected"] else None
        if chosen == []:
            return _html(f"Install {escape(app.name)}", _flash("You must select at least one repository"), status=422)
        self._registrations.install(chosen)
        self._webhooks.installation()
        return RedirectResponse(f"/settings/installations/{app.installation_id}", 302)

    async def _installed(self, request: Request) -> Response:
        app = self._registrations.app
        if not app.installed or request.path_params["id"] != app.installation_id:
            raise Refused(404, "Not Found")
        return _html(f"{escape(app.name)} is installed", f"<p>On {escape(app.owner)}</p>")


def conversion(state: GitHubState, app: App, web: str, *, api: str) -> dict[str, object]:
    """The answer to a conversion: the App with its secrets, which GitHub shows only once.

    https://docs.github.com/rest/apps/apps#create-a-github-app-from-a-manifest
    """
    return {
        "id": app.app_id,
        "slug": app.slug,
        "node_id": f"A_{app.app_id}",
        "client_id": app.client_id,
        "owner": shapes.owner(state, app.owner, api.rstrip("/")),
        "name": app.name,
        "description": None,
        "external_url": web,
        "html_url": f"{web}/apps/{app.slug}",
        "created_at": shapes.EPOCH,
        "updated_at": shapes.EPOCH,
        "permissions": app.permissions,
        "events": app.events,
        "client_secret": app.client_secret,
        "webhook_secret": app.webhook_secret,
        "pem": app.pem,
    }


async def _form(request: Request) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs((await request.body()).decode()).items()}


def _page(method: str, path: str, answer: Answer) -> Route:
    async def endpoint(request: Request) -> Response:
        try:
            return await answer(request)
        except Refused as refused:
            return _html("Page not found", escape(refused.message), status=refused.status)

    return Route(path, endpoint, methods=[method])


def _flash(message: str) -> str:
    return f'<div class="flash-error">{escape(message)}</div>'


def _html(title: str, body: str, status: int = 200) -> Response:
    return HTMLResponse(f"<!doctype html><title>{title}</title><h1>{title}</h1>{body}", status)
