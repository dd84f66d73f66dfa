"""The servers of the stack, each kind with what is its own; what all have is in server.py."""

import getpass
import json
import os
import shutil
import time
import urllib.request

from stacklib import download, edge, layout, mysql, process, redis
from stacklib.cassandra import Connection as CassandraConnection
from stacklib.kafka import Kafka, new_cluster_id
from stacklib.server import Server, wait_quietly

CLUSTER_WITHIN_SECONDS = 60
REDIS_MASTERS = 3

# What Cassandra uses of Java's insides, which Java 17 has closed.
CASSANDRA_EXPORTS = """
    java.base/jdk.internal.misc java.base/jdk.internal.ref java.base/sun.nio.ch
    java.management.rmi/com.sun.jmx.remote.internal.rmi java.rmi/sun.rmi.registry
    java.rmi/sun.rmi.server java.sql/java.sql""".split()
CASSANDRA_OPENS = """
    java.base/java.io java.base/java.lang java.base/java.lang.module java.base/java.nio
    java.base/java.util java.base/java.util.concurrent java.base/java.util.concurrent.atomic
    java.base/jdk.internal.loader java.base/jdk.internal.math java.base/jdk.internal.module
    java.base/jdk.internal.ref java.base/jdk.internal.reflect java.base/jdk.internal.util.jar
    java.base/sun.nio.ch jdk.management/com.sun.management.internal""".split()
COMMITLOG_SYNC = {
    "periodic": "commitlog_sync: periodic\ncommitlog_sync_period: 1000ms",
    "batch": "commitlog_sync: batch",
}


class MariaDb(Server):
    templates = (("my.cnf.in", "my.cnf"),)
    needs = ("mariadbd", "mariadb-install-db")

    def values(self):
        number = int(self.name.rpartition("-")[2])
        pool = os.environ.get("STACK_BUFFER_POOL") or "256M"
        return {
            **super().values(),
            "SERVER_ID": number + 1,
            "USER": getpass.getuser(),
            "BUFFER_POOL": pool,
            "TEMPORARY": self.conf,
        }

    def command(self):
        return [download.program("mariadbd"), f"--defaults-file={self.conf / 'my.cnf'}"]

    def set_up(self):
        """An empty data directory. It is made aside, so that one that broke off does not count;
        without syncs, which the server's own settings then bring back."""
        if (self.data / "mysql").is_dir():
            return
        new = self.data.with_name(self.name + ".new")
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(parents=True)
        process.run(
            self.name,
            [
                download.program("mariadb-install-db"),
                f"--defaults-file={self.conf / 'my.cnf'}",
                f"--datadir={new}",
                "--auth-root-authentication-method=socket",
                f"--auth-root-socket-user={getpass.getuser()}",
                "--skip-test-db",
                "--skip-name-resolve",
                "--skip-log-bin",
                "--innodb-flush-log-at-trx-commit=0",
            ],
        )
        shutil.rmtree(self.data)
        new.rename(self.data)

    def as_root(self):
        """A connection as MariaDB's own root, whom its socket knows by the system's user."""
        return mysql.Connection(str(self.data / "mariadb.sock"), getpass.getuser())

    def check(self):
        settings = layout.read_env()
        if "MYSQL_PASSWORD" not in settings:
            raise ConnectionError(f"{layout.shown(layout.ENV)} is lost: start writes it again")
        user, password = settings["MYSQL_USER"], settings["MYSQL_PASSWORD"]
        try:
            connection = mysql.Connection(self.address, user, password)
        except mysql.MysqlError as error:
            if error.code not in ACCESS_DENIED:
                raise
            with self.as_root() as root:
                root.query(user_sql(user, password))
            connection = mysql.Connection(self.address, user, password)
        with connection:
            connection.query("SELECT 1")


ACCESS_DENIED = (1045, 1130)  # the password is another one; there is no such user


def user_sql(user, password):
    """The user of the service and the relay, with no right that they do not need, and the database.
    It stays out of the binlog, which so begins with what the service does."""
    return f"""
        SET SESSION sql_log_bin = 0;
        CREATE DATABASE IF NOT EXISTS orders;
        CREATE OR REPLACE USER '{user}'@'%' IDENTIFIED BY '{password}';
        GRANT ALL PRIVILEGES ON orders.* TO '{user}'@'%';
        GRANT REPLICATION SLAVE, BINLOG MONITOR ON *.* TO '{user}'@'%';
    """


class RedisNode(Server):
    templates = (("redis.conf.in", "redis.conf"),)
    needs = ("redis-server",)

    def values(self):
        memory = os.environ.get("STACK_REDIS_MEMORY") or "256mb"
        return {**super().values(), "BUS_PORT": self.bus_port, "MEMORY": memory}

    @property
    def bus_port(self):
        return layout.port(f"{self.name} bus")

    def command(self):
        return [download.program("redis-server"), self.conf / "redis.conf"]

    def set_up(self):
        """What a node remembers of its cluster is of no use when the ports are others now."""
        nodes = self.data / "nodes.conf"
        if nodes.exists() and f":{layout.port(self.name)}@{self.bus_port}" not in nodes.read_text():
            nodes.unlink()

    def check(self):
        with redis.Redis(self.address) as connection:
            connection.call("PING")


class KafkaBroker(Server):
    templates = (("server.properties.in", "server.properties"),)
    pom = "kafka"

    def values(self):
        return {**super().values(), "CONTROLLER_PORT": layout.port("kafka controller")}

    def java(self, *words):
        properties = self.conf / "server.properties"
        common = ["-XX:+UseSerialGC", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"]
        path = download.class_path(self.pom)
        return [download.java(), *common, *words[:-1], "-cp", path, *words[-1], properties]

    def command(self):
        return self.java("-Xmx384m", ["kafka.Kafka"])

    def set_up(self):
        if (self.data / "log" / "meta.properties").exists():
            return
        shutil.rmtree(self.data / "log", ignore_errors=True)
        tool = ["kafka.tools.StorageTool", "format", "-t", new_cluster_id(), "-c"]
        process.run(self.name, self.java("-XX:TieredStopAtLevel=1", tool))

    def check(self):
        with Kafka(self.address) as connection:
            connection.check_ready()


class CassandraNode(Server):
    templates = (("cassandra.yaml.in", "cassandra.yaml"), ("logback.xml", "logback.xml"))
    pom = "cassandra"

    def values(self):
        sync = os.environ.get("STACK_CASSANDRA_SYNC") or "periodic"
        if sync not in COMMITLOG_SYNC:
            raise layout.StackError(f"STACK_CASSANDRA_SYNC={sync}: expected periodic or batch")
        return {
            **super().values(),
            "STORAGE_PORT": layout.port("cassandra storage"),
            "COMMITLOG_SYNC": COMMITLOG_SYNC[sync],
        }

    def command(self):
        jmx = layout.port("cassandra jmx")
        return [
            download.java(),
            *("-Xmx768m", "-Xms256m", "-XX:+UseSerialGC", "-XX:MaxDirectMemorySize=256m"),
            f"-Dcassandra.config={(self.conf / 'cassandra.yaml').as_uri()}",
            f"-Dcassandra.storagedir={self.data}",
            f"-Dlogback.configurationFile={self.conf / 'logback.xml'}",
            "-Dcassandra-foreground=yes",
            f"-Dcassandra.jmx.local.port={jmx}",
            "-Dcassandra.skip_wait_for_gossip_to_settle=0",
            "-Dcassandra.ring_delay_ms=1000",
            "-Djdk.attach.allowAttachSelf=true",
            *(f"--add-exports={package}=ALL-UNNAMED" for package in CASSANDRA_EXPORTS),
            *(f"--add-opens={package}=ALL-UNNAMED" for package in CASSANDRA_OPENS),
            "-cp",
            download.class_path(self.pom),
            "org.apache.cassandra.service.CassandraDaemon",
        ]

    def check(self):
        with CassandraConnection(self.address) as connection:
            connection.query("SELECT release_version FROM system.local")


class Debezium(Server):
    """Kafka Connect with Debezium on the first shard, to compare the relay with. Started only by its
    name; wants mariadb-0 with its tables, and kafka."""

    templates = (
        ("connect.properties.in", "connect.properties"),
        ("debezium.properties.in", "debezium.properties"),
    )
    pom = "debezium"

    def values(self):
        settings = layout.read_env()
        return {
            **super().values(),
            "BROKER": layout.address("kafka"),
            "MYSQL_PORT": layout.port("mariadb-0"),
            "MYSQL_PASSWORD": settings["MYSQL_PASSWORD"],
        }

    def set_up(self):
        """Each start begins where the binlog then ends: a position from before would be of no use
        where the binlog was reset meanwhile."""
        down = [name for name in ("mariadb-0", "kafka") if process.find(name) is None]
        if down:
            raise layout.StackError(f"{self.name} needs {' and '.join(down)}: start it first")
        (self.data / "offsets").unlink(missing_ok=True)
        with BY_NAME["mariadb-0"].as_root() as root:
            root.query(f"""
                SET SESSION sql_log_bin = 0;
                CREATE OR REPLACE USER debezium@'%' IDENTIFIED BY '{self.values()["MYSQL_PASSWORD"]}';
                GRANT SELECT ON orders.* TO debezium@'%';
                GRANT REPLICATION SLAVE, BINLOG MONITOR ON *.* TO debezium@'%'""")

    def command(self):
        heap = os.environ.get("STACK_DEBEZIUM_HEAP") or "1g"
        return [
            download.java(),
            *(f"-Xmx{heap}", "-XX:+UseSerialGC", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"),
            "-cp",
            download.class_path(self.pom),
            "org.apache.kafka.connect.cli.ConnectStandalone",
            self.conf / "connect.properties",
            self.conf / "debezium.properties",
        ]

    def check(self):
        """Until the connector and its task run, and MariaDB sends it the binlog: what is committed
        before may be passed over. A task that failed ends the wait."""
        url = f"http://{self.address}/connectors/orders-0/status"
        with urllib.request.urlopen(url, timeout=5) as answer:
            found = json.load(answer)
        for part in [found["connector"], *found["tasks"]]:
            if part["state"] == "FAILED":
                raise layout.StackError(f"{self.name}: {part.get('trace', 'failed')[:2000]}")
        states = [found["connector"]["state"], *(task["state"] for task in found["tasks"])]
        if states != ["RUNNING", "RUNNING"]:
            raise ConnectionError(f"the connector and its task: {' '.join(states)}")
        with BY_NAME["mariadb-0"].as_root() as root:
            is_sent = "SELECT 1 FROM information_schema.processlist WHERE user = 'debezium'"
            if not root.query(is_sent + " AND command = 'Binlog Dump'"):
                raise ConnectionError("it does not read the binlog yet")


# --- The Redis Cluster: what the six nodes are together ---


def complete_cluster(seconds=CLUSTER_WITHIN_SECONDS):
    """Makes the six nodes, all of which run, a cluster of three masters with a replica each, where
    they are not one yet, and waits until every one of them says that all is well."""
    connections = [redis.Redis(node.address) for node in REDIS_NODES]
    try:
        if any(map(is_alone, connections)) or not all(
            wait_quietly(lambda one=one: knows_all(one), 5) for one in connections
        ):
            form_cluster(connections)
        deadline = time.monotonic() + seconds
        while problems := [text for text in map(cluster_problem, connections) if text]:
            if time.monotonic() > deadline:
                raise layout.StackError(f"Redis Cluster: {problems[0]}")
            time.sleep(0.05)
    finally:
        for connection in connections:
            connection.close()


def is_alone(connection):
    return connection.info("CLUSTER", "INFO")["cluster_known_nodes"] == "1"


def knows_all(connection):
    """True for a node of a cluster that is complete, be it well or not."""
    info = connection.info("CLUSTER", "INFO")
    known = int(info["cluster_known_nodes"]), int(info["cluster_slots_assigned"])
    return known == (2 * REDIS_MASTERS, redis.SLOTS)


def form_cluster(connections):
    for connection in connections:
        if connection.info("INFO", "replication")["role"] == "master":
            connection.call("FLUSHALL")
        connection.call("CLUSTER", "RESET", "HARD")
    masters, replicas = connections[:REDIS_MASTERS], connections[REDIS_MASTERS:]
    bounds = [round(redis.SLOTS * part / REDIS_MASTERS) for part in range(REDIS_MASTERS + 1)]
    for number, master in enumerate(masters):
        master.call("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        master.call("CLUSTER", "ADDSLOTSRANGE", bounds[number], bounds[number + 1] - 1)
    for node in REDIS_NODES[1:]:
        host, _, port = node.address.rpartition(":")
        masters[0].call("CLUSTER", "MEET", host, port, node.bus_port)
    ids = [master.text("CLUSTER", "MYID") for master in masters]
    for replica, master_id in zip(replicas, ids):
        if not wait_quietly(lambda one=replica: has_met_all(one), CLUSTER_WITHIN_SECONDS):
            raise layout.StackError("Redis Cluster: the nodes do not meet")
        replica.call("CLUSTER", "REPLICATE", master_id)


def has_met_all(connection):
    nodes = redis.parse_nodes(connection.call("CLUSTER", "NODES"))
    return len(nodes) == 2 * REDIS_MASTERS and not any("handshake" in one.flags for one in nodes)


def cluster_problem(connection):
    """What one node finds wrong with the cluster, or None."""
    state = connection.info("CLUSTER", "INFO")["cluster_state"]
    seen = redis.parse_nodes(connection.call("CLUSTER", "NODES"))
    masters = sum(1 for node in seen if node.is_master and node.slots)
    replication = connection.info("INFO", "replication")
    if state != "ok":
        return f"{connection.address}: cluster_state:{state}"
    if masters != REDIS_MASTERS or len(seen) != 2 * REDIS_MASTERS:
        return f"{connection.address}: sees {masters} masters with slots among {len(seen)} nodes"
    if not all(node.is_well for node in seen):
        return f"{connection.address}: sees a node that is not well"
    if replication["role"] == "slave" and replication["master_link_status"] != "up":
        return f"{connection.address}: is not connected to its master"
    if replication["role"] == "master" and replication["connected_slaves"] != "1":
        return f"{connection.address}: has no replica"
    return None


# --- All of them ---

REDIS_NODES = [RedisNode(f"redis-{number}") for number in range(1, 2 * REDIS_MASTERS + 1)]
SERVERS = [
    MariaDb("mariadb-0"),
    MariaDb("mariadb-1"),
    *REDIS_NODES,
    KafkaBroker("kafka"),
    CassandraNode("cassandra"),
]
# On top of them, with STACK=full.
FULL = [*edge.INSTANCES, *edge.FRONT]
# Beside the stack: for benches.
OPTIONAL = [Debezium("debezium")]
# Groups of those that use others: each uses SERVERS and the groups before it. The first instance sets up
# what all of them want.
USERS = [edge.INSTANCES[:1], edge.INSTANCES[1:], *([one] for one in edge.FRONT), OPTIONAL]
BY_NAME = {server.name: server for server in SERVERS + FULL + OPTIONAL}
