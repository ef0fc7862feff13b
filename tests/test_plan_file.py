import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from branchwork.plan_file import (
    Finding,
    PlanFileError,
    load_plan,
    load_plan_text,
    plan_schema,
)

STEP = "  - {id: a, run: x}\n"


def refused(text: str) -> list[str]:
    """What is said of a plan file, without the file's name."""
    with pytest.raises(PlanFileError) as error:
        load_plan_text(text, "p.yaml")
    return [str(finding).removeprefix("p.yaml:") for finding in error.value.findings]


def refused_file(path: Path) -> str:
    with pytest.raises(PlanFileError) as error:
        load_plan(path)
    return str(error.value).removeprefix(f"{path}: ")


def test_a_plan_file_becomes_a_plan_that_knows_its_places(tmp_path: Path) -> None:
    path = tmp_path / "plan.yaml"
    path.write_text(
        "plan: demo\n"
        "agents: {w: 'true'}\n"
        "steps:\n"
        "  - id: a\n"
        "    agent: w\n"
        "    requires:\n"
        "      - lib/\n"
    )

    loaded = load_plan(path)

    assert [step.id for step in loaded.plan.steps] == ["a"]
    assert loaded.warnings == ()
    assert loaded.locate(("steps", 0, "requires", 0)) == (7, 9)
    assert loaded.locate(("steps", 0, "agent")) == (5, 12)
    assert loaded.locate(("steps", 0, "agent", "[key]")) == (5, 5)


def test_what_is_not_written_is_where_it_would_be() -> None:
    loaded = load_plan_text(f"plan: demo\nsteps:\n{STEP}", "p.yaml")

    assert loaded.locate(("steps", 0, "creates", 3)) == (3, 5)
    assert loaded.locate(("steps", 7)) == (3, 3)
    assert loaded.locate(()) == (1, 1)


def test_a_finding_names_file_line_and_column() -> None:
    assert str(Finding("plan.yaml", 14, 5, "is wrong")) == "plan.yaml:14:5: is wrong"
    assert str(Finding("plan.yaml", 0, 0, "is gone")) == "plan.yaml: is gone"


@pytest.mark.parametrize(
    ("text", "finding"),
    [
        ("plam: x\nplan: x\n", "1:1: the key 'plam' is unknown here; did you mean 'plan'?"),
        (
            "plan: x\n\ndefaults: {timeoutx: 5m}\n",
            "3:12: the key 'timeoutx' is unknown here; did you mean 'timeout'?",
        ),
        (
            "plan: x\nagents:\n  w: {use: command, rum: x, run: y}\n",
            "3:21: the key 'rum' is unknown here; did you mean 'run'?",
        ),
        (
            "plan: x\nagents:\n  w: {run: y, colour: red}\n",
            "3:15: the key 'colour' is unknown here; there are use, run, env, runs_on",
        ),
        (
            "plan: x\ndefaults:\n  retry:\n    attemptsx: 2\n",
            "4:5: the key 'attemptsx' is unknown here; did you mean 'attempts'?",
        ),
    ],
)
def test_an_unknown_key_is_refused_with_the_nearest_right_one(text: str, finding: str) -> None:
    assert refused(f"{text}steps:\n{STEP}") == [finding]


@pytest.mark.parametrize(
    ("fields", "finding"),
    [
        ("needsx: [a]", "5: the key 'needsx' is unknown here; did you mean 'needs'?"),
        (
            "retry: {initialx: 5s}",
            "13: the key 'initialx' is unknown here; did you mean 'initial'?",
        ),
        (
            "needs: [lexer, lexr]",
            "20: step 'b' needs 'lexr', which the plan does not define; did you mean 'lexer'?",
        ),
        ("needs: [lexer, b]", "20: step 'b' needs itself"),
        ("requires: [../x]", "16: '../x' leaves the repository"),
        ("requires: [a/../../x]", "16: 'a/../../x' leaves the repository"),
        (
            "creates: [ok, /etc/passwd]",
            "19: '/etc/passwd' is absolute; write it from the top of the repository",
        ),
        (
            "creates: [~/x]",
            "15: '~/x' is absolute; write it from the top of the repository",
        ),
        ("creates: [.git/hooks/x]", "15: '.git/hooks/x' lies in git's own folder"),
        ("creates: [sub/.GIT/x]", "15: 'sub/.GIT/x' lies in git's own folder"),
        (
            "creates: [./]",
            "15: './' is the whole repository; name a file or a folder in it",
        ),
        ("creates: ['']", "15: '' is not a path"),
        ("creates: [' x']", "15: ' x' is not a path"),
        ('creates: ["a\\nb"]', "15: 'a\\nb' is not a path"),
        (
            "timeout: 5",
            "14: 5 is not a duration; write it with its unit, as 90s, 30m or 1h30m",
        ),
        ("timeout: 5 minutes", "14: '5 minutes' is not a duration; write it as 90s, 30m or 1h30m"),
        (
            "retry: {maximum: 0s}",
            "22: '0s' is no time at all; write it as 90s, 30m or 1h30m",
        ),
        ("timeout: 400d", "14: '400d' is longer than 366d"),
        ("retry: {attempts: 0}", "23: 'attempts' is 0; it must be at least 1"),
        ("retry: {attempts: 101}", "23: 'attempts' is 101; it must be at most 100"),
        (
            "retry: {attempts: two}",
            "23: 'attempts' must be a whole number, and is 'two'",
        ),
        ("retry: {multiplier: x}", "25: 'multiplier' must be a number, and is 'x'"),
        ("retry: [1]", "12: 'retry' must be a mapping, and is a list"),
        (
            "optional: no",
            (
                "15: 'optional' must be true or false, and is 'no'; YAML 1.2 knows no other words"
                " for them"
            ),
        ),
        ("needs: a", "12: 'needs' must be a list, and is 'a'; write it in brackets: [a]"),
        ("needs: [5]", "13: entry 1 of 'needs' must be text, and is 5; write it in quotes"),
        ("action: {x: y}", "13: 'action' must be text, and is a mapping"),
        (
            "expect: changed",
            (
                "13: 'expect' is 'changed'; it can be 'changes', 'nothing', 'any';"
                " did you mean 'changes'?"
            ),
        ),
        (
            "env: {PORT: 8080}",
            "17: the value of 'PORT' must be text; write it in quotes",
        ),
        (
            "env: {MY-VAR: x}",
            "11: 'MY-VAR' is not a name for an environment variable: letters, digits and '_'",
        ),
        (
            "env: [OK, 1ST]",
            "15: '1ST' is not a name for an environment variable: letters, digits and '_'",
        ),
        ("env: x", "10: an environment is a list of names, or a mapping of names to text"),
        ("agent: w", "5: step 'b' has both 'run' and 'agent'; it takes one of them"),
        (
            "prompt: '{{ params.x }}'",
            "13: the prompt of step 'b' names params.x, which the plan's 'params' does not hold",
        ),
        ("run: z", "5: the key 'run' stands here already, in line 5"),
        ("1: z", "5: a key must be text; write it in quotes"),
        ("prompt: !!str/x y", "13: the tag !!str/x is not read; write the value plainly"),
    ],
)
def test_what_is_wrong_with_a_step_is_said_in_its_place(fields: str, finding: str) -> None:
    text = f"plan: x\nsteps:\n  - {{id: lexer, run: x}}\n  - id: b\n    run: y\n    {fields}\n"

    assert refused(text) == [f"6:{finding}"]


@pytest.mark.parametrize(
    ("field", "finding"),
    [
        ("max_parallel: eight", "2:15: 'max_parallel' must be a whole number, and is 'eight'"),
        ("max_parallel: 501", "2:15: 'max_parallel' is 501; it must be at most 500"),
        (
            "on_failure: stopx",
            "2:13: 'on_failure' is 'stopx'; it can be 'stop', 'continue'; did you mean 'stop'?",
        ),
        ("deadline: soon", "2:11: 'soon' is not a duration; write it as 90s, 30m or 1h30m"),
        ("description: 5", "2:14: 'description' must be text, and is 5; write it in quotes"),
        ("base: ''", "2:7: 'base' is empty"),
        ("params: [a]", "2:9: 'params' must be a mapping, and is a list"),
        ("params: {a: [1, .nan]}", "2:17: nan is not a number that JSON can write"),
        ("params: {a: -.inf}", "2:13: -inf is not a number that JSON can write"),
        ("params: {a: 1e999}", "2:13: inf is not a number that JSON can write"),
        ("agents: [a]", "2:9: 'agents' must be a mapping, and is a list"),
        ("agents: {w: 5}", "2:13: 'w' must be a mapping, and is 5"),
        ("agents: {w: ''}", "2:13: the command is empty"),
        ("agents: {w: {use: commandx, run: x}}", "2:19: 'use' is 'commandx'; it can be 'command'"),
        (
            "agents: {w: {use: command}}",
            (
                "2:13: the key 'run' is missing here: A script for `/bin/sh -e`, or a program and"
                " its arguments, started as they are"
            ),
        ),
        (
            "defaults: {timeout: 5}",
            "2:21: 5 is not a duration; write it with its unit, as 90s, 30m or 1h30m",
        ),
        ("defaults: 5", "2:11: 'defaults' must be a mapping, and is 5"),
    ],
)
def test_what_is_wrong_with_the_plan_is_said_in_its_place(field: str, finding: str) -> None:
    (found,) = refused(f"plan: x\n{field}\nsteps:\n{STEP}")

    assert found.startswith(finding)


@pytest.mark.parametrize("run", ["5", "{a: b}", "[1]", "true", "[a, {b: c}]"])
def test_a_command_that_is_none_is_refused_in_one_sentence(run: str) -> None:
    assert refused(f"plan: x\nsteps:\n  - id: a\n    run: {run}\n") == [
        "4:10: a command is text, or a list of text: a program and its arguments"
    ]


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("Has Blanks", "is not an id"),
        ("-x", "is not an id"),
        ("a/b", "is not an id"),
        ("x" * 65, "is not an id"),
        ("a..b", "cannot be part of a git ref"),
        ("a.lock", "cannot be part of a git ref"),
    ],
)
def test_bad_ids_are_refused(name: str, wrong: str) -> None:
    plan, step = refused(f"plan: '{name}'\nsteps:\n  - id: '{name}'\n    run: x\n")

    assert plan.startswith("1:7: ")
    assert step.startswith("3:9: ")
    assert wrong in plan
    assert wrong in step


def test_a_missing_key_is_said_where_its_mapping_begins() -> None:
    assert refused("description: x\nsteps:\n  - run: x\n") == [
        "1:1: the key 'plan' is missing here: Its name; run ids begin with it",
        "3:5: the key 'id' is missing here: Unique within the plan; also part of refs and paths",
    ]


def test_a_step_that_nobody_does_is_refused() -> None:
    assert refused("plan: x\nsteps:\n  - id: a\n") == [
        "3:5: step 'a' has neither 'run' nor 'agent': nobody does it"
    ]


def test_a_duplicate_id_is_refused_where_it_comes_again() -> None:
    assert refused(f"plan: x\nsteps:\n{STEP}  - {{run: y, id: a}}\n") == [
        "4:18: step id 'a' is taken by step 1 of the plan"
    ]


def test_a_circle_is_refused_and_named_in_order() -> None:
    text = (
        "plan: x\nsteps:\n"
        "  - {id: a, run: x, needs: [c]}\n"
        "  - {id: b, run: x, needs: [a]}\n"
        "  - {id: c, run: x, needs: [b]}\n"
    )

    assert refused(text) == ["3:29: the steps wait for each other in a circle: a → c → b → a"]


def test_two_creators_of_one_file_without_order_are_refused() -> None:
    text = (
        "plan: x\nsteps:\n"
        "  - {id: a, run: x, creates: [out.txt]}\n"
        "  - {id: b, run: x, creates: [other, ./out.txt]}\n"
    )

    assert refused(text) == [
        (
            "4:38: steps 'a' and 'b' both create './out.txt' with no order between them;"
            " let one need the other"
        )
    ]


def test_two_creators_in_one_folder_without_order_are_warned_of_in_their_place() -> None:
    text = (
        "plan: x\nsteps:\n"
        "  - {id: a, run: x, creates: [src/]}\n"
        "  - {id: b, run: x, creates: [src/b.py]}\n"
    )

    (warning,) = load_plan_text(text, "p.yaml").warnings

    assert str(warning) == (
        "p.yaml:4:31: steps 'a' (src/) and 'b' (src/b.py) create in the same folder with no"
        " order between them; what they both write may conflict"
    )


@pytest.mark.parametrize(
    ("text", "finding"),
    [
        ("", "1:1: the file is empty; it must hold keys with values"),
        ("# nothing\n---\n", "3:1: the file is empty; it must hold keys with values"),
        ("- a\n- b\n", "1:1: the file is a list, not a mapping; it must hold keys with values"),
        ("hello", "1:1: the file is 'hello', not a mapping; it must hold keys with values"),
        ("plan: x\nsteps: []\n", "2:8: the plan has no steps"),
        ("plan: x\nsteps:\n", "3:1: 'steps' must be a list, and is empty"),
        ("plan: x\n", "1:1: the key 'steps' is missing here"),
        ("plan: x\nsteps: {a: b}\n", "2:8: 'steps' must be a list, and is a mapping"),
        ("plan: x\nsteps: [a]\n", "2:9: entry 1 of 'steps' must be a mapping, and is 'a'"),
        (
            "name: x\nworkflow:\n  id: y\n",
            (
                "2:1: 'workflow:' begins a file of another system, whose schema is not understood"
                " yet; a plan begins with 'plan:' and has its 'steps:' beside that"
            ),
        ),
    ],
)
def test_what_is_no_plan_at_all_is_refused_in_one_sentence(text: str, finding: str) -> None:
    assert refused(text) == [finding]


def test_everything_that_is_wrong_is_said_at_once_and_in_file_order() -> None:
    text = (
        "plan: x\n"
        "steps:\n"
        "  - {id: a, run: x, needs: [bb], timeout: 5}\n"
        "  - {id: a, run: x, colour: red, run: z}\n"
        "  - {id: c}\n"
        "  - {id: d, run: x, prompt: '{{ nme }}'}\n"
        "deadline: soon\n"
    )

    found = refused(text)

    assert [finding.split(": ")[0] for finding in found] == [
        "3:29",
        "3:43",
        "4:10",
        "4:21",
        "4:34",
        "5:5",
        "6:29",
        "7:11",
    ]


def test_a_step_without_its_id_makes_no_need_unknown() -> None:
    text = "plan: x\nsteps:\n  - {idd: a, run: x}\n  - {id: b, run: x, needs: [a]}\n"

    assert [finding.split(": ")[0] for finding in refused(text)] == ["3:5", "3:6"]


def test_yaml_1_2_leaves_words_and_dates_alone() -> None:
    text = (
        f"plan: x\nsteps:\n{STEP}params: {{a: no, b: 2020-01-01, c: 1_000, d: on, e: 0o17,"
        " f: 0x1F, g: 017, h: '5', i: ~, j: !!str 5, k: 1e3, l: TRUE, m: 12:30, n: .5}\n"
    )

    params = load_plan_text(text, "p.yaml").plan.params

    assert params == {
        "a": "no",
        "b": "2020-01-01",
        "c": "1_000",
        "d": "on",
        "e": 15,
        "f": 31,
        "g": 17,
        "h": "5",
        "i": None,
        "j": "5",
        "k": 1000.0,
        "l": True,
        "m": "12:30",
        "n": 0.5,
    }


def test_anchors_aliases_and_merge_keys_work() -> None:
    text = (
        "plan: x\n"
        "steps:\n"
        "  - &first {id: a, run: x, env: {A: '1'}, timeout: 5m}\n"
        "  - &second {<<: *first, id: b, needs: &needs [a]}\n"
        "  - <<: [*second, *first]\n"
        "    id: c\n"
        "  - {id: d, run: x, needs: *needs}\n"
    )

    steps = load_plan_text(text, "p.yaml").plan.steps

    assert [step.id for step in steps] == ["a", "b", "c", "d"]
    assert [step.needs for step in steps] == [(), ("a",), ("a",), ("a",)]
    assert [step.env for step in steps] == [{"A": "1"}] * 3 + [{}]


def test_what_an_alias_stands_for_is_wrong_where_it_stands() -> None:
    text = "plan: x\nsteps:\n  - {id: a, run: x, needs: &n [zz]}\n  - {id: b, run: x, needs: *n}\n"

    found = refused(text)

    assert [finding.split(": ")[0] for finding in found] == ["3:32", "3:32"]


@pytest.mark.parametrize(
    ("text", "finding"),
    [
        ("plan: x\nsteps: [\n", "3:1: this is no YAML: expected the node content"),
        ("plan: x\n\tsteps: 1\n", "2:1: this is no YAML: found character '\\t'"),
        ("plan: x: y\n", "1:8: this is no YAML: mapping values are not allowed here"),
        ("plan: 'x\n", "2:1: this is no YAML: found unexpected end of stream"),
        ("plan: x\na: \x07\n", "2:4: this is no YAML: unacceptable character #x0007"),
        ("plan: x\na: \0\n", "2:4: this is no YAML: unacceptable character #x0000"),
        ("plan: x\na: \ud800\n", "2:4: this is no YAML: unacceptable character #xd800"),
        ("plan: x\n---\nplan: y\n", "2:1: a second document begins here; a file holds one"),
        ("%YAML 1.1\n---\nplan: x\n", "2:1: only YAML 1.2 is read; drop the %YAML line"),
        ("%YAML 1.9\n---\nplan: x\n", "1:1: this is no YAML"),
        ("plan: *x\n", "1:7: the alias *x has no anchor &x before it"),
        ("plan: &x [*x]\n", "1:11: the alias *x stands inside what it stands for"),
        ('plan: "\\UFFFFFFFF"\n', "1:1: this is no YAML"),
        ("plan: " + "[" * 100_000, "1:56: this is nested more than 50 deep"),
        ("- " * 100_000, "1:101: this is nested more than 50 deep"),
        ("? " * 100_000, "1:101: this is nested more than 50 deep"),
    ],
)
def test_what_cannot_be_read_is_refused_where_reading_stopxed(text: str, finding: str) -> None:
    (found,) = refused(text)

    assert found.startswith(finding)


@pytest.mark.parametrize(
    ("entry", "finding"),
    [
        ("!!python/object:os.system x", "the tag !!python/object:os.system is not read"),
        ("!!timestamp 2020-01-01", "the tag !!timestamp is not read; write the value plainly"),
        ("!mine {a: b}", "the tag !mine is not read; write the value plainly"),
        ('"\\0"', "text cannot hold a NUL character"),
        ('"\\ud800"', "text cannot hold half of a surrogate pair"),
        ("9" * 5000, "this number is too long; write it in quotes if it is text"),
    ],
)
def test_values_that_are_not_read_are_refused_in_their_place(entry: str, finding: str) -> None:
    (found,) = refused(f"plan: x\nparams:\n  a: {entry}\nsteps:\n{STEP}")

    assert found.startswith(f"3:6: {finding}")


@pytest.mark.parametrize("key", ["5", "true", "~", "[a]", "{a: b}"])
def test_keys_that_are_no_text_are_refused(key: str) -> None:
    (found,) = refused(f"plan: x\nparams:\n  ? {key}\n  : x\nsteps:\n{STEP}")

    assert found == "3:5: a key must be text; write it in quotes"


def test_merging_twice_in_one_mapping_is_refused() -> None:
    (found,) = refused(f"plan: x\nparams: {{a: &a {{}}, b: {{<<: *a, <<: *a}}}}\nsteps:\n{STEP}")

    assert found == "2:32: the key '<<' stands here already, in line 2"


def test_a_merge_of_what_is_no_mapping_is_refused() -> None:
    (found,) = refused(f"plan: x\nparams: {{<<: 5}}\nsteps:\n{STEP}")

    assert found == "2:10: '<<' takes a mapping, or a list of mappings"


def laughs(first: str, pattern: str, levels: int) -> str:
    lines = [f"  l0: &l0 {first}"]
    for level in range(1, levels):
        aliases = ", ".join([f"*l{level - 1}"] * 9)
        lines.append(f"  l{level}: &l{level} {pattern.format(aliases)}")
    return "plan: x\nparams:\n" + "\n".join(lines) + f"\nsteps:\n{STEP}"


def test_a_billion_laughs_are_refused_at_once() -> None:
    started = time.monotonic()

    (found,) = refused(laughs("[lol, lol, lol]", "[{}]", 40))

    assert found.endswith("this makes more than 100,000 values, aliases expanded")
    assert time.monotonic() - started < 10


def test_merging_without_end_is_refused_too() -> None:
    keys = ", ".join(f"k{index}: 1" for index in range(1000))
    merges = f"{{<<: [{', '.join(['*a'] * 90)}]}}"

    (found,) = refused(
        f"plan: x\nparams:\n  a: &a {{{keys}}}\n  b: {merges}\n  c: {merges}\nsteps:\n{STEP}"
    )

    assert "merges more than 100,000 values" in found


def test_depth_that_only_aliases_make_is_refused() -> None:
    lines = [f"  l{level}: &l{level} [*l{level - 1}]\n" for level in range(1, 80)]

    (found,) = refused(f"plan: x\nparams:\n  l0: &l0 [x]\n{''.join(lines)}steps:\n{STEP}")

    assert found.endswith("this is nested more than 50 deep")


def test_a_file_of_a_gigabyte_is_refused_without_reading_it(tmp_path: Path) -> None:
    path = tmp_path / "huge.yaml"
    with path.open("wb") as file:
        file.truncate(2**30)
    started = time.monotonic()

    assert (
        refused_file(path) == "the file has 1,073,741,824 bytes; more than 1,048,576 are not read"
    )
    assert time.monotonic() - started < 5


def test_a_text_over_the_limit_is_refused() -> None:
    assert refused("#" * 2**20 + "\n") == [
        " the file has 1,048,577 bytes; more than 1,048,576 are not read"
    ]


def test_a_pipe_is_refused_without_waiting_for_a_writer(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)

    assert refused_file(path) == "this is a pipe or a device; name a file"


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        (".", "this is a folder; name a file"),
        ("/dev/zero", "this is a pipe or a device; name a file"),
        ("nowhere/plan.yaml", "there is no such file"),
        ("/dev/null/plan.yaml", "the file cannot be read: Not a directory"),
        ("x" * 300, "the file cannot be read: File name too long"),
    ],
)
def test_what_is_no_file_is_refused(path: str, sentence: str) -> None:
    assert refused_file(Path(path)) == sentence


def test_a_file_that_may_not_be_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "plan.yaml"
    path.write_text("plan: x")
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("this user may read everything")

    assert refused_file(path) == "the file cannot be read: Permission denied"


def test_a_name_that_no_file_can_have_is_refused() -> None:
    with pytest.raises(PlanFileError, match="this is no name of a file"):
        load_plan(Path("a\0b"))


def test_bytes_that_are_no_utf_8_are_refused_in_their_place(tmp_path: Path) -> None:
    path = tmp_path / "plan.yaml"
    path.write_bytes("plan: x\n# ä".encode() + b"\xff\n")

    with pytest.raises(PlanFileError) as error:
        load_plan(path)

    assert str(error.value) == f"{path}:2:4: this is no UTF-8: invalid start byte"


def test_a_finding_stays_readable_whatever_was_written() -> None:
    (found,) = refused(f"plan: x\nsteps:\n  - {{id: a, run: x, needs: [{'y' * 200_000}]}}\n")

    assert len(found) < 1100


def test_a_path_of_half_a_million_folders_is_refused_at_once() -> None:
    started = time.monotonic()

    (found,) = refused(f"plan: x\nsteps:\n  - {{id: a, run: x, creates: [{'a/' * 400_000}]}}\n")

    assert "is too long for a path" in found
    assert time.monotonic() - started < 20


def test_a_file_with_two_thousand_steps_is_read_in_seconds() -> None:
    steps = "".join(
        f"  - id: s{index}\n    agent: w\n    needs: [s{max(index - 1, 0)}]\n"
        f"    creates: [src/{index}/out.py]\n    prompt: Do {{{{ step }}}}\n"
        for index in range(1, 2001)
    )
    steps = steps.replace("needs: [s0]", "needs: []")
    started = time.monotonic()

    loaded = load_plan_text(f"plan: long\nsteps:\n{steps}", "p.yaml")

    assert len(loaded.plan.graph.levels) == 2000
    assert time.monotonic() - started < 20


def test_the_schema_is_one() -> None:
    schema = plan_schema()

    Draft202012Validator.check_schema(schema)

    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["title"] == "Branchwork plan"
    assert schema["additionalProperties"] is False
    step = schema["$defs"]["Step"]["properties"]
    assert step["timeout"]["default"] == "1h"
    assert step["needs"]["description"].startswith("Steps that must succeed first")


def sample(**step: Any) -> dict[str, Any]:
    return {"plan": "x", "steps": [{"id": "a", "run": "x", **step}]}


def reader_takes(value: dict[str, Any]) -> bool:
    try:
        load_plan_text(json.dumps(value), "p.yaml")
    except PlanFileError:
        return False
    return True


@pytest.mark.parametrize(
    "value",
    [
        sample(),
        sample(run=["a", "b"], env={"A": "1", "B": None}),
        sample(env=["A"], timeout="1h30m", retry={"attempts": 3, "initial": "250ms"}),
        sample(creates=["a/b/", "..c", ".gitignore"], requires=["x y"], expect="changes"),
        sample(optional=True, action=None, prompt="hello"),
        {**sample(), "agents": {"*": "x", "w": ["a"], "v": {"use": "command", "run": "y"}}},
        {**sample(), "params": {"a": [1, {"b": None}]}, "defaults": {"timeout": "5m"}},
        {**sample(), "deadline": "2d", "on_failure": "continue", "max_parallel": 500},
    ],
)
def test_schema_and_reader_take_the_same_plans(value: dict[str, Any]) -> None:
    assert Draft202012Validator(plan_schema()).is_valid(value)
    assert reader_takes(value)


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"plan": "x", "steps": []},
        {"plan": "x", "steps": [{"run": "x"}]},
        {**sample(), "colour": "red"},
        {**sample(), "plan": "Bad Name"},
        {**sample(), "max_parallel": 0},
        {**sample(), "max_parallel": "8"},
        {**sample(), "on_failure": "stopx"},
        {**sample(), "deadline": 5},
        {**sample(), "defaults": {"timeoutx": "5m"}},
        {**sample(), "agents": {"w": {"use": "command"}}},
        {**sample(), "agents": {"w": 5}},
        sample(id="a..b"),
        sample(id="a.lock"),
        sample(id="x" * 65),
        sample(run=[]),
        sample(run=""),
        sample(run=5),
        sample(timeout="5"),
        sample(timeout="0s"),
        sample(timeout=""),
        sample(timeout="1h 5m"),
        sample(retry={"attempts": 101}),
        sample(retry={"attemptsx": 1}),
        sample(needs="b"),
        sample(creates=["../x"]),
        sample(creates=["a/.."]),
        sample(creates=["/x"]),
        sample(creates=[".git/config"]),
        sample(creates=[""]),
        sample(env={"A-B": "x"}),
        sample(env={"A": 1}),
        sample(env=["1A"]),
        sample(optional="no"),
        sample(expect="changed"),
    ],
)
def test_schema_and_reader_refuse_the_same_plans(value: dict[str, Any]) -> None:
    assert not Draft202012Validator(plan_schema()).is_valid(value)
    assert not reader_takes(value)
