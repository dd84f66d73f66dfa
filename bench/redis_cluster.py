#!/usr/bin/env python3
"""Puts and gets a second of the Redis adapter's one thread, and changes a second of the cache
pipeline on it, beside redis-benchmark in the same run, on a cluster of three masters and three
replicas that is started for it.

    bench/redis_cluster.py [ORDERS]

A put is a script with a comparison of versions; redis-benchmark's SET has none. Both have 128-byte
values; redis-benchmark has one thread, a connection a master and 256 commands in each pipeline.
"""

import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "stack"))
import test_redis_adapter as adapter  # noqa: E402


def benchmark(port, command, count):
    done = subprocess.run(
        ["redis-benchmark", "-p", str(port), "--cluster", "-t", command, "-n", str(count),
         "-r", str(count), "-d", "128", "-P", "256", "-c", "3", "-q"],
        capture_output=True, text=True, check=True, timeout=300,
    )  # fmt: skip
    return float(re.findall(r"([\d.]+) requests per second", done.stdout)[-1])


def main():
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 500000
    port = adapter.cluster().ports[0]
    driver = adapter.Driver("redis.timeout_ms=5000")
    print("                       puts/s      gets/s")
    for depth in (1, 8, 32):
        found = dict(pair.split("=") for pair in driver.call("bench", count, depth).split())
        assert found["FOUND"] == str(count), found
        print(f"adapter, {depth:2} x 256  {found['puts']:>10}  {found['gets']:>10}")
    followed = dict(pair.split("=") for pair in driver.call("follow", 1, count // 4, 4).split())
    print(f"cache pipeline      {followed['rate']:>10}              (changes followed)")
    rates = [benchmark(port, command, count) for command in ("set", "get")]
    print(f"redis-benchmark     {rates[0]:10.0f}  {rates[1]:10.0f}   (SET without a script)")
    adapter.clean_up()


if __name__ == "__main__":
    main()
