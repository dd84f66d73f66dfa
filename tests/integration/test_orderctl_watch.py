"""orderctl watch: event streams, reconnects, ends."""
# run-tests: parallel

import http.server
import json
import subprocess
import threading
import time

import harness
import orderctl


class Watch:
    """orderctl watch in the background; its lines are read as they come."""

    def __init__(self, server, *arguments):
        command = [harness.program("orderctl"), "watch", *map(str, arguments), "--json"]
        command += ["--server", getattr(server, "url", server)]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def next(self):
        line = self.process.stdout.readline()
        assert line, f"the watch ended: {self.process.stderr.read()}"
        return json.loads(line)

    def end(self):
        """Waits for its end by itself. Returns the exit status."""
        return self.process.wait(orderctl.ENDED_WITHIN_SECONDS)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        self.process.stderr.close()


class Stream:
    """A service of event streams: each connection gets the next of `scripts`, a list of bytes, and
    is closed. What the clients asked for is in `requests`: (path, Last-Event-ID)."""

    def __init__(self, scripts, status=200):
        stream = self
        self.requests = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                stream.requests.append((self.path, self.headers.get("Last-Event-ID")))
                body = scripts.pop(0) if scripts else None
                if body is None:
                    self.send_response(503)
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                self.send_response(status)
                self.send_header("Content-Type", "text/event-stream")
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.server = orderctl.Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()


def event(name, cursor, **order):
    return f"event: {name}\nid: {cursor}\ndata: {json.dumps(order)}\n\n".encode()


def test_an_order_is_watched_until_it_is_final():
    orderd = harness.Orderd()
    order = orderctl.create(orderd, 1)
    with Watch(orderd, order["order_id"]) as watch:
        first = watch.next()
        assert first["event"] == "order" and first["status"] == "pending", first
        orderctl.run("set", order["order_id"], "processing", server=orderd)
        second = watch.next()
        assert second["event"] == "changed" and second["version"] == 2, second
        assert second["cursor"], second
        orderctl.run("set", order["order_id"], "success", server=orderd)
        assert watch.next()["status"] == "success"
        assert watch.end() == 0


def test_a_final_order_is_shown_once():
    orderd = harness.Orderd()
    order = orderctl.create(orderd, 1)
    orderctl.run("set", order["order_id"], "cancel", server=orderd)
    lines = orderctl.run("watch", order["order_id"], server=orderd).out.splitlines()
    assert len(lines) == 1 and "cancel  version 2" in lines[0], lines


def test_all_changes_are_watched_from_the_oldest_or_behind_a_cursor():
    orderd = harness.Orderd()
    ids = [orderctl.create(orderd, number)["order_id"] for number in range(3)]
    arguments = ["watch", "--changes", "--json", "--after"]
    lines = orderctl.run(*arguments, "0", "--limit", 3, server=orderd).json_lines
    assert [line["order_id"] for line in lines] == ids, lines
    assert {line["event"] for line in lines} == {"created"}, lines
    behind = orderctl.run(*arguments, lines[1]["cursor"], "--limit", 1, server=orderd).json_lines
    assert [line["order_id"] for line in behind] == ids[2:], behind


def test_without_a_cursor_changes_are_watched_from_now():
    orderd = harness.Orderd()
    orderctl.create(orderd, 1)
    with Watch(orderd, "--changes", "--limit", 1) as watch:
        harness.wait_for(lambda: b"orderd_api_streams 1" in orderd.get("/metrics").body)
        order = orderctl.create(orderd, 2)
        assert watch.next()["order_id"] == order["order_id"]
        assert watch.end() == 0


def test_what_cannot_be_watched_is_refused():
    orderd = harness.Orderd()
    assert "404" in orderctl.run("watch", 12, server=orderd, status=1).err
    result = orderctl.run("watch", "--changes", "--after", "nonsense", server=orderd, status=1)
    assert "400" in result.err, result


def test_a_broken_stream_goes_on_where_it_broke():
    order = {"order_id": "12", "partner_code": "a", "partner_order_id": "b"}
    scripts = [
        event("created", "c1", status="pending", version=1, **order) + b"event: changed\nid: c",
        b": alive\n\n",
        event("changed", "c2", status="processing", version=2, **order),
    ]
    with Stream(scripts) as stream:
        result = orderctl.run("watch", "--changes", "--limit", 2, "--json", server=stream.url)
        assert [line["version"] for line in result.json_lines] == [1, 2], result
        assert stream.requests == [
            ("/v1/changes", None),
            ("/v1/changes", "c1"),
            ("/v1/changes", "c1"),
        ], stream.requests


def test_an_order_that_is_met_again_after_a_reconnect_is_not_shown_twice():
    scripts = [
        event("order", "c1", order_id="12", status="pending", version=1),
        event("order", "c1", order_id="12", status="pending", version=1),
        event("order", "c2", order_id="12", status="success", version=2),
    ]
    with Stream(scripts) as stream:
        lines = orderctl.run("watch", "12", "--json", server=stream.url).json_lines
        assert [line["version"] for line in lines] == [1, 2], lines


def test_a_service_that_stays_away_is_given_up():
    scripts = [event("order", "c1", order_id="12", status="pending", version=1)]
    with Watch("http://127.0.0.1:1", 12) as watch:
        assert watch.end() == 3
    with Stream(scripts) as stream:
        with Watch(stream.url, 12, "--retries", 3) as watch:
            assert watch.next()["version"] == 1
            begin = time.monotonic()
            stream.server.shutdown()
            stream.server.server_close()
            assert watch.end() == 3
            assert time.monotonic() - begin < 20


def test_a_cursor_that_is_no_longer_kept_ends_the_watch():
    body = json.dumps({"title": "Gone", "status": 410}).encode()
    with Stream([body], status=410) as stream:
        result = orderctl.run("watch", "--changes", "--after", "c9", server=stream.url, status=1)
        assert "410 Gone" in result.err, result
        assert stream.requests == [("/v1/changes?after=c9", None)]


def test_an_event_that_is_no_order_ends_the_watch():
    with Stream([b"data: nonsense\n\n"]) as stream:
        assert "no order" in orderctl.run("watch", 12, server=stream.url, status=1).err


def test_a_watch_ends_when_nobody_reads_it_any_more():
    """As behind `| head -1`, although nothing more happens that it could fail to write."""
    orderd = harness.Orderd()
    orderctl.create(orderd, 1)
    with Watch(orderd, "--changes", "--after", 0) as watch:
        assert watch.next()["event"] == "created"
        watch.process.stdout.close()
        assert watch.end() == 0, watch.process.stderr.read()


def test_a_watch_whose_output_cannot_be_written_ends_and_says_so():
    orderd = harness.Orderd()
    orderctl.create(orderd, 1)
    command = [harness.program("orderctl"), "watch", "--changes", "--after", "0"]
    with open("/dev/full", "w") as full:
        result = subprocess.run(
            [*command, "--server", orderd.url], stdout=full, stderr=subprocess.PIPE, text=True,
            check=False, timeout=orderctl.ENDED_WITHIN_SECONDS,
        )  # fmt: skip
    assert result.returncode == 3 and "cannot be written" in result.stderr, result


if __name__ == "__main__":
    harness.run(globals())
