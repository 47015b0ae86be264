#!/bin/sh
# Makes .venv from a hashed lock: "tools/bootstrap.sh runtime" or "tools/bootstrap.sh dev".
# Does nothing, at once, when the lock was installed already. Prints one line otherwise.
set -eu
cd "$(dirname -- "$0")/.."

kind=${1:-runtime}
case $kind in
runtime) lock=requirements.lock ;;
dev) lock=requirements-dev.lock ;;
*) echo "bootstrap: say 'runtime' or 'dev', not '$kind'." >&2; exit 2 ;;
esac

fail() { echo "$*" >&2; exit 1; }

find_python() {
    for name in ${PYTHON:-python3 python3.14 python3.13 python3.12 python3.11}; do
        if "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$name"
            return 0
        fi
    done
    return 1
}

# The dev lock holds all of the runtime lock, so its stamp answers for both.
installed() {
    [ -x .venv/bin/python ] && [ -x .venv/bin/ganglion ] || return 1
    for stamp in "$@"; do
        [ -f ".venv/$stamp.stamp" ] && [ "$(cat ".venv/$stamp.stamp")" = "$(mark)" ] && return 0
    done
    return 1
}

mark() { cat requirements.lock requirements-dev.lock tools/bootstrap.sh | sha256sum | cut -d' ' -f1; }

is_ready() {
    if [ "$kind" = dev ]; then installed dev; else installed dev runtime; fi
}

if is_ready; then exit 0; fi

mkdir -p .cache
if command -v flock >/dev/null 2>&1 && [ -z "${GANGLION_BOOTSTRAP_LOCKED:-}" ]; then
    # Two makes at once: the second waits, then finds the work done.
    GANGLION_BOOTSTRAP_LOCKED=1 exec flock .cache/bootstrap.lock tools/bootstrap.sh "$kind"
fi

python=$(find_python) || fail \
    "Ganglion needs Python 3.11 or newer, found $("${PYTHON:-python3}" --version 2>/dev/null || echo none)." \
    "Install one (Debian: apt-get install python3 python3-venv) or name it: make PYTHON=/path/to/python3.11"
version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')

if ! "$python" -c 'import venv, ensurepip' 2>/dev/null; then
    package="python$version-venv"
    [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1 || fail \
        "Python's venv module is missing. Ask an administrator to run: apt-get install $package"
    printf 'Installing %s ... ' "$package"
    { apt-get install -y --no-install-recommends "$package" >.cache/bootstrap.log 2>&1 ||
        { apt-get update >>.cache/bootstrap.log 2>&1 &&
            apt-get install -y --no-install-recommends "$package" >>.cache/bootstrap.log 2>&1; }; } ||
        fail "failed: see .cache/bootstrap.log, or run apt-get install $package yourself."
    echo done
fi

free_kib=$(df -Pk . | awk 'NR == 2 { print $4 }')
[ "${free_kib:-9999999}" -ge 1048576 ] || fail \
    "The disk is nearly full: setting up needs 1 GiB here and $((free_kib / 1024)) MiB is free."

# What the log says, as one sentence. The last word of pip stands for what nobody foresaw.
why() {
    if grep -q 'No space left on device' .cache/bootstrap.log; then
        echo "the disk is full. Free some space and try again."
    elif grep -q 'connection broken by' .cache/bootstrap.log; then
        echo "the package index does not answer. Mend the network, or name a mirror:" \
            "PIP_INDEX_URL=https://... make; all that pip said is in .cache/bootstrap.log."
    else
        echo "$(grep -v '^ *$' .cache/bootstrap.log | tail -n 1)" \
            "(all that was said is in .cache/bootstrap.log)"
    fi
}

started=$(date +%s)
printf 'Setting up .venv (%s packages, %s) ... ' "$(grep -c '==' "$lock")" "$kind"
# A set-up that was killed leaves packages that look installed and are not whole.
if [ -e .venv/unfinished ] || ! .venv/bin/python -c 'import pip' 2>/dev/null; then
    rm -rf .venv
    mkdir .venv
    : >.venv/unfinished
    "$python" -m venv .venv >.cache/bootstrap.log 2>&1 || { rm -rf .venv; fail "failed: $(why)"; }
fi
: >.venv/unfinished
.venv/bin/python -m pip install --disable-pip-version-check --no-input --quiet --progress-bar off \
    --require-hashes --no-compile -r "$lock" >.cache/bootstrap.log 2>&1 || fail "failed: $(why)"

cat >.venv/bin/ganglion <<'LAUNCHER'
#!/bin/sh
# Runs the command of the clone that this .venv lies in; -P keeps the current folder's files out.
here=$(dirname -- "$(readlink -f -- "$0")")
PYTHONPATH=$(dirname -- "$(dirname -- "$here")")${PYTHONPATH:+:$PYTHONPATH}
export PYTHONPATH
exec "$here/python" -P -m cli.main "$@"
LAUNCHER
chmod +x .venv/bin/ganglion
rm .venv/unfinished
mark >".venv/$kind.stamp"
echo "done in $(($(date +%s) - started)) s."
