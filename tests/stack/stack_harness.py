"""What the tests on the real servers share: talking to each of them, and taking them down.

    import stack_harness as stack

    def test_a_change_reaches_kafka():
        orderd = stack.Orderd("all")
        ...
        assert stack.wait_for_messages("orders.changes", 1)[0].headers == {"event": "created"}
        stack.kill("mariadb-0")
        assert orderd.get("/readyz").status == 503

    if __name__ == "__main__":
        stack.run(globals())

Each file begins with empty databases, topics, keyspaces and caches (`fresh`). After each test every
server is up again, whatever the test did to it. A file that needs not all of them says which, as
stack.run(globals(), "mariadb", "redis"): the others may be down then. Starts what is down and leaves it
running; `make test-stack` stops it.
"""

import concurrent.futures
import dataclasses
import os
import pathlib
import re
import secrets
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "integration"), str(ROOT / "deploy/stack")]
import harness  # noqa: E402
import orders  # noqa: E402
import tap  # noqa: E402
from stacklib import cassandra as cassandra_client  # noqa: E402
from stacklib import kafka as kafka_client  # noqa: E402
from stacklib import layout, mysql, process, redis, servers  # noqa: E402

TOOL = ROOT / "deploy" / "stack" / "stack"
SCHEMA = ROOT / "deploy" / "schema"
SHARDS = 2
TOOL_WITHIN_SECONDS = 300
KCAT_WITHIN_SECONDS = 60
SYSTEM_KEYSPACES = "system"  # what Cassandra's own begin with
# What a test may set on a Redis node; `fresh` sets it again as redis.conf has it.
REDIS_SETTINGS = ("maxmemory", "maxmemory-policy", "notify-keyspace-events")

skip = tap.skip
wait_for = harness.wait_for
MysqlError = mysql.MysqlError
RedisError = redis.RedisError
KafkaError = kafka_client.KafkaError
CassandraError = cassandra_client.CassandraError


def env(name):
    """A variable of build/stack/env."""
    return layout.read_env()[name]


# --- The servers as processes ---


def tool(*arguments, status=0, **environment):
    """Runs deploy/stack/stack. Returns what it printed."""
    done = subprocess.run(
        [TOOL, *arguments],
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=TOOL_WITHIN_SECONDS,
        check=False,
    )
    assert done.returncode == status, (arguments, done.returncode, done.stdout)
    return done.stdout


def start(*names, **environment):
    """Starts servers, as mariadb-0 or all of redis; returns when they answer."""
    tool("start", *names, **environment)


def stop(*names):
    tool("stop", *names)


def kill(*names):
    """Ends servers at once, as a crash would."""
    tool("kill", *names)


def pause(*names):
    """Stops servers in their tracks: they take connections and answer nothing."""
    tool("pause", *names)


def resume(*names):
    tool("resume", *names)


def pid(name):
    """The process id of a server, or None where it is down."""
    return process.find(name)


def named(*kinds):
    """The names of the servers of some kinds, of all without one."""
    names = [one.name for one in servers.SERVERS]
    return [name for name in names if not kinds or name.partition("-")[0] in kinds]


def heal(*kinds):
    """Has the servers of some kinds, of all without one, up again."""
    start_missing(named(*kinds))


def start_missing(names):
    down_or_paused = [name for name in names if not runs(name)]
    if down_or_paused:
        start(*down_or_paused)


def runs(name):
    return pid(name) is not None and not process.is_paused(pid(name))


# --- MariaDB ---


def mariadb(shard=0, database="orders", **settings):
    """A connection as the service has it: .query(sql) gives rows as tuples."""
    address = env("MYSQL_SHARDS").split()[shard]
    user, password = env("MYSQL_USER"), env("MYSQL_PASSWORD")
    return mysql.Connection(address, user, password, database, **settings)


def mariadb_root(shard=0):
    """A connection that may do everything."""
    return servers.BY_NAME[f"mariadb-{shard}"].as_root()


def rows(sql):
    """What a query answers on all shards together."""
    found = []
    for shard in range(SHARDS):
        with mariadb(shard) as connection:
            found += connection.query(sql)
    return found


def shard_of(order_id):
    """The shard of an order: its slot stands in the id above 10 bits of node and 7 of sequence."""
    return (int(order_id) >> 17 & 1023) % SHARDS


def order_row(order_id):
    """The row of an order as {column: value}, None where its shard has none."""
    with mariadb(shard_of(order_id)) as connection:
        names = [row[0] for row in connection.query("SHOW COLUMNS FROM orders")]
        found = connection.query(f"SELECT * FROM orders WHERE order_id = {int(order_id)}")
    return dict(zip(names, found[0])) if found else None


def load_schema():
    """Makes the tables of deploy/schema/mysql on every shard, for tests that want no other server;
    they must not be there yet. apply_schema is what a user does."""
    for shard in range(SHARDS):
        with mariadb(shard) as connection:
            for file in sorted((SCHEMA / "mysql").glob("*.sql")):
                connection.query(file.read_text())


def apply_schema():
    """Has `orderctl schema apply` make what is missing. Returns what it said."""
    done = subprocess.run(
        [harness.program("orderctl"), "schema", "apply", "--config", layout.ORDERD_CONF],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=TOOL_WITHIN_SECONDS,
        check=False,
    )
    assert done.returncode == 0, (done.returncode, done.stdout)
    return done.stdout


def fresh_mariadb(shard):
    """An empty database `orders`, an empty binlog, and none of the service's connections."""
    with mariadb_root(shard) as root:
        root.query(f"""
            KILL USER {env("MYSQL_USER")};
            SET SESSION lock_wait_timeout = 10;
            DROP DATABASE IF EXISTS orders;
            CREATE DATABASE orders;
            RESET MASTER""")


# --- Redis ---


def redis_cluster():
    """A client of the whole cluster: .call("GET", key)."""
    return redis.Cluster(env("REDIS_NODES").split())


def cached(order_id):
    """The bytes of an order's entry in Redis, None where there is none."""
    with redis_cluster() as cluster:
        return cluster.call("GET", f"o:{{{order_id}}}")


def redis_node(name):
    """A client of one node, as redis-1."""
    return redis.Redis(layout.address(name))


def redis_name(address):
    """The name of the node with this address, as redis-1."""
    return next(one.name for one in servers.REDIS_NODES if one.address == address)


def wait_for_redis(seconds=60):
    """Waits until all six nodes agree that all is well."""
    servers.complete_cluster(seconds)


def redis_setting(node_name, setting):
    """What redis.conf of a node says."""
    lines = (layout.CONF / node_name / "redis.conf").read_text().splitlines()
    return next(words[1] for words in map(str.split, lines) if words[:1] == [setting])


def fresh_redis():
    wait_for_redis()
    for one in servers.REDIS_NODES:
        with redis.Redis(one.address) as node:
            for name in REDIS_SETTINGS:
                node.call("CONFIG", "SET", name, redis_setting(one.name, name))
            node.call("SCRIPT", "FLUSH")
            if node.info("INFO", "replication")["role"] == "master":
                node.call("FLUSHALL")


# --- Kafka ---


@dataclasses.dataclass
class Message:
    partition: int
    offset: int
    time_ms: int
    key: bytes
    value: bytes
    headers: dict


def kafka():
    """A client for topics, groups and offsets."""
    return kafka_client.Kafka(env("KAFKA_BROKERS").split()[0])


def kcat(*arguments, data=b""):
    done = subprocess.run(
        ["kcat", "-b", env("KAFKA_BROKERS"), *map(str, arguments)],
        input=data,
        capture_output=True,
        timeout=KCAT_WITHIN_SECONDS,
        check=False,
    )
    assert done.returncode == 0, (arguments, done.returncode, done.stderr.decode())
    return done.stdout


def publish(topic, messages, headers=None, partition=None):
    """Publishes (key, value) pairs of text or bytes, all with the same headers; returns when all are
    acknowledged by the broker."""
    end, between = secrets.token_hex(8), secrets.token_hex(8)
    data = b"".join(
        as_bytes(key) + between.encode() + as_bytes(value) + end.encode() for key, value in messages
    )
    arguments = ["-P", "-t", topic, "-D", end, "-K", between, "-X", "acks=all"]
    for name, value in (headers or {}).items():
        arguments += ["-H", f"{name}={value}"]
    if partition is not None:
        arguments += ["-p", partition]
    kcat(*arguments, data=data)


def as_bytes(value):
    return value if isinstance(value, bytes) else str(value).encode()


def messages(topic):
    """Every message that a topic has now, in the order of its partitions and their offsets."""
    form = "%p %o %T %K %S\n%k%s%h\n"
    # At the end of a partition a broker would wait for more for half a second.
    at_once = ("-X", "fetch.wait.max.ms=10")
    data = kcat("-C", "-t", topic, "-o", "beginning", "-e", "-q", "-f", form, *at_once)
    found, at = [], 0
    while at < len(data):
        head, _, rest = data[at:].partition(b"\n")
        partition, offset, time_ms, key_size, value_size = map(int, head.split())
        at += len(head) + 1
        key, at = taken(data, at, key_size)
        value, at = taken(data, at, value_size)
        line, _, _ = data[at:].partition(b"\n")
        at += len(line) + 1
        pairs = (pair.partition("=") for pair in line.decode().split(",") if pair)
        headers = {name: value for name, _, value in pairs}
        found.append(Message(partition, offset, time_ms, key, value, headers))
    return sorted(found, key=lambda message: (message.partition, message.offset))


def taken(data, at, size):
    """(what stands at `at`, where it ends); None for a size below 0."""
    return (data[at : at + size], at + size) if size >= 0 else (None, at)


def wait_for_messages(topic, count, seconds=30):
    """Waits until a topic has at least so many messages, and returns them. The topic may be made
    meanwhile."""

    def enough():
        try:
            with kafka() as client:
                ends = client.offsets(topic)
                begins = client.offsets(topic, kafka_client.EARLIEST)
        except KafkaError as error:
            if error.code not in kafka_client.NOT_THERE_YET:
                raise
            return False
        return sum(ends) - sum(begins) >= count

    wait_for(enough, seconds, f"{count} messages in {topic}")
    return messages(topic)


def fresh_kafka():
    """No topic but Kafka's own, no group."""

    def groups_are_gone():
        try:
            client.delete_groups(client.groups())
            return True
        except KafkaError as error:
            if error.code != kafka_client.NON_EMPTY_GROUP:
                raise
            return False

    with kafka() as client:
        client.delete_topics(client.topics())
        wait_for(groups_are_gone, 30, "the end of all groups")
        wait_for(lambda: not client.topics(), 30, "the end of all topics")


# --- Cassandra ---


def cassandra():
    """A connection: .query(cql) gives rows as tuples."""
    return cassandra_client.Connection(env("CASSANDRA_HOSTS").split()[0])


def fresh_cassandra():
    with cassandra() as connection:
        for (name,) in connection.query("SELECT keyspace_name FROM system_schema.keyspaces"):
            if not name.startswith(SYSTEM_KEYSPACES):
                connection.query(f"DROP KEYSPACE {name}")


# --- orderd ---


class Orderd(harness.Orderd):
    """A running orderd on the stack, with some roles, as "command,query" or "all". Each has a free
    port and a directory of its own, so that there can be several."""

    def __init__(self, roles, *settings, **others):
        if not harness.has_option("mysql", "shards"):
            skip("this orderd has no store on MariaDB")
        arguments = ("--config", str(configuration_path()))
        roles = f"server.roles={roles}"
        super().__init__(roles, *settings, arguments=arguments, **others)

    def start(self, wait=True):
        layout.write_private(configuration_path(), configuration())  # gone after each test
        super().start(wait)

    def metrics(self):
        """What /metrics shows, as {name: value}; labels are part of the name."""
        return orders.metrics(self)


def configuration():
    """build/stack/orderd.conf without the sections of tiers that this orderd is built without."""
    known = []
    for section in re.split(r"^(?=\[)", layout.ORDERD_CONF.read_text(), flags=re.MULTILINE):
        name, key = re.match(r"(?:\[(\w+)\]\n(\w+))?", section).groups()
        if name is None or harness.has_option(name, key):
            known.append(section)
    return "".join(known)


def configuration_path():
    return pathlib.Path(tempfile.gettempdir()) / f"orderd-stack-{os.getpid()}.conf"


# --- The service itself, with STACK=full ---


def front(source=None):
    """Where users speak to it, through the WAF and the load balancer; from an address where that
    matters."""
    return harness.Service(layout.port("nginx"), source)


def part(name):
    """One part of it, as command-1 or haproxy, spoken to directly."""
    return harness.Service(layout.port(name))


def heal_full():
    heal()
    start_missing([one.name for one in servers.FULL])


# --- Running tests ---


def fresh(*kinds):
    """Empties the servers of some kinds, of all without one, at the same time. Whoever uses them, with
    STACK=full, is stopped before."""
    if any(pid(one.name) for one in servers.FULL):
        stop("full")
    ways = {"redis": fresh_redis, "kafka": fresh_kafka, "cassandra": fresh_cassandra}
    work = [way for kind, way in ways.items() if named(kind)[0] in named(*kinds)]
    if named("mariadb")[0] in named(*kinds):
        work += [lambda shard=shard: fresh_mariadb(shard) for shard in range(SHARDS)]
    with concurrent.futures.ThreadPoolExecutor(len(work)) as pool:
        for done in [pool.submit(one) for one in work]:
            done.result()


def cleanup(*kinds):
    """Ends what the test started and starts what it ended. The servers' logs stay in
    build/stack/log."""
    try:
        harness.cleanup()
    finally:
        configuration_path().unlink(missing_ok=True)
        heal(*kinds)


def run(namespace, *kinds):
    """Runs the test_ functions of a module on empty servers, of all kinds without one; call it as
    run(globals()) or run(globals(), "mariadb", "kafka")."""
    heal(*kinds)
    fresh(*kinds)
    tap.run(namespace, lambda: cleanup(*kinds))


def run_full(namespace):
    """The same with the service itself on the servers. It is started for these tests, and stopped
    again."""
    heal()
    fresh()

    def cleanup_full():
        try:
            harness.cleanup()
        finally:
            heal_full()

    try:
        tool("start", "full")
        tap.run(namespace, cleanup_full)
    finally:
        tool("stop", "full")
