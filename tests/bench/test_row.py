import pytest

from voicegate.bench.row import ROWS, select_rows
from voicegate.config import SetUp
from voicegate.errors import UsageError


def names(chosen: list[str], browser: str) -> list[str]:
    return [row.name for row in select_rows(chosen, browser)]  # type: ignore[arg-type]


def test_without_a_choice_a_browser_shows_all_that_it_can() -> None:
    assert names([], "chromium") == ["A", "D", "S", "E", "G", "Gd", "H"]
    assert names([], "firefox") == ["D", "S"]


def test_rows_come_in_their_own_order_and_in_any_case_of_letters() -> None:
    assert names(["gd", "S", "a"], "chromium") == ["A", "S", "Gd"]
    assert names(["E"], "firefox") == []


def test_a_row_that_is_none_is_refused() -> None:
    with pytest.raises(UsageError, match="'Q' is no row; there are A, D, S"):
        select_rows(["S", "Q"], "chromium")


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_what_a_row_asks_of_our_server_is_a_setting_of_it(row: object) -> None:
    SetUp(**row.server)  # type: ignore[attr-defined]
