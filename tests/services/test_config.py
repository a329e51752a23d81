"""Settings: every wrong one is named, with how to mend it, in one line that holds no secret."""

from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from services.config import FAILPOINTS, Settings, is_loopback, read_settings
from services.errors import SettingsError

TOKEN = "123456:ABC-DEF1234ghIkl-zyx57W2v1u123ew11"
NEEDED = {
    "BOT_TOKEN": TOKEN,
    "CRYPTOCLOUD_API_KEY": "api-key-s3cret",
    "CRYPTOCLOUD_SHOP_ID": "shop000000000001",
    "CRYPTOCLOUD_SECRET_KEY": "a-s3cret-of-the-project-of-32-bytes-or-more",
}
LOOPBACK = {"CRYPTOCLOUD_API_URL": "http://127.0.0.1:1", "TELEGRAM_API_URL": "http://localhost:2"}


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A folder without .env and an environment with what is needed and nothing else."""
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.chdir(tmp_path)
    for name, value in NEEDED.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def given_settings(monkeypatch: pytest.MonkeyPatch) -> "Given":
    return Given(monkeypatch)


class Given:
    """Reads the settings with some more in the environment."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.monkeypatch = monkeypatch

    def __call__(self, **values: str) -> Settings:
        for name, value in values.items():
            self.monkeypatch.setenv(name, value)
        return read_settings()

    def refused(self, **values: str) -> str:
        with pytest.raises(SettingsError) as refused:
            self(**values)
        line = str(refused.value)
        assert "\n" not in line
        assert "s3cret" not in line
        assert TOKEN not in line
        assert line.endswith("(set it in the environment or in .env)")
        assert refused.value.__cause__ is None
        return line


def test_what_is_needed_is_enough(given_settings: Given) -> None:
    settings = given_settings()
    assert settings.cryptocloud_api_url == "https://api.cryptocloud.plus"
    assert settings.public_url == "http://127.0.0.1:8080"
    assert (settings.lease_seconds, settings.check_seconds) == (Decimal(60), Decimal(60))
    assert (str(settings.data_dir), settings.timezone, settings.telegram_updates) == (
        "data",
        "UTC",
        "polling",
    )
    assert settings.warnings == ("ADMIN_IDS is empty: nobody is told about sales and trouble",)


def test_every_missing_setting_is_named_at_once(
    given_settings: Given, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in NEEDED:
        monkeypatch.delenv(name)
    line = given_settings.refused()
    for name in NEEDED:
        assert f"{name} is required" in line


@pytest.mark.parametrize("name", NEEDED)
def test_an_empty_setting_that_is_needed_is_missing(given_settings: Given, name: str) -> None:
    assert f"{name} is required" in given_settings.refused(**{name: ""})


def test_an_empty_setting_that_is_not_needed_is_its_default(given_settings: Given) -> None:
    names = [name for name in Settings.model_fields if name.upper() not in NEEDED]
    assert given_settings(**{name.upper(): "" for name in names}) == given_settings()
    assert str(given_settings().data_dir) == "data"


@pytest.mark.parametrize(
    ("name", "value", "complaint"),
    [
        ("BOT_TOKEN", "s3cret", "must be the token from BotFather"),
        ("BOT_TOKEN", "123456:s3cret with spaces", "must be the token from BotFather"),
        ("CRYPTOCLOUD_API_KEY", "  ", "must not be empty: copy it from the project's settings"),
        ("CRYPTOCLOUD_SHOP_ID", "  ", "must not be empty: copy it from the project's settings"),
        ("CRYPTOCLOUD_SECRET_KEY", "  ", "must not be empty: copy it from the project's settings"),
        ("ADMIN_IDS", "1001,anna", "numeric Telegram ids with commas between them"),
        ("ADMIN_IDS", "-100", "numeric Telegram ids"),
        ("ADMIN_IDS", "99999999999999999999", "numeric Telegram ids"),
        ("CRYPTOCLOUD_API_URL", "api.cryptocloud.plus", "must be a web address such as"),
        ("CRYPTOCLOUD_API_URL", "http://api.cryptocloud.plus", "must start with https://"),
        ("TELEGRAM_API_URL", "http://127.0.0.1@s3cret.example", "must start with https://"),
        ("TELEGRAM_LINK_URL", "ftp://t.me", "must be a web address"),
        ("BASE_URL", "https://", "must be a web address"),
        ("BASE_URL", "https://a:99999", "must be a web address"),
        ("TERMS_URL", "javascript:alert(1)", "must be a web address"),
        ("TELEGRAM_UPDATES", "push", "'polling' or 'webhook'"),
        ("HTTP_PORT", "http", "valid integer"),
        ("HTTP_PORT", "65536", "less than or equal to 65535"),
        ("TIMEZONE", "Mars/Olympus", "must be a time zone such as Europe/Berlin"),
        ("TIMEZONE", "../etc/passwd", "must be a time zone"),
        ("LOG_FORMAT", "xml", "'auto', 'json' or 'text'"),
        ("LEASE_SECONDS", "0", "greater than or equal to 1"),
        ("LEASE_SECONDS", "NaN", "finite"),
        ("CHECK_SECONDS", "a minute", "valid decimal"),
        ("CHECK_SECONDS", "3601", "less than or equal to 3600"),
        ("CRYPTOCLOUD_ALLOW_TEST_MODE", "perhaps", "valid boolean"),
        ("FAILPOINT", "settle.nowhere", "NAME one of"),
        ("FAILPOINT", "settle.granted:0", "must be NAME or NAME:N"),
    ],
)
def test_a_wrong_setting_is_named_with_how_to_mend_it(
    given_settings: Given, name: str, value: str, complaint: str
) -> None:
    line = given_settings.refused(**{name: value})
    assert line.startswith(f"{name} ")
    assert complaint in line


def test_all_wrong_settings_are_named_together(given_settings: Given) -> None:
    line = given_settings.refused(HTTP_PORT="x", TIMEZONE="y", BOT_TOKEN="z")
    assert all(name in line for name in ("HTTP_PORT", "TIMEZONE", "BOT_TOKEN"))


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"TELEGRAM_WEBHOOK_SECRET": "x" * 20}, "BASE_URL is required when TELEGRAM_UPDATES=webhook"),
        ({"BASE_URL": "https://a.example"}, "TELEGRAM_WEBHOOK_SECRET must be 16 to 256 characters"),
        (
            {"BASE_URL": "https://a.example", "TELEGRAM_WEBHOOK_SECRET": "s3cret"},
            "TELEGRAM_WEBHOOK_SECRET must be 16 to 256 characters",
        ),
        (
            {"BASE_URL": "https://a.example", "TELEGRAM_WEBHOOK_SECRET": "s3cret with spaces in it"},
            "TELEGRAM_WEBHOOK_SECRET must be 16 to 256 characters",
        ),
    ],
)
def test_webhook_mode_needs_an_address_and_a_secret(
    given_settings: Given, values: dict[str, str], complaint: str
) -> None:
    assert complaint in given_settings.refused(TELEGRAM_UPDATES="webhook", **values)


def test_webhook_mode_with_both_is_accepted(given_settings: Given) -> None:
    settings = given_settings(
        TELEGRAM_UPDATES="webhook", BASE_URL="https://a.example/", TELEGRAM_WEBHOOK_SECRET="x" * 16
    )
    assert settings.public_url == "https://a.example"


@pytest.mark.parametrize("name", sorted(FAILPOINTS))
def test_a_failpoint_is_refused_unless_both_services_are_this_machine(
    given_settings: Given, name: str
) -> None:
    for half in ({}, {"CRYPTOCLOUD_API_URL": "http://[::1]:1"}):
        assert "FAILPOINT is for tests" in given_settings.refused(FAILPOINT=name, **half)
    assert given_settings(FAILPOINT=f"{name}:3", **LOOPBACK).failpoint == f"{name}:3"


def test_a_failpoint_is_refused_where_only_telegram_is_this_machine(given_settings: Given) -> None:
    line = given_settings.refused(FAILPOINT="settle.granted", TELEGRAM_API_URL="http://127.0.0.1:2")
    assert "FAILPOINT is for tests" in line


@pytest.mark.parametrize(
    ("url", "here"),
    [
        ("http://127.0.0.1:1", True),
        ("http://127.9.9.9", True),
        ("http://[::1]:8080/x", True),
        ("http://localhost", True),
        ("http://LOCALHOST:1", True),
        ("http://localhost.example.org", False),
        ("http://127.0.0.1.example.org", False),
        ("http://127.0.0.1@example.org", False),
        ("http://0.0.0.0", False),
        ("http://192.168.0.1", False),
        ("", False),
    ],
)
def test_loopback_is_this_machine_and_nothing_that_looks_like_it(url: str, here: bool) -> None:
    assert is_loopback(url) is here


def test_values_are_tidied(given_settings: Given) -> None:
    settings = given_settings(
        ADMIN_IDS=" 1002, 1001 ,,1002 ",
        CRYPTOCLOUD_API_URL=" https://api.trybit.com/v2/ ",
        CRYPTOCLOUD_API_KEY=" key \n",
        BASE_URL="https://bot.example/",
    )
    assert settings.admin_ids == (1002, 1001)
    assert settings.cryptocloud_api_url == "https://api.trybit.com"
    assert settings.cryptocloud_api_key.get_secret_value() == "key"
    assert settings.public_url == "https://bot.example"


def test_a_short_secret_is_a_warning_and_not_a_stop(given_settings: Given) -> None:
    settings = given_settings(CRYPTOCLOUD_SECRET_KEY="s3cret", ADMIN_IDS="1")
    (warning,) = settings.warnings
    assert warning.startswith("CRYPTOCLOUD_SECRET_KEY is shorter than 32 bytes")
    assert "s3cret" not in warning


def test_no_secret_is_seen_where_settings_are_printed(given_settings: Given) -> None:
    settings = given_settings(
        DATABASE_URL="postgresql://u:s3cret@db/shop", METRICS_TOKEN="s3cret", TELEGRAM_WEBHOOK_SECRET="s3cret"
    )
    assert "s3cret" not in f"{settings!r} {settings} {settings.model_dump()}"
    assert TOKEN not in repr(settings)
    assert set(settings.secrets) == {
        TOKEN,
        *(NEEDED["CRYPTOCLOUD_API_KEY"], NEEDED["CRYPTOCLOUD_SECRET_KEY"]),
        *("s3cret", "postgresql://u:s3cret@db/shop"),
    }


def test_a_file_counts_where_the_environment_says_nothing(
    given_settings: Given, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("BOT_TOKEN")
    (tmp_path / ".env").write_text(
        f"BOT_TOKEN={TOKEN}\nSHOP_NAME='Лавка'\nHTTP_PORT=9000\nSOMETHING_ELSE=1\n# a note\n"
    )
    settings = given_settings(HTTP_PORT="9001")
    assert (settings.shop_name, settings.http_port) == ("Лавка", 9001)
    assert settings.bot_token.get_secret_value() == TOKEN


def test_a_file_that_cannot_be_read_is_one_line(given_settings: Given, tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"SHOP_NAME=\xff\xfes3cret\n")
    with pytest.raises(SettingsError, match=r"^\.env cannot be read") as refused:
        given_settings()
    assert "s3cret" not in str(refused.value)
    assert "\n" not in str(refused.value)


@given(st.sampled_from([name.upper() for name in Settings.model_fields]), st.text(max_size=30))
@examples(deadline=None, max_examples=150)
def test_whatever_a_setting_holds_is_taken_or_refused_in_one_line(name: str, value: str) -> None:
    usable = "".join(one for one in value if one != "\0" and not "\ud800" <= one <= "\udfff")
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv(name, usable)
        try:
            read_settings()
        except SettingsError as error:
            line = str(error)
        else:
            return
    assert name in line
    assert "\n" not in line
