# run-tests: parallel, timeout=240
"""The service as its operator sees it: configuration, health, metrics, its description of itself,
reloads, overload, and what a restart keeps.
"""

import atexit
import http.client
import json
import pathlib
import random
import re
import resource
import select
import shutil
import signal
import subprocess
import tempfile
import threading
import time

import disks
import harness
import orders
from orders import Client, change, check_problem, create, draft, head, path_of, read

# --- Configuration. ---


def run_orderd(*arguments, status=0):
    """Runs it to its end; returns (standard output, standard error)."""
    command = [harness.program("orderd"), *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == status, (command, result)
    return result.stdout, result.stderr


def config_file(text):
    path = scratch() / "orderd.conf"
    path.write_text(text)
    return path


def scratch():
    """A directory that goes when the tests end."""
    path = pathlib.Path(tempfile.mkdtemp(prefix="orderd-config-"))
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    return path


def printed_config(*arguments):
    """{(section, key): (value, comment)} of --print-config, and its text."""
    text, errors = run_orderd(*arguments, "--print-config")
    assert errors == "", errors
    values, section, comment = {}, None, None
    for line in filter(None, text.splitlines()):
        if line.startswith(";"):
            comment = line
        elif line.startswith("["):
            section = line.strip("[]")
        else:
            key, separator, value = line.partition(" = ")
            assert separator and comment is not None, f"no value, or no help above it: {line!r}"
            assert (section, key) not in values, line
            values[section, key] = (value, comment)
            comment = None
    return values, text


def test_the_printed_configuration_is_a_valid_file_that_says_the_same():
    values, text = printed_config()
    assert printed_config("--config", config_file(text)) == (values, text)
    run_orderd("--config", config_file(text), "--check-config")
    for (section, key), (value, comment) in values.items():
        assert comment.startswith("; ") and f"default: {value}" in comment, (section, key, comment)
    settings = ("server.threads=3", "order.currency=EUR", "journal.segment_mb=16", "http.backlog=7")
    changed = [word for setting in settings for word in ("--set", setting)]
    changed_values, changed_text = printed_config(*changed)
    assert changed_values["order", "currency"][0] == "EUR", changed_values
    assert changed_values["http", "backlog"][0] == "7", changed_values
    assert printed_config("--config", config_file(changed_text)) == (changed_values, changed_text)
    assert {key for key, value in values.items() if value != changed_values[key]} == {
        tuple(setting.partition("=")[0].split(".")) for setting in settings
    }


def test_a_bad_value_of_any_key_is_refused_and_named():
    values, _ = printed_config()
    for (section, key), (value, comment) in values.items():
        if re.fullmatch(r"\d+", value):
            bad = ("", "x", "-1", "1.5", "99999999999999999999999", f"{value}x")
        elif value in ("yes", "no"):
            bad = ("maybe", "2")
        elif "|" in comment:
            bad = ("nothing-of-these",)
        else:
            bad = ("x" * 5000,)
        for wrong in bad:
            _, told = run_orderd("--set", f"{section}.{key}={wrong}", "--check-config", status=2)
            assert told.count("\n") == 1 and f"{section}.{key}: expected" in told, (wrong, told)


def test_a_bad_file_is_refused_with_file_line_and_key():
    for text, line, told in (
        ("[server]\n; fine\nnonsense = 3\n", 3, "server.nonsense: unknown key"),
        ("[server]\nthreads = many\n", 2, 'server.threads: expected a whole number, 0..256, got'),
        ("[nowhere]\nthreads = 1\n", 2, "nowhere.threads: unknown section"),
        ("[server]\n\nlisten\n", 3, "expected "),
        ("threads = 1\n", 1, ".threads: unknown section"),
        ("[server]\nlisten = 0.0.0.0:80\n", 2, "server.listen: expected a loopback address"),
        ("[server]\nlisten = here\n", 2, "server.listen: expected an IP address and a port"),
        ("[order]\n\n\ncurrency = XAU\n", 4, "order.currency: expected"),
        (
            "[order]\ntimeout_seconds = 100\nidempotency_window_seconds = 50\n",
            3,
            "order.idempotency_window_seconds: expected at least order.timeout_seconds (100)",
        ),
        ("[journal]\nsegment_mb = 100\nmax_mb = 200\n", 3, "journal.max_mb: expected at least"),
        ("[server]\ndata_dir =\n", 2, "server.data_dir: expected the path of a directory"),
        ("[resp]\nlisten = 127.0.0.1:8080\n", 2, "resp.listen: expected another port than"),
    ):
        path = config_file(text)
        for last in ("--check-config", "--print-config"):
            _, errors = run_orderd("--config", path, last, status=2)
            assert errors.count("\n") == 1 and f"{path}:{line}: {told}" in errors, (text, errors)
    _, errors = run_orderd("--config", scratch() / "none", "--check-config", status=2)
    assert "none: cannot be opened" in errors, errors


def test_http_and_resp_cannot_share_an_address():
    """The system would let them: half of the connections would come to the wrong one."""
    for http, resp, shared in (
        ("127.0.0.1:7000", "127.0.0.1:7000", True),
        ("127.0.0.1:7000", "127.0.0.1:7001", False),
        ("127.0.0.1:7000", "127.0.0.2:7000", False),
        ("127.0.0.1:0", "127.0.0.1:0", False),
        ("0.0.0.0:7000", "127.0.0.1:7000", True),
        ("127.0.0.1:7000", "[::]:7000", True),
        ("[::ffff:127.0.0.1]:7000", "127.0.0.1:7000", True),
        ("0.0.0.0:7000", "[::1]:7000", False),
        ("[::1]:7000", "[::1]:7000", True),
        ("127.0.0.1:7000", "", False),
    ):
        settings = (f"server.listen={http}", f"resp.listen={resp}", "server.insecure=yes")
        arguments = [part for setting in settings for part in ("--set", setting)]
        _, errors = run_orderd(*arguments, "--check-config", status=2 if shared else 0)
        assert ("resp.listen: expected another port" in errors) == shared, (http, resp, errors)


def test_the_clusters_example_is_a_valid_file():
    run_orderd("--config", pathlib.Path(__file__).parents[2] / "deploy/orderd.conf", "--check-config")


def test_a_clusters_servers_are_judged_before_the_start():
    for text, line, told in (
        ("[mysql]\nshards = here\n", 2, "mysql.shards: expected"),
        ("[redis]\nnodes = 127.0.0.1\n", 2, "redis.nodes: expected"),
        ("[cassandra]\n\nhosts = 127.0.0.1:99999\n", 3, "cassandra.hosts: "),
        ("[audit]\nquery_instances = a:80,b\n", 2, "audit.query_instances: expected host:port"),
        ("[redis]\nlock_ms = 7799\n", 2, "redis.lock_ms: expected at least mysql.read_timeout_ms"),
    ):
        path = config_file(text)
        run_orderd("--config", path, "--check-config")  # nothing of it is used embedded
        _, errors = run_orderd(
            "--config", path, "--set", "store.hot=mysql", "--check-config", status=2
        )
        assert errors.count("\n") == 1 and f"{path}:{line}: {told}" in errors, (text, errors)


def test_a_command_line_that_is_none_is_refused():
    for arguments, told in (
        (("--nonsense",), "--nonsense"),
        (("--config",), "--config"),
        (("word",), "word"),
        (("--set", "server"), "--set server: expected section.key=value"),
        (("--set", "server.nothing=1", "--check-config"), "server.nothing: unknown key"),
        (("--roles", "dancer", "--check-config"), "server.roles: expected"),
    ):
        _, errors = run_orderd(*arguments, status=2)
        assert errors.count("\n") == 1 and told in errors, (arguments, errors)
    assert re.fullmatch(r"orderd \d+\.\d+\.\d+\n", run_orderd("--version")[0])
    assert "--print-config" in run_orderd("--help")[0]


def test_a_reload_applies_what_it_can_and_refuses_the_rest():
    path = config_file("[server]\nlog_level = info\n")
    orderd = orders.start(arguments=("--config", path))

    def reload(text, told):
        before = len(orderd.log())
        path.write_text(text)
        orderd.signal(signal.SIGHUP)
        harness.wait_for(lambda: told in orderd.log()[before:], what=f"{told!r} in the log")
        create(orderd)

    reload("[server]\nlog_level = debug\n", "config: read again")
    reload("[server]\nlog_level = loud\n", f"config: not applied: {path}:2: server.log_level: exp")
    reload("[order]\ntimeout_seconds = 5\n", "order.timeout_seconds can change only at a restart")
    # What can be applied is, whatever else has changed; of a file with a mistake nothing is.
    both = "[order]\ntimeout_seconds = 5\n[server]\nlog_level = "
    restart = "warning config: not applied: order.timeout_seconds can change only at a restart"
    reload(both + "warning\n", restart)
    quiet_from = len(orderd.log())
    mistake = "[server]\nlog_level = info\nthreads = many\n"
    reload(mistake, f"config: not applied: {path}:3: server.threads: expected")
    reload(both + "warning\n", restart)
    assert " info " not in orderd.log()[quiet_from:], orderd.log()[quiet_from:]
    reload("[server]\nlog_level = info\n", "config: read again")
    path.unlink()
    before = len(orderd.log())
    orderd.signal(signal.SIGHUP)
    harness.wait_for(lambda: "cannot be opened" in orderd.log()[before:])
    create(orderd)


def test_an_address_in_use_is_refused_and_its_holder_goes_on():
    first = orders.start()
    second = orders.start(f"server.listen=127.0.0.1:{first.port}", wait=False)
    assert second.wait_for_end() == 1
    assert f"server.listen: 127.0.0.1:{first.port}: " in second.log(), second.log()
    create(first)


# --- What it tells of itself. ---


def test_health_and_readiness():
    orderd = orders.start()
    assert orderd.get("/healthz").json == {"status": "ok"}
    assert orderd.get("/readyz").json == {"status": "ready"}
    for path in ("/healthz", "/readyz"):
        assert orderd.get(path).headers["content-type"] == "application/json"
        answer = orderd.request("HEAD", path)
        assert answer.status == 200 and answer.body == b"", answer


def test_a_process_that_is_about_to_end_says_so_and_still_serves():
    orderd = orders.start("server.drain_delay_ms=600000")
    with Client(orderd) as kept:
        order = create(kept)
        orderd.end_asked = True
        orderd.signal(signal.SIGTERM)
        harness.wait_for(lambda: orderd.get("/readyz").status == 503, 10, "the word")
        assert "about to end" in check_problem(orderd.get("/readyz"), 503)["detail"]
        assert orderd.get("/healthz").status == 200
        assert read(kept, order) == order and create(orderd)["version"] == 1
    begin = time.monotonic()
    orderd.signal(signal.SIGTERM)  # a second one: without the delay
    assert orderd.process.wait(harness.STOPPED_WITHIN_SECONDS) == 0
    assert time.monotonic() - begin < 30


SAMPLE = re.compile(r'([a-z_:][a-z0-9_:]*)(?:\{([a-z]+="[^"]*"(?:,[a-z]+="[^"]*")*)\})? (\d+)')


def families_of(text):
    """{name: (kind, [(sample name, labels, value)])} of the metrics' text, judged strictly."""
    assert text.endswith("\n"), text[-80:]
    families, name, pending = {}, None, None
    for line in text.splitlines():
        if line.startswith("# HELP "):
            _, _, pending, told = line.split(" ", 3)
            assert told.strip() and pending not in families, line
        elif line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert name == pending and kind in ("counter", "gauge", "histogram"), line
            families[name] = (kind, [])
        else:
            match = SAMPLE.fullmatch(line)
            assert match and name is not None, f"no sample: {line!r}"
            suffixes = ("_bucket", "_sum", "_count") if families[name][0] == "histogram" else ("",)
            assert match[1] in [name + suffix for suffix in suffixes], (name, line)
            families[name][1].append((match[1], match[2], int(match[3])))
    return families


def check_histogram(name, samples):
    buckets = [(labels, value) for sample, labels, value in samples if sample.endswith("_bucket")]
    counts = [value for sample, _, value in samples if sample.endswith("_count")]
    sums = [value for sample, _, value in samples if sample.endswith("_sum")]
    series, ends = [], []
    for labels, value in buckets:
        limit = re.search(r'le="([^"]*)"', labels)[1]
        series.append((float(limit.replace("+Inf", "inf")), value))
        if limit == "+Inf":
            assert series == sorted(series), (name, series)
            assert [count for _, count in series] == sorted(count for _, count in series), name
            ends.append(value)
            series = []
    assert not series and ends == counts and len(sums) == len(counts) > 0, (name, samples)


def test_metrics_have_help_and_type_and_count_what_happens():
    orderd = orders.start()
    change(orderd, create(orderd), "success")
    before = orderd.get("/metrics")
    assert before.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8", before
    families = families_of(before.body.decode())
    for name, (kind, samples) in families.items():
        assert name.startswith("orderd_") and samples, name
        assert (kind == "counter") == name.endswith("_total"), (name, kind)
        # OpenMetrics knows a counter without its ending: no gauge may have that name.
        assert kind != "counter" or name.removesuffix("_total") not in families, name
        names = [(sample, labels) for sample, labels, _ in samples]
        assert len(names) == len(set(names)), names
        if kind == "histogram":
            check_histogram(name, samples)
    assert {kind for kind, _ in families.values()} == {"counter", "gauge", "histogram"}
    for _ in range(7):
        create(orderd)
    after = families_of(orderd.get("/metrics").body.decode())
    assert set(after) == set(families)

    def total(of, name):
        return sum(value for _, _, value in of[name][1])

    assert total(after, "orderd_store_created_total") == 8
    for name, (kind, _) in families.items():
        if kind == "counter":
            assert total(after, name) >= total(families, name), name


def documented(description):
    """{path: methods} of the description."""
    return {
        path: {method.upper() for method in item if method != "parameters"}
        for path, item in description["paths"].items()
    }


def test_the_description_is_the_file_and_names_every_route_and_method():
    orderd = orders.start()
    answer = orderd.get("/openapi.json")
    assert answer.headers["content-type"] == "application/json", answer.headers
    assert answer.body == (harness.ROOT / "docs/openapi.json").read_bytes()
    description = answer.json
    assert re.fullmatch(r"3\.1\.\d+", description["openapi"]), description["openapi"]
    routes = documented(description)
    source = (harness.ROOT / "src/api/route.c").read_text()
    known = set(re.findall(r'\{SLICE_LITERAL\("(/[^"]*)"\)', source))
    known |= {"/v1/orders/{order_id}", "/v1/orders/{order_id}/events"}
    assert set(routes) == known, set(routes) ^ known
    order = create(orderd)
    for path, methods in routes.items():
        here = path.replace("{order_id}", order["order_id"])
        for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
            with orderd.connect() as connection:
                connection.send(head(method, here, body=b""))
                status = connection.take_line().split()[1]
            assert (status == b"405") == (method not in methods), (method, path, status)
            assert status not in (b"404", b"501"), (method, path, status)
    check_problem(orderd.get("/v1/nothing"), 404)


def references_of(value):
    if isinstance(value, dict):
        for key, member in value.items():
            if key == "$ref":
                yield member
            yield from references_of(member)
    elif isinstance(value, list):
        for member in value:
            yield from references_of(member)


def test_the_description_holds_together():
    description = json.loads((harness.ROOT / "docs/openapi.json").read_text())
    references = set(references_of(description))
    assert references
    for reference in references:
        at = description
        assert reference.startswith("#/"), reference
        for part in reference[2:].split("/"):
            at = at[part]
    operations = [
        operation
        for item in description["paths"].values()
        for method, operation in item.items()
        if method != "parameters"
    ]
    names = [operation["operationId"] for operation in operations]
    assert len(names) == len(set(names)), names
    assert all(operation["responses"] for operation in operations)


# --- Overload. ---


def allow_descriptors(count):
    """So many for this process and those that it starts; skips where the system forbids it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < count:
        harness.skip(f"the system allows {hard} open files, and this needs {count}")
    if soft != resource.RLIM_INFINITY and soft < count:
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))


def test_more_creates_at_once_than_are_queued_get_503_at_once():
    """The disk makes every write wait meanwhile, so nothing leaves the queue."""
    count = 6000  # the queue of a thread takes 4,096
    allow_descriptors(2 * count + 500)
    with disks.freezable(128) as (path, frozen):
        settings = ("server.threads=1", "http.connections_max=10000", "http.backlog=4096")
        orderd = orders.start(*settings, data_dir=path / "data")
        known = create(orderd)
        bodies = [draft() for _ in range(count)]
        kind = "Content-Type: application/json"
        with orders.many(count, orderd.connect) as connections:
            with frozen():
                for connection, body in zip(connections, bodies):
                    data = json.dumps(body).encode()
                    connection.send(head("POST", "/v1/orders", kind, body=data))
                orders.wait_for_metric(orderd, "orderd_command_refused_total", 1000)
                early = {index: connections[index].read_answer() for index in told(connections)}
                assert len(early) >= 1000, len(early)
                for answer in early.values():
                    check_problem(answer, 503)
                assert read(orderd, known) == known
                assert orderd.get("/healthz").status == 200
            late = [i for i in range(count) if i not in early]
            answers = [connections[index].read_answer() for index in late]
        assert {answer.status for answer in answers} == {201}
        print(f"# {len(answers)} taken, {len(early)} refused")
        orderd.kill()
        orderd.start()
        for answer in answers[::20]:
            assert read(orderd, answer.json) == answer.json
        for body in [bodies[index] for index in early][::20]:
            query = f"?partner_code=acme&partner_order_id={body['partner_order_id']}"
            assert orderd.get("/v1/orders" + query).status == 404
            assert orderd.post("/v1/orders", body).status == 201


def told(connections):
    """Which of the connections have something to read."""
    poll = select.poll()
    numbers = {}
    for number, connection in enumerate(connections):
        poll.register(connection.socket, select.POLLIN)
        numbers[connection.socket.fileno()] = number
    return [numbers[descriptor] for descriptor, _ in poll.poll(1000)]


def test_more_batches_at_once_than_are_worked_on_get_503_at_once():
    orderd = orders.start("server.threads=1", "api.batches_max=1")
    taken, refused = [], []
    with orders.many(12, orderd.connect) as connections:
        for _ in range(20):
            batch = b"".join(orders.record() for _ in range(400))
            request = head("POST", "/v1/batch/orders", *header_lines(orders.OCTETS), body=batch)
            orderd.signal(signal.SIGSTOP)
            for connection in connections:
                connection.send(request)
            orderd.signal(signal.SIGCONT)
            for answer in [connection.read_answer() for connection in connections]:
                (taken if answer.status == 200 else refused).append(answer)
            if refused and taken:
                break
    assert taken and refused, (len(taken), len(refused))
    for answer in refused:
        check_problem(answer, 503)
    orders.post_records(orderd, [orders.record()])


def test_a_body_for_which_no_buffer_is_free_is_503_and_told_once_when_to_come_back():
    orderd = orders.start("server.threads=1", "http.large_buffers=1", "http.medium_buffers=1")
    batch = b"".join(orders.record() for _ in range(1000))
    request = head("POST", "/v1/batch/orders", *header_lines(orders.OCTETS), body=batch)

    def refused():
        with orderd.connect() as connection:
            answer = connection.exchange(request)
        return answer if answer.status != 200 else None

    with orderd.connect() as holder:
        holder.send(request[:100_000])
        check_problem(harness.wait_for(refused), 503)
        holder.send(request[100_000:])
        assert holder.read_answer().status == 200


def header_lines(headers):
    return [f"{name}: {value}" for name, value in headers.items()]


TINY = ("memory.budget_mb=8", "journal.tail_changes=16384")


def fill_memory(orderd):
    """Creates orders until memory has no room for more; returns their ids."""
    ids = []
    while True:
        body = b"".join(orders.record() for _ in range(1000))
        answer = orderd.post("/v1/batch/orders", body, orders.OCTETS)
        assert answer.status == 200, answer
        results = list(orders.RESULT.iter_unpack(answer.body))
        assert {result[2] for result in results} <= {201, 503}, results[:9]
        ids += [result[0] for result in results if result[2] == 201]
        if any(result[2] == 503 for result in results):
            return ids
        assert len(ids) < 1_000_000, "it is never full"


def test_full_memory_refuses_creates_until_orders_end():
    orderd = orders.start(*TINY)
    ids = fill_memory(orderd)
    check_problem(orderd.post("/v1/orders", draft()), 503)
    assert {state for state in orders.post_statuses(orderd, ids[:8000])} == {(1, 1, 0)}
    with Client(orderd) as client:
        for order_id in ids[:200]:
            answer = client.patch(f"/v1/orders/{order_id}", {"status": "success"})
            assert answer.status == 200, answer
        harness.wait_for(
            lambda: client.post("/v1/orders", draft()).status == 201, what="room for a create"
        )
        for order_id in ids[:200]:
            answer = client.get(f"/v1/orders/{order_id}")
            assert answer.status == 200 and answer.json["status"] == "success", answer


# --- What a restart keeps. ---


def mixed_orders(orderd):
    """Orders of every status, with and without what is optional; as they are now."""
    made = []
    paths = [[]] + [[status] for status in orders.MOVES["pending"]]
    paths += [["processing", status] for status in orders.MOVES["processing"]]
    for number, path in enumerate(paths * 4):
        members = {"currency": "EUR", "bank_code": "BANK-1"} if number % 2 else {}
        payment = orders.PAYMENTS[number % 3]
        order = create(orderd, amount=number + 1, payment_type=payment, **members)
        for status in path:
            order = change(orderd, order, status)
        made.append(order)
    return made


def check_everything(orderd, made):
    """Asks in every way; first in a different one each time, since an answer brings an archived
    order back into memory, where the next question finds it."""

    def by_id(order):
        assert read(orderd, order) == order

    def by_reference(order):
        query = f"partner_code=acme&partner_order_id={order['partner_order_id']}"
        assert orderd.get(f"/v1/orders?{query}").json == order

    def by_replay(order):
        same = {name: order[name] for name in orders.MEMBERS[1:7]}
        replay = orderd.post("/v1/orders", same)
        assert replay.status == 200 and replay.json == order, replay

    ways = [by_id, by_reference, by_replay]
    for number, order in enumerate(made):
        for way in range(3):
            ways[(number + way) % 3](order)
    found = orders.post_get(orderd, [order["order_id"] for order in made])
    assert found == made


def test_a_restart_of_any_kind_keeps_everything():
    orderd = orders.start()
    made = mixed_orders(orderd)
    for end in (orderd.stop, orderd.kill, orderd.stop):
        end()
        orderd.start()
        check_everything(orderd, made)
        made += [create(orderd), change(orderd, create(orderd), "cancel")]


def test_other_settings_at_a_restart_lose_nothing():
    orderd = orders.start("journal.checkpoint_mb=1", "journal.keep_mb=0")
    made = mixed_orders(orderd)
    ended = sum(order["status"] in orders.FINAL for order in made)
    orders.wait_until_archived(orderd, ended)
    filler = orders.post_records(orderd, [orders.record() for _ in range(8000)])
    filler += orders.post_records(orderd, [orders.record() for _ in range(8000)])
    orders.wait_for_metric(orderd, "orderd_journal_checkpoints_total", 1)
    settings = list(orderd.settings)
    for others in (
        ["memory.reference_filter_mb=1"],  # not the size that the checkpoint has
        ["memory.budget_mb=32", "server.threads=1"],
        ["journal.segment_mb=16", "journal.tail_changes=16384"],
        ["archive.cache_mb=1", "archive.write_buffer_mb=1"],
        [],
    ):
        orderd.settings = settings + others
        orderd.stop()
        orderd.start()
        check_everything(orderd, made)
        states = orders.post_statuses(orderd, [result[0] for result in filler[::2]])
        assert set(states) == {(1, 1, 0)}


def test_memory_that_is_too_small_for_what_is_stored_stops_the_start_and_says_so():
    orderd = orders.start()
    ids = []
    for _ in range(10):
        ids += [result[0] for result in orders.post_records(orderd, records_of(8000))]
    orderd.stop()
    settings = list(orderd.settings)
    orderd.settings = settings + list(TINY)
    orderd.start(wait=False)
    assert orderd.wait_for_end() == 1
    assert "memory.budget_mb is too small" in orderd.log(), orderd.log()
    orderd.settings = settings
    orderd.start()
    assert set(orders.post_statuses(orderd, ids[:8000])) == {(1, 1, 0)}


def records_of(count):
    return [orders.record() for _ in range(count)]


def test_orders_that_ran_out_of_time_while_it_was_down_become_timeout():
    orderd = orders.start("order.timeout_seconds=1")
    made = [create(orderd), change(orderd, create(orderd), "processing")]
    ended = change(orderd, create(orderd), "success")
    orderd.kill()
    time.sleep(1.2)
    orderd.start()
    for order in made:
        harness.wait_for(lambda order=order: read(orderd, order)["status"] == "timeout")
        assert read(orderd, order)["version"] == order["version"] + 1
    assert read(orderd, ended) == ended


# --- The end. ---


def send_batches(orderd, taken, wrong):
    """Sends batches until the service ends; notes the ids of those that it acknowledged."""
    chance = random.Random(threading.get_ident())
    try:
        with Client(orderd) as client:
            while True:
                body = b"".join(records_of(chance.randrange(1, 2000)))
                answer = client.post("/v1/batch/orders", body, orders.OCTETS)
                results = list(orders.RESULT.iter_unpack(answer.body))
                taken += [result[0] for result in results if result[2] == 201]
                if answer.status != 200 or any(result[2] != 201 for result in results):
                    wrong.append(answer)
    except (OSError, http.client.HTTPException):
        pass


def test_a_stop_in_the_middle_of_batches_is_in_order_and_loses_none():
    # Memory for more orders than a fast machine makes meanwhile.
    orderd = orders.start(
        "journal.checkpoint_mb=1", "journal.keep_mb=0", "memory.budget_mb=1024"
    )
    taken, wrong = [], []
    for _ in range(3):
        threads = [
            threading.Thread(target=send_batches, args=(orderd, taken, wrong)) for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        time.sleep(0.3)
        begin = time.monotonic()
        assert orderd.stop() == 0
        assert time.monotonic() - begin < 5
        for thread in threads:
            thread.join()
        orderd.orderctl("verify", orderd.data_dir)
        orderd.start()
    assert not wrong, wrong[0]
    assert len(set(taken)) == len(taken) > 0
    for at in range(0, len(taken), 8192):
        assert set(orders.post_statuses(orderd, taken[at : at + 8192])) == {(1, 1, 0)}


if __name__ == "__main__":
    harness.run(globals())
