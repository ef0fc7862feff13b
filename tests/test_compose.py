"""What is deployed: docker-compose.yml, the image's Dockerfile, and the scripts beside them.

No container runs here: the files are held against the Compose schema and against each other.
"""

import asyncio
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML
from temporalio.client import Client

ROOT = Path(__file__).parent.parent
SCRIPTS = Path(sysconfig.get_path("scripts"))
COMPOSE: dict[str, Any] = YAML(typ="safe").load(ROOT / "docker-compose.yml")
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
ONE_SHOT = {
    name
    for service in SERVICES.values()
    for name, needed in service.get("depends_on", {}).items()
    if needed["condition"] == "service_completed_successfully"
}


def copied_paths() -> list[str]:
    """What the Dockerfile takes from the checkout."""
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    copies = [line.split()[1:-1] for line in lines if line.startswith("COPY ")]
    return [path for copy in copies if not copy[0].startswith("--from") for path in copy]


def sources(service: dict[str, Any]) -> list[str]:
    """Where the volumes of a service come from."""
    return [volume.rpartition(":/")[0] for volume in service.get("volumes", [])]


def make_namespace(address: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["/bin/sh", str(ROOT / "deploy" / "temporal" / "create-namespace.sh")],
        env={
            "PATH": f"{SCRIPTS}:{os.environ['PATH']}",
            "TEMPORAL_ADDRESS": address,
            "TEMPORAL_NAMESPACE": "deployed",
        },
        capture_output=True,
        text=True,
        check=False,
    )


def test_compose_accepts_the_file() -> None:
    schema = ("--builtin-schema", "vendor.compose-spec")

    done = subprocess.run(
        [sys.executable, "-m", "check_jsonschema", *schema, str(ROOT / "docker-compose.yml")],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", SERVICES)
def test_ports_are_published_on_this_machine_only(name: str) -> None:
    for port in SERVICES[name].get("ports", []):
        assert port.startswith("127.0.0.1:")


@pytest.mark.parametrize("name", SERVICES)
def test_images_are_pinned_to_a_version(name: str) -> None:
    _, _, tag = SERVICES[name]["image"].partition(":")

    assert re.match(r"\d+\.\d+", tag)


def test_server_and_its_tools_are_of_one_version() -> None:
    tags = {
        service["image"].partition(":")[2]
        for service in SERVICES.values()
        if service["image"].startswith(("temporalio/server:", "temporalio/admin-tools:"))
    }

    assert len(tags) == 1


@pytest.mark.parametrize("name", SERVICES)
def test_what_is_waited_for_is_there_and_can_be_seen_to_be_ready(name: str) -> None:
    for needed, how in SERVICES[name].get("depends_on", {}).items():
        assert needed in SERVICES
        ready = "service_completed_successfully" if needed in ONE_SHOT else "service_healthy"
        assert how["condition"] == ready


@pytest.mark.parametrize("name", SERVICES)
def test_services_that_stay_have_a_health_check_and_come_back(name: str) -> None:
    service = SERVICES[name]

    assert ("healthcheck" in service) is (name not in ONE_SHOT)
    assert service["restart"] == ("on-failure:5" if name in ONE_SHOT else "unless-stopped")


def test_the_password_has_no_default_and_the_database_no_port() -> None:
    text = (ROOT / "docker-compose.yml").read_text()

    used = re.findall(r"\$\{POSTGRES_PASSWORD(.{2})", text)
    assert used
    assert set(used) == {":?"}
    assert re.findall(r"(?:PASSWORD|PWD): (?!\$)", text) == []
    assert "ports" not in SERVICES["postgresql"]


def test_agents_do_not_reach_the_database() -> None:
    assert COMPOSE["networks"]["database"] == {"internal": True}
    assert SERVICES["postgresql"]["networks"] == ["database"]
    assert "networks" not in SERVICES["worker"]


def test_volumes_are_declared_or_exist_in_the_checkout() -> None:
    for source in [source for service in SERVICES.values() for source in sources(service)]:
        named = source in COMPOSE["volumes"]
        of_the_user = source.startswith("${BRANCHWORK_REPOSITORIES:-")
        assert named or of_the_user or (ROOT / source).exists(), source


@pytest.mark.parametrize("name", ["schema", "temporal", "namespace"])
def test_mounted_files_that_services_name_exist(name: str) -> None:
    service = SERVICES[name]

    said = [*service.get("entrypoint", []), *service["environment"].values()]
    named = [word.removeprefix("/deploy/") for word in said if word.startswith("/deploy/")]
    assert named
    assert all((ROOT / "deploy" / "temporal" / file).is_file() for file in named)


def test_the_worker_has_longer_to_stop_than_its_attempts_have() -> None:
    assert SERVICES["worker"]["stop_grace_period"] == "60s"
    assert SERVICES["worker"]["init"] is True


def test_the_dockerfile_copies_only_what_is_there_and_not_ignored() -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()

    assert copied_paths()
    assert all((ROOT / path).exists() for path in copied_paths())
    assert {f"!{path}" for path in copied_paths()} <= set(ignored)


def test_what_the_dockerfile_copies_makes_the_wheel(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for path in copied_paths():
        copy = shutil.copytree if (ROOT / path).is_dir() else shutil.copy
        copy(ROOT / path, source / path)

    pip = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index"]
    done = subprocess.run(
        [*pip, "--wheel-dir", str(tmp_path), str(source)],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert [path.name.partition("-")[0] for path in tmp_path.glob("*.whl")] == ["branchwork"]


def test_the_image_is_of_a_pinned_python_and_runs_the_worker_as_nobody_special() -> None:
    text = (ROOT / "Dockerfile").read_text()

    stages = re.findall(r"^FROM (\S+)", text, re.MULTILINE)
    assert {re.sub(r"3\.11\.\d+", "3.11.x", stage) for stage in stages} == {
        "python:3.11.x-slim-bookworm"
    }
    assert 'ENTRYPOINT ["python", "-P", "-m", "worker"]' in text
    assert text.index("\nUSER branchwork") > text.rindex("pip install")
    assert text.count("--require-hashes") == text.count("--requirement ")


async def test_the_namespace_is_made_once_and_found_the_second_time(client: Client) -> None:
    address = client.service_client.config.target_host

    first = await asyncio.to_thread(make_namespace, address)
    second = await asyncio.to_thread(make_namespace, address)

    assert (first.returncode, second.returncode) == (0, 0), (first, second)
    assert "deployed" in first.stdout
    assert second.stdout == ""


def test_every_deployed_script_can_be_parsed() -> None:
    for script in (ROOT / "deploy").rglob("*.sh"):
        subprocess.run(["/bin/sh", "-n", str(script)], check=True)
