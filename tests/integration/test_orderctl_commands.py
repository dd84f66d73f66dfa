"""orderctl's commands for single orders, its help, and every kind of exit status."""
# run-tests: parallel

import time

import harness
import orderctl


def test_an_order_is_created_read_found_and_changed():
    orderd = harness.Orderd()
    order = orderctl.create(orderd, 1, "--currency", "EUR", "--payment-type", "pay_with_card",
                            "--bank-code", "B-1")  # fmt: skip
    assert order["currency"] == "EUR" and order["payment_type"] == "pay_with_card", order
    assert order["amount"] == 101 and order["bank_code"] == "B-1", order
    order_id = order["order_id"]
    assert orderctl.run("get", order_id, "--json", server=orderd).json == order
    assert orderctl.run("find", "tests", "n-1", "--json", server=orderd).json == order
    changed = orderctl.run("set", order_id, "processing", "--json", server=orderd).json
    assert changed["status"] == "processing" and changed["version"] == 2, changed
    ended = orderctl.run("set", order_id, "success", "--if-match", 2, "--json", server=orderd).json
    assert ended["status"] == "success" and ended["version"] == 3, ended
    assert orderctl.run("get", order_id, "--min-version", 3, "--json", server=orderd).json == ended


def test_a_person_sees_a_table():
    orderd = harness.Orderd()
    order_id = orderctl.create(orderd, 1)["order_id"]
    out = orderctl.run("get", order_id, server=orderd).out
    rows = dict(line.split(None, 1) for line in out.splitlines())
    assert rows["order_id"] == order_id and rows["status"] == "pending", out
    assert rows["partner_order_id"] == "n-1" and rows["amount"] == "101", out
    assert "bank_code" not in rows, out


def test_the_same_reference_shows_the_order_that_it_has():
    orderd = harness.Orderd()
    order = orderctl.create(orderd, 1)
    arguments = ["create", "--partner-code", "tests", "--partner-order-id", "n-1"]
    again = orderctl.run(*arguments, "--amount", 101, server=orderd)
    assert order["order_id"] in again.out and "nothing was created" in again.err, again
    other = orderctl.run(*arguments, "--amount", 5, server=orderd, status=1)
    assert "409" in other.err and order["order_id"] in other.err and not other.out, other


def test_times_of_a_change_are_passed_on():
    orderd = harness.Orderd()
    order = orderctl.create(orderd, 1)
    changed = orderctl.run("set", order["order_id"], "processing", "--requested-at",
                           order["created_at"], "--json", server=orderd).json  # fmt: skip
    assert changed["requested_at"] == order["created_at"], changed
    result = orderctl.run("set", order["order_id"], "success", "--responded-at",
                          "2001-01-01T00:00:00Z", server=orderd, status=1)  # fmt: skip
    assert "responded_at" in result.err, result


def test_what_the_service_refuses_is_shown_with_its_fields():
    orderd = harness.Orderd()
    arguments = ["create", "--partner-code", "a b", "--partner-order-id", "x", "--amount", "-3"]
    result = orderctl.run(*arguments, server=orderd, status=1)
    assert "422" in result.err and not result.out, result
    assert "  partner_code: " in result.err and "  amount: " in result.err, result
    problem = orderctl.run(*arguments, "--json", server=orderd, status=1).json
    assert problem["status"] == 422, problem
    assert {error["field"] for error in problem["errors"]} == {"partner_code", "amount"}, problem


def test_refusals_are_exit_status_1():
    orderd = harness.Orderd()
    order_id = orderctl.create(orderd, 1)["order_id"]
    assert "404" in orderctl.run("get", 1, server=orderd, status=1).err
    assert "404" in orderctl.run("find", "tests", "none", server=orderd, status=1).err
    assert "412" in orderctl.run("get", order_id, "--min-version", 9, server=orderd, status=1).err
    wrong_version = ["set", order_id, "success", "--if-match", 9]
    assert "412" in orderctl.run(*wrong_version, server=orderd, status=1).err
    orderctl.run("set", order_id, "success", server=orderd)
    assert "409" in orderctl.run("set", order_id, "cancel", server=orderd, status=1).err


def test_usage_is_exit_status_2_and_says_what_is_wrong():
    cases = {
        (): "Commands:",
        ("dance",): "no such command: dance",
        ("get",): "expected: get ID",
        ("get", "x"): "no order id",
        ("get", "0"): "no order id",
        ("get", "12", "13"): 'what is "13"',
        ("get", "9223372036854775808"): "no order id",
        ("get", "12", "--min-version", "x"): "expected a number",
        ("get", "12", "--wat"): "no such option: --wat",
        ("find", "a"): "expected: find",
        ("set", "12", "done"): "is no status",
        ("create", "--partner-code", "a", "--amount", "1"): "--partner-order-id Y is missing",
        ("create", "--partner-code", "a", "--partner-order-id", "b", "--amount", "1.5"): "whole",
        ("watch",): "an order id or --changes",
        ("watch", "5", "--changes"): "an order id or --changes",
        ("watch", "5", "--after", "0"): "--after goes with --changes",
        ("stats", "--timeout", "x"): "expected seconds",
        ("bench", "dance"): "expected statuses",
        ("bench", "load"): "--orders N is missing",
        ("verify",): "expected: verify DATA_DIR",
        ("import",): "expected: import FILE.ndjson",
        ("relay",): "expected: relay resnapshot",
        ("relay", "stop"): 'expected "resnapshot"',
        ("relay", "resnapshot", "--shard", "1"): "one of the 1 shards",
        ("relay", "resnapshot", "--set", "mysql.user"): "mysql.user",
        ("help", "dance"): "no such command",
        ("get", "12", "--server", "ftp://x"): "expected an http or https URL",
        ("create", "--partner-code", "a", "--partner-order-id", "b",
         "--amount", "99999999999999999999"): "2^63-1",
    }  # fmt: skip
    for arguments, reason in cases.items():
        result = orderctl.run(*arguments, status=2)
        assert reason in result.err and not result.out, (arguments, result)


def test_nobody_there_is_exit_status_3():
    url = f"http://127.0.0.1:{harness.free_port()}"
    for arguments in (
        ["get", "12"],
        ["find", "a", "b"],
        ["set", "12", "success"],
        ["create", "--partner-code", "a", "--partner-order-id", "b", "--amount", "1"],
        ["stats"],
        ["watch", "12"],
        ["watch", "--changes"],
        ["import", "-"],
        ["bench", "create", "--seconds", "0.1"],
        ["bench", "load", "--orders", "1"],
    ):
        result = orderctl.run(*arguments, server=url, status=3, stdin="{}\n")
        assert "cannot be reached" in result.err, (arguments, result)


def test_a_database_that_is_not_there_is_exit_status_3():
    setting = f"mysql.shards=127.0.0.1:{harness.free_port()}"
    result = orderctl.run("relay", "resnapshot", "--set", setting, status=3)
    assert "mysql shard 0" in result.err and not result.out, result


def test_a_service_that_does_not_answer_is_exit_status_3_in_time():
    with orderctl.Service(lambda request: (time.sleep(3), (200, {}))[1]) as service:
        begin = time.monotonic()
        result = orderctl.run("get", "12", "--timeout", "0.3", server=service.url, status=3)
        assert "no answer within 0.3 s" in result.err, result
        assert time.monotonic() - begin < 2.5


def test_the_server_may_come_from_the_environment():
    orderd = harness.Orderd()
    order_id = orderctl.create(orderd, 1)["order_id"]
    variables = {"ORDERD_SERVER": f"127.0.0.1:{orderd.port}/"}
    assert order_id in orderctl.run("get", order_id, environment=variables).out


def test_an_overloaded_service_is_shown_with_when_to_come_back():
    problem = {"title": "Service Unavailable", "status": 503, "detail": "the disk is full"}
    with orderctl.Service(lambda request: (503, problem)) as service:
        result = orderctl.run("get", "12", server=service.url, status=1)
        assert "503 Service Unavailable: the disk is full" in result.err, result


def test_an_answer_that_is_no_order_is_refused():
    with orderctl.Service(lambda request: (200, b"<html>")) as service:
        assert "did not answer with an object" in orderctl.run(
            "get", "12", server=service.url, status=1
        ).err
    with orderctl.Service(lambda request: (502, b"Bad Gateway")) as service:
        assert "answered 502" in orderctl.run("get", "12", server=service.url, status=1).err


def test_a_look_up_that_takes_long_is_asked_again():
    answers = [(202, {"order_id": "12", "status": "pending", "provisional": True})]

    def answer(request):
        return answers.pop() if answers else (200, {"order_id": "12", "status": "success"})

    with orderctl.Service(answer) as service:
        order = orderctl.run("get", "12", "--json", server=service.url).json
        assert order["status"] == "success" and len(service.requests) == 2, order
        answers.append((202, {"order_id": "12"}))
        result = orderctl.run("get", "12", "--timeout", "0.5", server=service.url, status=1)
        assert "still looking" in result.err, result


def test_texts_from_outside_do_not_steer_the_terminal():
    order = {"order_id": "12", "partner_code": "\x1b[31mred", "status": "pending"}
    with orderctl.Service(lambda request: (200, order)) as service:
        out = orderctl.run("get", "12", server=service.url).out
        assert "\x1b" not in out and "?[31mred" in out, out
    problem = {"title": "\x1b[2J", "status": 404}
    with orderctl.Service(lambda request: (404, problem)) as service:
        assert "\x1b" not in orderctl.run("get", "12", server=service.url, status=1).err


def test_references_are_encoded_in_the_query():
    problem = {"title": "Not Found", "status": 404}
    with orderctl.Service(lambda request: (404, problem)) as service:
        orderctl.run("find", "a&b=c", "d/é#", server=service.url, status=1)
        target = service.requests[0][1]
        assert target == "/v1/orders?partner_code=a%26b%3Dc&partner_order_id=d%2F%C3%A9%23", target


def test_every_command_has_help():
    overview = orderctl.run("help").out
    assert orderctl.run("--help").out == overview
    names = [line.split()[0] for line in overview.splitlines() if line.startswith("  ")]
    assert {"create", "get", "find", "set", "watch", "stats", "import", "verify", "bench"} <= set(
        names
    ), overview
    for name in names:
        out = orderctl.run(name, "--help").out
        assert out.startswith(f"orderctl {name}") and "--server URL" in out, out
        assert orderctl.run("help", name).out == out
    assert orderctl.run("--version").out.startswith("orderctl ")


def test_statistics_show_what_the_service_holds():
    orderd = harness.Orderd()
    for number in range(3):
        orderctl.create(orderd, number)
    stats = orderctl.run("stats", "--interval", "0.2", "--json", server=orderd).json
    assert stats["ready"] is True and stats["readiness"]["status"] == "ready", stats
    assert stats["metrics"]["orderd_store_created_total"] == 3, stats
    assert stats["per_second"]["orderd_http_requests_total"] > 0, stats
    assert stats["distributions"]["orderd_api_create_microseconds"]["count"] == 3, stats
    assert 0.2 <= stats["interval_seconds"] < 20, stats
    assert 60 < stats["bytes_an_order"] < 400, stats
    out = orderctl.run("stats", "--interval", "0", server=orderd).out
    assert "is ready" in out and "orders in memory" in out and "bytes an order" in out, out
    assert "orderd_store_created_total" in out, out


if __name__ == "__main__":
    harness.run(globals())
