#include "net/output.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

struct fixture {
    struct buffer_pools pools;
    struct output output;
    int fds[2];
};

static int set_up(void **state) {
    struct fixture *fixture = test_calloc(1, sizeof(*fixture));
    *state = fixture;
    return buffer_pools_init(&fixture->pools, 1, 1, 1) &&
                   socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fixture->fds) == 0
               ? 0
               : -1;
}

static int tear_down(void **state) {
    struct fixture *fixture = *state;
    output_release(&fixture->output);
    buffer_pools_deinit(&fixture->pools);
    (void)close(fixture->fds[0]);
    (void)close(fixture->fds[1]);
    test_free(fixture);
    return 0;
}

static void append(struct fixture *fixture, const char *text) {
    assert_true(output_reserve(&fixture->output, &fixture->pools, strlen(text)));
    output_append(&fixture->output, slice_from_text(text));
}

static void expect_received(struct fixture *fixture, const char *text) {
    char received[256];
    ssize_t size = recv(fixture->fds[1], received, sizeof(received), 0);
    assert_int_equal(size, strlen(text));
    assert_memory_equal(received, text, strlen(text));
}

static void test_what_was_appended_leaves_with_one_send_and_the_buffer_goes_back(void **state) {
    struct fixture *fixture = *state;
    append(fixture, "one ");
    append(fixture, "two");
    assert_int_equal(output_pending(&fixture->output), 7);
    assert_int_equal(output_send(&fixture->output, fixture->fds[0]), OUTPUT_SENT);
    expect_received(fixture, "one two");
    assert_int_equal(buffer_pool_taken(&fixture->pools.small), 0);
    assert_int_equal(fixture->output.sent, 7);
}

static void test_what_does_not_fit_moves_to_a_larger_buffer(void **state) {
    struct fixture *fixture = *state;
    struct output *output = &fixture->output;
    append(fixture, "before");
    assert_true(output_reserve(output, &fixture->pools, BUFFER_SMALL_BYTES));
    assert_ptr_equal(output->pool, &fixture->pools.medium);
    assert_int_equal(buffer_pool_taken(&fixture->pools.small), 0);
    assert_true(output_reserve(output, &fixture->pools, BUFFER_LARGE_BYTES - 6));
    assert_ptr_equal(output->pool, &fixture->pools.large);
    assert_false(output_reserve(output, &fixture->pools, BUFFER_LARGE_BYTES - 5));
    assert_int_equal(fixture->pools.exhausted, 1);
    assert_int_equal(output_send(output, fixture->fds[0]), OUTPUT_SENT);
    expect_received(fixture, "before");
}

static void test_without_a_larger_buffer_what_is_pending_stays(void **state) {
    struct fixture *fixture = *state;
    struct buffer_pool *pool;
    char *medium = buffer_pools_take_large(&fixture->pools, 1, &pool);
    char *large = buffer_pools_take_large(&fixture->pools, BUFFER_LARGE_BYTES, &pool);
    append(fixture, "stays");
    assert_false(output_reserve(&fixture->output, &fixture->pools, BUFFER_SMALL_BYTES));
    assert_int_equal(output_send(&fixture->output, fixture->fds[0]), OUTPUT_SENT);
    expect_received(fixture, "stays");
    buffer_pool_give(&fixture->pools.medium, medium);
    buffer_pool_give(&fixture->pools.large, large);
}

static void test_a_full_socket_blocks_and_the_room_of_what_left_is_used_again(void **state) {
    struct fixture *fixture = *state;
    struct output *output = &fixture->output;
    static char block[BUFFER_SMALL_BYTES];
    static char received[1 << 20];
    enum output_result result;
    do {
        assert_true(output_reserve(output, &fixture->pools, 30000));
        output_append(output, (struct slice){block, 30000});
        result = output_send(output, fixture->fds[0]);
    } while (result == OUTPUT_SENT);
    assert_int_equal(result, OUTPUT_BLOCKED);
    int64_t acknowledged = output_acknowledged(output, fixture->fds[0]);
    (void)recv(fixture->fds[1], received, sizeof(received), 0);
    assert_true(output_acknowledged(output, fixture->fds[0]) > acknowledged);
    size_t pending = output_pending(output);
    assert_true(pending > 0);
    assert_true(output_reserve(output, &fixture->pools, BUFFER_SMALL_BYTES - pending));
    assert_ptr_equal(output->pool, &fixture->pools.small);
    assert_int_equal(output_send(output, fixture->fds[0]), OUTPUT_SENT);
}

static void test_the_room_of_what_has_left_is_used_before_a_larger_buffer(void **state) {
    struct fixture *fixture = *state;
    struct output *output = &fixture->output;
    append(fixture, "gone stays");
    output->begin = 5; /* as after a send that took a part */
    assert_true(output_reserve(output, &fixture->pools, BUFFER_SMALL_BYTES - 5));
    assert_ptr_equal(output->pool, &fixture->pools.small);
    assert_int_equal(output_send(output, fixture->fds[0]), OUTPUT_SENT);
    expect_received(fixture, "stays");
}

static void test_a_peer_that_left_breaks_it(void **state) {
    struct fixture *fixture = *state;
    append(fixture, "x");
    assert_int_equal(shutdown(fixture->fds[0], SHUT_WR), 0);
    assert_int_equal(output_send(&fixture->output, fixture->fds[0]), OUTPUT_BROKEN);
}

static void test_a_part_can_be_shifted_to_close_a_gap(void **state) {
    struct fixture *fixture = *state;
    append(fixture, "length:    7");
    output_shift(&fixture->output, 7, 3);
    assert_int_equal(output_send(&fixture->output, fixture->fds[0]), OUTPUT_SENT);
    expect_received(fixture, "length: 7");
}

#define OUTPUT_TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        OUTPUT_TEST(test_what_was_appended_leaves_with_one_send_and_the_buffer_goes_back),
        OUTPUT_TEST(test_what_does_not_fit_moves_to_a_larger_buffer),
        OUTPUT_TEST(test_without_a_larger_buffer_what_is_pending_stays),
        OUTPUT_TEST(test_a_full_socket_blocks_and_the_room_of_what_left_is_used_again),
        OUTPUT_TEST(test_the_room_of_what_has_left_is_used_before_a_larger_buffer),
        OUTPUT_TEST(test_a_peer_that_left_breaks_it),
        OUTPUT_TEST(test_a_part_can_be_shifted_to_close_a_gap),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
