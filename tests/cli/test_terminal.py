"""Tables, colour, progress: what a terminal gets and what a file gets."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meyrin.cli import terminal
from meyrin.cli.progress import ProgressLine
from meyrin.cli.table import columns, cut, shown_width, table
from meyrin.cli.terminal import ERASE
from meyrin.client.transfer import Progress


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


@given(st.text(), st.integers(1, 30))
def test_cut_text_fits(text: str, width: int) -> None:
    assert shown_width(cut(text, width)) <= width or shown_width(text) <= width


@given(st.lists(st.tuples(st.text(max_size=40), st.text(max_size=40)), max_size=5))
def test_a_table_fits_its_terminal(rows: list[tuple[str, str]]) -> None:
    text = table(columns("NAME~ WHY~"), rows, width=40)
    assert len(text.split("\n")) == len(rows) + 1
    assert all(shown_width(line) <= 40 for line in text.split("\n"))


def test_a_table_reads_well() -> None:
    rows = [(1, "naïve ☕", "a"), (22, "日本語の名前", None)]
    assert table(columns("JOB> NAME~ THE_REST"), rows, width=0).splitlines() == [
        "JOB  NAME          THE REST",
        "  1  naïve ☕      a",
        " 22  日本語の名前  -",
    ]
    assert table(columns("JOB> NAME~ THE_REST"), rows, width=22).splitlines()[2] == (
        " 22  日本語…  -"
    )


def test_colour_only_where_it_helps() -> None:
    assert terminal.colourful({}, Screen())
    assert not terminal.colourful({"NO_COLOR": "1"}, Screen())
    assert not terminal.colourful({"TERM": "dumb"}, Screen())
    assert not terminal.colourful({}, io.StringIO())
    closed = io.StringIO()
    closed.close()
    assert not terminal.is_terminal(closed)
    assert terminal.paint("x", terminal.RED, wanted=False) == "x"
    assert terminal.paint("x", terminal.RED, wanted=True) == "\x1b[31mx\x1b[0m"


def test_nothing_steers_the_terminal() -> None:
    assert terminal.clean("a\x1b[2J\r\n\u202eb\x00ü") == "a�[2J���b�ü"


def test_sizes_and_moments() -> None:
    assert terminal.amount(0) == "0 B"
    assert terminal.amount(1536) == "1.5 KiB"
    assert terminal.amount(5 * 2**40) == "5.0 TiB"
    assert terminal.moment(None) == "-"
    assert terminal.clock_time(5, 10) == "now"


def test_progress_begins_after_two_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Screen()
    monkeypatch.setattr("sys.stderr", screen)
    now = [0.0]
    line = ProgressLine(lambda: now[0])
    line(Progress("a", "sending", 1, 100))
    assert screen.getvalue() == ""
    line.close()
    now[0] = 2.0
    line(Progress("a", "sending", 50, 100))
    line(Progress("a", "sending", 51, 100))
    assert screen.getvalue() == f"{ERASE}sending a: 50 B of 100 B (50 %)"
    line(Progress("a", "sending", 100, 100))
    line.close()
    assert screen.getvalue().endswith(f"(100 %){ERASE}")


def test_no_progress_into_files(monkeypatch: pytest.MonkeyPatch) -> None:
    quiet = io.StringIO()
    monkeypatch.setattr("sys.stderr", quiet)
    now = [0.0]
    line = ProgressLine(lambda: now[0])
    now[0] = 99.0
    line(Progress("a", "sending", 1, 1))
    assert quiet.getvalue() == ""
