# run-tests: timeout=600
"""The relay as a process of a cluster: stand-bys, logs that are turned over and purged, what it
leaves alone while nothing happens; and a cluster whose Redis is away."""

import json
import subprocess

import cluster
import stack_harness as stack
import harness  # found by stack_harness
import orders
from stacklib import layout

WITHIN_SECONDS = cluster.WITHIN_SECONDS


def test_a_second_relay_waits_and_takes_over_when_the_first_is_killed():
    with cluster.instances("command", "relay") as (command, first):
        leads(first, stack.SHARDS)
        standby = cluster.Instance("relay")
        made = [(orders.create(command), 1) for _ in range(20)]
        wait_for_log(made)
        assert standby.metric("relay_leads") == 0 and standby.metric("relay_published_total") == 0
        first.kill()
        made += [(orders.create(command), 1) for _ in range(20)]
        leads(standby, stack.SHARDS)
        wait_for_log(made)
        assert standby.metric("relay_snapshots_total") == 0
        # One that ends in order gives the lease back: nobody waits for its end.
        first.start()
        leads(first, 0)
        cluster.end(standby)
        leads(first, stack.SHARDS)
        made += [(orders.create(command), 1) for _ in range(20)]
        wait_for_log(made)


def leads(orderd, count):
    stack.wait_for(lambda: orderd.metric("relay_leads") == count, WITHIN_SECONDS, f"{count} leases")


def wait_for_log(wanted):
    """Waits until the log has a version of each order: pairs of both. None is there without the ones
    before it."""

    def logged():
        found = cluster.versions_in_log([order for order, _ in wanted])
        return found if all(v in found[order["order_id"]] for order, v in wanted) else None

    return stack.wait_for(logged, WITHIN_SECONDS, "all versions in the log")


def test_a_log_that_is_turned_over_is_followed():
    with cluster.instances("command", "relay") as (command, relay):
        made = []
        for _ in range(5):
            made += [orders.create(command) for _ in range(10)]
            flush_logs()
            made += [orders.create(command) for _ in range(10)]
            for order in made[-20:]:
                orders.change(command, order, "processing")
        found = wait_for_log([(order, 2) for order in made])
        assert all(versions == [1, 2] for versions in found.values()), found
        assert relay.metric("relay_snapshots_total") == relay.metric("relay_halted") == 0


def flush_logs():
    for shard in range(stack.SHARDS):
        with stack.mariadb_root(shard) as root:
            root.query("FLUSH BINARY LOGS")


def purge_logs(shard):
    """Removes every log but one that is empty. One that a relay has just let go of stays a moment."""
    with stack.mariadb_root(shard) as root:
        root.query("FLUSH BINARY LOGS")
        newest = root.query("SHOW BINARY LOGS")[-1][0]

        def is_alone():
            root.query(f"PURGE BINARY LOGS TO '{newest}'")
            return len(root.query("SHOW BINARY LOGS")) == 1

        stack.wait_for(is_alone, WITHIN_SECONDS, "the end of the old logs")


def test_a_purged_log_halts_the_relay_loudly_until_a_resnapshot_is_asked_for():
    with cluster.instances("command", "cache") as (command, cache):
        with cluster.instances("relay"):
            made = [orders.create(command) for _ in range(30)]
            wait_for_log([(order, 1) for order in made])
        # Nobody relays what comes now, and the logs of one shard go.
        for order in made[::2]:
            orders.change(command, order, "processing")
        for order in made[::4]:
            orders.change(command, order, "success")
        made += [orders.create(command) for _ in range(30)]
        purged = 1
        purge_logs(purged)
        relay = cluster.Instance("relay", wait=False)
        halted = f'orderd_relay_halted{{shard="{purged}"}}'
        stack.wait_for(lambda: metric_of(relay, halted) == 1, WITHIN_SECONDS, "a halt")

        def says_why():  # readiness names the first tier that is missing; others answer soon
            answer = relay.get("/readyz")
            return answer.status == 503 and "re-snapshot" in answer.json["detail"]

        stack.wait_for(says_why, WITHIN_SECONDS, "the halt in /readyz")
        relay.wait_for_log(" error relay", f"shard {purged}", "halted", "orderctl relay resnapshot")
        # The other shard's goes on.
        theirs = [order for order in made if stack.shard_of(order["order_id"]) != purged]
        wait_for_log([(order, cluster.in_store(order)["version"]) for order in theirs])
        ours = [order for order in made if order not in theirs]
        behind = [order for order in ours if cluster.in_store(order)["version"] > 1]
        before = cluster.versions_in_log(ours)
        assert behind and all(before[order["order_id"]] == [1] for order in behind), before
        assert metric_of(relay, halted) == 1

        said = resnapshot("--shard", purged, "--json")
        assert json.loads(said) == {"shard": purged, "forgotten": True}, said
        relay.wait_until_ready(WITHIN_SECONDS)
        cluster.wait_for_versions([(order, cluster.in_store(order)["version"]) for order in made])
        one = orders.create(command)
        wait_for_log([(one, 1)])

        # Asked of a relay that runs, of every shard: all that is hot comes again.
        count = len(stack.messages(cluster.CHANGES))
        assert resnapshot().count("begins with a snapshot") == stack.SHARDS
        relay.wait_for_metric("relay_snapshots_total", 1 + stack.SHARDS)
        enough = count + len(stack.rows("SELECT 1 FROM orders"))
        stack.wait_for_messages(cluster.CHANGES, enough, WITHIN_SECONDS)
        cluster.end(relay)


def metric_of(orderd, name):
    """A sample of one shard; None while the process does not answer yet."""
    try:
        return orderd.metrics().get(name)
    except OSError:
        return None


def resnapshot(*arguments):
    command = [harness.program("orderctl"), "relay", "resnapshot", "--config", layout.ORDERD_CONF]
    done = subprocess.run(
        [*map(str, command), *map(str, arguments)],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done
    return done.stdout


def test_a_relay_without_work_writes_nothing_but_its_lease():
    with cluster.instances("command", "relay") as (command, relay):
        wait_for_log([(orders.create(command), 1) for _ in range(20)])
        cluster.end(command)  # and with it the lease of its node number
        stack.wait_for(is_stored, WITHIN_SECONDS, "the position of all that is in the log")
        before = what_is_written(relay)
        for _ in range(3):
            lease = lease_until()
            stack.wait_for(lambda: lease_until() > lease, WITHIN_SECONDS, "a renewal")
        assert what_is_written(relay) == before


def gtid(shard):
    with stack.mariadb_root(shard) as root:
        return root.query("SELECT @@gtid_binlog_pos")[0][0]


def is_stored():
    """True where nothing has come to the log of shard 1, which holds no lease, since its position."""
    sql = "SELECT position FROM positions WHERE name = 'relay/1'"
    found = stack.rows(sql)
    return found and found[0][0].startswith(gtid(1))


def lease_until():
    return min(row[0] for row in stack.rows("SELECT lease_until FROM positions WHERE name LIKE 'relay/%'"))


def what_is_written(relay):
    positions = "SELECT name, position, updated_at FROM positions WHERE name LIKE 'relay/%'"
    return {
        "gtid": gtid(1),
        "positions": sorted(stack.rows(positions)),
        "stored": relay.metric("relay_positions_total"),
        "messages": len(stack.messages(cluster.CHANGES)),
    }


def test_without_redis_orders_are_taken_and_read_and_redis_is_repaired_when_it_is_back():
    stack.kill("redis")
    command = cluster.Instance("command")  # which needs no Redis
    others = [cluster.Instance(roles, wait=False) for roles in ("relay,cache,refresh", "query")]
    made = [orders.create(command) for _ in range(40)]
    wanted = [(order, 1) for order in made[20:]]
    for order in made[:20]:
        orders.change(command, order, "processing")
        wanted.append((order, 2))
    wait_for_log(wanted)
    stack.wait_for(lambda: answers(others[1]), WITHIN_SECONDS, "the query instance")
    for order, version in wanted:
        found = stack.wait_for(lambda: order_of(others[1], order), WITHIN_SECONDS, "an answer")
        assert found["version"] == version, found
    answer = others[1].get("/readyz")
    assert answer.status == 503 and "redis" in answer.json["detail"], answer
    cluster.end(command)  # it has nothing to do with what comes
    stack.start("redis")
    for one in others:
        one.wait_until_ready(WITHIN_SECONDS)
    cluster.wait_for_versions(wanted)

    # All masters go at once and come back empty: what was there is written again.
    stack.kill("redis")
    stack.start("redis")
    cluster.wait_for_versions(wanted)
    cluster.end(*others)


def answers(orderd):
    try:
        return orderd.get("/healthz").status == 200
    except OSError:
        return False


def order_of(orderd, order):
    """The order as a query instance answers it; None where it does not know now (202, 503)."""
    answer = orderd.get(orders.path_of(order))
    assert answer.status in (200, 202, 503), answer
    return answer.json if answer.status == 200 else None


if __name__ == "__main__":
    stack.run(globals())
