#include "net/buffer_pool.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static void test_buffers_are_apart_aligned_and_bounded_in_number(void **state) {
    (void)state;
    struct buffer_pool pool;
    char *buffers[5];
    assert_true(buffer_pool_init(&pool, 16384, 5));
    for (int i = 0; i < 5; i++) {
        buffers[i] = buffer_pool_take(&pool);
        assert_non_null(buffers[i]);
        assert_int_equal((uintptr_t)buffers[i] % CACHE_LINE_BYTES, 0);
        memset(buffers[i], 'a' + i, 16384);
    }
    assert_null(buffer_pool_take(&pool));
    assert_int_equal(buffer_pool_taken(&pool), 5);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(buffers[i][0], 'a' + i);
        assert_int_equal(buffers[i][16383], 'a' + i);
        buffer_pool_give(&pool, buffers[i]);
    }
    buffer_pool_deinit(&pool);
}

static void test_the_buffer_given_back_last_is_taken_next(void **state) {
    (void)state;
    struct buffer_pool pool;
    assert_true(buffer_pool_init(&pool, 100, 3));
    char *first = buffer_pool_take(&pool);
    char *second = buffer_pool_take(&pool);
    buffer_pool_give(&pool, second);
    buffer_pool_give(&pool, first);
    assert_ptr_equal(buffer_pool_take(&pool), first);
    buffer_pool_give(&pool, first);
    buffer_pool_deinit(&pool);
}

static void test_an_empty_pool_has_no_buffer(void **state) {
    (void)state;
    struct buffer_pool pool;
    assert_true(buffer_pool_init(&pool, 100, 0));
    assert_null(buffer_pool_take(&pool));
    buffer_pool_deinit(&pool);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_buffers_are_apart_aligned_and_bounded_in_number),
        cmocka_unit_test(test_the_buffer_given_back_last_is_taken_next),
        cmocka_unit_test(test_an_empty_pool_has_no_buffer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
