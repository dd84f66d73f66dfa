#include "verify_fixture.h"

#include "adapter/embedded/journal_format.h"
#include "orderctl/verify_orders.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

#define SEGMENT_1 "journal-0000000000000001.seg"
#define SEGMENT_2 "journal-0000000000000002.seg"
#define SEGMENT_3 "journal-0000000000000003.seg"

/** Three orders, one frame each; the second becomes processing and then success. */
static void write_three(struct data_dir *dir, struct order_record orders[3]) {
    data_dir_begin_segment(dir, 1);
    for (uint64_t i = 0; i < 3; i++) {
        orders[i] = data_dir_order(dir, i);
        (void)data_dir_append(dir, &orders[i], 1, NULL, 0);
    }
    data_dir_begin_segment(dir, 2);
    orders[1] = data_dir_change(dir, &orders[1], ORDER_STATUS_PROCESSING);
    (void)data_dir_append(dir, &orders[1], 1, NULL, 0);
    orders[1] = data_dir_change(dir, &orders[1], ORDER_STATUS_SUCCESS);
    (void)data_dir_append(dir, &orders[1], 1, NULL, 0);
    (void)data_dir_append(dir, NULL, 0, NULL, 0);
}

static void test_a_journal_alone_is_clean_and_counted(void **state) {
    struct verify_fixture *fixture = *state;
    struct order_record orders[3];
    write_three(&fixture->dir, orders);
    expect_clean(fixture);
    const struct verify_report *report = &fixture->report;
    assert_int_equal(report->segments, 2);
    assert_int_equal(report->segment_bytes, 2 * DATA_DIR_SEGMENT_BYTES);
    assert_int_equal(report->frames, 6);
    assert_int_equal(report->changes, 5);
    assert_int_equal(report->first_sequence, 1);
    assert_int_equal(report->last_sequence, 6);
    assert_int_equal(report->hot, 3);
    assert_int_equal(report->hot_by_status[ORDER_STATUS_PENDING], 2);
    assert_int_equal(report->hot_by_status[ORDER_STATUS_SUCCESS], 1);
    assert_false(report->torn);
    assert_true(report->locked);
}

static void test_a_flipped_byte_within_a_segment_is_found(void **state) {
    struct verify_fixture *fixture = *state;
    struct order_record orders[3];
    write_three(&fixture->dir, orders);
    data_dir_flip(&fixture->dir, SEGMENT_1, 2 * JOURNAL_BLOCK_BYTES + 100);
    const struct verify_finding *finding = expect_finding(fixture, VERIFY_SEGMENT_DAMAGED, NULL);
    assert_string_equal(finding->file, SEGMENT_1);
    assert_int_equal(finding->offset, 2 * JOURNAL_BLOCK_BYTES);
    /* The frames behind it are read all the same. */
    assert_int_equal(fixture->report.frames, 5);
    assert_int_equal(fixture->report.counts[VERIFY_FRAMES_MISSING], 1);
    assert_int_equal(fixture->report.finding_count, 2);
}

static void test_every_flipped_byte_of_a_frame_is_found(void **state) {
    struct verify_fixture *fixture = *state;
    struct order_record orders[3];
    write_three(&fixture->dir, orders);
    size_t covered = journal_frame_payload_end(1, 0);
    for (size_t at = 0; at < covered; at += 5) {
        data_dir_flip(&fixture->dir, SEGMENT_1, JOURNAL_BLOCK_BYTES + at);
        (void)expect_finding(fixture, VERIFY_SEGMENT_DAMAGED, NULL);
        data_dir_flip(&fixture->dir, SEGMENT_1, JOURNAL_BLOCK_BYTES + at);
    }
    expect_clean(fixture);
}

static void test_damage_at_the_end_of_a_segment_shows_in_the_next(void **state) {
    struct verify_fixture *fixture = *state;
    struct order_record orders[3];
    write_three(&fixture->dir, orders);
    data_dir_flip(&fixture->dir, SEGMENT_1, 3 * JOURNAL_BLOCK_BYTES + 100);
    const struct verify_finding *finding = expect_only(fixture, VERIFY_FRAMES_MISSING, NULL);
    assert_string_equal(finding->file, SEGMENT_2);
    assert_contains(finding->text, "should stand in " SEGMENT_1 " at offset 12288");
}

static void test_a_damaged_header_of_a_segment_is_found(void **state) {
    struct verify_fixture *fixture = *state;
    struct order_record orders[3];
    write_three(&fixture->dir, orders);
    data_dir_flip(&fixture->dir, SEGMENT_1, 20);
    const struct verify_finding *finding = expect_finding(fixture, VERIFY_SEGMENT_DAMAGED, NULL);
    assert_string_equal(finding->file, SEGMENT_1);
    assert_int_equal(finding->offset, 0);
}

static void test_a_removed_segment_is_found(void **state) {
    struct verify_fixture *fixture = *state;
    struct order_record orders[3];
    write_three(&fixture->dir, orders);
    data_dir_begin_segment(&fixture->dir, 3);
    struct order_record late = data_dir_order(&fixture->dir, 9);
    (void)data_dir_append(&fixture->dir, &late, 1, NULL, 0);
    expect_clean(fixture);
    data_dir_delete(&fixture->dir, SEGMENT_2);
    const struct verify_finding *finding = expect_only(fixture, VERIFY_FRAMES_MISSING, NULL);
    assert_string_equal(finding->file, SEGMENT_3);
    data_dir_delete(&fixture->dir, SEGMENT_1);
    finding = expect_only(fixture, VERIFY_FRAMES_MISSING, NULL);
    assert_contains(finding->text, "frame 7 stands where 1 was expected");
}

static void test_a_torn_tail_is_told_but_no_damage(void **state) {
    struct verify_fixture *fixture = *state;
    struct order_record orders[3];
    write_three(&fixture->dir, orders);
    struct order_record late = data_dir_order(&fixture->dir, 9);
    uint64_t offset = data_dir_append(&fixture->dir, &late, 1, NULL, 0);
    data_dir_flip(&fixture->dir, SEGMENT_2, offset + 80);
    expect_clean(fixture);
    assert_true(fixture->report.torn);
    assert_string_equal(fixture->report.torn_file, SEGMENT_2);
    assert_int_equal(fixture->report.torn_offset, offset);
    assert_int_equal(fixture->report.hot, 3);
    /* With the next segment ready and empty, as the service leaves it. */
    data_dir_begin_segment(&fixture->dir, 3);
    expect_clean(fixture);
    assert_true(fixture->report.torn);
}

static void test_changes_that_skip_a_number_are_found(void **state) {
    struct verify_fixture *fixture = *state;
    data_dir_begin_segment(&fixture->dir, 1);
    for (uint64_t i = 0; i < 3; i++) {
        struct order_record order = data_dir_order(&fixture->dir, i);
        fixture->dir.change += i == 2 ? 1 : 0;
        (void)data_dir_append(&fixture->dir, &order, 1, NULL, 0);
    }
    const struct verify_finding *finding = expect_only(fixture, VERIFY_CHANGES_MISSING, NULL);
    assert_int_equal(finding->offset, 3 * JOURNAL_BLOCK_BYTES);
}

/* --- Orders that no service writes. --- */

/** Writes the order's first version and then `changed`. */
static void write_change(struct data_dir *dir, const struct order_record *order,
                         struct order_record *changed) {
    order_record_seal(changed);
    data_dir_begin_segment(dir, 1);
    (void)data_dir_append(dir, order, 1, NULL, 0);
    (void)data_dir_append(dir, changed, 1, NULL, 0);
}

static void test_a_record_that_is_none_is_found(void **state) {
    struct verify_fixture *fixture = *state;
    struct order_record order = data_dir_order(&fixture->dir, 1);
    order.amount = 0;
    order_record_seal(&order);
    data_dir_begin_segment(&fixture->dir, 1);
    (void)data_dir_append(&fixture->dir, &order, 1, NULL, 0);
    const struct verify_finding *finding = expect_only(fixture, VERIFY_RECORD_INVALID, &order);
    assert_string_equal(finding->file, SEGMENT_1);
    assert_int_equal(finding->offset, JOURNAL_BLOCK_BYTES + JOURNAL_FRAME_HEADER_BYTES);
    assert_string_equal(finding->text, "wrong amount");
}

static void test_an_id_in_another_slot_is_found(void **state) {
    struct verify_fixture *fixture = *state;
    struct order_record order = data_dir_order(&fixture->dir, 1);
    order.order_id ^= UINT64_C(1) << 17;
    order_record_seal(&order);
    data_dir_begin_segment(&fixture->dir, 1);
    (void)data_dir_append(&fixture->dir, &order, 1, NULL, 0);
    (void)expect_only(fixture, VERIFY_SLOT_WRONG, &order);
}

static void test_a_version_that_is_left_out_is_found(void **state) {
    struct verify_fixture *fixture = *state;
    struct order_record order = data_dir_order(&fixture->dir, 1);
    struct order_record changed = data_dir_change(&fixture->dir, &order, ORDER_STATUS_SUCCESS);
    changed.version = 3;
    write_change(&fixture->dir, &order, &changed);
    const struct verify_finding *finding = expect_only(fixture, VERIFY_VERSION_WRONG, &order);
    assert_string_equal(finding->text, "version 3 follows version 1");
}

static void test_a_version_that_comes_twice_is_found(void **state) {
    struct verify_fixture *fixture = *state;
    struct order_record order = data_dir_order(&fixture->dir, 1);
    struct order_record again = order;
    write_change(&fixture->dir, &order, &again);
    (void)expect_only(fixture, VERIFY_VERSION_WRONG, &order);
}

static void test_an_order_that_begins_late_is_found(void **state) {
    struct verify_fixture *fixture = *state;
    struct order_record order = data_dir_order(&fixture->dir, 1);
    struct order_record changed = data_dir_change(&fixture->dir, &order, ORDER_STATUS_SUCCESS);
    data_dir_begin_segment(&fixture->dir, 1);
    (void)data_dir_append(&fixture->dir, &changed, 1, NULL, 0);
    (void)expect_only(fixture, VERIFY_VERSION_WRONG, &order);
}

static void test_an_illegal_move_is_found(void **state) {
    struct verify_fixture *fixture = *state;
    struct order_record order = data_dir_order(&fixture->dir, 1);
    struct order_record changed = data_dir_change(&fixture->dir, &order, ORDER_STATUS_PROCESSING);
    struct order_record back = data_dir_change(&fixture->dir, &changed, ORDER_STATUS_PENDING);
    write_change(&fixture->dir, &order, &changed);
    (void)data_dir_append(&fixture->dir, &back, 1, NULL, 0);
    const struct verify_finding *finding = expect_only(fixture, VERIFY_MOVE_ILLEGAL, &order);
    assert_string_equal(finding->text, "from processing to pending");
}

static void test_a_final_order_that_changes_is_found(void **state) {
    struct verify_fixture *fixture = *state;
    struct order_record order = data_dir_order(&fixture->dir, 1);
    struct order_record final = data_dir_change(&fixture->dir, &order, ORDER_STATUS_SUCCESS);
    struct order_record after = data_dir_change(&fixture->dir, &final, ORDER_STATUS_CANCEL);
    write_change(&fixture->dir, &order, &final);
    (void)data_dir_append(&fixture->dir, &after, 1, NULL, 0);
    const struct verify_finding *finding = expect_only(fixture, VERIFY_FINAL_CHANGED, &order);
    assert_contains(finding->text, "success, which is final");
}

static void test_a_change_of_what_never_changes_is_found(void **state) {
    struct verify_fixture *fixture = *state;
    struct order_record order = data_dir_order(&fixture->dir, 1);
    struct order_record changed = data_dir_change(&fixture->dir, &order, ORDER_STATUS_PROCESSING);
    changed.amount++;
    write_change(&fixture->dir, &order, &changed);
    (void)expect_only(fixture, VERIFY_CONTENT_CHANGED, &order);
}

static void test_an_order_that_leaves_before_it_is_final_is_found(void **state) {
    struct verify_fixture *fixture = *state;
    struct order_record order = data_dir_order(&fixture->dir, 1);
    data_dir_begin_segment(&fixture->dir, 1);
    (void)data_dir_append(&fixture->dir, &order, 1, NULL, 0);
    (void)data_dir_append(&fixture->dir, NULL, 0, &order, 1);
    (void)expect_finding(fixture, VERIFY_RELEASE_WRONG, &order);
}

static void test_two_orders_of_one_reference_are_found(void **state) {
    struct verify_fixture *fixture = *state;
    struct order_record first = data_dir_order(&fixture->dir, 1);
    fixture->dir.time_us += DAY_US;
    struct order_record second = data_dir_order(&fixture->dir, 1);
    data_dir_begin_segment(&fixture->dir, 1);
    (void)data_dir_append(&fixture->dir, &first, 1, NULL, 0);
    (void)data_dir_append(&fixture->dir, &second, 1, NULL, 0);
    const struct verify_finding *finding = expect_only(fixture, VERIFY_REFERENCE_TWICE, &second);
    assert_contains(finding->text, "which still holds it");
}

/* --- The directory. --- */

static void test_a_directory_in_use_is_refused(void **state) {
    struct verify_fixture *fixture = *state;
    struct order_record orders[3];
    char path[PATH_MAX];
    write_three(&fixture->dir, orders);
    (void)snprintf(path, sizeof(path), "%s/lock", fixture->dir.path);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    assert_int_equal(flock(fd, LOCK_EX | LOCK_NB), 0);
    assert_int_equal(run_verify(fixture), VERIFY_IN_USE);
    (void)close(fd);
    expect_clean(fixture);
    /* A copy has no lock file: it is checked, and none is made. */
    data_dir_delete(&fixture->dir, "lock");
    expect_clean(fixture);
    assert_false(fixture->report.locked);
    assert_int_equal(access(path, F_OK), -1);
}

static void test_what_is_no_data_directory_is_told(void **state) {
    struct verify_fixture *fixture = *state;
    struct verify_options options = {.data_dir = fixture->dir.path, .window_us = WINDOW_US};
    struct fault fault;
    data_dir_delete(&fixture->dir, "lock");
    assert_int_equal(verify_run(&options, &fixture->report, &fault), VERIFY_UNREADABLE);
    assert_contains(fault.text, "no data directory");
    options.data_dir = "/nowhere/at/all";
    assert_int_equal(verify_run(&options, &fixture->report, &fault), VERIFY_UNREADABLE);
}

static void test_many_findings_are_counted_and_the_first_kept(void **state) {
    struct verify_fixture *fixture = *state;
    enum { COUNT = VERIFY_FINDINGS_MAX + 20 };
    data_dir_begin_segment(&fixture->dir, 1);
    struct order_record orders[COUNT];
    for (size_t i = 0; i < COUNT; i++) {
        orders[i] = data_dir_order(&fixture->dir, i);
        orders[i].currency[0] = '?';
        order_record_seal(&orders[i]);
    }
    (void)data_dir_append(&fixture->dir, orders, COUNT, NULL, 0);
    assert_int_equal(run_verify(fixture), VERIFY_DAMAGED);
    assert_int_equal(fixture->report.finding_count, COUNT);
    assert_int_equal(fixture->report.counts[VERIFY_RECORD_INVALID], COUNT);
    assert_int_equal(fixture->report.kept, VERIFY_FINDINGS_MAX);
}

static void test_the_table_of_orders_grows_and_keeps_all(void **state) {
    enum { COUNT = 300000 };
    struct verify_orders orders;
    (void)state;
    assert_true(verify_orders_init(&orders));
    for (uint64_t id = 1; id <= COUNT; id++) {
        assert_null(verify_orders_find(&orders, id * 977));
        struct verify_order *order = verify_orders_add(&orders, id * 977);
        assert_non_null(order);
        order->crc = (uint32_t)id;
    }
    assert_int_equal(orders.count, COUNT);
    for (uint64_t id = 1; id <= COUNT; id++) {
        const struct verify_order *order = verify_orders_find(&orders, id * 977);
        assert_non_null(order);
        assert_int_equal(order->crc, id);
    }
    uint64_t at = 0;
    size_t seen = 0;
    while (verify_orders_each(&orders, &at) != NULL) {
        seen++;
    }
    assert_int_equal(seen, COUNT);
    verify_orders_deinit(&orders);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        VERIFY_TEST(test_a_journal_alone_is_clean_and_counted),
        VERIFY_TEST(test_a_flipped_byte_within_a_segment_is_found),
        VERIFY_TEST(test_every_flipped_byte_of_a_frame_is_found),
        VERIFY_TEST(test_damage_at_the_end_of_a_segment_shows_in_the_next),
        VERIFY_TEST(test_a_damaged_header_of_a_segment_is_found),
        VERIFY_TEST(test_a_removed_segment_is_found),
        VERIFY_TEST(test_a_torn_tail_is_told_but_no_damage),
        VERIFY_TEST(test_changes_that_skip_a_number_are_found),
        VERIFY_TEST(test_a_record_that_is_none_is_found),
        VERIFY_TEST(test_an_id_in_another_slot_is_found),
        VERIFY_TEST(test_a_version_that_is_left_out_is_found),
        VERIFY_TEST(test_a_version_that_comes_twice_is_found),
        VERIFY_TEST(test_an_order_that_begins_late_is_found),
        VERIFY_TEST(test_an_illegal_move_is_found),
        VERIFY_TEST(test_a_final_order_that_changes_is_found),
        VERIFY_TEST(test_a_change_of_what_never_changes_is_found),
        VERIFY_TEST(test_an_order_that_leaves_before_it_is_final_is_found),
        VERIFY_TEST(test_two_orders_of_one_reference_are_found),
        VERIFY_TEST(test_a_directory_in_use_is_refused),
        VERIFY_TEST(test_what_is_no_data_directory_is_told),
        VERIFY_TEST(test_many_findings_are_counted_and_the_first_kept),
        cmocka_unit_test(test_the_table_of_orders_grows_and_keeps_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
