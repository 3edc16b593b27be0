"""Malformed deliveries, made from a valid one."""

import json
import random
from collections.abc import Callable
from copy import deepcopy
from typing import Any
from urllib.parse import quote_plus

ODD: list[Any] = [
    None, True, False, 0, -1, 2**31, 2**63 - 1, 2**63, -(2**63) - 1, 2**64, 10**400, 1.5, 1e308, float("inf"),
    float("nan"), "", "\0", "a\0b", "\ud800", "\udfff\ud800", "\N{REPLACEMENT CHARACTER}", "\N{BOM}" * 9, "x" * 20_000,
    "0", "-1", "1e999", "queued", "in_progress", "2026-13-01T00:00:00Z", "9999-12-31T23:59:59+14:00",
    "0001-01-01T00:00:00Z", "../../x", "a/b/c", "/", [], {}, [[]], [None], ["\ud800"], ["\0"], [0], {"": ""}, {"id": 1},
    [{}] * 300,
]  # fmt: skip
EVENTS = ["workflow_job", "ping", "installation", "installation_repositories", "star", "", "\xff" * 100, "x" * 5000]

Signed = Callable[..., bytes]


def mutated(chance: random.Random, payload: str, signed: Signed) -> bytes:
    """A request with a malformed delivery.

    Args:
        chance: decides what is changed.
        payload: the body of a valid delivery.
        signed: makes a request from a body and the header values guid, event, type and signature.
    """
    headers = {"guid": f"mutated-{chance.getrandbits(64):x}"}
    kind = chance.choices(("values", "bytes", "headers", "unsigned", "request"), (60, 15, 10, 10, 5))[0]
    body = _values(chance, payload) if kind != "bytes" else _bytes(chance, payload.encode())
    if kind == "headers":
        headers |= _headers(chance)
    if kind == "unsigned":
        headers["signature"] = chance.choice(("", "sha256=", f"sha256={'0' * 64}", "sha1=0", "\xff", "x" * 9000))
    if chance.random() < 0.2:
        headers["type"] = "application/x-www-form-urlencoded"
        body = chance.choice((b"payload=", b"payload=%7B&payload=", b"a=b&payload=")) + quote_plus(body).encode()
    request = signed(body, **headers)
    return _bytes(chance, request[:300]) + request[300:] if kind == "request" else request


def _values(chance: random.Random, payload: str) -> bytes:
    """JSON with some values replaced or removed."""
    raw = json.loads(payload)
    for _ in range(chance.randint(1, 3)):
        at = raw
        while True:
            key = chance.choice(list(at)) if isinstance(at, dict) else chance.randrange(len(at))
            inner = at[key]
            if not isinstance(inner, dict | list) or not inner or chance.random() < 0.2:
                break
            at = inner
        if isinstance(at, dict) and chance.random() < 0.2:
            del at[key]
        else:
            at[key] = deepcopy(chance.choice(ODD))  # the copy may be changed next
        if not raw:
            break
    return json.dumps(raw).encode()


def _bytes(chance: random.Random, body: bytes) -> bytes:
    """Bytes with some of them changed, removed or repeated."""
    changed = bytearray(body)
    for _ in range(chance.randint(1, 8)):
        at = chance.randrange(len(changed)) if changed else 0
        match chance.randrange(4):
            case 0:
                changed[at : at + 1] = bytes([chance.randrange(256)])
            case 1:
                del changed[at : at + chance.randint(1, 50)]
            case 2:
                changed[at:at] = changed[at : at + 20] * chance.randint(1, 20)
            case 3:
                changed[at:at] = chance.choice((b"\\u0000", b"\\ud800", b"[" * 5000, b"9" * 5000, b"\xff", b"\0"))
    return bytes(changed)


def _headers(chance: random.Random) -> dict[str, str]:
    return {
        chance.choice(("guid", "event", "type", "signature")): chance.choice(
            (
                *EVENTS,
                "\x01",
                "a\tb",
                "application/x-www-form-urlencoded",
                "text/html",
                "multipart/form-data; boundary=x",
            )
        )
    }
