"""The way to PostgreSQL: one engine, short transactions, limits on every connection.

An outage surfaces as `DatabaseUnavailable`, whatever the driver calls it; a lost COMMIT answer does too, because
then nobody knows. Everything that writes is idempotent, so that asking again is safe.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final, TypeAlias, TypeVar
from urllib.parse import parse_qsl, unquote, urlsplit

from sqlalchemy import URL, event
from sqlalchemy.exc import DBAPIError, DisconnectionError, InterfaceError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from services.errors import DatabaseUnavailable, SettingsError

# One open transaction. Who takes a `session` joins its caller's transaction and touches no network.
Session: TypeAlias = AsyncConnection

_T = TypeVar("_T")

_LIMITS: Final = {
    "application_name": "subgate",
    "timezone": "UTC",
    "lock_timeout": "5s",
    "statement_timeout": "15s",
    "idle_in_transaction_session_timeout": "10s",
    "jit": "off",
}
# https://www.postgresql.org/docs/current/errcodes-appendix.html
# The last two are our own limits: who waits in vain for a lock or a result may ask again like in an outage.
_AWAY_CLASSES: Final = ("08", "53", "57P", "58", "25006", "25P03", "55P03", "57014")
_DATA_CLASSES: Final = ("22", "23")
_CONFLICTS: Final = ("40P01", "40001")
_SCHEMES: Final = ("postgresql+asyncpg", "postgresql", "postgres")


def database_url(address: str) -> URL:
    """Turn any usual PostgreSQL address into the driver's; raises `SettingsError` with a mendable line.

    Several hosts may stand before the path (`@a:1,b:2/`) or in the query (`?host=a:1&host=b:2`);
    `target_session_attrs`, `sslmode` and `application_name` are understood.
    """
    try:
        parts = urlsplit(address)
    except ValueError:
        raise SettingsError("DATABASE_URL is not an address such as postgresql://user@host/name") from None
    if parts.scheme not in _SCHEMES:
        raise SettingsError("DATABASE_URL must start with postgresql:// or postgresql+asyncpg://")
    login, _, hosts = parts.netloc.rpartition("@")
    user, _, password = login.partition(":")
    query: dict[str, list[str]] = {}
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        query.setdefault("ssl" if name == "sslmode" else name, []).append(value)
    places = [place for given in query.pop("host", []) for place in given.split(",") if place]
    ports = [port for given in query.pop("port", []) for port in given.split(",") if port]
    if places and not ports:  # the host in the query, its port where a host would stand
        ports = [port for port in [_port_of(hosts)] if port]
    if not places:
        places = [unquote(place).rstrip(":") for place in hosts.split(",") if place]
    sockets = any(place.startswith("/") for place in places)
    if len(ports) == 1 and places:
        ports *= len(places)  # one port counts for every host
    if places and ports and len(ports) != len(places):
        raise SettingsError("DATABASE_URL must name one port, or as many ports as hosts")
    if places and ports and (len(places) > 1 or not sockets):
        places = [f"{_host_of(place)}:{port}" for place, port in zip(places, ports, strict=True)]
    if not all(_is_port(port) for port in (*ports, *map(_port_of, () if sockets else places)) if port):
        raise SettingsError(
            "DATABASE_URL names a port that is no number from 1 to 65535 "
            "(in a password, / is written %2F, # is %23 and ? is %3F)"
        )
    if len(places) > 1 and any("[" in place for place in places):
        raise SettingsError("DATABASE_URL cannot name an IPv6 address among several hosts: give it a name")
    database = unquote(parts.path.lstrip("/"))
    if not database:
        raise SettingsError("DATABASE_URL names no database: add /name after the host")
    options: dict[str, str | tuple[str, ...]] = {name: values[-1] for name, values in query.items()}
    host: str | None = None
    port: int | None = None
    if len(places) > 1:
        options["host"] = tuple(place if _port_of(place) else f"{place}:5432" for place in places)
    elif sockets:
        options["host"] = places[0]
        port = int(ports[0]) if ports else None
    elif places:
        port = int(_port_of(places[0])) if _port_of(places[0]) else None
        host = _host_of(places[0]).strip("[]")
    elif ports:
        port = int(ports[0])
    return URL.create(
        "postgresql+asyncpg",
        username=unquote(user) or None,
        password=unquote(password) or None,
        host=host,
        port=port,
        database=database,
        query=options,
    )


def _host_of(place: str) -> str:
    return place.removesuffix(f":{_port_of(place)}")


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdigit() and 0 < int(text) < 65_536


def _port_of(place: str) -> str:
    return place.rpartition(":")[2] if ":" in place.rpartition("]")[2] else ""


class Database:
    """One engine; `begin()` is the only way to a transaction."""

    def __init__(self, address: str | URL, *, pool_size: int = 10) -> None:
        url = database_url(address) if isinstance(address, str) else address
        options = dict(url.query)
        application = options.pop("application_name", _LIMITS["application_name"])
        options.pop("connect_timeout", None)
        self._engine: AsyncEngine = create_async_engine(
            url.set(query=options),
            pool_size=pool_size,
            max_overflow=pool_size,
            pool_timeout=5,
            hide_parameters=True,
            connect_args={
                "timeout": 5,
                "command_timeout": 20,
                "server_settings": {**_LIMITS, "application_name": str(application)},
            },
        )
        event.listen(self._engine.sync_engine, "checkout", _refuse_closed)

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[Session]:
        """Open a short transaction, committed at the end; raises `DatabaseUnavailable` in an outage."""
        try:
            # `engine.begin()` takes one more hop to the driver: a tenth of a short transaction's time.
            async with self._engine.connect() as session:
                yield session
                await session.commit()
        except Exception as error:
            if is_outage(error):
                raise DatabaseUnavailable(f"the database is away: {type(error).__name__}") from error
            raise

    async def dispose(self) -> None:
        """Close every connection."""
        await self._engine.dispose()


def _refuse_closed(connection: Any, *_: object) -> None:
    # The driver learns by itself that a connection was closed. The pool's own way is to ask each time, in three round
    # trips: half of a usual transaction. What was dropped in silence times out either way.
    if connection.driver_connection.is_closed():
        raise DisconnectionError


def is_outage(error: BaseException) -> bool:
    """Tell an outage of the database from a fault of ours or of the data.

    Within a transaction nothing else touches the network, so a bare `OSError` is the database's too.
    """
    if isinstance(error, DBAPIError):
        state = _sqlstate(error)
        return (
            error.connection_invalidated
            or isinstance(error, InterfaceError)
            or any(state.startswith(known) for known in _AWAY_CLASSES)
            or isinstance(error.orig, OSError | TimeoutError)
        )
    if isinstance(error, PoolTimeoutError | OSError):
        return True
    return type(error).__module__.startswith("asyncpg") and any(
        str(getattr(error, "sqlstate", None) or "08").startswith(known) for known in _AWAY_CLASSES
    )


def is_conflict(error: BaseException) -> bool:
    """Tell a deadlock or a serialization failure: the same transaction may be tried again."""
    return isinstance(error, DBAPIError) and _sqlstate(error) in _CONFLICTS


def is_data_fault(error: BaseException) -> bool:
    """Tell data that the database refuses, however often it is asked; the driver has one class for much else too."""
    return isinstance(error, DBAPIError) and _sqlstate(error).startswith(_DATA_CLASSES)


def _sqlstate(error: DBAPIError) -> str:
    return str(getattr(error.orig, "sqlstate", None) or "")


async def retry_conflicts(work: Callable[[], Awaitable[_T]], *, tries: int = 5) -> _T:
    """Run a whole transaction again after a deadlock or serialization failure, with jitter."""
    for attempt in range(1, tries):
        try:
            return await work()
        except DBAPIError as error:
            if not is_conflict(error):
                raise
            await asyncio.sleep(random.uniform(0, 0.05 * 2**attempt))  # noqa: S311 - jitter, not a secret
    return await work()
