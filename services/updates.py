"""Telegram updates that our handlers could not digest: counted, and given up in the open after 5 tries."""

from typing import Any, Final

from sqlalchemy import bindparam, text
from sqlalchemy.dialects.postgresql import JSONB

from services import notifications
from services.config import Settings
from services.cryptocloud import storable_text
from services.db import Database
from services.notifications import Alert, Kind, to_admins

MOST_TRIES: Final = 5
DEEPEST_NESTING: Final = 50  # no update of Telegram comes near it, and deeper ones cannot be written down

_COUNT = text("""
INSERT INTO failed_updates AS f (update_id, payload, last_error) VALUES (:update_id, :payload, :error)
ON CONFLICT (update_id) DO UPDATE SET attempts = f.attempts + 1, last_error = excluded.last_error
RETURNING attempts
""").bindparams(bindparam("payload", type_=JSONB))


async def count_failure(
    db: Database,
    settings: Settings,
    update_id: int,
    payload: dict[str, Any],
    error: str,
    *,
    hopeless: bool = False,
) -> bool:
    """Count a failed try of an update; True when it is given up now, kept for people, and the admins told.

    `hopeless` gives it up at once: no further try can read it.
    """
    async with db.begin() as session:
        attempts = await session.scalar(
            _COUNT,
            {"update_id": update_id, "payload": _storable(payload), "error": storable_text(error[:500])},
        )
        if not hopeless and int(attempts or 0) < MOST_TRIES:
            return False
        await session.execute(
            text("UPDATE failed_updates SET dead_at = now() WHERE update_id = :id AND dead_at IS NULL"),
            {"id": update_id},
        )
        await notifications.notify(
            session,
            to_admins(
                settings.admin_ids,
                Kind.ALERT,
                f"dead-update:{update_id}",
                what=Alert.DEAD_UPDATE,
                update=str(update_id),
                error=storable_text(error[:200]),
            ),
        )
        return True


async def forgive(db: Database, update_id: int) -> None:
    """Forget the failures of an update that went through after all."""
    async with db.begin() as session:
        await session.execute(
            text("DELETE FROM failed_updates WHERE update_id = :id AND dead_at IS NULL"), {"id": update_id}
        )


def _storable(said: Any, depth: int = 1) -> Any:
    # What cannot be stored must not be what keeps an update from being given up.
    match said:
        case dict() | list() if depth > DEEPEST_NESTING:
            return "…"
        case str():
            return storable_text(said)
        case dict():
            return {storable_text(name): _storable(value, depth + 1) for name, value in said.items()}
        case list():
            return [_storable(value, depth + 1) for value in said]
        case _:
            return said
