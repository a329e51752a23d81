"""The log: lines for people on a terminal, JSON elsewhere, and never a secret in either."""

import json
import logging
import sys
from collections.abc import Sequence
from types import TracebackType
from typing import Any

import structlog
from structlog.types import EventDict, Processor, WrappedLogger

from services.config import Settings

_QUIET = ("aiogram", "aiohttp", "alembic", "asyncio", "httpx", "httpcore", "sqlalchemy")


def configure_logs(settings: Settings) -> None:
    """Set up the log of this process, for our own lines and those of the libraries."""
    as_text = settings.log_format == "text" or (settings.log_format == "auto" and sys.stderr.isatty())
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    render: list[Processor] = (
        [
            # Local variables are left out of tracebacks: they hold secrets and people's names.
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
            )
        ]
        if as_text
        else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(ensure_ascii=False)]
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *render,
                _Redact(settings.secrets),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
    sys.excepthook = _report


def _report(kind: type[BaseException], error: BaseException, where: TracebackType | None) -> None:
    """Tell what nobody caught in the log too: what Python prints by itself nobody looks through for secrets."""
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, where)
    else:
        logging.getLogger("subgate").critical("the process ends by a bug", exc_info=(kind, error, where))


class _Redact:
    """The last to touch a line: whatever a library wrote into it, our secrets are not in it."""

    def __init__(self, secrets: Sequence[str]) -> None:
        # JSON and repr() write a quote or a backslash in their own ways, one of them around the other.
        spellings = set(secrets)
        for _ in range(2):
            spellings |= {repr(one)[1:-1] for one in spellings}
            spellings |= {json.dumps(one, ensure_ascii=False)[1:-1] for one in spellings}
        self._secrets = sorted(spellings, key=len, reverse=True)

    def __call__(self, logger: WrappedLogger, name: str, line: EventDict | str) -> Any:
        text = str(line)
        for secret in self._secrets:
            text = text.replace(secret, "[secret]")
        return text
