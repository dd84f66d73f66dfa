/** What the tests of the offline check share: a directory for each test, and how a finding is
 *  expected. */
#ifndef ORDERD_TESTS_UNIT_ORDERCTL_VERIFY_FIXTURE_H
#define ORDERD_TESTS_UNIT_ORDERCTL_VERIFY_FIXTURE_H

#include "data_dir.h"
#include "orderctl/verify.h"
#include "unit.h"

#include <stdlib.h>

#define DAY_US (INT64_C(86400) * 1000000)
#define WINDOW_US (30 * DAY_US)

struct verify_fixture {
    struct data_dir dir;
    struct verify_report report;
};

static inline int verify_setup(void **state) {
    struct verify_fixture *fixture = calloc(1, sizeof(*fixture));
    if (fixture == NULL) {
        return -1;
    }
    data_dir_make(&fixture->dir);
    *state = fixture;
    return 0;
}

static inline int verify_teardown(void **state) {
    struct verify_fixture *fixture = *state;
    data_dir_remove(&fixture->dir);
    free(fixture);
    return 0;
}

static inline enum verify_status run_verify(struct verify_fixture *fixture) {
    struct fault fault = {""};
    struct verify_options options = {
        .data_dir = fixture->dir.path, .window_us = WINDOW_US, .now_us = fixture->dir.time_us};
    enum verify_status status = verify_run(&options, &fixture->report, &fault);
    if (status == VERIFY_UNREADABLE) {
        fail_msg("unreadable: %s", fault.text);
    }
    return status;
}

static inline void print_findings(const struct verify_report *report) {
    for (size_t i = 0; i < report->kept; i++) {
        const struct verify_finding *finding = &report->findings[i];
        (void)printf("# %s %s:%llu order %llu: %s\n", verify_kind_name(finding->kind),
                     finding->file, (unsigned long long)finding->offset,
                     (unsigned long long)finding->order_id, finding->text);
    }
}

static inline void expect_clean(struct verify_fixture *fixture) {
    enum verify_status status = run_verify(fixture);
    if (status != VERIFY_CLEAN) {
        print_findings(&fixture->report);
    }
    assert_int_equal(status, VERIFY_CLEAN);
    assert_int_equal(fixture->report.finding_count, 0);
}

/** The check finds damage of this kind, and among it this order. @param order NULL: any. */
static inline const struct verify_finding *expect_finding(struct verify_fixture *fixture,
                                                          enum verify_kind kind,
                                                          const struct order_record *order) {
    const struct verify_report *report = &fixture->report;
    if (run_verify(fixture) != VERIFY_DAMAGED) {
        fail_msg("no damage was found, expected %s", verify_kind_name(kind));
    }
    for (size_t i = 0; i < report->kept; i++) {
        const struct verify_finding *finding = &report->findings[i];
        if (finding->kind == kind && (order == NULL || finding->order_id == order->order_id)) {
            return finding;
        }
    }
    print_findings(report);
    fail_msg("%s was not found", verify_kind_name(kind));
    return NULL;
}

/** As expect_finding, and nothing else is found. */
static inline const struct verify_finding *expect_only(struct verify_fixture *fixture,
                                                       enum verify_kind kind,
                                                       const struct order_record *order) {
    const struct verify_finding *finding = expect_finding(fixture, kind, order);
    if (fixture->report.finding_count != 1) {
        print_findings(&fixture->report);
        fail_msg("%llu findings, expected one", (unsigned long long)fixture->report.finding_count);
    }
    return finding;
}

#define VERIFY_TEST(name) cmocka_unit_test_setup_teardown(name, verify_setup, verify_teardown)

#endif
