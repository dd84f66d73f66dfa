"""What MariaDB and Cassandra were asked for orders, by their own counts.

    with asked.Databases() as databases:
        reader.get(...)
        assert databases.asked_for(order_id) == (1, 0)   # since it was asked the last time

MariaDB's general log has each statement; Cassandra counts the reads of a table. Both see what others ask
too: a test lets nobody else read.
"""

import collections
import re

import stack_harness as stack

TABLE = "keyspace_name = 'orders' AND table_name = 'orders_by_slot'"
READS = f"SELECT * FROM system_views.coordinator_read_latency WHERE {TABLE}"
STATEMENTS = """
    SELECT argument FROM mysql.general_log
    WHERE command_type IN ('Query', 'Execute') AND argument LIKE 'SELECT%FROM orders %'"""
LOGGED = "SET GLOBAL log_output = 'TABLE'; SET GLOBAL general_log = ON"
NOT_LOGGED = "SET GLOBAL general_log = OFF; SET GLOBAL log_output = DEFAULT"
FORGOTTEN = "TRUNCATE mysql.general_log"


class Databases:
    """Counts from here on, until the end of the `with`."""

    def __enter__(self):
        self.everywhere(FORGOTTEN)
        self.everywhere(LOGGED)
        self.reads = self.archive_reads()
        return self

    def __exit__(self, *_):
        self.everywhere(NOT_LOGGED)

    @staticmethod
    def everywhere(sql):
        for shard in range(stack.SHARDS):
            with stack.mariadb_root(shard) as root:
                root.query(sql)

    @staticmethod
    def archive_reads():
        with stack.cassandra() as connection:
            rows = connection.query(READS)
        counts = [row[2] for row in rows]
        return counts[0] if counts else 0

    def store_statements(self):
        """How often MariaDB was asked for each order by its id, since it was forgotten last."""
        found = collections.Counter()
        for shard in range(stack.SHARDS):
            with stack.mariadb_root(shard) as root:
                for (statement,) in root.query(STATEMENTS):
                    where = statement.partition("WHERE")[2]
                    found.update(set(re.findall(r"\b\d{16,19}\b", where)))
        return found

    def forget(self):
        self.everywhere(FORGOTTEN)
        self.reads = self.archive_reads()

    def asked_for(self, order_id):
        """(statements of MariaDB, reads of Cassandra) since the last time, of one order."""
        found = self.store_statements()[str(order_id)], self.archive_reads() - self.reads
        self.forget()
        return found
