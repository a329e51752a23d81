"""CryptoCloud's invoices: money, states and the bodies in which the service shows them.

Field names and their order follow captured and documented answers of the real service; numbers leave as JSON floats
and moments as UTC without a zone, because that is what the real service sends.
"""

import secrets
import string
import time
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from decimal import ROUND_HALF_EVEN, ROUND_UP, Decimal
from typing import Any

Json = dict[str, Any]

UNITS_FOR_ONE_USD = {
    "USD": "1", "UZS": "12600", "KGS": "87.5", "KZT": "520", "AMD": "388", "AZN": "1.7", "BYN": "3.3",
    "AUD": "1.5", "TRY": "41", "AED": "3.67", "CAD": "1.38", "CNY": "7.1", "HKD": "7.8", "IDR": "16400",
    "INR": "88", "JPY": "148", "PHP": "57", "SGD": "1.29", "THB": "32.5", "VND": "26300", "MYR": "4.2",
    "RUB": "90", "UAH": "41.5", "EUR": "0.92", "GBP": "0.75",
}  # fmt: skip
SERVICE_FEE = Decimal("0.019")
CENT = Decimal("0.01")
NOTHING = Decimal(0)


@dataclass(frozen=True)
class Coin:
    """A coin on the checkout; `usd` is what one of it costs here, for ever."""

    id: int
    code: str
    fullcode: str
    name: str
    network_code: str
    network_id: int
    network_name: str
    usd: Decimal
    places: int
    fee_usd: Decimal
    stable: bool
    order: int

    def as_json(self) -> Json:
        images = "https://cdn.cryptocloud.plus/img"
        return {
            "id": self.id,
            "code": self.code,
            "fullcode": self.fullcode,
            "network": {
                "code": self.network_code,
                "id": self.network_id,
                "icon": f"{images}/network/{self.network_code}.svg",
                "fullname": self.network_name,
            },
            "name": self.name,
            "is_email_required": False,
            "stablecoin": self.stable,
            "icon_base": f"{images}/currency/{self.code}.svg",
            "icon_network": f"{images}/currency_network/{self.fullcode}.svg",
            "icon_qr": f"{images}/stroke/{self.code}_STROKE.svg",
            "order": self.order,
        }


COINS = {
    coin.fullcode: coin
    for coin in (
        Coin(4, "USDT", "USDT_TRC20", "Tether", "TRC20", 4, "Tron", Decimal(1), 2, Decimal("1.4"), True, 1),
        Coin(21, "USDT", "USDT_TON", "Tether", "TON", 9, "TON", Decimal(1), 2, Decimal("0.2"), True, 2),
        Coin(1, "BTC", "BTC", "Bitcoin", "BTC", 1, "Bitcoin", Decimal(100_000), 8, NOTHING, False, 7),
        Coin(3, "ETH", "ETH", "Ethereum", "ERC20", 3, "Ethereum", Decimal(4000), 6, Decimal("1.5"), False, 9),
        Coin(20, "TON", "TON", "Toncoin", "TON", 9, "TON", Decimal(2), 4, Decimal("0.01"), False, 11),
    )
}
DEFAULT_COIN = "USDT_TRC20"


@dataclass
class PostbackSettings:
    """How the project sends its notifications: `mode` says what goes wrong with them.

    `bytes_token` writes the token as a Python bytes literal, which the documentation's sample shows.
    """

    mode: str = "once"
    count: int = 5
    seconds: float = 5.0
    format: str = "json"
    bytes_token: bool = False


@dataclass
class Project:
    """The switches of a CryptoCloud project."""

    notification_url: str = ""
    success_url: str = ""
    fail_url: str = ""
    name: str = "Subgate sandbox"
    test_mode: bool = False
    sparse_info: bool = False
    transfer_fee_paid_by: str = "client"
    service_fee_paid_by: str = "merchant"
    postback: PostbackSettings = field(default_factory=PostbackSettings)

    def as_json(self, query: str = "") -> Json:
        return {
            "id": 362100,
            "name": self.name,
            "fail": self.fail_url + query if self.fail_url else "",
            "success": self.success_url + query if self.success_url else "",
            "logo": "",
        }


def new_address(coin: Coin) -> str:
    """Make up an address that looks like one of the coin's network; no money can be sent to it."""

    def letters(
        length: int, alphabet: str = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
    ) -> str:
        return "".join(secrets.choice(alphabet) for _ in range(length))

    match coin.network_code:
        case "TRC20":
            return f"T{letters(33)}"
        case "BTC":
            return f"bc1q{letters(38, '023456789acdefghjklmnpqrstuvwxyz')}"
        case "ERC20":
            return f"0x{secrets.token_hex(20)}"
    return f"UQ{secrets.token_urlsafe(34)[:46]}"


def new_uuid() -> str:
    """Make up the eight characters that stand behind INV- and in the checkout's address."""
    return "".join(secrets.choice(string.ascii_uppercase + string.digits) for _ in range(8))


def as_moment(stamp: float | None) -> str | None:
    return None if stamp is None else datetime.fromtimestamp(stamp, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")


@dataclass
class Invoice:
    """One invoice. Amounts without a suffix are in the coin; moments are seconds since 1970."""

    uuid: str
    order_id: str | None
    amount_in_fiat: Decimal
    fiat_currency: str
    coin: str
    link: str
    test_mode: bool
    created: float
    expires: float
    transfer_fee_paid_by: str = "client"
    service_fee_paid_by: str = "merchant"
    email: str | None = None
    address: str = ""
    status: str = "created"
    paid: Decimal = NOTHING
    finished: float | None = None
    transactions: list[str] = field(default_factory=list)

    @property
    def coin_chosen(self) -> Coin:
        return COINS[self.coin]

    def _in_usd(self, amount: Decimal) -> Decimal:
        return (amount * self.coin_chosen.usd).quantize(CENT, ROUND_HALF_EVEN)

    @property
    def amount_usd(self) -> Decimal:
        usd = self.amount_in_fiat / Decimal(UNITS_FOR_ONE_USD[self.fiat_currency])
        return max(CENT, usd.quantize(CENT, ROUND_HALF_EVEN))

    @property
    def amount(self) -> Decimal:
        return (self.amount_usd / self.coin_chosen.usd).quantize(
            Decimal(1).scaleb(-self.coin_chosen.places), ROUND_UP
        )

    @property
    def fee(self) -> Decimal:
        return self.coin_chosen.fee_usd / self.coin_chosen.usd

    @property
    def service_fee(self) -> Decimal:
        return (self.paid or self.amount) * SERVICE_FEE

    @property
    def amount_to_pay(self) -> Decimal:
        total = self.amount
        if self.transfer_fee_paid_by == "client":
            total += self.fee
        if self.service_fee_paid_by == "client":
            total += self.amount * SERVICE_FEE
        return total.quantize(Decimal(1).scaleb(-self.coin_chosen.places), ROUND_UP)

    @property
    def received(self) -> Decimal:
        return max(NOTHING, self.paid - self.fee - self.service_fee) if self.paid else NOTHING

    @property
    def to_surcharge(self) -> Decimal:
        return max(NOTHING, self.amount_to_pay - self.paid)

    @property
    def is_settled(self) -> bool:
        return self.status in {"paid", "overpaid"}

    def expire_if_due(self) -> bool:
        """Cancel an unpaid or partly paid invoice whose time is over; tell whether that happened now."""
        if self.status in {"created", "partial"} and time.time() >= self.expires:
            self.status = "canceled"
            return True
        return False

    def choose(self, fullcode: str) -> None:
        """Choose the coin, as long as nothing was paid; raises ValueError."""
        if fullcode not in COINS:
            raise ValueError("that coin is not offered here")
        if self.status != "created":
            raise ValueError("the coin can be chosen only before anything is paid")
        if fullcode != self.coin or not self.address:
            self.coin = fullcode
            self.address = new_address(self.coin_chosen)

    def pay(self, amount: Decimal) -> bool:
        """Receive money, at any time: blockchains do not ask. Tell whether the invoice became paid or overpaid."""
        before = self.status
        self.paid += amount
        self.transactions.append(secrets.token_hex(32))
        if self.paid >= self.amount_to_pay:
            self.status = "paid" if self.paid == self.amount_to_pay else "overpaid"
            self.finished = self.finished or time.time()
        elif before != "canceled":
            self.status = "partial"
        return self.is_settled and self.status != before

    def shift(self, seconds: float) -> None:
        self.created += seconds
        self.expires += seconds
        if self.finished is not None:
            self.finished += seconds

    def _money(self) -> Json:
        """Every amount in the coin and in USD, under the names that the service uses for both."""
        amounts = {
            "amount_to_pay": self.amount_to_pay,
            "amount_paid": self.paid,
            "fee": self.fee,
            "service_fee": self.service_fee,
            "received": self.received,
            "to_surcharge": self.to_surcharge,
        }
        shown: Json = {}
        for name, amount in amounts.items():
            shown[name] = float(round(amount, 8))
            shown[f"{name}_usd"] = float(self._in_usd(amount))
        return shown

    def _query(self) -> str:
        return f"?order_id={self.order_id or ''}&invoice_uuid=INV-{self.uuid}"

    def created_answer(self, project: Project) -> Json:
        """What create answers: no order id, invoice_id null, side_commission_service (captured 2024 to 2026)."""
        return {
            "uuid": f"INV-{self.uuid}",
            "created": as_moment(self.created),
            "address": self.address,
            "expiry_date": as_moment(self.expires),
            "side_commission": self.transfer_fee_paid_by,
            "side_commission_service": self.service_fee_paid_by,
            "type_payments": "crypto",
            "amount": float(self.amount),
            "amount_usd": float(self.amount_usd),
            "amount_in_fiat": float(self.amount_in_fiat),
            "fee": float(self.fee),
            "fee_usd": float(self._in_usd(self.fee)),
            "service_fee": float(round(self.service_fee, 8)),
            "service_fee_usd": float(self._in_usd(self.service_fee)),
            "fiat_currency": self.fiat_currency,
            "status": self.status,
            "is_email_required": False,
            "link": self.link,
            "invoice_id": None,
            "currency": self.coin_chosen.as_json(),
            "project": project.as_json(),
            "test_mode": self.test_mode,
        }

    def row(self, project: Project) -> Json:
        """What list answers, and info too: rich, as answers of 2025 and 2026 are."""
        return {
            "uuid": f"INV-{self.uuid}",
            "created": as_moment(self.created),
            "address": self.address,
            "currency": self.coin_chosen.as_json(),
            "date_finished": as_moment(self.finished),
            "expiry_date": as_moment(self.expires),
            "side_commission": self.transfer_fee_paid_by,
            "side_commission_cc": self.service_fee_paid_by,
            "type_payments": "crypto",
            "amount": float(self.amount),
            "amount_usd": float(self.amount_usd),
            "amount_in_fiat": float(self.amount_in_fiat),
            "fiat_currency": self.fiat_currency,
            "amount_in_crypto": None,
            **self._money(),
            "status": self.status,
            "invoice_status": "success" if self.is_settled else "created",
            "order_id": self.order_id,
            "is_email_required": False,
            "link": self.link,
            "pay_url": None,
            "invoice_id": None,
            "project": project.as_json(self._query()),
            "test_mode": self.test_mode,
            "type": "up",
            "user_email": self.email,
            "phone": None,
            "tx_list": list(self.transactions),
        }

    def sparse_row(self, project: Project) -> Json:
        """What the documentation's sample of info shows: no order of ours is missing, amount_in_fiat is."""
        names = (
            "uuid", "address", "expiry_date", "side_commission", "side_commission_cc", "amount", "amount_usd",
            "received", "received_usd", "fee", "fee_usd", "service_fee", "service_fee_usd", "status", "order_id",
            "currency", "project", "test_mode",
        )  # fmt: skip
        row = self.row(project)
        return {name: row[name] for name in names}

    def in_postback(self, project: Project) -> Json:
        """The invoice_info of a JSON postback, as documented since 2024."""
        row = self.row(project)
        return {
            "uuid": row["uuid"],
            "created": row["created"],
            "address": row["address"],
            "currency": row["currency"],
            "date_finished": row["date_finished"],
            "expiry_date": row["expiry_date"],
            "side_commission": row["side_commission"],
            "type_payments": "crypto",
            "amount": row["amount"],
            "amount_": row["amount"],
            "status": row["status"],
            "invoice_status": row["invoice_status"],
            "is_email_required": False,
            "project": project.as_json(),
            "tx_list": row["tx_list"],
            "amount_in_crypto": None,
            "amount_in_fiat": row["amount_in_fiat"],
            "amount_usd": row["amount_usd"],
            **self._money(),
            "total_rub": 0,
            "step": 3,
            "test_mode": self.test_mode,
            "type": "up",
            "aml_enabled": False,
            "aml_side": "merchant",
            "aml_checks": [],
            "links_invoice": None,
        }

    def as_json(self) -> Json:
        return {**asdict(self), "amount_in_fiat": str(self.amount_in_fiat), "paid": str(self.paid)}

    @classmethod
    def from_json(cls, state: Json) -> "Invoice":
        amounts = {name: Decimal(state[name]) for name in ("amount_in_fiat", "paid")}
        return cls(**{**state, **amounts})
