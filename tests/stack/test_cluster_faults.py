# run-tests: timeout=900
"""A cluster under load while its servers and processes are killed, one after the other. After each,
everything that was acknowledged is there, once, and the tiers agree (load.py)."""

import cluster
import load
import stack_harness as stack

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
