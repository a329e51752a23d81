"""Named places where a test lets the process kill itself, to show that nothing is lost there.

Armed by FAILPOINT only, which the settings refuse unless everything outside is on loopback.
"""

import os
import signal

_armed: dict[str, int] = {}


def arm(specification: str) -> None:
    """Arm `name` or `name:n`; the n-th pass through that place kills the process with SIGKILL."""
    _armed.clear()
    name, _, nth = specification.partition(":")
    if name:
        _armed[name] = int(nth or 1)


def failpoint(name: str) -> None:
    """Die here if a test has asked for it."""
    if not _armed or name not in _armed:
        return
    _armed[name] -= 1
    if _armed[name] == 0:
        os.kill(os.getpid(), signal.SIGKILL)
