"""Scripted trouble: which of the next calls go wrong, and how. Refuses words that it does not know."""

import itertools
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

TELEGRAM_FAULTS = {
    "too_many_requests": "429; options retry_after (5), parameters (true: with the parameters object)",
    "forbidden": "403; option description (Forbidden: bot was blocked by the user)",
    "bad_request": "400; option description (Bad Request: chat not found)",
    "unauthorized": "401",
    "not_found": "404",
    "server_error": "500 Internal Server Error: restart",
    "bad_gateway": "502 with an HTML page",
    "empty": "200 with an empty body",
    "close": "the connection is closed without an answer, nothing is done",
    "deliver_then_hang": "the call is carried out, the answer never comes",
    "deliver_then_close": "the call is carried out, the connection is closed without an answer",
    "delay": "the call is carried out after option seconds (1)",
    "down": "as close; running long polls are cut too",
}
CRYPTOCLOUD_FAULTS = {
    "down": "the connection is closed without an answer, nothing is done",
    "slow": "the answer comes after option seconds (1)",
    "html_502": "502 with an HTML page",
    "unauthorized": "401",
    "forbidden": "403",
    "server_error": "500",
    "too_many_requests": "429; option retry_after (5)",
    "redirect": "302 to option location (/)",
    "error_in_200": 'HTTP 200 with "status": "error"',
    "hang": "the call is carried out, the answer never comes (a created invoice that nobody hears of)",
    "other_amount": "create and info: amount_in_fiat is option amount (1)",
    "other_currency": "create and info: fiat_currency is option currency (EUR)",
    "test_mode": "create and info: test_mode is true",
    "other_order_id": "info: order_id is option order_id (somebody-else)",
    "poison": "info: 400 for the whole batch as long as option uuid is in it",
    "leave_out": "info: the row of option uuid (or the first one) is missing",
    "other_order": "info: rows come in the opposite order",
    "unknown_status": "info: status is option word (frozen)",
}
FAULTS = {"telegram": TELEGRAM_FAULTS, "cryptocloud": CRYPTOCLOUD_FAULTS}
SENDING = frozenset({"sendmessage", "senddocument", "sendphoto", "editmessagetext", "editmessagereplymarkup"})


@dataclass
class Fault:
    """One kind of trouble for the next `times` calls (None: until it is cleared).

    `method` is a method's name, `*` for all, or `sending` for what Telegram's limits count.
    """

    id: int
    place: str
    method: str
    kind: str
    times: int | None
    chat_id: int | None
    options: dict[str, Any] = field(default_factory=dict)
    switched: bool = False

    def hits(self, place: str, method: str, chat_id: int | None) -> bool:
        return (
            self.place == place
            and (self.method in {"*", method.lower()} or (self.method == "sending" and method in SENDING))
            and (self.chat_id is None or self.chat_id == chat_id)
        )


class Faults:
    """The trouble that is still to come, in the order in which it was asked for."""

    def __init__(self) -> None:
        self._waiting: list[Fault] = []
        self._ids = itertools.count(1)

    def __iter__(self) -> Iterator[Fault]:
        return iter(self._waiting)

    def add(
        self,
        place: str,
        kind: str,
        *,
        method: str = "*",
        times: int | None = 1,
        chat_id: int | None = None,
        **options: Any,
    ) -> Fault:
        """Plan a fault; raises ValueError for a place or kind that does not exist."""
        if place not in FAULTS:
            raise ValueError(f"place must be one of {', '.join(FAULTS)}")
        if kind not in FAULTS[place]:
            raise ValueError(f"kind must be one of {', '.join(FAULTS[place])}")
        if times is not None and times < 1:
            raise ValueError("times must be 1 or more, or null for: until cleared")
        if kind == "poison" and not options.get("uuid"):
            raise ValueError("poison needs the uuid of the invoice")
        fault = Fault(next(self._ids), place, method.lower(), kind, times, chat_id, options)
        self._waiting.append(fault)
        return fault

    def switch(self, place: str, kind: str | None, **options: Any) -> Fault | None:
        """Turn a place's switch to one kind of trouble until it is turned back by None; scripted ones stay."""
        if place not in FAULTS:
            raise ValueError(f"place must be one of {', '.join(FAULTS)}")
        before = self._waiting
        self._waiting = [one for one in before if not (one.switched and one.place == place)]
        if kind is None:
            return None
        try:
            fault = self.add(place, kind, times=None, **options)
        except ValueError:
            self._waiting = before
            raise
        fault.switched = True
        return fault

    def take(
        self, place: str, method: str, chat_id: int | None = None, uuids: tuple[str, ...] = ()
    ) -> Fault | None:
        """Use up one occurrence of the first fault that fits this call."""
        for fault in self._waiting:
            if not fault.hits(place, method, chat_id):
                continue
            wanted = str(fault.options.get("uuid", "")).removeprefix("INV-")
            if wanted and wanted not in uuids:
                continue
            if fault.times is not None:
                fault.times -= 1
                if fault.times == 0:
                    self._waiting.remove(fault)
            return fault
        return None

    def clear(self, fault_id: int | None = None) -> None:
        """Forget one planned fault, or all."""
        self._waiting = [one for one in self._waiting if fault_id is not None and one.id != fault_id]

    def as_json(self) -> list[dict[str, Any]]:
        return [asdict(fault) for fault in self._waiting]
