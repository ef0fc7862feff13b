from collections.abc import Mapping
from pathlib import Path

import pytest

from activities.git_faults import GitError
from activities.merges import MergeConflict, Side, merge_sides
from repositories import (
    commit_on,
    content_of,
    files_of,
    head_of,
    make_repository,
    parents_of,
    run_git,
    state_of,
)

LINES = "".join(f"{number}\n" for number in range(1, 21))


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    return make_repository(tmp_path / "r", {"README": "start\n", "x.py": LINES, "old/y.py": LINES})


def side(repository: Path, step: str, files: Mapping[str, str | None], on: str = "HEAD") -> Side:
    return Side(step, commit_on(repository, on, files, step))


def merge(repository: Path, *sides: Side) -> str:
    return merge_sides(repository, head_of(repository), sides, "merged\n")


def test_no_sides_are_the_base(repository: Path) -> None:
    assert merge(repository) == head_of(repository)


def test_one_side_is_itself(repository: Path) -> None:
    one = side(repository, "a", {"a": "a"})

    assert merge(repository, one) == one.commit
    assert merge(repository, one, Side("same", one.commit)) == one.commit
    assert merge(repository, Side("nothing", head_of(repository)), one) == one.commit


def test_a_side_that_contains_the_others_is_the_merge(repository: Path) -> None:
    first = side(repository, "a", {"a": "a"})
    second = side(repository, "b", {"b": "b"}, on=first.commit)

    assert merge(repository, first, second) == second.commit


def test_all_sides_are_parents_of_one_commit_in_their_order(repository: Path) -> None:
    sides = [side(repository, name, {name: name}) for name in ("c", "a", "d", "b")]

    merged = merge(repository, *sides)

    assert parents_of(repository, merged) == [one.commit for one in sides]
    assert files_of(repository, merged).keys() == {"README", "x.py", "old/y.py", *"abcd"}


def test_edits_of_one_file_that_agree_are_both_in_the_merge(repository: Path) -> None:
    first = side(repository, "a", {"x.py": LINES.replace("2\n", "two\n", 1)})
    second = side(repository, "b", {"x.py": LINES.replace("19\n", "nineteen\n")})

    merged = content_of(repository, merge(repository, first, second), "x.py")

    assert "two\n" in merged
    assert "nineteen\n" in merged


def test_the_same_edit_on_two_sides_is_no_conflict(repository: Path) -> None:
    first = side(repository, "a", {"x.py": "same\n"})
    second = side(repository, "b", {"x.py": "same\n", "b": "b"})

    assert content_of(repository, merge(repository, first, second), "x.py") == "same"


def test_equal_sides_give_the_equal_commit_whenever_they_are_merged(repository: Path) -> None:
    sides = [side(repository, name, {name: name}) for name in "abc"]

    first, second = merge(repository, *sides), merge(repository, *sides)

    assert first == second
    assert run_git(repository, "log", "-1", "--format=%an <%ae> %cn <%ce>", first) == (
        "Branchwork <branchwork@localhost> Branchwork <branchwork@localhost>"
    )
    newest = run_git(repository, "log", "-1", "--format=%ct", sides[-1].commit)
    assert run_git(repository, "log", "-1", "--format=%at %ct", first) == f"{newest} {newest}"


def test_a_conflict_names_the_files_and_the_steps_that_caused_it(repository: Path) -> None:
    innocent = side(repository, "docs", {"README": "other\n", "x.py": LINES + "end\n"})
    first = side(repository, "auth", {"x.py": LINES.replace("2\n", "zwei\n", 1)})
    second = side(repository, "api", {"x.py": LINES.replace("2\n", "deux\n", 1)})

    with pytest.raises(MergeConflict) as caught:
        merge(repository, innocent, first, second)

    assert caught.value.name == "Conflict"
    assert not caught.value.transient
    assert caught.value.files == ("x.py",)
    assert caught.value.steps == ("auth", "api")
    assert str(caught.value) == (
        "steps 'auth' and 'api' both changed x.py in ways git cannot merge;"
        " let one of them need the other"
    )


def test_a_conflict_with_two_sides_names_all_three(repository: Path) -> None:
    sides = [
        side(repository, "a", {"x.py": LINES.replace("2\n", "zwei\n", 1)}),
        side(repository, "b", {"x.py": LINES.replace("18\n", "achtzehn\n")}),
        side(repository, "c", {"x.py": "all new\n"}),
    ]

    with pytest.raises(MergeConflict, match=r"steps 'a', 'b' and 'c' all changed x\.py"):
        merge(repository, *sides)


def test_a_file_that_one_removed_and_another_changed_is_a_conflict(repository: Path) -> None:
    first = side(repository, "remove", {"x.py": None})
    second = side(repository, "change", {"x.py": LINES + "more\n"})

    with pytest.raises(MergeConflict) as caught:
        merge(repository, first, second)

    assert (caught.value.files, caught.value.steps) == (("x.py",), ("remove", "change"))


def test_binary_files_that_differ_are_a_conflict(repository: Path) -> None:
    first = side(repository, "a", {"image": "\0one"})
    second = side(repository, "b", {"image": "\0two"})

    with pytest.raises(MergeConflict) as caught:
        merge(repository, first, second)

    assert caught.value.files == ("image",)


def test_odd_names_of_files_in_conflict_are_whole(repository: Path) -> None:
    name = 'a "b"\nç d.txt'
    first = side(repository, "a", {name: "one"})
    second = side(repository, "b", {name: "two"})

    with pytest.raises(MergeConflict) as caught:
        merge(repository, first, second)

    assert caught.value.files == (name,)


def test_a_long_list_of_files_in_conflict_is_cut_in_words_only(repository: Path) -> None:
    first = side(repository, "a", {f"f{number:02}": "one" for number in range(12)})
    second = side(repository, "b", {f"f{number:02}": "two" for number in range(12)})

    with pytest.raises(MergeConflict, match="f09 and 2 more in ways") as caught:
        merge(repository, first, second)

    assert len(caught.value.files) == 12


def test_a_change_follows_the_file_that_another_side_renamed(repository: Path) -> None:
    first = side(repository, "rename", {"old/y.py": None, "new/z.py": LINES})
    second = side(repository, "change", {"old/y.py": LINES.replace("2\n", "two\n", 1)})

    files = files_of(repository, merge(repository, first, second))

    assert "two\n" in files["new/z.py"]
    assert "old/y.py" not in files


def test_removals_of_all_sides_are_carried(repository: Path) -> None:
    sides = [
        side(repository, "a", {"x.py": None}),
        side(repository, "b", {"old/y.py": None}),
        side(repository, "c", {"new": "new"}),
    ]

    assert files_of(repository, merge(repository, *sides)).keys() == {"README", "new"}


def test_a_diamond_merges_only_what_is_new_on_its_sides(repository: Path) -> None:
    top = side(repository, "top", {"x.py": LINES.replace("10\n", "ten\n")})
    left = side(repository, "left", {"x.py": _text(repository, top, "2\n", "two\n")}, top.commit)
    right = side(repository, "right", {"x.py": _text(repository, top, "18\n", "x\n")}, top.commit)

    merged = merge(repository, left, right)

    assert content_of(repository, merged, "x.py").split("\n")[:2] == ["1", "two"]
    assert parents_of(repository, merged) == [left.commit, right.commit]


def _text(repository: Path, one: Side, old: str, new: str) -> str:
    return content_of(repository, one.commit, "x.py").replace(old, new, 1) + "\n"


def test_merges_that_cross_have_a_merge(repository: Path) -> None:
    a = side(repository, "a", {"x.py": LINES.replace("2\n", "two\n", 1)})
    b = side(repository, "b", {"x.py": LINES.replace("18\n", "eighteen\n")})
    ab, ba = merge(repository, a, b), merge(repository, b, a)
    left = side(repository, "left", {"left": "left"}, on=ab)
    right = side(repository, "right", {"right": "right"}, on=ba)

    files = files_of(repository, merge(repository, left, right))

    assert {"left", "right"} < files.keys()
    assert {"two", "eighteen"} < set(files["x.py"].split("\n"))


def test_a_third_side_that_grew_from_the_second_merges_against_what_they_share(
    repository: Path,
) -> None:
    """Needs the right merge base for the commit between the first merge and the last."""
    shared = side(repository, "shared", {"x.py": LINES.replace("10\n", "ten\n")})
    a = side(repository, "a", {"a": "a"})
    b = side(repository, "b", {"b": "b"}, on=shared.commit)
    c = side(repository, "c", {"x.py": LINES}, on=shared.commit)

    files = files_of(repository, merge(repository, a, b, c))

    assert files["x.py"] + "\n" == LINES


def test_a_merge_touches_nothing_of_the_users(repository: Path) -> None:
    (repository / "x.py").write_text("dirty\n")
    (repository / "staged").write_text("staged\n")
    run_git(repository, "add", "staged")
    sides = [side(repository, name, {"x.py": name}) for name in "ab"]
    others = [side(repository, name, {name: name}) for name in "cd"]
    before = state_of(repository)

    with pytest.raises(MergeConflict):
        merge(repository, *sides)
    merge(repository, *others)

    assert state_of(repository) == before


def test_many_sides_merge(repository: Path) -> None:
    sides = [side(repository, f"s{number}", {f"f{number}": "x"}) for number in range(20)]

    merged = merge(repository, *sides)

    assert len(files_of(repository, merged)) == 23
    assert len(parents_of(repository, merged)) == 20
    run_git(repository, "fsck", "--strict")


@pytest.mark.parametrize("harm", ["", None])
def test_a_side_whose_files_are_missing_is_no_merge(repository: Path, harm: str | None) -> None:
    base = head_of(repository)
    sides = [Side(name, commit_on(repository, base, {name: name})) for name in ("a", "b")]
    tree = head_of(repository, f"{sides[1].commit}^{{tree}}")
    path = repository / ".git/objects" / tree[:2] / tree[2:]
    path.unlink()
    if harm is not None:
        path.write_text(harm)

    with pytest.raises(GitError, match=tree) as caught:
        merge_sides(repository, base, sides, "merge")

    assert caught.value.name == "BrokenRepository"
