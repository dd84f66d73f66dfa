# run-tests: parallel, timeout=120
"""Orders by the Redis protocol (the API, section 6): what commands answer, pipelines, what client
programs send on connecting, archived orders, and bytes that are no commands."""

import contextlib
import itertools
import shutil
import socket
import subprocess
import time

import harness
import orders

ANSWERED_WITHIN_SECONDS = 30


class Problem(Exception):
    """An error reply."""


class Client:
    """A connection that speaks RESP 2 and 3, strictly."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), ANSWERED_WITHIN_SECONDS)
        self.file = self.socket.makefile("rb")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data)

    def read(self):
        """One reply; an error reply is returned, not raised."""
        line = self.file.readline()
        assert line.endswith(b"\r\n"), f"the stream ended within a line: {line!r}"
        kind, rest = line[:1], line[1:-2]
        if kind == b"+":
            return rest.decode()
        if kind == b"-":
            return Problem(rest.decode())
        if kind == b":":
            return int(rest)
        if kind == b"_":
            assert rest == b""
            return None
        if kind == b"$":
            return self.read_bulk(int(rest))
        if kind == b"*":
            return None if rest == b"-1" else [self.read() for _ in range(int(rest))]
        assert kind == b"%", line
        return {self.read(): self.read() for _ in range(int(rest))}

    def read_bulk(self, size):
        if size == -1:
            return None
        data = self.file.read(size + 2)
        assert len(data) == size + 2 and data.endswith(b"\r\n"), data
        return data[:-2].decode()

    def call(self, *arguments):
        self.send(command(*arguments))
        reply = self.read()
        if isinstance(reply, Problem):
            raise reply
        return reply

    def fails(self, *arguments):
        """Expects an error reply; returns its text."""
        self.send(command(*arguments))
        reply = self.read()
        assert isinstance(reply, Problem), reply
        return str(reply)

    def at_end(self):
        """True when the server has closed and said nothing more."""
        try:
            return self.file.read(1) == b""
        except ConnectionResetError:
            return True


def command(*arguments):
    parts = [str(argument).encode() for argument in arguments]
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(p), p) for p in parts)


def start(*settings):
    """A running orderd that listens for RESP too, and the port."""
    port = harness.free_port()
    return orders.start(f"resp.listen=127.0.0.1:{port}", *settings), port


def text_of(orderd, order):
    """The order's JSON as HTTP gives it."""
    answer = orderd.get(orders.path_of(order))
    assert answer.status == 200, answer
    return answer.body.decode()


# --- Orders. ---


def test_get_gives_the_same_json_as_http():
    orderd, port = start()
    order = orders.create(orderd, amount=7, bank_code="VCB")
    with Client(port) as client:
        assert client.call("GET", order["order_id"]) == text_of(orderd, order)
        orders.change(orderd, order, "processing")
        assert client.call("get", order["order_id"]) == text_of(orderd, order)


def test_status_follows_the_order():
    orderd, port = start()
    order = orders.create(orderd)
    with Client(port) as client:
        assert client.call("STATUS", order["order_id"]) == "pending"
        orders.change(orderd, order, "cancel")
        assert client.call("STATUS", order["order_id"]) == "cancel"


def test_what_is_no_order_is_nil():
    orderd, port = start()
    order = orders.create(orderd)
    known = order["order_id"]
    strangers = ["1", "0", "-1", "+1", "", "x", "9" * 19, "9223372036854775808", "0" + known]
    strangers += [known + "0", " " + known, "a" * 60000, str(int(known) + 1)]
    with Client(port) as client:
        for key in strangers:
            assert client.call("GET", key) is None, key
            assert client.call("STATUS", key) is None, key
        assert client.call("MGET", *strangers) == [None] * len(strangers)


def test_mget_and_mstatus_keep_the_order_of_their_keys():
    orderd, port = start()
    made = [orders.create(orderd) for _ in range(3)]
    orders.change(orderd, made[1], "success")
    keys = [made[2]["order_id"], "nothing", made[0]["order_id"], made[1]["order_id"]]
    keys.append(keys[0])
    with Client(port) as client:
        texts = client.call("MGET", *keys)
        expected = [None if key == "nothing" else text_of(orderd, key) for key in keys]
        assert texts == expected, texts
        statuses = client.call("MSTATUS", *keys)
        assert statuses == ["pending", None, "pending", "success", "pending"], statuses


def test_a_pipeline_of_anything_is_answered_in_order():
    orderd, port = start()
    made = [orders.create(orderd)["order_id"] for _ in range(5)]
    texts = {order_id: text_of(orderd, order_id) for order_id in made}
    sent, expected = b"", []
    for number, order_id in zip(range(400), itertools.cycle(made)):
        calls = [
            (("GET", order_id), texts[order_id]),
            (("PING",), "PONG"),
            (("MGET", order_id, "x"), [texts[order_id], None]),
            (("ECHO", f"{number}"), f"{number}"),
            (("STATUS", order_id), "pending"),
        ]
        for arguments, reply in calls:
            sent += command(*arguments)
            expected.append(reply)
    with Client(port) as client:
        client.send(sent)
        for reply in expected:
            assert client.read() == reply
    assert orders.metrics(orderd)["orderd_resp_commands_total"] == len(expected)


def test_the_longest_mget_is_answered_and_a_longer_one_refused():
    orderd, port = start()
    order_id = orders.create(orderd)["order_id"]
    text = text_of(orderd, order_id)
    with Client(port) as client:
        assert client.call("MGET", *[order_id] * 1024) == [text] * 1024
        assert "too many keys" in client.fails("MGET", *[order_id] * 1025)
        assert client.call("GET", order_id) == text


def test_archived_orders_are_read_after_a_restart():
    orderd, port = start()
    count = 300
    made = [orders.create(orderd) for _ in range(count)]
    for order in made[:-1]:
        orders.change(orderd, order, "success")
    orders.wait_until_archived(orderd, count - 1)
    assert orderd.stop() == 0
    orderd.start()
    with Client(port) as client, Client(port) as other:
        keys = [order["order_id"] for order in made]
        other.send(b"".join(command("GET", key) for key in keys) + command("PING"))
        texts = client.call("MGET", *keys, "77")
        assert texts[-1] is None
        assert [other.read() for _ in keys] == texts[:-1]
        assert other.read() == "PONG"
        assert texts[:-1] == [text_of(orderd, key) for key in keys]
        assert client.call("MSTATUS", *keys[-2:]) == ["success", "pending"]
    assert orders.metrics(orderd)["orderd_api_resp_lookups_total"] > 0


def test_a_peer_that_leaves_while_its_look_up_is_under_way_harms_nobody():
    orderd, port = start()
    made = [orders.create(orderd)["order_id"] for _ in range(50)]
    for order_id in made:
        orders.change(orderd, order_id, "success")
    orders.wait_until_archived(orderd, len(made))
    orderd.stop()
    orderd.start()
    for _ in range(20):
        with Client(port) as client:
            client.send(command("MGET", *made) * 3)
    with Client(port) as client:
        assert None not in client.call("MGET", *made)


# --- What client programs send. ---


def test_hello_chooses_the_protocol():
    _, port = start()
    with Client(port) as client:
        flat = client.call("HELLO")
        assert isinstance(flat, list) and flat[flat.index("proto") + 1] == 2, flat
        assert client.call("HELLO", 3, "SETNAME", "till-4")["proto"] == 3
        assert client.call("CLIENT", "GETNAME") == "till-4"
        client.send(command("GET", "1"))
        assert client.file.readline() == b"_\r\n"
        assert client.call("HELLO", 2)[5] == 2
        client.send(command("GET", "1"))
        assert client.file.readline() == b"$-1\r\n"
        assert client.fails("HELLO", 4).startswith("NOPROTO")
        assert client.fails("HELLO", "x").startswith("NOPROTO")
        assert client.fails("HELLO", 3, "AUTH", "a", "b").startswith("ERR")
        assert client.fails("HELLO", 3, "SETNAME").startswith("ERR")
        assert client.call("HELLO")[5] == 2  # what was refused changed nothing


def test_the_calls_of_connecting_clients_are_answered():
    _, port = start()
    with Client(port) as client:
        assert client.call("PING") == "PONG"
        assert client.call("PING", "x y") == "x y"
        assert client.call("ECHO", "") == ""
        assert client.call("CONFIG", "GET", "save") == ["save", ""]
        assert client.call("CONFIG", "GET", "appendonly") == ["appendonly", "no"]
        assert client.call("CONFIG", "GET", "no-such-thing") == []
        assert client.call("CLIENT", "SETNAME", "a") == "OK"
        assert client.call("CLIENT", "SETINFO", "LIB-NAME", "x") == "OK"
        assert client.call("CLIENT", "ID") > 0
        assert "redis_version:" in client.call("INFO")
        assert "redis_version:" in client.call("INFO", "server")
        table = client.call("COMMAND")
        assert client.call("COMMAND", "COUNT") == len(table)
        assert [entry[0] for entry in table] == client.call("COMMAND", "LIST")
        assert client.call("COMMAND", "INFO", "get", "set")[1] is None
        assert client.call("COMMAND", "DOCS", "get")[0] == "get"
        assert len(client.call("COMMAND", "DOCS")) == 2 * len(table)


def test_other_commands_are_unknown_and_nothing_is_written():
    _, port = start()
    with Client(port) as client:
        for words in (["SET", "1", "x"], ["DEL", "1"], ["FLUSHALL"], ["SELECT", "0"], [""]):
            assert client.fails(*words) == "ERR unknown command", words
        assert client.fails("CONFIG", "SET", "save", "x").startswith("ERR")
        assert client.fails("x" * 60000) == "ERR unknown command"


def test_a_wrong_number_of_arguments_is_an_error_and_the_connection_goes_on():
    _, port = start()
    with Client(port) as client:
        for words in (["GET"], ["GET", "1", "2"], ["MGET"], ["STATUS"], ["MSTATUS"], ["ECHO"],
                      ["PING", "a", "b"], ["CLIENT"], ["CONFIG", "GET"], ["HELLO", *"12345678"]):  # fmt: skip
            assert "wrong number of arguments" in client.fails(*words), words
        assert client.call("PING") == "PONG"


def test_the_longest_calls_of_every_command_are_bounded():
    orderd, port = start()
    names = ["get", "mget", "status", "mstatus", "ping", "echo", "hello", "client", "command",
             "config", "info", "quit", "nothing"]  # fmt: skip
    for name in names:
        for words in (["x" * 60000], ["info"] * 255, ["info"] + ["mstatus"] * 16382, ["get"] * 63,
                      ["docs"] + ["get"] * 255, ["2", "setname", "n" * 64]):  # fmt: skip
            with Client(port) as client:
                client.send(command(name, *words))
                client.read()
                if name != "quit":
                    assert client.call("PING") == "PONG", (name, words[:2])
    assert orderd.process.poll() is None


def test_redis_cli_and_redis_benchmark_work():
    for program in ("redis-cli", "redis-benchmark"):
        if not shutil.which(program):
            harness.skip(f"{program} is not installed")
    orderd, port = start()
    order = orders.create(orderd)
    text = text_of(orderd, order)
    for version in ("-2", "-3"):
        call = ["redis-cli", "-p", str(port), version, "GET", order["order_id"]]
        assert subprocess.check_output(call, text=True, timeout=30).strip() == text
    typed = f"STATUS {order['order_id']}\nCOMMAND COUNT\nquit\n"
    call = ["redis-cli", "-p", str(port)]
    said = subprocess.run(call, input=typed, capture_output=True, text=True, timeout=30, check=True)
    assert said.stdout.split()[0] == "pending", said
    call = ["redis-benchmark", "-p", str(port), "-n", "2000", "-P", "16", "-q"]
    result = subprocess.run(
        [*call, "GET", order["order_id"]], capture_output=True, text=True, timeout=60, check=True
    )
    assert "requests per second" in result.stdout and not result.stderr, result


# --- Hostile bytes. ---


def test_broken_bytes_get_an_error_and_the_end():
    orderd, port = start()
    broken = [b"*-1\r\n", b"*1\r\n$-1\r\n", b"*1\r\n$99999999999\r\n", b"*99999999999\r\n",
              b"*1\r\n:1\r\n", b"*1\n", b"*1\r\n$1\r\nabc\r\n", b"\x16\x03\x01\x00\x05", b"\0",
              b"a" * 5000, b"*01\r\n"]  # fmt: skip
    for data in broken:
        with Client(port) as client:
            client.send(command("PING") + data)
            assert client.read() == "PONG", data
            reply = client.read()
            assert isinstance(reply, Problem) and "Protocol error" in str(reply), (data, reply)
            assert client.at_end(), data
    assert orders.metrics(orderd)["orderd_resp_malformed_total"] == len(broken)


def test_inline_commands_are_served():
    _, port = start()
    with Client(port) as client:
        client.send(b"PING\r\n\r\n  echo  a \nNOPE\r\nGET\r\n")
        assert client.read() == "PONG"
        assert client.read() == "a"
        assert str(client.read()) == "ERR unknown command"
        assert "wrong number" in str(client.read())


def test_half_a_command_and_silence_ends_the_connection():
    _, port = start("resp.command_timeout_ms=300")
    with Client(port) as client:
        begun = time.monotonic()
        client.send(b"*2\r\n$3\r\nGET\r\n$5\r\n12")
        assert "took too long" in str(client.read())
        assert client.at_end()
        assert time.monotonic() - begun < 20


def test_a_peer_that_never_reads_is_cut_off_and_others_are_served():
    orderd, port = start("resp.write_timeout_ms=500")
    order_id = orders.create(orderd)["order_id"]
    with Client(port) as deaf, Client(port) as other:
        deaf.socket.settimeout(0.2)
        calls = rest = command("MGET", *[order_id] * 100) * 20
        deadline = time.monotonic() + ANSWERED_WITHIN_SECONDS
        with contextlib.suppress(ConnectionError):
            while time.monotonic() < deadline:
                with contextlib.suppress(TimeoutError):  # a slow server has not yet got to its limit
                    rest = rest[deaf.socket.send(rest) :] or calls
        assert other.call("STATUS", order_id) == "pending"
        orders.wait_for_metric(orderd, "orderd_resp_write_timeouts_total", 1)


def test_quit_answers_and_closes():
    _, port = start()
    with Client(port) as client:
        client.send(command("PING") + command("QUIT") + command("PING"))
        assert [client.read(), client.read()] == ["PONG", "OK"]
        assert client.at_end()


def is_served(port):
    with Client(port) as client:
        client.send(command("PING"))
        return client.read() == "PONG"


def test_connections_beyond_the_limit_are_refused():
    _, port = start("resp.connections_max=2", "server.threads=1")
    with Client(port) as first, Client(port) as second:
        assert [first.call("PING"), second.call("PING")] == ["PONG", "PONG"]
        with Client(port) as third:
            assert "max number of clients" in str(third.read())
            assert third.at_end()
    harness.wait_for(lambda: is_served(port), what="a free connection")


def test_a_stop_answers_what_was_sent():
    orderd, port = start()
    with Client(port) as client:
        assert client.call("PING") == "PONG"
        assert orderd.stop() == 0
        assert client.at_end()


def test_only_this_machine_may_connect_without_authentication():
    other = orders.start("resp.listen=0.0.0.0:0", wait=False)
    assert other.wait_for_end() == 2
    assert "resp.listen" in other.log()


if __name__ == "__main__":
    harness.run(globals())
