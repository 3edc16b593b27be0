"""The runner's token: OAuth client credentials with an assertion that its own key signs."""

import time
import uuid

from . import web
from .keys import signed_token
from .settings import Credentials

ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
LIFE = 300
"""s for which an assertion is valid."""


class RegistrationDeleted(Exception):
    """The server does not know the runner any more."""


def new_token(credentials: Credentials) -> str:
    """A new token.

    Raises:
        RegistrationDeleted: the server answered `invalid_client`.
        Unreachable: there was no valid answer.
    """
    answer = web.post_form(
        credentials.authorization_url,
        {
            "grant_type": "client_credentials",
            "client_assertion_type": ASSERTION,
            "client_assertion": _assertion(credentials),
        },
    )
    if answer.body.get("error") == "invalid_client":
        raise RegistrationDeleted
    if not answer.ok or "access_token" not in answer.body:
        raise web.Unreachable(f"Response status code does not indicate success: {answer.status}.")
    return str(answer.body["access_token"])


def _assertion(credentials: Credentials) -> str:
    now = int(time.time())
    claims = {
        "iss": credentials.client_id,
        "sub": credentials.client_id,
        "aud": credentials.authorization_url,
        "nbf": now,
        "exp": now + LIFE,
        "jti": str(uuid.uuid4()),
    }
    return signed_token(credentials.key, claims, algorithm="PS256" if credentials.fips else "RS256")
