"""Log-in, log-out, tokens, people and projects as browsers and programs meet them."""

from __future__ import annotations

from html import unescape
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from fastapi.routing import APIRoute

from meyrin.hub.identity import routes as identity_routes
from meyrin.hub.identity import service as identity
from meyrin.hub.identity.login_page import local_path
from meyrin.hub.plumbing.authz import Access, Allow
from meyrin.hub.plumbing.settings import HubSettings
from meyrin.hub.sites import routes as sites_routes

HERE = {"Origin": "http://hub.test"}


def link_for(house, name):
    with house.write() as step:
        return identity.login_link(step, identity.person_by_name(step, name).id)


def browser(house, name, base_url="http://hub.test"):
    """A client that came in by a log-in link."""
    client = house.client(base_url=base_url)
    assert client.get("/login", params={"link": link_for(house, name)}).status_code == 303
    return client


@pytest.mark.parametrize("module", [identity_routes, sites_routes])
def test_every_route_says_once_who_may_call(module):
    routes = [route for route in module.router.routes if isinstance(route, APIRoute)]
    assert routes
    for route in routes:
        guards = [one.call for one in route.dependant.dependencies if isinstance(one.call, Allow)]
        assert len(guards) == 1, route.path


def test_only_log_in_and_log_out_are_for_strangers(house):
    open_to_all = {
        route.path
        for module in (identity_routes, sites_routes)
        for route in module.router.routes
        for one in route.dependant.dependencies
        if one.call.access is Access.ANYONE
    }
    assert open_to_all == {"/login", "/logout"}
    reply = house.client().get("/api/v1/me")
    assert reply.status_code == 401
    assert reply.json()["error"]["code"] == "not_logged_in"


# --- log-in


def test_a_link_logs_a_browser_in_and_leads_to_the_page_asked_for(house):
    secret = house.person("ada")
    reply = house.client(secret).post("/api/v1/login-links", json={"page": "/jobs/3?tab=log"})
    assert reply.status_code == 201
    assert reply.headers["cache-control"] == "no-store"
    assert reply.json()["expires_s"] == 600
    url = reply.json()["url"]
    assert url.startswith("http://hub.test/login?")
    browser = house.client()
    reply = browser.get(url)
    assert (reply.status_code, reply.headers["location"]) == (303, "/jobs/3?tab=log")
    assert reply.headers["referrer-policy"] == "no-referrer"
    cookie = reply.headers["set-cookie"].lower()
    assert cookie.startswith("meyrin_session=myr_")
    assert "httponly" in cookie
    assert "samesite=lax" in cookie
    assert "secure" not in cookie
    assert parse_qs(urlsplit(url).query)["link"][0] not in reply.text
    assert browser.get("/api/v1/me").json()["person"]["name"] == "ada"
    assert secret not in str(reply.headers)


def test_over_https_the_cookie_stays_on_https(house):
    house.person("ada")
    client = house.client(base_url="https://hub.test")
    reply = client.get("/login", params={"link": link_for(house, "ada")})
    assert "secure" in reply.headers["set-cookie"].lower()


def test_looking_ahead_uses_nothing_up(house):
    house.person("ada")
    client, link = house.client(), link_for(house, "ada")
    for _ in range(2):
        reply = client.head("/login", params={"link": link})
        assert (reply.status_code, reply.text) == (200, "")
        ahead = {"Sec-Purpose": "prefetch;prerender"}
        assert client.get("/login", params={"link": link}, headers=ahead).status_code == 503
    assert "set-cookie" not in reply.headers
    assert client.get("/login", params={"link": link}).status_code == 303


def test_a_used_or_expired_link_says_what_to_do(house):
    house.person("ada")
    link, late = link_for(house, "ada"), link_for(house, "ada")
    assert house.client().get("/login", params={"link": link}).status_code == 303
    house.clock.pass_s(600)
    for word in (link, late, "myr_none", "\0", "<script>"):
        reply = house.client().get("/login", params={"link": word})
        assert reply.status_code == 410
        assert "meyrin login" in reply.text
        assert word not in reply.text
        assert "set-cookie" not in reply.headers


def test_the_same_link_again_in_the_same_browser_just_goes_on(house):
    house.person("ada")
    client, link = house.client(), link_for(house, "ada")
    for _ in range(2):
        reply = client.get("/login", params={"link": link, "next": "/jobs"})
        assert (reply.status_code, reply.headers["location"]) == (303, "/jobs")


def test_a_link_changes_who_somebody_is_only_when_they_say_so(house):
    """Another site's page may lead a browser to anybody's link: then nothing changes."""
    house.person("ada")
    house.person("bob")
    client, link = browser(house, "ada"), link_for(house, "bob")
    said = {"link": link, "next": "/jobs"}
    asked = client.get("/login", params=said)
    assert asked.status_code == 200
    assert "You are ada in this browser, and the link is for bob" in asked.text
    assert asked.headers["referrer-policy"] == "same-origin"
    assert client.post("/login", params=said, headers={"Origin": "null"}).status_code == 403
    assert client.get("/api/v1/me").json()["person"]["name"] == "ada"
    action = unescape(asked.text.partition('<form action="')[2].partition('"')[0])
    for _ in range(2):
        reply = client.post(action, headers=HERE)
        assert (reply.status_code, reply.headers["location"]) == (303, "/jobs")
    assert client.get("/api/v1/me").json()["person"]["name"] == "bob"
    assert client.get("/login", params={"link": link_for(house, "bob")}).status_code == 303
    assert browser(house, "ada").get("/login", params=said).status_code == 303  # used already


@pytest.mark.parametrize("origin", [{"Origin": "https://evil.example"}, {"Origin": "null"}, {}])
def test_another_sites_form_logs_nobody_in(house, origin):
    """Such a form comes without the browser's cookie, as if nobody were logged in."""
    house.person("eve")
    link = link_for(house, "eve")
    reply = house.client().post("/login", params={"link": link}, headers=origin)
    assert reply.status_code == 403
    assert "set-cookie" not in reply.headers
    reply = house.client().post("/login", params={"link": link}, headers=HERE)
    assert reply.status_code == 303, "the link was not used up"


def test_without_a_link_the_page_says_how_to_get_one(house):
    house.person("ada")
    reply = house.client().get("/login")
    assert reply.status_code == 401
    assert "meyrin login" in reply.text
    assert browser(house, "ada").get("/login").status_code == 303


ELSEWHERE = [
    "//evil.test",
    "https://evil.test/",
    "/\\evil.test",
    "\\\\evil.test",
    "/\t/evil.test",
    "/\n/evil.test",
    " //evil.test",
    "javascript:alert(1)",
    "jobs",
    "",
    "/jobs\r\nSet-Cookie: a=b",
]


@pytest.mark.parametrize("page", ELSEWHERE)
def test_log_in_leads_nowhere_else(house, page):
    assert not local_path(page)
    secret = house.person("ada")
    query = urlencode({"link": link_for(house, "ada"), "next": page})
    reply = house.client().get(f"/login?{query}")
    assert (reply.status_code, reply.headers["location"]) == (303, "/")
    reply = house.client(secret).post("/api/v1/login-links", json={"page": page})
    assert reply.status_code == 422


def test_an_old_cookie_makes_a_stranger_who_can_log_in_again(house):
    house.person("ada")
    client = browser(house, "ada")
    house.clock.pass_s(identity.SESSION_LIFETIME_S)
    assert client.get("/api/v1/me").status_code == 401
    assert client.get("/login").status_code == 401
    assert client.get("/login", params={"link": link_for(house, "ada")}).status_code == 303
    assert client.get("/api/v1/me").status_code == 200


def test_logging_out_ends_the_session(house):
    house.person("ada")
    client = browser(house, "ada")
    cookie = client.cookies["meyrin_session"]
    reply = client.post("/logout", headers=HERE)
    assert (reply.status_code, reply.headers["location"]) == (303, "/login")
    assert "meyrin_session" not in client.cookies
    client.cookies.set("meyrin_session", cookie)
    assert client.get("/api/v1/me").status_code == 401
    assert client.post("/logout").status_code == 303  # already out: fine


@pytest.mark.parametrize("origin", [{}, {"Origin": "http://evil.test"}, {"Origin": "null"}])
def test_another_sites_form_does_nothing_in_a_session(house, origin):
    house.person("ada")
    client = browser(house, "ada")
    assert client.post("/logout", headers=origin).status_code == 403
    reply = client.post("/api/v1/tokens", json={"name": "mine"}, headers=origin)
    assert reply.status_code == 403
    assert client.get("/api/v1/me").status_code == 200
    assert client.post("/api/v1/tokens", json={"name": "mine"}, headers=HERE).status_code == 201


@pytest.mark.parametrize("header", ["Bearer", "Bearer ", "Bearer x", "Basic YTpi", "myr_abc", "é"])
def test_a_wrong_header_is_no_stranger(house, header):
    house.person("ada")
    client = browser(house, "ada")  # its cookie must not stand in for the wrong header
    reply = client.get("/api/v1/me", headers={"Authorization": header.encode("latin-1")})
    assert reply.status_code == 401


def test_a_session_is_no_bearer_token_and_a_token_no_cookie(house):
    secret = house.person("ada")
    session = browser(house, "ada").cookies["meyrin_session"]
    assert house.client(session).get("/api/v1/me").status_code == 401
    client = house.client()
    client.cookies.set("meyrin_session", secret)
    assert client.get("/api/v1/me").status_code == 401


def test_an_agent_is_no_person(house):
    with house.write() as step:
        secret = identity.new_agent_token(step, "sit_1", "alps")
    for path in ("/api/v1/me", "/api/v1/projects", "/api/v1/sites"):
        assert house.client(secret).get(path).status_code == 401


def test_a_link_names_the_hub_as_the_world_knows_it(house, tmp_path):
    house.app.state.settings = HubSettings(dir=tmp_path, public_url="https://hub.example.org/")
    client = house.client(house.person("ada"))
    url = client.post("/api/v1/login-links", json={"page": "/jobs"}).json()["url"]
    assert url.startswith("https://hub.example.org/login?link=")


def test_an_administrator_hands_a_new_person_their_first_link(house):
    root, ada = house.client(house.person("root", admin=True)), house.client(house.person("ada"))
    reply = root.post("/api/v1/people", json={"name": "bob", "display_name": "Боб"})
    assert reply.status_code == 201
    url = root.post("/api/v1/login-links", json={"person": "bob"}).json()["url"]
    client = house.client()
    client.get(url)
    assert client.get("/api/v1/me").json()["person"]["display_name"] == "Боб"
    assert ada.post("/api/v1/login-links", json={"person": "bob"}).status_code == 403
    rows = root.get("/api/v1/audit", params={"thing": "bob"}).json()["rows"]
    assert [(row["actor"], row["verb"]) for row in rows] == [
        ("root", "login.link"), ("root", "person.new"),
    ]  # fmt: skip


# --- tokens, people, projects


def test_tokens_are_made_listed_and_revoked_by_their_owner(house):
    client = house.client(house.person("ada"))
    made = client.post("/api/v1/tokens", json={"name": "Пиксел", "days": 1}).json()
    assert made["token"]["expires_ms"] == house.clock.now_ms + 86_400_000
    other = house.client(made["secret"])
    assert other.get("/api/v1/me").status_code == 200
    listed = client.get("/api/v1/tokens").json()
    assert {one["name"] for one in listed["tokens"]} == {"test", "Пиксел"}
    assert made["secret"] not in str(listed)
    path = f"/api/v1/tokens/{made['token']['id']}"
    assert house.client(house.person("bob")).delete(path).status_code == 404
    assert client.delete(path).status_code == 204
    assert other.get("/api/v1/me").status_code == 401
    for body in ({"name": "x", "days": 0}, {"name": ""}, {"name": "x", "kind": "agent"}, {}):
        assert client.post("/api/v1/tokens", json=body).status_code == 422


def test_people_are_for_administrators(house):
    root, ada = house.client(house.person("chief", admin=True)), house.client(house.person("ada"))
    assert [one["name"] for one in root.get("/api/v1/people").json()["people"]] == ["ada", "chief"]
    assert ada.get("/api/v1/people").status_code == 403
    assert ada.post("/api/v1/people", json={"name": "eve", "admin": True}).status_code == 403
    assert ada.post("/api/v1/people/chief/disable").status_code == 403
    assert root.post("/api/v1/people", json={"name": "ada"}).status_code == 409
    assert root.post("/api/v1/people/chief/disable").status_code == 409
    assert root.post("/api/v1/people/ada/disable").json()["disabled_ms"] == house.clock.now_ms
    assert ada.get("/api/v1/me").status_code == 401


def test_projects_over_http(house):
    root = house.client(house.person("root", admin=True))
    ada, bob = house.client(house.person("ada")), house.client(house.person("bob"))
    made = root.post("/api/v1/projects", json={"name": "proof", "title": "證明", "lead": "ada"})
    assert (made.status_code, made.json()["role"]) == (201, "")
    assert ada.post("/api/v1/projects", json={"name": "mine"}).status_code == 403
    assert ada.get("/api/v1/projects/proof").json()["role"] == "lead"
    assert bob.get("/api/v1/projects/proof").status_code == 404
    assert bob.get("/api/v1/projects").json() == {"projects": [], "next": ""}
    members = "/api/v1/projects/proof/members"
    assert bob.post(members, json={"person": "bob", "role": "lead"}).status_code == 404
    assert ada.post(members, json={"person": "bob"}).json()["role"] == "member"
    assert bob.post(members, json={"person": "bob", "role": "lead"}).status_code == 403
    assert bob.delete(f"{members}/ada").status_code == 403
    assert [one["name"] for one in bob.get(members).json()["members"]] == ["ada", "bob"]
    assert ada.delete(f"{members}/bob").status_code == 204
    assert bob.get(members).status_code == 404
    assert [one["name"] for one in ada.get("/api/v1/me").json()["projects"]] == ["proof"]


def test_a_members_role_is_in_the_audit_once(house):
    """Also where something else was done to the project between."""
    root = house.client(house.person("root", admin=True))
    for name in ("bob", "cy"):
        house.person(name)
    root.post("/api/v1/projects", json={"name": "proof"})
    for person, role in [("bob", "member"), ("cy", "lead"), ("bob", "member"), ("bob", "lead")] * 2:
        body = {"person": person, "role": role}
        assert root.post("/api/v1/projects/proof/members", json=body).json()["role"] == role
    rows = root.get("/api/v1/audit", params={"thing": "proof"}).json()["rows"]
    told = [(row["facts"]["person"], row["facts"]["role"]) for row in rows[:-1]]
    once = [("bob", "member"), ("cy", "lead"), ("bob", "lead")]
    assert told[::-1] == [*once, ("bob", "member"), ("bob", "lead")]


def test_a_request_of_a_person_costs_two_queries_to_know_them(house):
    client = house.client(house.person("ada"))
    client.get("/api/v1/me")
    with house.counted(4):
        assert client.get("/api/v1/me").status_code == 200
    with house.counted(3):
        assert client.get("/api/v1/projects").status_code == 200
    with house.counted(0):
        assert house.client().get("/api/v1/projects").status_code == 401
