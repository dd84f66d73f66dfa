"""The real servers as the rows of `make bench-stack` use them: emptied, with orderd's schema for one
shard, and orderd processes with some roles."""

import contextlib
import os
import pathlib
import re
import sys
import time

from suite.outcome import ROOT
from suite.report import Row
from suite.servers import Wrong, pinned, run_json

sys.path.insert(0, str(ROOT / "tests" / "stack"))
import stack_harness as real  # noqa: E402  (with it come the clients of the servers)

FAILURES = (AssertionError, real.MysqlError, real.RedisError, real.KafkaError, real.CassandraError,
            real.layout.StackError)  # fmt: skip
KINDS = ("mariadb", "redis", "kafka", "cassandra")
CHANGES = "orders.changes"
BATCH = 4096  # orders or ids in one request


def variable(name, otherwise):
    """A number of the environment."""
    return int(os.environ.get(name) or otherwise)


class Orderd(real.harness.Orderd):
    """An orderd on the first shard alone, with some roles."""

    def __init__(self, bench, roles, *settings, wait=True):
        arguments = ("--config", str(bench.configuration))
        super().__init__(f"server.roles={roles}", *settings, arguments=arguments, wait=wait)

    def metric(self, name):
        for line in self.get("/metrics").body.decode().splitlines():
            if line.rpartition(" ")[0].partition("{")[0] == name:
                return float(line.rpartition(" ")[2])
        raise Wrong(f"orderd has no metric {name}")

    def mean(self, histogram):
        count = self.metric(f"{histogram}_count")
        return self.metric(f"{histogram}_sum") / count if count else 0

    def bench(self, kind, *arguments, core=None):
        """Runs `orderctl bench` against it, on one processor where `core` says so; a wrong answer is an
        error."""
        command = [real.harness.program("orderctl"), "bench", kind, *arguments, "--server", self.url, "--json"]
        return run_json(command if core is None else pinned(core, *command))

    def pin(self, core):
        """Has every thread of it on one processor from now on."""
        real.subprocess.run(["taskset", "-a", "-p", "-c", str(core), str(self.process.pid)], check=True,
                            stdout=real.subprocess.DEVNULL)  # fmt: skip

    def memory(self):
        return memory_of(self.process.pid)

    def leave(self):
        """Ends it, and removes what it left."""
        if self.process.poll() is None:
            self.stop()
        problem = self.close()
        if problem:
            raise Wrong(problem)


def memory_of(pid):
    """(resident, its peak) in bytes."""
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    return tuple(int(re.search(rf"{name}:\s+(\d+) kB", status)[1]) << 10 for name in ("VmRSS", "VmHWM"))


class StackBench:
    """The state of one run."""

    def __init__(self, build, work, quick, wants, say):
        self.build = build
        self.work = work
        self.wants = wants  # of a row's name: True where it is asked for
        self.say = say
        self.quick = quick
        self.runs = 1 if quick else 3
        self.seconds = 1 if quick else 3
        self.references = variable("BENCH_REFERENCES", 0)
        self.relay_changes = variable("BENCH_RELAY_CHANGES", 40_000 if quick else 300_000)
        self.lag_seconds = variable("BENCH_LAG_SECONDS", 5 if quick else 30)
        self.memory_orders = variable("BENCH_MEMORY_ORDERS", 100_000 if quick else 1_000_000)
        self.archive_orders = variable("BENCH_ARCHIVE_ORDERS", 40_000 if quick else 200_000)
        self.rows = []
        self.configuration = work / "orderd.conf"

    def row(self, *arguments, **settings):
        row = Row(*arguments, **settings)
        row.notes["load_average"] = [round(os.getloadavg()[0], 2)]
        row.notes["servers"] = running_servers()
        self.rows.append(row)
        return row

    def turn(self, row, run):
        self.say(f"{row.name}: run {run + 1} of {self.runs}, load average {os.getloadavg()[0]:.2f}")
        row.notes["load_average"].append(round(os.getloadavg()[0], 2))

    def fresh(self):
        """Empty servers with the tables and topics of one shard."""
        real.heal(*KINDS)
        real.fresh(*KINDS)
        shard = real.layout.address("mariadb-0")
        text = re.sub(r"(?m)^shards = .*$", f"shards = {shard}", real.layout.ORDERD_CONF.read_text())
        real.layout.write_private(self.configuration, text)
        self.orderctl("schema", "apply", "--config", str(self.configuration))

    def orderctl(self, *arguments):
        done = real.subprocess.run(
            [real.harness.program("orderctl"), *map(str, arguments)],
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        if done.returncode != 0:
            raise Wrong(f"orderctl {' '.join(map(str, arguments))}: {done.stdout}{done.stderr}")

    @contextlib.contextmanager
    def orderd(self, roles, *settings, wait=True):
        server = Orderd(self, roles, *settings, wait=wait)
        try:
            yield server
            server.leave()
        except BaseException:
            self.say(f"orderd ({roles}) said: " + " | ".join(server.log().splitlines()[-5:]))
            server.close()
            raise


def running_servers():
    return [name for name in real.servers.BY_NAME if real.process.find(name)]


def messages(kafka, topic=CHANGES):
    """How many messages a topic has had."""
    try:
        return sum(kafka.offsets(topic))
    except real.KafkaError:
        return 0


def wait_until(condition, seconds, what, pause=0.01):
    """Waits, and returns when it was so."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise Wrong(f"{what}: not within {seconds} s")
        time.sleep(pause)
    return time.monotonic()


def cached_orders(cluster):
    """How many keys all masters have."""
    return sum(cluster.ask(address, "DBSIZE") for address in masters_of(cluster))


def masters_of(cluster):
    if not hasattr(cluster, "known_masters"):
        cluster.known_masters = cluster.masters()
    return cluster.known_masters


def empty_cache(cluster):
    for address in masters_of(cluster):
        cluster.ask(address, "FLUSHALL")
