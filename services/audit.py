"""The book of what people with power did: appended with the deed itself, never changed."""

import json
from typing import Any

from sqlalchemy import text

from services.db import Session

_RECORD = text("""
INSERT INTO admin_audit (actor, action, subject, details, idempotency_key)
VALUES (:actor, :action, :subject, CAST(:details AS jsonb), :key)
ON CONFLICT (idempotency_key) DO NOTHING
RETURNING id
""")


async def record(
    session: Session,
    *,
    actor: str,
    action: str,
    subject: str,
    details: dict[str, Any] | None = None,
    key: str | None = None,
) -> bool:
    """Write down a deed; False when the same `key` was written before, so that it must not be done again."""
    done = await session.scalar(
        _RECORD,
        {
            "actor": actor,
            "action": action,
            "subject": subject,
            "details": json.dumps(details or {}, default=str),
            "key": key,
        },
    )
    return done is not None
