"""Where orders are: the checker of their two homes, MariaDB and Cassandra.

    truth = homes.in_store()                # what must not be lost
    ...
    homes.check(truth, keyspace)            # nowhere a final order in no home, everywhere as it was

Orders are compared column by column, as the service would write them: the record has nothing else.
"""

import dataclasses

import cluster
import stack_harness as stack
import orders  # found by stack_harness

COLUMNS = [name for name in orders.MEMBERS if name != "expires_at"]
TIMES = [name for name in COLUMNS if name.endswith("_at")]


@dataclasses.dataclass
class Count:
    """How many orders are in which home."""

    store: int = 0
    both: int = 0
    archive: int = 0

    def __str__(self):
        return f"{self.store} in MariaDB, {self.both} in both, {self.archive} in Cassandra, 0 in none"


def in_store(partner=None):
    """Every order that MariaDB has, by id; those of one partner."""
    found = {}
    where = "" if partner is None else f" WHERE partner_code = '{partner}'"
    for shard in range(stack.SHARDS):
        with stack.mariadb(shard) as connection:
            columns = [row[0] for row in connection.query("SHOW COLUMNS FROM orders")]
            for row in connection.query(f"SELECT * FROM orders{where}"):
                order = cluster.shown(dict(zip(columns, row)))
                assert stack.shard_of(order["order_id"]) == shard, order
                found[order["order_id"]] = order
    return found


def in_archive(keyspace="orders"):
    """Every order that Cassandra has, by id."""
    with stack.cassandra() as connection:
        rows = connection.query(f"SELECT {', '.join(COLUMNS)} FROM {keyspace}.orders_by_slot")
    found = {}
    for row in rows:
        order = dict(zip(COLUMNS, row))
        order["order_id"] = str(order["order_id"])
        for name in TIMES:
            order[name] = orders.rfc3339(order[name]) if order[name] else None
        found[order["order_id"]] = order
    return found


def check(truth, keyspace="orders"):
    """Every order of `truth` is in a home, and wherever it is, it is what it was. MariaDB is read
    first: an order that moves meanwhile is then seen in Cassandra. Returns how many are where."""
    stored, archived = in_store(), in_archive(keyspace)
    count, lost, wrong = Count(), [], []
    for order_id, order in truth.items():
        copies = [home[order_id] for home in (stored, archived) if order_id in home]
        wrong += [(copy, order) for copy in copies if copy != order]
        if not copies:
            lost.append(order)
        elif len(copies) == 2:
            count.both += 1
        elif order_id in stored:
            count.store += 1
        else:
            count.archive += 1
    assert not lost, f"{len(lost)} of {len(truth)} orders are in no home, as {lost[0]}"
    assert not wrong, f"{len(wrong)} copies are not what the order is, as {wrong[0]}"
    return count
