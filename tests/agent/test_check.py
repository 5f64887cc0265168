"""What an agent's settings lack is told before it starts, with a way out that is one."""

from __future__ import annotations

import getpass

import pytest
from structlog.testing import capture_logs
from tests.agent.scripted import Site

from meyrin.agent import check, join
from meyrin.agent import config as settings
from meyrin.domain.errors import InvalidInput, NotLoggedIn
from meyrin.domain.site import Partition

TEXT = """
hub = "http://hub.test"
credential_file = "credential"
dir = "state"
"""


def load(folder, more):
    path = folder / "agent.toml"
    path.write_text(TEXT + more)
    return settings.load(path)


def revoked():
    raise NotLoggedIn("this token was revoked", hint="run `meyrin login`")


class Clock:
    def clock_ms(self):
        return 0


def test_an_agent_that_was_revoked_is_enrolled_again(tmp_path):
    found = check.hub_findings(load(tmp_path, ""), Clock(), revoked, 0, joined=True)
    (one,) = [each for each in found if each.bad]
    assert one.words == "the hub does not take our credential: this token was revoked"
    assert "meyrin site enrol NAME --again" in one.hint


def test_the_log_says_so_too(tmp_path):
    site = Site(tmp_path / "site")
    agent = site.agent()
    agent.stop()
    with capture_logs() as lines:
        agent.steps.once(revoked)
    (line,) = [each for each in lines if each["event"] == "agent.not_known"]
    assert "meyrin site enrol NAME --again" in line["hint"]
    site.close()


def test_a_token_of_slurmrestd_that_others_can_read_is_told_with_its_own_way_out(tmp_path):
    token = tmp_path / "token"
    token.write_text("secret")
    token.chmod(0o644)
    how = 'transport = "rest"\nrest_url = "http://127.0.0.1:1"\nrest_token_file = "token"\n'
    config = load(tmp_path, f'batch = "slurm"\n[slurm]\n{how}')
    (one,) = join.findings(config, 0)
    assert "can be read by others (mode 644)" in one.words
    assert one.hint == f"run: chmod 600 {token}"


@pytest.mark.parametrize(
    ("hours", "closed"),
    [
        (["00:00-24:00"], True),
        (["Mon-Sun 08:00-20:00", "20:00-08:00"], True),
        (["Mon-Sat 00:00-24:00", "Sun 00:00-23:59"], False),
        ([], False),
    ],
)
def test_quiet_hours_that_never_end_are_noted(tmp_path, hours, closed):
    config = load(tmp_path, f"[rules]\nquiet_hours = {hours}\n")
    found = check.site_findings(config, [Partition("cpu", 1, 1, 1)], None)
    noted = [each for each in found if "never end" in each.words]
    assert (len(noted), any(each.bad for each in noted)) == (int(closed), False)


def test_a_log_in_that_is_none_is_noted(tmp_path):
    people = f'people = {{ ada = "{getpass.getuser()}", bob = "no-such-log-in" }}\n'
    config = load(tmp_path, f'batch = "slurm"\n[limits]\nmode = "report"\n{people}')
    (one,) = check.people_findings(config)
    assert one.words == "limits.people: there is no log-in no-such-log-in (of bob) on this machine"
    assert not one.bad


def test_a_missing_enrolment_is_said_first(tmp_path):
    at = join.place("alps", "http://hub.test", tmp_path / "site")
    with pytest.raises(InvalidInput, match="MEYRIN_ENROLMENT is not set"):
        join.check_enrolment(at, {})
    join.check_enrolment(at, {"MEYRIN_ENROLMENT": "myr_1"})
