"""Administration by noun: every command against a good answer, as words and as one object."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
from tests.cli.conftest import Meyrin
from tests.client.fakehub import TOKEN, FakeHub

from meyrin.cli.main import cli
from meyrin.client.admin import Projects
from meyrin.client.allocations import Allocations
from meyrin.client.place import locked
from meyrin.domain import errors

Capture = pytest.CaptureFixture[str]
UNTIL = ("--until", "2030-01-01")

# nouns whose commands read files, or have tests of their own against a whole hub
NO_HUB = (
    "trace describe",
    "gate ",
    "suite ",
    "evidence ",
    "plan fit",
    "plan impact",
    "plan publish",
    "plan schema",
)
# the words, the call that the hub sees, and a word of the answer for people
AWARDS = Path(__file__).parents[2] / "examples" / "awards.csv"
CASES: list[tuple[str, str, str]] = [
    ("site list", "GET /sites?limit=50", "alps"),
    ("site show alps", "GET /sites/alps", "off_1"),
    ("site show alps", "GET /sites/alps", "not there, and so gets no jobs: gpu"),
    ("site queue alps", "GET /sites/alps/queue?limit=50", "PENDING (Priority)"),
    ("site drift alps", "GET /sites/alps/drift?limit=50", "lovelace"),
    ("site enrol alps --title Alps", "POST /sites/alps/enrolment", "MEYRIN_ENROLMENT=myr_enrol "),
    ("site enrol alps --credential", "POST /sites", "myr_agent"),
    ("site credentials alps", "GET /sites/alps/credentials?limit=50", "enrolment"),
    ("site revoke alps", "DELETE /sites/alps/agent-token", "2 jobs are there"),
    ("site drain alps --reason cooling", "POST /sites/alps/drain", "drained"),
    ("site resume alps", "POST /sites/alps/resume", "takes jobs again"),
    ("site offer alps gpu --owner uni=3 --owner me", "POST /sites/alps/offers", "off_1"),
    ("site end-offer alps off_1 --at 2030-01-01", "POST /sites/alps/offers/off_1/end", "ends"),
    ("site token alps", "POST /sites/alps/agent-token", "myr_agent"),
    ("site token alps --revoke", "DELETE /sites/alps/agent-token", "refused"),
    ("project list", "GET /projects?limit=50", "home"),
    ("project create home --lead ada", "POST /projects", "project grant home"),
    ("project show home", "GET /projects/home", "all_1"),
    (
        "project grant home --hours 1 --type core --until 2030-01-01 --reason test --door paid",
        "POST /allocations",
        "1.000 core hours",
    ),
    ("project member add home ada --role lead", "POST /projects/home/members", "ada is a lead"),
    ("project member remove home ada", "DELETE /projects/home/members/ada", "no longer"),
    ("ledger entries home", "GET /projects/home/entries?limit=50", "No entries yet"),
    ("ledger statement home", "GET /projects/home/statement", "adds up: yes"),
    (
        "ledger statement home --month 2026-11",
        "GET /projects/home/statement?month=2026-11",
        "opening",
    ),
    ("ledger owners --month 2026-11", "GET /ledger/owners?month=2026-11", "cern"),
    ("ledger owners", "GET /ledger/owners?month=1970-01", "1.000"),
    ("ledger months", "GET /owners/months?limit=50", "published"),
    ("ledger month 2026-11", "GET /owners/months/2026-11", "0.500 poor"),
    ("ledger month", "GET /owners/months/1970-01", "owners may comment"),
    ("ledger returns 2026", "GET /owners/return?year=2026", "still open: 2026-11"),
    ("ledger publish 2026-11", "POST /owners/months/2026-11/publish", "SHA-256 abc"),
    ("ledger comments 2026-11", "GET /owners/months/2026-11/comments?limit=50", "why? now"),
    ("ledger comment 2026-11 cern why", "POST /owners/months/2026-11/comments", "kept"),
    ("ledger speakers", "GET /owners/speakers?limit=50", "ada"),
    ("ledger speak cern ada", "POST /owners/speakers", "speaks for cern"),
    ("ledger speak cern ada --no-more", "DELETE /owners/speakers/cern/ada", "no longer"),
    ("site shares alps off_1", "GET /sites/alps/offers/off_1/shares", "100.00%"),
    (
        "site shares alps off_1 --owner cern=3 --from 2030-01-01",
        "POST /sites/alps/offers/off_1/shares",
        "cern",
    ),
    ("ledger close-month 2026-10", "POST /ledger/months/2026-10/close", "is closed"),
    ("ledger verify", "GET /ledger/verify", "adds up"),
    (
        "project extend all_1 --hours 1 --until 2030-01-01 --reason more",
        "POST /allocations/all_1/changes",
        "all_1: 1.000 hours more (chg_1, done)",
    ),
    (
        "project transfer all_1 all_2 --hours 1 --reason swap",
        "POST /allocations/all_1/changes",
        "chg_1",
    ),
    ("project pause all_1 --reason stop", "POST /allocations/all_1/changes", "chg_1"),
    ("project resume all_1 --reason go", "POST /allocations/all_1/changes", "chg_1"),
    ("project pace home", "GET /pace?project=home&limit=50", "slow"),
    ("project pace --off", "GET /pace/off?limit=50", "slow"),
    ("project notices", "GET /notices?limit=50", "too little"),
    ("project notices --seen 7", "POST /notices/7/seen", "put away"),
    ("project reclaim home --dry-run", "GET /reclaims?project=home&limit=50", "less than 20 %"),
    ("project reclaim", "POST /reclaims/run", "1.000"),
    ("project answer all_1 --reason later", "POST /allocations/all_1/changes", "chg_1"),
    ("award export home", "GET /awards?project=home&limit=500", "E-1,home,core,3600,1970-01-01"),
    (f"award import {AWARDS}", "POST /awards/import", "made 1 award; 0 known before"),
    ("project changes --state done", "GET /changes?state=done&limit=50", "chg_1"),
    ("project decide chg_1 --grant --reason good", "POST /changes/chg_1/decide", "chg_1"),
    ("site allow alps climate genome", "PUT /sites/alps/projects", "climate, genome"),
    ("site allow alps --everyone", "PUT /sites/alps/projects", "open to everyone"),
    ("person list", "GET /people?limit=50", "administrator"),
    ("person new ada --called Ada", "POST /people", "meyrin login --person ada"),
    ("person disable ada", "POST /people/ada/disable", "disabled"),
    ("call ask home --hours 100 --type core", "POST /proposals", "--account=home"),
    (
        "call route --kind public --purpose try --amount 9 --months 3 --type core",
        "GET /route?kind=public&purpose=try&amount_h=9&months=3&charged_type=core&unit=accelerator",
        "at alps/cpu: 63 free now",
    ),
    ("call list --everybody", "GET /proposals/all?limit=50", "granted"),
    ("call unsent", "GET /unsent?limit=50", "half an idea"),
    ("call unsent --discard abc", "DELETE /unsent/abc", "discarded"),
    ("call show prp_1", "GET /proposals/prp_1", "within its limits"),
    ("call withdraw prp_1", "POST /proposals/prp_1/withdraw", "prp_1"),
    ("call decide prp_1 --grant --reason good", "POST /proposals/prp_1/decide", "granted"),
    ("call clock prp_1 --stop why", "POST /proposals/prp_1/stop-clock", "prp_1"),
    ("call modes", "GET /modes", "60 seconds"),
    ("call clocks", "GET /clocks", "too few"),
    ("person guests", "GET /guests?limit=50", "uni-b.example"),
    ("person approve ada", "POST /people/ada/approve", "let in"),
    ("organisation list", "GET /organisations?limit=50", "uni-a.example"),
    ("organisation add uni-a --domain uni-a.example", "POST /organisations", "uni-a.example"),
    ("organisation remove uni-a", "DELETE /organisations/uni-a", "removed"),
    ("audit list --thing ada", "GET /audit?thing=ada&limit=50", "person.new"),
    ("audit verify", "GET /audit/verify", "abc"),
    ("store show", "GET /store", "results of jobs"),
    ("person show ada", "GET /people/ada", "starter"),
    ("role list --of ada", "GET /roles?person=ada&limit=50", "officer"),
    ("role give officer --call starter --to ada", "POST /roles", "ada is officer of starter"),
    (
        "role revoke officer --call starter --from ada",
        "DELETE /roles?role=officer&thing=starter&person=ada",
        "no longer officer",
    ),
    ("project leave home", "POST /projects/home/leave", "no longer in home"),
    (
        "project departures home",
        "GET /projects/home/departures?limit=50",
        "not confirmed yet",
    ),
    ("terms list", "GET /terms?limit=50", "alps"),
    ("terms show alps", "GET /sites/alps/terms", "be kind"),
    ("terms accept alps --version 1", "POST /sites/alps/terms/accept", "accepted: alps"),
    ("terms set alps --version 1 --url https://a.example", "PUT /sites/alps/terms", "version 1"),
    ("terms end alps", "DELETE /sites/alps/terms", "no terms"),
    ("terms accepted alps", "GET /sites/alps/terms/accepted?limit=50", "ada"),
    ("token list", "GET /tokens?limit=50", "laptop"),
    ("token new laptop --forever", "POST /tokens", "myr_new"),
    ("token revoke tok_1", "DELETE /tokens/tok_1", "refused"),
    ("plan list", "GET /plans?limit=50", "Pooling"),
    ("plan withdraw 3", "DELETE /plans/3", "withdrawn"),
    ("facility export --country alps=CH", "GET /sites?limit=500", 'name = "alps"'),
    ("trace export jobs.parquet", "GET /trace?limit=500", "1 job that ended; left out: 1"),
    ("login", "POST /login-links", "http://hub/login?link=x"),
    ("whoami", "GET /me", "ada (Ada), an administrator"),
]


@pytest.mark.parametrize("case", CASES, ids=[words for words, _, _ in CASES])
def test_each_command_in_words_and_as_an_object(
    meyrin: Meyrin, hub: FakeHub, capsys: Capture, case: tuple[str, str, str]
) -> None:
    words, call, said = case
    assert meyrin(*words.split()) == 0
    assert hub.calls[0] == call
    shown = capsys.readouterr()
    assert said in shown.out + shown.err
    assert meyrin(*words.split(), "--json") == 0
    answer = json.loads(capsys.readouterr().out)
    assert isinstance(answer, dict)
    if words.endswith("list") or "entries" in words:
        assert len(answer) == 2
        assert answer["next"] in {"", "tok_1"}


def _leaves(group: click.Group, prefix: str = "") -> list[str]:
    found = []
    for name in group.list_commands(click.Context(group)):
        if name in {"up", "agent"}:
            continue
        command = group.get_command(click.Context(group), name)
        if isinstance(command, click.Group):
            found += _leaves(command, f"{prefix}{name} ")
        else:
            found.append(prefix + name)
    return found


def test_no_command_of_a_noun_is_left_out() -> None:
    tried = {words for words, _, _ in CASES}
    for leaf in _leaves(cli):
        if " " in leaf and not leaf.startswith(NO_HUB):
            assert any(words.startswith(leaf) for words in tried), leaf


def test_secrets_stand_alone_on_standard_output(meyrin: Meyrin, capsys: Capture) -> None:
    for words in (
        "site enrol alps",
        "site enrol alps --credential",
        "site token alps",
        "token new x",
    ):
        assert meyrin(*words.split()) == 0
        assert len(capsys.readouterr().out.splitlines()) == 1


@pytest.mark.parametrize(
    "words",
    [
        "project extend all_1 --hours 1 --seconds 1 --reason x",
        "project transfer all_1 all_2 --reason x",
        "project decide chg_1 --reason x",
        "project reclaim home",
        "award import no-such-file --map award",
        "award export --csv --json",
        "project pace home --off",
        "call ask Big --hours 5 --type core",
        "call decide prp_1 --grant --reason=",
        "site allow alps",
        "site allow alps climate --everyone",
        "ledger close-month soon",
        "project grant home --type core --until 2030-01-01 --reason x",
        "project grant home --hours 1 --seconds 2 --type core --until 2030-01-01 --reason x",
        "project grant home --hours 1 --type core --until tomorrow --reason x",
        "project grant home --hours 99999999999999999 --type core --until 2030-01-01 --reason x",
        "project grant home --hours 0 --type core --until 2030-01-01 --reason x",
        "site offer alps gpu --owner uni=lots",
        "site offer alps gpu",
        "ledger statement home --month 2026-13",
        "site drain alps",
        "login --save --hub nowhere",
        "jobs --state flying",
        "jobs --limit 0",
        "no-such-command",
        "site no-such-command",
    ],
)
def test_words_that_can_not_be_read(
    meyrin: Meyrin, hub: FakeHub, words: str, capsys: Capture
) -> None:
    assert meyrin(*words.split()) == 2
    assert capsys.readouterr().err
    assert not hub.calls


def test_the_nearest_command_is_named(meyrin: Meyrin, capsys: Capture) -> None:
    assert meyrin("job") == 2
    assert "Did you mean 'jobs'?" in capsys.readouterr().err


def test_a_token_is_tried_and_kept(
    meyrin: Meyrin,
    environ: dict[str, str],
    hub: FakeHub,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Capture,
) -> None:
    url = environ.pop("MEYRIN_HUB")
    del environ["MEYRIN_TOKEN"]
    path = Path(environ["MEYRIN_DIR"]) / "client.json"

    def save(token: str, *more: str) -> int:
        monkeypatch.setattr("sys.stdin", io.StringIO(f"{token}\n"))
        return meyrin("login", "--save", *more)

    assert save(TOKEN) == 2, "which hub?"
    assert save("myr_wrong", "--hub", url) == 4
    assert not path.exists()
    assert save(TOKEN, "--hub", url) == 0
    assert json.loads(path.read_text()) == {"url": url, "token": TOKEN}
    assert path.stat().st_mode & 0o777 == 0o600
    assert meyrin("whoami") == 0
    assert save(TOKEN, "--hub", "http://other") == 2
    assert "--replace" in capsys.readouterr().err
    with locked(path):  # as who renews the log-in kept before, and would write that back
        login = threading.Thread(target=save, args=(TOKEN, "--hub", url, "--replace"))
        path.unlink()
        login.start()
        login.join(1)
        assert not path.exists()
    login.join()
    assert path.exists()
    hub.fail("GET /me", errors.Failed("x"), times=9)
    assert save(TOKEN, "--hub", url, "--replace") == 1
    assert json.loads(path.read_text())["url"] == url


def test_a_project_is_shown_with_all_its_members_and_allocations(
    meyrin: Meyrin, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many pages they fill."""
    members, pace = Projects.members, Allocations.pace

    def two(page: Callable[..., Any]) -> Callable[..., Any]:
        def paged(*which: Any, after: str = "", **more: Any) -> Any:
            found = page(*which, after=after, **more)
            return found if after else found.model_copy(update={"next": "more"})

        return paged

    monkeypatch.setattr(Projects, "members", two(members))
    monkeypatch.setattr(Allocations, "pace", two(pace))
    assert meyrin("project", "show", "home", "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert [len(said[name]) for name in ("members", "allocations")] == [2, 2]
