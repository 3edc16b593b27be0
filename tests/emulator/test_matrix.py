"""The combinations of a matrix and their names are GitHub's."""

from typing import Any

import pytest

from bridge.emulator.matrix import MatrixError, combinations, equal

GPUS = [{"kind": "small", "cards": 1}, {"kind": "big", "cards": 8}]


def names(matrix: Any) -> list[str]:
    return [each.name("t") for each in combinations(matrix)]


def values(matrix: Any) -> list[Any]:
    return [each.values for each in combinations(matrix)]


def test_exclude_compares_only_the_leaves_that_it_names() -> None:
    matrix = {"gpu": GPUS, "build": ["head", "latest"], "exclude": [{"gpu": {"kind": "big"}, "build": "latest"}]}
    assert names(matrix) == ["t (small, 1, head)", "t (small, 1, latest)", "t (big, 8, head)"]
    assert values(matrix)[2] == {"gpu": {"kind": "big", "cards": 8}, "build": "head"}


@pytest.mark.parametrize("excluded", ["3.11", 3.11, " 3.11 ", "3.110"])
def test_exclude_finds_a_number_that_is_written_as_a_string(excluded: object) -> None:
    assert names({"py": [3.11, 3.12], "exclude": [{"py": excluded}]}) == ["t (3.12)"]


def test_exclude_compares_lists_item_by_item() -> None:
    matrix = {"v": [["a", "b"], ["a", "c"], "a"], "exclude": [{"v": ["A", "c"]}]}
    assert names(matrix) == ["t (a, b)", "t (a)"]


@pytest.mark.parametrize(
    ("left", "right", "same"),
    [
        (None, None, True),
        (None, 0, True),
        (None, "", True),
        (None, False, True),
        (None, "null", False),
        (True, 1, True),
        (True, "1", True),
        (True, "true", False),
        ("Linux", "linux", True),
        ("3.10", "3.1", False),
        ("3.10", 3.1, True),
        ("0x10", 16, True),
        ("0o17", 15, True),
        ("-1e2", -100, True),
        ("nan", "NaN", True),
        ("nan", 1, False),
        ("1_0", 10, False),
        ("inf", 1, False),
        (0, [], False),
        (0, {}, False),
        (None, {}, False),
    ],
)
def test_values_are_equal_as_in_githubs_expressions(left: object, right: object, same: bool) -> None:
    assert equal(left, right) is same


def test_include_adds_to_each_combination_that_it_does_not_overwrite() -> None:
    # the example of https://docs.github.com/en/actions/how-tos/write-workflows/choose-what-workflows-do/run-job-variations
    matrix = {
        "fruit": ["apple", "pear"],
        "animal": ["cat", "dog"],
        "include": [
            {"color": "green"},
            {"color": "pink", "animal": "cat"},
            {"fruit": "apple", "shape": "circle"},
            {"fruit": "banana"},
            {"fruit": "banana", "animal": "cat"},
        ],
    }
    assert values(matrix) == [
        {"fruit": "apple", "animal": "cat", "color": "pink", "shape": "circle"},
        {"fruit": "apple", "animal": "dog", "color": "green", "shape": "circle"},
        {"fruit": "pear", "animal": "cat", "color": "pink"},
        {"fruit": "pear", "animal": "dog", "color": "green"},
        {"fruit": "banana"},
        {"fruit": "banana", "animal": "cat"},
    ]
    assert names(matrix)[0] == "t (apple, cat)", "an added value is not in the name"
    assert names(matrix)[4:] == ["t (banana)", "t (banana, cat)"]


def test_include_alone_makes_its_own_jobs_named_in_the_order_of_their_keys() -> None:
    assert names({"include": [{"b": 1, "a": "x"}, {"a": "y"}]}) == ["t (1, x)", "t (y)"]


def test_an_included_job_has_the_matrixs_own_keys_first() -> None:
    assert names({"os": ["l"], "include": [{"extra": "e", "os": "m"}]}) == ["t (l)", "t (m, e)"]


def test_an_entry_is_added_to_no_excluded_combination() -> None:
    matrix = {"v": [1, 2], "exclude": [{"v": 2}], "include": [{"v": 2, "w": 3}]}
    assert values(matrix) == [{"v": 1}, {"v": 2, "w": 3}]


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (None, "t"),
        ("", "t"),
        ({}, "t"),
        (True, "t (true)"),
        (1.0, "t (1)"),
        (3.10, "t (3.1)"),
        (1e21, "t (1E+21)"),
        ([1, [None, "x"]], "t (1, x)"),
        ("y" * 200, f"t ({'y' * 94}..."),
    ],
)
def test_a_name_shows_each_value_as_github_writes_it(value: object, name: str) -> None:
    assert names({"v": [value]}) == [name]


@pytest.mark.parametrize(
    ("matrix", "why"),
    [
        ("x", "the matrix is not a mapping"),
        ({}, "the matrix is empty"),
        ({"v": []}, "the matrix is empty: v has no values"),
        ({"v": [1], "exclude": [{"v": 1}]}, "the matrix is empty"),
        ({"v": 1}, "the matrix key v is not a list"),
        ({"v": [1], "include": {"v": 2}}, "include of the matrix is not a list"),
        ({"include": [{}]}, "include of the matrix has an entry that is not a mapping with values"),
        ({"v": [1], "exclude": ["x"]}, "exclude of the matrix has an entry that is not a mapping with values"),
        ({"v": [1], "exclude": [{"w": 1}]}, "exclude of the matrix has the key w, which the matrix does not have"),
    ],
)
def test_a_matrix_that_github_would_reject_has_a_reason(matrix: object, why: str) -> None:
    with pytest.raises(MatrixError) as raised:
        combinations(matrix)
    assert str(raised.value) == why
