"""The merchant: makes a backup, loses the database, restores the older one, and gives lost orders back by hand."""

import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from sandbox import people
from services import backup, payments, settlement
from services.config import Settings
from services.cryptocloud import CryptoCloud
from services.db import Database
from services.errors import CryptoCloudError, DatabaseUnavailable, ShopError, UnknownPayment
from services.reconcile import adopt, open_cases, reconcile
from services.tiers import PriceList
from tests.chaos.customers import Crowd
from tests.chaos.diary import Diary
from tests.chaos.replicas import Replicas
from tests.chaos.server import Server
from tests.conftest import administer


@dataclass
class Merchant:
    """Does by hand what the operator's pages say."""

    crowd: Crowd
    server: Server
    replicas: Replicas
    diary: Diary
    settings: Settings
    price_list: PriceList
    cryptocloud: CryptoCloud
    file: Path
    restored_at: float = 0.0
    adopted: list[str] = field(default_factory=list)
    accepted: int = 0

    @property
    def db(self) -> Database:
        return self.crowd.play.db

    async def back_up(self) -> None:
        """Make a backup while everybody goes on buying."""
        async with self.server.calm:
            with self.diary.during("backup"):
                await backup.back_up(self.db, self.crowd.play.url, self.file)

    async def restore(self) -> None:
        """Lose the database with all processes, and go on with the older backup in a new one."""
        async with self.server.calm:
            with self.diary.during("restore of an older dump"):
                await self.replicas.close()
                play = self.crowd.play
                url = self.server.straight.set(database="restored")
                await administer(self.server.straight, "CREATE DATABASE restored")
                fresh = Database(url)
                await backup.restore(fresh, url, self.file)
                await play.db.dispose()
                play.db, play.url = fresh, url
                play.environment["DATABASE_URL"] = self.server.over_the_wire("restored")
                self.restored_at = time.time()
                self.replicas.open()

    async def keep_house(self) -> None:
        """Look after open cases, until cancelled."""
        while True:
            await asyncio.sleep(3)
            await self.close_cases()

    async def reconcile(self) -> None:
        """Ask for the whole list once more, as one does after a restore."""
        await reconcile(self.db, self.cryptocloud, self.settings)

    async def close_cases(self) -> None:
        """Give every unclaimed invoice to the customer who shows its link, and accept what was held back for it."""
        with suppress(DatabaseUnavailable, CryptoCloudError):
            async with self.db.begin() as session:
                cases = await open_cases(session)
                reviews = await payments.open_reviews(session)
            for case in cases:
                await self._adopt(case.invoice_uuid)
            for payment in reviews:
                if payment.invoice_uuid in self.adopted:
                    await settlement.accept(
                        self.db,
                        payment.id,
                        self.settings,
                        actor="console",
                        reason="the customer has the link",
                    )
                    self.accepted += 1

    async def _adopt(self, uuid: str) -> None:
        deal = self.crowd.deals[uuid]
        try:
            await adopt(
                self.db,
                self.cryptocloud,
                self.price_list,
                invoice=uuid,
                user_id=deal.customer,
                tier_code=deal.tier,
                period_code=deal.period,
                actor="console",
            )
        except UnknownPayment as error:
            if "has ever spoken" in str(error):
                with suppress(ValueError):
                    people.say(self.crowd.world, deal.customer, "/start")
        except (DatabaseUnavailable, CryptoCloudError):
            raise
        except ShopError as error:
            raise AssertionError(f"{uuid} cannot be adopted: {error}") from error
        else:
            self.adopted.append(uuid)
