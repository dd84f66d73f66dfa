"""orderctl audit: what the checker's metrics come to, and what is said where there are none."""
# run-tests: parallel

import harness
import orderctl

METRICS = b"""# TYPE orderd_audit_looked_total counter
orderd_audit_looked_total 5000
orderd_audit_rounds_total 3
orderd_audit_failures_total 0
orderd_audit_suspects 2
orderd_audit_alarms 0
orderd_audit_disagreements_total{kind="stale"} 4
orderd_audit_disagreements_total{kind="forged"} 1
orderd_audit_repaired_total{kind="stale"} 3
orderd_audit_repaired_total{kind="forged"} 1
orderd_audit_checked_total{tier="cache"} 1000
orderd_audit_within_1s_total{tier="cache"} 990
orderd_audit_within_5s_total{tier="cache"} 999
orderd_audit_within_60s_total{tier="cache"} 1000
orderd_audit_checked_total{tier="archive"} 0
orderd_audit_within_1s_total{tier="archive"} 0
"""


INSTANCES = METRICS + b"""orderd_audit_checked_total{tier="query",instance="10.0.0.51:8080"} 1000
orderd_audit_within_1s_total{tier="query",instance="10.0.0.51:8080"} 998
orderd_audit_within_5s_total{tier="query",instance="10.0.0.51:8080"} 1000
orderd_audit_within_60s_total{tier="query",instance="10.0.0.51:8080"} 1000
orderd_audit_checked_total{tier="query",instance="second:80"} 3000
orderd_audit_within_1s_total{tier="query",instance="second:80"} 2998
orderd_audit_within_5s_total{tier="query",instance="second:80"} 3000
orderd_audit_within_60s_total{tier="query",instance="second:80"} 3000
orderd_audit_instance_asked_total{instance="10.0.0.51:8080"} 7000
orderd_audit_instance_asked_total{instance="second:80"} 9000
orderd_audit_instance_unanswered_total{instance="10.0.0.51:8080"} 5
orderd_audit_instance_unanswered_total{instance="second:80"} 0
orderd_audit_instance_unknown_total{instance="10.0.0.51:8080"} 2
orderd_audit_instance_unknown_total{instance="second:80"} 0
orderd_audit_disagreements_total{kind="view_forged"} 3
orderd_audit_repaired_total{kind="view_forged"} 2
"""


def test_shares_nines_and_disagreements_are_shown():
    with orderctl.Service(lambda request: (200, METRICS)) as service:
        report = orderctl.run("audit", "--json", server=service).json
        assert [request[1] for request in service.requests] == ["/metrics"]
    cache = report["consistency"]["cache"]
    assert cache["checks"] == 1000
    assert cache["within_1s"] == {"count": 990, "percent": 99.0, "nines": 2.0}, cache
    assert cache["within_5s"]["percent"] == 99.9 and cache["within_60s"]["nines"] == 3.0, cache
    assert report["consistency"]["archive"] == {
        "checks": 0, "within_1s": None, "within_5s": None, "within_60s": None
    }  # fmt: skip
    assert report["disagreements"]["stale"] == {"found": 4, "repaired": 3}
    assert report["disagreements"]["forged"] == {"found": 1, "repaired": 1}
    assert report["disagreements"]["no_home"] == {"found": 0, "repaired": 0}
    assert report["orders_looked_at"] == 5000 and report["suspects"] == 2


def test_a_person_sees_a_table():
    with orderctl.Service(lambda request: (200, METRICS)) as service:
        lines = orderctl.run("audit", server=service).out.splitlines()
    rows = {line.split()[0]: line for line in lines if line}
    assert "99.0000 %  2.0 nines" in rows["cache"] and ">3.0 nines" in rows["cache"], lines
    assert rows["archive"].split() == ["archive", "0"], lines
    assert rows["stale"].split()[1:3] == ["4", "3"], lines


def test_query_instances_are_shown_each_and_together():
    with orderctl.Service(lambda request: (200, INSTANCES)) as service:
        report = orderctl.run("audit", "--json", server=service).json
        out = orderctl.run("audit", server=service).out
    assert report["consistency"]["query"]["checks"] == 4000
    assert report["consistency"]["query"]["within_1s"]["count"] == 3996
    assert report["consistency"]["query"]["within_1s"]["nines"] == 3.0
    assert report["consistency"]["cache"]["checks"] == 1000
    first, second = report["query_instances"]["10.0.0.51:8080"], report["query_instances"]["second:80"]
    assert first["within_1s"]["count"] == 998 and first["checks"] == 1000, first
    assert (first["unanswered"], first["unknown"]) == (5, 2), first
    assert second["within_1s"]["count"] == 2998 and second["unanswered"] == 0, second
    assert report["disagreements"]["view_forged"] == {"found": 3, "repaired": 2}
    rows = {line.split()[0]: line for line in out.splitlines() if line}
    assert "99.9000 %  3.0 nines" in rows["query"] and ">3.6 nines" in rows["query"], out
    assert "10.0.0.51:8080 did not answer 5 requests" in out and "second:80 did" not in out, out
    assert rows["second:80"].split()[1] == "3000", out


def test_without_query_instances_none_is_shown():
    with orderctl.Service(lambda request: (200, METRICS)) as service:
        report = orderctl.run("audit", "--json", server=service).json
        out = orderctl.run("audit", server=service).out
    assert report["query_instances"] == {} and report["consistency"]["query"]["checks"] == 0
    assert "\nquery " not in out, out


def test_an_alarm_is_exit_status_1():
    alarmed = METRICS.replace(b"orderd_audit_alarms 0", b"orderd_audit_alarms 2")
    with orderctl.Service(lambda request: (200, alarmed)) as service:
        assert "2 disagreements cannot be repaired" in orderctl.run(
            "audit", server=service, status=1).out  # fmt: skip
        assert orderctl.run("audit", "--json", server=service, status=1).json["alarms"] == 2


def test_an_instance_without_a_checker_is_refused():
    orderd = harness.Orderd()
    result = orderctl.run("audit", server=orderd, status=1)
    assert "role audit" in result.err and not result.out, result


def test_what_is_no_answer_is_no_report():
    with orderctl.Service(lambda request: (503, {"title": "busy", "status": 503})) as service:
        assert "busy" in orderctl.run("audit", server=service, status=1).err


if __name__ == "__main__":
    harness.run(globals())
