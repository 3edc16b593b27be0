"""Who calls: a runner, by a token that it gets for its signed assertion, or a job, by the token in its message."""

import secrets
import uuid
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from bridge.emulator.github.jit import jit_key
from bridge.emulator.github.runner_protocol.answers import Failed, bearer, broker_error, unauthorized
from bridge.emulator.github.state import GitHubState, Job, Refused, Runner

ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
"""https://www.rfc-editor.org/rfc/rfc7523#section-2.2"""

LEEWAY = 10
"""s that the clocks may differ. `nbf` of the runner's assertions is up to 1 s ahead."""

LIFE = 3600
"""s after which a runner's token expires."""

_OURS = "HS256"
_NAMESPACE = uuid.UUID("5b0ccf1c-3b0f-4b8e-9c3a-0f6f1b1f6a10")


def guid(kind: str, number: int) -> str:
    """The same GUID each time for the same thing, such as a job or its plan."""
    return str(uuid.uuid5(_NAMESPACE, f"{kind} {number}"))


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A job that a runner took."""

    runner_id: int
    job: Job


class Identity:
    """Issues and checks the tokens of runners and jobs.

    Args:
        state: the model.
    """

    def __init__(self, state: GitHubState) -> None:
        self._state = state
        self._secret = secrets.token_hex(32)

    def sign_in(self, assertion: str, audience: str) -> Runner:
        """The runner that signed an assertion with its own key.

        The real time is used: it is the time of the runner's process.

        Args:
            assertion: PS256, or RS256 of a runner without `requireFipsCryptography`.
            audience: the URL that the runner was told to call.

        Raises:
            Failed: 400 `invalid_client`, also when the registration has been deleted.
        """
        try:
            claims = jwt.decode(assertion, options={"verify_signature": False})
            runner = self._state.by_client_id(str(claims.get("iss")))
            jwt.decode(
                assertion,
                _key_of(runner),
                algorithms=["PS256", "RS256"],
                audience=audience,
                subject=runner.client_id,
                leeway=LEEWAY,
                options={"require": ["iss", "sub", "aud", "exp", "nbf", "jti"]},
            )
        except (jwt.InvalidTokenError, Refused):
            raise Failed(400, {"error": "invalid_client"}) from None
        return runner

    def runner_token(self, runner: Runner) -> str:
        """A token for a runner."""
        return self._signed({"sub": runner.client_id, "exp": int(self._state.clock()) + LIFE})

    def job_token(self, runner: Runner, job: Job) -> str:
        """A token for a job: the runner reads `orch_id` from it."""
        return self._signed({"job": job.id, "runner": runner.id, "orch_id": orchestration_id(job)})

    def runner_of(self, request: Request) -> Runner:
        """The runner that calls.

        Raises:
            Failed: the token is not valid, or the registration has been deleted.
        """
        client_id = self._claims(bearer(request)).get("sub", "")
        try:
            return self._state.by_client_id(client_id)
        except Refused as refused:
            raise broker_error(404, "RunnerNotFound", refused.message) from None

    def claim_of(self, authorization: str) -> Claim:
        """The job that calls.

        Args:
            authorization: its token.

        Raises:
            Failed: the token is not valid.
        """
        claims = self._claims(authorization)
        job = self._state.jobs.get(claims.get("job", 0))
        if job is None:
            raise unauthorized()
        return Claim(runner_id=claims["runner"], job=job)

    def _signed(self, claims: dict[str, Any]) -> str:
        return jwt.encode(claims, self._secret, _OURS)

    def _claims(self, token: str) -> dict[str, Any]:
        try:
            claims = jwt.decode(token, self._secret, [_OURS], options={"verify_exp": False, "verify_sub": False})
        except jwt.InvalidTokenError:
            raise unauthorized() from None
        if self._state.clock() >= claims.get("exp", float("inf")):
            raise unauthorized()
        return claims


def orchestration_id(job: Job) -> str:
    """The id of a job's orchestration. It has no blanks: the runner puts it into its User-Agent."""
    return f"{guid('plan', job.id)}.job-{job.id}.__default"


def _key_of(runner: Runner) -> rsa.RSAPublicKey:
    return runner.public_key or jit_key().public_key()


class TokenService:
    """OAuth client credentials: https://www.rfc-editor.org/rfc/rfc7523

    Args:
        identity: who calls.
    """

    def __init__(self, identity: Identity) -> None:
        self._identity = identity

    async def token(self, request: Request) -> Response:
        """Exchange an assertion for a token."""
        form = dict(parse_qsl((await request.body()).decode("utf-8", "replace")))
        if form.get("grant_type") != "client_credentials" or form.get("client_assertion_type") != ASSERTION:
            return JSONResponse({"error": "unsupported_grant_type"}, 400)
        runner = self._identity.sign_in(form.get("client_assertion", ""), str(request.url))
        token = self._identity.runner_token(runner)
        return JSONResponse({"access_token": token, "token_type": "bearer", "expires_in": LIFE})
