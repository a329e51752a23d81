"""PostgreSQL for those who have none: a server of our own on the data folder.

Any number of processes share it; the last one to stop stops it, and one that is killed leaves nothing to mend. It
listens on a unix socket only, in a folder that nobody else may enter. It never runs as root, adds no account, widens
no permission, and deletes no folder that might hold data. Linux and macOS; Windows is refused.
"""

import hashlib
import os
import re
import shutil
import stat
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from subprocess import CompletedProcess
from types import TracebackType
from typing import IO, Self

from services.postgres_programs import (
    ROOTS_FOLDER,
    Account,
    EmbeddedPostgresError,
    essence,
    postgres_program,
    prepare_roots_folder,
    server_programs,
    unprivileged_account,
)

if sys.platform != "win32":
    import fcntl

__all__ = ["EmbeddedPostgres", "EmbeddedPostgresError", "postgres_program", "start_embedded_postgres"]

LONGEST_DATA_PATH = 103 - len(
    "/socket-12345678/.s.PGSQL.5432"
)  # sun_path holds 107 bytes on Linux, 103 on macOS
NOBODYS_PID = 2**31 - 1  # above every system's limit: no process ever has it
STOP_SECONDS = 8


class _StillStartingError(EmbeddedPostgresError):
    """The server is alive and busy; it is left to finish, because a restart would begin anew."""


@dataclass(frozen=True)
class _Place:
    """The folder that a cluster is kept in, and who may own it."""

    folder: Path
    account: Account
    data_dir: Path

    @property
    def notice(self) -> str:
        away = (
            "" if self.folder.parent == self.data_dir else f" ({self.account} cannot enter {self.data_dir})"
        )
        return f"the database is in {self.folder}{away}; back it up with: python -m services backup FILE"


def start_embedded_postgres(
    data_dir: Path, *, programs: Path | None = None, fsync: bool = True, patience: float = 120.0
) -> "EmbeddedPostgres":
    """Start the server of `data_dir`, or share the one that runs; the database is there when this returns.

    `programs` is the folder of `postgres`, `initdb`, `pg_ctl` and `psql` (the wheel's by default). `fsync=False`
    is for data that nobody would miss. `patience` is in seconds. Raises EmbeddedPostgresError.
    """
    if sys.platform == "win32":
        raise EmbeddedPostgresError("the embedded PostgreSQL does not run on Windows: set DATABASE_URL")
    try:
        place = _choose_place(data_dir)
        postgres = EmbeddedPostgres(place, server_programs(place.account, programs), fsync=fsync)
        postgres._join(patience)
    except OSError as error:
        about = f"{error.filename}: " if error.filename else ""
        raise EmbeddedPostgresError(
            f"the database cannot be kept in {data_dir} ({about}{error.strerror or error}): "
            "mend that, set DATA_DIR to another folder, or set DATABASE_URL"
        ) from error
    return postgres


class EmbeddedPostgres:
    """One holder's share in a running server; give it back with `stop()` or a `with` block.

    Three locks, which the kernel lets go when their holders die: `starting.lock` for whoever starts or stops
    the server, `holders.lock` shared by all who use it, `server.lock` inherited by the server and its processes.
    So a dead server cannot look alive, as it can by its pid: a zombie keeps one, and pids come back.
    """

    def __init__(self, place: _Place, programs: Path, *, fsync: bool) -> None:
        self.url = ""
        self.data = place.folder / "cluster"
        self.notice = place.notice
        self.programs = programs
        self._folder = place.folder
        self._account = place.account
        self._fsync = fsync
        self._share: int | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def revive(self, patience: float = 120.0) -> bool:
        """Start the server again, at the same address, if it has died under its holders; tells whether it had.

        Cheap while it lives. Raises EmbeddedPostgresError where it cannot be started.
        """
        if self._share is None or not self._is_free("server.lock"):
            return False
        with self._alone(patience):
            self._bring_up(patience)
        return True

    def stop(self) -> None:
        """Give this share back; the last holder stops the server. A second call does nothing."""
        if self._share is None:
            return
        try:
            with self._alone(patience=2.0):
                self._leave()
        except (FileNotFoundError, _StillStartingError):
            self._let_go()  # the folder is gone, which stops the server; or somebody else is taking it over

    def _join(self, patience: float) -> None:
        self._prepare_folder()
        with self._alone(patience):
            self._check_version()
            self._share = self._open_lock("holders.lock")
            fcntl.flock(self._share, fcntl.LOCK_SH)
            try:
                self._bring_up(patience)
                self._create_database()
                # The port is named, because PGPORT would change it.
                self.url = f"postgresql+asyncpg://subgate@/subgate?host={self._socket_folder()}&port=5432"
            except _StillStartingError:
                self._let_go()
                raise
            except BaseException:
                self._leave()
                raise

    def _leave(self) -> None:
        self._let_go()
        if not self._is_free("holders.lock") or self._is_free("server.lock"):
            return
        self._run("pg_ctl", "stop", "-D", self.data, "-m", "fast", "-t", str(STOP_SECONDS))
        deadline = time.monotonic() + 1
        while not self._is_free("server.lock"):
            if time.monotonic() > deadline:
                return  # told to stop and still writing: it ends by itself, and the next start waits for that
            time.sleep(0.01)
        self._forget_socket_folder()

    def _let_go(self) -> None:
        if self._share is not None:
            os.close(self._share)
            self._share = None

    def _bring_up(self, patience: float) -> None:
        """Share the server that answers; else wait until the old one has ended, and start a new one."""
        deadline = time.monotonic() + patience
        launched = False
        with tempfile.TemporaryFile() as output:
            while not self._answers():
                lock = self._take("server.lock")
                if lock is not None:
                    try:
                        if launched:
                            raise EmbeddedPostgresError(
                                f"PostgreSQL did not start: {self._last_words(output)}"
                            )
                        self._launch(lock, output)
                        launched = True
                    finally:
                        os.close(lock)
                elif time.monotonic() > deadline:
                    raise _StillStartingError(
                        f"PostgreSQL in {self.data} is alive but was not ready within {patience:.0f} s: "
                        f"start again, and if that does not help, read {self.data / 'log'}"
                    )
                else:
                    time.sleep(0.02)

    def _launch(self, lock: int, output: IO[bytes]) -> None:
        if not self.data.exists():
            self._initialise(lock)
        socket_folder = self._choose_socket_folder()
        self._clear_after_dead_server(socket_folder)
        options = {
            "listen_addresses": "",
            "port": "5432",
            "unix_socket_directories": str(socket_folder),
            "unix_socket_permissions": "0700",
            "shared_buffers": "64MB",
            "max_connections": "100",
            "max_wal_size": "256MB",
            "timezone": "UTC",
            "log_timezone": "UTC",
            "logging_collector": "on",  # one file for each day of the week: a week is kept
            "log_directory": "log",
            "log_filename": "postgresql-%a.log",
            "log_truncate_on_rotation": "on",
            "log_rotation_age": "1d",
            "log_rotation_size": "0",
        }
        if not self._fsync:
            options |= {"fsync": "off", "full_page_writes": "off"}
        arguments = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
        server = [str(self.programs / "postgres"), "-D", str(self.data), *arguments]
        # The shell ends at once: the server is nobody's child but init's, who reaps it when we are long gone.
        self._account.run("/bin/sh", "-c", '"$@" &', "sh", *server, output=output, session=True, keep=[lock])

    def _initialise(self, lock: int) -> None:
        """Make the cluster beside its place and move it there whole: killed half-way, it never was."""
        if not self._account.has_name:
            raise EmbeddedPostgresError(
                f"{self._account} has no line in /etc/passwd, and PostgreSQL needs one: "
                "add it, start as another user, or set DATABASE_URL"
            )
        for unfinished in self._folder.glob("initdb-*"):
            shutil.rmtree(unfinished)
        fresh = Path(tempfile.mkdtemp(prefix="initdb-", dir=self._folder))
        self._give(fresh)
        locale = ["--locale=C.UTF-8"]
        if sys.platform == "darwin":  # where the C library may not know C.UTF-8
            locale = ["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        choices = ["--encoding=UTF8", *locale, "--data-checksums", "--auth-local=trust", "--auth-host=reject"]
        haste = [] if self._fsync else ["--no-sync"]
        made = self._run("initdb", "-D", fresh, "-U", "subgate", *choices, *haste, keep=lock)
        if made.returncode != 0:
            shutil.rmtree(fresh, ignore_errors=True)
            raise EmbeddedPostgresError(
                f"the database cannot be made in {self._folder} ({essence(made.stdout)}): "
                "mend that, set DATA_DIR to another folder, or set DATABASE_URL"
            )
        fresh.rename(self.data)
        _sync(self._folder)

    def _clear_after_dead_server(self, socket_folder: Path) -> None:
        """Make a killed server's files harmless: its pid may be a zombie's or a newcomer's, which stops a start.

        It is dead, because we hold `server.lock`. Its socket goes; postmaster.pid stays with a pid that nobody
        has, because by the shared memory named there PostgreSQL finds processes that outlived their server.
        """
        for stale in socket_folder.glob(".s.PGSQL.*"):
            stale.unlink(missing_ok=True)
        pid_file = self.data / "postmaster.pid"
        with suppress(FileNotFoundError, ValueError):
            _, *rest = pid_file.read_bytes().splitlines(keepends=True)
            self._write(pid_file, b"%d\n" % NOBODYS_PID + b"".join(rest))

    def _answers(self) -> bool:
        """Ask the server itself whether it is ready."""
        return self._socket_folder() is not None and self._psql("select 1").returncode == 0

    def _create_database(self) -> None:
        if self._psql("select 1 from pg_database where datname = 'subgate'").stdout.strip() == b"1":
            return
        made = self._psql("create database subgate")
        if made.returncode != 0:
            raise EmbeddedPostgresError(f"the database cannot be made in {self.data}: {essence(made.stdout)}")

    def _psql(self, sql: str) -> CompletedProcess[bytes]:
        where = f"host='{self._socket_folder()}' port=5432 user=subgate dbname=postgres connect_timeout=3"
        return self._run("psql", "-XAtq", "-d", where, "-c", sql)

    def _run(self, program: str, *arguments: str | Path, keep: int | None = None) -> CompletedProcess[bytes]:
        return self._account.run(self.programs / program, *arguments, keep=() if keep is None else (keep,))

    def _last_words(self, output: IO[bytes]) -> str:
        output.seek(0)
        said = output.read()
        logs = sorted(self.data.glob("log/*.log"), key=lambda log: log.stat().st_mtime)
        if logs and b"log output will appear" in said:
            said = logs[-1].read_bytes()[-8192:]
        return essence(said)

    def _prepare_folder(self) -> None:
        with suppress(FileExistsError):
            self._folder.mkdir(mode=0o700)
        found = self._folder.lstat()
        if not stat.S_ISDIR(found.st_mode):
            raise EmbeddedPostgresError(f"{self._folder} is not a folder: move it away")
        if found.st_uid not in {os.geteuid(), self._account.uid}:
            raise EmbeddedPostgresError(
                f"{self._folder} belongs to {Account(found.st_uid, found.st_gid)}: "
                "start as that user or as root, or set DATA_DIR to another folder"
            )
        if self._account.is_another and found.st_uid == os.geteuid():
            self._folder.chmod(0o711)

    def _check_version(self) -> None:
        if not self.data.exists():
            return
        try:
            made_by = (self.data / "PG_VERSION").read_text().strip()[:8]
        except FileNotFoundError:
            raise EmbeddedPostgresError(
                f"{self.data} holds no database (PG_VERSION is missing): "
                "restore it, or move it away to begin anew"
            ) from None
        version = self._run("postgres", "--version").stdout.decode(errors="replace").strip()
        if re.search(rf"\(PostgreSQL\) {re.escape(made_by)}\b", version) is None:
            raise EmbeddedPostgresError(
                f"{self.data} was made by PostgreSQL {made_by}, and this is {version}: back it up with "
                f"embedded-postgres {made_by}, and restore that into an empty DATA_DIR"
            )

    @contextmanager
    def _alone(self, patience: float) -> Iterator[None]:
        deadline = time.monotonic() + patience
        while (lock := self._take("starting.lock")) is None:
            if time.monotonic() > deadline:
                raise _StillStartingError(
                    f"another process was still starting or stopping PostgreSQL in {self._folder} "
                    f"after {patience:.0f} s: try again later"
                )
            time.sleep(0.02)
        try:
            yield
        finally:
            os.close(lock)

    def _is_free(self, name: str) -> bool:
        lock = self._take(name)
        if lock is None:
            return False
        os.close(lock)
        return True

    def _take(self, name: str) -> int | None:
        lock = self._open_lock(name)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            return None
        return lock

    def _open_lock(self, name: str) -> int:
        path = self._folder / name
        with suppress(FileExistsError):
            lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
            owner = self._folder.stat()
            os.fchown(lock, owner.st_uid, owner.st_gid)  # root may be a guest in a user's folder
            return lock
        return os.open(path, os.O_RDWR | os.O_NOFOLLOW)

    def _write(self, path: Path, content: bytes) -> None:
        """Replace a file whole; a link in its place is replaced, not followed."""
        with tempfile.NamedTemporaryFile(dir=self._folder, delete=False) as fresh:
            fresh.write(content)
        self._give(Path(fresh.name))
        Path(fresh.name).replace(path)

    def _give(self, path: Path) -> None:
        """Hand over to the server's account what we have just made."""
        if self._account.is_another:
            os.chown(path, self._account.uid, self._account.gid, follow_symlinks=False)

    def _socket_folder(self) -> Path | None:
        """Read where the socket is; a record that was copied here with somebody else's data does not count."""
        try:
            cluster, folder = (self._folder / "socket-folder").read_text().split("\n", 1)
            return Path(folder) if cluster == self._cluster_identity() else None
        except (FileNotFoundError, ValueError):
            return None

    def _choose_socket_folder(self) -> Path:
        """Make a folder for the socket, or take the one that a killed server has left, so that its address stays.

        Its name is its own, because a server whose folder was deleted removes its socket by name, a minute late.
        It stands in the data folder, and elsewhere if that path is too long for a socket or has odd characters.
        """
        folder = self._socket_folder()
        if folder is None or not self._is_private(folder):
            fits = len(str(self.data)) <= LONGEST_DATA_PATH
            if fits and re.fullmatch(r"[A-Za-z0-9_/.-]+", str(self.data)):
                folder = Path(tempfile.mkdtemp(prefix="socket-", dir=self.data))
            else:
                folder = Path(tempfile.mkdtemp(prefix="subgate-", dir="/tmp"))
            self._give(folder)
            self._write(self._folder / "socket-folder", f"{self._cluster_identity()}\n{folder}".encode())
        return folder

    def _forget_socket_folder(self) -> None:
        folder = self._socket_folder()
        if folder is not None and self._is_private(folder):
            with suppress(OSError):
                folder.rmdir()
        (self._folder / "socket-folder").unlink(missing_ok=True)

    def _cluster_identity(self) -> str:
        found = self.data.stat()
        return f"{found.st_dev}:{found.st_ino}"

    def _is_private(self, folder: Path) -> bool:
        try:
            found = folder.lstat()
        except OSError:
            return False
        return (
            stat.S_ISDIR(found.st_mode)
            and stat.S_IMODE(found.st_mode) == 0o700
            and found.st_uid == self._account.uid
        )


def _choose_place(data_dir: Path) -> _Place:
    """Find where the cluster of `data_dir` is, or where a new one can be."""
    data_dir = data_dir.expanduser().resolve()
    data_dir.mkdir(parents=True, exist_ok=True)
    inside = data_dir / "postgres"
    slug = re.sub(r"[^A-Za-z0-9]+", "-", str(data_dir))[-32:].strip("-")
    outside = ROOTS_FOLDER / f"{slug}-{hashlib.sha256(os.fsencode(data_dir)).hexdigest()[:8]}"
    if os.geteuid() != 0:
        if inside.is_symlink() or (outside.exists() and not inside.exists()):
            raise EmbeddedPostgresError(
                f"root keeps the database of {data_dir} in {outside}: "
                "start as root, or set DATA_DIR to another folder"
            )
        return _Place(inside, Account(os.geteuid(), os.getegid()), data_dir)
    for folder in (inside, outside):
        if (folder / "cluster").exists() and not folder.is_symlink():
            return _Place(folder, _owner_of(folder / "cluster"), data_dir)
    account = unprivileged_account()
    if account.can_enter(data_dir):
        return _Place(inside, account, data_dir)
    prepare_roots_folder()
    with suppress(FileExistsError):
        inside.symlink_to(outside)  # tells people and programs where to look
    return _Place(outside, account, data_dir)


def _owner_of(cluster: Path) -> Account:
    found = cluster.stat()
    owner = Account(found.st_uid, found.st_gid)
    if owner.uid == 0:
        raise EmbeddedPostgresError(
            f"{cluster} belongs to root, and PostgreSQL does not run as root: "
            f"chown -R {unprivileged_account()} {cluster}"
        )
    if not owner.can_enter(cluster):
        raise EmbeddedPostgresError(
            f"{cluster} belongs to {owner}, who cannot enter it: move DATA_DIR to where {owner} can"
        )
    return owner


def _sync(folder: Path) -> None:
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
