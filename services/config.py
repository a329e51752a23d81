"""The settings: read once from the environment and `.env`, refused with one line that says how to mend them."""

import ipaddress
import re
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import unquote, urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from services.errors import SettingsError

FAILPOINTS = frozenset(
    {
        "postback.stored",
        "postback.committed",
        "create.answered",
        "check.claimed",
        "info.answered",
        "settle.granted",
        "settle.committed",
        "notify.claimed",
        "notify.sent",
    }
)
SHORTEST_SAFE_SECRET = 32
SHORTEST_PASSWORD = 8


def is_loopback(url: str) -> bool:
    """Tell whether a URL points at this machine."""
    host = urlsplit(url).hostname or ""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Settings(BaseSettings):
    """Everything an operator can set; names and meanings are those of `.env.example`."""

    model_config = SettingsConfigDict(
        env_file=".env",
        env_file_encoding="utf-8",
        env_ignore_empty=True,  # NAME= means the default, as in a compose file that passes what is not set
        extra="ignore",
        hide_input_in_errors=True,
        frozen=True,
    )

    bot_token: SecretStr
    admin_ids: Annotated[tuple[int, ...], NoDecode] = ()
    cryptocloud_api_key: SecretStr
    cryptocloud_shop_id: str
    cryptocloud_secret_key: SecretStr
    cryptocloud_api_url: str = "https://api.cryptocloud.plus"
    cryptocloud_allow_test_mode: bool = False
    telegram_api_url: str = "https://api.telegram.org"
    telegram_link_url: str = "https://t.me"
    telegram_updates: Literal["polling", "webhook"] = "polling"
    telegram_webhook_secret: SecretStr = SecretStr("")
    database_url: SecretStr = SecretStr("")
    data_dir: Path = Path("data")
    base_url: str = ""
    http_host: str = "127.0.0.1"
    http_port: int = Field(default=8080, ge=0, le=65535)
    metrics_token: SecretStr = SecretStr("")
    tiers_file: Path = Path("tiers.toml")
    shop_name: str = "Subgate"
    support_contact: str = ""
    terms_url: str = ""
    timezone: str = "UTC"
    log_format: Literal["auto", "json", "text"] = "auto"
    lease_seconds: Decimal = Field(default=Decimal(60), ge=1, le=3600)
    check_seconds: Decimal = Field(default=Decimal(60), ge=1, le=3600)
    failpoint: str = ""

    @field_validator("*", mode="before")
    @classmethod
    def _empty_means_default(cls, value: object, info: ValidationInfo) -> object:
        field = cls.model_fields[info.field_name or ""]
        if isinstance(value, str) and not value.strip() and not field.is_required():
            return field.default
        return value

    @field_validator("admin_ids", mode="before")
    @classmethod
    def _split_admin_ids(cls, value: object) -> object:
        if isinstance(value, str):
            parts = [part.strip() for part in value.split(",") if part.strip()]
            if any(re.fullmatch(r"[1-9]\d{0,15}", part) is None for part in parts):
                raise ValueError("must be numeric Telegram ids with commas between them, such as 1001,1002")
            return tuple(dict.fromkeys(int(part) for part in parts))
        return value

    @field_validator("bot_token")
    @classmethod
    def _looks_like_a_token(cls, value: SecretStr) -> SecretStr:
        if re.fullmatch(r"\d{3,20}:[A-Za-z0-9_-]{10,128}", value.get_secret_value()) is None:
            raise ValueError("must be the token from BotFather, such as 123456:ABC-DEF…")
        return value

    @field_validator("cryptocloud_api_key", "cryptocloud_secret_key")
    @classmethod
    def _secret_is_not_empty(cls, value: SecretStr) -> SecretStr:
        if not value.get_secret_value().strip():
            raise ValueError("must not be empty: copy it from the project's settings in CryptoCloud")
        return SecretStr(value.get_secret_value().strip())

    @field_validator("cryptocloud_shop_id")
    @classmethod
    def _shop_is_not_empty(cls, value: str) -> str:
        if not value.strip():
            raise ValueError("must not be empty: copy it from the project's settings in CryptoCloud")
        return value.strip()

    @field_validator("cryptocloud_api_url", "telegram_api_url", "telegram_link_url", "base_url", "terms_url")
    @classmethod
    def _is_a_web_address(cls, value: str) -> str:
        value = value.strip().rstrip("/")
        if not value:
            return value
        try:
            parts = urlsplit(value)
            usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
        except ValueError:
            usable = False
        if not usable:
            raise ValueError("must be a web address such as https://example.org")
        if parts.scheme == "http" and not is_loopback(value):
            raise ValueError("must start with https:// (http is only for this machine itself)")
        return value

    @field_validator("cryptocloud_api_url")
    @classmethod
    def _has_no_version(cls, value: str) -> str:
        return value.removesuffix("/v2") or "https://api.cryptocloud.plus"

    @field_validator("timezone")
    @classmethod
    def _timezone_exists(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError("must be a time zone such as Europe/Berlin") from None
        return value

    @field_validator("failpoint")
    @classmethod
    def _failpoint_exists(cls, value: str) -> str:
        name, _, nth = value.partition(":")
        if value and (name not in FAILPOINTS or (nth and not re.fullmatch(r"[1-9]\d*", nth))):
            raise ValueError(f"must be NAME or NAME:N, NAME one of {', '.join(sorted(FAILPOINTS))}")
        return value

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        secret = self.telegram_webhook_secret.get_secret_value()
        if self.telegram_updates == "webhook":
            if not self.base_url:
                raise ValueError("BASE_URL is required when TELEGRAM_UPDATES=webhook")
            if re.fullmatch(r"[A-Za-z0-9_-]{16,256}", secret) is None:
                raise ValueError(
                    "TELEGRAM_WEBHOOK_SECRET must be 16 to 256 characters of A-Z a-z 0-9 _ - "
                    "when TELEGRAM_UPDATES=webhook"
                )
        if self.failpoint and not (
            is_loopback(self.cryptocloud_api_url) and is_loopback(self.telegram_api_url)
        ):
            raise ValueError("FAILPOINT is for tests: it is refused unless both API addresses are loopback")
        return self

    @property
    def public_url(self) -> str:
        """The address under which the outside reaches our web server, without a trailing slash."""
        return self.base_url or f"http://127.0.0.1:{self.http_port}"

    @property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.timezone)

    @property
    def secrets(self) -> tuple[str, ...]:
        """Every value that must never be seen in a log or an answer."""
        candidates = (
            self.bot_token,
            self.cryptocloud_api_key,
            self.cryptocloud_secret_key,
            self.telegram_webhook_secret,
            self.database_url,
            self.metrics_token,
        )
        whole = [secret for one in candidates if (secret := one.get_secret_value())]
        return (*whole, *_passwords(self.database_url.get_secret_value()))

    @property
    def warnings(self) -> tuple[str, ...]:
        """What works but should be looked at."""
        found = []
        if len(self.cryptocloud_secret_key.get_secret_value().encode()) < SHORTEST_SAFE_SECRET:
            found.append(
                f"CRYPTOCLOUD_SECRET_KEY is shorter than {SHORTEST_SAFE_SECRET} bytes: "
                "make a new one in CryptoCloud if you can"
            )
        if not self.admin_ids:
            found.append("ADMIN_IDS is empty: nobody is told about sales and trouble")
        return tuple(found)


def _passwords(address: str) -> tuple[str, ...]:
    """Find the password in an address, as written and as meant; one that is an everyday word is none to look for."""
    try:
        password = urlsplit(address).password or ""
    except ValueError:
        return ()
    return tuple({one for one in (password, unquote(password)) if len(one) >= SHORTEST_PASSWORD})


class _TiersFile(BaseSettings):
    model_config = Settings.model_config

    tiers_file: Path = Path("tiers.toml")


def tiers_file() -> Path:
    """Find the tiers file alone, for those who have no other settings yet; raises `SettingsError`."""
    try:
        return _TiersFile().tiers_file
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f".env cannot be read: {error}") from None


def read_settings() -> Settings:
    """Read and check the settings; raises `SettingsError` with one line that names every wrong one."""
    try:
        return Settings()
    except ValidationError as error:
        complaints = []
        for one in error.errors():
            name = ".".join(str(part) for part in one["loc"]).upper()
            what = "is required" if one["type"] == "missing" else one["msg"].removeprefix("Value error, ")
            complaints.append(f"{name} {what}" if name else what)
        raise SettingsError("; ".join(complaints) + " (set it in the environment or in .env)") from None
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f".env cannot be read: {error}") from None
