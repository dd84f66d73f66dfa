"""orderctl bench: against a stand-in that can answer wrongly, and against orderd."""
# run-tests: parallel

import pathlib
import struct
import tempfile
import time

import harness
import orderctl

KINDS = ("statuses", "get", "create", "http-get", "http-create")


def write_ids(count=1000):
    """A file of ids that the stand-in will know."""
    path = pathlib.Path(tempfile.mkstemp(prefix="ids-")[1])
    path.write_bytes(struct.pack(f"<{count}Q", *range(1000, 1000 + count)))
    return path


IDS = write_ids()


def bench(kind, *arguments, server=None, status=0):
    arguments = ["bench", kind, "--json", *arguments]
    if kind in ("statuses", "get", "http-get", "resp") and "--ids" not in arguments:
        arguments += ["--ids", IDS]
    if "--seconds" not in arguments and kind != "load":
        arguments += ["--seconds", "0.3"]
    if kind in ("statuses", "get", "create") and "--batch" not in arguments:
        arguments += ["--batch", 100]
    return orderctl.run(*arguments, server=server, status=status).json


def check_shape(report, kind):
    assert report["bench"] == kind, report
    assert report["errors"] == 0 and report["ops"] > 0, report
    assert abs(report["ops_per_s"] - report["ops"] / report["seconds"]) <= 1, report
    latency = report["latency_us"]
    assert 0 < latency["p50"] <= latency["p99"] <= latency["p999"] <= latency["max"], report


def test_every_kind_measures_and_finds_the_answers_right():
    with orderctl.Responder() as responder:
        for kind in KINDS:
            report = bench(kind, server=responder)
            check_shape(report, kind)
            assert report["refused"] == report["unanswered"] == 0, report
            assert report["requests"] * report["batch"] == report["ops"], report
            assert report["bytes_sent"] > 0 and report["bytes_received"] > 0, report
    with orderctl.Responder("--resp") as responder:
        address = f"127.0.0.1:{responder.port}"
        check_shape(bench("resp", "--resp", address), "resp")
        check_shape(bench("resp", "--resp", address, "--command", "mget", "--batch", 30), "resp")
        check_shape(bench("resp", "--resp", address, "--key-prefix", "o:"), "resp")


def test_wrong_answers_are_errors_and_exit_status_1():
    with orderctl.Responder("--fault", "wrong", "--every", 7) as responder:
        for kind in KINDS:
            report = bench(kind, server=responder, status=1)
            assert 0 < report["errors"] < report["ops"], report
            assert report["first_error"], report
    with orderctl.Responder("--resp", "--fault", "wrong", "--every", 7) as responder:
        address = f"127.0.0.1:{responder.port}"
        report = bench("resp", "--resp", address, status=1)
        assert report["errors"] > 0 and "answered" in report["first_error"], report
        assert bench("resp", "--resp", address, "--any-value")["errors"] == 0


def test_refusals_are_counted_apart():
    with orderctl.Responder("--fault", "refused", "--every", 3) as responder:
        for kind in KINDS:
            report = bench(kind, server=responder)
            assert report["errors"] == 0 and report["refused"] > 0 and report["ops"] > 0, report
    with orderctl.Responder("--resp", "--fault", "refused", "--every", 3) as responder:
        report = bench("resp", "--resp", f"127.0.0.1:{responder.port}")
        assert report["errors"] == 0 and report["refused"] > 0, report


def test_lost_connections_are_errors_and_made_again():
    with orderctl.Responder("--fault", "close", "--every", 200) as responder:
        report = bench("http-get", "--connections", 4, server=responder, status=1)
        assert report["errors"] > 0 and report["ops"] > report["errors"], report
        assert "connection ended" in report["first_error"], report


def test_an_answer_that_cannot_be_read_is_an_error():
    with orderctl.Responder("--fault", "malformed", "--every", 500) as responder:
        report = bench("http-get", "--connections", 4, server=responder, status=1)
        assert report["errors"] > 0 and "cannot be read" in report["first_error"], report


def test_a_service_that_falls_silent_ends_the_bench():
    with orderctl.Service(lambda request: (time.sleep(5), (200, b""))[1]) as service:
        begin = time.monotonic()
        arguments = ["bench", "http-get", "--ids", IDS, "--connections", 2, "--seconds", "30"]
        result = orderctl.run(*arguments, "--timeout", "0.5", server=service.url, status=3)
        assert "no answer within 0.5 s" in result.err, result
        assert time.monotonic() - begin < 20


def test_the_rate_of_an_open_loop_is_kept():
    with orderctl.Responder() as responder:
        report = bench("http-get", "--rate", 2000, "--seconds", 1, server=responder)
        assert report["rate"] == 2000 and report["errors"] == 0, report
        assert 1700 <= report["ops"] <= 2100, report
        report = bench("statuses", "--rate", 100000, "--seconds", 1, server=responder)
        assert 85000 <= report["ops"] <= 105000, report


def test_an_open_loop_charges_a_stall_to_the_service():
    # Every tenth answer takes 50 ms: twenty a second come, the service manages about two hundred.
    with orderctl.Responder("--fault", "late", "--every", 10) as responder:
        arguments = ["http-get", "--connections", 2, "--seconds", 1]
        closed = bench(*arguments, server=responder)
        opened = bench(*arguments, "--rate", 1000, server=responder)
        # In a closed loop only the request that was on its way is late; in an open one also all
        # that were due meanwhile.
        assert closed["latency_us"]["p50"] < 20000, closed
        assert opened["latency_us"]["p50"] > 100000, opened
        assert opened["ops"] + opened["unsent"] <= 1100, opened


def test_absent_orders_may_be_allowed():
    orderd = harness.Orderd()
    for kind in ("statuses", "get", "http-get"):
        report = bench(kind, server=orderd, status=1)
        assert report["errors"] > 0 and report["ops"] == 0, report
        report = bench(kind, "--allow-absent", server=orderd)
        assert report["errors"] == 0 and report["ops"] > 0, report


def test_orderd_passes_every_kind():
    orderd = harness.Orderd("memory.budget_mb=256")
    ids = orderd.home / "ids"
    report = bench("load", "--orders", 20000, "--final", 10, "--ids", ids, server=orderd)
    assert report["ops"] == 20000 and report["finished"] == 2000, report
    data = ids.read_bytes()
    loaded = struct.unpack(f"<{len(data) // 8}Q", data)
    assert len(loaded) == len(set(loaded)) == 20000
    for kind in ("statuses", "get", "http-get"):
        check_shape(bench(kind, "--ids", ids, server=orderd), kind)
    for kind in ("create", "http-create"):
        check_shape(bench(kind, server=orderd), kind)
    check_shape(bench("create", "--batch", 1, server=orderd), "create")
    statuses = [
        orderctl.run("get", order_id, "--json", server=orderd).json["status"]
        for order_id in (loaded[0], loaded[1999], loaded[2000], loaded[-1])
    ]
    assert statuses == ["success", "success", "pending", "pending"], statuses


def test_scattered_references_are_new_in_each_run():
    orderd = harness.Orderd()
    for _ in range(2):  # one that was there already would be answered with 200: an error
        check_shape(bench("create", "--scatter", server=orderd), "create")
    orderctl.run("bench", "load", "--scatter", "--orders", 1, "--ids", IDS, status=2)


def test_without_ids_what_reads_makes_its_own_orders():
    resp = f"127.0.0.1:{harness.free_port()}"
    orderd = harness.Orderd("memory.budget_mb=256", f"resp.listen={resp}")
    for kind in ("statuses", "get", "http-get", "resp"):
        arguments = ["bench", kind, "--seconds", "0.2", "--json"]
        arguments += ["--resp", resp] if kind == "resp" else []
        check_shape(orderctl.run(*arguments, server=orderd).json, kind)
    assert b"\norderd_store_created_total 40000\n" in orderd.get("/metrics").body


def test_orders_of_a_load_have_the_partner_that_was_named():
    orderd = harness.Orderd()
    ids = orderd.home / "ids"
    bench("load", "--orders", 10, "--ids", ids, "--partner-code", "P-9", server=orderd)
    order_id = struct.unpack("<Q", ids.read_bytes()[:8])[0]
    order = orderctl.run("get", order_id, "--json", server=orderd).json
    assert order["partner_code"] == "P-9" and order["partner_order_id"].startswith("b-"), order


def test_a_load_sends_again_what_was_refused():
    with orderctl.Responder("--fault", "refused", "--every", 3) as responder:
        ids = IDS.with_suffix(".loaded")
        report = bench("load", "--orders", 5000, "--batch", 100, "--ids", ids, server=responder)
        assert report["ops"] == 5000 and report["refused"] > 0 and report["errors"] == 0, report
        assert ids.stat().st_size == 5000 * 8
        ids.unlink()


def test_any_http_server_can_be_measured_at_one_path():
    with orderctl.Responder() as responder:
        report = orderctl.run(
            "bench", "http-get", "--path", "/v1/orders/5", "--seconds", "0.2", "--json",
            server=responder,
        ).json  # fmt: skip
        check_shape(report, "http-get")


def test_a_person_reads_a_summary():
    with orderctl.Responder() as responder:
        out = orderctl.run(
            "bench", "http-get", "--ids", IDS, "--seconds", "0.2", "--threads", 2, "--cpu", 0,
            server=responder,
        ).out  # fmt: skip
        assert "operations a second" in out and "latency, us: p50" in out, out
        assert "threads 2" in out and "errors 0, refused 0" in out, out


def test_a_file_of_ids_that_is_none_is_exit_status_2():
    with orderctl.Responder() as responder:
        for path in ("/nowhere/at/all", "/dev/null"):
            arguments = ["bench", "statuses", "--ids", path]
            assert path in orderctl.run(*arguments, server=responder, status=2).err


def test_a_load_whose_ids_cannot_be_written_makes_no_order():
    orderd = harness.Orderd()
    arguments = ["bench", "load", "--orders", 10, "--ids", "/nowhere/at/all"]
    assert "/nowhere/at/all" in orderctl.run(*arguments, server=orderd, status=2).err
    stats = orderctl.run("stats", "--interval", 0, "--json", server=orderd).json
    assert stats["metrics"]["orderd_store_created_total"] == 0, stats


if __name__ == "__main__":
    harness.run(globals())
