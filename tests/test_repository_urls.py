"""Runs of a repository that is named by its URL, as a user starts them and looks at them."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from commands import Commands, commands_in
from repositories import commit_all, head_of, make_repository, refs_of, run_git, write_files

PLAN = """\
plan: shop
steps:
  - id: one
    run: cat README > one
    requires: [README]
    creates: [one]
  - id: two
    run: cat one > two
    requires: [one]
    creates: [two]
"""


@pytest.fixture
def commands(tmp_path: Path) -> Iterator[Commands]:
    """In a clone that is behind its remote."""
    clone = make_repository(tmp_path / "clone")
    run_git(tmp_path, "clone", "--quiet", "--bare", str(clone), "shared.git")
    run_git(tmp_path, "clone", "--quiet", "shared.git", "ahead")
    write_files(tmp_path / "ahead", {"README": "pushed\n"})
    commit_all(tmp_path / "ahead", "pushed")
    run_git(tmp_path / "ahead", "push", "--quiet", "origin", "main")
    with commands_in(clone, tmp_path / "state") as commands:
        yield commands


def test_a_run_of_a_url_starts_from_its_head_and_is_fetched_to_be_looked_at(
    commands: Commands, tmp_path: Path
) -> None:
    shared = tmp_path / "shared.git"
    url = f"file://{shared}"

    done = commands("run", commands.plan(PLAN), "--repository", url, "--id", "shop-url")
    refs = refs_of(commands.repository)
    diff = commands("diff", "shop-url", "two")
    merged = commands("merge", "shop-url")

    base = head_of(shared, "main")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "branchwork/shop-url\n"
    assert f"run shop-url on {base[:10]} of {url}" in done.stderr
    assert refs == {}
    assert "+pushed" in diff.stdout
    assert merged.returncode == 0, merged.stderr
    assert (commands.repository / "two").read_text() == "pushed\n"
    assert head_of(commands.repository, "branchwork/shop-url") == head_of(
        shared, "branchwork/shop-url"
    )
    assert commands.json("list")[0]["repository"] == url


def test_a_run_that_could_not_land_on_a_url_is_landed_by_a_retry(
    commands: Commands, tmp_path: Path
) -> None:
    shared = tmp_path / "shared.git"
    run_git(shared, "branch", "branchwork/shop-url", "main")

    failed = commands(
        "run", commands.plan(PLAN), "--repository", f"file://{shared}", "--id", "shop-url"
    )
    retried = commands("retry", "shop-url", "--id", "shop-again")
    shown = commands("show", "shop-url", "two")

    assert failed.returncode == 1
    assert "`branchwork retry shop-url` lands it" in failed.stderr
    assert retried.returncode == 0, retried.stderr
    assert "taken over from shop-url: 2 of 2 steps" in retried.stderr
    assert run_git(shared, "show", "branchwork/shop-again:two") == "pushed"
    assert "refs/branchwork/shop-url/attempts/two/1" in shown.stdout
    assert f"git fetch file://{shared}" in shown.stdout


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--repository", "https://ada:secret@example.org/shop"), "credential helper"),
        (("--repository", "ftp://example.org/shop"), "https://, ssh://"),
        (("--repository", "{url}", "--base", "no-such-branch"), "no branch or tag"),
        (("--repository", "no-such-folder"), "no git repository"),
    ],
)
def test_what_no_worker_could_use_is_refused_before_anything_starts(
    commands: Commands, tmp_path: Path, options: tuple[str, ...], told: str
) -> None:
    url = f"file://{tmp_path / 'shared.git'}"

    refused = commands("run", commands.plan(PLAN), *(word.format(url=url) for word in options))

    assert refused.returncode == 2
    assert told in refused.stderr
    assert "secret" not in refused.stderr
    assert "starting" not in refused.stderr
