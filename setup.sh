#!/bin/sh
# Makes .venv, where it is missing, and installs one lock file into it: sh setup.sh requirements.lock
# Does nothing when that very lock is installed already.
set -eu

lock=$1
installed=.venv/installed-$lock
python=.venv/bin/python

refuse() {
    echo "$1" >&2
    exit 2
}

if command -v flock >/dev/null; then # two makes at once: one after the other
    exec 9<"$0"
    flock 9
fi

if "$python" -c '' 2>/dev/null && cmp -s "$lock" "$installed"; then
    exit 0
fi

if ! "$python" -m pip --version >/dev/null 2>&1; then
    found=
    bare=
    for candidate in python3.13 python3.12 python3.11 python3; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            if "$candidate" -c 'import ensurepip, venv' 2>/dev/null; then
                found=$candidate
                break
            fi
            bare=${bare:-$("$candidate" -c 'import sys; print("python%d.%d" % sys.version_info[:2])')}
        fi
    done
    if [ -z "$found" ] && [ -n "$bare" ]; then
        refuse "$bare cannot make virtual environments: apt-get install $bare-venv"
    elif [ -z "$found" ]; then
        refuse "Python 3.11 or newer is needed: apt-get install python3 python3-venv"
    fi
    "$found" -m venv --clear .venv
fi

echo "installing $lock into .venv"
pip="$python -m pip --quiet --disable-pip-version-check --no-input"
if $pip install --require-hashes --requirement requirements-uv.lock 2>/dev/null &&
    "$python" -m uv pip install --quiet --python "$python" --require-hashes --requirement "$lock" 2>/dev/null; then
    :
else # uv has no build for this machine, or does not know the mirror that pip is configured for
    $pip install --require-hashes --requirement "$lock"
fi
cp "$lock" "$installed"
