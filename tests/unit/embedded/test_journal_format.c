#include "adapter/embedded/journal_format.h"
#include "sample.h"
#include "unit.h"

#define RECORDS 3
#define RELEASES 2

static _Alignas(JOURNAL_BLOCK_BYTES) char frame[2 * JOURNAL_BLOCK_BYTES];

static struct order_record *records(void) {
    return (struct order_record *)(frame + JOURNAL_FRAME_HEADER_BYTES);
}

/** Fills `frame` in; returns the bytes up to the end of the payload. */
static size_t make_frame(void) {
    struct journal_release releases[RELEASES] = {{7, 70}, {8, 80}};
    memset(frame, 0xee, sizeof(frame));
    for (uint64_t i = 0; i < RECORDS; i++) {
        records()[i] = sample_order(100 + i);
    }
    struct journal_frame_header header = {
        .segment = 5,
        .sequence = 9,
        .first_change = 11,
        .record_count = RECORDS,
        .release_count = RELEASES,
    };
    assert_int_equal(journal_frame_seal(frame, header, releases), JOURNAL_BLOCK_BYTES);
    return journal_frame_payload_end(RECORDS, RELEASES);
}

static void test_a_frame_is_intact_as_written_and_padded_with_zeroes(void **state) {
    (void)state;
    size_t end = make_frame();
    struct journal_frame_header header;
    memcpy(&header, frame, sizeof(header));
    assert_true(journal_frame_is_plausible(&header, 5, 9));
    assert_false(journal_frame_is_plausible(&header, 4, 9));
    assert_false(journal_frame_is_plausible(&header, 5, 10));
    assert_true(journal_frame_is_intact(frame, JOURNAL_BLOCK_BYTES));
    assert_false(journal_frame_is_intact(frame, end - 1));
    for (size_t i = end; i < JOURNAL_BLOCK_BYTES; i++) {
        assert_int_equal(frame[i], 0);
    }
}

static void test_a_changed_byte_is_seen_wherever_it_is(void **state) {
    (void)state;
    size_t end = make_frame();
    for (size_t i = offsetof(struct journal_frame_header, crc); i < end; i++) {
        struct journal_frame_header header;
        frame[i] ^= 0x10;
        memcpy(&header, frame, sizeof(header));
        assert_false(journal_frame_is_plausible(&header, 5, 9) &&
                     journal_frame_is_intact(frame, JOURNAL_BLOCK_BYTES));
        frame[i] ^= 0x10;
    }
}

/** The frame's CRC alone does not see this: every record ends with a CRC of its own. */
static void test_another_sound_record_in_a_frame_is_seen(void **state) {
    (void)state;
    for (size_t i = 0; i < RECORDS; i++) {
        make_frame();
        records()[i] = sample_order(200);
        assert_int_equal(order_record_check(&records()[i]), ORDER_RECORD_VALID);
        assert_false(journal_frame_is_intact(frame, JOURNAL_BLOCK_BYTES));
    }
    make_frame();
    struct order_record first = records()[0];
    records()[0] = records()[1];
    records()[1] = first;
    assert_false(journal_frame_is_intact(frame, JOURNAL_BLOCK_BYTES));
}

static void test_a_segment_has_its_own_number_and_a_size_in_bounds(void **state) {
    (void)state;
    uint64_t size;
    journal_segment_header_write(frame, 3, 8 * JOURNAL_BLOCK_BYTES);
    assert_true(journal_segment_header_read(frame, 3, &size));
    assert_int_equal(size, 8 * JOURNAL_BLOCK_BYTES);
    assert_false(journal_segment_header_read(frame, 4, &size));
    frame[sizeof(struct journal_segment_header) - 1] ^= 1;
    assert_false(journal_segment_header_read(frame, 3, &size));
    journal_segment_header_write(frame, 3, JOURNAL_BLOCK_BYTES);
    assert_false(journal_segment_header_read(frame, 3, &size));
    journal_segment_header_write(frame, 3, JOURNAL_SEGMENT_BYTES_MAX + 1);
    assert_false(journal_segment_header_read(frame, 3, &size));
}

static void test_only_names_of_segments_are_taken_for_such(void **state) {
    (void)state;
    static const char *const others[] = {
        "journal.filling",
        "journal-1.seg",
        "journal-0000000000000000.seg",
        "journal-000000000000001x.seg",
        "journal-0000000000000001.seg.bak",
        "xjournal-0000000000000001.seg",
    };
    char name[JOURNAL_NAME_MAX];
    uint64_t number;
    journal_segment_name(42, name);
    assert_true(journal_segment_number(name, &number));
    assert_int_equal(number, 42);
    for (size_t i = 0; i < ARRAY_COUNT(others); i++) {
        assert_false(journal_segment_number(others[i], &number));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_frame_is_intact_as_written_and_padded_with_zeroes),
        cmocka_unit_test(test_a_changed_byte_is_seen_wherever_it_is),
        cmocka_unit_test(test_another_sound_record_in_a_frame_is_seen),
        cmocka_unit_test(test_a_segment_has_its_own_number_and_a_size_in_bounds),
        cmocka_unit_test(test_only_names_of_segments_are_taken_for_such),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
