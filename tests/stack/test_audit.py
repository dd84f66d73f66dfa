# run-tests: timeout=600
"""The checker on real servers: what is wrong in Redis, Cassandra or MariaDB, and what query instances
answer wrong, is found, counted and repaired within a minute, and changes are everywhere within
seconds."""

import atexit
import json
import shutil
import signal
import struct
import time

import stack_harness as stack
from stack_harness import orders

SETTINGS = (
    "resp.listen=", "memory.budget_mb=64", "server.threads=1", "audit.grace_ms=2000",
    "archive.settle_seconds=2", "audit.per_second=5000", "audit.samples_per_second=10000",
)  # fmt: skip
WITHIN_SECONDS = 60
TRUST_SECONDS = 1

shared = {}


def orderd():
    """An instance with every role, the same for all tests, that also looks at two query instances."""
    if "orderd" not in shared:
        stack.apply_schema()
        shared["readers"] = [lasting("query"), lasting("query")]
        names = ",".join(map(name_of, shared["readers"]))
        shared["orderd"] = lasting("all", f"audit.query_instances={names}")
    return shared["orderd"]


def readers():
    """The two query instances."""
    orderd()
    return shared["readers"]


def lasting(roles, *settings):
    """An instance that outlives the test."""
    instance = stack.Orderd(roles, *SETTINGS, *settings)
    stack.Orderd.started.remove(instance)
    atexit.register(end, instance)
    return instance


def name_of(instance):
    return f"127.0.0.1:{instance.port}"


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


def forged_entry(entry, version, status):
    """The record with another version and status, as whole as any."""
    forged = bytearray(entry)
    struct.pack_into("<I", forged, 16, version)
    forged[20] = orders.STATUSES.index(status) + 1
    return sealed(bytes(forged))


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
    before = counted("repaired", "forged")
    put(order["order_id"], forged_entry(entry, 7, "success"))
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


def test_a_deletion_from_a_time_that_is_to_come_is_written_over():
    order = archived_order()
    before = counted("repaired", "archive_lost")
    next_year_us = orders.now_us() + 366 * 86_400_000_000
    with stack.cassandra() as connection:
        connection.query(f"DELETE FROM orders.orders_by_slot USING TIMESTAMP {next_year_us} "
                         f"WHERE {row_where(order['order_id'])}")
    assert row(order["order_id"]) is None
    wait_until_repaired("archive_lost", before)
    assert row(order["order_id"]) == (order["version"], "success")
    assert orders.read(orderd(), order) == order


def test_a_forged_higher_version_in_cassandra_is_replaced():
    order = archived_order()
    entry = stack.cached(order["order_id"])
    before = counted("repaired", "archive_wrong")
    with stack.cassandra() as connection:
        connection.query(f"UPDATE orders.orders_by_slot USING TIMESTAMP {2**62} "
                         f"SET version = 9, status = 'cancel' WHERE {row_where(order['order_id'])}")
    assert row(order["order_id"]) == (9, "cancel")
    wait_until_repaired("archive_wrong", before)
    assert row(order["order_id"]) == (order["version"], "success")
    assert stack.cached(order["order_id"]) == entry  # the checker did not spread it
    assert len(repairs_told_of(order["order_id"])) == 1
    for instance in (orderd(), *readers()):
        assert orders.read(instance, order) == order
    wait_for_no_alarm()


def wait_for_no_alarm():
    stack.wait_for(lambda: orderd().metrics()["orderd_audit_alarms"] == 0, WITHIN_SECONDS,
                   "the end of all alarms")


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


# --- What query instances answer. ---


def poison(reader, order, entry, forged):
    """Has a query instance read a forged entry into its local memory, where it stays; Redis has the
    right one again before the checker looks."""
    assert reader.stop() == 0
    reader.start()  # it holds nothing, and asks Redis
    checker = orderd()
    checker.signal(signal.SIGSTOP)
    try:
        put(order["order_id"], forged)
        answered = orders.read(reader, order)
        put(order["order_id"], entry)
        time.sleep(TRUST_SECONDS * 1.5)  # longer than what may change is believed
        assert orders.read(reader, order) == answered
    finally:
        checker.signal(signal.SIGCONT)
    return answered


def wait_until_found_and_repaired(reader, order, kind, before, answered):
    """What one instance alone answers wrong is found, traced, repaired and right."""
    wait_until_repaired(kind, before)
    assert orders.read(reader, order) == order
    assert len(repairs_told_of(order["order_id"])) == 1
    traces = [line for line in orderd().log().splitlines()
              if f"order {order['order_id']}: {kind} (" in line]  # fmt: skip
    told = f"{name_of(reader)}: version {answered['version']}, {answered['status']}, written "
    assert len(traces) == 1 and told in traces[0], (told, traces)
    assert name_of(readers()[1]) not in traces[0], traces
    assert f"order {order['order_id']}: repaired: {kind};" in orderd().log()


def test_a_version_that_only_one_query_instance_answers_is_found_and_repaired():
    order = orders.create(orderd())
    reader, other = readers()
    entry = in_cache(order)
    before = counted("repaired", "view_forged")
    forged_before = counted("disagreements", "forged")
    answered = poison(reader, order, entry, forged_entry(entry, 9, "success"))
    assert (answered["version"], answered["status"]) == (9, "success")
    assert orders.read(other, order) == order
    wait_until_found_and_repaired(reader, order, "view_forged", before, answered)
    assert counted("disagreements", "forged") == forged_before  # Redis was right again
    changed = orders.change(orderd(), order, "success")
    stack.wait_for(lambda: orders.read(reader, order) == changed, 30, "the next version")


def test_other_bytes_of_the_same_version_are_found_in_a_query_instance():
    order = archived_order()
    reader = readers()[0]
    entry = in_cache(order)
    before = counted("repaired", "view_forged")
    forged = bytearray(entry)
    struct.pack_into("<Q", forged, 8, 1)
    answered = poison(reader, order, entry, sealed(bytes(forged)))
    assert answered == {**order, "amount": 1}
    wait_until_found_and_repaired(reader, order, "view_forged", before, answered)


def test_an_older_version_that_a_query_instance_keeps_is_found_and_repaired():
    order = archived_order()
    reader = readers()[0]
    entry = in_cache(order)
    before = counted("repaired", "view_stale")
    answered = poison(reader, order, entry, forged_entry(entry, 1, "cancel"))
    assert (answered["version"], answered["status"]) == (1, "cancel")
    wait_until_found_and_repaired(reader, order, "view_stale", before, answered)


def test_a_query_instance_that_does_not_answer_is_named_and_not_judged():
    reader, other = readers()
    found = disagreements()
    silent = f'orderd_audit_instance_unanswered_total{{instance="{name_of(reader)}"}}'
    before, heard = orderd().metrics()[silent], consistency(orderd())["query"]["checks"]
    reader.kill()
    orders.create(orderd())
    stack.wait_for(lambda: orderd().metrics()[silent] > before, 30, "the silence")
    assert orderd().metrics()[f'orderd_query_view_up{{instance="{name_of(reader)}"}}'] == 0
    stack.wait_for(lambda: consistency(orderd())["query"]["checks"] > heard, 30, "the other one")
    assert f"{name_of(reader)} did not answer" in person_sees(), person_sees()
    assert f"{name_of(reader)} does not answer the checker" in orderd().log()
    assert f"{name_of(other)} does not answer the checker" not in orderd().log()
    time.sleep(5)  # past the grace time
    assert disagreements() == found
    reader.start()
    stack.wait_for(lambda: orderd().metrics()[f'orderd_query_view_up{{instance="{name_of(reader)}"}}']
                   == 1, 30, "its answer")  # fmt: skip


# --- What is right is left alone, and quick. ---


def disagreements():
    return {name: value for name, value in orderd().metrics().items()
            if name.startswith("orderd_audit_disagreements_total")}  # fmt: skip


def test_changes_are_everywhere_within_seconds():
    instance = orderd()
    found = disagreements()
    before = consistency(instance)
    for _ in range(100):
        order = orders.create(instance)
        orders.change(instance, order, "processing")
        orders.change(instance, order, "success")
    stack.wait_for(lambda: consistency(instance)["cache"]["checks"]
                   >= before["cache"]["checks"] + 250, 60, "the checks")  # fmt: skip
    stack.wait_for(lambda: consistency(instance)["archive"]["checks"]
                   >= before["archive"]["checks"] + 80, 60, "the checks of Cassandra")  # fmt: skip
    stack.wait_for(lambda: consistency(instance)["query"]["checks"]
                   >= before["query"]["checks"] + 500, 60, "the checks of both readers")  # fmt: skip
    now = consistency(instance)
    for tier in ("cache", "archive", "query"):
        checks = now[tier]["checks"] - before[tier]["checks"]
        within = now[tier]["within_5s"]["count"] - count_of(before[tier]["within_5s"])
        assert within >= checks * 0.99, (tier, before, now)
    time.sleep(10)  # past the grace time
    assert disagreements() == found, instance.log()[-3000:]


def count_of(within):
    return 0 if within is None else within["count"]


def consistency(instance):
    return report(instance)["consistency"]


def report(instance):
    """What `orderctl audit` says; an alarm of another test makes its status 1."""
    status = 1 if instance.metrics()["orderd_audit_alarms"] > 0 else 0
    return json.loads(instance.orderctl("audit", "--json", status=status))


def person_sees():
    """What `orderctl audit` prints; an alarm of another test makes its status 1."""
    status = 1 if orderd().metrics()["orderd_audit_alarms"] > 0 else 0
    return orderd().orderctl("audit", status=status)


def test_a_person_sees_the_nines():
    text = person_sees()
    assert "nines" in text and "view_forged" in text, text
    for one in readers():
        assert f"  {name_of(one)} " in text, text


def test_one_instance_at_a_time_checks():
    first = orderd()
    second = stack.Orderd("audit", *SETTINGS)
    time.sleep(5)
    assert second.metrics()["orderd_audit_looked_total"] == 0
    assert first.stop() == 0
    stack.wait_for(lambda: second.metrics()["orderd_audit_rounds_total"] > 1, 30, "its turn")


if __name__ == "__main__":
    stack.run(globals())
