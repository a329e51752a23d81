"""The people who speak to the bot: who they are, which language they read, whether we can reach them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import text

from services.db import Session

RUSSIAN_READERS: Final = frozenset({"ru", "be", "kk", "ky", "uz", "tg", "hy", "az"})


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody as Telegram describes them in an update."""

    telegram_id: int
    username: str | None = None
    first_name: str = ""
    language_code: str | None = None

    @property
    def language(self) -> str:
        """The language of our texts that this person most likely reads."""
        return "ru" if (self.language_code or "").split("-")[0].lower() in RUSSIAN_READERS else "en"


_MEET = text("""
WITH seen AS (
    INSERT INTO users AS u (telegram_id, username, first_name, language)
    VALUES (:telegram_id, :username, :first_name, :language)
    ON CONFLICT (telegram_id) DO UPDATE
       SET username = excluded.username,
           first_name = excluded.first_name,
           language = CASE WHEN u.language_chosen THEN u.language ELSE excluded.language END,
           reachable = true
     WHERE (u.username, u.first_name, u.reachable)
           IS DISTINCT FROM (excluded.username, excluded.first_name, true)
        OR (NOT u.language_chosen AND u.language <> excluded.language)
    RETURNING u.telegram_id, u.language
), subscribed AS (
    INSERT INTO subscriptions (user_id, tier) SELECT telegram_id, :free_tier FROM seen
    ON CONFLICT DO NOTHING
), revived AS (
    UPDATE notifications SET state = 'due', next_at = now()
     WHERE user_id = (SELECT telegram_id FROM seen) AND state = 'undeliverable'
)
SELECT language FROM seen
UNION ALL
SELECT language FROM users WHERE telegram_id = :telegram_id
LIMIT 1
""")


async def meet(session: Session, person: Person, free_tier: str) -> str:
    """Remember a person who has just spoken to us, and tell the language of our texts for them.

    The first meeting makes the subscription row with the free tier. Whoever speaks is reachable again, and
    what could not be delivered meanwhile becomes due. Idempotent.
    """
    language = await session.scalar(
        _MEET,
        {
            "telegram_id": person.telegram_id,
            "username": _storable(person.username),
            "first_name": _storable(person.first_name) or "",
            "language": person.language,
            "free_tier": free_tier,
        },
    )
    return str(language)


async def expect_admins(session: Session, admin_ids: Sequence[int], free_tier: str) -> None:
    """Make sure that admins can be written to, also before their first /start. Idempotent."""
    if not admin_ids:
        return
    await session.execute(
        text("""
            WITH expected AS (
                INSERT INTO users (telegram_id) SELECT unnest(CAST(:ids AS bigint[])) ON CONFLICT DO NOTHING
                RETURNING telegram_id
            )
            INSERT INTO subscriptions (user_id, tier) SELECT telegram_id, :free_tier FROM expected
            ON CONFLICT DO NOTHING
        """),
        {"ids": sorted(admin_ids), "free_tier": free_tier},
    )


async def choose_language(session: Session, telegram_id: int, language: str) -> None:
    """Keep the language that a person chose, whatever Telegram says later."""
    await session.execute(
        text("UPDATE users SET language = :language, language_chosen = true WHERE telegram_id = :id"),
        {"language": language, "id": telegram_id},
    )


async def lose(session: Session, telegram_id: int) -> None:
    """Remember that a person cannot be written to: blocked us, deactivated, or never started."""
    await session.execute(
        text("UPDATE users SET reachable = false WHERE telegram_id = :id AND reachable"), {"id": telegram_id}
    )


async def exists(session: Session, telegram_id: int) -> bool:
    """Tell whether this person has ever been met."""
    found = await session.scalar(text("SELECT 1 FROM users WHERE telegram_id = :id"), {"id": telegram_id})
    return found is not None


def _storable(name: str | None) -> str | None:
    # PostgreSQL takes neither NUL nor lone surrogates, and a name is anybody's text.
    return name.replace("\x00", "").encode(errors="replace").decode()[:256] if name is not None else None
