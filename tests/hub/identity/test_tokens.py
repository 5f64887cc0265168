"""Who holds a secret is who they say, exactly as long as it counts."""

from __future__ import annotations

import pytest
from tests.hub.identity.fixtures import at_once, everything_stored

from meyrin.domain.errors import InvalidInput, NotFound, NotLoggedIn
from meyrin.hub.identity import service as identity
from meyrin.hub.identity.service import AGENT_KINDS, PERSON_KINDS, TokenKind

EVERY_KIND = frozenset(TokenKind)


def refused(house, secret, kinds=EVERY_KIND):
    with house.read() as step, pytest.raises(NotLoggedIn) as caught:
        identity.authenticate(step, secret, kinds)
    assert secret == "" or secret not in caught.value.message + caught.value.hint
    return caught.value.message


def test_a_token_tells_who_holds_it(house):
    with house.write() as step:
        ada = identity.new_person(step, "ada", "Ада Лавлейс")
        proof = identity.new_project(step, "proof", lead=ada.id)
        identity.add_operator(step, "sit_1", "ada")
        token, secret = identity.new_token(step, ada.id, "laptop")
    actor = house.actor(secret)
    assert (actor.person, actor.name, actor.admin, actor.session) == (ada.id, "ada", False, False)
    assert actor.projects == {proof.id: "lead"}
    assert actor.operates == {"sit_1"}
    assert actor.site is None
    assert token.kind is TokenKind.CLI
    assert len(secret) == 47
    assert secret.startswith("myr_")


def test_an_agents_token_tells_its_site_and_is_nobodys(house):
    with house.write() as step:
        secret = identity.new_agent_token(step, "sit_1", "alps")
    with house.read() as step:
        actor = identity.authenticate(step, secret, AGENT_KINDS)
    assert (actor.site, actor.person, actor.admin) == ("sit_1", None, False)
    refused(house, secret, PERSON_KINDS)


def test_no_secret_is_stored(house):
    secrets = [house.person("ada")]
    with house.write() as step:
        ada = identity.person_by_name(step, "ada")
        link = identity.login_link(step, ada.id)
        secrets += [link, identity.use_login_link(step, link)]
        secrets.append(identity.new_agent_token(step, "sit_1", "alps"))
        stored = everything_stored(step)
    for secret in secrets:
        assert secret not in stored
        assert secret.removeprefix("myr_") not in stored


@pytest.mark.parametrize(
    "secret", ["", "myr_", "x" * 47, "myr_" + "A" * 43, "\udcff", "myr_" + "é"]
)
def test_a_wrong_secret_is_refused(house, secret):
    assert "not known" in refused(house, secret)


def test_a_revoked_token_is_refused_at_once(house):
    secret = house.person("ada")
    actor = house.actor(secret)
    with house.write() as step:
        (token,), _ = identity.list_tokens(step, actor.person, "", 10)
        identity.revoke(step, actor, token.id)
        with pytest.raises(NotLoggedIn):
            identity.authenticate(step, secret, PERSON_KINDS)
    assert "revoked" in refused(house, secret)
    with house.write() as step:
        identity.revoke(step, actor, token.id)  # asking twice is fine


def test_a_token_is_revoked_by_its_name_where_no_other_has_it(house):
    ada, bob = house.actor(house.person("ada")), house.actor(house.person("bob"))
    with house.write() as step:
        token, _ = identity.new_token(step, ada.person, "laptop")
        identity.new_token(step, bob.person, "laptop")
        for _ in range(2):  # asking twice is fine
            assert identity.revoke(step, ada, "laptop") == token.id
        with pytest.raises(NotFound) as gone:
            identity.revoke(step, ada, "tablet")
        assert "token list" in gone.value.hint
        twins = [identity.new_token(step, ada.person, "twin")[0].id for _ in range(2)]
        with pytest.raises(InvalidInput, match="several of your tokens") as several:
            identity.revoke(step, ada, "twin")
        assert all(each in several.value.hint for each in twins)


def test_a_token_counts_until_it_expires(house):
    house.person("ada")
    with house.write() as step:
        ada = identity.person_by_name(step, "ada")
        _, secret = identity.new_token(step, ada.id, "short", lifetime_s=60)
    house.clock.pass_s(59.999)
    assert house.actor(secret).name == "ada"
    house.clock.pass_s(0.001)
    assert "expired" in refused(house, secret)


def test_nobody_revokes_or_sees_the_token_of_another(house):
    ada, bob = house.actor(house.person("ada")), house.actor(house.person("bob"))
    root = house.actor(house.person("root", admin=True))
    with house.write() as step:
        (token,), _ = identity.list_tokens(step, ada.person, "", 10)
        with pytest.raises(NotFound) as theirs:
            identity.revoke(step, bob, token.id)
        with pytest.raises(NotFound) as nothing:
            identity.revoke(step, bob, "tok_0")
        assert theirs.value.message.replace(token.id, "") == nothing.value.message.replace(
            "tok_0", ""
        )
        identity.revoke(step, root, token.id)
        assert identity.list_tokens(step, ada.person, "", 10) == ([], "")


@pytest.mark.parametrize(("name", "lifetime_s"), [("", None), ("a\nb", None), ("fine", 0)])
def test_a_token_needs_a_name_and_a_life(house, name, lifetime_s):
    ada = house.actor(house.person("ada"))
    with house.write() as step, pytest.raises(InvalidInput):
        identity.new_token(step, ada.person, name, lifetime_s=lifetime_s)


def test_tokens_are_listed_newest_first_in_pages(house):
    ada = house.actor(house.person("ada"))
    for number in range(7):
        house.clock.pass_s(1 if number % 2 else 0)  # some share a millisecond
        with house.write() as step:
            identity.new_token(step, ada.person, f"t{number}")
    seen, after = [], ""
    while True:
        with house.read() as step, house.counted(1):
            found, after = identity.list_tokens(step, ada.person, after, 3)
        seen += found
        if not after:
            break
    assert len({token.id for token in seen}) == len(seen) == 8
    times = [token.created_ms for token in seen]
    assert times == sorted(times, reverse=True)


def test_a_link_becomes_one_session_once(house):
    ada = house.actor(house.person("ada"))
    with house.write() as step:
        link = identity.login_link(step, ada.person)
    refused(house, link, PERSON_KINDS)  # a link is no log-in by itself
    with house.write() as step:
        session = identity.use_login_link(step, link)
    assert house.actor(session).session
    with house.write() as step, pytest.raises(NotLoggedIn):
        identity.use_login_link(step, link)
    house.clock.pass_s(identity.SESSION_LIFETIME_S)
    refused(house, session)


def test_a_link_is_good_for_ten_minutes(house):
    ada = house.actor(house.person("ada"))
    with house.write() as step:
        links = [identity.login_link(step, ada.person) for _ in range(2)]
    house.clock.pass_s(599.999)
    with house.write() as step:
        identity.use_login_link(step, links[0])
    house.clock.pass_s(0.001)
    with house.write() as step, pytest.raises(NotLoggedIn):
        identity.use_login_link(step, links[1])


def test_a_link_of_a_disabled_person_does_nothing(house):
    ada = house.actor(house.person("ada"))
    house.person("root", admin=True)
    with house.write() as step:
        link = identity.login_link(step, ada.person)
        identity.disable(step, "ada")
        with pytest.raises(NotLoggedIn):
            identity.use_login_link(step, link)


def test_other_secrets_are_no_links(house):
    secret = house.person("ada")
    for word in (secret, "", "myr_", "x"):
        with house.write() as step, pytest.raises(NotLoggedIn):
            identity.use_login_link(step, word)
    assert house.actor(secret).name == "ada"


def test_of_twenty_who_use_a_link_at_once_one_gets_in(house):
    ada = house.actor(house.person("ada"))
    for _ in range(3):
        with house.write() as step:
            link = identity.login_link(step, ada.person)

        def attempt(_number, link=link):
            try:
                with house.write() as step:
                    return identity.use_login_link(step, link)
            except NotLoggedIn:
                return None

        sessions = [found for found in at_once(20, attempt) if found]
        assert len(sessions) == 1
        assert house.actor(sessions[0]).person == ada.person


def test_logging_out_ends_the_session_and_no_other_token(house):
    secret = house.person("ada")
    ada = house.actor(secret)
    with house.write() as step:
        session = identity.use_login_link(step, identity.login_link(step, ada.person))
        identity.log_out(step, session)
        identity.log_out(step, session)
        identity.log_out(step, secret)
        assert identity.counts(step, secret)
        assert not identity.counts(step, session)
    refused(house, session)
    assert house.actor(secret) == ada


def test_knowing_who_calls_takes_two_queries_whatever_they_may(house):
    secret = house.person("ada")
    with house.write() as step:
        ada = identity.person_by_name(step, "ada")
        for number in range(60):
            identity.new_project(step, f"p{number}", lead=ada.id)
            identity.add_operator(step, f"sit_{number}", "ada")
    with house.read() as step, house.counted(2):
        actor = identity.authenticate(step, secret, PERSON_KINDS)
    assert len(actor.projects) == len(actor.operates) == 60
    with house.write() as step:
        agent = identity.new_agent_token(step, "sit_1", "alps")
    with house.read() as step, house.counted(1):
        identity.authenticate(step, agent, AGENT_KINDS)
