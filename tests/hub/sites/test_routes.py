"""Sites and offers as programs meet them."""

from __future__ import annotations

import pytest

from meyrin.domain.site import Partition
from meyrin.hub.identity import service as identity
from meyrin.hub.sites import service as sites

CPU = Partition("cpu", 10, 128, 256_000, features=("ib",))
OFFER = {"partition": "cpu", "owners": [{"owner": "ours", "weight": 1}]}


@pytest.fixture
def root(house):
    return house.client(house.person("root", admin=True))


@pytest.fixture
def ada(house):
    return house.client(house.person("ada"))


@pytest.fixture
def alps(house, root):
    reply = root.post("/api/v1/sites", json={"name": "alps", "title": "阿尔卑斯"})
    assert reply.status_code == 201
    assert reply.headers["cache-control"] == "no-store"
    with house.write() as step:
        actor = identity.authenticate(step, reply.json()["agent_secret"], identity.AGENT_KINDS)
        sites.announce(step, actor.site, "local", [CPU], "first")
    return actor.site


@pytest.mark.usefixtures("alps")
def test_sites_are_enrolled_by_administrators_and_seen_by_people(house, root, ada):
    assert ada.post("/api/v1/sites", json={"name": "jura"}).status_code == 403
    assert root.post("/api/v1/sites", json={"name": "alps"}).status_code == 409
    assert root.post("/api/v1/sites", json={"name": "Alps"}).status_code == 422
    reply = ada.get("/api/v1/sites").json()
    (site,) = reply["sites"]
    assert reply["next"] == ""
    assert (site["name"], site["title"], site["batch_kind"]) == ("alps", "阿尔卑斯", "local")
    assert site["partitions"][0]["features"] == ["ib"]
    detail = ada.get("/api/v1/sites/alps").json()
    assert (detail["site"], detail["offers"]) == (site, [])
    assert detail["credential_ms"] == house.clock.now_ms
    assert ada.get("/api/v1/sites/jura").status_code == 404
    assert house.client().get("/api/v1/sites").status_code == 401
    assert "myr_" not in ada.get("/api/v1/sites").text


@pytest.mark.usefixtures("alps")
def test_a_site_in_the_list_costs_no_more_than_one(root, ada, house):
    for number in range(30):
        root.post("/api/v1/sites", json={"name": f"s{number}"})
    with house.counted(4):
        assert len(ada.get("/api/v1/sites", params={"limit": 20}).json()["sites"]) == 20
    with house.counted(6):
        ada.get("/api/v1/sites/alps")
    assert ada.get("/api/v1/sites", params={"limit": 501}).status_code == 422


@pytest.mark.usefixtures("alps")
def test_operators_drain_and_resume(root, ada):
    path = "/api/v1/sites/alps"
    assert ada.post(f"{path}/drain", json={"reason": "floor"}).status_code == 403
    assert ada.post(f"{path}/operators", json={"person": "ada"}).status_code == 403
    assert root.post(f"{path}/operators", json={"person": "ada"}).status_code == 204
    assert ada.post(f"{path}/drain", json={"reason": "floor"}).json()["drained"] == "floor"
    assert ada.post(f"{path}/drain", json={}).status_code == 422
    assert ada.post(f"{path}/resume").json()["drained"] is None
    assert root.delete(f"{path}/operators/ada").status_code == 204
    assert root.delete(f"{path}/operators/ada").status_code == 404
    assert ada.post(f"{path}/resume").status_code == 403


@pytest.mark.usefixtures("alps")
def test_operators_say_which_projects_may_come(root, ada):
    path = "/api/v1/sites/alps/projects"
    assert ada.put(path, json={"projects": None}).status_code == 403
    assert root.post("/api/v1/projects", json={"name": "climate"}).status_code == 201
    assert root.put(path, json={"projects": ["climate"]}).json()["open_to_all"] is False
    assert root.put(path, json={"projects": ["climat"]}).status_code == 404
    assert root.put(path, json={"projects": []}).status_code == 422
    assert root.put(path, json={"projects": None}).json()["open_to_all"] is True


def test_a_rotated_credential_is_shown_once(house, root, ada, alps):
    path = "/api/v1/sites/alps/agent-token"
    assert ada.post(path).status_code == 403
    reply = root.post(path)
    assert reply.status_code == 201
    assert reply.headers["cache-control"] == "no-store"
    secret = reply.json()["agent_secret"]
    with house.read() as step:
        assert identity.authenticate(step, secret, identity.AGENT_KINDS).site == alps
    assert root.post(path).status_code == 201
    assert house.client(secret).get("/api/v1/sites").status_code == 401


@pytest.mark.usefixtures("alps")
def test_what_is_done_with_a_site_is_in_the_audit(root):
    path = "/api/v1/sites/alps"
    offer = root.post(f"{path}/offers", json=OFFER).json()["id"]
    assert root.post("/api/v1/sites", json={"name": "jura"}).status_code == 201
    assert root.post(f"{path}/drain", json={"reason": "wet floor"}).status_code == 200
    assert root.post(f"{path}/resume").status_code == 200
    assert root.put(f"{path}/projects", json={"projects": None}).status_code == 200
    assert root.post(f"{path}/offers/{offer}/end", json={}).status_code == 204
    rows = root.get("/api/v1/audit").json()["rows"]
    done = [row["verb"] for row in rows if row["actor"] == "root"]
    assert done[:5] == ["offer.end", "site.projects", "site.resume", "site.drain", "site.new"]
    assert rows[3]["facts"] == {"reason": "wet floor"}


@pytest.mark.usefixtures("alps")
def test_offers_are_made_and_ended_by_administrators(house, root, ada):
    path = "/api/v1/sites/alps/offers"
    assert ada.post(path, json=OFFER).status_code == 403
    made = root.post(path, json=OFFER)
    assert made.status_code == 201
    assert made.json()["start_s"] == house.clock.now_ms // 1000
    assert ada.get("/api/v1/sites/alps").json()["offers"] == [made.json()]
    assert root.post(path, json=OFFER).status_code == 409
    for wrong in (
        {"owners": []},
        {"start_s": -1},
        {"start_s": 2**53},
        {"end_s": 2**53},
        {"weight": 1},
    ):
        assert root.post(path, json={**OFFER, **wrong}).status_code == 422
    end = f"{path}/{made.json()['id']}/end"
    assert ada.post(end, json={}).status_code == 403
    assert root.post(end, json={}).status_code == 204
    assert ada.get("/api/v1/sites/alps").json()["offers"] == []
    assert root.post(path, json=OFFER).status_code == 201
