"""The stand-in's own RSA agrees with a real library."""

from xml.etree import ElementTree

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from bridge.emulator.github.jit import public_key_of
from bridge.emulator.runner.program import keys
from tests.emulator.runner_client import private_key


@pytest.fixture(scope="module")
def key() -> dict[str, int]:
    return keys.new_key()


def test_a_new_key_is_valid(key: dict[str, int]) -> None:
    assert private_key(keys.to_text(key)).key_size == 2048
    assert keys.from_text(keys.to_text(key)) == key


def test_the_server_reads_the_public_key(key: dict[str, int]) -> None:
    text = keys.public_xml(key)
    assert [element.tag for element in ElementTree.fromstring(text)] == ["Modulus", "Exponent"]
    assert public_key_of(text).public_numbers() == rsa.RSAPublicNumbers(65537, key["modulus"])


@pytest.mark.parametrize("algorithm", ["PS256", "RS256"])
def test_a_library_accepts_its_tokens(key: dict[str, int], algorithm: str) -> None:
    public = rsa.RSAPublicNumbers(key["exponent"], key["modulus"]).public_key()
    for number in range(8):
        token = keys.signed_token(key, {"n": number}, algorithm=algorithm)
        assert jwt.decode(token, public, [algorithm]) == {"n": number}
