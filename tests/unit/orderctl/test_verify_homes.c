#include "verify_fixture.h"

#include "adapter/embedded/checkpoint.h"
#include "adapter/embedded/journal_format.h"

#include <stdlib.h>

#define SEGMENT_1 "journal-0000000000000001.seg"
#define CHECKPOINT_4 "checkpoint-00000000000000000004.ckp"

/** A directory as a service leaves it, with everything in it. */
struct whole {
    struct order_record hot;      /* pending, in the checkpoint */
    struct order_record changed;  /* processing since after the checkpoint */
    struct order_record archived; /* left before the checkpoint */
    struct order_record leaving;  /* left after it */
    struct order_record transit;  /* final, hot and archived */
    struct order_record made;     /* created after the checkpoint */
};

/** Creates four orders (frame 1), makes two of them final (2), lets one leave (3), one more create
 *  (4): there the checkpoint stands. Then the rest. */
static void write_whole(struct data_dir *dir, struct whole *whole) {
    struct order_record first[4];
    data_dir_begin_segment(dir, 1);
    for (uint64_t i = 0; i < 4; i++) {
        first[i] = data_dir_order(dir, i);
    }
    (void)data_dir_append(dir, first, 4, NULL, 0);
    whole->hot = first[0];
    whole->archived = data_dir_change(dir, &first[2], ORDER_STATUS_ERROR);
    whole->leaving = data_dir_change(dir, &first[3], ORDER_STATUS_TIMEOUT);
    struct order_record finals[] = {whole->archived, whole->leaving};
    (void)data_dir_append(dir, finals, 2, NULL, 0);
    (void)data_dir_append(dir, NULL, 0, &whole->archived, 1);
    whole->transit = data_dir_order(dir, 4);
    (void)data_dir_append(dir, &whole->transit, 1, NULL, 0);
    struct order_record hot[] = {whole->hot, first[1], whole->leaving, whole->transit};
    data_dir_checkpoint(dir, hot, ARRAY_COUNT(hot), &whole->archived, 1);
    data_dir_begin_segment(dir, 2);
    whole->changed = data_dir_change(dir, &first[1], ORDER_STATUS_PROCESSING);
    whole->transit = data_dir_change(dir, &whole->transit, ORDER_STATUS_CANCEL);
    whole->made = data_dir_order(dir, 5);
    struct order_record later[] = {whole->changed, whole->transit, whole->made};
    (void)data_dir_append(dir, later, 3, &whole->leaving, 1);
    (void)data_dir_append(dir, NULL, 0, NULL, 0);
    struct order_record stored[] = {whole->archived, whole->leaving, whole->transit};
    data_dir_archive(dir, stored, ARRAY_COUNT(stored));
}

static void test_a_whole_directory_is_clean_and_counted(void **state) {
    struct verify_fixture *fixture = *state;
    struct whole whole;
    write_whole(&fixture->dir, &whole);
    expect_clean(fixture);
    const struct verify_report *report = &fixture->report;
    assert_int_equal(report->hot, 4);
    assert_int_equal(report->hot_by_status[ORDER_STATUS_PENDING], 2);
    assert_int_equal(report->hot_by_status[ORDER_STATUS_PROCESSING], 1);
    assert_int_equal(report->hot_by_status[ORDER_STATUS_CANCEL], 1);
    assert_int_equal(report->archived, 3);
    assert_int_equal(report->archived_by_status[ORDER_STATUS_ERROR], 1);
    assert_int_equal(report->archived_by_status[ORDER_STATUS_TIMEOUT], 1);
    assert_int_equal(report->in_transit, 1);
    assert_int_equal(report->references, 3);
    assert_int_equal(report->releases, 2);
    assert_int_equal(report->checkpoint_sequence, 4);
    assert_int_equal(report->checkpoint_orders, 4);
}

static void test_a_segment_that_the_checkpoint_covers_may_be_gone(void **state) {
    struct verify_fixture *fixture = *state;
    struct whole whole;
    write_whole(&fixture->dir, &whole);
    data_dir_delete(&fixture->dir, SEGMENT_1);
    expect_clean(fixture);
    assert_int_equal(fixture->report.hot, 4);
    assert_int_equal(fixture->report.first_sequence, 5);
}

static void test_a_covered_segment_is_checked_as_well(void **state) {
    struct verify_fixture *fixture = *state;
    struct whole whole;
    write_whole(&fixture->dir, &whole);
    data_dir_flip(&fixture->dir, SEGMENT_1, 2 * JOURNAL_BLOCK_BYTES + 70);
    (void)expect_finding(fixture, VERIFY_SEGMENT_DAMAGED, NULL);
    /* What the missing frame would explain is not held against the rest. */
    assert_int_equal(fixture->report.finding_count, 2);
}

/* --- The checkpoint. --- */

static void test_every_flipped_byte_of_the_checkpoint_is_found(void **state) {
    struct verify_fixture *fixture = *state;
    struct whole whole;
    write_whole(&fixture->dir, &whole);
    size_t begin = sizeof(struct checkpoint_block) + sizeof(struct checkpoint_begin);
    size_t orders = sizeof(struct checkpoint_block) + 4 * sizeof(struct order_record);
    for (size_t at = 0; at < begin + orders + 4096; at += 397) {
        data_dir_flip(&fixture->dir, CHECKPOINT_4, at);
        const struct verify_finding *finding =
            expect_finding(fixture, VERIFY_CHECKPOINT_DAMAGED, NULL);
        assert_string_equal(finding->file, CHECKPOINT_4);
        size_t block = at < begin ? 0 : at < begin + orders ? begin : begin + orders;
        assert_int_equal(finding->offset, block);
        data_dir_flip(&fixture->dir, CHECKPOINT_4, at);
    }
    expect_clean(fixture);
}

static void test_an_order_that_the_checkpoint_misses_is_lost(void **state) {
    struct verify_fixture *fixture = *state;
    struct order_record order = data_dir_order(&fixture->dir, 1);
    data_dir_begin_segment(&fixture->dir, 1);
    (void)data_dir_append(&fixture->dir, &order, 1, NULL, 0);
    data_dir_checkpoint(&fixture->dir, NULL, 0, NULL, 0);
    const struct verify_finding *finding = expect_only(fixture, VERIFY_ORDER_LOST, &order);
    assert_string_equal(finding->file, SEGMENT_1);
    assert_int_equal(finding->offset, JOURNAL_BLOCK_BYTES);
}

static void test_a_checkpoint_without_its_journal_is_found(void **state) {
    struct verify_fixture *fixture = *state;
    struct whole whole;
    write_whole(&fixture->dir, &whole);
    data_dir_delete(&fixture->dir, SEGMENT_1);
    data_dir_delete(&fixture->dir, "journal-0000000000000002.seg");
    (void)expect_finding(fixture, VERIFY_FRAMES_MISSING, NULL);
}

static void test_a_checkpoint_may_be_ahead_of_its_position(void **state) {
    struct verify_fixture *fixture = *state;
    struct data_dir *dir = &fixture->dir;
    struct order_record first = data_dir_order(dir, 1);
    data_dir_begin_segment(dir, 1);
    (void)data_dir_append(dir, &first, 1, NULL, 0);
    /* Copied while the writer went on: a change and a whole order that come behind the position. */
    struct order_record changed = data_dir_change(dir, &first, ORDER_STATUS_PROCESSING);
    struct order_record second = data_dir_order(dir, 2);
    struct order_record final = data_dir_change(dir, &second, ORDER_STATUS_ERROR);
    struct order_record copied[] = {changed, final};
    data_dir_checkpoint(dir, copied, 2, NULL, 0);
    (void)data_dir_append(dir, &changed, 1, NULL, 0);
    (void)data_dir_append(dir, &second, 1, NULL, 0);
    (void)expect_only(fixture, VERIFY_CHECKPOINT_CONTRADICTS, &second); /* not there yet */
    (void)data_dir_append(dir, &final, 1, NULL, 0);
    expect_clean(fixture);
    assert_int_equal(fixture->report.hot, 2);
}

static void test_a_checkpoint_that_is_behind_is_found(void **state) {
    struct verify_fixture *fixture = *state;
    struct order_record order = data_dir_order(&fixture->dir, 1);
    struct order_record changed = data_dir_change(&fixture->dir, &order, ORDER_STATUS_PROCESSING);
    data_dir_begin_segment(&fixture->dir, 1);
    (void)data_dir_append(&fixture->dir, &order, 1, NULL, 0);
    (void)data_dir_append(&fixture->dir, &changed, 1, NULL, 0);
    data_dir_checkpoint(&fixture->dir, &order, 1, NULL, 0);
    const struct verify_finding *finding =
        expect_only(fixture, VERIFY_CHECKPOINT_CONTRADICTS, &order);
    assert_contains(finding->text, "an older version");
}

static void test_a_checkpoint_with_another_content_is_found(void **state) {
    struct verify_fixture *fixture = *state;
    struct order_record order = data_dir_order(&fixture->dir, 1);
    data_dir_begin_segment(&fixture->dir, 1);
    (void)data_dir_append(&fixture->dir, &order, 1, NULL, 0);
    order.amount++;
    order_record_seal(&order);
    data_dir_checkpoint(&fixture->dir, &order, 1, NULL, 0);
    (void)expect_only(fixture, VERIFY_CHECKPOINT_CONTRADICTS, &order);
}

static void test_an_order_that_left_has_no_place_in_the_checkpoint(void **state) {
    struct verify_fixture *fixture = *state;
    struct data_dir *dir = &fixture->dir;
    struct order_record order = data_dir_order(dir, 1);
    struct order_record final = data_dir_change(dir, &order, ORDER_STATUS_ERROR);
    data_dir_begin_segment(dir, 1);
    (void)data_dir_append(dir, &order, 1, NULL, 0);
    (void)data_dir_append(dir, &final, 1, NULL, 0);
    (void)data_dir_append(dir, NULL, 0, &final, 1);
    data_dir_checkpoint(dir, &final, 1, &final, 1);
    data_dir_archive(dir, &final, 1);
    (void)expect_only(fixture, VERIFY_CHECKPOINT_CONTRADICTS, &order);
}

static void test_a_filter_that_forgot_a_reference_is_found(void **state) {
    struct verify_fixture *fixture = *state;
    struct data_dir *dir = &fixture->dir;
    struct order_record order = data_dir_order(dir, 1);
    struct order_record final = data_dir_change(dir, &order, ORDER_STATUS_ERROR);
    data_dir_begin_segment(dir, 1);
    (void)data_dir_append(dir, &order, 1, NULL, 0);
    (void)data_dir_append(dir, &final, 1, NULL, 0);
    (void)data_dir_append(dir, NULL, 0, &final, 1);
    data_dir_checkpoint(dir, NULL, 0, NULL, 0);
    data_dir_archive(dir, &final, 1);
    (void)expect_only(fixture, VERIFY_FILTER_WRONG, &order);
}

/* --- The archive. --- */

static void test_an_order_that_the_archive_lost_is_found(void **state) {
    struct verify_fixture *fixture = *state;
    struct whole whole;
    write_whole(&fixture->dir, &whole);
    data_dir_forget(&fixture->dir, DATA_DIR_ORDERS, &whole.leaving);
    const struct verify_finding *finding =
        expect_finding(fixture, VERIFY_ARCHIVE_MISSING, &whole.leaving);
    assert_string_equal(finding->file, "journal-0000000000000002.seg");
    assert_int_equal(finding->offset, JOURNAL_BLOCK_BYTES);
    assert_int_equal(fixture->report.counts[VERIFY_REFERENCE_ORPHANED], 1);
    assert_int_equal(fixture->report.finding_count, 2);
}

static void test_an_archive_that_is_gone_is_found(void **state) {
    struct verify_fixture *fixture = *state;
    struct data_dir *dir = &fixture->dir;
    struct order_record order = data_dir_order(dir, 1);
    struct order_record final = data_dir_change(dir, &order, ORDER_STATUS_ERROR);
    data_dir_begin_segment(dir, 1);
    (void)data_dir_append(dir, &order, 1, NULL, 0);
    (void)data_dir_append(dir, &final, 1, &final, 1);
    (void)expect_only(fixture, VERIFY_ARCHIVE_MISSING, &order);
}

static void test_an_archived_order_with_another_content_is_found(void **state) {
    struct verify_fixture *fixture = *state;
    struct whole whole;
    write_whole(&fixture->dir, &whole);
    struct order_record altered = whole.archived;
    altered.responded_at_us = altered.updated_at_us;
    order_record_seal(&altered);
    data_dir_store(&fixture->dir, altered.order_id, &altered, sizeof(altered));
    const struct verify_finding *finding = expect_only(fixture, VERIFY_HOMES_DIFFER, &altered);
    assert_contains(finding->text, "with another content");
}

static void test_a_broken_archived_order_is_found(void **state) {
    struct verify_fixture *fixture = *state;
    struct whole whole;
    write_whole(&fixture->dir, &whole);
    struct order_record altered = whole.archived;
    altered.amount++;
    data_dir_store(&fixture->dir, altered.order_id, &altered, sizeof(altered));
    const struct verify_finding *finding = expect_finding(fixture, VERIFY_RECORD_INVALID, &altered);
    assert_string_equal(finding->file, "archive");
    assert_string_equal(finding->text, "wrong crc");
    data_dir_store(&fixture->dir, altered.order_id, &altered, 100);
    finding = expect_finding(fixture, VERIFY_RECORD_INVALID, &altered);
    assert_contains(finding->text, "another size");
    data_dir_store(&fixture->dir, altered.order_id, &whole.transit, sizeof(whole.transit));
    finding = expect_finding(fixture, VERIFY_RECORD_INVALID, &altered);
    assert_contains(finding->text, "another order");
}

static void test_an_archived_order_that_is_not_final_is_found(void **state) {
    struct verify_fixture *fixture = *state;
    data_dir_begin_segment(&fixture->dir, 1);
    struct order_record order = data_dir_order(&fixture->dir, 1);
    (void)data_dir_append(&fixture->dir, NULL, 0, NULL, 0);
    data_dir_archive(&fixture->dir, &order, 1);
    (void)expect_only(fixture, VERIFY_RECORD_INVALID, &order);
}

static void test_a_hot_order_that_is_archived_later_than_it_is_is_found(void **state) {
    struct verify_fixture *fixture = *state;
    struct order_record order = data_dir_order(&fixture->dir, 1);
    struct order_record final = data_dir_change(&fixture->dir, &order, ORDER_STATUS_ERROR);
    data_dir_begin_segment(&fixture->dir, 1);
    (void)data_dir_append(&fixture->dir, &order, 1, NULL, 0);
    data_dir_archive(&fixture->dir, &final, 1);
    const struct verify_finding *finding = expect_only(fixture, VERIFY_HOMES_DIFFER, &order);
    assert_contains(finding->text, "hot as version 1, pending; archived as version 2, error");
}

static void test_an_order_that_changes_after_it_left_is_found(void **state) {
    struct verify_fixture *fixture = *state;
    struct whole whole;
    write_whole(&fixture->dir, &whole);
    struct order_record after =
        data_dir_change(&fixture->dir, &whole.leaving, ORDER_STATUS_SUCCESS);
    (void)data_dir_append(&fixture->dir, &after, 1, NULL, 0);
    (void)expect_finding(fixture, VERIFY_FINAL_CHANGED, &whole.leaving);
}

static void test_an_order_that_leaves_with_another_reference_is_found(void **state) {
    struct verify_fixture *fixture = *state;
    struct whole whole;
    write_whole(&fixture->dir, &whole);
    struct order_record other = whole.transit;
    other.partner_order_id[0] = 'x';
    (void)data_dir_append(&fixture->dir, NULL, 0, &other, 1);
    (void)expect_finding(fixture, VERIFY_RELEASE_WRONG, &other);
    /* So its own reference was never given to the filter. */
    assert_int_equal(fixture->report.counts[VERIFY_FILTER_WRONG], 1);
}

/* --- References. --- */

static void test_an_archived_order_without_its_reference_is_found(void **state) {
    struct verify_fixture *fixture = *state;
    struct whole whole;
    write_whole(&fixture->dir, &whole);
    data_dir_forget(&fixture->dir, DATA_DIR_REFERENCES, &whole.archived);
    (void)expect_only(fixture, VERIFY_REFERENCE_MISSING, &whole.archived);
    /* Once it is out of the idempotency window its reference may go. */
    fixture->dir.time_us += WINDOW_US + DAY_US;
    expect_clean(fixture);
}

static void test_a_reference_may_be_used_again_after_the_window(void **state) {
    struct verify_fixture *fixture = *state;
    struct data_dir *dir = &fixture->dir;
    struct order_record old = data_dir_order(dir, 1);
    struct order_record final = data_dir_change(dir, &old, ORDER_STATUS_ERROR);
    data_dir_begin_segment(dir, 1);
    (void)data_dir_append(dir, &old, 1, NULL, 0);
    (void)data_dir_append(dir, &final, 1, NULL, 0);
    (void)data_dir_append(dir, NULL, 0, &final, 1);
    data_dir_archive(dir, &final, 1);
    dir->time_us += WINDOW_US + DAY_US;
    struct order_record again = data_dir_order(dir, 1);
    (void)data_dir_append(dir, &again, 1, NULL, 0);
    expect_clean(fixture);
}

static void test_a_reference_is_not_used_again_within_the_window(void **state) {
    struct verify_fixture *fixture = *state;
    struct data_dir *dir = &fixture->dir;
    struct order_record old = data_dir_order(dir, 1);
    struct order_record final = data_dir_change(dir, &old, ORDER_STATUS_ERROR);
    data_dir_begin_segment(dir, 1);
    (void)data_dir_append(dir, &old, 1, NULL, 0);
    (void)data_dir_append(dir, &final, 1, NULL, 0);
    (void)data_dir_append(dir, NULL, 0, &final, 1);
    dir->time_us += WINDOW_US / 2;
    struct order_record again = data_dir_order(dir, 1);
    struct order_record second = data_dir_change(dir, &again, ORDER_STATUS_ERROR);
    (void)data_dir_append(dir, &again, 1, NULL, 0);
    data_dir_archive(dir, &final, 1);
    (void)expect_only(fixture, VERIFY_REFERENCE_TWICE, &again);
    (void)data_dir_append(dir, &second, 1, NULL, 0);
    data_dir_archive(dir, &second, 1);
    (void)expect_only(fixture, VERIFY_REFERENCE_TWICE, &again);
}

static void test_an_open_order_keeps_its_reference_for_ever(void **state) {
    struct verify_fixture *fixture = *state;
    struct data_dir *dir = &fixture->dir;
    struct order_record old = data_dir_order(dir, 1);
    data_dir_begin_segment(dir, 1);
    (void)data_dir_append(dir, &old, 1, NULL, 0);
    dir->time_us += WINDOW_US + DAY_US;
    struct order_record again = data_dir_order(dir, 1);
    (void)data_dir_append(dir, &again, 1, NULL, 0);
    (void)expect_only(fixture, VERIFY_REFERENCE_TWICE, &again);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        VERIFY_TEST(test_a_whole_directory_is_clean_and_counted),
        VERIFY_TEST(test_a_segment_that_the_checkpoint_covers_may_be_gone),
        VERIFY_TEST(test_a_covered_segment_is_checked_as_well),
        VERIFY_TEST(test_every_flipped_byte_of_the_checkpoint_is_found),
        VERIFY_TEST(test_an_order_that_the_checkpoint_misses_is_lost),
        VERIFY_TEST(test_a_checkpoint_without_its_journal_is_found),
        VERIFY_TEST(test_a_checkpoint_may_be_ahead_of_its_position),
        VERIFY_TEST(test_a_checkpoint_that_is_behind_is_found),
        VERIFY_TEST(test_a_checkpoint_with_another_content_is_found),
        VERIFY_TEST(test_an_order_that_left_has_no_place_in_the_checkpoint),
        VERIFY_TEST(test_a_filter_that_forgot_a_reference_is_found),
        VERIFY_TEST(test_an_order_that_the_archive_lost_is_found),
        VERIFY_TEST(test_an_archive_that_is_gone_is_found),
        VERIFY_TEST(test_an_archived_order_with_another_content_is_found),
        VERIFY_TEST(test_a_broken_archived_order_is_found),
        VERIFY_TEST(test_an_archived_order_that_is_not_final_is_found),
        VERIFY_TEST(test_a_hot_order_that_is_archived_later_than_it_is_is_found),
        VERIFY_TEST(test_an_order_that_changes_after_it_left_is_found),
        VERIFY_TEST(test_an_order_that_leaves_with_another_reference_is_found),
        VERIFY_TEST(test_an_archived_order_without_its_reference_is_found),
        VERIFY_TEST(test_a_reference_may_be_used_again_after_the_window),
        VERIFY_TEST(test_a_reference_is_not_used_again_within_the_window),
        VERIFY_TEST(test_an_open_order_keeps_its_reference_for_ever),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
