"""What `make bench-stack` measures on the real servers; as rows.py for `make bench`. Both sides of a
comparison run in turn, in the same run, on the same servers."""

import contextlib
import json
import os
import statistics
import subprocess
import time

import relay_rate
from suite import lag, stack, stack_reads
from suite.servers import Wrong, read_ids, run_json
from suite.stack import BATCH, real

LOADER_BATCH = 2000  # rows a transaction, as mysql.create_batch
LOADER_CONNECTIONS = (1, 2, 4)
SINGLES = 300
REFERENCES_A_STATEMENT = 500_000
INSERTS_A_THOUSAND_MAX = 2
RELAY_TIMES = 10
LAG_RATE = 5000
LAG_GOAL_US = 20_000
LAG_PARTS = 3
LAG_HISTOGRAMS = (
    "orderd_relay_commit_to_read_microseconds",
    "orderd_relay_read_to_acknowledged_microseconds",
    "orderd_cache_lag_microseconds",
    "orderd_redis_request_microseconds",
)
ENDS_RATE = 2000
ARCHIVED = "orders.archived"
DEBEZIUM_TOPIC = "debezium.orders.orders"
LONG = 300  # seconds


# --- Creates into one shard. ---


def add_references(root, count):
    """References of orders that have left, spread evenly among those that `--scatter` makes."""
    step = (1 << 64) // max(count, 1)
    for first in range(1, count + 1, REFERENCES_A_STATEMENT):
        last = min(first + REFERENCES_A_STATEMENT - 1, count)
        root.query(
            "USE orders; SET SESSION sql_log_bin = 0; INSERT INTO order_refs SELECT 'bench', "
            f"CONCAT('b-scatters-', LPAD(LOWER(HEX((seq - 1) * CAST({step} AS UNSIGNED))), "
            f"16, '0')), seq FROM seq_{first}_to_{last}; SET SESSION sql_log_bin = 1"
        )


def root_connection(timeout=LONG):
    data = real.servers.BY_NAME["mariadb-0"].data
    return real.mysql.Connection(str(data / "mariadb.sock"), real.servers.getpass.getuser(), timeout=timeout)


def counted(root):
    return int(root.query("SHOW GLOBAL STATUS LIKE 'Com_insert'")[0][1])


def loader(bench, orders, batch, connections):
    host, _, port = real.layout.address("mariadb-0").partition(":")
    environment = {name: real.env(name) for name in ("MYSQL_USER", "MYSQL_PASSWORD")}
    done = subprocess.run(
        [bench.build / "bench/mariadb_load", host, port, "orders", str(orders), str(batch), str(connections)],
        env={**os.environ, **environment}, capture_output=True, text=True, timeout=LONG, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        raise Wrong(done.stderr.strip())
    return json.loads(done.stdout)


def create_batches(bench, server):
    return server.bench("create", "--scatter", "--batch", BATCH, "--connections", 4, "--depth", 2,
                        "--seconds", bench.seconds)  # fmt: skip


@contextlib.contextmanager
def stopped(*kinds):
    """While some servers are down."""
    real.stop(*kinds)
    try:
        yield
    finally:
        real.heal(*kinds)
        real.wait_for_redis()


def mysql_create(bench):
    """The store alone is what the goal is about; with Redis up every order is put there too, on the same
    two processors."""
    bench.fresh()
    with root_connection() as root:
        with stopped("redis"):
            measure_creates(bench, root, "mysql-create", "Redis down")
        measure_creates(bench, root, "mysql-create-redis", "and into Redis")
        if bench.references > 0:
            bench.say(f"adding {bench.references:,} references")
            add_references(root, bench.references)
            with stopped("redis"):
                measure_creates(bench, root, "mysql-create-more", f"{bench.references:,} references there, Redis down")


def measure_creates(bench, root, name, beside):
    """Rates of both sides, in turns, and the INSERTs that the server counted."""
    row = bench.row(name, f"creates into one MariaDB shard, HTTP batches, {beside}", "/s", goal=0.8,
                    goal_is_ratio=True)  # fmt: skip
    inserts = bench.row(f"{name}-inserts", f"INSERT statements for 1,000 orders, {beside}", "INSERTs",
                        goal=INSERTS_A_THOUSAND_MAX, less_is_better=True)  # fmt: skip
    singles = bench.row(f"{name}-rows", f"the same beside one row a transaction, {beside}", "/s",
                        peer_name="bare loader, one connection")  # fmt: skip
    sides = {connections: [] for connections in LOADER_CONNECTIONS}
    orders = 40_000 if bench.quick else 150_000
    created, references = (rows_of(root, table) for table in ("orders", "order_refs"))
    references -= created
    with bench.orderd("command", "mysql.queue_orders=65536") as server:
        for run in range(bench.runs):
            bench.turn(row, run)
            for connections, rates in sides.items():
                rates.append(loader(bench, orders, LOADER_BATCH, connections)["ops_per_s"])
                created += orders // connections * connections
            before, there = counted(root), rows_of(root, "orders")
            result = create_batches(bench, server)
            count = rows_of(root, "orders") - there
            if count < result["ops"]:
                raise Wrong(f"{result['ops']} orders were answered, {count} are there")
            created += count
            row.ours.append(result["ops_per_s"])
            row.notes["refused"] = row.notes.get("refused", 0) + result.get("refused", 0)
            inserts.ours.append(1000 * (counted(root) - before) / count)
            singles.peer.append(loader(bench, SINGLES, 1, 1)["ops_per_s"])
            created += SINGLES
    singles.ours = list(row.ours)
    best = max(sides, key=lambda connections: statistics.median(sides[connections]))
    row.peer, row.peer_name = sides[best], f"bare loader, {best} connections"
    row.notes["loaders"] = {str(connections): rates for connections, rates in sides.items()}
    kept = rows_of(root, "orders"), rows_of(root, "order_refs") - references
    if kept != (created, created):
        raise Wrong(f"expected {created} orders and references, found {kept}")


def rows_of(root, table):
    return int(root.query(f"SELECT COUNT(*) FROM orders.{table}")[0][0])


# --- The relay beside Debezium. ---


def write_changes(root, first, changes):
    """Half of the changes create orders, half end them, 1,000 rows a transaction."""
    root.query("USE orders; SET SESSION time_zone = '+00:00'")
    last = first + changes // 2
    for at in range(first, last, 1000):
        root.query(relay_rate.ROWS.format(first=at, last=min(at + 1000, last) - 1))
    for at in range(first, last, 1000):
        root.query(relay_rate.ENDS.format(first=at, count=min(1000, last - at)))


def follow(kafka, topic, target, begin):
    done = stack.wait_until(lambda: stack.messages(kafka, topic) >= target, LONG, f"{target} messages in {topic}",
                            pause=0.02)  # fmt: skip
    return done - begin


@contextlib.contextmanager
def debezium():
    """Its process id, while it runs."""
    real.start("debezium")
    try:
        yield real.pid("debezium")
    finally:
        real.stop("debezium")


def relay(bench):
    bench.fresh()
    with root_connection() as root, real.kafka() as kafka, bench.orderd("relay") as server:
        bench.say("starting Debezium")
        with debezium() as peer:
            # A first load that is not measured: the JVM compiles what it runs often.
            changes = bench.relay_changes
            state = {"next": 1, "ours": stack.messages(kafka), "peer": stack.messages(kafka, DEBEZIUM_TOPIC)}
            version = debezium_version()
            rate = bench.row("relay", "relay: changes from the binlog to Kafka", "/s",
                             peer_name=f"Debezium {version}", goal=RELAY_TIMES, goal_is_ratio=True)  # fmt: skip
            memory = bench.row("relay-memory", "relay: resident memory", "B", peer_name=f"Debezium {version}",
                               goal=1 / RELAY_TIMES, goal_is_ratio=True, less_is_better=True)  # fmt: skip
            rate.notes["changes"] = changes
            bench.say("relay: a load to warm up")
            relay_turn(server, peer, root, kafka, state, changes)
            for run in range(bench.runs):
                bench.turn(rate, run)
                ours, theirs = relay_turn(server, peer, root, kafka, state, changes)
                rate.ours.append(changes / ours)
                rate.peer.append(changes / theirs)
                memory.ours.append(server.memory()[0])
                memory.peer.append(stack.memory_of(peer)[0])
            memory.notes["peak_bytes"] = {"orderd": server.memory()[1], "debezium": stack.memory_of(peer)[1]}
        check_relayed(rate, state["next"] - 1, kafka)


def debezium_version():
    text = (real.layout.SOURCE / "pom-debezium.xml").read_text()
    return text.partition("debezium-connector-mariadb")[2].partition("<version>")[2].partition("<")[0]


def relay_turn(server, peer, root, kafka, state, changes):
    """Writes changes while both are stopped in their tracks, and lets one go on after the other. Returns
    how long each took until Kafka had every change."""
    server.signal(real.servers.signal.SIGSTOP)
    real.pause("debezium")
    try:
        write_changes(root, state["next"], changes)
        state["next"] += changes // 2
        state["ours"] += changes
        state["peer"] += changes
        begin = time.monotonic()
        server.signal(real.servers.signal.SIGCONT)
        ours = follow(kafka, stack.CHANGES, state["ours"], begin)
    finally:
        server.signal(real.servers.signal.SIGCONT)
        begin = time.monotonic()
        real.process.send("debezium", real.servers.signal.SIGCONT)
    return ours, follow(kafka, DEBEZIUM_TOPIC, state["peer"], begin)


def check_relayed(row, orders, kafka):
    """Every order's two versions are in the topic; a change may be there twice, none may be missing."""
    text = real.subprocess.run(
        ["kcat", "-b", real.env("KAFKA_BROKERS"), "-C", "-t", stack.CHANGES, "-e", "-q", "-f", "%k %h\n"],
        capture_output=True, text=True, timeout=LONG, check=True,
    ).stdout  # fmt: skip
    kinds = set(text.splitlines())
    row.notes["messages"], row.notes["distinct"] = stack.messages(kafka), len(kinds)
    if len(kinds) != 2 * orders:
        raise Wrong(f"expected {2 * orders} changes in {stack.CHANGES}, found {len(kinds)}")


# --- The cache. ---


def cache_lag(bench):
    bench.fresh()
    row = bench.row("cache-lag", f"commit to Redis at {LAG_RATE:,} changes/s, 99 of 100 within", "us",
                    goal=LAG_GOAL_US, less_is_better=True)  # fmt: skip
    count = LAG_RATE * bench.lag_seconds
    with bench.orderd("relay,cache") as server, root_connection() as root, real.redis_cluster() as cluster:
        root.query("USE orders; SET SESSION time_zone = '+00:00'")
        for at in range(1, count + 1, 1000):
            root.query(relay_rate.ROWS.format(first=at, last=min(at + 999, count)))
        stack.wait_until(lambda: stack.cached_orders(cluster) == count, LONG, f"{count} orders in Redis", 0.1)
        ids = [one for (one,) in root.query("SELECT order_id FROM orders ORDER BY order_id")]
        bench.turn(row, 0)
        lags, rate = lag.measure(ids, LAG_RATE)
        bench.turn(row, 0)
        part = len(lags) // LAG_PARTS
        for number in range(LAG_PARTS):
            part_lags = [one for _, one, _ in lags[number * part : (number + 1) * part]]
            row.ours.append(1e6 * lag.quantile(part_lags, 0.99))
        row.notes["rate"] = round(rate)
        row.notes["from_acknowledged_commit_us"] = quantiles([one for _, one, _ in lags])
        row.notes["from_sent_commit_us"] = quantiles([one for _, _, one in lags])
        if rate < 0.95 * LAG_RATE:
            row.notes["rate_missed"] = True
        row.notes["orderd_means_us"] = {name: round(server.mean(name)) for name in LAG_HISTOGRAMS}


def quantiles(values):
    parts = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p999": 0.999, "max": 1}
    return {name: round(1e6 * lag.quantile(values, part)) for name, part in parts.items()}


def cache_catchup(bench):
    bench.fresh()
    row = bench.row("cache-catchup", "changes that the cache follows after a stop", "/s",
                    peer_name="command side", goal=1, goal_is_ratio=True)  # fmt: skip
    relayed = bench.row("relay-live", "the relay, while the command side creates", "/s",
                        peer_name="command side")  # fmt: skip
    with (
        bench.orderd("command", "mysql.queue_orders=65536") as server,
        bench.orderd("relay"),
        real.kafka() as kafka,
        real.redis_cluster() as cluster,
        root_connection() as root,
    ):
        for run in range(bench.runs):
            bench.turn(row, run)
            there, begin = rows_of(root, "orders"), time.monotonic()
            row.peer.append(create_batches(bench, server)["ops_per_s"])
            total = rows_of(root, "orders")
            count = total - there
            relayed.peer.append(row.peer[-1])
            relayed.ours.append(count / follow(kafka, stack.CHANGES, total, begin))
            stack.empty_cache(cluster)
            with bench.orderd("cache", wait=False):
                begin = stack.wait_until(lambda: stack.cached_orders(cluster) > 0, 60, "an order in Redis", 0.001)
                first = stack.cached_orders(cluster)
                done = stack.wait_until(lambda: stack.cached_orders(cluster) >= count, LONG, "all in Redis", 0.005)
            row.ours.append((count - first) / (done - begin))
            if stack.cached_orders(cluster) != count:
                raise Wrong(f"expected {count} orders in Redis, found {stack.cached_orders(cluster)}")


# --- The archive. ---


def archive(bench):
    row = bench.row("archive", "final orders into Cassandra, written, read back, compared", "/s",
                    peer_name="one statement a row", goal=5, goal_is_ratio=True)  # fmt: skip
    real.heal("cassandra")
    hosts = real.env("CASSANDRA_HOSTS").replace(" ", ",")
    for run in range(bench.runs):
        bench.turn(row, run)
        done = subprocess.run(
            [bench.build / "bench/cassandra_archive", hosts, str(bench.archive_orders), "verified", "verified_1"],
            capture_output=True, text=True, timeout=LONG, check=False,
        )  # fmt: skip
        found = json.loads(done.stdout.splitlines()[-1]) if done.returncode in (0, 1) else {}
        if done.returncode != 0 or found.get("errors") != 0:
            raise Wrong(done.stderr.strip()[-500:] or "an order was not read back as it was written")
        row.ours.append(found["orders_per_s"]["verified"])
        row.peer.append(found["orders_per_s"]["verified_1"])


def archived_after(bench):
    """From the COMMIT that ends an order until `orders.archived` says that Cassandra has it, was read back
    and compared: the whole way of binlog, relay, Kafka and archive."""
    bench.fresh()
    row = bench.row("archived-after", f"final to archived at {ENDS_RATE:,} ends/s, 99 of 100 within", "us")
    count = ENDS_RATE * bench.lag_seconds
    ids = bench.work / "ended-ids"
    with bench.orderd("command", "mysql.queue_orders=65536") as server:
        server.bench("load", "--orders", count, "--ids", ids, "--batch", BATCH)
    with bench.orderd("relay,archive"), real.kafka() as kafka:
        stack.wait_until(lambda: stack.messages(kafka) >= count, LONG, f"{count} orders in Kafka", 0.1)
        bench.turn(row, 0)
        ahead = time.time() - time.monotonic()
        done, rate = lag.commit_all(read_ids(ids), ENDS_RATE)
        stack.wait_until(lambda: stack.messages(kafka, ARCHIVED) >= count, LONG, f"{count} orders archived", 0.1)
        bench.turn(row, 0)
        when = archived_times()
    after = [(acknowledged, when[one] - ahead - acknowledged) for part, _, acknowledged in done for one in part]
    after = [one for _, one in sorted(after)]
    part = len(after) // LAG_PARTS
    for number in range(LAG_PARTS):
        row.ours.append(1e6 * lag.quantile(after[number * part : (number + 1) * part], 0.99))
    row.notes["rate"] = round(rate)
    row.notes["from_acknowledged_commit_us"] = quantiles(after)


def archived_times():
    """{order id: when its message of `orders.archived` was written, in seconds since 1970}"""
    text = subprocess.run(
        ["kcat", "-b", real.env("KAFKA_BROKERS"), "-C", "-t", ARCHIVED, "-e", "-q", "-f", "%k %T\n"],
        capture_output=True, text=True, timeout=LONG, check=True,
    ).stdout  # fmt: skip
    pairs = (line.split() for line in reversed(text.splitlines()))  # of a repeated one the first counts
    return {int(order_id): int(time_ms) / 1000 for order_id, time_ms in pairs}


GROUPS = (
    (mysql_create, ("mysql-create", "mysql-create-redis", "mysql-create-more")),
    (relay, ("relay", "relay-memory")),
    (cache_lag, ("cache-lag",)),
    (cache_catchup, ("cache-catchup", "relay-live")),
    (stack_reads.redis_tier, ("redis-tier", "redis-tier-single")),
    (stack_reads.memory_tier, ("memory-statuses", "memory-single")),
    (archive, ("archive",)),
    (archived_after, ("archived-after",)),
)
