"""OpenTelemetry's variables: when traces are sent, and the error line for what cannot work."""

from typing import Any

import pytest

from bridge.config.tracing import Tracing, tracing
from bridge.errors import ConfigError

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
HERE = {ENDPOINT: "http://collector:4318"}


def read(**variables: str) -> Tracing | None:
    return tracing(with_jobs=True, variables=variables)


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {ENDPOINT: " "},
        {**HERE, "OTEL_SDK_DISABLED": "TRUE"},
        {**HERE, "OTEL_TRACES_EXPORTER": "none"},
        {"OTEL_SERVICE_NAME": "x"},
    ],
)
def test_traces_are_off_unless_an_endpoint_is_set(variables: dict[str, str]) -> None:
    assert read(**variables) is None


def test_an_endpoint_turns_traces_on() -> None:
    assert read(**HERE) == Tracing(host="collector:4318")
    assert read(OTEL_EXPORTER_OTLP_TRACES_ENDPOINT="https://a.example/otlp/v1/traces") == Tracing(host="a.example")


def test_the_variables_of_traces_win_over_those_of_all_signals() -> None:
    found = read(
        **HERE,
        OTEL_EXPORTER_OTLP_TRACES_ENDPOINT="http://traces:1",
        OTEL_EXPORTER_OTLP_TIMEOUT="5",
        OTEL_EXPORTER_OTLP_TRACES_TIMEOUT="2.5",
        OTEL_EXPORTER_OTLP_PROTOCOL="grpc",
        OTEL_EXPORTER_OTLP_TRACES_PROTOCOL="http/protobuf",
    )
    assert found == Tracing(host="traces:1", timeout=2.5)


REFUSED: dict[str, Any] = {
    "no scheme": ({ENDPOINT: "collector:4318"}, f"{ENDPOINT}: must be a URL such as http://collector:4318"),
    "no host": ({ENDPOINT: "http://"}, f"{ENDPOINT}: must be a URL such as http://collector:4318"),
    "half a host": ({ENDPOINT: "http://[::1"}, f"{ENDPOINT}: must be a URL such as http://collector:4318"),
    "a port too high": ({ENDPOINT: "http://a:99999"}, f"{ENDPOINT}: must be a URL such as http://collector:4318"),
    "another protocol": (
        {**HERE, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
        "OTEL_EXPORTER_OTLP_PROTOCOL: must be http/protobuf, the only protocol that the bridge sends",
    ),
    "no number": (
        {**HERE, "OTEL_EXPORTER_OTLP_TIMEOUT": "soon"},
        "OTEL_EXPORTER_OTLP_TIMEOUT: must be a number of seconds, at most 60",
    ),
    "milliseconds": (
        {**HERE, "OTEL_EXPORTER_OTLP_TIMEOUT": "10000"},
        "OTEL_EXPORTER_OTLP_TIMEOUT: must be a number of seconds, at most 60",
    ),
}


@pytest.mark.parametrize(("variables", "said"), REFUSED.values(), ids=REFUSED)
def test_a_value_that_cannot_work_is_refused_in_one_line(variables: dict[str, str], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(**variables)
    assert str(caught.value) == said


def test_keys_in_headers_and_in_the_address_are_secrets() -> None:
    headers = "authorization=Bearer%20abc, x-key = k1="
    found = read(**{ENDPOINT: "https://me:p%40ss@collector"}, OTEL_EXPORTER_OTLP_HEADERS=headers)
    assert found
    assert {"Bearer abc", "abc", "k1=", "p@ss"} <= set(found.secrets)
    assert "abc" not in repr(found)
