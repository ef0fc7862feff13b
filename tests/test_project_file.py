from pathlib import Path

import pytest

from branchwork.findings import PlanFileError
from branchwork.plan import AgentSpec
from branchwork.project_file import ProjectFile, load_project, parse_agent_option


def refused(folder: Path, text: str) -> list[str]:
    path = folder / "branchwork.yaml"
    path.write_text(text)
    with pytest.raises(PlanFileError) as error:
        load_project(folder)
    return [str(finding).removeprefix(f"{path}:") for finding in error.value.findings]


def test_agents_of_a_repository_are_read_long_or_short(tmp_path: Path) -> None:
    (tmp_path / "branchwork.yaml").write_text(
        "agents:\n  improver: {use: command, run: make it better, env: [TOKEN]}\n"
        "  reviewer: ./review\n  '*': [python3, agent.py]\n"
    )

    agents = load_project(tmp_path).agents

    assert agents == {
        "improver": AgentSpec(run="make it better", env={"TOKEN": None}),
        "reviewer": AgentSpec(run="./review"),
        "*": AgentSpec(run=("python3", "agent.py")),
    }


def test_a_repository_may_say_nothing(tmp_path: Path) -> None:
    silent = load_project(tmp_path)
    (tmp_path / "branchwork.yaml").write_text("# nothing yet\n")

    assert silent == load_project(tmp_path) == ProjectFile()


@pytest.mark.parametrize(
    ("text", "finding"),
    [
        ("agnets: {}\n", "1:1: the key 'agnets' is unknown here; did you mean 'agents'?"),
        (
            "agents:\n  w: {rnu: x, run: y}\n",
            "2:7: the key 'rnu' is unknown here; did you mean 'run'?",
        ),
        ("agents:\n  w: ''\n", "2:6: the command is empty"),
        ("agents: [\n", "2:1: this is no YAML: expected the node content, but found"),
        ("- a\n", "1:1: the file is a list, not a mapping; it must hold keys with values"),
    ],
)
def test_what_is_wrong_with_it_is_said_in_its_place(
    tmp_path: Path, text: str, finding: str
) -> None:
    (found,) = refused(tmp_path, text)

    assert found.startswith(finding)


def test_a_link_that_leads_nowhere_is_not_taken_for_silence(tmp_path: Path) -> None:
    (tmp_path / "branchwork.yaml").symlink_to("gone.yaml")

    with pytest.raises(PlanFileError, match="there is no such file"):
        load_project(tmp_path)


@pytest.mark.parametrize(
    ("option", "name", "command"),
    [
        ("w=./work --fast", "w", "./work --fast"),
        ("*=A=1 x", "*", "A=1 x"),
        ("w = x", "w", " x"),
    ],
)
def test_an_agent_option_maps_a_name_to_a_command(option: str, name: str, command: str) -> None:
    assert parse_agent_option(option) == (name, AgentSpec(run=command))


@pytest.mark.parametrize(
    ("option", "sentence"),
    [
        ("worker", "'worker' maps no agent; write NAME=COMMAND"),
        ("=x", "'=x' maps no agent; write NAME=COMMAND"),
        ("w=", "'w=' has no command; write w=COMMAND"),
        ("w=  ", "'w=  ' has no command; write w=COMMAND"),
        ("w=a\0b", "a command cannot hold a NUL character"),
    ],
)
def test_an_agent_option_that_is_none_is_refused(option: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=r"(maps no agent|no command)") as error:
        parse_agent_option(option)

    assert sentence in str(error.value)
