#include "adapter/embedded/journal_format.h"
#include "adapter/embedded/segment_supply.h"
#include "base/mailbox.h"
#include "unit.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

/* The supply on a directory of the test's own, with the smallest segments. */

struct fixture {
    struct disk_posix posix;
    struct segment_supply supply;
    struct mailbox writer;
    struct log log;
    char path[200];
    int64_t now_us;
};

static void remove_segment_file(struct fixture *fixture, uint64_t number) {
    struct fault fault;
    char name[JOURNAL_NAME_MAX];
    journal_segment_name(number, name);
    (void)fixture->posix.disk.ops->remove(&fixture->posix.disk, name, &fault);
}

static int setup(void **state) {
    struct fixture *fixture = aligned_alloc(CACHE_LINE_BYTES, sizeof(*fixture));
    struct fault fault;
    struct journal_limits limits = {
        .segment_bytes = JOURNAL_SEGMENT_BYTES_MIN,
        .segment_bytes_min = JOURNAL_SEGMENT_BYTES_MIN,
    };
    assert_non_null(fixture);
    memset(fixture, 0, sizeof(*fixture));
    const char *parent = getenv("TMPDIR");
    (void)snprintf(fixture->path, sizeof(fixture->path), "%s/supply-XXXXXX",
                   parent == NULL ? "/tmp" : parent);
    log_init(&fixture->log, STDERR_FILENO, LOG_ERROR);
    *state = fixture;
    return mkdtemp(fixture->path) != NULL &&
                   disk_posix_open(&fixture->posix, fixture->path, &fault) == DISK_OK &&
                   mailbox_init(&fixture->writer, 2) &&
                   segment_supply_init(&fixture->supply, &fixture->posix.disk, &fixture->log,
                                       &fixture->writer, &limits, 1)
               ? 0
               : -1;
}

static int teardown(void **state) {
    struct fixture *fixture = *state;
    segment_supply_deinit(&fixture->supply);
    for (uint64_t number = 1; number < 16; number++) {
        remove_segment_file(fixture, number);
    }
    disk_posix_close(&fixture->posix);
    mailbox_deinit(&fixture->writer);
    int removed = rmdir(fixture->path);
    free(fixture);
    return removed;
}

/** Has the next segment made and takes it; returns its number. */
static uint64_t take_next(struct fixture *fixture) {
    struct ready_segment segment;
    for (int steps = 0; !segment_supply_is_ready(&fixture->supply); steps++) {
        assert_true(steps < 1000);
        fixture->now_us += 1000000;
        (void)segment_supply_step(&fixture->supply, fixture->now_us);
    }
    assert_true(segment_supply_take(&fixture->supply, &segment));
    fixture->posix.disk.ops->close(&fixture->posix.disk, segment.file);
    return segment.number;
}

static bool is_there(const struct fixture *fixture, uint64_t number) {
    char name[JOURNAL_NAME_MAX];
    journal_segment_name(number, name);
    return faccessat(fixture->posix.directory_fd, name, F_OK, 0) == 0;
}

static void test_old_segments_are_used_again_oldest_first(void **state) {
    struct fixture *fixture = *state;
    for (uint64_t number = 1; number <= 4; number++) {
        assert_int_equal(take_next(fixture), number);
    }
    segment_supply_recycle(&fixture->supply, 1);
    segment_supply_recycle(&fixture->supply, 2);
    assert_int_equal(take_next(fixture), 5);
    assert_false(is_there(fixture, 1));
    assert_true(is_there(fixture, 2)); /* a start now finds 2 to 5: no gap */
    assert_int_equal(take_next(fixture), 6);
    assert_false(is_there(fixture, 2));
}

static void test_of_too_many_old_segments_the_oldest_are_deleted(void **state) {
    struct fixture *fixture = *state;
    for (uint64_t number = 1; number <= SEGMENT_SPARES_MAX + 2; number++) {
        assert_int_equal(take_next(fixture), number);
    }
    for (uint64_t number = 1; number <= SEGMENT_SPARES_MAX + 2; number++) {
        segment_supply_recycle(&fixture->supply, number);
    }
    assert_true(segment_supply_trim(&fixture->supply, fixture->now_us));
    assert_true(segment_supply_trim(&fixture->supply, fixture->now_us));
    assert_false(segment_supply_trim(&fixture->supply, fixture->now_us));
    assert_false(is_there(fixture, 1));
    assert_false(is_there(fixture, 2));
    assert_true(is_there(fixture, 3));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_old_segments_are_used_again_oldest_first, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_of_too_many_old_segments_the_oldest_are_deleted, setup,
                                        teardown),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
