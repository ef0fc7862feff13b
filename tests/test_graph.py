import time
from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from branchwork.graph import BadGraphError, Graph, build_graph, nearest


@dataclass(frozen=True)
class Link:
    id: str
    needs: tuple[str, ...] = ()
    requires: tuple[str, ...] = ()
    creates: tuple[str, ...] = ()


def problems(steps: Sequence[Link]) -> list[tuple[tuple[str | int, ...], str]]:
    with pytest.raises(BadGraphError) as refused:
        build_graph(steps)
    return [(problem.where, problem.text) for problem in refused.value.problems]


def needs_of(step: str, steps: Sequence[Link]) -> tuple[str, ...]:
    return build_graph(steps).needs[step]


def test_a_diamond_has_three_levels() -> None:
    steps = [Link("a"), Link("b", ("a",)), Link("c", ("a",)), Link("d", ("c", "b"))]

    graph = build_graph(steps)

    assert graph.levels == (("a",), ("b", "c"), ("d",))
    assert graph.needs["d"] == ("b", "c")
    assert graph.dependents["a"] == ("b", "c")


def test_the_graph_is_in_plan_order_whatever_the_order_of_needs() -> None:
    steps = [Link("z"), Link("a"), Link("m", ("a", "z", "a"))]

    assert needs_of("m", steps) == ("z", "a")


def test_no_steps_make_an_empty_graph() -> None:
    assert build_graph([]) == Graph({}, {}, (), (), ())


def test_a_step_waits_for_whoever_creates_what_it_requires() -> None:
    steps = [Link("use", requires=("out/a.txt",)), Link("make", creates=("out/a.txt",))]

    graph = build_graph(steps)

    assert graph.needs["use"] == ("make",)
    assert graph.from_base == ()


def test_writing_a_path_in_another_way_makes_no_other_path() -> None:
    steps = [Link("use", requires=("./out//a/",)), Link("make", creates=("out/a",))]

    assert needs_of("use", steps) == ("make",)


def test_several_requires_are_edges_to_every_creator() -> None:
    steps = [
        Link("a", creates=("a.txt",)),
        Link("b", creates=("b/",)),
        Link("c", creates=("c.txt",)),
        Link("all", requires=("c.txt", "b/inside.txt", "a.txt")),
    ]

    assert needs_of("all", steps) == ("a", "b", "c")


def test_a_folder_is_created_by_all_who_create_in_it() -> None:
    steps = [
        Link("a", creates=("services/a/new/",)),
        Link("b", creates=("services/b/new/",)),
        Link("elsewhere", creates=("service/x",)),
        Link("all", requires=("services/",)),
    ]

    assert needs_of("all", steps) == ("a", "b")


def test_the_creator_of_the_folder_itself_goes_before_those_who_create_in_it() -> None:
    steps = [
        Link("inner", needs=("outer",), creates=("lib/x.py",)),
        Link("outer", creates=("lib/",)),
        Link("user", requires=("lib/",)),
    ]

    assert needs_of("user", steps) == ("outer",)


def test_steps_that_edit_in_one_folder_do_not_wait_for_each_other() -> None:
    steps = [
        Link("a", requires=("src/",), creates=("src/a.py",)),
        Link("b", requires=("src/",), creates=("src/b.py",)),
    ]

    graph = build_graph(steps)

    assert graph.levels == (("a", "b"),)
    assert graph.from_base == (("a", "src/"), ("b", "src/"))


def test_what_nobody_creates_must_be_in_the_base() -> None:
    steps = [Link("a", requires=("README.md", "x/")), Link("b", creates=("x/y",), needs=())]

    assert build_graph(steps).from_base == (("a", "README.md"),)


def test_a_step_does_not_wait_for_those_after_it_to_create_in_its_folder() -> None:
    steps = [
        Link("survey", requires=("src/",)),
        Link("write", needs=("survey",), creates=("src/new.py",)),
    ]

    graph = build_graph(steps)

    assert graph.levels == (("survey",), ("write",))
    assert graph.from_base == (("survey", "src/"),)


def test_nor_for_those_after_it_over_several_steps_and_requires() -> None:
    steps = [
        Link("survey", requires=("src/",), creates=("survey.md",)),
        Link("think", requires=("survey.md",)),
        Link("write", needs=("think",), creates=("src/new.py",)),
    ]

    assert build_graph(steps).levels == (("survey",), ("think",), ("write",))


def test_steps_that_edit_one_file_in_turn_make_no_circle() -> None:
    steps = [
        Link("first", requires=("a.py",), creates=("a.py",)),
        Link("second", needs=("first",), requires=("a.py",), creates=("a.py",)),
        Link("third", needs=("second",), creates=("a.py",)),
    ]

    graph = build_graph(steps)

    assert graph.levels == (("first",), ("second",), ("third",))
    assert graph.from_base == (("first", "a.py"), ("second", "a.py"))


def test_an_editor_waits_for_whoever_makes_the_file() -> None:
    steps = [
        Link("edit", requires=("a.py",), creates=("a.py",)),
        Link("make", creates=("a.py",)),
        Link("use", requires=("a.py",)),
    ]

    graph = build_graph(steps)

    assert graph.levels == (("make",), ("edit",), ("use",))
    assert graph.from_base == ()


def test_two_editors_of_one_file_need_an_order() -> None:
    steps = [
        Link("a", requires=("a.py",), creates=("a.py",)),
        Link("b", requires=("a.py",), creates=("a.py",)),
    ]

    assert problems(steps) == [
        (
            ("steps", 1, "creates", 0),
            (
                "steps 'a' and 'b' both create 'a.py' with no order between them;"
                " let one need the other"
            ),
        )
    ]


def test_a_circle_is_named_in_order_from_its_first_step() -> None:
    steps = [
        Link("before"),
        Link("b", ("before", "c")),
        Link("a", ("b",)),
        Link("c", ("a",)),
    ]

    assert problems(steps) == [
        (
            ("steps", 1, "needs", 1),
            "the steps wait for each other in a circle: b → c → a → b",
        )
    ]


def test_a_circle_through_requires_is_one_too() -> None:
    steps = [
        Link("a", requires=("y",), creates=("x",)),
        Link("b", requires=("x",), creates=("y",)),
    ]

    assert problems(steps) == [
        (("steps", 0), "the steps wait for each other in a circle: a → b → a")
    ]


def test_a_step_that_needs_itself_is_told_so() -> None:
    assert problems([Link("a", ("a",))]) == [
        (("steps", 0, "needs", 0), "step 'a' needs itself"),
    ]


def test_every_separate_circle_is_told() -> None:
    steps = [Link("a", ("b",)), Link("b", ("a",)), Link("c", ("d",)), Link("d", ("c",))]

    assert [where for where, _ in problems(steps)] == [
        ("steps", 0, "needs", 0),
        ("steps", 2, "needs", 0),
    ]


def test_unknown_needs_duplicate_ids_and_circles_are_told_together() -> None:
    steps = [Link("lexer", ("lexer",)), Link("parse", ("lexr",)), Link("parse")]

    assert problems(steps) == [
        (("steps", 2, "id"), "step id 'parse' is taken by step 2 of the plan"),
        (
            ("steps", 1, "needs", 0),
            "step 'parse' needs 'lexr', which the plan does not define; did you mean 'lexer'?",
        ),
        (("steps", 0, "needs", 0), "step 'lexer' needs itself"),
    ]


def test_creators_of_one_file_in_order_are_fine() -> None:
    steps = [Link("a", creates=("x",)), Link("m", ("a",)), Link("b", ("m",), creates=("x",))]

    assert build_graph(steps).warnings == ()


def test_creators_of_one_folder_without_order_are_warned_of() -> None:
    steps = [Link("a", creates=("src/",)), Link("b", creates=("docs/", "src/b/"))]

    (warning,) = build_graph(steps).warnings

    assert warning.where == ("steps", 1, "creates", 1)
    assert warning.text == (
        "steps 'a' (src/) and 'b' (src/b/) create in the same folder with no order between"
        " them; what they both write may conflict"
    )


def test_the_folder_that_stands_later_in_the_plan_is_warned_of_too() -> None:
    steps = [Link("a", creates=("src/b/c.py",)), Link("b", creates=("src/",))]

    (warning,) = build_graph(steps).warnings

    assert warning.where == ("steps", 1, "creates", 0)


def test_a_step_may_create_a_path_and_what_is_in_it() -> None:
    assert build_graph([Link("a", creates=("src/", "src/a.py", "src/a.py"))]).warnings == ()


@pytest.mark.parametrize(("name", "guess"), [("lex", "; did you mean 'lexer'?"), ("zz", "")])
def test_only_a_near_name_is_suggested(name: str, guess: str) -> None:
    assert nearest(name, ["lexer", "parser"]) == guess


def test_two_thousand_steps_that_all_touch_one_folder_are_quick() -> None:
    steps = [
        Link(f"s{index}", requires=("src/",), creates=("src/", f"src/{index}.py"))
        for index in range(2000)
    ]
    started = time.monotonic()

    graph = build_graph(steps)

    assert time.monotonic() - started < 10
    assert len(graph.warnings) <= 2 * len(steps)
