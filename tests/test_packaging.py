"""What an installation is made from fits the program: settings, locks, the compose file."""

import re
from pathlib import Path

import pytest

from services.config import Settings

ROOT = Path(__file__).resolve().parent.parent
SETTINGS = {name.upper() for name in Settings.model_fields}
REQUIRED = {
    "BOT_TOKEN": "1234567:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
    "CRYPTOCLOUD_API_KEY": "key",
    "CRYPTOCLOUD_SHOP_ID": "shop",
    "CRYPTOCLOUD_SECRET_KEY": "secret",
}


def test_the_example_names_every_setting_with_its_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    example = (ROOT / ".env.example").read_text()
    named = re.findall(r"^#?([A-Z_]+)=(.*)$", example, re.MULTILINE)
    assert {name for name, _ in named} == SETTINGS
    assert {name for name, _ in named if f"\n{name}=" in example} == {*REQUIRED, "ADMIN_IDS"}
    for name in SETTINGS:
        monkeypatch.delenv(name, raising=False)
    env = tmp_path / ".env"
    env.write_text("".join(f"{name}={REQUIRED.get(name, default)}\n" for name, default in named))
    wanted = tmp_path / "required.env"
    wanted.write_text("".join(f"{name}={value}\n" for name, value in REQUIRED.items()))
    assert Settings(_env_file=env) == Settings(_env_file=wanted)


def test_compose_hands_on_every_setting_that_a_container_can_use() -> None:
    handed_on = set(
        re.findall(r"^ +- ([A-Z_]+)(?:=|$)", (ROOT / "docker-compose.yml").read_text(), re.MULTILINE)
    )
    assert SETTINGS - handed_on == {"DATA_DIR", "TIERS_FILE", "FAILPOINT"}


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-dev.lock", "requirements-uv.lock"])
def test_a_lock_pins_by_hash_and_names_no_host(name: str) -> None:
    lock = (ROOT / name).read_text()
    packages = re.split(r"\n(?=\S)", lock.strip())
    assert all(re.match(r"[a-z0-9.\[\]-]+==\S+", package, re.IGNORECASE) for package in packages)
    assert all("--hash=sha256:" in package for package in packages)
    assert "://" not in lock


def test_development_builds_on_the_very_packages_of_production() -> None:
    runtime, development = (
        set(re.findall(r"^\S+==\S+", (ROOT / name).read_text(), re.MULTILINE))
        for name in ("requirements.lock", "requirements-dev.lock")
    )
    assert runtime < development
