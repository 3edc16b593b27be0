"""A person names a job as it comes: an id, or a URL out of the browser."""

import pytest

from bridge.core.reference import LONGEST_ID, Reference, parse

RUN = "https://github.com/acme/web/actions/runs/12"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("34", Reference(34, None)),
        (" 34\n", Reference(34, None)),
        ("9" * LONGEST_ID, Reference(int("9" * LONGEST_ID), None)),
        (RUN, Reference(None, 12)),
        (f"{RUN}/", Reference(None, 12)),
        (f"{RUN}/attempts/2", Reference(None, 12)),
        (f"{RUN}?pr=5", Reference(None, 12)),
        (f"{RUN}/job/34", Reference(34, 12)),
        (f"{RUN}/job/34?pr=5#step:3:1", Reference(34, 12)),
        (f"{RUN}/attempts/2/job/34", Reference(34, 12)),
        ("https://github.com/acme/web/runs/12/jobs/34", Reference(34, 12)),
        ("http://ghes.example:8443/acme/web/actions/runs/12/job/34", Reference(34, 12)),
    ],
)
def test_ids_and_urls_name_a_job_or_a_run(text: str, expected: Reference) -> None:
    assert parse(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "train",
        "-1",
        "3.4",
        "\N{ARABIC-INDIC DIGIT THREE}",
        "9" * (LONGEST_ID + 1),
        "https://github.com/acme/web",
        "https://github.com/acme/web/actions/runs/",
        f"{RUN}/job/x",
        f"{RUN}/job/34/more",
        f"{RUN} and more",
        f"ftp{RUN.removeprefix('https')}",
        f"see {RUN}",
    ],
)
def test_everything_else_names_none(text: str) -> None:
    assert parse(text) is None
