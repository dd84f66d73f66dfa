# run-tests: timeout=900
"""A cluster under load while its servers and processes are killed, one after the other. After each,
everything that was acknowledged is there, once, and the tiers agree (load.py)."""

import contextlib

import cluster
import load
import stack_harness as stack
import orders  # found by stack_harness

SOME = 150  # acknowledged requests: a load that goes on
SETTINGS = ("mysql.deadline_ms=4000", "mysql.read_timeout_ms=2000")


class Cluster:
    """Two command instances, a relay and a cache process, each of its own."""

    def __init__(self, started):
        *self.commands, self.relay, self.cache = started


def under_load(fault):
    """Runs `fault(cluster, running)` in the middle of a load, and checks everything after it."""
    with cluster.instances("command", "command", "relay", "cache,refresh", settings=SETTINGS) as started:
        parts = Cluster(started)
        with load.Load(parts.commands) as running:
            running.wait_for_more(SOME)
            parts.relay.wait_for_metric("relay_published_total", 1)
            fault(parts, running)
            running.wait_for_more(SOME)
        load.check(running)


def test_mariadb_is_killed_and_restarts():
    def fault(parts, running):
        stack.kill("mariadb-0")
        stack.wait_for(lambda: running.refused + running.in_doubt > 0, cluster.WITHIN_SECONDS, "doubt")
        stack.start("mariadb-0")
        stack.kill("mariadb-1")
        stack.start("mariadb-1")
        for one in (*parts.commands, parts.relay):
            one.wait_until_ready(cluster.WITHIN_SECONDS)

    under_load(fault)


def test_mariadb_hangs_and_what_was_in_doubt_is_found_out():
    def fault(parts, running):
        before = running.in_doubt
        for shard in ("mariadb-1", "mariadb-0"):
            stack.pause(shard)
            seen = running.in_doubt + running.refused
            stack.wait_for(lambda: running.in_doubt + running.refused > seen, 60, "doubt")
            stack.resume(shard)
            running.wait_for_more(SOME)
        print(f"# {running.in_doubt - before} outcomes were not known at first")

    under_load(fault)


def test_an_outcome_in_doubt_is_answered_504_and_the_same_request_tells_it():
    with cluster.instances("command,relay,cache", settings=SETTINGS) as orderd:
        changed, draft = orders.create(orderd), orders.draft()
        change = {"status": "processing"}
        with commits_held():
            answer = orderd.post("/v1/orders", draft)
            orders.check_problem(answer, 504)
            orders.check_problem(orderd.patch(orders.path_of(changed), change), 504)

        def told(ask):
            answer = ask()
            assert answer.status in (200, 201, 503, 504), answer
            return answer.json if answer.status < 300 else None

        def same_create():
            return told(lambda: orderd.post("/v1/orders", draft))

        def same_change():
            return told(lambda: orderd.patch(orders.path_of(changed), change))

        created = stack.wait_for(same_create, cluster.WITHIN_SECONDS, "the create's outcome")
        assert created["partner_order_id"] == draft["partner_order_id"], created
        assert stack.wait_for(same_change, cluster.WITHIN_SECONDS, "the change's")["version"] == 2
        assert same_create()["order_id"] == created["order_id"]
        cluster.wait_for_versions([(created, 1), (changed, 2)])
        found = cluster.versions_in_log([created, changed])
        assert found == {created["order_id"]: [1], changed["order_id"]: [1, 2]}, found
        sql = f"SELECT order_id FROM orders WHERE partner_order_id = '{draft['partner_order_id']}'"
        assert [str(row[0]) for row in stack.rows(sql)] == [created["order_id"]]


@contextlib.contextmanager
def commits_held():
    """Lets no COMMIT on any shard be answered: whatever is sent then is in doubt."""
    with contextlib.ExitStack() as held:
        for shard in range(stack.SHARDS):
            root = held.enter_context(stack.mariadb_root(shard))
            for stage in ("START", "FLUSH", "BLOCK_DDL", "BLOCK_COMMIT"):
                root.query(f"BACKUP STAGE {stage}")
            held.callback(root.query, "BACKUP STAGE END")
        yield


def test_a_redis_master_is_killed_and_fails_over():
    def fault(parts, running):
        name = next(one for one in stack.named("redis") if role(one) == "master")
        stack.kill(name)
        running.wait_for_more(SOME)  # orders do not wait for it

        def is_replaced():
            return sum(role(one) == "master" for one in stack.named("redis") if one != name) == 3

        stack.wait_for(is_replaced, cluster.WITHIN_SECONDS, "a failover")
        stack.start(name)
        stack.wait_for_redis(cluster.WITHIN_SECONDS)
        parts.cache.wait_until_ready(cluster.WITHIN_SECONDS)

    under_load(fault)


def role(name):
    with stack.redis_node(name) as node:
        return node.info("INFO", "replication")["role"]


def test_kafka_is_killed_and_restarts():
    def fault(parts, running):
        stack.kill("kafka")
        running.wait_for_more(SOME)
        stack.start("kafka")
        seen = parts.relay.metric("relay_published_total")
        parts.relay.wait_for_metric("relay_published_total", seen + SOME)
        stored = parts.cache.metric("cache_stored_total")
        parts.cache.wait_for_metric("cache_stored_total", stored + SOME)

    under_load(fault)


def test_the_relay_process_is_killed_and_restarts():
    def fault(parts, running):
        parts.relay.kill()
        running.wait_for_more(SOME)
        parts.relay.start()
        parts.relay.wait_for_metric("relay_published_total", SOME)

    under_load(fault)


def test_the_cache_process_is_killed_and_restarts():
    def fault(parts, running):
        parts.cache.kill()
        running.wait_for_more(SOME)
        parts.cache.start()
        parts.cache.wait_for_metric("cache_stored_total", SOME)

    under_load(fault)


def test_a_command_instance_is_killed_and_restarts():
    def fault(parts, running):
        for one in parts.commands:
            one.kill()
            running.wait_for_more(SOME)
            one.start()

    under_load(fault)


if __name__ == "__main__":
    stack.run(globals())
