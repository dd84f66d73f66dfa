"""What the small clients share: a connection that is read in whole pieces, and a piece that is taken
apart from the front."""

import os
import select
import socket


class Client:
    """A connection to `address`, host:port or the path of a socket; closed by close or `with`."""

    def __init__(self, address, timeout):
        if address.startswith("/"):
            self.socket = connect_unix(address)
            self.socket.settimeout(timeout)
        else:
            host, _, port = address.rpartition(":")
            self.socket = socket.create_connection((host, int(port)), timeout)
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.address = address
        self.stream = self.socket.makefile("rb")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.stream.close()
        self.socket.close()

    def is_closed(self):
        """True where the other side has closed, and so whatever is sent now is lost."""
        # A socket with a time-out waits for it in recv, whatever the flags are: so it is asked before.
        watch = select.poll()
        watch.register(self.socket, select.POLLIN)
        try:
            return bool(watch.poll(0)) and self.socket.recv(1, socket.MSG_PEEK) == b""
        except OSError:
            return True

    def read(self, size):
        data = self.stream.read(size)
        if len(data) != size:
            raise ConnectionError(f"{self.address} closed the connection")
        return data


def connect_unix(path):
    """Connects to a socket whose path may be longer than the 107 bytes that an address holds."""
    directory = os.open(os.path.dirname(path), os.O_PATH | os.O_DIRECTORY)
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.connect(f"/proc/self/fd/{directory}/{os.path.basename(path)}")
        return connection
    except OSError:
        connection.close()
        raise
    finally:
        os.close(directory)


class Reader:
    """Bytes that are taken from the front."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, size):
        self.at += size
        return self.data[self.at - size : self.at]

    def unsigned(self, size, order="big"):
        return int.from_bytes(self.take(size), order)

    def signed(self, size):
        return int.from_bytes(self.take(size), "big", signed=True)
