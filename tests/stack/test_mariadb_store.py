# run-tests: timeout=600
"""The hot store on MariaDB. Each program here starts servers of its own in a temporary directory, as
it kills them, stops them in their tracks and gives them settings that nobody should; what it tests
is in its names. The tables that `orderctl schema apply` makes are looked at on the stack's."""

import os
import subprocess

import stack_harness as stack
from stacklib import layout

WITHIN_SECONDS = 300


def run_program(name):
    done = subprocess.run(
        [stack.harness.BUILD / "tests/stack" / name],
        env={**os.environ, "CMOCKA_MESSAGE_OUTPUT": "TAP"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=WITHIN_SECONDS,
        check=False,
    )
    assert done.returncode == 0, f"{name}: {done.returncode}\n{done.stdout}{done.stderr}"


def test_orders_are_created_changed_found_released_and_forgotten():
    run_program("mariadb_store_test")


def test_a_commit_that_was_not_answered_is_found_out():
    run_program("mariadb_doubt_test")


def test_crashes_hangs_and_lost_connections_lose_nothing():
    run_program("mariadb_faults_test")


def test_wrong_settings_are_refused_and_nodes_and_leases_have_one_holder():
    run_program("mariadb_cluster_test")


def schema_apply(*arguments, status=0):
    done = subprocess.run(
        [stack.harness.BUILD / "orderctl", "schema", *arguments],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == status, (arguments, done.returncode, done.stdout, done.stderr)
    return done.stdout + done.stderr


def test_orderctl_makes_the_tables_of_every_shard_and_finds_them_made():
    configured = ("apply", "mysql", "--config", str(layout.ORDERD_CONF))
    assert "CREATE TABLE orders" in schema_apply(*configured)
    for shard in range(stack.SHARDS):
        with stack.mariadb(shard) as connection:
            settings = dict(connection.query("SELECT name, value FROM settings"))
        wanted = {"schema_version": "1", "shards": str(stack.SHARDS), "shard": str(shard)}
        assert settings == wanted, settings
    assert "up to date" in schema_apply(*configured)


def test_orderctl_refuses_servers_that_stand_in_another_order():
    schema_apply("apply", "mysql", "--config", str(layout.ORDERD_CONF))
    turned = " ".join(reversed(stack.env("MYSQL_SHARDS").split()))
    said = schema_apply(
        "apply", "mysql", "--config", str(layout.ORDERD_CONF),
        "--set", f"mysql.shards={turned}", status=1,
    )  # fmt: skip
    assert "mysql.shards" in said, said
    assert "expected" in schema_apply("remove", status=2)
    assert "no such kind" in schema_apply("apply", "oracle", status=2)


if __name__ == "__main__":
    stack.run(globals(), "mariadb")
