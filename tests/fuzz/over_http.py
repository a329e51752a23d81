"""Every address of docs/openapi.yaml under schemathesis, and bytes at the postbacks' door and the socket."""

import contextlib
import http.client
import re
import socket
from collections.abc import Callable
from random import Random
from typing import Any

import requests
import schemathesis
from hypothesis import given, seed, settings
from hypothesis import strategies as st
from schemathesis.core.failures import Failure, FailureGroup
from schemathesis.core.result import Ok
from schemathesis.specs.openapi import checks

from tests.fuzz.bodies import FAMILY, Sent, bodies, damaged, family
from tests.fuzz.reader import quietly
from tests.fuzz.shopfront import CROWD, HOOK_SECRET, METRICS_TOKEN, ROOT, Shopfront
from tests.fuzz.tally import Tally
from tests.webhook_server.conftest import POSTBACK, UPDATE, sign

DESCRIPTION = ROOT / "docs" / "openapi.yaml"
CHECKS = [
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
]
LARGEST_ANSWER = 100_000


def fuzz_http(front: Shopfront, wanted: int, seeded: int) -> list[Tally]:
    """Send as many requests as wanted: two fifths as described, the same at the postbacks' door, the rest as bytes."""
    described = wanted * 2 // 5
    return [
        *_fuzz_described(front, described, seeded),
        _fuzz_postbacks(front, described, seeded),
        _fuzz_socket(front, wanted - 2 * described, seeded),
    ]


def _fuzz_described(front: Shopfront, wanted: int, seeded: int) -> list[Tally]:
    schema = schemathesis.openapi.from_path(DESCRIPTION)
    operations = [result.ok() for result in schema.get_all_operations() if isinstance(result, Ok)]
    # The two doors that take something are worth more than the pages.
    weights = {POSTBACK: 6, UPDATE: 6}
    share = wanted / sum(weights.get(one.path, 1) for one in operations)
    return [
        _fuzz_operation(front, one, round(share * weights.get(one.path, 1)), seeded) for one in operations
    ]


def _fuzz_operation(front: Shopfront, operation: Any, wanted: int, seeded: int) -> Tally:
    tally = Tally(operation.label)
    cases = operation.as_strategy(schemathesis.GenerationMode.POSITIVE) | operation.as_strategy(
        schemathesis.GenerationMode.NEGATIVE
    )
    with requests.Session() as session:
        round_ = 0
        while tally.tried < wanted:

            @seed(seeded + round_)
            @settings(quietly, max_examples=min(wanted - tally.tried, 500))
            @given(cases, st.integers(0, 2**32))
            def one(case: Any, chance: int) -> None:
                _introduce(case, front, Random(chance))
                _send(case, front, session, tally)

            one()
            round_ += 1
    return tally


def _introduce(case: Any, front: Shopfront, chance: Random) -> None:
    """Give a request what only our neighbours know, mostly: the secret, the token, a good signature, a real name."""
    if chance.random() < 0.2:
        return
    if chance.random() < 0.1:
        case.headers["Accept"] = chance.choice(["text/html", "*/*", "application/xml", ""])
    if chance.random() < 0.9:
        case.headers["X-Telegram-Bot-Api-Secret-Token"] = HOOK_SECRET
        case.headers["Authorization"] = f"Bearer {METRICS_TOKEN}"
    if not isinstance(case.body, dict):
        return
    if case.path == POSTBACK:
        if chance.random() < 0.3:
            case.body["invoice_id"] = chance.choice(front.invoices)
        case.body["token"] = sign(case.body.get("invoice_id"), expires_in=chance.choice([300, 300, -7200]))
    for event in case.body.values():
        person = chance.choice(CROWD)
        for part in _parts(event, "from") + _parts(event, "chat"):
            part["id"] = person


def _parts(event: object, name: str) -> list[dict[str, Any]]:
    if not isinstance(event, dict):
        return []
    here = [event[name]] if isinstance(event.get(name), dict) else []
    return here + _parts(event.get("message"), name)


def _send(case: Any, front: Shopfront, session: requests.Session, tally: Tally) -> None:
    try:
        response = case.call(base_url=front.url, session=session)
    except (requests.RequestException, UnicodeError, ValueError):
        return  # the client's own library refuses to write such a request
    tally.count(response.status_code)
    if response.status_code >= 500 or len(response.content) > LARGEST_ANSWER:
        tally.find(f"{response.status_code} for {case.headers} {str(case.body)[:500]}")
        return
    try:
        case.validate_response(response, checks=CHECKS)
    except (Failure, FailureGroup) as failure:
        tally.find(f"{response.status_code} {str(failure)[:700]}")


def _fuzz_postbacks(front: Shopfront, wanted: int, seeded: int) -> Tally:
    tally = Tally("bytes to POST " + POSTBACK)
    wire = http.client.HTTPConnection("127.0.0.1", front.port, timeout=20)
    round_ = 0
    while tally.tried < wanted:

        @seed(seeded + round_)
        @settings(quietly, max_examples=min(-(-(wanted - tally.tried) // FAMILY), 2_000))
        @given(bodies(front.invoices), st.integers(0, 2**32))
        def one(sent: Sent, chance: int) -> None:
            for body, content_type in family(sent, Random(chance)):
                _post(wire, tally, body, content_type)

        one()
        round_ += 1
    wire.close()
    return tally


def _post(wire: http.client.HTTPConnection, tally: Tally, body: bytes, content_type: str) -> None:
    try:
        wire.request("POST", POSTBACK, body, {"Content-Type": content_type})
        answer = wire.getresponse()
        said = answer.read()
    except (http.client.HTTPException, OSError) as error:
        wire.close()
        tally.count(type(error).__name__)
        tally.find(f"{error!r} for {body[:300]!r} as {content_type!r}")
        return
    tally.count(answer.status)
    if answer.status not in {200, 400, 401, 413, 415} or len(said) > 100:
        tally.find(f"{answer.status} {said[:200]!r} for {body[:300]!r} as {content_type!r}")


_GOODBYE = b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
_REQUESTS: list[Callable[[], bytes]] = [
    lambda: b"GET / HTTP/1.1\r\nHost: x\r\nAccept: text/html\r\nAccept-Language: ru;q=0.5, en\r\n\r\n",
    lambda: b"GET /health/ready?lang=ru HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer x\r\n\r\n",
    lambda: b"GET /style.css HTTP/1.0\r\n\r\n",
    lambda: b"HEAD /payment/success HTTP/1.1\r\nHost: x\r\nCookie: a=b\r\n\r\n",
    lambda: b"OPTIONS * HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n\r\n",
    lambda: b"GET http://127.0.0.1/metrics HTTP/1.1\r\nHost: x\r\nRange: bytes=0-1\r\n\r\n",
    lambda: (
        f"POST {POSTBACK} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        f"Content-Length: 2\r\nConnection: keep-alive\r\n\r\n{{}}"
    ).encode(),
    lambda: (
        f"POST {POSTBACK} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        f"Transfer-Encoding: chunked\r\n\r\n2\r\n{{}}\r\n0\r\n\r\n"
    ).encode(),
    lambda: (
        f"POST {UPDATE} HTTP/1.1\r\nHost: x\r\nX-Telegram-Bot-Api-Secret-Token: {HOOK_SECRET}\r\n"
        f"Content-Length: 17\r\n\r\n" + '{"update_id": 99}'
    ).encode(),
    lambda: f"POST {UPDATE} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nContent-Length: 0\r\n\r\n".encode(),
    lambda: b"CONNECT 127.0.0.1:5432 HTTP/1.1\r\nHost: x\r\n\r\n",
]


def _fuzz_socket(front: Shopfront, wanted: int, seeded: int) -> Tally:
    """Write damaged requests straight to the socket; one that is not finished is left alone after a moment."""
    tally, chance = Tally("bytes to the socket"), Random(seeded)
    while tally.tried < wanted:
        sent = damaged(chance, chance.choice(_REQUESTS)())
        said = _say(front.port, sent + _GOODBYE)
        statuses = re.findall(rb"(?:^|\r\n\r\n[^\r\n]*?)HTTP/\d\.\d (\d{3}) ", said)
        tally.count(statuses[0].decode() if statuses else "no answer")
        if any(status.startswith(b"5") for status in statuses) or (said and not statuses):
            tally.find(f"{said[:300]!r} for {sent!r}")
    return tally


def _say(port: int, sent: bytes) -> bytes:
    said = b""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 10) as wire:
        wire.sendall(sent)
        wire.settimeout(0.25)
        while part := wire.recv(65_536):
            said += part
    return said
