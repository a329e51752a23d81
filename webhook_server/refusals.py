"""The log of what was refused: however much comes, at most one line a second, with the number of refusals."""

import time

import structlog

from services.errors import ShopError

log = structlog.get_logger(__name__)


class Refusals:
    """Counts the refusals of one kind of request; `what` names it in the log."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._said_at = float("-inf")
        self._unsaid = 0

    def note(self, error: ShopError) -> None:
        """Count a refusal and say so, unless one was told within this second."""
        self._unsaid += 1
        now = time.monotonic()
        if now - self._said_at < 1:
            return
        log.warning(
            "requests refused", what=self._what, count=self._unsaid, status=error.status, why=str(error)
        )
        self._said_at, self._unsaid = now, 0
