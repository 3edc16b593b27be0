"""Traces of jobs and changes of capacity."""

import pytest

from bridge.errors import ConfigError
from bridge.simulation.trace import Arrival, Capacity, arrivals, capacities


def test_jobs_are_read_in_the_order_of_their_arrival() -> None:
    lines = ["Duration, route,arrival", "60, gpu ,20.5", "5,cpu,1e1", ""]
    assert arrivals(lines, "t.csv") == (Arrival(10, "cpu", 5), Arrival(20.5, "gpu", 60))


def test_changes_of_capacity_are_read() -> None:
    lines = ["at,endpoint,workers", "9,l4,3", "0,l4,0"]
    assert capacities(lines, "c.csv") == (Capacity(0, "l4", 0), Capacity(9, "l4", 3))


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        ([], "t.csv: has no column arrival; its first line must be arrival,route,duration"),
        (["arrival,route"], "t.csv: has no column duration; its first line must be arrival,route,duration"),
        (["arrival,route,duration"], "t.csv: there is no job in it; write a line for each job"),
        (["arrival,route,duration", "1,gpu"], "t.csv, line 2: has not as many values as there are columns"),
        (["arrival,route,duration", "1,gpu,3,4"], "t.csv, line 2: has not as many values as there are columns"),
        (["arrival,route,duration", "x,gpu,3"], "t.csv, line 2: arrival: must be a number of seconds, such as 12.5"),
        (["arrival,route,duration", "nan,gpu,3"], "t.csv, line 2: arrival: must be a number of seconds, such as 12.5"),
        (["arrival,route,duration", "1,gpu,inf"], "t.csv, line 2: duration: must be a number of seconds, such as 12.5"),
        (["arrival,route,duration", "1,gpu,-1"], "t.csv, line 2: duration: must be from 0 to 604800 seconds"),
        (["arrival,route,duration", "1,,1"], "t.csv, line 2: route: is empty; write the name of a route"),
        (["arrival,route,duration", "1," + "x" * 200_000 + ",1"], "t.csv, line 2: is not CSV: field larger than"),
    ],
)
def test_a_trace_that_is_wrong_is_refused_with_its_line(lines: list[str], problem: str) -> None:
    with pytest.raises(ConfigError) as error:
        arrivals(lines, "t.csv")
    assert str(error.value).startswith(problem)


@pytest.mark.parametrize("workers", ["-1", "1.5"])
def test_a_capacity_is_a_whole_number(workers: str) -> None:
    with pytest.raises(ConfigError, match="line 2: workers: must be a whole number, at least 0"):
        capacities(["at,endpoint,workers", f"0,l4,{workers}"], "c.csv")
