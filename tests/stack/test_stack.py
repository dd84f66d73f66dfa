# run-tests: timeout=600
"""The stack itself: its servers are what docs/stack.md says, come back after a crash, and obey."""

import re
import socket
import stat
import subprocess
import tempfile
import threading
import time

import stack_harness as stack
from stacklib import layout, mysql, process, redis, servers
from stacklib.server import is_listening

ROW = """INSERT INTO orders (order_id, partner_code, partner_order_id, amount, currency, payment_type,
    status, version, created_at, updated_at) VALUES ({}, 'p', 'r{}', 5, 'EUR', 'pay_with_bank',
    'pending', 1, '2026-01-02 03:04:05.000006', '2026-01-02 03:04:05.000006')"""
TABLE = """CREATE TABLE demo.orders (slot_group int, minute int, order_id bigint, status text,
    created_at timestamp, PRIMARY KEY ((slot_group, minute), order_id))"""
KEYSPACE = """CREATE KEYSPACE demo
    WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}"""
EVERY = [server.name for server in servers.SERVERS]


def pids():
    return {name: stack.pid(name) for name in EVERY}


# --- What is written for others ---


def test_every_server_answers():
    lines = stack.tool("status").splitlines()
    assert len(lines) == len(EVERY) and all(" answers," in line for line in lines), lines


def test_the_environment_names_every_server():
    done = subprocess.run(
        ["bash", "-c", '. "$0" && printf "%s|" "$MYSQL_SHARDS" "$MYSQL_USER" "$REDIS_NODES" '
         '"$KAFKA_BROKERS" "$CASSANDRA_HOSTS"', layout.ENV],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    fields = done.stdout.split("|")
    counts = [len(re.findall(r"127\.0\.0\.1:\d+\b", field)) for field in fields]
    assert counts == [2, 0, 6, 1, 1, 0] and fields[1] == "orderd", fields
    for field in fields[:1] + fields[2:5]:
        for address in field.split():
            assert is_listening(address), address


def test_the_files_with_the_password_are_private():
    assert len(stack.env("MYSQL_PASSWORD")) >= 16
    for path in (layout.ENV, layout.ORDERD_CONF):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    assert stack.env("MYSQL_PASSWORD") in layout.ORDERD_CONF.read_text()


def test_a_pid_file_names_the_process_of_each_server():
    for name in EVERY:
        number = int((layout.PID / name).read_text())
        command = open(f"/proc/{number}/cmdline").read()
        assert str(layout.CONF / name) in command, (name, command)


def test_nothing_listens_beyond_this_machine():
    wanted = {layout.port(name) for name in layout.PORTS}
    for table, local in (("/proc/net/tcp", "0100007F"), ("/proc/net/tcp6", None)):
        for line in open(table).read().splitlines()[1:]:
            words = line.split()
            address, _, number = words[1].rpartition(":")
            if words[3] == "0A" and int(number, 16) in wanted:
                is_loopback = address == local or address.endswith("0100007F")
                assert is_loopback, f"port {int(number, 16)} listens on {address}"


def test_the_configuration_of_orderd_names_every_server():
    text = layout.ORDERD_CONF.read_text()
    for name in ("MYSQL_SHARDS", "REDIS_NODES", "KAFKA_BROKERS", "CASSANDRA_HOSTS"):
        servers_of_kind = stack.env(name).replace(" ", ",")
        assert f"= {servers_of_kind}\n" in text, name


# --- MariaDB ---


def test_mariadb_has_the_settings_that_the_service_asks_for():
    expected = {
        "binlog_format": "ROW",
        "binlog_row_image": "FULL",
        "binlog_row_metadata": "FULL",
        "sync_binlog": 1,
        "innodb_flush_log_at_trx_commit": 1,
        "gtid_strict_mode": 1,
        "log_bin": 1,
    }
    names = ", ".join(f"@@{name}" for name in expected)
    domains = set()
    for shard in range(stack.SHARDS):
        with stack.mariadb(shard) as connection:
            assert "10.11" in connection.server_version, connection.server_version
            (row,) = connection.query(f"SELECT {names}")
            assert dict(zip(expected, row)) == expected, row
            domains |= set(connection.query("SELECT @@gtid_domain_id, @@server_id"))
    assert len(domains) == stack.SHARDS and all(len(set(one)) == 1 for one in domains), domains


def test_orderctl_sets_up_the_stack_by_its_configuration_and_a_second_time_changes_nothing():
    stack.apply_schema()
    wanted = {"orders", "order_refs", "nodes", "positions", "settings"}
    for shard in range(stack.SHARDS):
        with stack.mariadb(shard) as connection:
            tables = {row[0] for row in connection.query("SHOW TABLES")}
            assert tables >= wanted, tables
    before = stack.rows("SELECT * FROM settings")
    stack.apply_schema()
    assert before and stack.rows("SELECT * FROM settings") == before
    for shard in range(stack.SHARDS):
        stack.fresh_mariadb(shard)


def test_orders_of_both_shards_are_read_by_their_ids():
    stack.load_schema()
    ids = [(slot << 17) + 1 for slot in (2, 3)]
    assert [stack.shard_of(one) for one in ids] == [0, 1]
    for shard, order_id in enumerate(ids):
        with stack.mariadb(shard) as connection:
            connection.query(ROW.format(order_id, order_id))
    assert stack.order_row(ids[1])["order_id"] == ids[1] and stack.order_row(5 << 17) is None
    assert sorted(stack.rows("SELECT order_id FROM orders")) == [(one,) for one in ids]
    for shard in range(stack.SHARDS):
        stack.fresh_mariadb(shard)


def test_mariadb_takes_the_schema_and_logs_rows_under_the_domain_of_the_shard():
    stack.load_schema()
    for shard in range(stack.SHARDS):
        with stack.mariadb(shard) as connection:
            connection.query(ROW.format(shard + 1, 1))
            assert connection.affected == 1
            (row,) = connection.query("SELECT order_id, amount, status, bank_code FROM orders")
            assert row == (shard + 1, 5, "pending", None), row
            (domain,) = connection.query("SELECT @@gtid_domain_id")[0]
            ((position,),) = connection.query("SELECT @@gtid_binlog_pos")
            assert re.fullmatch(rf"{domain}-{domain}-\d+", position), position
            events = {event[2] for event in connection.query("SHOW BINLOG EVENTS")}
            assert any("Write_rows" in kind for kind in events), events


def test_the_user_may_do_its_work_and_nothing_else():
    with stack.mariadb() as connection:
        connection.query("SHOW MASTER STATUS")
        connection.query("SHOW BINARY LOGS")
        grants = " ".join(row[0] for row in connection.query("SHOW GRANTS"))
        assert "REPLICATION SLAVE" in grants and "ALL PRIVILEGES ON `orders`" in grants, grants
        for refused in ("CREATE DATABASE other", "SELECT * FROM mysql.user", "RESET MASTER"):
            try:
                connection.query(refused)
            except stack.MysqlError as error:
                assert error.code in (1044, 1142, 1227), error
            else:
                raise AssertionError(f"it may {refused}")


def test_mariadb_lets_nobody_in_without_a_password():
    for user in ("root", "orderd", "mysql", ""):
        try:
            mysql.Connection(layout.address("mariadb-0"), user)
        except stack.MysqlError as error:
            assert error.code in servers.ACCESS_DENIED + (1698,), error
        else:
            raise AssertionError(f"user {user!r} is let in")


def test_a_lock_is_seen_by_another_connection():
    stack.fresh_mariadb(0)
    with stack.mariadb() as one, stack.mariadb() as other:
        one.query("CREATE TABLE t (a INT PRIMARY KEY); INSERT INTO t VALUES (1)")
        one.query("BEGIN; SELECT * FROM t WHERE a = 1 FOR UPDATE")
        other.query("SET SESSION innodb_lock_wait_timeout = 1")
        try:
            other.query("SELECT * FROM t WHERE a = 1 FOR UPDATE")
        except stack.MysqlError as error:
            assert error.code == 1205, error
        else:
            raise AssertionError("no lock")
        one.drop()  # the client dies: its transaction ends
        other.query("SELECT * FROM t WHERE a = 1 FOR UPDATE")


def test_a_committed_row_survives_a_crash_of_mariadb():
    stack.fresh_mariadb(1)
    with stack.mariadb(1) as connection:
        connection.query("CREATE TABLE t (a INT PRIMARY KEY); INSERT INTO t VALUES (7)")
        connection.query("BEGIN; INSERT INTO t VALUES (8)")
        stack.kill("mariadb-1")
        try:
            connection.query("SELECT 1")
            raise AssertionError("it answers after its death")
        except OSError:
            pass
    stack.start("mariadb-1")
    with stack.mariadb(1) as connection:
        assert connection.query("SELECT a FROM t") == [(7,)]


def test_a_lost_environment_is_made_again_with_a_new_password():
    before, running = stack.env("MYSQL_PASSWORD"), pids()
    layout.ENV.unlink()
    stack.start()
    assert stack.env("MYSQL_PASSWORD") != before and pids() == running
    with stack.mariadb() as connection:
        assert connection.query("SELECT 1") == [(1,)]


# --- Redis ---


def test_redis_is_a_cluster_of_three_masters_with_a_replica_each():
    cluster = stack.redis_cluster()
    nodes = cluster.nodes()
    masters = {node.id: node for node in nodes if node.is_master}
    replicas = [node.master_id for node in nodes if not node.is_master]
    assert len(masters) == 3 and sorted(replicas) == sorted(masters), nodes
    slots = [slot for node in nodes for slot in node.slot_ranges()]
    assert sum(last - first + 1 for first, last in slots) == redis.SLOTS, slots
    cluster.close()


def test_redis_finds_the_master_of_a_key_and_tells_of_expired_ones():
    cluster = stack.redis_cluster()
    key, value = "o:{123}", bytes(range(128))
    cluster.call("SET", key, value)
    assert cluster.call("GET", key) == value
    assert stack.cached(123) == value and stack.cached(124) is None
    assert cluster.master_of(key) == cluster.master_of("lk:{123}")
    with redis.Redis(cluster.master_of(key), timeout=20) as listener:
        listener.call("SUBSCRIBE", "__keyevent@0__:expired")
        cluster.call("PEXPIRE", key, 10)
        assert listener.receive() == [b"message", b"__keyevent@0__:expired", key.encode()]
    cluster.close()


def test_every_redis_node_tells_of_events_and_bounds_its_memory():
    for one in servers.REDIS_NODES:
        with redis.Redis(one.address) as node:
            told = node.call("CONFIG", "GET", "notify-keyspace-events")[1].decode()
            assert {*"Exeg"} <= {*told}, (one.name, told)
            assert int(node.call("CONFIG", "GET", "maxmemory")[1]) > 0, one.name
            assert node.info("INFO", "persistence")["aof_enabled"] == "0", one.name
            assert node.call("CONFIG", "GET", "save")[1] == b"", one.name


def test_redis_tells_of_evicted_keys():
    cluster = stack.redis_cluster()
    key = "{same}"
    with redis.Redis(cluster.master_of(key)) as master, redis.Redis(master.address) as listener:
        listener.call("SUBSCRIBE", "__keyevent@0__:evicted")
        used = int(master.info("INFO", "memory")["used_memory"])
        master.call("CONFIG", "SET", "maxmemory", used + (4 << 20))  # with the replica's backlog
        for number in range(600):
            master.call("SET", f"{key}{number}", bytes(16384))
        assert listener.receive()[:2] == [b"message", b"__keyevent@0__:evicted"]
    stack.fresh_redis()
    cluster.close()


def test_redis_fails_over_and_heals():
    cluster = stack.redis_cluster()
    key = "o:{77}"
    cluster.call("SET", key, "kept")
    old = cluster.master_of(key)
    with redis.Redis(old) as master:
        assert master.call("WAIT", 1, 5000) == 1, "no replica has it"
    stack.kill(stack.redis_name(old))
    begin = time.monotonic()

    def taken_over():
        try:
            return cluster.call("GET", key) == b"kept"
        except (OSError, stack.RedisError):
            return False

    stack.wait_for(taken_over, 30, "the failover")
    print(f"# the failover took {time.monotonic() - begin:.1f} s")
    new = cluster.master_of(key)
    assert new != old
    stack.start(stack.redis_name(old))
    with redis.Redis(old) as returned:
        assert returned.info("INFO", "replication")["role"] == "slave"
    assert cluster.master_of(key) == new
    cluster.close()


def test_a_redis_master_that_is_back_before_the_failover_is_empty():
    cluster = stack.redis_cluster()
    key = "o:{78}"
    cluster.call("SET", key, "lost")
    address = cluster.master_of(key)
    stack.tool("restart", stack.redis_name(address))
    if cluster.master_of(key) == address:  # the busy machine may have made it slower than that
        assert cluster.call("GET", key) is None
    cluster.close()


def test_all_of_redis_comes_back_from_a_crash():
    stack.kill("redis")
    stack.start("redis")
    cluster = stack.redis_cluster()
    cluster.call("SET", "a", "1")
    assert cluster.call("GET", "a") == b"1"
    cluster.close()


# --- Kafka ---


def test_kafka_makes_topics_only_when_told_to():
    with stack.kafka() as client:
        client.create_topics({"demo.twelve": 12}, {"retention.ms": 3600000})
        assert client.topics()["demo.twelve"] == 12
        try:
            stack.publish("demo.nowhere", [("a", "b")])
        except AssertionError as error:
            assert "nknown" in str(error), error
        assert "demo.nowhere" not in client.topics()


def test_kafka_gives_back_what_was_published_also_after_a_crash():
    with stack.kafka() as client:
        client.create_topics({"demo.messages": 3})
    sent = [("1", bytes(range(256))), ("2", b""), ("3", "text\nof two lines")]
    stack.publish("demo.messages", sent, headers={"event": "created"}, partition=2)
    stack.kill("kafka")
    stack.start("kafka")
    got = stack.wait_for_messages("demo.messages", 3)
    expected = [(key.encode(), stack.as_bytes(value)) for key, value in sent]
    assert [(one.key, one.value or b"") for one in got] == expected, got
    assert [one.offset for one in got] == [0, 1, 2] and {one.partition for one in got} == {2}
    assert all(one.headers == {"event": "created"} for one in got), got


def test_messages_of_a_topic_that_is_made_later_are_waited_for():
    def publish():
        with stack.kafka() as client:
            client.create_topics({"demo.later": 12})
        stack.publish("demo.later", [("k", "v")])

    later = threading.Timer(0.5, publish)
    later.start()
    assert [one.value for one in stack.wait_for_messages("demo.later", 1)] == [b"v"]
    later.join()


def test_a_group_keeps_its_offset_and_can_be_removed():
    with stack.kafka() as client:
        client.create_topics({"demo.group": 1})
        stack.publish("demo.group", [("k", str(number)) for number in range(5)])
        stack.kcat("-G", "demo.readers", "-c", "3", "-o", "beginning", "demo.group",
                   "-X", "auto.offset.reset=earliest")  # fmt: skip
        assert client.committed("demo.readers") == {("demo.group", 0): 3}
        stack.fresh_kafka()
        assert client.topics() == {} and client.groups() == []


# --- Cassandra ---


def test_cassandra_keeps_rows_also_after_a_crash():
    # By default it answers up to a second before a write is in its log for good.
    stack.stop("cassandra")
    stack.start("cassandra", STACK_CASSANDRA_SYNC="batch")
    with stack.cassandra() as connection:
        connection.query(KEYSPACE)
        connection.query(TABLE)
        rows = "".join(
            f"INSERT INTO demo.orders (slot_group, minute, order_id, status, created_at) "
            f"VALUES (1, 2, {number}, 'success', 1767323045000); "
            for number in range(3)
        )
        connection.query(f"BEGIN UNLOGGED BATCH USING TIMESTAMP 5 {rows} APPLY BATCH")
        older = "INSERT INTO demo.orders (slot_group, minute, order_id, status) VALUES (1, 2, 0, 'x')"
        connection.query(older + " USING TIMESTAMP 4")
    stack.kill("cassandra")
    stack.start("cassandra")
    with stack.cassandra() as connection:
        found = connection.query(
            "SELECT order_id, status, created_at, WRITETIME(status) FROM demo.orders "
            "WHERE slot_group = 1 AND minute = 2"
        )
        assert [row[:2] for row in found] == [(number, "success") for number in range(3)], found
        assert found[0][2].isoformat() == "2026-01-02T03:04:05+00:00" and found[0][3] == 5, found
        connection.query("DROP KEYSPACE demo")


# --- Starting and stopping ---


def test_a_second_start_leaves_alone_what_runs():
    before = pids()
    begin = time.monotonic()
    stack.start()
    assert pids() == before and time.monotonic() - begin < 10


def test_a_start_brings_back_only_what_is_down():
    before = pids()
    stack.kill("mariadb-0", "redis-4")
    stack.start()
    after = pids()
    changed = {name for name in EVERY if before[name] != after[name]}
    assert changed == {"mariadb-0", "redis-4"} and all(after.values()), (before, after)


def test_a_stale_pid_file_does_no_harm():
    before = pids()
    bystander = subprocess.Popen(["sleep", "600"])
    (layout.PID / "redis-2").write_text(f"{bystander.pid}\n")  # as after a wrap-around
    (layout.PID / "redis-3").unlink()
    (layout.PID / "kafka").write_text("nonsense")
    stack.start()
    assert pids() == before and int((layout.PID / "redis-2").read_text()) == before["redis-2"]
    (layout.PID / "redis-2").write_text(f"{bystander.pid}\n")
    stack.kill("redis-2")
    assert bystander.poll() is None
    bystander.kill()
    bystander.wait()
    stack.start("redis-2")


def test_a_paused_server_answers_nothing_until_it_goes_on():
    stack.pause("redis-6")
    with redis.Redis(layout.address("redis-6"), timeout=0.5) as node:
        try:
            node.call("PING")
            raise AssertionError("it answers")
        except TimeoutError:
            pass
    assert "redis-6    127.0.0.1" in stack.tool("status", status=3)
    stack.resume("redis-6")
    with redis.Redis(layout.address("redis-6")) as node:
        assert node.call("PING") == b"PONG"
    stack.wait_for_redis()


def test_a_second_stack_runs_beside_the_first():
    before = pids()
    with tempfile.TemporaryDirectory() as directory:
        other = {"STACK_DIR": directory, "STACK_PORT_OFFSET": "900"}
        try:
            said = stack.tool("up", "mysql-0", "redis-3", **other)
            assert "127.0.0.1:24206" in said and "127.0.0.1:27903" in said, said
            assert "mariadb-1  is down" in stack.tool("status", status=3, **other)
        finally:
            assert stack.tool("down", **other).count(" stopped") == 2
    assert pids() == before


def test_a_port_that_another_program_has_is_said():
    stack.stop("mariadb-1")
    with socket.create_server(("127.0.0.1", layout.port("mariadb-1"))):
        said = stack.tool("start", "mariadb-1", status=1)
    assert "another program has 127.0.0.1:" in said and stack.pid("mariadb-1") is None, said
    stack.start("mariadb-1")


def test_a_server_that_cannot_start_shows_its_log():
    stack.stop("redis-5")
    state = layout.DATA / "redis-5" / "nodes.conf"
    kept = state.read_text()
    state.write_text(kept + "nonsense\n")
    said = stack.tool("start", "redis-5", status=1)
    assert "redis-5 ended at its start" in said and "log/redis-5.log" in said, said
    state.write_text(kept)
    stack.start("redis-5")


def test_a_wrong_call_is_refused():
    assert "stack start" in stack.tool("begin", status=2)
    stack.tool("kill", status=2)
    assert "there are: mariadb-0" in stack.tool("stop", "mariadb-9", status=1)


def test_stack_down_ends_everything_and_keeps_the_data():
    with stack.mariadb() as connection:
        connection.query("CREATE TABLE kept (a INT)")
    running = pids()
    stack.tool("stop")
    assert not any(process.is_alive(number) for number in running.values())
    assert list(layout.PID.iterdir()) == []
    for name in EVERY:
        assert not is_listening(layout.address(name)), name
    stack.tool("stop")
    begin = time.monotonic()
    stack.start()
    print(f"# the start took {time.monotonic() - begin:.1f} s")
    with stack.mariadb() as connection:
        assert connection.query("SHOW TABLES LIKE 'kept'") == [("kept",)]


def test_a_file_that_needs_two_kinds_leaves_the_others_alone():
    assert stack.named("mariadb", "kafka") == ["mariadb-0", "mariadb-1", "kafka"]
    cluster = stack.redis_cluster()
    cluster.call("SET", "kept", "1")
    stack.stop("cassandra")
    stack.fresh("mariadb", "kafka")
    stack.kill("mariadb-1")
    stack.heal("mariadb", "kafka")
    assert stack.pid("mariadb-1") and stack.pid("cassandra") is None
    assert cluster.call("GET", "kept") == b"1"
    cluster.close()


def test_fresh_leaves_nothing():
    stack.load_schema()
    with stack.redis_node("redis-1") as node:
        node.call("CONFIG", "SET", "maxmemory", "1mb")
    with stack.kafka() as client:
        client.create_topics({"demo.left": 1})
    with stack.cassandra() as connection:
        connection.query(KEYSPACE)
    begin = time.monotonic()
    stack.fresh()
    print(f"# it took {time.monotonic() - begin:.1f} s")
    with stack.mariadb() as connection:
        assert connection.query("SHOW TABLES") == []
        assert connection.query("SELECT @@gtid_binlog_pos") == [("",)]
    with stack.kafka() as client:
        assert client.topics() == {}
    with stack.cassandra() as connection:
        names = connection.query("SELECT keyspace_name FROM system_schema.keyspaces")
        assert ("demo",) not in names
    with stack.redis_node("redis-1") as node:
        assert node.call("DBSIZE") == 0
        assert node.call("CONFIG", "GET", "maxmemory")[1] == str(256 << 20).encode()


if __name__ == "__main__":
    stack.run(globals())
