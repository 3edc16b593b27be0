"""The key of a runner, and the configuration of a just-in-time runner.

https://docs.github.com/rest/actions/self-hosted-runners#create-configuration-for-a-just-in-time-runner-for-an-organization
"""

import base64
import json
import re
from functools import cache

from cryptography.hazmat.primitives.asymmetric import rsa

from bridge.emulator.github.model import Refused, Runner

_PARTS = re.compile(r"<(Modulus|Exponent)>([A-Za-z0-9+/=\s]+)</\1>")


@cache
def jit_key() -> rsa.RSAPrivateKey:
    """The key of all just-in-time runners. GitHub makes one for each, but that costs 50 ms."""
    return rsa.generate_private_key(65537, 2048)


def public_key_of(xml: str) -> rsa.RSAPublicKey:
    """The key in a registration: .NET's XML of RSA parameters.

    Raises:
        Refused: the text has no key of at least 2048 bits.
    """
    parts = {name: int.from_bytes(base64.b64decode(value)) for name, value in _PARTS.findall(xml)}
    try:
        key = rsa.RSAPublicNumbers(parts["Exponent"], parts["Modulus"]).public_key()
    except (KeyError, ValueError):
        raise Refused(422, "Invalid request: public_key") from None
    if key.key_size < 2048:
        raise Refused(422, "Invalid request: public_key")
    return key


def jit_config(runner: Runner, base_url: str) -> str:
    """The configuration of a just-in-time runner in GitHub's encoding: base64 of a JSON object of base64 files.

    All values are texts, with other keys than those of config.sh (seen with a real runner).

    Args:
        runner: a registration that uses `jit_key`.
        base_url: of the emulator.
    """
    files = {
        ".runner": {
            "AgentId": str(runner.id),
            "AgentName": runner.name,
            "PoolId": str(runner.group_id),
            "PoolName": runner.group,
            "DisableUpdate": "True",
            "Ephemeral": "True",
            "ServerUrl": f"{base_url}/_pipelines/",
            "ServerUrlV2": f"{base_url}/_broker/",
            "UseV2Flow": "True",
            "GitHubUrl": base_url,
            "WorkFolder": "_work",
        },
        ".credentials": {
            "Scheme": "OAuth",
            "Data": {
                "ClientId": runner.client_id,
                "AuthorizationUrl": f"{base_url}/_token/oauth2/token",
                "RequireFipsCryptography": "True",
            },
        },
        ".credentials_rsaparams": _private_parameters(jit_key()),
    }
    encoded = {name: base64.b64encode(json.dumps(content).encode()).decode() for name, content in files.items()}
    return base64.b64encode(json.dumps(encoded).encode()).decode()


def _private_parameters(key: rsa.RSAPrivateKey) -> dict[str, str]:
    """The numbers of a key, big-endian."""
    private, public = key.private_numbers(), key.private_numbers().public_numbers
    numbers = {
        "d": private.d,
        "dp": private.dmp1,
        "dq": private.dmq1,
        "exponent": public.e,
        "inverseQ": private.iqmp,
        "modulus": public.n,
        "p": private.p,
        "q": private.q,
    }
    return {name: _encoded(number) for name, number in numbers.items()}


def _encoded(number: int) -> str:
    return base64.b64encode(number.to_bytes((number.bit_length() + 7) // 8)).decode()
