"""The numbers for Prometheus."""

from datetime import timedelta

from services.db import Database
from services.metrics import Metrics
from tests import shop
from tests.webhook_server.conftest import POSTBACK, OpenSite, Site, postback

TOKEN = "canary-metrics-token"
BEARER = {"Authorization": f"Bearer {TOKEN}"}


async def test_without_a_token_there_is_no_such_page(site: Site) -> None:
    for headers in ({}, BEARER, {"Authorization": "Bearer "}):
        async with site.get("/metrics", headers=headers) as answer:
            assert answer.status == 404


async def test_page_is_for_those_who_know_the_token(open_site: OpenSite, db: Database) -> None:
    site = await open_site(db, metrics_token=TOKEN)
    for wrong in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Basic {TOKEN}"}):
        async with site.get("/metrics", headers=wrong) as answer:
            assert (answer.status, answer.headers["WWW-Authenticate"]) == (401, "Bearer")
    async with site.get("/metrics", headers=BEARER) as answer:
        assert answer.status == 200
        assert answer.headers["Content-Type"].startswith("text/plain")


async def test_page_counts_postbacks_and_tells_the_ages_of_now(open_site: OpenSite, db: Database) -> None:
    site = await open_site(db, metrics_token=TOKEN)
    await shop.customer(db)
    await shop.invoice(db, age=timedelta(seconds=90))
    await site.post(POSTBACK, json=postback("STRANGER"))
    async with site.get("/metrics", headers=BEARER) as answer:
        text = await answer.text()
    assert 'subgate_postbacks_total{result="unknown"} 1.0' in text
    assert "subgate_outbox_age_seconds 0.0" in text
    (age,) = [
        line.split()[1] for line in text.splitlines() if line.startswith("subgate_oldest_unsettled_seconds ")
    ]
    assert 90 <= float(age) < 120


async def test_ages_are_unknown_while_the_database_is_away(
    open_site: OpenSite, no_database: Database
) -> None:
    site = await open_site(no_database, metrics_token=TOKEN)
    async with site.get("/metrics", headers=BEARER) as answer:
        text = await answer.text()
    assert "subgate_outbox_age_seconds NaN" in text
    assert "subgate_oldest_unsettled_seconds NaN" in text


def test_names_are_those_that_dashboards_read() -> None:
    metrics = Metrics()
    metrics.postback("woken")
    metrics.payment("paid")
    metrics.settled(0.2)
    metrics.provider_request("invoice/create", "ok")
    metrics.telegram_request("sendMessage", "429")
    metrics.ages(outbox=1.5, oldest_unsettled=2.5)
    samples = {line.rpartition(" ")[0] for line in metrics.render().decode().splitlines() if line[0] != "#"}
    buckets = {sample for sample in samples if sample.startswith("subgate_settle_seconds_bucket{")}
    assert buckets
    assert samples - buckets == {
        'subgate_postbacks_total{result="woken"}',
        'subgate_payments_total{status="paid"}',
        "subgate_settle_seconds_count",
        "subgate_settle_seconds_sum",
        "subgate_outbox_age_seconds",
        "subgate_oldest_unsettled_seconds",
        'subgate_provider_requests_total{method="invoice/create",result="ok"}',
        'subgate_telegram_requests_total{method="sendMessage",result="429"}',
    }


def test_two_in_one_process_count_apart() -> None:
    one, other = Metrics(), Metrics()
    one.postback("woken")
    assert "subgate_postbacks_total{" not in other.render().decode()
