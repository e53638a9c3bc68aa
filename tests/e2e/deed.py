"""One item of work for the tests: does what its order says, and tells loudly where another process is in the same item.

Copied into each test's folder and run as a `command`. What it writes down there is what the tests look at.
"""
# ruff: noqa: PTH103, PTH110, PTH115, PTH123, PTH208, T201
# It starts once an item, and pathlib would double the time that this takes; its output is a command's result.

import fcntl
import json
import os
import signal
import subprocess
import sys
import time

ITEM = os.environ["BATCHCTL_ITEM_ID"]


def note(name, text):
    """One line, in one write."""
    fd = os.open(name, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(fd, (text + "\n").encode())
    os.close(fd)


def enter():
    """The lock ends with the last process that works on the item: children inherit it."""
    os.makedirs("in", exist_ok=True)
    fd = os.open(f"in/{ITEM}", os.O_RDWR | os.O_CREAT)
    os.set_inheritable(fd, True)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        note("collisions", f"item {ITEM}: two processes at once")
        sys.exit(65)


def wait_for(path):
    while not os.path.exists(path):
        time.sleep(0.01)


def tries(key):
    with open("ran") as lines:
        return sum(json.loads(line)["key"] == key for line in lines)


def count(name):
    if not os.path.exists(name):
        return 0
    with open(name) as lines:
        return sum(1 for _ in lines)


def main():
    enter()
    order = json.load(sys.stdin)
    key = str(order["id"])
    fact = {name: os.environ[f"BATCHCTL_ITEM_{name.upper()}"] for name in ("key", "attempt", "idempotency_key")}
    note("ran", json.dumps({**fact, "item": int(ITEM), "pid": os.getpid(), "at": time.time()}))
    if "say" in order:
        sys.stderr.write(order["say"])
        sys.stderr.flush()
    if order.get("stubborn"):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if "child" in order:  # it outlives its parent if nobody ends it
        child = [sys.executable, "-I", "-S", "-c", f"import time; open('child-{key}', 'w'); time.sleep(600)"]
        subprocess.Popen(child, pass_fds=[int(fd) for fd in os.listdir("/proc/self/fd") if is_ours(fd)])
        wait_for(f"child-{key}")
    while count("held") < order.get("after", 0):
        time.sleep(0.01)
    if tries(key) <= order.get("kill", 0):  # the worker dies with this item in hand
        os.kill(os.getppid(), signal.SIGKILL)
        wait_for("never")
    if "hold" in order and tries(key) <= order.get("holds", 99):
        note("held", key)
        wait_for(order["hold"])
    if tries(key) <= order.get("fail", 0):
        sys.stderr.write(f"{key} is not ready\n")
        sys.exit(75)
    if "sleep" in order:
        time.sleep(order["sleep"])
    note("done", key)
    print(json.dumps({"key": key}))
    sys.exit(order.get("exit", 0))


def is_ours(fd):
    try:
        return os.readlink(f"/proc/self/fd/{fd}").endswith(f"/in/{ITEM}")
    except OSError:
        return False


main()
