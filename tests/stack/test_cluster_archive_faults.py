# run-tests: timeout=600
"""The cluster's archive pipeline on real servers, while it is killed at each of its steps and Cassandra
is down, slow, loses what it had not synced, or has another copy than it was given: no final order is
ever in no home (homes.py counts). archive_host.c is the pipeline."""

import contextlib
import os
import signal
import threading
import time

import archive_flow
import homes
import stack_harness as stack
from stacklib import layout  # found by stack_harness

KEYSPACE = archive_flow.KEYSPACE
STEPS = ("put", "read_back", "publish", "commit", "second_read", "release")
MOMENTS = ("before", "during", "after")


def test_the_pipeline_is_killed_at_each_step_and_no_order_is_ever_in_no_home():
    truth = {}
    for step in STEPS:
        for moment in MOMENTS:
            with archive_flow.Host("archive.settle_seconds=1") as host:
                truth.update(host.opened().create(200))
                host.run_to_death(step, moment)
            print(f"# killed {moment} {step}: {homes.check(truth, KEYSPACE)}")
    with archive_flow.Host("archive.settle_seconds=1") as host:
        host.opened().run_until_empty()
    assert homes.check(truth, KEYSPACE).archive == len(truth)
    assert archive_flow.told_orders() >= set(truth)


def test_a_copy_that_is_not_what_was_written_keeps_its_order_in_mariadb():
    with archive_flow.Host() as host:
        created = host.opened().create(100)
        assert host("stop put after") == {"armed": True}
        host.send("run 1")
        stack.wait_for(lambda: is_stopped(host), 30, "the step")
        changed = next(iter(created))
        archive_flow.spoil(changed)
        host.process.send_signal(signal.SIGCONT)
        assert host.answer()["mismatches"] == 1
        assert f"order {changed}" in host.logged()
        stack.wait_for(lambda: host("run 1") and archive_flow.store_ids() == {changed}, 60, "the others")
        host("run 5")  # the scan comes by
        assert homes.in_store()[changed] == created[changed]
    forget(changed)


def is_stopped(host):
    with open(f"/proc/{host.process.pid}/stat") as file:
        return file.read().rpartition(")")[2].split()[0] == "T"


def forget(order_id):
    """The order of a test that is over is nobody's any more."""
    with stack.mariadb(stack.shard_of(order_id)) as connection:
        connection.query(f"DELETE FROM orders WHERE order_id = {order_id}")


# --- Cassandra. ---


def test_a_power_cut_of_cassandra_takes_what_was_not_synced_and_no_order_is_lost():
    settle = "archive.settle_seconds=6"
    with archive_flow.Host(settle, "archive.scan_every_seconds=3600") as host:
        truth = host.opened().create(4000)
        counters = host.run_until(lambda counters: counters["settling"] >= len(truth))
        assert counters["released"] == 0, counters
        cut_power(truth)
        # Only the second read sees that they are gone.
        host.run_until(lambda counters: counters["not_released"] >= len(truth))
        assert homes.check(truth, KEYSPACE).store == len(truth)
    # Again, and the pipeline goes with it.
    with archive_flow.Host(settle, "archive.scan_every_seconds=1", "archive.scan_after_seconds=1") as host:
        counters = host.opened().run_until(lambda counters: counters["settling"] >= len(truth))
        assert counters["released"] == 0, counters
        host.kill()
        cut_power(truth)
    with archive_flow.Host() as host:
        host.opened().run_until_empty()
    count = homes.check(truth, KEYSPACE)
    assert count.archive == len(truth), count
    print(f"# after two power cuts: {count}")


def cut_power(truth):
    """Kills Cassandra and takes its commit log away: all that was not yet in a table, which is more
    than a power cut takes. All of `truth` is among it."""
    log = layout.DATA / "cassandra" / "commitlog"
    stack.kill("cassandra")
    segments = sorted(log.iterdir())
    assert segments
    for segment in segments:
        segment.unlink()
    stack.start("cassandra")
    left = truth.keys() & homes.in_archive(KEYSPACE).keys()
    assert not left, f"Cassandra still has {len(left)} orders"


def test_a_cassandra_that_dies_while_it_is_written_and_read_is_waited_for():
    with archive_flow.Host() as host:
        truth = host.opened().create(4000)
        assert host("stop put during") == {"armed": True}
        host.send("run 5")
        stack.wait_for(lambda: is_stopped(host), 30, "the step")
        stack.kill("cassandra")
        host.process.send_signal(signal.SIGCONT)
        counters = host.answer()
        assert counters["retries"] > 0 and counters["archived"] == 0, counters
        assert archive_flow.store_ids() >= truth.keys()
        stack.start("cassandra")
        host.run_until_empty()
    assert homes.check(truth, KEYSPACE).archive == len(truth)


def test_a_cassandra_that_is_slow_is_waited_for():
    timeouts = ("cassandra.request_timeout_ms=1000", "cassandra.attempt_timeout_ms=500")
    with archive_flow.Host(*timeouts) as host:
        truth = host.opened().create(4000)
        with stumbling("cassandra"):
            host.send("run 8")
            for _ in range(3):
                print(f"# {homes.check(truth, KEYSPACE)}")
                time.sleep(2)
            counters = host.answer()
        assert counters["retries"] > 0, counters
        host.run_until_empty()
    assert homes.check(truth, KEYSPACE).archive == len(truth)


@contextlib.contextmanager
def stumbling(name, stopped_seconds=1.2, running_seconds=0.3):
    """Lets a server work only now and then."""
    over = threading.Event()

    def stumble():
        while not over.is_set():
            os.kill(node, signal.SIGSTOP)
            over.wait(stopped_seconds)
            os.kill(node, signal.SIGCONT)
            over.wait(running_seconds)

    node = stack.pid(name)
    thread = threading.Thread(target=stumble)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


if __name__ == "__main__":
    stack.run(globals(), "mariadb", "kafka", "cassandra")
