"""What every server process is to the stack: how it is set up, started, and asked whether it answers."""

import signal
import socket
import time

from stacklib import download, layout, mysql, process, redis, wire
from stacklib.cassandra import CassandraError
from stacklib.kafka import KafkaError

READY_WITHIN_SECONDS = 180  # a busy machine; a quiet one needs a tenth
PORT_FREE_WITHIN_SECONDS = 3
NOT_YET = (OSError, CassandraError, KafkaError, mysql.MysqlError, redis.RedisError)


class Server:
    """One server process. A kind of server says how; this class knows the order."""

    templates = ()  # (template, name of the file in conf/NAME)
    needs = ()  # programs, and a POM where there is one
    pom = None
    stop_signal = signal.SIGTERM  # asks it to end in order

    def __init__(self, name):
        self.name = name
        self.conf = layout.CONF / name
        self.data = layout.DATA / name

    @property
    def address(self):
        return layout.address(self.name)

    def values(self):
        """What is filled in where the templates say @NAME@."""
        return {"PORT": layout.port(self.name), "DATA": self.data}

    def command(self):
        raise NotImplementedError

    def set_up(self):
        """Makes what the first start needs; finds it made at the others."""

    def check(self):
        """Raises one of NOT_YET until the server answers what clients will ask."""
        raise NotImplementedError

    def fetch(self):
        """Finds, or downloads, everything that it is made of."""
        for name in self.needs:
            download.program(name)
        if self.pom:
            download.java()
            download.class_path(self.pom)

    def prepare(self):
        self.conf.mkdir(parents=True, exist_ok=True)
        self.data.mkdir(parents=True, exist_ok=True)
        for template, name in self.templates:
            layout.write_private(self.conf / name, layout.render(template, self.values()))

    def start(self):
        """Starts it where it is down and waits until it answers. Returns (pid, was started)."""
        pid, started = process.find(self.name), None
        if pid is None:
            self.prepare()
            self.refuse_taken_ports()
            self.set_up()
            started = process.start(self.name, self.command())
            pid = started.pid
        else:
            process.send(self.name, signal.SIGCONT)  # where a test had paused it
        deadline = time.monotonic() + READY_WITHIN_SECONDS
        while True:
            try:
                self.check()
                return pid, started is not None
            except NOT_YET as error:
                last = error
            if started.poll() is not None if started else not process.is_alive(pid):
                process.forget(self.name)
                raise layout.StackError(
                    f"{self.name} ended at its start{process.log_end(self.name)}"
                )
            if time.monotonic() > deadline:
                raise layout.StackError(
                    f"{self.name} does not answer after {READY_WITHIN_SECONDS} s: {last}"
                    + process.log_end(self.name)
                )
            time.sleep(0.05)

    def stop(self):
        """Asks it to end, and waits; past the time it is killed. Returns what happened."""
        return process.stop(self.name, self.stop_signal)

    def refuse_taken_ports(self):
        """A server that was killed a moment ago may still have them."""

        def taken():
            return [address for address in layout.addresses_of(self.name) if is_taken(address)]

        if not wait_quietly(lambda: not taken(), PORT_FREE_WITHIN_SECONDS):
            raise layout.StackError(
                f"{self.name}: another program has {' '.join(taken())}, perhaps the stack of another "
                "checkout; STACK_PORT_OFFSET=100 (or 200, 300...) moves all ports"
            )


def wait_quietly(condition, seconds):
    """True as soon as the condition holds, false when it did not within the time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def is_taken(address):
    """True where a server could not listen. Asked without connecting, which a program that listens
    and accepts nothing answers only at first."""
    host, _, port = address.rpartition(":")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, int(port)))
            return False
        except OSError:
            return True


def is_listening(address):
    try:
        wire.Client(address, timeout=1).close()
        return True
    except OSError:
        return False
