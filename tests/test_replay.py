"""Histories replay alike in other processes, where addresses and hashes are others."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from temporalio.client import Client

from golden import GOLDEN, histories_of

HERE = Path(__file__).parent
RELEASES = sorted(folder for folder in (HERE / "histories").iterdir() if folder.is_dir())


def replayed(files: list[Path], seed: int) -> subprocess.CompletedProcess[str]:
    # The padding moves every object to another address.
    environment = {**os.environ, "PYTHONHASHSEED": str(seed), "PADDING": "x" * 9973 * seed}
    command = [sys.executable, str(HERE / "replaying.py"), *map(str, files)]
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False, timeout=90
    )


@pytest.mark.parametrize("name", GOLDEN)
def test_the_newest_release_has_a_history_of_each_kind(name: str) -> None:
    assert list(RELEASES[-1].glob(f"{name.replace(' ', '-')}*.json"))


@pytest.mark.parametrize("release", RELEASES, ids=lambda folder: folder.name)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_histories_of_every_release_replay_in_a_fresh_process(release: Path, seed: int) -> None:
    files = sorted(release.glob("*.json"))

    result = replayed(files, seed)

    assert result.returncode == 0, result.stderr


async def test_a_history_made_now_replays_in_three_fresh_processes(
    client: Client, tmp_path: Path
) -> None:
    file = tmp_path / "now.json"
    [history] = await histories_of(client, GOLDEN["a failure that cancels nineteen"])
    file.write_text(history)

    results = [replayed([file], seed) for seed in (1, 2, 3)]

    assert [result.returncode for result in results] == [0, 0, 0], results[0].stderr


def test_a_history_that_does_not_fit_the_workflow_is_found_out(tmp_path: Path) -> None:
    history = (RELEASES[-1] / "diamond.json").read_text()
    file = tmp_path / "wrong.json"
    file.write_text(history.replace('"activityId": "b.run.1"', '"activityId": "x.run.1"'))

    result = replayed([file], 1)

    assert result.returncode == 1
    assert "does not match" in result.stderr
