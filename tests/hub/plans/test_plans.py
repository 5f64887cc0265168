"""Studies on the hub's pages: who may publish and read, what a browser gets; both databases."""

from __future__ import annotations

import hashlib

import pytest

PAGE = b"<!doctype html><html lang='en'><title>Pooling</title><h1>Pooling</h1></html>"
TABLE = b"option,wait_mean_h\r\nas is,1\r\n"


def bring(hub, who, *contents):
    """Upload these files as this person; their entries by name."""
    client = hub.client(who)
    files = []
    for name, data in contents:
        digest = hashlib.sha256(data).hexdigest()
        size = {"offset": 0, "size": len(data)}
        put = client.put(f"/api/v1/uploads/{digest}", params=size, content=data)
        assert put.json()["complete"]
        files.append({"name": name, "sha256": digest, "size": len(data)})
    return files


def study(hub, who="ada", project="lab", title="Pooling", page=PAGE):
    files = bring(hub, who, ("report.html", page), ("tables/waterfall.csv", TABLE))
    body = {"title": title, "project": project, "files": files}
    return hub.client(who).post("/api/v1/plans", json=body)


def test_a_study_is_published_listed_read_and_withdrawn(empty_hub):
    made = study(empty_hub)
    assert made.status_code == 201
    one = made.json()
    assert (one["project"], one["person"], one["files"]) == ("lab", "ada", 2)
    bob = empty_hub.client("bob")
    assert [each["id"] for each in bob.get("/api/v1/plans").json()["plans"]] == [one["id"]]
    names = [each["name"] for each in bob.get(f"/api/v1/plans/{one['id']}").json()["files"]]
    assert names == ["report.html", "tables/waterfall.csv"]
    assert bob.get(f"/plans/{one['id']}/files/report.html").content == PAGE
    table = bob.get(f"/plans/{one['id']}/files/tables/waterfall.csv")
    assert table.content == TABLE
    assert table.headers["content-type"].startswith("text/csv")
    assert bob.delete(f"/api/v1/plans/{one['id']}").status_code == 403
    assert empty_hub.client("ada").delete(f"/api/v1/plans/{one['id']}").status_code == 204
    assert bob.get("/api/v1/plans").json()["plans"] == []
    assert bob.get(f"/plans/{one['id']}/files/report.html").status_code == 404


def test_the_same_study_again_is_the_same(empty_hub):
    first = study(empty_hub).json()
    assert study(empty_hub).json() == first
    assert study(empty_hub, title="Another").json()["id"] != first["id"]
    empty_hub.client("ada").delete(f"/api/v1/plans/{first['id']}")
    assert study(empty_hub).json()["id"] == first["id"]
    shown = empty_hub.client("ada").get("/api/v1/plans").json()["plans"]
    assert len(shown) == 2


def test_what_is_of_others_can_not_be_told_from_what_is_not(empty_hub):
    empty_hub.person("eve")
    number = study(empty_hub).json()["id"]
    eve = empty_hub.client("eve")
    for address in ("/api/v1/plans/{}", "/plans/{}/files/report.html"):
        mine = eve.get(address.format(number))
        none = eve.get(address.format(99))
        assert mine.status_code == none.status_code == 404
        assert mine.text.replace(number, "N") == none.text.replace("99", "N")
    assert eve.get("/api/v1/plans").json()["plans"] == []
    assert eve.delete(f"/api/v1/plans/{number}").status_code == 404
    assert empty_hub.client(None).get("/api/v1/plans").status_code == 401


def test_only_administrators_show_to_everybody(empty_hub):
    empty_hub.person("eve")
    assert study(empty_hub, project=None).status_code == 403
    assert study(empty_hub, "root", project=None).status_code == 201
    assert len(empty_hub.client("eve").get("/api/v1/plans").json()["plans"]) == 1
    assert study(empty_hub, "eve", project="lab").status_code == 404


@pytest.mark.parametrize(
    "name", ["../report.html", "a//b.html", "/report.html", "run.js", "report", "a/./b.csv"]
)
def test_odd_names_of_files_are_refused(empty_hub, name):
    files = bring(empty_hub, "ada", ("report.html", PAGE), (name, TABLE))
    body = {"title": "x", "project": "lab", "files": files}
    answer = empty_hub.client("ada").post("/api/v1/plans", json=body)
    assert answer.status_code == 422
    assert "no file" in answer.json()["error"]["message"]


def test_files_must_be_ones_own_and_hold_a_page(empty_hub):
    files = bring(empty_hub, "ada", ("report.html", PAGE))
    body = {"title": "x", "project": "lab", "files": files}
    assert empty_hub.client("bob").post("/api/v1/plans", json=body).status_code == 422
    only = bring(empty_hub, "ada", ("t.csv", TABLE))
    body = {"title": "x", "project": "lab", "files": only}
    answer = empty_hub.client("ada").post("/api/v1/plans", json=body)
    assert "there is no report.html" in answer.json()["error"]["message"]


def test_a_page_is_served_as_something_foreign(empty_hub):
    number = study(empty_hub).json()["id"]
    headers = empty_hub.client("ada").get(f"/plans/{number}/files/report.html").headers
    rules = headers["content-security-policy"]
    assert "sandbox" in rules
    assert "allow-scripts" not in rules
    assert "allow-same-origin" not in rules
    assert "default-src 'none'" in rules
    assert headers["x-content-type-options"] == "nosniff"
    assert "no-store" in headers["cache-control"]


def test_studies_come_in_pages_and_in_as_many_queries(empty_hub):
    for number in range(7):
        study(empty_hub, title=f"Study {number}")
    ada = empty_hub.client("ada")
    first = ada.get("/api/v1/plans", params={"limit": 3}).json()
    assert [one["title"] for one in first["plans"]] == ["Study 6", "Study 5", "Study 4"]
    rest = ada.get("/api/v1/plans", params={"limit": 50, "after": first["next"]}).json()
    assert [one["title"] for one in rest["plans"]] == [f"Study {n}" for n in (3, 2, 1, 0)]
    assert rest["next"] == ""
    counts = []
    for limit in (1, 7):
        with empty_hub.counting() as statements:
            assert ada.get("/api/v1/plans", params={"limit": limit}).status_code == 200
        counts.append(len(statements))
    assert counts[0] == counts[1] <= 8
    page = ada.get("/plans", headers={"accept": "text/html"})
    assert page.status_code == 200
    assert "Study 6" in page.text
