"""A repository by URL: clones, revisions, refs that travel; real git over file:// and http://."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from activities.git import GitError
from activities.landing import land
from activities.merges import Side
from activities.remotes import Remote
from activities.repositories import UrlRepository
from activities.revisions import RefChange, RefTaken
from activities.worktrees import add_worktree, remove_worktree
from branchwork.names import StateFolder
from repositories import (
    commit_on,
    files_of,
    head_of,
    make_repository,
    refs_of,
    run_git,
    worktrees_of,
)

RUN = "shop-abcdefgh"
REF = f"refs/branchwork/{RUN}/steps/a"
OTHER = f"refs/branchwork/{RUN}/steps/b"


class Origin:
    """A bare repository, and somebody's checkout to push from."""

    def __init__(self, folder: Path) -> None:
        self.checkout = make_repository(folder / "checkout")
        run_git(folder, "clone", "--quiet", "--bare", str(self.checkout), "origin.git")
        self.bare = folder / "origin.git"
        self.url = f"file://{self.bare}"
        self._folder = folder

    def host(self, name: str = "here") -> Remote:
        return Remote(self.url, StateFolder(self._folder / name).repository(self.url))

    def push(self, *refspecs: str) -> None:
        run_git(self.checkout, "push", "--quiet", "--force", str(self.bare), *refspecs)

    def commit(self, name: str, content: str = "x", ref: str | None = None) -> str:
        """On the first one; at the remote where a ref is named."""
        made = commit_on(self.checkout, head_of(self.checkout), {name: content}, name)
        if ref:
            self.push(f"{made}:{ref}")
        return made


@pytest.fixture
def origin(tmp_path: Path) -> Origin:
    return Origin(tmp_path)


def test_a_clone_is_made_once_by_all_who_need_it_at_the_same_time(origin: Origin) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: origin.host().make_clone(), range(4)))

    clone = origin.host().clone
    assert [path.name for path in clone.parent.iterdir()] == ["clone.git"]
    assert run_git(clone, "rev-parse", "--is-bare-repository") == "true"
    assert head_of(clone, "refs/remotes/origin/main") == head_of(origin.checkout)


def test_a_clone_that_a_kill_left_half_made_is_made_anew(origin: Origin) -> None:
    host = origin.host()
    half = host.clone.with_name("partial.git")
    (half / "objects").mkdir(parents=True)

    host.make_clone()

    assert not half.exists()
    assert run_git(host.clone, "fsck") == ""


def test_worktrees_are_made_and_removed_in_a_clone(origin: Origin, tmp_path: Path) -> None:
    host = origin.host()
    commit = host.resolve(RUN, "main")

    add_worktree(host.clone, tmp_path / "worktree", commit)
    content = (tmp_path / "worktree" / "README").read_text()
    remove_worktree(host.clone, tmp_path / "worktree", tmp_path / "trash")

    assert content == "start\n"
    assert worktrees_of(host.clone) in ([], [host.clone])


def test_a_branch_a_tag_a_commit_and_the_head_are_resolved_as_the_remote_has_them(
    origin: Origin,
) -> None:
    host = origin.host()
    start = host.resolve(RUN, "HEAD")
    commit = origin.commit("a", ref="refs/heads/feature/a")
    origin.push(f"{commit}:refs/tags/v1")

    for revision in ("feature/a", "v1", "refs/heads/feature/a", "refs/tags/v1", commit):
        assert host.resolve(RUN, revision) == commit
    assert host.resolve(RUN, commit[:12]) == commit
    assert host.resolve(RUN, "feature/a~1") == start == head_of(origin.checkout)


def test_branches_and_tags_that_moved_are_followed(origin: Origin) -> None:
    host = origin.host()
    first = origin.commit("one", ref="refs/heads/topic")
    origin.push(f"{first}:refs/tags/moving")
    host.resolve(RUN, "topic")
    second = origin.commit("two", ref="refs/heads/topic2")
    origin.push(":refs/heads/topic", f"{second}:refs/tags/moving")
    origin.push(f"{second}:refs/heads/topic/below")

    assert host.resolve(RUN, "topic/below") == host.resolve(RUN, "moving") == second
    with pytest.raises(GitError, match="no branch, tag or commit 'topic'"):
        host.resolve(RUN, "topic")


def test_names_that_only_the_clone_has_are_not_the_remotes(origin: Origin) -> None:
    host = origin.host()
    commit = host.resolve(RUN, "main")
    run_git(host.clone, "branch", "agents-own", commit)
    run_git(host.clone, "tag", "agents-tag", commit)

    with pytest.raises(GitError, match=r"'agents-own'.*git ls-remote") as caught:
        host.resolve(RUN, "agents-own")

    assert (caught.value.name, caught.value.transient) == ("UnknownRevision", False)
    assert head_of(host.clone, "refs/tags/agents-tag") == commit


def test_a_base_that_was_pinned_stays_when_its_branch_is_forced_away(origin: Origin) -> None:
    pin = f"refs/branchwork/{RUN}/base"
    base = origin.host().resolve(RUN, "main")
    origin.host().publish([RefChange(pin, base)])
    run_git(origin.checkout, "commit", "--quiet", "--amend", "--message", "rewritten")
    origin.push("main")

    assert origin.host("there").resolve(RUN, "main") == base
    assert files_of(origin.host("there").clone, base) == {"README": "start"}


def test_a_commit_on_no_branch_any_more_is_still_a_base(origin: Origin) -> None:
    kept = origin.commit("a", ref="refs/branchwork/other-run/steps/a")

    assert origin.host().resolve(RUN, kept) == kept


def test_an_empty_remote_is_told_so(tmp_path: Path) -> None:
    run_git(tmp_path, "init", "--quiet", "--bare", "empty.git")
    host = Remote(f"file://{tmp_path / 'empty.git'}", tmp_path / "state" / "clone.git")

    with pytest.raises(GitError, match="no commits yet"):
        host.resolve(RUN, "HEAD")


def test_what_one_host_published_another_brings(origin: Origin) -> None:
    here, there = origin.host(), origin.host("there")
    here.make_clone()
    commits = {
        ref: commit_on(here.clone, head_of(origin.checkout), {ref: "x"}) for ref in (REF, OTHER)
    }
    here.publish([RefChange(ref, commit) for ref, commit in commits.items()])

    there.bring(RUN, commits)
    there.bring(RUN, commits)

    assert refs_of(there.clone) == commits


def test_a_commit_whose_ref_moved_on_is_brought_all_the_same(origin: Origin) -> None:
    old = origin.commit("old", ref=REF)
    origin.push(f"{old}:refs/branchwork/{RUN}/attempts/a/1")
    new = origin.commit("new", ref=REF)
    gone = "1" * 40
    host = origin.host()

    host.bring(RUN, {REF: old, OTHER: gone})

    assert files_of(host.clone, old).keys() == {"README", "old"}
    assert refs_of(host.clone)[REF] == new


def test_what_is_there_needs_no_remote(origin: Origin) -> None:
    host = origin.host()
    commit = origin.commit("a", ref=REF)
    host.bring(RUN, {REF: commit})
    origin.bare.rename(origin.bare.with_name("away.git"))

    host.bring(RUN, {REF: commit})


def test_refs_of_a_remote_are_published_all_or_none(origin: Origin) -> None:
    host = origin.host()
    host.make_clone()
    one, two = (commit_on(host.clone, head_of(origin.checkout), {n: n}) for n in "ab")
    host.publish([RefChange(REF, one)])

    with pytest.raises(RefTaken) as caught:
        host.publish([RefChange(OTHER, two), RefChange(REF, two)])
    host.publish([RefChange(OTHER, two), RefChange(REF, two, one)])
    host.publish([RefChange(OTHER, two), RefChange(REF, two, one)])

    assert (caught.value.ref, caught.value.found) == (REF, one)
    assert refs_of(origin.bare) == {REF: two, OTHER: two}


def test_a_push_that_was_half_done_is_completed(origin: Origin) -> None:
    host = origin.host()
    host.make_clone()
    commit = head_of(origin.checkout)
    host.publish([RefChange(REF, commit)])

    host.publish([RefChange(REF, commit), RefChange(OTHER, commit)])

    assert refs_of(origin.bare) == {REF: commit, OTHER: commit}


def test_of_two_hosts_that_publish_at_once_one_is_told(origin: Origin) -> None:
    hosts = [origin.host(name) for name in ("one", "two", "three")]
    for host in hosts:
        host.make_clone()
    commits = [commit_on(host.clone, head_of(origin.checkout), {"a": str(host)}) for host in hosts]

    def publish(number: int) -> bool:
        try:
            hosts[number].publish([RefChange(REF, commits[number])])
        except RefTaken:
            return False
        return True

    with ThreadPoolExecutor(3) as pool:
        done = list(pool.map(publish, range(3)))

    assert done.count(True) == 1
    assert refs_of(origin.bare) == {REF: commits[done.index(True)]}


def landing_host(origin: Origin, name: str) -> UrlRepository:
    return UrlRepository(origin.url, origin.host(name).clone)


def test_a_run_lands_on_the_remote_and_a_second_landing_finds_it(origin: Origin) -> None:
    base = head_of(origin.checkout)
    sides = [
        Side(step, origin.commit(step, ref=f"refs/branchwork/{RUN}/steps/{step}")) for step in "ab"
    ]
    landed = []
    for name in ("here", "there"):
        host = landing_host(origin, name)
        host.bring(RUN, {f"refs/branchwork/{RUN}/steps/{side.step}": side.commit for side in sides})
        landed.append(land(host, RUN, base, sides))

    assert landed[0] == landed[1]
    assert head_of(origin.bare, f"branchwork/{RUN}") == landed[0].commit
    assert refs_of(origin.bare)[f"refs/branchwork/{RUN}/result"] == landed[0].commit
    assert files_of(origin.bare, landed[0].commit).keys() == {"README", "a", "b"}


@pytest.mark.parametrize("branch", [f"branchwork/{RUN}", "branchwork"])
def test_a_branch_in_the_way_of_a_landing_is_left_alone(origin: Origin, branch: str) -> None:
    base = head_of(origin.checkout)
    other = origin.commit("other", ref=f"refs/heads/{branch}")
    host = landing_host(origin, "here")
    host.bring(RUN, {REF: origin.commit("a", ref=REF)})

    with pytest.raises(GitError, match=r"cannot be made for it.*branchwork retry") as caught:
        land(host, RUN, base, [Side("a", head_of(origin.bare, REF))])

    assert (caught.value.name, caught.value.transient) == ("BranchTaken", False)
    assert head_of(origin.bare, f"refs/heads/{branch}") == other
    assert f"refs/branchwork/{RUN}/result" not in refs_of(origin.bare)


def test_a_remote_that_says_no_is_a_refusal_with_its_words(origin: Origin) -> None:
    host = origin.host()
    host.make_clone()
    hook = origin.bare / "hooks" / "pre-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\necho no robots here >&2\nexit 1\n")
    hook.chmod(0o755)

    with pytest.raises(GitError, match="no robots here") as caught:
        host.publish([RefChange(REF, head_of(origin.checkout))])

    assert (caught.value.name, caught.value.transient) == ("RemoteRefused", False)


def test_a_remote_that_is_not_there_is_a_refusal(origin: Origin) -> None:
    host = origin.host()
    origin.bare.rename(origin.bare.with_name("away.git"))

    with pytest.raises(GitError, match=r"git ls-remote file://.* must work") as caught:
        host.make_clone()

    assert caught.value.name == "RemoteRefused"
    assert not host.clone.exists()


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:1/shop.git",
        "git://127.0.0.1:1/shop.git",
        "ssh://nobody@127.0.0.1:1/shop.git",
        "http://no-such-host.invalid/shop.git",
    ],
)
def test_a_server_that_does_not_answer_is_tried_again(url: str, tmp_path: Path) -> None:
    host = Remote(url, tmp_path / "state" / "clone.git")

    with pytest.raises(GitError, match="network") as caught:
        host.make_clone()

    assert (caught.value.name, caught.value.transient) == ("RemoteUnreachable", True)


@pytest.fixture
def answering() -> Iterator[Callable[[int], str]]:
    """A web server that answers everything with one status; its URL."""
    servers: list[HTTPServer] = []

    def start(status: int) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:  # the name is the library's
                self.send_response(status)
                if status == 401:
                    self.send_header("WWW-Authenticate", "Basic")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        server = HTTPServer(("127.0.0.1", 0), Handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{server.server_port}/shop.git"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    ("status", "name"),
    [
        (401, "RemoteRefused"),
        (403, "RemoteRefused"),
        (404, "RemoteRefused"),
        (429, "RemoteUnreachable"),
        (500, "RemoteUnreachable"),
        (503, "RemoteUnreachable"),
    ],
)
def test_a_web_server_that_fails_is_tried_again_and_one_that_refuses_is_not(
    answering: Callable[[int], str], tmp_path: Path, status: int, name: str
) -> None:
    host = Remote(answering(status), tmp_path / "state" / "clone.git")

    with pytest.raises(GitError) as caught:
        host.make_clone()

    assert (caught.value.name, caught.value.transient) == (name, name == "RemoteUnreachable")


SSH = """#!/bin/sh
echo "$0 $*" >> {log}
for command; do :; done
exec sh -c "$command"
"""
"""As a server would: it runs the command that git names last."""

OVER_SSH = """
import pathlib, sys
from activities.remotes import Remote
from activities.revisions import RefChange
remote = Remote(sys.argv[1], pathlib.Path(sys.argv[2]))
remote.publish([RefChange(sys.argv[3], remote.resolve("run-1", "HEAD"))])
"""


@pytest.mark.parametrize("chosen", ["", "GIT_SSH_COMMAND", "core.sshCommand"])
@pytest.mark.parametrize("url", ["git@example.org:{path}", "ssh://git@example.org:2222{path}"])
def test_ssh_is_given_up_when_it_is_silent_unless_it_is_one_of_the_users(
    origin: Origin, tmp_path: Path, url: str, chosen: str
) -> None:
    log, settings = tmp_path / "log", tmp_path / "gitconfig"
    for name in ("ssh", "own"):
        program = tmp_path / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(SSH.format(log=log))
        program.chmod(0o755)
    own = str(tmp_path / "bin" / "own")
    run_git(tmp_path, "config", "--file", str(settings), "ssh.variant", "ssh")
    if chosen == "core.sshCommand":
        run_git(tmp_path, "config", "--file", str(settings), chosen, own)
    environ = {
        "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
        "GIT_CONFIG_GLOBAL": str(settings),
        **({chosen: own} if chosen == "GIT_SSH_COMMAND" else {}),
    }
    arguments = [url.format(path=origin.bare), str(tmp_path / "state" / "clone.git"), REF]

    subprocess.run([sys.executable, "-c", OVER_SSH, *arguments], env=environ, check=True)

    called = log.read_text()
    assert refs_of(origin.bare) == {REF: head_of(origin.checkout)}
    assert ("ConnectTimeout" in called) == (not chosen)
    assert (f"{own} " in called) == bool(chosen)


def test_a_repository_with_long_hashes_is_cloned_as_such(tmp_path: Path) -> None:
    run_git(tmp_path, "init", "--quiet", "--object-format=sha256", "--initial-branch=main", "long")
    run_git(tmp_path / "long", "commit", "--quiet", "--allow-empty", "--message", "start")
    host = Remote(f"file://{tmp_path / 'long'}", tmp_path / "state" / "clone.git")

    commit = host.resolve(RUN, "HEAD")
    host.publish([RefChange(REF, commit)])

    assert len(commit) == 64
    assert refs_of(tmp_path / "long") == {REF: commit}
