"""The rows of `make bench-stack` that read: from Redis, and from the local memory of a query instance."""

import subprocess

from suite import servers, stack
from suite.stack import BATCH, real

CACHED_ORDERS = 200_000
SINGLE_CONNECTIONS = 64
STATUSES_GOAL = 20e6
LONG = 300  # seconds


# --- Redis. ---


def redis_tier(bench):
    """Local memory is too small to matter; the notes say which part of the answers came from Redis."""
    bench.fresh()
    ids = bench.work / "cached-ids"
    with real.redis_cluster() as cluster:
        with bench.orderd("command", "mysql.queue_orders=65536") as server:
            server.bench("load", "--orders", CACHED_ORDERS, "--ids", ids, "--batch", BATCH)
            stack.wait_until(lambda: stack.cached_orders(cluster) == CACHED_ORDERS, 30, "the orders in Redis")
        redis_benchmark("set", 4 * CACHED_ORDERS, 256, 3)
        with bench.orderd("query", "memory.budget_mb=24") as server:
            row = bench.row("redis-tier", "orders read from Redis over HTTP batches", "/s",
                            peer_name="redis-benchmark, GET", goal=0.8, goal_is_ratio=True)  # fmt: skip
            ours = ["get", "--ids", ids, "--batch", BATCH, "--connections", 4, "--depth", 2]
            redis_rounds(bench, row, server, ours, lambda: redis_benchmark("get", 2 * CACHED_ORDERS, 256, 3))
            row = bench.row("redis-tier-single", "GET of one order from Redis over HTTP, 64 connections", "/s",
                            peer_name="redis-benchmark, GET", goal=0.8, goal_is_ratio=True)  # fmt: skip
            ours = ["http-get", "--ids", ids, "--connections", SINGLE_CONNECTIONS]
            peer = lambda: redis_benchmark("get", CACHED_ORDERS, 1, SINGLE_CONNECTIONS)  # noqa: E731
            redis_rounds(bench, row, server, ours, peer)


def redis_rounds(bench, row, server, arguments, peer):
    for run in range(bench.runs):
        bench.turn(row, run)
        hits = server.metric("orderd_redis_hits_total")
        result = server.bench(*arguments, "--seconds", bench.seconds)
        from_redis = server.metric("orderd_redis_hits_total") - hits
        row.notes.setdefault("from_redis", []).append(round(from_redis / result["ops"], 3))
        row.ours.append(result["ops_per_s"])
        row.peer.append(peer())


def redis_benchmark(command, count, pipeline, connections):
    """One thread, values of 128 bytes under random keys, spread over the masters."""
    port = real.layout.address("redis-1").rpartition(":")[2]
    said = subprocess.run(
        ["redis-benchmark", "-p", port, "--cluster", "-t", command, "-n", str(count), "-r",
         str(CACHED_ORDERS), "-d", "128", "-P", str(pipeline), "-c", str(connections), "--csv"],
        capture_output=True, text=True, timeout=LONG, check=True,
    ).stdout  # fmt: skip
    return float(said.splitlines()[-1].split('","')[1].strip('"'))


# --- Local memory. ---


def memory_tier(bench):
    """A query instance that has followed the log, beside an embedded orderd with as many orders: each with
    one network thread on the servers' processor, the load on the other."""
    bench.fresh()
    ids = bench.work / "followed-ids"
    count = bench.memory_orders
    with bench.orderd("query", "server.threads=1", "memory.budget_mb=1024") as server:
        with bench.orderd("command,relay", "mysql.queue_orders=65536") as command:
            command.bench("load", "--orders", count, "--ids", ids, "--batch", BATCH)
            stack.wait_until(lambda: server.metric("orderd_memory_changes_put_total") >= count, LONG,
                             f"{count} orders in local memory", 0.2)  # fmt: skip
        server.pin(servers.SERVER_CORE)
        embedded = servers.Orderd(bench.build, bench.work / "embedded", count)
        try:
            embedded.load(count)
            statuses = ["statuses", "--batch", 8192, "--connections", 4, "--depth", 2]
            row = bench.row("memory-statuses", f"statuses from local memory, {count:,} orders", "/s",
                            peer_name="embedded", goal=STATUSES_GOAL)  # fmt: skip
            memory_rounds(bench, row, (server, ids), embedded, statuses)
            row = bench.row("memory-single", "GET of one order from local memory, 64 connections", "/s",
                            peer_name="embedded")  # fmt: skip
            memory_rounds(bench, row, (server, ids), embedded, ["http-get", "--connections", SINGLE_CONNECTIONS])
        finally:
            embedded.remove()


def memory_rounds(bench, row, ours, embedded, arguments):
    server, ids = ours
    timed = ("--seconds", bench.seconds)
    for run in range(bench.runs):
        bench.turn(row, run)
        result = server.bench(*arguments, "--ids", ids, *timed, core=servers.LOAD_CORE)
        row.ours.append(result["ops_per_s"])
        row.peer.append(embedded.bench(*arguments, "--ids", embedded.ids, *timed)["ops_per_s"])
