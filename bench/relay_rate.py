#!/usr/bin/env python3
"""How fast the relay carries a binlog that is there already to a real Kafka, and in how much memory.

    bench/relay_rate.py [--changes 2000000] [--transaction 1000] [--set section.key=value]... [--json FILE]

It starts a MariaDB and a Kafka of its own, writes that many changes of `orders`, and then measures
from the start of the relay's process until the last change is acknowledged. Every message is
counted afterwards: a wrong number makes the exit status 1.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "stack"))

import own_servers

ROWS = """INSERT INTO orders SELECT (4000000 + seq DIV 131072) << 27 | (seq % 1024) << 17 | 1 << 7
    | (seq DIV 1024) % 128, 'acme', CONCAT('reference-', seq), seq + 1, 'EUR', 'pay_with_card', 'BANK-1',
    'pending', 1, NOW(6), NOW(6), NULL, NULL FROM seq_{first}_to_{last};\n"""
ENDS = """UPDATE orders SET status = 'success', version = 2, updated_at = NOW(6), responded_at = NOW(6)
    WHERE order_id >= (4000000 + {first} DIV 131072) << 27 AND version = 1 LIMIT {count};\n"""


def write_changes(mariadb, changes, transaction):
    """Half of the changes create orders, half end them."""
    creates = changes // 2
    script = [
        ROWS.format(first=at, last=min(at + transaction, creates) - 1)
        for at in range(0, creates, transaction)
    ]
    script += [
        ENDS.format(first=at, count=min(transaction, creates - at))
        for at in range(0, creates, transaction)
    ]
    mariadb.sql("SET SESSION time_zone = '+00:00';\n" + "".join(script))
    rows = mariadb.sql("SELECT COUNT(*), SUM(version) FROM orders")[0]
    assert [int(value) for value in rows] == [creates, 2 * creates], rows


def peak_kb(process):
    status = pathlib.Path(f"/proc/{process.pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0])


def cpu_seconds(process):
    fields = pathlib.Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def run_relay(servers, changes, settings):
    values = {
        "mysql.shards": f"127.0.0.1:{servers.mariadb.port}",
        "mysql.password": "secret",
        "host.stats": "yes",
        "kafka.brokers": servers.kafka.address,
    }
    arguments = [text for name, value in values.items() for text in ("--set", f"{name}={value}")]
    for setting in settings:
        arguments += ["--set", setting]
    log = open(servers.directory / "relay.log", "wb")
    begin = time.monotonic()
    process = subprocess.Popen(
        [ROOT / "build/tests/stack/relay_host", *arguments], stdout=subprocess.PIPE, stderr=log, text=True
    )
    try:
        for line in process.stdout:
            if int(line.split()[1]) >= changes:
                break
            if time.monotonic() - begin > 600:
                raise SystemExit(f"only {line.split()[1]} of {changes} changes in 600 s")
        seconds = time.monotonic() - begin
        return seconds, peak_kb(process), cpu_seconds(process)
    finally:
        process.terminate()
        process.communicate()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--changes", type=int, default=2000000)
    parser.add_argument("--transaction", type=int, default=1000)
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--json")
    options = parser.parse_args()
    reason = own_servers.missing()
    if reason:
        raise SystemExit(f"relay_rate: {reason}")
    with own_servers.Servers(**{"sync-binlog": 0, "innodb-flush-log-at-trx-commit": 0}) as servers:
        end = servers.mariadb.sql("SELECT @@gtid_binlog_pos")[0][0]
        write_changes(servers.mariadb, options.changes, options.transaction)
        servers.mariadb.sql(
            f"INSERT INTO positions VALUES ('relay/0', '', '2020-01-01', '{end}', NOW(6))"
        )
        subprocess.run(
            ["kcat", "-b", servers.kafka.address, "-L"], capture_output=True, check=True
        )
        servers.mariadb.sql("SET GLOBAL sync_binlog = 1, innodb_flush_log_at_trx_commit = 1")
        make_topics(servers)
        seconds, peak, cpu = run_relay(servers, options.changes, options.set)
        found = len(servers.kafka.read("orders.changes", "%p\n").splitlines())
    result = {
        "bench": "relay_rate",
        "changes": options.changes,
        "transaction": options.transaction,
        "seconds": round(seconds, 2),
        "rows_per_s": round(options.changes / seconds),
        "cpu_seconds": round(cpu, 2),
        "peak_mb": round(peak / 1024, 1),
        "messages": found,
    }
    print(json.dumps(result))
    if options.json:
        pathlib.Path(options.json).write_text(json.dumps(result) + "\n")
    return 0 if found == options.changes else 1


def make_topics(servers):
    """The topics are made before the clock runs."""
    log = subprocess.run(
        [ROOT / "build/tests/stack/relay_host", "--set", "host.make_topics=yes", "--set", "host.only_topics=yes",
         "--set", f"kafka.brokers={servers.kafka.address}"],
        capture_output=True, text=True, check=False,
    )
    if log.returncode != 0:
        raise SystemExit(log.stderr)


if __name__ == "__main__":
    sys.exit(main())
