# run-tests: timeout=300
"""The cluster's archive pipeline on real servers: final orders go from MariaDB to Cassandra, are told
of in orders.archived, and leave MariaDB only when they are in Cassandra; also those that no message
told of. archive_host.c is the pipeline. What dies under it is in test_cluster_archive_faults.py."""

import archive_flow
import homes
import stack_harness as stack

KEYSPACE = archive_flow.KEYSPACE


def test_final_orders_move_home_also_those_that_no_message_told_of():
    with archive_flow.Host() as host:
        created = host.opened().create(5000, every=10)
        counters = host.run_until_empty()
    assert homes.check(created, KEYSPACE).archive == 5000
    assert archive_flow.told_orders() >= set(created)
    assert counters["scanned"] >= 500, counters
    assert counters["mismatches"] == counters["not_released"] == 0, counters
    assert counters["released"] >= 5000, counters


def test_a_row_that_was_changed_by_hand_while_it_settled_does_not_leave():
    with archive_flow.Host() as host:
        created = host.opened().create(100)
        host.run_until(lambda counters: counters["settling"] >= 100)
        changed = next(iter(created))
        archive_flow.spoil(changed)
        stack.wait_for(lambda: host("run 1") and archive_flow.store_ids() <= {changed}, 60, "the others")
        counters = host("run 5")
        assert archive_flow.store_ids() == {changed}
        assert counters["not_released"] + counters["mismatches"] >= 1, counters
        assert changed in host.logged()


if __name__ == "__main__":
    stack.run(globals(), "mariadb", "kafka", "cassandra")
