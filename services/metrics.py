"""The numbers that Prometheus reads, in a registry of their own, so that several may live in one process."""

from math import nan
from typing import Final

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST
_SETTLE_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900)

# A second series for the birthday of each counter, which nobody reads.
disable_created_metrics()  # type: ignore[no-untyped-call] # the library did not type it


class Metrics:
    """What this process counts; the two ages are the database's and are told just before a reading."""

    def __init__(self) -> None:
        registry = self._registry = CollectorRegistry()
        self._postbacks = Counter(
            "subgate_postbacks_total",
            "Postbacks received, by what became of them",
            ["result"],
            registry=registry,
        )
        self._payments = Counter(
            "subgate_payments_total", "Payments that reached a status", ["status"], registry=registry
        )
        self._settle = Histogram(
            "subgate_settle_seconds",
            "Seconds from the call for a check to the settled payment",
            buckets=_SETTLE_SECONDS,
            registry=registry,
        )
        self._outbox_age = Gauge(
            "subgate_outbox_age_seconds",
            "For how long the oldest message has been due; NaN: the database is away",
            registry=registry,
        )
        self._oldest_unsettled = Gauge(
            "subgate_oldest_unsettled_seconds",
            "For how long the most overdue check has been due; NaN: the database is away",
            registry=registry,
        )
        self._provider_requests = Counter(
            "subgate_provider_requests_total",
            "Calls to CryptoCloud, by method and outcome",
            ["method", "result"],
            registry=registry,
        )
        self._telegram_requests = Counter(
            "subgate_telegram_requests_total",
            "Calls to the Bot API, by method and outcome",
            ["method", "result"],
            registry=registry,
        )

    def postback(self, result: str) -> None:
        """Count a postback."""
        self._postbacks.labels(result).inc()

    def payment(self, status: str) -> None:
        """Count a payment that reached a status."""
        self._payments.labels(status).inc()

    def settled(self, seconds: float) -> None:
        """Note how many seconds a payment took to settle."""
        self._settle.observe(seconds)

    def provider_request(self, method: str, result: str) -> None:
        """Count a call to CryptoCloud."""
        self._provider_requests.labels(method, result).inc()

    def telegram_request(self, method: str, result: str) -> None:
        """Count a call to the Bot API."""
        self._telegram_requests.labels(method, result).inc()

    def ages(self, *, outbox: float | None, oldest_unsettled: float | None) -> None:
        """Set the two ages in seconds; None: not known, because the database is away."""
        self._outbox_age.set(nan if outbox is None else outbox)
        self._oldest_unsettled.set(nan if oldest_unsettled is None else oldest_unsettled)

    def render(self) -> bytes:
        """Write everything in Prometheus' text format; its media type is `CONTENT_TYPE`."""
        return generate_latest(self._registry)
