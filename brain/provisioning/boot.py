"""Pure: what a rented machine runs. A script of the system's Python alone fetches the agent's
code, checks it, and starts it.

The join token travels in the environment: never in an address, a command line or the script. The
launcher ends the machine's work by itself when the brain was not heard for too long, whatever
became of the agent, and shuts a virtual machine down.
"""

from __future__ import annotations

from brain.clouds import Boot

SCRIPT = """\
#!/bin/sh
set -eu
umask 077
export AGENT_HOME="${{AGENT_HOME:-${{HOME:-/root}}/.ganglion-agent}}"
mkdir -p "$AGENT_HOME"
cd "$AGENT_HOME"
cat > boot.py <<'PYTHON'
import hashlib, io, os, select, shutil, signal, subprocess, sys, time, urllib.request, zipfile
DIGEST = "{digest}"
AWAY = int(os.environ["AGENT_AWAY_SECONDS_MAX"])
HOME = os.environ["AGENT_HOME"]
HEARD = os.path.join(HOME, "heard")
def now():
    return time.clock_gettime(time.CLOCK_BOOTTIME)
def fetch():
    url = os.environ["BRAIN_URL"].rstrip("/") + "/agent/code"
    with urllib.request.urlopen(url, timeout=20) as answer:
        content = answer.read(32 << 20)
    if hashlib.sha256(content).hexdigest() != DIGEST:
        raise OSError("the agent's code is not the code that was promised")
    shutil.rmtree("code", ignore_errors=True)
    zipfile.ZipFile(io.BytesIO(content)).extractall("code")
def mark():
    try:
        return os.stat(HEARD).st_mtime_ns
    except OSError:
        return 0
def start():
    env = dict(os.environ, PYTHONPATH=os.path.join(HOME, "code"))
    return subprocess.Popen([sys.executable, "-m", "node_agent.main"], env=env)
def stop(agent):
    if agent is not None and agent.poll() is None:
        agent.terminate()
        try:
            agent.wait(45)
        except subprocess.TimeoutExpired:
            agent.kill()
def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    heard, last, agent, ready, pause, due = now(), mark(), None, False, 1, 0
    try:
        while now() - heard < AWAY:
            if mark() != last:
                heard, last, pause = now(), mark(), 1
            if agent is not None and agent.poll() == 0:
                return
            if (agent is None or agent.poll() is not None) and now() >= due:
                due, pause = now() + pause, min(pause * 2, 30)
                try:
                    if not ready:
                        fetch()
                    ready = True
                    agent = start()
                except OSError as error:
                    print("boot:", error, file=sys.stderr, flush=True)
            select.select([], [], [], 0.5)
        print("boot: the brain was not heard for", AWAY, "s", file=sys.stderr, flush=True)
    finally:
        stop(agent)
        if os.geteuid() == 0 and os.path.isdir("/run/systemd/system"):
            subprocess.call(["shutdown", "-h", "now"])
main()
PYTHON
exec python3 boot.py
"""


def boot(*, brain_url: str, token: str, ttl_seconds: int, digest: str, image: str) -> Boot:
    """What one machine is to run. ``digest`` is of the agent's code (hex of SHA-256)."""
    assert len(digest) == 64, "a SHA-256 in hex"
    assert digest.isalnum(), "nothing that a shell or Python reads as more than text"
    return Boot(
        script=SCRIPT.format(digest=digest),
        env={
            "BRAIN_URL": brain_url,
            "JOIN_TOKEN": token,
            "AGENT_ENGINE": "process",
            "AGENT_ONE_LEASE": "1",
            "AGENT_STOP_WORK_ON_EXIT": "1",
            "AGENT_AWAY_SECONDS_MAX": str(2 * ttl_seconds),
        },
        image=image,
    )
