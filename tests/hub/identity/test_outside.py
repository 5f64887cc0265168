"""Log-in at a provider: there and back once, what is believed, guests, organisations."""

from __future__ import annotations

import base64
import json
import threading
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest
from joserfc import jwt
from joserfc.jwk import OctKey
from tests.hub.identity.fake_provider import CLI, HUB, ISSUER, FakeProvider, new_key
from tests.hub.identity.fixtures import at_once

from meyrin.domain.errors import Unreachable
from meyrin.hub.identity import outside, roles
from meyrin.hub.identity.provider import Claims, Provider
from meyrin.hub.plumbing import audit

BACK = "/login/openid/back"


@pytest.fixture
def idp(house) -> FakeProvider:
    made = FakeProvider(lambda: house.clock() / 1000)
    house.app.state.provider = Provider(
        ISSUER, HUB, CLI, "a secret", made.clock_s, transport=made.transport
    )
    return made


def begin(client, page="/jobs"):
    """Go to the provider; returns what it was told."""
    there = client.get("/login/openid", params={"next": page})
    assert there.status_code == 303
    told = parse_qs(urlsplit(there.headers["location"]).query)
    return {name: values[0] for name, values in told.items()}


def come_back(client, idp, told, **claims):
    idp.said = idp.claims(nonce=told["nonce"], **claims)
    return client.get(BACK, params={"state": told["state"], "code": "c"})


def organisation(house, domain="uni-a.example"):
    with house.write() as step:
        outside.add_organisation(step, "uni-a", domain, "University A")


def test_a_member_of_an_organisation_is_in_after_one_log_in(house, idp) -> None:
    organisation(house)
    client = house.client()
    told = begin(client)
    assert told["response_type"] == "code"
    assert told["code_challenge_method"] == "S256"
    done = come_back(client, idp, told, eppn="Alice@uni-a.example", name="Alice Ångström")
    assert (done.status_code, done.headers["location"]) == (303, "/jobs")
    me = client.get("/api/v1/me").json()["person"]
    assert (me["name"], me["display_name"]) == ("alice", "Alice Ångström")
    assert me["organisation"] == "uni-a"
    sent = next(asked for asked in idp.asked if "code_verifier" in asked)
    assert sent["code"] == ["c"]
    again = house.client()
    come_back(again, idp, begin(again), eppn="alice@uni-a.example")
    assert again.get("/api/v1/me").json()["person"]["name"] == "alice"


def test_the_provider_is_asked_between_transactions(house, idp) -> None:
    """A slow provider must not hold the database: SQLite has one writer."""
    client = house.client()
    told = begin(client)

    def slow(_request):
        with house.write() as step:
            outside.begin(step, "/")
        return httpx2.Response(500)

    idp.answers["/token"] = slow
    assert come_back(client, idp, told).status_code == 503


def test_a_stranger_is_a_guest_until_somebody_lets_them_in(house, idp) -> None:
    root = house.client(house.person("root", admin=True))
    client = house.client()
    refused = come_back(client, idp, begin(client), subject="g", preferred_username="gina")
    assert refused.status_code == 403
    assert "not let in yet" in refused.text
    assert client.get("/api/v1/me").status_code == 401
    waiting = root.get("/api/v1/guests").json()["guests"]
    assert [one["name"] for one in waiting] == ["gina"]
    assert root.post("/api/v1/people/gina/approve").status_code == 200
    assert root.post("/api/v1/people/gina/approve").status_code == 200
    assert root.get("/api/v1/guests").json()["guests"] == []
    assert come_back(client, idp, begin(client), subject="g").status_code == 303
    assert client.get("/api/v1/me").json()["person"]["name"] == "gina"


@pytest.mark.parametrize("eppn", ["bob@uni-b.example", "bob@physics.uni-b.example"])
def test_naming_an_organisation_lets_its_waiting_people_in(house, idp, eppn) -> None:
    client, stranger = house.client(), house.client()
    come_back(client, idp, begin(client), eppn=eppn)
    come_back(stranger, idp, begin(stranger), eppn="eve@not-uni-b.example", subject="e")
    root = house.client(house.person("root", admin=True))
    said = {"name": "uni-b", "domain": "UNI-B.example "}
    assert root.post("/api/v1/organisations", json=said).status_code == 201
    assert root.post("/api/v1/organisations", json=said).status_code == 409
    assert come_back(client, idp, begin(client), eppn=eppn).status_code == 303
    waiting = root.get("/api/v1/guests").json()["guests"]
    assert [one["domain"] for one in waiting] == ["not-uni-b.example"]
    assert root.delete("/api/v1/organisations/uni-b").status_code == 204
    assert root.delete("/api/v1/organisations/uni-b").status_code == 404
    assert client.get("/api/v1/me").status_code == 200  # who is in stays in


def organisation_of(client) -> str | None:
    return client.get("/api/v1/me").json()["person"]["organisation"]


def test_whom_the_provider_vouches_for_otherwise_has_another_organisation(house, idp) -> None:
    """Who left it has nothing more of what it was given, and stays in."""
    organisation(house)
    with house.write() as step:
        roles.give(step, "facility", "", "auditor", by="root", organisation="uni-a")
    client = house.client()
    come_back(client, idp, begin(client), eppn="kim@uni-a.example")
    assert client.get("/api/v1/audit").status_code == 200
    for eppn in ("kim@elsewhere.example", ""):
        come_back(client, idp, begin(client), eppn=eppn)
        assert organisation_of(client) is None
        assert client.get("/api/v1/audit").status_code == 403
    come_back(client, idp, begin(client), eppn="kim@uni-a.example")
    assert organisation_of(client) == "uni-a"


def test_a_word_without_a_domain_leaves_the_organisation(house, idp) -> None:
    """The command line's client may be told less than the hub's; a guest is let in by neither."""
    organisation(house)
    client = house.client()
    come_back(client, idp, begin(client), eppn="kim@uni-a.example")
    for less in ({}, {"eppn": None}, {"email": None, "name": None}):
        word = idp.id_token(idp.claims(audience=CLI, **less))
        made = house.client().post("/api/v1/tokens/openid", json={"id_token": word})
        assert made.status_code == 201
        assert organisation_of(client) == "uni-a"
    word = idp.id_token(idp.claims(audience=CLI, email="kim@uni-a.example"))
    assert house.client().post("/api/v1/tokens/openid", json={"id_token": word}).status_code == 201
    assert organisation_of(client) is None, "its mail address is not verified"
    with house.read() as step:
        rows, _ = audit.listed(step, "kim", "", 50)
    assert [row.facts.get("organisation") for row in rows] == [None, *["uni-a"] * 4]
    guest = house.client()
    assert come_back(guest, idp, begin(guest), subject="s2", eppn=None).status_code == 403
    root = house.client(house.person("root", admin=True))
    (waiting,) = root.get("/api/v1/guests").json()["guests"]
    assert (waiting["name"], waiting["domain"]) == ("s2", "")


def test_a_guest_of_an_organisation_is_let_in_once_the_provider_says_so(house, idp) -> None:
    organisation(house)
    client = house.client()
    assert come_back(client, idp, begin(client)).status_code == 403
    assert come_back(client, idp, begin(client), eppn="kim@uni-a.example").status_code == 303


def test_an_organisation_has_those_who_came_before_it_was_named(house, idp) -> None:
    """Guests who were approved, and its people of the time before it was removed."""
    client, physicist = house.client(), house.client()
    come_back(client, idp, begin(client), preferred_username="kim", eppn="kim@uni-a.example")
    with house.write() as step:
        outside.approve(step, "kim")
        outside.add_organisation(step, "physics", "physics.uni-a.example", "")
    come_back(client, idp, begin(client), eppn="kim@uni-a.example")
    lin = {"subject": "s2", "eppn": "lin@physics.uni-a.example"}
    come_back(physicist, idp, begin(physicist), **lin)
    for _ in range(2):
        organisation(house)
        assert organisation_of(client) == "uni-a"
        assert organisation_of(physicist) == "physics"  # the nearer one
        with house.write() as step:
            outside.remove_organisation(step, "uni-a")
        assert organisation_of(client) is None


@pytest.mark.parametrize("domain", ["", "uni a", "@uni-a.example", "localhost", "a" * 300 + ".de"])
def test_a_domain_must_be_one(house, domain: str) -> None:
    root = house.client(house.person("root", admin=True))
    reply = root.post("/api/v1/organisations", json={"name": "x", "domain": domain})
    assert reply.status_code == 422
    assert reply.json()["error"]["facts"]["field"] == "domain"


def test_a_mail_address_that_is_not_verified_proves_no_organisation(house, idp) -> None:
    organisation(house)
    client = house.client()
    said = {"email": "eve@uni-a.example", "email_verified": False}
    assert come_back(client, idp, begin(client), **said).status_code == 403
    other = house.client()
    said = {"subject": "s2", "email": "ada@physics.uni-a.example", "email_verified": True}
    assert come_back(other, idp, begin(other), **said).status_code == 303
    third = house.client()
    assert come_back(third, idp, begin(third), subject="s3", eppn="e@evil-uni-a.example") \
        .status_code == 403  # fmt: skip


def test_two_people_of_one_name_are_two(house, idp) -> None:
    organisation(house)
    names = []
    for subject in ("s1", "s2", "s3"):
        client = house.client()
        come_back(client, idp, begin(client), subject=subject, eppn="kim@uni-a.example")
        names.append(client.get("/api/v1/me").json()["person"]["name"])
    assert names == ["kim", "kim-2", "kim-3"]


def test_however_many_share_a_name_each_is_let_in(house) -> None:
    with house.write() as step:
        many = [Claims(ISSUER, f"s{number}", "j-smith" * 9, "", "") for number in range(60)]
        names = [outside.enter(step, one).name for one in many]
    assert len(set(names)) == 60
    assert names[8].endswith("-9")
    assert max(len(name) for name in names) == 63


@pytest.mark.parametrize(("eppn", "name"), [("wang@uni-a.example", "wang"), ("", "s1")])
def test_a_name_in_another_alphabet_is_shown_and_another_is_taken(house, idp, eppn, name) -> None:
    root = house.client(house.person("root", admin=True))
    client = house.client()
    come_back(client, idp, begin(client), preferred_username="王伟", eppn=eppn)
    (guest,) = root.get("/api/v1/guests").json()["guests"]
    assert (guest["name"], guest["display_name"]) == (name, "王伟")


def test_two_first_log_ins_at_once_make_one_person(house) -> None:
    claims = Claims(ISSUER, "s1", "kim", "Kim", "")
    with house.write() as step:
        first = outside.enter(step, claims)
    with house.write() as step:
        assert outside.enter(step, claims).id == first.id


def test_a_disabled_person_stays_out(house, idp) -> None:
    organisation(house)
    client = house.client()
    come_back(client, idp, begin(client), eppn="kim@uni-a.example")
    root = house.client(house.person("root", admin=True))
    assert root.post("/api/v1/people/kim/disable").status_code == 200
    assert client.get("/api/v1/me").status_code == 401
    assert come_back(client, idp, begin(client), eppn="kim@uni-a.example").status_code == 403


def test_a_log_in_counts_once_in_its_own_browser_for_ten_minutes(house, idp) -> None:
    organisation(house)
    client, thief = house.client(), house.client()
    told = begin(client)
    assert come_back(thief, idp, told, eppn="kim@uni-a.example").status_code == 401
    begin(thief)
    assert come_back(thief, idp, told, eppn="kim@uni-a.example").status_code == 401
    assert come_back(client, idp, told, eppn="kim@uni-a.example").status_code == 303
    assert come_back(client, idp, told, eppn="kim@uni-a.example").status_code == 401
    late = begin(client)
    house.clock.pass_s(601)
    assert come_back(client, idp, late, eppn="kim@uni-a.example").status_code == 401
    assert "/token" not in idp.calls[-1:]


def test_the_way_back_never_leads_to_another_host(house, idp) -> None:
    organisation(house)
    client = house.client()
    told = begin(client, page="https://evil.example/")
    done = come_back(client, idp, told, eppn="kim@uni-a.example")
    assert done.headers["location"] == "/"


@pytest.mark.usefixtures("idp")
def test_a_no_of_the_provider_is_told_and_can_hold_no_markup(house) -> None:
    client = house.client()
    told = begin(client)
    said = {"state": told["state"], "error": "<script>alert(1)</script>"}
    reply = client.get(BACK, params=said)
    assert reply.status_code == 401
    assert "<script>" not in reply.text


LIES = {
    "another issuer": {"iss": "https://else.example"},
    "for another": {"aud": "somebody-else"},
    "for two, not us first": {"aud": [HUB, "else"], "azp": "else"},
    "expired": {"exp": 1_700_000_000},
    "from the future": {"iat": 4_000_000_000},
    "old": {"iat": 1_799_999_000},
    "no subject": {"sub": ""},
    "another nonce": {"nonce": "other"},
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
def test_what_does_not_fit_is_not_believed(house, idp, lie) -> None:
    organisation(house)
    client = house.client()
    told = begin(client)
    idp.said = {**idp.claims(nonce=told["nonce"], eppn="kim@uni-a.example"), **lie}
    assert client.get(BACK, params={"state": told["state"], "code": "c"}).status_code == 401
    assert client.get("/api/v1/me").status_code == 401


def test_a_token_signed_with_a_key_that_is_not_the_providers_is_not_believed(house, idp) -> None:
    organisation(house)
    idp.published = [new_key("first")]
    client = house.client()
    assert come_back(client, idp, begin(client), eppn="kim@uni-a.example").status_code == 401


ODD_KEYS = {
    "a curve of tomorrow": {"kty": "EC", "crv": "BP-256", "kid": "b", "x": "AAAA", "y": "AAAA"},
    "another": {"kty": "OKP", "crv": "X-new", "kid": "o", "x": "AAAA"},
    "broken": {"kty": "RSA", "kid": "r"},
    "no key": 5,
}


@pytest.mark.parametrize("odd", ODD_KEYS.values(), ids=ODD_KEYS)
def test_a_key_that_can_not_be_read_shuts_nobody_out(house, idp, odd) -> None:
    organisation(house)
    keys = [odd, idp.key.as_dict(private=False)]
    idp.answers["/keys"] = lambda _request: httpx2.Response(200, json={"keys": keys})
    client = house.client()
    assert come_back(client, idp, begin(client), eppn="kim@uni-a.example").status_code == 303


def test_keys_that_are_no_list_are_the_providers_fault(house, idp) -> None:
    idp.answers["/keys"] = lambda _request: httpx2.Response(200, json={"keys": None})
    client = house.client()
    assert come_back(client, idp, begin(client), eppn="kim@uni-a.example").status_code == 503


@pytest.mark.usefixtures("idp")
@pytest.mark.parametrize("crit", [5, [["a"]]])
def test_a_strangers_odd_header_is_not_believed(house, crit) -> None:
    head = json.dumps({"alg": "RS256", "kid": "first", "crit": crit}).encode()
    token = f"{base64.urlsafe_b64encode(head).rstrip(b'=').decode()}.e30.e30"
    reply = house.client().post("/api/v1/tokens/openid", json={"id_token": token})
    assert reply.status_code == 401


@pytest.mark.parametrize("algorithm", ["none", "HS256"])
def test_no_signature_and_a_shared_one_are_no_signature(house, idp, algorithm: str) -> None:
    organisation(house)
    client = house.client()
    told = begin(client)
    claims = idp.claims(nonce=told["nonce"], eppn="kim@uni-a.example")
    token = jwt.encode({"alg": "HS256"}, claims, OctKey.import_key("long enough to sign with" * 2))
    if algorithm == "none":
        head = base64.urlsafe_b64encode(b'{"alg":"none"}').rstrip(b"=").decode()
        token = f"{head}.{token.split('.')[1]}."
    idp.id_token = lambda _claims: token
    assert client.get(BACK, params={"state": told["state"], "code": "c"}).status_code == 401


def test_new_keys_of_the_provider_are_looked_up(house, idp) -> None:
    organisation(house)
    client = house.client()
    assert come_back(client, idp, begin(client), eppn="kim@uni-a.example").status_code == 303
    idp.key = new_key("second")
    house.clock.pass_s(61)
    assert come_back(client, idp, begin(client), eppn="kim@uni-a.example").status_code == 303
    assert idp.calls.count("/keys") == 2


def test_a_provider_that_is_away_or_calls_itself_otherwise_is_named(house, idp) -> None:
    idp.metadata = {"issuer": "https://else.example"}
    reply = house.client().get("/login/openid")
    assert reply.status_code == 503
    assert "calls itself" in reply.json()["error"]["message"]
    idp.metadata = {"authorization_endpoint": "http://idp.example/auth"}
    assert "a moment ago" in house.client().get("/login/openid").json()["error"]["message"]
    house.clock.pass_s(10)
    assert house.client().get("/login/openid").status_code == 422


WAYS = {
    "/.well-known/openid-configuration": lambda provider: provider.authorisation_url(*"rsnv"),
    "/token": lambda provider: provider.claims_for_code(*"rcnv"),
}


@pytest.mark.parametrize("path", WAYS)
def test_few_wait_for_a_provider_that_hangs(house, idp, path: str) -> None:
    """The rest are told at once: a hung provider must not hold every thread of the hub."""
    provider, told, enough = house.app.state.provider, [], threading.Event()
    if path == "/token":
        provider.authorisation_url(*"rsnv")  # where the token endpoint is

    def hang(_request):
        if not enough.wait(10):
            enough.set()  # one that waited in vain is enough to fail
        raise httpx2.ConnectTimeout("no answer")

    def ask(_number: int) -> None:
        with pytest.raises(Unreachable) as refused:
            WAYS[path](provider)
        told.append(refused.value.message)
        if len(told) == 30:
            enough.set()

    idp.answers[path] = hang
    at_once(40, ask)
    assert sum("too many" in words for words in told) == 30
    assert idp.calls.count(path) == (10 if path == "/token" else 1)


def test_the_command_line_gets_a_token_for_the_providers_word(house, idp) -> None:
    organisation(house)
    client = house.client()
    way = client.get("/api/v1/login-ways").json()["openid"]
    assert (way["issuer"], way["client_id"]) == (ISSUER, CLI)
    for_hub = idp.id_token(idp.claims(eppn="kim@uni-a.example"))
    assert client.post("/api/v1/tokens/openid", json={"id_token": for_hub}).status_code == 401
    word = idp.id_token(idp.claims(audience=CLI, eppn="kim@uni-a.example"))
    made = client.post("/api/v1/tokens/openid", json={"id_token": word})
    assert made.status_code == 201
    assert house.actor(made.json()["secret"]).name == "kim"
    house.clock.pass_s(12 * 3600 + 1)
    assert house.client(made.json()["secret"]).get("/api/v1/me").status_code == 401
    assert client.post("/api/v1/tokens/openid", json={"id_token": "x.y.z"}).status_code == 401


def test_without_a_provider_there_is_no_such_way(house) -> None:
    client = house.client()
    assert client.get("/api/v1/login-ways").json() == {"openid": None}
    assert client.get("/login/openid").status_code == 404
    assert client.get("/login").status_code == 401
    assert "openid" not in client.get("/login").text


@pytest.mark.usefixtures("idp")
def test_the_log_in_page_offers_the_provider_and_keeps_the_way(house) -> None:
    page = house.client().get("/login", params={"next": "/jobs/7"})
    assert 'action="/login/openid"' in page.text
    assert 'value="/jobs/7"' in page.text


def test_acts_are_kept_in_order_and_bound_to_one_another(house) -> None:
    root = house.client(house.person("root", admin=True))
    root.post("/api/v1/people", json={"name": "ada"})
    root.post("/api/v1/people/ada/disable")
    rows = root.get("/api/v1/audit", params={"thing": "ada"}).json()["rows"]
    assert [row["verb"] for row in rows] == ["person.disable", "person.new"]
    assert rows[0]["actor"] == "root"
    assert rows[0]["prior"] == rows[1]["hash"]
    found = root.get("/api/v1/audit/verify").json()
    assert (found["broken"], found["last"]) == (None, rows[0]["hash"])
    assert "myr_" not in str(root.get("/api/v1/audit").json())


def test_an_act_that_fails_leaves_no_row(house) -> None:
    root = house.client(house.person("root", admin=True))
    root.post("/api/v1/people", json={"name": "ada"})
    assert root.post("/api/v1/people", json={"name": "ada"}).status_code == 409
    assert root.get("/api/v1/audit/verify").json()["rows"] == 1


def test_the_audit_comes_in_pages(house) -> None:
    root = house.client(house.person("root", admin=True))
    with house.write() as step:
        for number in range(25):
            audit.note(step, "root", "test.act", f"thing-{number}", number=number)
    seen, after = [], ""
    while True:
        page = root.get("/api/v1/audit", params={"limit": 10, "after": after}).json()
        seen += [row["thing"] for row in page["rows"]]
        after = page["next"]
        if not after:
            break
    assert seen == [f"thing-{number}" for number in reversed(range(25))]
