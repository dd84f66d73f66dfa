"""What is measured. Each group below makes one or more rows; both sides of a comparison run in turn,
with the same client and the same load, and every answer that can be checked is checked.

A group is a function with the names of its rows; `bench/run` runs those that were asked for, in the
order in which they stand here."""

import contextlib
import re
import shutil
import subprocess
import time

from suite.report import Row
from suite.servers import (
    LOAD_CORE,
    SERVER_CORE,
    Nginx,
    Orderd,
    Redis,
    Wrong,
    fetch,
    pinned,
    run_json,
    wait_for,
)

BATCH = 8192
CONNECTIONS = 64
GROWTH_CONNECTIONS = (1, 8, 64, 512)
GROWTH_BATCH = 256
DISK_WRITE_BYTES = 1 << 20
RECORD_BYTES = 128
WARMUP_SECONDS = 0.5
QUANTILES = ("p50", "p99", "p999")


class Bench:
    """The state of one run: its sizes, and the servers that several groups share."""

    def __init__(self, build, work, quick, wants, say):
        self.build = build
        self.work = work
        self.wants = wants  # of a row's name: True where it is asked for
        self.say = say
        self.runs = 1 if quick else 3
        self.seconds = 1 if quick else 3
        self.growth_seconds = 0.5 if quick else 1
        self.large = 1_000_000 if quick else 10_000_000
        self.medium = 100_000 if quick else 1_000_000
        self.small = 10_000 if quick else 100_000
        self.life_orders = 20_000 if quick else 200_000
        self.create_budget_mb = 1500 if quick else 3000
        self.stack = contextlib.ExitStack()
        self.loaded = {}
        self.redis_bytes = None
        self.redis = None
        self.tables = {}
        self.rows = []
        self.peaks = {}

    def directory(self, name):
        return self.work / name

    def row(self, *arguments, **settings):
        row = Row(*arguments, **settings)
        self.rows.append(row)
        return row

    def orderd(self, orders):
        """An orderd with that many orders, shared by all that ask for the same number."""
        if orders not in self.loaded:
            self.say(f"loading {orders:,} orders")
            server = Orderd(self.build, self.directory(f"orders-{orders}"), orders)
            self.stack.callback(server.remove)
            try:
                server.load(orders)
            except Exception:
                server.remove()
                raise
            self.loaded[orders] = server
        return self.loaded[orders]

    def release(self, orders):
        server = self.loaded.pop(orders, None)
        if server is not None:
            server.remove()

    def filled_redis(self):
        """Redis with the values of `medium` orders, shared."""
        if self.redis is None:
            source = self.orderd(self.medium)
            self.say(f"giving redis the same {self.medium:,} values")
            self.redis = Redis(self.directory("redis"))
            self.stack.callback(self.redis.remove)
            empty = self.redis.used_memory()
            self.redis.fill(source)
            self.redis_bytes = (self.redis.used_memory() - empty) / self.medium
        return self.redis

    def turns(self, row, ours, peer=None):
        """Measures both sides in turn."""
        for run in range(self.runs):
            self.say(f"{row.name}: run {run + 1} of {self.runs}")
            row.ours.append(ours())
            if peer is not None:
                row.peer.append(peer())

    def timed(self, seconds=None):
        return ["--seconds", seconds or self.seconds, "--warmup", WARMUP_SECONDS]


def rate_of(row, result):
    """Operations a second. Notes what was refused, and how busy the client was: near 1 it is the
    client that was measured."""
    refused = result.get("refused", 0)
    if refused > 0:
        row.notes["refused"] = row.notes.get("refused", 0) + refused
    busy = result.get("client_cpu_seconds", 0) / result["seconds"]
    row.notes["client_busy"] = round(max(row.notes.get("client_busy", 0), busy), 2)
    return result["ops_per_s"]


# --- Look-ups of statuses. ---


def statuses(bench):
    row = bench.row("statuses", "status look-ups, batches over TCP", "/s", goal=20e6)
    server = bench.orderd(bench.large)
    arguments = ["--ids", server.ids, "--connections", 4, "--batch", BATCH, "--depth", 2]
    row.notes["orders"] = bench.large
    bench.turns(row, lambda: rate_of(row, server.bench("statuses", *arguments, *bench.timed())))


def in_process(bench):
    for threads in (1, 2):
        name = f"in-process-{threads}"
        if not bench.wants(name):
            continue
        row = bench.row(name, f"status look-ups in the process, {threads} thread(s)", "/s")
        program = [bench.build / "bench/in_process", "states", bench.large, threads, bench.seconds]
        pin = pinned(SERVER_CORE, *program) if threads == 1 else program
        bench.turns(row, lambda pin=pin: run_json(pin)["ops_per_s"])


# --- Memory and restart. ---


def memory(bench):
    table = bench.row("memory-table", "one order in the RAM table, both indices", "B", goal=150,
                      less_is_better=True)  # fmt: skip
    row = bench.row("memory", "one order, by the memory of the process", "B", peer_name="Redis, JSON",
                    goal=1 / 3, goal_is_ratio=True, less_is_better=True)  # fmt: skip
    server = bench.orderd(bench.large)
    bench.filled_redis()
    with contextlib.ExitStack() as stack:
        empty = Orderd(bench.build, bench.directory("empty"), 1)
        stack.callback(empty.remove)
        base = empty.resident_bytes() - empty.metric("orderd_process_table_bytes")
    table_bytes = server.metric("orderd_process_table_bytes")
    table.ours.append(table_bytes / server.metric("orderd_process_orders_capacity"))
    row.ours.append((server.resident_bytes() - base) / server.orders)
    row.peer.append(bench.redis_bytes)
    row.notes["resident_bytes"] = server.resident_bytes()
    row.notes["resident_bytes_without_table"] = base


def restart(bench):
    row = bench.row("restart", "restart after kill -9, until ready", "s", goal=10, less_is_better=True)
    server = bench.orderd(bench.large)
    row.notes["orders"] = bench.large

    def once():
        server.stop(9)
        seconds = server.start()
        server.check_orders()
        server.bench("statuses", "--ids", server.ids, "--seconds", 0.2)
        server.settle()
        return seconds

    bench.turns(row, once)


# --- Durable creates. ---


@contextlib.contextmanager
def fresh_orderd(bench):
    server = Orderd(bench.build, bench.directory("fresh"), 1,
                    f"memory.budget_mb={bench.create_budget_mb}",
                    "memory.populate=yes")  # fmt: skip
    try:
        server.settle()
        yield server
    finally:
        server.remove()


def create_batches(bench):
    with fresh_orderd(bench) as server:
        result = server.bench("create", "--connections", 4, "--batch", BATCH, "--depth", 2,
                              *bench.timed())  # fmt: skip
        return result


def create_in_rocksdb(bench, mode):
    directory = bench.directory("rocksdb")
    shutil.rmtree(directory, ignore_errors=True)
    program = [bench.build / "bench/rocksdb_create", directory, BATCH, bench.seconds, mode]
    try:
        return run_json(pinned(SERVER_CORE, *program))["ops_per_s"]
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def synced_writes(bench):
    file = bench.directory("disk")
    program = [bench.build / "bench/sync_bandwidth", file, DISK_WRITE_BYTES, min(bench.seconds, 2)]
    return run_json(pinned(SERVER_CORE, *program))["bytes_per_s"]


def creates(bench):
    burst = bench.row("create-batch", "durable creates, batches over TCP", "/s", goal=2.5e6)
    unique = bench.row("create-rocksdb", "the same, and RocksDB with unique references", "/s",
                       peer_name="RocksDB", goal=10, goal_is_ratio=True)  # fmt: skip
    puts = bench.row("create-rocksdb-puts", "the same, and RocksDB with puts alone", "/s",
                     peer_name="RocksDB", goal=10, goal_is_ratio=True)  # fmt: skip
    disk = bench.row("disk", "synced writes of 1 MiB, the disk alone", "B/s")
    for run in range(bench.runs):
        bench.say(f"create-batch: run {run + 1} of {bench.runs}")
        rate = rate_of(burst, create_batches(bench))
        for row in (burst, unique, puts):
            row.ours.append(rate)
        unique.peer.append(create_in_rocksdb(bench, "unique"))
        puts.peer.append(create_in_rocksdb(bench, "puts"))
        disk.ours.append(synced_writes(bench))
    burst.notes["part_of_disk"] = burst.ours_median * RECORD_BYTES / disk.ours_median


def create_http(bench):
    row = bench.row("create-http", "durable creates, one a request, 64 connections", "/s", goal=80e3)
    with fresh_orderd(bench) as server:
        arguments = ["--connections", CONNECTIONS, *bench.timed()]
        bench.turns(row, lambda: rate_of(row, server.bench("http-create", *arguments)))


def life(bench):
    row = bench.row("life", "orders created, ended one by one, archived, checked", "/s")
    archived = "orderd_archiver_archived_total"
    with fresh_orderd(bench) as server:

        def once():
            wanted = server.metric(archived) + bench.life_orders
            begun = time.monotonic()
            rate_of(row, server.bench("load", "--orders", bench.life_orders, "--final", 100,
                                           "--connections", CONNECTIONS, "--batch", 1024,
                                           "--ids", server.ids))  # fmt: skip
            wait_for(lambda: server.metric(archived) >= wanted, 120, "every order archived")
            return bench.life_orders / (time.monotonic() - begun)

        bench.turns(row, once)


# --- One order over HTTP. ---


def wrk(bench, url):
    command = pinned(LOAD_CORE, "wrk", "-t1", f"-c{CONNECTIONS}", f"-d{bench.seconds}s", url)
    said = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    rate = re.search(r"Requests/sec:\s+([0-9.]+)", said)
    if rate is None or "Non-2xx" in said or "Socket errors" in said:
        raise Wrong(f"wrk {url}: {said}")
    return float(rate[1])


def http_get(bench):
    row = bench.row("http-get", "GET of one order, 64 connections (wrk)", "/s", peer_name="nginx, a file",
                    goal=1.3, goal_is_ratio=True)  # fmt: skip
    server = bench.orderd(bench.medium)
    url = f"{server.url}/v1/orders/{server.read_ids()[0]}"
    document = fetch(url)
    with contextlib.ExitStack() as stack:
        nginx = Nginx(bench.directory("nginx"), document)
        stack.callback(nginx.remove)
        if fetch(nginx.url) != document:
            raise Wrong("nginx does not serve the same document")
        row.notes["bytes"] = len(document)
        bench.turns(row, lambda: wrk(bench, url), lambda: wrk(bench, nginx.url))
        if fetch(url) != document:
            raise Wrong("orderd does not answer the same order any more")


def http_get_random(bench):
    row = bench.row("http-get-random", "GET of random orders, answers checked", "/s")
    server = bench.orderd(bench.medium)
    arguments = ["--ids", server.ids, "--connections", CONNECTIONS, *bench.timed()]
    bench.turns(row, lambda: rate_of(row, server.bench("http-get", *arguments)))
    bench.peaks["http-get"] = row.ours_median


# --- RESP. ---


def resp(bench, row, *arguments):
    server = bench.orderd(bench.medium)
    redis = bench.filled_redis()

    def against(port):
        return rate_of(
            row,
            server.bench("resp", "--resp", f"127.0.0.1:{port}", "--ids", server.ids, *arguments,
                         *bench.timed()),
        )  # fmt: skip

    bench.turns(row, lambda: against(server.resp_port), lambda: against(redis.port))


def resp_get(bench):
    row = bench.row("resp-get", "RESP GET, pipeline of 16, random orders", "/s", peer_name="Redis",
                    goal=2, goal_is_ratio=True)  # fmt: skip
    resp(bench, row, "--connections", 16, "--depth", 16)


def resp_mget(bench):
    row = bench.row("resp-mget", "RESP MGET of 32 random orders", "/s", peer_name="Redis",
                    goal=2, goal_is_ratio=True)  # fmt: skip
    resp(bench, row, "--connections", 16, "--depth", 1, "--command", "mget", "--batch", 32)


def redis_benchmark(bench):
    row = bench.row("redis-benchmark", "redis-benchmark GET, one order, pipeline of 16", "/s",
                    peer_name="Redis", goal=1, goal_is_ratio=True)  # fmt: skip
    server = bench.orderd(bench.medium)
    redis = bench.filled_redis()
    order_id = server.read_ids()[0]
    count = 300_000 * bench.seconds

    def against(port):
        command = pinned(LOAD_CORE, "redis-benchmark", "-p", port, "-n", count, "-c", 50, "-P", 16,
                         "--csv", "GET", order_id)  # fmt: skip
        said = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True).stdout
        return float(said.splitlines()[-1].split('","')[1].strip('"'))

    values = [cli_get(port, order_id) for port in (server.resp_port, redis.port)]
    if values[0] != values[1] or str(order_id) not in values[0]:
        raise Wrong("orderd and Redis answer different values")
    bench.turns(row, lambda: against(server.resp_port), lambda: against(redis.port))


def cli_get(port, order_id):
    command = ["redis-cli", "-p", str(port), "GET", str(order_id)]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout


# --- Growth and latency. ---


def growth(bench):
    """How look-ups hold up as orders and connections grow."""
    sizes = (bench.small, bench.medium, bench.large)
    kinds = {
        "statuses": ["--batch", GROWTH_BATCH, "--depth", 1],
        "http-get": [],
    }
    for kind, arguments in kinds.items():
        name = f"growth-{kind}"
        if not bench.wants(name):
            continue
        bench.say(name)
        table = {}
        for orders in sizes:
            server = bench.orderd(orders)
            table[orders] = {
                connections: server.bench(kind, "--ids", server.ids, *arguments, "--connections",
                                          connections, *bench.timed(bench.growth_seconds))["ops_per_s"]
                for connections in GROWTH_CONNECTIONS
            }  # fmt: skip
        bench.tables[name] = table
        row = bench.row(name, f"{kind}: {sizes[-1]:,} orders beside {sizes[0]:,}, 64 connections", "/s",
                        peer_name=f"with {sizes[0]:,}")  # fmt: skip
        row.ours.append(table[sizes[-1]][CONNECTIONS])
        row.peer.append(table[sizes[0]][CONNECTIONS])


def latency(bench):
    """Latency at a rate that does not wait for answers, counted from when a request was due."""
    server = bench.orderd(bench.medium)
    arguments = ["--ids", server.ids, "--connections", CONNECTIONS]
    peak = bench.peaks.get("http-get") or server.bench("http-get", *arguments, *bench.timed())["ops_per_s"]
    table = {}
    for percent in (50, 80):
        name = f"latency-{percent}"
        if not bench.wants(name):
            continue
        row = bench.row(name, f"GET at {percent} % of the peak, 99 of 100 within", "us")
        rate = int(peak * percent / 100)
        runs = []

        def once(rate=rate, runs=runs, row=row):
            result = server.bench("http-get", *arguments, "--rate", rate, *bench.timed())
            rate_of(row, result)
            runs.append({"unsent": result.get("unsent", 0), **result["latency_us"]})
            return result["latency_us"]["p99"]

        bench.turns(row, once)
        runs.sort(key=lambda run: run["p99"])
        middle = runs[len(runs) // 2]
        table[f"{percent} %"] = {"rate": rate, **{name: middle[name] for name in QUANTILES}}
        row.notes.update(rate=rate, peak=peak, runs=runs)
    bench.tables["latency"] = table


GROUPS = (
    (statuses, ("statuses",)),
    (memory, ("memory-table", "memory")),
    (growth, ("growth-statuses", "growth-http-get")),
    (restart, ("restart",)),
    (http_get, ("http-get",)),
    (http_get_random, ("http-get-random",)),
    (latency, ("latency-50", "latency-80")),
    (resp_get, ("resp-get",)),
    (resp_mget, ("resp-mget",)),
    (redis_benchmark, ("redis-benchmark",)),
    (creates, ("create-batch", "create-rocksdb", "create-rocksdb-puts", "disk")),
    (create_http, ("create-http",)),
    (life, ("life",)),
    (in_process, ("in-process-1", "in-process-2")),
)
