"""The failures we expect, each with one text for people and one HTTP status.

`text_key` names the customer's text in the language files; the exception's own message is for operators and logs
and never holds a secret. Anything that is not a `ShopError` is a bug and is loud.
"""

from datetime import datetime
from typing import ClassVar


class ShopError(Exception):
    """An expected failure: says what happened and how to mend it."""

    status: ClassVar[int] = 400
    text_key: ClassVar[str] = "error-unexpected"


class SettingsError(ShopError):
    """Wrong settings, tiers file or surroundings at start: one line, exit code 2."""

    status = 500


class DatabaseUnavailable(ShopError):
    """The database cannot be reached just now; what was asked for may be asked again."""

    status = 503
    text_key = "error-database-away"


class MalformedPostback(ShopError):
    """The body is not a postback at all."""

    status = 400


class PostbackTooLarge(MalformedPostback):
    """The body is larger than any postback."""

    status = 413


class UnsupportedPostback(MalformedPostback):
    """Neither JSON nor a form."""

    status = 415


class UntrustedPostback(ShopError):
    """The token is missing, forged, for another invoice, or not bounded in time."""

    status = 401


class UnknownTier(ShopError):
    """No such tier or period is on sale."""

    status = 404
    text_key = "error-unknown-tier"


class UnknownPayment(ShopError):
    """No such payment, or it belongs to somebody else."""

    status = 404
    text_key = "error-unknown-payment"


class AnotherTierActive(ShopError):
    """Another paid tier is still running; a second one is not sold beside it."""

    status = 409
    text_key = "error-another-tier"

    def __init__(self, tier: str, ends_at: datetime) -> None:
        super().__init__(f"tier {tier} is active until {ends_at.isoformat()}")
        self.tier = tier
        self.ends_at = ends_at


class InvoiceInProgress(ShopError):
    """The same order is being made at this very moment by another press."""

    status = 409
    text_key = "error-invoice-in-progress"


class TooManyInvoices(ShopError):
    """The customer has made more invoices within the hour than anybody needs."""

    status = 429
    text_key = "error-too-many-invoices"


class SalesClosed(ShopError):
    """The provider would sell something else than we asked for, so nothing is sold."""

    status = 503
    text_key = "error-sales-closed"


class NotReviewable(ShopError):
    """The payment has no open review case."""

    status = 409
    text_key = "error-not-reviewable"


class CryptoCloudError(ShopError):
    """CryptoCloud could not do what we asked; see the subclasses for whose turn it is."""

    status = 502
    text_key = "error-provider-away"


class CryptoCloudUnavailable(CryptoCloudError):
    """No usable answer: network, timeout, 5xx, 429, HTML. The same question may be asked again."""


class CryptoCloudRefused(CryptoCloudError):
    """Our key or shop is not accepted (401, 403): a person has to look."""

    text_key = "error-sales-closed"


class CryptoCloudRejected(CryptoCloudError):
    """The request itself was found wrong (other 4xx, or `status: error`)."""

    def __init__(self, message: str, fields: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.fields = fields or {}
