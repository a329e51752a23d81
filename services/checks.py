"""Asking CryptoCloud about the payments that are due: one round, safe on any number of replicas.

The lease guards only who asks and when the next check is; facts are folded whoever brings them and however late.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

import structlog

from services import notifications, payments
from services.config import Settings
from services.cryptocloud import CryptoCloud, InvoiceFact
from services.db import Database, Session
from services.errors import CryptoCloudRefused, CryptoCloudRejected, CryptoCloudUnavailable
from services.failpoints import failpoint
from services.notifications import Alert, Kind, to_admins
from services.payments import Answer, Due
from services.settlement import Settled, settle

LONGEST_CALL = 20  # seconds for one round of questions, all halving included

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Round:
    """What one round did. `refused`: our key is not accepted; `unavailable`: no usable answer came."""

    asked: int = 0
    settled: Sequence[Settled] = ()
    refused: bool = False
    unavailable: bool = False


@dataclass(slots=True)
class _Answers:
    facts: list[InvoiceFact] = field(default_factory=list)
    answered: set[str] = field(default_factory=set)
    rejected: set[str] = field(default_factory=set)


async def check_due(db: Database, cryptocloud: CryptoCloud, settings: Settings) -> Round:
    """Ask about up to 100 due payments, settle what was answered, and set the moments of the next checks."""
    async with db.begin() as session:
        token, due = await payments.claim_due(session, lease_seconds=float(settings.lease_seconds))
    if not due:
        return Round()
    failpoint("check.claimed")
    answers = _Answers()
    refused = unavailable = False
    try:
        async with asyncio.timeout(LONGEST_CALL):
            await _ask(cryptocloud, sorted(one.invoice_uuid for one in due), answers)
    except CryptoCloudRefused as error:
        refused = True
        _log.error("CryptoCloud refuses our key", error=str(error))
    except (CryptoCloudUnavailable, TimeoutError) as error:
        unavailable = True
        _log.warning("CryptoCloud gave no answer", error=str(error), asked=len(due))
    failpoint("info.answered")
    settled = await settle(db, answers.facts, settings)
    async with db.begin() as session:
        stuck = await payments.release(
            session,
            token,
            [(one, _answer_for(one, answers, all_asked=not (refused or unavailable))) for one in due],
            check_seconds=float(settings.check_seconds),
        )
        for payment_id in stuck:
            _log.error("CryptoCloud keeps refusing one invoice", payment=str(payment_id))
            await notifications.notify(
                session,
                to_admins(
                    settings.admin_ids,
                    Kind.ALERT,
                    f"check-rejected:{payment_id}",
                    what=Alert.CHECK_REJECTED,
                    number=payments.receipt_number(payment_id),
                    payment=str(payment_id),
                ),
            )
        if refused:
            await report_refusal(session, settings)
    return Round(len(due), settled, refused, unavailable)


async def report_refusal(session: Session, settings: Settings) -> None:
    """Tell the admins, once a day, that CryptoCloud does not accept our key or shop."""
    day = await notifications.today(session)
    await notifications.notify(
        session,
        to_admins(
            settings.admin_ids, Kind.ALERT, f"cryptocloud-refused:{day}", what=Alert.CRYPTOCLOUD_REFUSED
        ),
    )


async def _ask(cryptocloud: CryptoCloud, uuids: Sequence[str], answers: _Answers) -> None:
    """Ask about many at once; a batch that is rejected is halved down to the one bad invoice."""
    try:
        facts = await cryptocloud.invoice_facts(uuids)
    except CryptoCloudRejected as error:
        if len(uuids) == 1:
            answers.rejected.add(uuids[0])
            _log.warning("CryptoCloud rejects one invoice", invoice=uuids[0], error=str(error))
            return
        middle = len(uuids) // 2
        await _ask(cryptocloud, uuids[:middle], answers)
        await _ask(cryptocloud, uuids[middle:], answers)
        return
    wanted = set(uuids)
    known = [fact for fact in facts if fact.uuid in wanted]
    answers.facts += known
    answers.answered |= {fact.uuid for fact in known}


def _answer_for(one: Due, answers: _Answers, *, all_asked: bool) -> Answer:
    if one.invoice_uuid in answers.answered:
        return Answer.ANSWERED
    if one.invoice_uuid in answers.rejected or all_asked:
        return Answer.REJECTED
    return Answer.NO_ANSWER
