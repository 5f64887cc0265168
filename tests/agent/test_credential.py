"""Renewing a credential: killed before or after any step, the agent is known to the hub."""

from __future__ import annotations

import pytest

from meyrin.agent.credential import Credential, digest_of, draw, keep, next_of, read_secret
from meyrin.client.connection import Connection
from meyrin.domain.errors import NotLoggedIn, Unreachable

DAY_MS = 86_400_000


class Crash(BaseException):
    pass


class Hub:
    """Knows credentials by their digests, as the real one does; may crash us at any call."""

    def __init__(self, secret):
        self.good = {digest_of(secret)}
        self.connection = Connection("http://hub.test", secret)
        self.told = []
        self.before = self.after = None

    def caller(self):
        return digest_of(self.connection._http.headers["authorization"].removeprefix("Bearer "))

    def follow(self, digest):
        if self.before:
            raise self.before
        if self.caller() not in self.good:
            raise NotLoggedIn("unknown")
        self.good = {self.caller(), digest}
        self.told.append(digest)
        if self.after:
            raise self.after

    def who(self, secret):
        if digest_of(secret) not in self.good:
            raise NotLoggedIn("unknown")


@pytest.fixture
def path(tmp_path):
    found = tmp_path / "credential"
    keep(found, draw() + "\n")
    return found


@pytest.fixture
def hub(path):
    return Hub(read_secret(path))


def agent(path, hub):
    """A start of the agent: it logs in with what the file says."""
    hub.connection.use(read_secret(path))
    return Credential(path, hub.connection, hub.follow, hub.who)


def now_ms(path):
    return path.stat().st_mtime_ns // 1_000_000


def test_it_is_renewed_when_it_is_old_enough(path, hub):
    first = read_secret(path)
    found = agent(path, hub)
    assert found.renew_if_due(now_ms(path) + DAY_MS - 1000, 24) is False
    assert found.renew_if_due(now_ms(path) + DAY_MS, 0) is False
    assert found.renew_if_due(now_ms(path) + DAY_MS, 24) is True
    second = read_secret(path)
    assert second != first
    assert len(second) == len(first) == 47
    assert path.stat().st_mode & 0o777 == 0o600
    assert not next_of(path).exists()
    assert hub.caller() == digest_of(second)
    assert hub.told == [digest_of(second)]
    files = sorted(path.parent.iterdir())
    assert [each.name for each in files] == ["credential", "credential.before"]
    assert {each.stat().st_mode & 0o777 for each in files} == {0o600}


@pytest.mark.parametrize("fault", [Crash(), Unreachable("away")])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_fault_while_the_hub_is_told_locks_nobody_out(path, hub, fault, when):
    first = read_secret(path)
    setattr(hub, when, fault)
    for _ in range(3):
        with pytest.raises(type(fault)):
            agent(path, hub).renew_if_due(now_ms(path) + DAY_MS, 24)
        assert read_secret(path) == first
    begun = read_secret(next_of(path))
    hub.before = hub.after = None
    assert agent(path, hub).renew_if_due(now_ms(path), 24) is True  # not due, but begun
    assert read_secret(path) == begun
    assert hub.caller() in hub.good


def test_a_crash_before_the_file_is_replaced_is_mended_even_when_the_old_one_expired(path, hub):
    following = draw()
    keep(next_of(path), following + "\n")
    hub.good = {digest_of(following)}  # the hub took it, and the old one is over
    assert agent(path, hub).renew_if_due(now_ms(path), 24) is True
    assert read_secret(path) == following
    assert hub.caller() == digest_of(following)
    keep(next_of(path), draw() + "\n")
    hub.good = set()  # revoked: neither counts, and nothing is thrown away
    with pytest.raises(NotLoggedIn):
        agent(path, hub).renew_if_due(now_ms(path), 24)
    assert next_of(path).exists()
    assert read_secret(path) == following


def test_a_refused_agent_takes_what_else_there_is(path, hub):
    found = agent(path, hub)
    hub.good = set()
    assert found.look_again() is False
    new = draw()
    keep(path, new + "\n")  # the operator put another there
    assert found.look_again() is True
    assert hub.caller() == digest_of(new)
    assert found.look_again() is False
    following = draw()
    keep(next_of(path), following + "\n")
    assert found.look_again() is False
    hub.good = {digest_of(following)}
    assert found.look_again() is True
    assert read_secret(path) == following


def test_a_hub_that_came_back_from_a_backup_knows_the_one_before(path, hub):
    first = read_secret(path)
    found = agent(path, hub)
    found.renew_if_due(now_ms(path) + DAY_MS, 24)
    assert read_secret(path) != first
    hub.good = {digest_of(first)}
    assert found.look_again() is True
    assert hub.caller() == digest_of(first)
    assert read_secret(path) == first
    assert found.renew_if_due(now_ms(path) + DAY_MS, 24) is True
    hub.good = set()
    assert found.look_again() is False


def test_secrets_are_not_logged(path, hub, caplog, capsys):
    agent(path, hub).renew_if_due(now_ms(path) + DAY_MS, 24)
    assert read_secret(path) not in caplog.text + "".join(capsys.readouterr())
