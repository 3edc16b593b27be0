"""An OpenAPI 3.1 description as a judge of calls and answers, with the validator of openapi-schema-validator."""

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from openapi_schema_validator import OAS31Validator
from referencing import Registry
from referencing.jsonschema import DRAFT202012

from tests.support import ROOT

RECORDED = Path(__file__).parent / "recorded" / "runpod-management.json"
"""The part of the API that the bridge uses, in our own words."""


def vendors_file() -> Path | None:
    """RunPod's own description, which is not part of this project: RUNPOD_OPENAPI, or a file beside the checkout."""
    beside = ROOT.parent / "shared" / "facts" / "api" / "runpod-openapi-v2.json"
    path = Path(os.environ["RUNPOD_OPENAPI"]) if os.environ.get("RUNPOD_OPENAPI") else beside
    return path if path.exists() else None


@dataclass(frozen=True, kw_only=True)
class Exchange:
    """One call and its answer. The bodies are JSON values, None where there is none."""

    method: str
    url: str
    sent: Any
    status: int
    content_type: str
    answer: Any


class Description:
    """A description.

    Args:
        path: of the file, JSON.
        prefix: of the URL's path before what the description calls the path.
    """

    def __init__(self, path: Path, prefix: str = "") -> None:
        self._content = json.loads(path.read_text())
        self._prefix = prefix
        resource = DRAFT202012.create_resource(self._content)
        self._registry: Registry[Any] = Registry().with_resource("urn:description", resource)

    def errors(self, schema: str, value: Any) -> list[str]:
        """Why a value is not valid for a schema of `components`."""
        return self._errors({"$ref": f"urn:description#/components/schemas/{schema}"}, value)

    def problems(self, exchange: Exchange, *, sent_on_purpose: bool = False) -> Iterator[str]:
        """What of a call or its answer the description does not allow.

        Args:
            exchange: the call.
            sent_on_purpose: the call is meant to be refused; only its answer counts.
        """
        template, operation = self._operation(exchange)
        if not operation:
            yield f"{exchange.method} {exchange.url} is not described"
            return
        if not sent_on_purpose:
            yield from self._parameter_problems(exchange, operation)
            yield from self._body_problems(exchange, operation)
        for problem in self._answer_problems(exchange, operation):
            yield f"{exchange.method} {template}: {exchange.status}: {problem}"

    def _operation(self, exchange: Exchange) -> tuple[str, dict[str, Any]]:
        path = urlsplit(exchange.url).path.removeprefix(self._prefix)
        for template, item in self._content["paths"].items():
            if re.fullmatch(re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(template)), path):
                return template, item.get(exchange.method.lower(), {})
        return "", {}

    def _parameter_problems(self, exchange: Exchange, operation: dict[str, Any]) -> Iterator[str]:
        declared = {each["name"]: each for each in map(self._resolved, operation.get("parameters", []))}
        for name, text in parse_qsl(urlsplit(exchange.url).query):
            if name not in declared:
                yield f"{name} is no parameter of {exchange.method} {exchange.url}"
                continue
            schema = declared[name]["schema"]
            yield from self._errors(schema, _read(self._resolved(schema).get("type"), text))

    def _body_problems(self, exchange: Exchange, operation: dict[str, Any]) -> Iterator[str]:
        if "requestBody" not in operation:
            if exchange.sent is not None:
                yield f"{exchange.method} {exchange.url} takes no body"
            return
        schema = operation["requestBody"]["content"]["application/json"]["schema"]
        yield from self._errors(schema, exchange.sent)

    def _answer_problems(self, exchange: Exchange, operation: dict[str, Any]) -> Iterator[str]:
        answers = operation["responses"]
        if str(exchange.status) not in answers:
            yield "the status is not described"
            return
        content = self._resolved(answers[str(exchange.status)]).get("content")
        if not content:
            if exchange.answer is not None:
                yield "the answer has a body"
            return
        if exchange.content_type not in content:
            yield f"{exchange.content_type} is not described"
            return
        yield from self._errors(content[exchange.content_type]["schema"], exchange.answer)

    def _errors(self, schema: dict[str, Any], value: Any) -> list[str]:
        validator = OAS31Validator(_absolute(schema), registry=self._registry)
        return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(value)]

    def _resolved(self, node: dict[str, Any]) -> dict[str, Any]:
        while "$ref" in node:
            found: Any = self._content
            for part in node["$ref"].removeprefix("#/").split("/"):
                found = found[part]
            node = found
        return node


def _absolute(node: Any) -> Any:
    """The references within a schema with the description's name, because the schema is validated on its own."""
    if isinstance(node, dict):
        return {
            key: value.replace("#/", "urn:description#/", 1)
            if key == "$ref" and value.startswith("#/")
            else _absolute(value)
            for key, value in node.items()
        }
    return [_absolute(each) for each in node] if isinstance(node, list) else node


def _read(kind: Any, text: str) -> Any:
    """A query parameter's value: lists are separated by commas, as `explode: false` says."""
    if kind == "array":
        return text.split(",")
    return int(text) if kind == "integer" and text.isdecimal() else text
