"""The laws that hold once everything has ended, recomputed by plain Python from the tables.

Nothing of the hub's own arithmetic is used here: rows are read by plain SQL and added up.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from fractions import Fraction
from itertools import pairwise
from typing import Any

import sqlalchemy as sa
from tests.walk.facility import Missing, wait_for

from meyrin.domain.states import ENDED, LEGAL, JobState

OVER = {str(state) for state in ENDED}


class Books:
    """What the hub's database says, read from outside."""

    def __init__(self, url: str) -> None:
        self.engine = sa.create_engine(url)

    def close(self) -> None:
        self.engine.dispose()

    def rows(self, statement: str, **values: Any) -> list[sa.Row[Any]]:
        with self.engine.connect() as connection:
            return list(connection.execute(sa.text(statement), values))

    def unfinished(self) -> Counter[str]:
        """Jobs that have not ended, by state."""
        rows = self.rows("SELECT state, count(*) AS n FROM jobs GROUP BY state")
        return Counter({row.state: row.n for row in rows if row.state not in OVER})

    def wait_for_all(self) -> None:
        """Until every job has ended; Missing names those that have not."""

        def look() -> object:
            left = self.unfinished()
            return str(dict(left)) if left else True

        try:
            wait_for(look, "every job to end")
        except Missing as missing:
            stuck = self.rows(
                "SELECT j.id, j.state, j.reason, a.state AS attempt, a.site, a.leased_ms,"
                " a.cancel_ms FROM jobs j LEFT JOIN attempts a ON a.id = j.attempt"
                " WHERE j.state NOT IN ('completed', 'failed', 'cancelled', 'expired')"
                " ORDER BY j.id LIMIT 20"
            )
            words = "\n".join(str(tuple(row)) for row in stuck)
            raise Missing(f"{missing}\n{words}") from None


def check_histories(books: Books) -> None:
    """Every job walked a legal path to one ending state, with at most one attempt that ran."""
    history: defaultdict[int, list[str]] = defaultdict(list)
    for row in books.rows("SELECT job_id, state FROM events ORDER BY id"):
        history[row.job_id].append(row.state)
    tries: defaultdict[int, list[Any]] = defaultdict(list)
    for row in books.rows("SELECT job_id, state, start_ms FROM attempts ORDER BY epoch"):
        tries[row.job_id].append(row)
    for job in books.rows("SELECT id, state FROM jobs"):
        path = history[job.id]
        assert path[0] == "submitted", (job.id, path)
        for before, after in pairwise(path):
            assert JobState(after) in LEGAL[JobState(before)], (job.id, path)
        assert [state for state in path if state in OVER] == [job.state], (job.id, path)
        mine = tries[job.id]
        assert all(each.state in {"ended", "refused"} for each in mine), (job.id, mine)
        assert sum(each.start_ms is not None for each in mine) <= 1, (job.id, mine)


def charges(books: Books) -> dict[str, int]:
    """What each attempt was charged, with all corrections, from the entries alone."""
    charged: Counter[str] = Counter()
    for row in books.rows(
        "SELECT attempt, amount_s, credit_account FROM entries WHERE kind IN ('settle', 'correct')"
    ):
        given = row.credit_account.startswith("delivered:")
        charged[row.attempt] += row.amount_s if given else -row.amount_s
    return dict(charged)


def check_charges(books: Books) -> int:
    """Each attempt that was measured is charged what was measured, once; returns how many."""
    charged = charges(books)
    records = Counter(row.attempt for row in books.rows("SELECT attempt FROM usage_records"))
    assert set(records.values()) <= {1}, records.most_common(3)
    attempts = books.rows(
        "SELECT a.id, a.start_ms, a.end_ms, a.rate_num, a.rate_den, a.hold_s, a.end AS ending,"
        " u.elapsed_s, u.used_s, u.version FROM attempts a"
        " LEFT JOIN usage_records u ON u.attempt = a.id"
    )
    for row in attempts:
        if row.elapsed_s is None:
            assert row.start_ms is None or row.ending == "lost", tuple(row)
            assert row.id not in charged, tuple(row)
            continue
        # the batch system's own times: a begun second counts, one at least
        measured = max(1, -(-(row.end_ms - row.start_ms) // 1000))
        rate = Fraction(row.rate_num, row.rate_den)
        assert (row.version, row.elapsed_s) == (0, measured), tuple(row)
        assert row.used_s == charged[row.id] == -(-rate.numerator * measured // rate.denominator)
    kinds = books.rows(
        "SELECT attempt, kind, count(*) AS n, sum(amount_s) AS amount FROM entries"
        " WHERE attempt IS NOT NULL GROUP BY attempt, kind"
    )
    sums = {(row.attempt, row.kind): (row.n, row.amount) for row in kinds}
    for row in attempts:
        holds = sums.get((row.id, "hold"))
        assert holds == (1, row.hold_s), tuple(row)
        assert (row.id, "correct") not in sums
        assert sums.get((row.id, "void"), (1, 0))[0] == 1
    return len(charged)


def check_balances(books: Books) -> None:
    """Every balance is the sum of its entries, holds are empty, and the whole is zero."""
    balances: Counter[str] = Counter()
    for row in books.rows("SELECT debit_account, credit_account, amount_s FROM entries"):
        assert row.amount_s > 0
        balances[row.debit_account] -= row.amount_s
        balances[row.credit_account] += row.amount_s
    assert sum(balances.values()) == 0
    accounts = books.rows("SELECT id, kind, balance_s FROM accounts")
    assert {row.id: row.balance_s for row in accounts} == {
        row.id: balances[row.id] for row in accounts
    }
    assert set(balances) <= {row.id for row in accounts}
    assert [tuple(row) for row in accounts if row.kind == "hold" and row.balance_s] == []
    used = sum(row.balance_s for row in accounts if row.kind == "delivered")
    assert used == sum(charges(books).values())


def check_runs(books: Books, lines: Mapping[int, int], *, lost: bool = False) -> int:
    """Scripts ran as often as the books say; returns how many ran.

    `lines` counts, by job, how often its script wrote its mark. A script that was ended from
    outside may have had no time to write it. `lost` allows ends that nobody saw.
    """
    ran = 0
    rows = books.rows(
        "SELECT j.id, j.state, a.start_ms, a.end AS ending FROM jobs j"
        " LEFT JOIN attempts a ON a.id = j.attempt"
    )
    for row in rows:
        written = lines.get(row.id, 0)
        if row.ending == "lost":
            assert lost, tuple(row)
            assert written <= 1, tuple(row)
        elif row.ending in {"cancelled", "timeout", "signal"} and row.start_ms is not None:
            assert written <= 1, tuple(row)
        else:
            assert written == (1 if row.start_ms is not None else 0), (tuple(row), written)
        ran += written
    return ran
