"""Prices are read in RunPod's catalog once a day, by whoever has the management key, and few calls are made for it."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from bridge.commands.pricing import READ_EVERY, read_if_due, try_to_read
from bridge.config.settings import Config, load
from bridge.core.prices import ANY, Prices, PriceSource
from bridge.emulator.faults import Fault, FaultKind
from bridge.ledger import Ledger
from tests.support.background import until
from tests.support.emulators import API_KEY, Emulators, emulators
from tests.support.service import running_service
from tests.support.values import NOW

RTX_4090 = {"NVIDIA GeForce RTX 4090": 1.116}
"""The prices of the emulated endpoint, whose only pool has this type."""


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Emulators]:
    with emulators(tmp_path) as both:
        both.variables["RUNPOD_MANAGEMENT_URL"] = both.runpod.management_url
        for name, value in (both.environment | {"RUNPOD_MANAGEMENT_API_KEY": API_KEY}).items():
            monkeypatch.setenv(name, value)
        yield both


def with_ledger(made: Emulators, work: Callable[[Ledger], Awaitable[Any]]) -> Any:
    with closing(Ledger.open(f"sqlite:///{made.ledger}")) as ledger:
        return asyncio.run(work(ledger))  # type: ignore[arg-type]


def prices(made: Emulators) -> Prices:
    found: Prices = with_ledger(made, lambda ledger: ledger.read(lambda transaction: transaction.costs.prices()))
    return found


def read(made: Emulators, settings: Config, now: float) -> Counter[str]:
    """The calls of the management API that a reading makes."""
    before = Counter(made.runpod.management.calls)
    with_ledger(made, lambda ledger: read_if_due(ledger, settings, now))
    return Counter(made.runpod.management.calls) - before


def test_prices_are_read_once_a_day_with_two_calls(made: Emulators) -> None:
    settings = load(None)
    assert sum(read(made, settings, NOW).values()) == 2
    assert sum(read(made, settings, NOW + READ_EVERY - 1).values()) == 0, "also by another copy"
    assert sum(read(made, settings, NOW + READ_EVERY).values()) == 2
    (reading,) = prices(made)["ep-1"]
    assert (reading.at, reading.read_at, dict(reading.usd_per_hour)) == (NOW, NOW + READ_EVERY, RTX_4090)


def test_without_the_management_key_nothing_is_read(made: Emulators, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RUNPOD_MANAGEMENT_API_KEY")
    assert read(made, load(None), NOW) == Counter()
    assert prices(made) == {}


def test_a_price_of_the_configuration_is_kept_and_not_read(
    made: Emulators, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    text = '[[route]]\nname = "gpu"\nlabels = ["gpu"]\nendpoint = "ep-1"\n'
    (tmp_path / "bridge.toml").write_text(f"{text}usd_per_hour = 0.5\n")
    monkeypatch.setenv("BRIDGE_CONFIG", str(tmp_path / "bridge.toml"))
    assert read(made, load(None), NOW) == Counter()
    assert read(made, load(None), NOW + 60) == Counter()
    (reading,) = prices(made)["ep-1"]
    assert (reading.at, dict(reading.usd_per_hour), reading.source) == (NOW, {ANY: 0.5}, PriceSource.SETTING)
    (tmp_path / "bridge.toml").write_text(text)
    assert sum(read(made, load(None), NOW + 120).values()) == 2, "when the setting is removed"
    assert dict(prices(made)["ep-1"][-1].usd_per_hour) == RTX_4090


def test_an_endpoint_that_is_gone_has_no_price_and_is_no_error(made: Emulators) -> None:
    del made.runpod.account.records["ep-1"]
    read(made, load(None), NOW)
    assert prices(made) == {}


@pytest.mark.parametrize(
    "fault",
    [
        Fault(method="GET", path="/catalog/gpus", kind=FaultKind.ERROR, status=403),
        Fault(method="GET", path="/catalog/gpus", kind=FaultKind.ERROR, status=200, body="<html>", times=99),
        Fault(method="GET", path="/catalog/gpus", kind=FaultKind.ERROR, status=200, body='{"gpus": [{"id": 1}]}'),
        Fault(method="GET", path="/v2/serverless$", kind=FaultKind.ERROR, status=401),
    ],
)
def test_a_catalog_that_cannot_be_read_is_one_line_and_no_price(made: Emulators, fault: Fault) -> None:
    made.runpod.faults.add(fault)
    with capture_logs() as logged:
        with_ledger(made, lambda ledger: try_to_read(ledger, load(None), NOW))
    (line,) = logged
    assert line["event"] == "prices could not be read"
    assert API_KEY not in str(line)
    assert prices(made) == {}


def test_the_service_reads_prices_when_it_starts(made: Emulators) -> None:
    with running_service(made, RUNPOD_MANAGEMENT_API_KEY=API_KEY) as service:
        until(lambda: prices(made) != {})
        log = service.stop()
        assert service.process.returncode == 0, log
    assert API_KEY not in log
    assert dict(prices(made)["ep-1"][-1].usd_per_hour) == RTX_4090


def test_a_pass_reads_prices_and_a_dry_run_does_not(made: Emulators) -> None:
    made.variables["RUNPOD_MANAGEMENT_API_KEY"] = API_KEY
    made.dispatch("--dry-run")
    assert not made.ledger.exists()
    made.dispatch()
    assert "ep-1" in prices(made)
