"""Finding the hub: the environment, the folder, and clear words where neither says it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from meyrin.client.place import Place, check_url, find_hub, save, state_folder
from meyrin.domain import errors


def test_the_folder_that_the_hub_wrote(tmp_path: Path) -> None:
    save(tmp_path / "deep" / "client.json", "http://127.0.0.1:1", "myr_x")
    path = tmp_path / "deep" / "client.json"
    assert path.stat().st_mode & 0o777 == 0o600
    assert [p.name for p in path.parent.iterdir()] == ["client.json"]
    found = find_hub({"MEYRIN_DIR": str(path.parent)})
    assert (found.url, found.token) == ("http://127.0.0.1:1", "myr_x")
    assert find_hub({"MEYRIN_HUB": "http://else"}, folder=path.parent) == found
    assert "myr_x" not in repr(found)


def test_the_environment_comes_before_the_folder(tmp_path: Path) -> None:
    save(tmp_path / "client.json", "http://here", "mine")
    around = {"MEYRIN_DIR": str(tmp_path), "MEYRIN_HUB": "https://there/"}
    assert find_hub({**around, "MEYRIN_TOKEN": " t "}) == Place("https://there", "t", "MEYRIN_HUB")
    (tmp_path / "token").write_text("from file\n".replace(" ", "-"))
    found = find_hub({**around, "MEYRIN_TOKEN_FILE": str(tmp_path / "token")})
    assert found.token == "from-file"
    with pytest.raises(errors.NotLoggedIn, match="no token for it"):
        find_hub(around)
    assert find_hub(around, url="http://here").token == "mine"


def test_a_token_file_that_was_named_is_not_passed_over(tmp_path: Path) -> None:
    """With the folder's own token instead, its owner would have acted, and not who was named."""
    save(tmp_path / "client.json", "http://here", "mine")
    (tmp_path / "token").write_text("theirs\n")
    for around in ({}, {"MEYRIN_TOKEN": "other", "MEYRIN_TOKEN_FILE": "/none"}):
        found = find_hub(around, folder=tmp_path, token_file=tmp_path / "token")
        assert (found.url, found.token, found.renewable) == ("http://here", "theirs", None)
    with pytest.raises(errors.InvalidInput, match="can't be read"):
        find_hub({}, folder=tmp_path, token_file=tmp_path / "none")


def test_the_environments_token_goes_to_its_own_hub_alone(tmp_path: Path) -> None:
    around = {"MEYRIN_DIR": str(tmp_path), "MEYRIN_TOKEN": "a's"}
    there = {**around, "MEYRIN_HUB": "https://a.example/"}
    assert find_hub(there, url="https://a.example").token == "a's"
    assert find_hub(around, url="https://b.example").token == "a's", "said for no other hub"
    with pytest.raises(errors.NotLoggedIn, match="no token for it") as caught:
        find_hub(there, url="https://b.example")
    assert caught.value.hint == (
        "run `meyrin login --code --hub https://b.example` (--save with a token), or name a"
        " --token-file: the environment's token is for https://a.example"
    )
    del there["MEYRIN_TOKEN"]
    with pytest.raises(errors.NotLoggedIn) as caught:
        find_hub(there, url="https://b.example")
    assert caught.value.hint.endswith("or name a --token-file"), "there is no token to speak of"
    (tmp_path / "token").write_text("b's")
    named = find_hub(there, url="https://b.example", token_file=tmp_path / "token")
    assert named.token == "b's"
    save(tmp_path / "client.json", "https://b.example", "kept")
    assert find_hub(there, url="https://b.example").token == "kept"


def test_one_hub_however_its_address_is_written(tmp_path: Path) -> None:
    around = {"MEYRIN_DIR": str(tmp_path), "MEYRIN_HUB": "https://Hub.example:443"}
    assert find_hub({**around, "MEYRIN_TOKEN": "a's"}, url="https://hub.EXAMPLE/").token == "a's"
    save(tmp_path / "client.json", "https://hub.example", "kept")
    assert find_hub(around).token == "kept"
    assert find_hub(around).url == "https://hub.example", "as the file has it, to be renewed there"
    for other in ("http://hub.example:443", "https://hub.example:444", "https://hub.example/b"):
        with pytest.raises(errors.NotLoggedIn):
            find_hub(around, url=other)


def test_a_newcomers_hint_leads_to_a_log_in(tmp_path: Path) -> None:
    """`meyrin login` without --code or --save needs a token itself: it led in a circle."""
    for around in ({}, {"MEYRIN_HUB": "https://a.example"}):
        with pytest.raises(errors.MeyrinError) as caught:
            find_hub({"MEYRIN_DIR": str(tmp_path), **around})
        assert "`meyrin login --code --hub " in caught.value.hint


def test_no_hub_is_known(tmp_path: Path) -> None:
    with pytest.raises(errors.Unreachable, match="no hub is known") as caught:
        find_hub({}, folder=tmp_path)
    assert "meyrin up" in caught.value.hint
    assert state_folder({"MEYRIN_DIR": "/a"}, "/b") == Path("/b")
    assert state_folder({}).name == "meyrin"


@pytest.mark.parametrize("url", ["", " ", "hub.example.org", "ftp://x", "http://"])
def test_addresses_that_are_none(url: str) -> None:
    with pytest.raises(errors.InvalidInput, match="no address"):
        find_hub({"MEYRIN_HUB": url, "MEYRIN_TOKEN": "t"})


@pytest.mark.parametrize("token", ["", "two words", "grüße", "a\nb"])
def test_tokens_that_are_none(token: str, tmp_path: Path) -> None:
    with pytest.raises(errors.InvalidInput, match="holds no token"):
        find_hub({"MEYRIN_HUB": "http://x", "MEYRIN_TOKEN": token})
    with pytest.raises(errors.InvalidInput, match="can't be read"):
        find_hub({"MEYRIN_HUB": "http://x", "MEYRIN_TOKEN_FILE": str(tmp_path / "none")})


@pytest.mark.parametrize("text", ["", "[]", "{}", json.dumps({"url": "http://x"}), "\0"])
def test_a_client_file_that_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "client.json").write_text(text)
    with pytest.raises(errors.InvalidInput, match=r"client\.json"):
        find_hub({}, folder=tmp_path)


@pytest.mark.parametrize("url", ["http://[::1", "http://h:abc", "http://::1:8642", "http://", "h"])
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(errors.InvalidInput, match="no address of a hub"):
        check_url(url, "--hub")
    assert check_url("http://[::1]:8642/", "--hub") == "http://[::1]:8642"


def test_the_home_of_nobody_is_refused_by_name() -> None:
    with pytest.raises(errors.InvalidInput, match="home folder that is not known"):
        state_folder({}, "~nobody-of-that-name/x")
