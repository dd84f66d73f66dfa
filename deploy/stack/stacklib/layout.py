"""Where the stack has its files, which ports it uses, and what it tells to others (build/stack/env).

Everything is under build/stack, or STACK_DIR: conf/NAME and data/NAME of each server, log/NAME.log,
pid/NAME, env and orderd.conf; and downloads in build/stack/cache, or STACK_CACHE.
"""

import contextlib
import fcntl
import os
import pathlib
import re
import secrets
import shlex

SOURCE = pathlib.Path(__file__).resolve().parents[1]  # deploy/stack: templates and POMs
ROOT = SOURCE.parents[1]
STACK = pathlib.Path(os.environ.get("STACK_DIR") or ROOT / "build" / "stack").resolve()
CONF, DATA, LOG, PID = (STACK / name for name in ("conf", "data", "log", "pid"))
CACHE = pathlib.Path(os.environ.get("STACK_CACHE") or ROOT / "build" / "stack" / "cache")
ENV = STACK / "env"
ORDERD_CONF = STACK / "orderd.conf"
HOST = "127.0.0.1"

# Below 32768, where Linux takes the ports of outgoing connections from. To every one of them
# STACK_PORT_OFFSET is added, so that several stacks can run beside each other: with multiples of 100
# up to 900 no two have a port in common.
PORTS = {
    "mariadb-0": 23306,
    "mariadb-1": 23307,
    **{f"redis-{number}": 27000 + number for number in range(1, 7)},
    **{f"redis-{number} bus": 28000 + number for number in range(1, 7)},
    "kafka": 29092,
    "kafka controller": 29093,
    "cassandra": 29042,
    "cassandra storage": 27000,
    "cassandra jmx": 27199,
    "debezium": 28083,
    "nginx": 24080,
    "haproxy": 24081,
    "haproxy monitor": 24082,
    "command-1": 24091,
    "command-2": 24092,
    "query-1": 24093,
    "query-2": 24094,
    "pipeline-1": 24095,
    "query-1 resp": 24096,
    "query-2 resp": 24097,
}


class StackError(Exception):
    """Something that the user is told in one line."""


def read_env():
    """The variables of build/stack/env, {} where it is not there yet."""
    try:
        words = shlex.split(ENV.read_text(), comments=True)
    except FileNotFoundError:
        return {}
    return {name: value for name, _, value in (word.partition("=") for word in words)}


def shown(path):
    """A path as one would type it at the root of the checkout."""
    return path.relative_to(ROOT) if path.is_relative_to(ROOT) else path


def port_offset():
    text = os.environ.get("STACK_PORT_OFFSET") or read_env().get("STACK_PORT_OFFSET") or "0"
    if not re.fullmatch(r"-?\d{1,4}", text) or max(PORTS.values()) + int(text) > 32767:
        raise StackError(f"STACK_PORT_OFFSET={text}: expected a number that keeps ports below 32768")
    return int(text)


def port(name):
    return PORTS[name] + port_offset()


def address(name):
    return f"{HOST}:{port(name)}"


def addresses_of(server):
    """host:port of every port of one server, as kafka has a second one for its controller."""
    return [address(name) for name in PORTS if name.split()[0] == server]


def addresses(family):
    """host:port of every server of a family, as mariadb or kafka, separated by spaces."""
    names = [name for name in PORTS if re.fullmatch(rf"{family}(-\d+)?", name)]
    return " ".join(map(address, names))


def settings():
    """The variables of build/stack/env; a new password where there was none."""
    return {
        "MYSQL_SHARDS": addresses("mariadb"),
        "MYSQL_USER": "orderd",
        "MYSQL_PASSWORD": read_env().get("MYSQL_PASSWORD") or secrets.token_hex(16),
        "REDIS_NODES": addresses("redis"),
        "KAFKA_BROKERS": addresses("kafka"),
        "CASSANDRA_HOSTS": addresses("cassandra"),
        "ORDERD_URL": f"http://{address('nginx')}",
        "STACK_PORT_OFFSET": str(port_offset()),
    }


def write_env():
    """Writes build/stack/env and build/stack/orderd.conf; only their owner can read them."""
    STACK.mkdir(parents=True, exist_ok=True)
    values = settings()
    lines = ["# Written by deploy/stack/stack; read it with `. build/stack/env`."]
    lines += [f"{name}={shlex.quote(value)}" for name, value in values.items()]
    write_private(ENV, "\n".join(lines) + "\n")
    lists = ("MYSQL_SHARDS", "REDIS_NODES", "KAFKA_BROKERS")  # orderd has commas there
    values |= {name: values[name].replace(" ", ",") for name in lists}
    write_private(ORDERD_CONF, render("orderd.conf.in", values))


def write_private(path, text):
    """Replaces a file at once, so that a reader never sees half of it."""
    new = path.with_name(path.name + ".new")
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
    new.replace(path)


def render(template, values):
    """The text of a template of deploy/stack with every @NAME@ filled in."""

    def value(match):
        if match[1] not in values:
            raise StackError(f"deploy/stack/{template}: nothing is known of @{match[1]}@")
        return str(values[match[1]])

    return re.sub(r"@([A-Z][A-Z0-9_]*)@", value, (SOURCE / template).read_text())


@contextlib.contextmanager
def locked():
    """Holds the stack for one command; another one waits."""
    STACK.mkdir(parents=True, exist_ok=True)
    with open(STACK / "lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
