"""What a run's repository may be called."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from branchwork.addresses import bad_address, is_url
from branchwork.contract import RunRequest
from branchwork.names import StateFolder
from branchwork.plan import Plan

PLAN = Plan.model_validate({"plan": "p", "steps": [{"id": "a", "run": "true"}]})


@pytest.mark.parametrize(
    "address",
    [
        "/srv/shop",
        "/srv/a shop/ü",
        "https://example.org/shop.git",
        "https://ada@example.org:8443/team/shop",
        "http://127.0.0.1:8000/shop.git",
        "ssh://git@example.org:2222/srv/shop.git",
        "git@example.org:team/shop.git",
        "git://example.org/shop",
        "file:///srv/shop.git",
        "ssh://git@[::1]:22/srv/shop.git",
    ],
)
def test_a_path_or_a_url_names_a_repository(address: str) -> None:
    assert bad_address(address) is None
    assert RunRequest(plan=PLAN, repository=address).repository == address


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("shop", "neither an absolute path nor a URL"),
        ("./shop", "neither an absolute path nor a URL"),
        ("", "neither an absolute path nor a URL"),
        ("ext::sh -c id", "without spaces"),
        ("ext::id", "neither an absolute path nor a URL"),
        ("ftp://example.org/shop", "neither an absolute path nor a URL"),
        ("--upload-pack=id", "neither an absolute path nor a URL"),
        ("git@example.org:--upload-pack=id", "neither an absolute path nor a URL"),
        ("ssh://-oProxyCommand=id/shop", "names no host"),
        ("https:///shop", "names no host"),
        ("https://example.org", "no repository on it"),
        ("https://example.org:port/shop", "cannot be read"),
        ("https://example.org/shop?token=x", "leave out what follows"),
        ("file://elsewhere/srv/shop", "file:///absolute/path"),
        ("https://example.org/sh\nop", "control characters"),
        ("/srv/shop\0", "NUL"),
    ],
)
def test_what_git_cannot_use_everywhere_is_refused_with_a_sentence(address: str, why: str) -> None:
    assert why in str(bad_address(address))


@pytest.mark.parametrize(
    "address",
    [
        "https://ada:hunter2secret@example.org/shop",
        "ssh://git:hunter2secret@example.org/shop",
        "https://hunter2secret0123456789@example.org/shop",
    ],
)
def test_a_secret_in_a_url_is_refused_and_not_repeated(address: str) -> None:
    with pytest.raises(ValidationError, match="credential helper") as caught:
        RunRequest(plan=PLAN, repository=address)

    assert "hunter2secret" not in str(caught.value)


def test_every_url_has_a_clone_of_its_own_and_a_path_stays_itself(tmp_path: Path) -> None:
    state = StateFolder(tmp_path)
    urls = ("https://example.org/a", "https://example.org/b", "git@example.org:a")

    clones = {state.repository(url) for url in urls}

    assert len(clones) == len(urls)
    assert all(clone.is_relative_to(state.repositories) for clone in clones)
    assert state.repository("/srv/shop") == Path("/srv/shop")
    assert [is_url(name) for name in ("/srv/shop", *urls)] == [False, True, True, True]
