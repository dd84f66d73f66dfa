"""Servers as processes: started in a session of their own, found again by their pid file, or, where
that is gone or wrong, by their command line, which names their directory below build/stack/conf."""

import contextlib
import os
import pathlib
import signal
import subprocess
import time

from stacklib import layout

# What may be taken for a server of ours; an editor that has its configuration open may not.
PROGRAMS = {"mariadbd", "redis-server", "redis-check-rdb", "java", "orderd", "haproxy", "nginx"}
STOPPED_WITHIN_SECONDS = 60


def mark(name):
    """What the command line of a server has in it, and no other one."""
    return f"{layout.CONF / name}/"


def state(pid):
    """(state, when it was started) of a process, as in /proc/PID/stat; None where there is none."""
    try:
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return fields[0], fields[19]


def birth(pid):
    """When a process was started: tells it from a later one with its number."""
    found = state(pid)
    return found and found[1]


def is_alive(pid):
    """True for a process that runs; one that has ended and was not waited for does not. With many
    threads the first is often gone before the others, which still hold the ports."""
    found = state(pid)
    if found is None:
        return False
    try:
        return found[0] not in "ZX" or len(os.listdir(f"/proc/{pid}/task")) > 1
    except (FileNotFoundError, ProcessLookupError):
        return False


def is_paused(pid):
    found = state(pid)
    return found is not None and found[0] == "T"


def is_server(pid, name):
    """True where the process is the server of that name and runs."""
    try:
        program = pathlib.Path(os.readlink(f"/proc/{pid}/exe").removesuffix(" (deleted)")).name
        command = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return False
    return program in PROGRAMS and mark(name) in command and is_alive(pid)


def find(name):
    """The process id of a server that runs, or None."""
    try:
        pid = int((layout.PID / name).read_text())
    except (FileNotFoundError, ValueError):
        pid = None
    if pid and is_server(pid, name):
        return pid
    for entry in os.listdir("/proc"):
        if entry.isdigit() and is_server(int(entry), name):
            note(name, int(entry))
            return int(entry)
    return None


def note(name, pid):
    layout.PID.mkdir(parents=True, exist_ok=True)
    (layout.PID / name).write_text(f"{pid}\n")


def forget(name):
    (layout.PID / name).unlink(missing_ok=True)


def start(name, command, environment=None):
    """Starts a server in its data directory. Returns the Popen, to see it end too early.

    What it writes for a while goes below the stack too: it outlives whoever starts it here, and
    with that the directory for such files that a test has."""
    layout.LOG.mkdir(parents=True, exist_ok=True)
    scratch = layout.STACK / "tmp"
    scratch.mkdir(exist_ok=True)
    with open(log_path(name), "ab") as log:
        process = subprocess.Popen(
            [str(word) for word in command],
            cwd=layout.DATA / name,
            env={**os.environ, "TMPDIR": str(scratch), **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    note(name, process.pid)
    return process


def run(name, command):
    """Runs something that has an end, as a server's set-up; its output goes to the server's log."""
    layout.LOG.mkdir(parents=True, exist_ok=True)
    with open(log_path(name), "ab") as log:
        command = [str(word) for word in command]
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, check=False
        )
    if done.returncode != 0:
        raise layout.StackError(f"{name}: {command[0]} ended with {done.returncode}{log_end(name)}")


def send(name, number):
    """Sends a signal to a server; False where it does not run."""
    pid = find(name)
    if pid is None:
        return False
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


def wait_for_end(pid, seconds):
    """Waits until a process is gone with all its threads; false when it is not within the time."""
    begin, deadline = birth(pid), time.monotonic() + seconds
    while is_alive(pid) and birth(pid) == begin:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def stop(name, number=signal.SIGTERM, seconds=STOPPED_WITHIN_SECONDS):
    """Asks a server by a signal to end, and waits; past the time it is killed. Returns what
    happened."""
    pid = find(name)
    result = "was not running"
    if pid is not None:
        result = "stopped"
        send(name, number)
        send(name, signal.SIGCONT)  # a paused one hears nothing before
        if not wait_for_end(pid, seconds):
            kill(name)
            result = f"killed: it did not stop within {seconds} s"
    forget(name)
    return result


def kill(name):
    """Ends a server at once with all its processes, as a crash would, and waits until it is gone.
    The pid file stays, as it would."""
    pid = find(name)
    if pid is None:
        return "was not running"
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)  # each was started as the leader of its own
    if not wait_for_end(pid, STOPPED_WITHIN_SECONDS):
        raise layout.StackError(f"{name}: process {pid} is still there after SIGKILL")
    return "killed"


def resident_mb(pid):
    try:
        status = pathlib.Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return int(status.partition("VmRSS:")[2].split()[0]) // 1024 if "VmRSS:" in status else 0


def log_path(name):
    return layout.LOG / f"{name}.log"


def log_end(name, lines=15):
    """The last lines of a server's log, to follow a message."""
    try:
        text = log_path(name).read_text(errors="replace")
    except FileNotFoundError:
        return ""
    shown = "".join(f"\n    {line}" for line in text.splitlines()[-lines:])
    return f"; the end of {layout.shown(log_path(name))}:{shown}"
