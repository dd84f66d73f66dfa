"""What the benches share around their rows: the machine, the groups that run, the report in a document."""

import os
import pathlib
import platform
import subprocess
import sys
import time

from suite import servers

ROOT = pathlib.Path(__file__).resolve().parents[2]
LOAD_AVERAGE_QUIET = 0.5
BEGIN, END = "<!-- bench: begin -->", "<!-- bench: end -->"


def say(words):
    print(f"# {words}", file=sys.stderr, flush=True)


def first_line(*command):
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except OSError:
        return "not installed"
    return (result.stdout or result.stderr).strip().splitlines()[0]


def read_field(path, name):
    for line in pathlib.Path(path).read_text().splitlines():
        if line.startswith(name):
            return line.partition(":")[2].strip()
    return "unknown"


def describe_machine(quick):
    return {
        "date": time.strftime("%Y-%m-%d %H:%M:%S %z"),
        "processor": read_field("/proc/cpuinfo", "model name"),
        "processors": os.cpu_count(),
        "memory": read_field("/proc/meminfo", "MemTotal"),
        "kernel": platform.release(),
        "load_average_before": os.getloadavg(),
        "revision": first_line("git", "-C", str(ROOT), "describe", "--always", "--dirty"),
        "quick": quick,
    }


def machine_text(machine):
    before, after = (machine[f"load_average_{when}"][0] for when in ("before", "after"))
    words = (
        f"{machine['processors']} × {machine['processor']}, {machine['memory']}, Linux "
        f"{machine['kernel']}; {machine['date']}, revision {machine['revision']}; load average "
        f"{before:.2f} before, {after:.2f} after."
    )
    if before > LOAD_AVERAGE_QUIET:
        words += " Others used the machine: these figures are provisional."
    if machine["quick"]:
        words += " A quick run: these figures mean little."
    return words


def run_group(bench, group, names, failures=()):
    """Runs a group; one that fails has its rows marked as wrong."""
    known = len(bench.rows)
    try:
        group(bench)
    except (servers.Wrong, OSError, subprocess.SubprocessError, *failures) as problem:
        say(f"{names[0]}: {problem}")
        if len(bench.rows) == known:
            bench.row(names[0], names[0], "/s")
        for row in bench.rows[known:]:
            row.error = row.error or str(problem) or type(problem).__name__


def put_into_document(path, text):
    before, begin, rest = path.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        sys.exit(f"bench: {path} has no {BEGIN} and {END}")
    path.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}")
