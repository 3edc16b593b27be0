"""`bridge doctor --fix`: only what was asked for is done, and a failure does not hinder the next repair."""

import asyncio

from bridge.commands.doctor.check import Check, Repair, failed, ok
from bridge.commands.doctor.fix import again, repair_all, replaced
from bridge.errors import Unavailable


def broken(name: str, done: list[str], error: str | None = None) -> Check:
    async def work() -> str:
        done.append(name)
        if error:
            raise Unavailable(error)
        return f"{name} is done"

    return failed("endpoint.workers_max", "0", "raise it", subject=name, repair=Repair(question=f"{name}?", work=work))


def test_each_repair_is_asked_for_and_its_result_told() -> None:
    done: list[str] = []
    told: list[str] = []
    checks = [broken("a", done, "RunPod is down"), ok("x", "well"), broken("b", done), broken("c", done)]
    tried = asyncio.run(repair_all(checks, lambda question: question != "b?", told.append))
    assert done == ["a", "c"]
    assert told == ["not done: RunPod is down", "c is done"]
    assert [check.subject for check in tried] == ["a", "c"]


def test_only_what_was_repaired_is_shown_again() -> None:
    before = [broken("a", []), broken("b", []), ok("x", "well")]
    after = [ok("endpoint.workers_max", "3", subject=name) for name in ("a", "b")] + [ok("x", "changed")]
    now = again(before[:1], after)
    assert now == after[:1]
    assert replaced(before, before[:1], now) == (before[1], before[2], after[0])
