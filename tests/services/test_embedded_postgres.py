"""The embedded server as its operators meet it: shared, killed, restarted, misplaced; as root and as nobody special."""

import multiprocessing
import os
import pwd
import resource
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from services.embedded_postgres import EmbeddedPostgresError, postgres_program, start_embedded_postgres
from services.postgres_programs import ROOTS_FOLDER, Account, server_programs, unprivileged_account

AM_ROOT = os.geteuid() == 0
ME = Account(os.geteuid(), os.getegid())
ORDINARY = unprivileged_account() if AM_ROOT else ME
fork = multiprocessing.get_context("fork")  # the only way to become another user with this very Python

# The threads that are left from other tests are idle and hold no locks.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")


class Holder:
    """Another process that holds a share in the server of a data folder."""

    def __init__(
        self, user: Account, data_dir: Path, programs: Path | None, prepare: Callable[[], object]
    ) -> None:
        self._pipe, theirs = fork.Pipe()
        self.process = fork.Process(
            target=_hold, args=(theirs, user, data_dir, programs, prepare), daemon=True
        )
        self.process.start()
        theirs.close()

    def join(self) -> "Holder":
        """Wait until it shares the server; raise what kept it from that."""
        answer = self._pipe.recv()
        if isinstance(answer, Exception):
            raise answer
        self.url, self.notice, self.data, self.programs = answer
        return self

    def ask(self, sql: str) -> str:
        url = self.url.replace("+asyncpg", "")
        command = [str(postgres_program("psql")), "-XAtq", "-d", url, "-c", sql]
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=30).stdout.strip()

    def answers(self) -> bool:
        with suppress(subprocess.CalledProcessError):
            return self.ask("select 1") == "1"
        return False

    def stop(self) -> None:
        self._pipe.send("stop")
        self.process.join(30)

    def kill(self) -> None:
        self.process.kill()
        self.process.join(30)

    def server_pid(self) -> int:
        return int((self.data / "postmaster.pid").read_text().splitlines()[0])

    def kill_server(self) -> None:
        os.kill(self.server_pid(), signal.SIGKILL)
        for _ in range(500):
            if not self.answers():
                return
            time.sleep(0.01)


def _hold(
    pipe: Connection, user: Account, data_dir: Path, programs: Path | None, prepare: Callable[[], object]
) -> None:
    if user.is_another:
        os.setgroups([])
        os.setgid(user.gid)
        os.setuid(user.uid)
    try:
        prepare()
        postgres = start_embedded_postgres(data_dir, programs=programs, fsync=False, patience=30)
    except EmbeddedPostgresError as error:
        pipe.send(EmbeddedPostgresError(str(error)))
        return
    pipe.send((postgres.url, postgres.notice, postgres.data, postgres.programs))
    with suppress(EOFError):
        pipe.recv()
    postgres.stop()


class Ground:
    """A folder that everybody can enter, and the holders of the servers in it."""

    def __init__(self, user: Account, programs: Path, shelf: Path) -> None:
        self.user = user
        self.programs: Path | None = programs
        self.home = Path(tempfile.mkdtemp(prefix="postgres-test-"))
        self.give(self.home, 0o755)
        self.data_dir = self.home / "data"
        self._pg_ctl = programs / "pg_ctl"
        self._shelf = shelf / str(user)
        self._holders: list[Holder] = []

    def give(self, folder: Path, mode: int = 0o700) -> Path:
        folder.mkdir(exist_ok=True)
        folder.chmod(mode)
        os.chown(folder, self.user.uid, self.user.gid)
        return folder

    def take_used(self, data_dir: Path | None = None) -> Path:
        """Put a cluster there that an earlier test has left, if there is one: initdb is the slow part."""
        folder = self.give(data_dir or self.data_dir, 0o755)
        if self._shelf.exists():
            self._shelf.rename(folder / "postgres")
        return folder

    def begin(self, data_dir: Path | None = None, prepare: Callable[[], object] = tuple) -> Holder:
        """Begin to start; the answer comes with `join`."""
        holder = Holder(self.user, data_dir or self.data_dir, self.programs, prepare)
        self._holders.append(holder)
        return holder

    def start(self, data_dir: Path | None = None, prepare: Callable[[], object] = tuple) -> Holder:
        return self.begin(data_dir, prepare).join()

    def clear(self) -> None:
        for holder in self._holders:
            holder.kill()
        for cluster in {
            *self.home.glob("**/cluster"),
            *(h.data for h in self._holders if hasattr(h, "data")),
        }:
            if (cluster / "postmaster.pid").exists():
                owner = Account(cluster.stat().st_uid, cluster.stat().st_gid)
                owner.run(self._pg_ctl, "stop", "-D", cluster, "-m", "immediate", "-t", "5")
            if ROOTS_FOLDER in cluster.parents:
                shutil.rmtree(cluster.parent)
        for record in self.home.glob("**/socket-folder"):
            shutil.rmtree(record.read_text().splitlines()[-1], ignore_errors=True)
        for version in self.home.glob("**/postgres/cluster/PG_VERSION"):
            if not self._shelf.exists():
                (version.parents[1] / "socket-folder").unlink(missing_ok=True)
                version.parents[1].rename(self._shelf)
        shutil.rmtree(self.home)


@pytest.fixture(scope="session")
def programs() -> Path:
    """Programs that an ordinary user can run too, wherever this checkout is."""
    wanted = os.environ.get("TEST_POSTGRES_BIN")
    return server_programs(ORDINARY, Path(wanted) if wanted else None)


@pytest.fixture(scope="module")
def shelf() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="postgres-test-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(params=[ME, ORDINARY] if AM_ROOT else [ME], ids=str)
def ground(request: pytest.FixtureRequest, programs: Path, shelf: Path) -> Iterator[Ground]:
    made = Ground(request.param, programs, shelf)
    yield made
    made.clear()


@pytest.fixture
def used(ground: Ground) -> Ground:
    """Ground with a cluster that has been used before."""
    ground.take_used()
    return ground


def test_the_last_of_two_holders_stops_the_server(used: Ground) -> None:
    starter, guest = used.start(), used.start()
    starter.stop()
    assert guest.ask("select current_database()") == "subgate"
    guest.stop()
    assert not guest.answers()
    assert not (guest.data / "postmaster.pid").exists()


def test_four_starters_at_once_share_one_server(ground: Ground) -> None:
    holders = [holder.join() for holder in [ground.begin() for _ in range(4)]]
    assert len({holder.ask("select pg_postmaster_start_time()") for holder in holders}) == 1
    for holder in holders[:3]:
        holder.stop()
    assert holders[3].answers()


def test_a_killed_starter_takes_nobody_down_and_the_last_holder_still_stops(used: Ground) -> None:
    starter, guest = used.start(), used.start()
    starter.kill()
    assert guest.answers()
    guest.stop()
    assert not guest.answers()


def test_a_server_without_holders_is_taken_over(used: Ground) -> None:
    killed = used.start()
    since = killed.ask("select pg_postmaster_start_time()")
    killed.kill()
    heir = used.start()
    assert heir.ask("select pg_postmaster_start_time()") == since
    heir.stop()
    assert not heir.answers()


def test_a_new_cluster_is_safe_from_the_server_whose_folder_was_deleted(used: Ground) -> None:
    killed = used.start()
    old_server = killed.server_pid()
    killed.kill()
    shutil.rmtree(used.data_dir)
    holder = used.start()
    os.kill(old_server, signal.SIGQUIT)  # as it does itself after a while
    with suppress(ProcessLookupError):
        while True:
            os.kill(old_server, 0)
            time.sleep(0.01)
    assert holder.answers()


def test_a_killed_server_comes_back_with_its_data(used: Ground) -> None:
    first = used.start()
    first.ask("drop table if exists kept; create table kept as select generate_series(1, 1000) as n")
    first.kill_server()
    second = used.start()
    assert second.ask("select count(*) from kept") == "1000"
    first.stop()
    assert second.answers()


def test_a_pid_that_belongs_to_somebody_else_by_now_is_no_server(used: Ground) -> None:
    first = used.start()
    owner = Account(first.data.stat().st_uid, first.data.stat().st_gid)
    first.kill_server()
    newcomer = subprocess.Popen(["sleep", "60"], user=owner.uid if owner.is_another else None)
    try:
        pid_file = first.data / "postmaster.pid"
        lines = pid_file.read_text().splitlines(keepends=True)
        pid_file.write_text("".join([f"{newcomer.pid}\n", *lines[1:]]))
        assert used.start().answers()
    finally:
        newcomer.kill()
        newcomer.wait()


def test_a_start_that_was_killed_half_way_is_made_good(ground: Ground) -> None:
    killed = ground.begin()
    while not list(ground.data_dir.glob("postgres/initdb-*/*")):
        time.sleep(0.001)
    killed.kill()
    assert not (ground.data_dir / "postgres" / "cluster").exists()
    assert ground.start().answers()
    assert not list(ground.data_dir.glob("postgres/initdb-*"))


def test_a_folder_that_might_hold_data_is_refused_and_kept(ground: Ground) -> None:
    ground.give(ground.data_dir, 0o755)
    folder = ground.give(ground.data_dir / "postgres", 0o755) / "cluster"
    folder.mkdir()
    os.chown(folder, ORDINARY.uid, ORDINARY.gid)
    precious = folder / "precious"
    precious.write_text("somebody's")
    with pytest.raises(EmbeddedPostgresError, match="PG_VERSION is missing"):
        ground.start()
    assert precious.read_text() == "somebody's"


def test_data_of_another_major_version_is_refused_with_the_way_out(used: Ground) -> None:
    holder = used.start()
    holder.stop()
    version = holder.data / "PG_VERSION"
    ours = version.read_text()
    version.write_text("12\n")
    with pytest.raises(EmbeddedPostgresError, match=r"made by PostgreSQL 12.*embedded-postgres 12"):
        used.start()
    version.write_text(ours)


@pytest.mark.parametrize("name", ["x" * 120, "odd name, with: 50% & $more"])
def test_a_path_unfit_for_a_socket_gets_a_private_folder_for_it(ground: Ground, name: str) -> None:
    holder = ground.start(ground.take_used(ground.home / name))
    folder = Path(holder.ask("show unix_socket_directories"))
    assert folder not in {holder.data, *holder.data.parents}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert folder.stat().st_uid == holder.data.stat().st_uid
    assert ground.start(ground.home / name).url == holder.url
    holder.kill_server()
    assert ground.start(ground.home / name).url == holder.url


def test_a_private_folder_for_the_socket_is_tidied_away(ground: Ground) -> None:
    holder = ground.start(ground.take_used(ground.home / ("x" * 120)))
    folder = Path(holder.ask("show unix_socket_directories"))
    holder.stop()
    assert not folder.exists()


def test_a_link_planted_for_the_socket_is_not_followed(ground: Ground) -> None:
    data_dir = ground.take_used(ground.home / ("x" * 120))
    killed = ground.start(data_dir)
    folder = Path(killed.ask("show unix_socket_directories"))
    killed.kill_server()
    shutil.rmtree(folder)
    victim = ground.give(ground.home / "victim")
    before = victim.stat()
    folder.symlink_to(victim)
    try:
        heir = ground.start(data_dir)
        assert heir.answers()
        assert heir.url != killed.url
        assert list(victim.iterdir()) == []
        assert (victim.stat().st_uid, victim.stat().st_mode) == (before.st_uid, before.st_mode)
    finally:
        folder.unlink()


def test_a_record_copied_with_the_data_does_not_lead_to_the_other_server(ground: Ground) -> None:
    original, copy = (
        ground.take_used(ground.home / ("a" * 120)),
        ground.give(ground.home / ("b" * 120), 0o755),
    )
    ground.start(copy).stop()
    holder = ground.start(original)
    record = copy / "postgres" / "socket-folder"
    shutil.copy2(original / "postgres" / "socket-folder", record)
    os.chown(record, ORDINARY.uid, ORDINARY.gid)
    assert ground.start(copy).ask("show data_directory") == str(copy / "postgres" / "cluster")
    assert holder.ask("show data_directory") == str(original / "postgres" / "cluster")


async def test_the_operators_own_postgres_variables_do_not_matter(
    used: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {
        "PGHOST": "db.example.org",
        "PGPORT": "6543",
        "PGUSER": "somebody",
        "PGDATABASE": "other",
        "PGDATA": "/nowhere",
        "PGSSLMODE": "require",
        "PGOPTIONS": "-c nonsense=1",
        "LC_ALL": "xx_XX.UTF-8",
        "TZ": "Asia/Kathmandu",
    }.items():
        monkeypatch.setenv(name, value)
    holder = used.start()
    engine = create_async_engine(holder.url)
    try:
        async with engine.begin() as connection:
            found = await connection.execute(
                text("select current_database(), current_user, current_setting('timezone')")
            )
            assert tuple(found.one()) == ("subgate", "subgate", "UTC")
    finally:
        await engine.dispose()


def test_the_cluster_is_checked_closed_and_off_the_network(used: Ground) -> None:
    holder = used.start()
    names = ("data_checksums", "server_encoding", "listen_addresses", "max_connections", "timezone")
    assert [holder.ask(f"show {name}") for name in names] == ["on", "UTF8", "", "100", "UTC"]
    assert stat.S_IMODE(holder.data.stat().st_mode) == 0o700
    assert holder.data.stat().st_uid != 0
    assert list((holder.data / "log").glob("postgresql-*.log"))


def test_data_are_safe_from_a_power_cut_by_default(used: Ground) -> None:
    used.start().stop()
    with start_embedded_postgres(used.data_dir, programs=used.programs) as postgres:
        psql = ["psql", "-XAtqd", postgres.url.replace("+asyncpg", ""), "-c", "show fsync"]
        psql[0] = str(postgres_program("psql"))
        assert subprocess.run(psql, check=True, capture_output=True, text=True).stdout == "on\n"


def test_a_cluster_is_kept_where_its_account_can_enter(ground: Ground) -> None:
    home = ground.give(ground.home / "closed")
    holder = ground.start(home / "data")
    away = ground.user.uid == 0
    assert (ROOTS_FOLDER in holder.data.parents) is away
    assert str(holder.data.parent) in holder.notice
    assert "python -m services backup FILE" in holder.notice
    assert (home / "data" / "postgres").resolve() == holder.data.parent
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    holder.ask("drop table if exists kept; create table kept (n int)")
    holder.stop()
    home.chmod(0o755)
    assert ground.start(home / "data").ask("select count(*) from kept") == "0"


def test_programs_in_a_closed_home_are_run_from_a_private_copy(ground: Ground) -> None:
    package = server_programs(ORDINARY).parents[1]
    closed = ground.give(ground.home / "closed") / "site-packages"
    (closed / package.name).mkdir(parents=True)
    (closed / package.name / "__init__.py").touch()
    (closed / package.name / "pginstall").symlink_to(package / "pginstall")
    libraries = f"{package.name}.libs"
    (closed / libraries).symlink_to(package.with_name(libraries))
    ground.programs = None
    holder = ground.start(prepare=lambda: sys.path.insert(0, str(closed)))
    assert holder.answers()
    away = ground.user.uid == 0
    assert (ROOTS_FOLDER if away else closed) in holder.programs.parents


def test_a_full_disk_is_one_line_and_leaves_nothing_half_made(ground: Ground) -> None:
    def small_disk() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    with pytest.raises(EmbeddedPostgresError, match=r"cannot be made in .*(?i:too large)") as caught:
        ground.start(prepare=small_disk)
    assert "\n" not in str(caught.value)
    assert not list(ground.data_dir.glob("postgres/initdb-*"))


def test_a_folder_that_cannot_be_made_is_one_line(ground: Ground) -> None:
    (ground.home / "file").touch()
    with pytest.raises(EmbeddedPostgresError, match="set DATA_DIR to another folder"):
        ground.start(ground.home / "file" / "data")


def test_what_postgres_itself_refuses_is_said_in_its_words(used: Ground) -> None:
    holder = used.start()
    holder.stop()
    holder.data.chmod(0o755)
    with pytest.raises(EmbeddedPostgresError, match=r"invalid permissions Permissions should be u=rwx"):
        used.start()
    holder.data.chmod(0o700)


def test_missing_programs_are_one_line(ground: Ground) -> None:
    ground.programs = ground.home
    with pytest.raises(EmbeddedPostgresError, match="set DATABASE_URL"):
        ground.start()


def test_a_user_without_a_name_is_told_what_to_do(programs: Path, shelf: Path) -> None:
    nameless = next(uid for uid in range(54321, 60000) if not Account(uid, uid).has_name)
    ground = Ground(Account(nameless, nameless) if AM_ROOT else ME, programs, shelf)
    try:
        if AM_ROOT:
            with pytest.raises(EmbeddedPostgresError, match=f"user id {nameless} has no line in /etc/passwd"):
                ground.start()
        else:
            assert pwd.getpwuid(ME.uid).pw_name == str(ME)
    finally:
        ground.clear()


def test_root_and_the_folders_owner_share_one_server(used: Ground) -> None:
    owner = used.start()
    owner.ask("drop table if exists kept; create table kept (n int)")
    with start_embedded_postgres(used.data_dir, programs=used.programs) as postgres:
        assert postgres.url == owner.url
        owner.stop()
        assert owner.answers()
    assert not owner.answers()
    assert used.start().ask("select count(*) from kept") == "0"


def test_client_programs_come_from_the_wheel() -> None:
    version = subprocess.run(
        [postgres_program("pg_dump"), "--version"], check=True, capture_output=True, text=True
    )
    assert version.stdout.startswith("pg_dump (PostgreSQL) 18")


def test_a_missing_client_program_is_one_line() -> None:
    with pytest.raises(EmbeddedPostgresError, match="pg_nonsense is missing"):
        postgres_program("pg_nonsense")
