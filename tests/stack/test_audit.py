# run-tests: timeout=600
"""The checker on real servers: what is wrong in Redis, Cassandra or MariaDB is found, counted and
repaired within a minute, and changes are everywhere within seconds."""

import atexit
import json
import shutil
import struct
import subprocess
import time

import stack_harness as stack
from stack_harness import orders

SETTINGS = (
    "resp.listen=", "memory.budget_mb=64", "server.threads=1", "audit.grace_ms=2000",
    "archive.settle_seconds=2", "audit.per_second=5000", "audit.samples_per_second=10000",
)  # fmt: skip
WITHIN_SECONDS = 60

shared = {}


def orderd():
    """An instance with every role, the same for all tests."""
    if "orderd" not in shared:
        stack.apply_schema()
        instance = stack.Orderd("all", *SETTINGS)
        stack.Orderd.started.remove(instance)  # it outlives the test
        atexit.register(end, instance)
        shared["orderd"] = instance
    return shared["orderd"]


def end(instance):
    fault = instance.close()
    shutil.rmtree(instance.home, ignore_errors=True)
    if fault:
        print(f"# {fault}", flush=True)


def counted(metric, kind):
    name = f'orderd_audit_{metric}_total{{kind="{kind}"}}'
    return orderd().metrics()[name]


def wait_until_repaired(kind, before):
    """Waits until one more of a kind is repaired; it was found, too."""
    stack.wait_for(
        lambda: counted("repaired", kind) == before + 1, WITHIN_SECONDS, f"a repair of {kind}"
    )
    assert counted("disagreements", kind) >= before + 1


def put(order_id, value):
    with stack.redis_cluster() as cluster:
        cluster.call("SET", f"o:{{{order_id}}}", value)


def wait_for_entry(order_id, value, what):
    stack.wait_for(lambda: stack.cached(order_id) == value, WITHIN_SECONDS, what)


def in_cache(order):
    """The entry of an order once it has this version."""
    def has_it():
        entry = stack.cached(order["order_id"])
        return entry is not None and struct.unpack_from("<I", entry, 16)[0] == order["version"]

    stack.wait_for(has_it, 30, "the order in Redis")
    stack.wait_for(lambda: has_followed(order), 30, "the cache pipeline")
    return stack.cached(order["order_id"])


def has_followed(order):
    """True where Redis was given all of orders.changes, this version too: nothing that a test does
    to it is undone by a change that comes late."""
    told = stack.messages("orders.changes")
    key, version = order["order_id"].encode(), order["version"]
    return (
        any(one.key == key and struct.unpack_from("<I", one.value, 16)[0] == version for one in told)
        and orderd().metrics()["orderd_cache_stored_total"] >= len(told)
    )  # fmt: skip


def sealed(record):
    return record[:124] + struct.pack("<I", orders.crc32c(record[:124]))


def row_where(order_id):
    """The condition that names an order's row in Cassandra."""
    slot, minute = int(order_id) >> 17 & 1023, (int(order_id) >> 27) // 6000
    return f"slot_group = {slot // 64} AND minute = {minute} AND order_id = {order_id}"


def row(order_id):
    with stack.cassandra() as connection:
        found = connection.query(
            f"SELECT version, status FROM orders.orders_by_slot WHERE {row_where(order_id)}")
    return found[0] if found else None


def archived_order():
    """An order that has left MariaDB for Cassandra."""
    order = orders.change(orderd(), orders.create(orderd()), "success")
    in_cache(order)
    order_id = order["order_id"]
    stack.wait_for(lambda: row(order_id) is not None, 60, "the order in Cassandra")
    stack.wait_for(lambda: stack.order_row(order_id) is None, 60, "the order gone from MariaDB")
    return order


def repairs_told_of(order_id):
    return [
        message for message in stack.messages("orders.refresh")
        if message.key == str(order_id).encode() and message.headers.get("kind") == "repair"
    ]  # fmt: skip


# --- What is wrong is found. ---


def test_a_stale_entry_is_repaired():
    order = orders.create(orderd())
    old = in_cache(order)
    current = in_cache(orders.change(orderd(), order, "processing"))
    before = counted("repaired", "stale")
    put(order["order_id"], old)
    wait_until_repaired("stale", before)
    assert stack.cached(order["order_id"]) == current
    assert len(repairs_told_of(order["order_id"])) == 1


def test_a_missing_entry_of_an_open_order_is_put():
    order = orders.create(orderd())
    entry = in_cache(order)
    before = counted("repaired", "missing")
    with stack.redis_cluster() as cluster:
        cluster.call("DEL", f"o:{{{order['order_id']}}}")
    wait_until_repaired("missing", before)
    assert stack.cached(order["order_id"]) == entry


def test_a_forged_higher_version_is_replaced_and_told_of():
    order = orders.create(orderd())
    entry = in_cache(order)
    forged = bytearray(entry)
    struct.pack_into("<I", forged, 16, 7)
    forged[20] = 3  # success
    before = counted("repaired", "forged")
    put(order["order_id"], sealed(bytes(forged)))
    wait_until_repaired("forged", before)
    assert stack.cached(order["order_id"]) == entry
    assert len(repairs_told_of(order["order_id"])) == 1
    assert f"order {order['order_id']}: repaired: forged" in orderd().log()
    changed = orders.change(orderd(), order, "processing")
    assert changed["version"] == 2
    in_cache(changed)  # the entry follows the order again


def test_a_foreign_value_is_replaced():
    order = orders.create(orderd())
    entry = in_cache(order)
    before = counted("repaired", "foreign")
    put(order["order_id"], b"somebody else's")
    wait_until_repaired("foreign", before)
    assert stack.cached(order["order_id"]) == entry


def test_an_entry_of_another_type_is_replaced():
    order = orders.create(orderd())
    entry = in_cache(order)
    before = counted("repaired", "foreign")
    with stack.redis_cluster() as cluster:
        key = f"{{{order['order_id']}}}"
        cluster.call("RPUSH", f"list:{key}", "a", "b")
        cluster.call("RENAME", f"list:{key}", f"o:{key}")  # at once: nobody puts it meanwhile
    wait_until_repaired("foreign", before)
    assert stack.cached(order["order_id"]) == entry


def test_a_deleted_row_of_cassandra_is_written_again():
    order = archived_order()
    before = counted("repaired", "archive_lost")
    with stack.cassandra() as connection:
        connection.query(
            f"DELETE FROM orders.orders_by_slot WHERE {row_where(order['order_id'])}")
    assert row(order["order_id"]) is None
    wait_until_repaired("archive_lost", before)
    assert row(order["order_id"]) == (order["version"], "success")
    assert len(repairs_told_of(order["order_id"])) == 1
    assert orders.read(orderd(), order) == order


def test_an_older_row_of_cassandra_is_written_again():
    order = archived_order()
    before = counted("repaired", "archive_wrong")
    with stack.cassandra() as connection:
        connection.query(f"UPDATE orders.orders_by_slot SET version = 1, status = 'cancel' "
                         f"WHERE {row_where(order['order_id'])}")
    wait_until_repaired("archive_wrong", before)
    assert row(order["order_id"]) == (order["version"], "success")


def test_a_reference_without_an_order_is_an_alarm():
    order_id = int(archived_order()["order_id"]) + 1
    before = counted("disagreements", "orphan_reference")
    with stack.mariadb(stack.shard_of(order_id)) as connection:
        connection.query(f"INSERT INTO order_refs VALUES ('nobody', 'knows', {order_id})")
    stack.wait_for(lambda: counted("disagreements", "orphan_reference") == before + 1,
                   WITHIN_SECONDS, "the alarm")
    assert orderd().metrics()["orderd_audit_alarms"] == 1
    with stack.mariadb(stack.shard_of(order_id)) as connection:
        connection.query(f"DELETE FROM order_refs WHERE order_id = {order_id}")


# --- What is right is left alone, and quick. ---


def test_changes_are_everywhere_within_seconds():
    instance = orderd()
    found = {name: value for name, value in instance.metrics().items()
             if name.startswith("orderd_audit_disagreements_total")}  # fmt: skip
    before = consistency(instance)
    for _ in range(100):
        order = orders.create(instance)
        orders.change(instance, order, "processing")
        orders.change(instance, order, "success")
    stack.wait_for(lambda: consistency(instance)["cache"]["checks"]
                   >= before["cache"]["checks"] + 250, 60, "the checks")  # fmt: skip
    stack.wait_for(lambda: consistency(instance)["archive"]["checks"]
                   >= before["archive"]["checks"] + 80, 60, "the checks of Cassandra")  # fmt: skip
    now = consistency(instance)
    for tier in ("cache", "archive"):
        checks = now[tier]["checks"] - before[tier]["checks"]
        within = now[tier]["within_5s"]["count"] - count_of(before[tier]["within_5s"])
        assert within >= checks * 0.99, (tier, before, now)
    time.sleep(10)  # past the grace time
    for name, value in found.items():
        assert instance.metrics()[name] == value, (name, instance.log()[-3000:])


def count_of(within):
    return 0 if within is None else within["count"]


def consistency(instance):
    return report(instance)["consistency"]


def report(instance):
    """What `orderctl audit` says; an alarm of another test makes its status 1."""
    status = 1 if instance.metrics()["orderd_audit_alarms"] > 0 else 0
    return json.loads(instance.orderctl("audit", "--json", status=status))


def test_a_person_sees_the_nines():
    instance = orderd()
    alarms = instance.metrics()["orderd_audit_alarms"]
    text = subprocess.run(
        [stack.harness.program("orderctl"), "audit", "--server", instance.url],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert text.returncode == (1 if alarms else 0), text
    assert "nines" in text.stdout and "forged" in text.stdout, text


def test_one_instance_at_a_time_checks():
    first = orderd()
    second = stack.Orderd("audit", *SETTINGS)
    time.sleep(5)
    assert second.metrics()["orderd_audit_looked_total"] == 0
    assert first.stop() == 0
    stack.wait_for(lambda: second.metrics()["orderd_audit_rounds_total"] > 1, 30, "its turn")


if __name__ == "__main__":
    stack.run(globals())
