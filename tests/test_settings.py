"""What the environment says."""

from pathlib import Path

import pytest

from branchwork.settings import Settings, SettingsError


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """Somebody without a profile, whoever runs the tests."""
    empty = tmp_path / "temporal.toml"
    empty.touch()
    return {"HOME": "/home/ada", "TEMPORAL_CONFIG_FILE": str(empty)}


def test_nothing_set_means_an_embedded_server_and_state_below_home(environ: dict[str, str]) -> None:
    settings = Settings.from_environment(environ)

    assert settings.state == Path("/home/ada/.local/state/branchwork")
    assert not settings.configured
    assert settings.address == "127.0.0.1:7233"
    assert settings.connect == {"target_host": "127.0.0.1:7233", "namespace": "default"}
    assert (settings.server_port, settings.ui_port) == (7233, 8233)
    assert (settings.ui, settings.slots) == (None, 16)
    assert settings.host


def test_an_absolute_state_home_is_taken(environ: dict[str, str]) -> None:
    settings = Settings.from_environment({**environ, "XDG_STATE_HOME": "/var/state"})

    assert settings.state == Path("/var/state/branchwork")


@pytest.mark.parametrize("ignored", ["", "state", "../state"])
def test_a_relative_state_home_is_ignored(environ: dict[str, str], ignored: str) -> None:
    settings = Settings.from_environment({**environ, "XDG_STATE_HOME": ignored})

    assert settings.state == Path("/home/ada/.local/state/branchwork")


def test_an_address_configures_and_the_namespace_has_a_default(environ: dict[str, str]) -> None:
    settings = Settings.from_environment({**environ, "TEMPORAL_ADDRESS": "temporal.internal:7233"})

    assert settings.configured
    assert settings.address == "temporal.internal:7233"
    assert settings.connect == {"target_host": settings.address, "namespace": "default"}


def test_a_namespace_alone_configures_the_default_address(environ: dict[str, str]) -> None:
    settings = Settings.from_environment({**environ, "TEMPORAL_NAMESPACE": "team"})

    assert settings.configured
    assert (settings.address, settings.namespace) == ("127.0.0.1:7233", "team")


def test_an_empty_address_configures_nothing(environ: dict[str, str]) -> None:
    settings = Settings.from_environment({**environ, "TEMPORAL_ADDRESS": ""})

    assert not settings.configured


def test_a_profile_configures(environ: dict[str, str]) -> None:
    profiles = Path(environ["TEMPORAL_CONFIG_FILE"])
    profiles.write_text('[profile.far]\naddress = "far:1"\nnamespace = "ours"\n')

    settings = Settings.from_environment({**environ, "TEMPORAL_PROFILE": "far"})

    assert settings.configured
    assert (settings.address, settings.namespace) == ("far:1", "ours")


def test_a_secret_is_not_shown(environ: dict[str, str]) -> None:
    settings = Settings.from_environment({**environ, "TEMPORAL_API_KEY": "s3cret"})

    assert settings.connect["api_key"] == "s3cret"
    assert "s3cret" not in repr(settings)


def test_an_embedded_server_can_have_other_ports(environ: dict[str, str]) -> None:
    settings = Settings.from_environment(
        {**environ, "BRANCHWORK_SERVER_PORT": "7300", "BRANCHWORK_UI_PORT": "7301"}
    )

    assert settings.address == "127.0.0.1:7300"
    assert (settings.server_port, settings.ui_port) == (7300, 7301)
    assert not settings.configured


def test_host_slots_and_ui_can_be_named(environ: dict[str, str]) -> None:
    settings = Settings.from_environment(
        {
            **environ,
            "BRANCHWORK_HOST": "builder-1",
            "BRANCHWORK_SLOTS": "3",
            "BRANCHWORK_UI_ADDRESS": "https://ui.internal/",
        }
    )

    assert (settings.host, settings.slots, settings.ui) == ("builder-1", 3, "https://ui.internal")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("BRANCHWORK_SLOTS", "0"),
        ("BRANCHWORK_SLOTS", "-1"),
        ("BRANCHWORK_SLOTS", "many"),
        ("BRANCHWORK_SLOTS", "1001"),
        ("BRANCHWORK_SLOTS", "٣"),
        ("BRANCHWORK_SLOTS", "9" * 5000),
        ("BRANCHWORK_SERVER_PORT", "65536"),
        ("BRANCHWORK_SERVER_PORT", "7233.5"),
        ("BRANCHWORK_UI_PORT", "http"),
        ("BRANCHWORK_UI_ADDRESS", "ui.internal"),
        ("BRANCHWORK_HOST", "two words"),
        ("BRANCHWORK_HOST", "line\nbreak"),
        ("TEMPORAL_CONFIG_FILE", "/no/such/temporal.toml"),
        ("TEMPORAL_PROFILE", "nobody"),
        ("TEMPORAL_TLS_CLIENT_CERT_PATH", "/no/such/cert.pem"),
    ],
)
def test_a_bad_value_is_refused_with_its_name(
    environ: dict[str, str], name: str, value: str
) -> None:
    with pytest.raises(SettingsError) as refused:
        Settings.from_environment({**environ, name: value})

    assert name in str(refused.value) or "TEMPORAL_* variables" in str(refused.value)
    assert len(str(refused.value)) < 300
    assert value[:40] in str(refused.value) or repr(value)[1:-1] in str(refused.value)


def test_broken_profiles_are_refused(environ: dict[str, str]) -> None:
    Path(environ["TEMPORAL_CONFIG_FILE"]).write_text("[profile.default\n")

    with pytest.raises(SettingsError, match=r"temporal\.toml cannot be used"):
        Settings.from_environment(environ)
