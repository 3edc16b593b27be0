"""The comparison of wanted endpoints with those that exist: which are created, changed, left alone or blocked."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.core.catalog import Offer, price_per_hour, stock_of
from bridge.core.endpoints import (
    MARK,
    Action,
    Change,
    Cpu,
    Endpoint,
    EndpointSettings,
    PlannedEndpoint,
    differences,
    plan_endpoints,
    quota_fit,
)

L4 = EndpointSettings(
    name="l4",
    image="runner:1",
    gpu=("AMPERE_24", "ADA_24"),
    exclude=("NVIDIA L4",),
    env={MARK: "acme/runpod/l4"},
    timeout=100.0,
    regions=("EU-RO-1", "US-KS-2"),
)
CPU = EndpointSettings(name="cpu", image="runner:1", cpu=(Cpu(flavor="cpu5c", vcpus=4),), env={MARK: "acme/runpod/cpu"})


def there(settings: EndpointSettings, id_: str = "ep1", created_at: str = "2026-11-01") -> Endpoint:
    return Endpoint(id=id_, created_at=created_at, settings=settings)


def planned(wanted: EndpointSettings, *existing: Endpoint, ids: dict[str, str] | None = None) -> PlannedEndpoint:
    (each,) = plan_endpoints([wanted], existing, ids or {})
    return each


def test_an_endpoint_that_does_not_exist_is_created() -> None:
    assert planned(L4).action is Action.CREATE
    assert planned(L4, ids={"l4": "gone"}).action is Action.CREATE


def test_an_endpoint_with_our_mark_is_ours_without_a_recorded_id() -> None:
    """As after an `apply` that was interrupted before it wrote the id down."""
    found = planned(L4, there(L4))
    assert (found.action, found.id) == (Action.UNCHANGED, "ep1")


def test_the_order_of_lists_does_not_matter() -> None:
    other = replace(L4, gpu=("ADA_24", "AMPERE_24"), regions=("US-KS-2", "EU-RO-1"))
    assert planned(L4, there(other)).action is Action.UNCHANGED


def test_an_endpoint_of_this_name_without_our_mark_is_left_alone() -> None:
    for env in ({}, {MARK: "other/runpod/l4"}):
        found = planned(L4, there(replace(L4, env=env)))
        assert found.action is Action.BLOCKED
        assert "ep1 has this name and was not created by this bridge" in (found.problem or "")


def test_a_recorded_id_is_ours_even_if_someone_removed_the_mark_or_changed_the_name() -> None:
    found = planned(L4, there(replace(L4, name="renamed", env={})), ids={"l4": "ep1"})
    assert found.action is Action.UPDATE
    assert [change.setting for change in found.changes] == ["name", "env"]


@pytest.mark.parametrize("ids", [{}, {"l4": "ep1"}])
def test_two_endpoints_of_one_name_are_reported_and_not_guessed(ids: dict[str, str]) -> None:
    found = planned(L4, there(L4), there(L4, "ep2"), ids=ids)
    assert (found.action, found.id) == (Action.BLOCKED, None)
    assert "2 endpoints could be l4 (ep1, ep2)" in (found.problem or "")


@pytest.mark.parametrize(
    ("wanted", "actual", "why"),
    [
        (CPU, replace(L4, name="cpu", env=CPU.env), "ep1 has GPU workers, RunPod cannot change it to CPU workers"),
        (L4, replace(CPU, name="l4", env=L4.env), "ep1 has CPU workers, RunPod cannot change it to GPU workers"),
        (L4, replace(L4, kind="LOAD_BALANCER"), "ep1 has type LOAD_BALANCER, RunPod cannot change it to QUEUE"),
    ],
)
def test_what_runpod_cannot_change_is_blocked(wanted: EndpointSettings, actual: EndpointSettings, why: str) -> None:
    found = planned(wanted, there(actual))
    assert (found.action, found.id) == (Action.BLOCKED, "ep1")
    assert found.problem == f"{why}; run `bridge endpoints delete {wanted.name}`, then apply"


OTHER: dict[str, tuple[Any, str, str]] = {
    "image": ("runner:2", "runner:2", "runner:1"),
    "gpu": (("ADA_24",), "ADA_24", "ADA_24, AMPERE_24"),
    "exclude": ((), "none", "NVIDIA L4"),
    "gpu_count": (2, "2", "1"),
    "min_cuda": ("12.6", "12.6", "none"),
    "cuda_versions": (("12.4",), "12.4", "none"),
    "workers_max": (1, "1", "3"),
    "workers_min": (1, "1", "0"),
    "regions": ((), "none", "EU-RO-1, US-KS-2"),
    "disk_gb": (30, "30", "20"),
    "volumes": (("vol",), "vol", "none"),
    "registry": ("reg", "reg", "none"),
    "env": ({"A": "1", "B": "2", MARK: "acme/runpod/l4"}, "3 variables", "remove A, B"),
    "timeout": (50.0, "50 s", "100 s"),
    "scaling": ("QUEUE_DELAY 4", "QUEUE_DELAY 4", "REQUEST_COUNT 1"),
    "flashboot": ("FLASHBOOT", "FLASHBOOT", "OFF"),
}
"""By setting: a value in RunPod, and how it and the wanted value are shown."""


@pytest.mark.parametrize("setting", OTHER)
def test_each_setting_that_differs_is_one_change(setting: str) -> None:
    wanted, (value, before, after) = replace(L4, disk_gb=20), OTHER[setting]
    actual = replace(wanted, **{setting: value})
    assert list(differences(wanted, actual)) == [Change(setting=setting, before=before, after=after)]


def test_other_cpus_are_one_change() -> None:
    actual = replace(CPU, cpu=(Cpu(flavor="cpu3c", vcpus=2),))
    expected = Change(setting="cpu", before="cpu3c 2 vCPU", after="cpu5c 4 vCPU")
    assert list(differences(CPU, actual)) == [expected]


def test_what_is_set_in_no_table_or_is_larger_than_needed_stays() -> None:
    assert not list(differences(L4, replace(L4, disk_gb=50, timeout=101.0)))


NOTE = "RunPod reduces it to 2 after 3 days without requests, to 0 after 7 days or when workers stay unhealthy"


@pytest.mark.parametrize(("actual", "is_noted"), [(0, True), (2, True), (1, False), (5, False)])
def test_workers_that_runpod_reduced_are_restored_and_named_as_such(actual: int, is_noted: bool) -> None:
    (change,) = differences(replace(L4, workers_max=4), replace(L4, workers_max=actual))
    assert (change.setting, change.before, change.after) == ("workers_max", str(actual), "4")
    assert change.note == (NOTE if is_noted else None)


def test_the_values_of_variables_are_not_shown() -> None:
    wanted, actual = replace(L4, env={"A": "1", "B": "2"}), replace(L4, env={"B": "hidden", "C": "hidden"})
    (change,) = differences(wanted, actual)
    assert (change.before, change.after) == ("2 variables", "add A; change B; remove C")


def test_the_quota_counts_every_endpoint_of_the_account() -> None:
    existing = [there(replace(L4, workers_max=2)), there(replace(L4, name="theirs", workers_max=3), "ep2")]
    plan = plan_endpoints([replace(L4, workers_max=4), CPU], existing, {})
    for limit, fits in ((None, True), (10, True), (9, False)):
        fit = quota_fit(plan, existing, limit)
        assert (fit.before, fit.after, fit.fits) == (5, 10, fits)


def test_a_sum_over_the_quota_may_stay_or_shrink() -> None:
    existing = [there(replace(L4, workers_max=9))]
    for workers, fits in ((9, True), (8, True), (10, False)):
        plan = plan_endpoints([replace(L4, workers_max=workers)], existing, {})
        assert quota_fit(plan, existing, 5).fits is fits


def test_a_blocked_endpoint_counts_as_it_is() -> None:
    existing = [there(replace(L4, env={}, workers_max=2))]
    plan = plan_endpoints([L4], existing, {})
    assert quota_fit(plan, existing, 5).after == 2


NAMES = st.sampled_from(["a", "b"])
SETTINGS = st.builds(
    lambda name, image, mine: EndpointSettings(
        name=name, image=image, gpu=("ADA_24",), env={MARK: f"o/p/{name}"} if mine else {}
    ),
    NAMES,
    st.sampled_from(["x", "y"]),
    st.booleans(),
)
ACCOUNTS = st.lists(SETTINGS, max_size=4).map(lambda found: [there(each, f"ep{n}") for n, each in enumerate(found)])
WANTED = [EndpointSettings(name=name, image="x", gpu=("ADA_24",), env={MARK: f"o/p/{name}"}) for name in "ab"]


@given(ACCOUNTS, st.dictionaries(NAMES, st.sampled_from(["ep0", "ep1", "ep9"])))
def test_nothing_is_touched_that_is_not_ours_and_no_name_is_made_twice(
    existing: list[Endpoint], ids: dict[str, str]
) -> None:
    for each in plan_endpoints(WANTED, existing, ids):
        name = each.wanted.name
        same = [endpoint for endpoint in existing if endpoint.settings.name == name]
        if each.action is Action.CREATE:
            assert not same
        if each.action in (Action.UPDATE, Action.UNCHANGED):
            (found,) = [endpoint for endpoint in existing if endpoint.id == each.id]
            assert found.settings.env.get(MARK) == f"o/p/{name}" or found.id == ids.get(name)


def offer(id_: str, pool: str, price: float | None, stock: str, **regions: str) -> Offer:
    given = {name.replace("_", "-"): level for name, level in regions.items()}
    return Offer(id=id_, pool=pool, price=price, stock=stock, regions=given)


OFFERS = (
    offer("NVIDIA L4", "AMPERE_24", 0.5, "MEDIUM", EU_RO_1="HIGH"),
    offer("NVIDIA RTX A5000", "AMPERE_24", 0.7, "MEDIUM", EU_RO_1="LOW", US_TX_3="LOW"),
    offer("NVIDIA GeForce RTX 4090", "ADA_24", 1.0, "MEDIUM", US_KS_2="MEDIUM"),
    offer("unknown", "AMPERE_24", None, "PLENTY"),
)


def test_stock_is_that_of_the_usable_types_in_the_wanted_regions() -> None:
    first, second = stock_of(replace(L4, gpu_count=2), OFFERS)
    assert (first.pool, first.level, dict(first.regions), first.price) == (
        "AMPERE_24",
        "LOW",
        {"EU-RO-1": "LOW"},
        (1.4, 1.4),
    )
    assert (second.pool, second.level, dict(second.regions)) == ("ADA_24", "MEDIUM", {"US-KS-2": "MEDIUM"})
    assert price_per_hour((first, second)) == (1.4, 2.0)


def test_without_regions_the_overall_stock_counts() -> None:
    first, _ = stock_of(replace(L4, regions=(), exclude=()), OFFERS)
    assert (first.level, dict(first.regions)) == ("MEDIUM", {"EU-RO-1": "HIGH", "US-TX-3": "LOW"})
    assert first.price == (0.5, 0.7)


def test_a_pool_that_the_catalog_does_not_have_has_no_stock_and_no_price() -> None:
    (stock,) = stock_of(replace(L4, gpu=("ADA_80_PRO",)), OFFERS)
    assert (stock.level, stock.price) == ("NONE", None)
    assert price_per_hour((stock,)) is None


def test_a_cpu_worker_costs_its_vcpus() -> None:
    (stock,) = stock_of(CPU, [offer("cpu5c", "cpu5c", 0.04, "LOW", EU_RO_1="LOW")])
    assert (stock.pool, stock.level, stock.price) == ("cpu5c", "LOW", (0.16, 0.16))
