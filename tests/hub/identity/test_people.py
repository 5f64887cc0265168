"""People and projects: who is there, who sees what, and the first start."""

from __future__ import annotations

import random

import pytest
from tests.hub.identity.fixtures import at_once

from meyrin.domain.errors import Conflict, InvalidInput, NotAllowed, NotFound, NotLoggedIn, Refused
from meyrin.hub.identity import service as identity
from meyrin.hub.plumbing.authz import STRANGER, Actor

ROOT = Actor(person="per_root", admin=True)


@pytest.mark.parametrize(
    "shown",
    ["Émilie du Châtelet", "梁思成", "ชวน", "\u0645\u06cc\u200c\u062e\u0648", "Ø" * 200, "🦉"],
)
def test_people_are_shown_in_any_alphabet(house, shown):
    with house.write() as step:
        made = identity.new_person(step, "someone", shown)
    with house.read() as step:
        assert identity.person_by_name(step, "someone") == made
    assert made.display_name == shown


@pytest.mark.parametrize(
    "shown", [" ", "a\nb", "a\0b", "\ud800", "x" * 201, "\u2028", "\x1b[2J", "a\u202eb", "\u2067"]
)
def test_what_breaks_lines_or_storage_is_no_name_to_show(house, shown):
    with house.write() as step, pytest.raises(InvalidInput):
        identity.new_person(step, "someone", shown)


@pytest.mark.parametrize("name", ["", "Ada", "a b", "ада", "x" * 64, "-a", "a/b", "a\0"])
def test_names_for_programs_are_short_and_plain(house, name):
    with house.write() as step:
        with pytest.raises(InvalidInput):
            identity.new_person(step, name)
        with pytest.raises(InvalidInput):
            identity.new_project(step, name)


def test_nobody_is_called_as_the_hub_is_in_the_audit(house):
    with house.write() as step, pytest.raises(InvalidInput, match="nobody can be called hub"):
        identity.new_person(step, "hub")
    assert identity.name_from("Hub", "person") == "hub-2"


def test_a_name_is_given_once(house):
    with house.write() as step:
        identity.new_person(step, "ada")
        identity.new_project(step, "proof")
    with house.write() as step, pytest.raises(Conflict):
        identity.new_person(step, "ada")
    with house.write() as step, pytest.raises(Conflict):
        identity.new_project(step, "proof")


def test_of_ten_who_take_a_name_at_once_one_gets_it(house):
    def attempt(_number):
        try:
            with house.write() as step:
                return identity.new_person(step, "ada")
        except Conflict:
            return None

    assert sum(found is not None for found in at_once(10, attempt)) == 1


def test_a_disabled_person_is_out_at_once(house):
    secret = house.person("ada")
    house.person("root", admin=True)
    with house.write() as step:
        gone = identity.disable(step, "ada")
        assert gone.disabled_ms == house.clock.now_ms
    house.clock.pass_s(5)
    with house.write() as step:
        assert identity.disable(step, "ada") == gone
    with pytest.raises(NotLoggedIn):
        house.actor(secret)


def test_the_last_administrator_stays(house):
    house.person("root", admin=True)
    house.person("ada")
    with house.write() as step, pytest.raises(Refused):
        identity.disable(step, "root")
    last = "root"
    for number in range(12):  # two who disable each other
        pair = [last, f"boss{number}"]
        house.person(pair[1], admin=True)
        outcomes = at_once(2, lambda which, pair=pair: disabled(house, pair[which]))
        assert sorted(outcomes) == [False, True]
        last = pair[outcomes.index(False)]


def disabled(house, name):
    try:
        with house.write() as step:
            identity.disable(step, name)
    except Refused:
        return False
    return True


def test_names_by_id_take_one_query(house):
    with house.write() as step:
        people = [identity.new_person(step, f"p{number}") for number in range(30)]
        projects = [identity.new_project(step, f"q{number}") for number in range(30)]
    with house.read() as step:
        with house.counted(1):
            found = identity.people_names(step, [one.id for one in people])
        assert found == {one.id: one.name for one in people}
        with house.counted(1):
            found = identity.project_names(step, {one.id for one in projects})
        assert found == {one.id: one.name for one in projects}
        with house.counted(0):
            assert identity.people_names(step, []) == {}


@pytest.mark.parametrize("rows", [3, 60])
def test_lists_take_as_many_queries_for_many_rows_as_for_few(house, rows):
    with house.write() as step:
        for number in range(rows):
            who = identity.new_person(step, f"p{number:02}")
            identity.new_project(step, f"q{number:02}")
            identity.new_project(step, f"own{number:02}", lead=who.id)
            identity.add_member(step, ROOT, "q00", who.name, "member")
    with house.read() as step:
        for most, ask in (
            (1, identity.people),
            (1, identity.all_projects),
            (2, lambda *page: identity.members(page[0], ROOT, "q00", *page[1:])),
        ):
            seen, after = [], ""
            while True:
                with house.counted(most):
                    found, after = ask(step, after, 25)
                assert len(found) <= 25
                seen += [one.name for one in found]
                if not after:
                    break
            assert seen == sorted(set(seen))
            assert len(seen) == (2 * rows if ask is identity.all_projects else rows)


# --- projects


def test_a_lead_who_was_shut_out_is_no_lead_to_leave_a_project_to(house):
    lead = house.person("lead")
    house.person("other")
    with house.write() as step:
        identity.new_project(step, "proof", lead=identity.person_by_name(step, "lead").id)
    with house.write() as step:
        identity.add_member(step, house.actor(lead), "proof", "other", "lead")
        identity.disable(step, "other")
    with house.write() as step:
        actor = house.actor(lead)
        with pytest.raises(Refused, match="last lead"):
            identity.remove_member(step, actor, "proof", "lead")
        with pytest.raises(Refused, match="last lead"):
            identity.add_member(step, actor, "proof", "lead", "member")
        identity.remove_member(step, actor, "proof", "other")


def test_leads_keep_the_members_of_their_project(house):
    lead, other = house.person("lead"), house.person("other")
    with house.write() as step:
        identity.new_project(step, "proof", lead=identity.person_by_name(step, "lead").id)
    with house.write() as step:
        actor = house.actor(lead)
        identity.add_member(step, actor, "proof", "other", "member")
    with house.write() as step, pytest.raises(NotAllowed):
        identity.add_member(step, house.actor(other), "proof", "other", "lead")
    with house.write() as step:
        identity.add_member(step, actor, "proof", "other", "lead")
        found, _ = identity.members(step, actor, "proof", "", 10)
        assert [(one.name, one.role) for one in found] == [("lead", "lead"), ("other", "lead")]
    with house.write() as step:
        identity.remove_member(step, house.actor(other), "proof", "lead")
    with house.write() as step, pytest.raises(NotFound):
        identity.remove_member(step, house.actor(lead), "proof", "other")
    with house.write() as step, pytest.raises(NotFound):
        identity.remove_member(step, house.actor(other), "proof", "lead")


def test_only_people_who_are_there_become_members(house):
    house.person("root", admin=True)
    house.person("gone")
    with house.write() as step:
        identity.new_project(step, "proof")
        identity.disable(step, "gone")
        for name, role, error in (
            ("nobody", "member", NotFound),
            ("gone", "member", Conflict),
            ("root", "king", InvalidInput),
        ):
            with pytest.raises(error):
                identity.add_member(step, ROOT, "proof", name, role)


def test_a_project_of_others_can_not_be_told_from_none(house):
    chance = random.Random(7)
    names = [f"p{number}" for number in range(6)]
    projects = [f"q{number}" for number in range(8)]
    secrets = {name: house.person(name) for name in names}
    member = {(p, q): chance.random() < 0.3 for p in names for q in projects}
    with house.write() as step:
        for project in projects:
            identity.new_project(step, project)
            for name in names:
                if member[name, project]:
                    role = chance.choice(["member", "lead"])
                    identity.add_member(step, ROOT, project, name, role)
    for name in names:
        actor = house.actor(secrets[name])
        mine = [project for project in projects if member[name, project]]
        with house.write() as step:
            assert [one.name for one in identity.visible_projects(step, actor, "", 50)[0]] == mine
            assert [one.name for one in identity.projects_of(step, actor.person)] == mine
            for project in projects:
                if project in mine:
                    found = identity.project_by_name(step, actor, project)
                    assert actor.in_project(found.id)
                    continue
                for ask in (
                    lambda q, a=actor, s=step: identity.project_by_name(s, a, q),
                    lambda q, a=actor, s=step: identity.members(s, a, q, "", 5),
                    lambda q, a=actor, s=step, n=name: identity.add_member(s, a, q, n, "lead"),
                    lambda q, a=actor, s=step, n=name: identity.remove_member(s, a, q, n),
                ):
                    assert words(ask, project) == words(ask, "zz")
    with house.read() as step:
        assert identity.visible_projects(step, STRANGER, "", 50) == ([], "")
        assert len(identity.visible_projects(step, ROOT, "", 50)[0]) == len(projects)
        with pytest.raises(NotFound):
            identity.project_by_name(step, STRANGER, projects[0])


def words(ask, project):
    with pytest.raises(NotFound) as caught:
        ask(project)
    error = caught.value
    return (error.message + error.hint + str(dict(error.facts))).replace(project, "?")


def test_the_only_project_is_the_default(house):
    secret = house.person("ada")
    with house.write() as step:
        with pytest.raises(Refused, match="no open project"):
            identity.default_project(step, house.actor(secret))
        ada = identity.person_by_name(step, "ada")
        one = identity.new_project(step, "one", lead=ada.id)
        identity.new_project(step, "of-others")
    with house.read() as step:
        assert identity.default_project(step, house.actor(secret)) == one
    with house.write() as step:
        identity.new_project(step, "two", lead=ada.id)
    with house.read() as step, pytest.raises(InvalidInput, match="one, two"):
        identity.default_project(step, house.actor(secret))


# --- the first start of one-machine mode


def test_the_first_start_makes_an_administrator_and_home_once(house):
    with house.write() as step:
        first, home, secret = identity.bootstrap(step, "ada")
    assert first.admin
    assert secret is not None
    assert house.actor(secret).leads(home.id)
    with house.read() as step:
        assert identity.default_project(step, Actor(person=first.id)) == home
    with house.write() as step:
        assert identity.bootstrap(step, "ada") == (first, home, None)
        again, _, fresh = identity.bootstrap(step, "ada", fresh_token=True)
    assert again == first
    assert fresh not in {None, secret}
    assert house.actor(fresh) == house.actor(secret)
    with house.write() as step:
        assert identity.bootstrap(step, "somebody-else") == (first, home, None)
        assert identity.people(step, "", 10) == ([first], "")


@pytest.mark.parametrize(
    ("login", "name"),
    [
        ("Ada", "ada"),
        ("CORP\\ada", "corp-ada"),
        ("ада", "admin"),
        ("a\n", "a"),
        ("x" * 99, "x" * 63),
    ],
)
def test_any_login_name_of_the_machine_will_do(house, login, name):
    with house.write() as step:
        person, _, _ = identity.bootstrap(step, login)
    assert person.name == name
