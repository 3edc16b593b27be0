"""What an address of the dashboard asks for."""

from urllib.parse import parse_qsl

import pytest

from bridge.dashboard.queries import LAST_PAGE, Group, Query, read


def test_an_address_without_a_query_asks_for_the_overview() -> None:
    assert read({}) == Query()
    assert Query().path == "/"


def test_filters_and_pages_survive_their_own_links() -> None:
    asked = Query(group=Group.FINISHED, repository="acme/web", route="a & b", page=3)
    assert read(dict(parse_qsl(asked.query.removeprefix("?")))) == asked
    assert asked.of_page(1).offset == 0
    assert asked.offset == 2 * asked.per_page


@pytest.mark.parametrize(
    "query",
    [
        {"jobs": "lost"},
        {"page": "2"},
        {"route": ""},
        {"repository": "acme/web\0"},
        {"repository": "x" * 10_000},
        {"route": "\u202ert"},
        {"unknown": "x"},
    ],
)
def test_what_is_not_understood_is_left_out(query: dict[str, str]) -> None:
    assert read(query) == Query()


@pytest.mark.parametrize(
    ("page", "is_page"), [("0", 1), ("-1", 1), ("²", 1), ("9" * 5000, 1), ("99999", LAST_PAGE), ("x", 1), ("2", 2)]
)
def test_a_page_is_a_number_within_bounds(page: str, is_page: int) -> None:
    assert read({"jobs": "queued", "page": page}).page == is_page
