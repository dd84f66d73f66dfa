#include "adapter/redis/redis_value.h"

#include "../unit.h"

static const struct redis_value *read_one(struct redis_reader *reader, const char *bytes) {
    const struct redis_value *value = NULL;
    assert_true(redis_reader_feed(reader, bytes, strlen(bytes)));
    assert_int_equal(redis_reader_next(reader, &value), REDIS_READ_VALUE);
    return value;
}

static void test_every_kind_of_answer_is_read(void **state) {
    (void)state;
    struct redis_reader reader;
    assert_true(redis_reader_init(&reader));
    assert_int_equal(read_one(&reader, "$-1\r\n")->kind, REDIS_NIL);
    assert_int_equal(read_one(&reader, "*-1\r\n")->kind, REDIS_NIL);
    assert_int_equal(read_one(&reader, ":-42\r\n")->integer, -42);
    assert_slice_equal(read_one(&reader, "+OK\r\n")->text, "OK");
    assert_slice_equal(read_one(&reader, "$3\r\na\nb\r\n")->text, "a\nb");
    const struct redis_value *error = read_one(&reader, "-MOVED 1 h:2\r\n");
    assert_true(redis_value_is_error(error, "MOVED"));
    assert_false(redis_value_is_error(error, "MOVE"));
    assert_false(redis_value_is_error(read_one(&reader, "+MOVED 1 h:2\r\n"), "MOVED"));
    const struct redis_value *array = read_one(&reader, "*3\r\n:1\r\n*2\r\n+a\r\n$-1\r\n*0\r\n");
    assert_int_equal(array->count, 3);
    assert_int_equal(array->items[0].integer, 1);
    assert_slice_equal(array->items[1].items[0].text, "a");
    assert_int_equal(array->items[1].items[1].kind, REDIS_NIL);
    assert_int_equal(array->items[2].kind, REDIS_ARRAY);
    assert_int_equal(array->items[2].count, 0);
    redis_reader_deinit(&reader);
}

static void test_an_answer_may_come_byte_by_byte(void **state) {
    (void)state;
    static const char bytes[] = "*2\r\n$5\r\nhello\r\n*1\r\n:77\r\n+x\r\n";
    struct redis_reader reader;
    const struct redis_value *value = NULL;
    assert_true(redis_reader_init(&reader));
    size_t last = sizeof(bytes) - 1 - strlen("+x\r\n");
    for (size_t i = 0; i < last; i++) {
        assert_true(redis_reader_feed(&reader, &bytes[i], 1));
        assert_int_equal(redis_reader_next(&reader, &value),
                         i + 1 == last ? REDIS_READ_VALUE : REDIS_READ_NONE);
    }
    assert_slice_equal(value->items[0].text, "hello");
    assert_int_equal(value->items[1].items[0].integer, 77);
    assert_slice_equal(read_one(&reader, "+x\r\n")->text, "x");
    redis_reader_deinit(&reader);
}

static void test_what_is_no_answer_is_refused(void **state) {
    (void)state;
    static const char *const hostile[] = {
        "hello\r\n",
        "$abc\r\n",
        "$-2\r\n",
        "*-7\r\n",
        ":12x\r\n",
        "*99999999\r\n",
        "*2147483647\r\n",
        "*4294967297\r\n",
        "$99999999999999999999\r\n",
        "*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n:1\r\n",
    };
    for (size_t i = 0; i < ARRAY_COUNT(hostile); i++) {
        struct redis_reader reader;
        const struct redis_value *value = NULL;
        assert_true(redis_reader_init(&reader));
        assert_true(redis_reader_feed(&reader, hostile[i], strlen(hostile[i])));
        if (redis_reader_next(&reader, &value) != REDIS_READ_BROKEN) {
            fail_msg("taken: %s", hostile[i]);
        }
        redis_reader_deinit(&reader);
    }
}

/** Feeds `chunk` until the reader has enough; returns how many bytes it took. */
static size_t feed_until_refused(struct redis_reader *reader, const char *chunk, size_t size) {
    const struct redis_value *value = NULL;
    for (size_t fed = 0; fed < 64u << 20; fed += size) {
        if (!redis_reader_feed(reader, chunk, size) ||
            redis_reader_next(reader, &value) == REDIS_READ_BROKEN) {
            return fed;
        }
    }
    return SIZE_MAX;
}

static void test_an_endless_answer_is_bounded(void **state) {
    (void)state;
    static char chunk[REDIS_FEED_BYTES];
    struct redis_reader reader;
    const struct redis_value *value = NULL;
    memset(chunk, 'x', sizeof(chunk));
    assert_true(redis_reader_init(&reader));
    assert_true(redis_reader_feed(&reader, "$2000000000\r\n", 13));
    assert_int_equal(redis_reader_next(&reader, &value), REDIS_READ_NONE);
    assert_in_range(feed_until_refused(&reader, chunk, sizeof(chunk)), 1,
                    REDIS_ANSWER_BYTES_MAX + 2 * REDIS_FEED_BYTES);
    redis_reader_deinit(&reader);
    /* Arrays in an array: each is within the limit, together they are not. */
    assert_true(redis_reader_init(&reader));
    assert_true(redis_reader_feed(&reader, "*60000\r\n", 8));
    assert_in_range(feed_until_refused(&reader, "*60000\r\n", 8), 0, REDIS_ANSWER_BYTES_MAX);
    redis_reader_deinit(&reader);
}

static void test_memory_of_an_answer_is_used_again(void **state) {
    (void)state;
    struct redis_reader reader;
    assert_true(redis_reader_init(&reader));
    for (int i = 0; i < 100000; i++) {
        (void)read_one(&reader, "*2\r\n$10\r\n0123456789\r\n+x\r\n");
    }
    assert_in_range(reader.bytes, 1, 1u << 16);
    redis_reader_deinit(&reader);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_kind_of_answer_is_read),
        cmocka_unit_test(test_an_answer_may_come_byte_by_byte),
        cmocka_unit_test(test_what_is_no_answer_is_refused),
        cmocka_unit_test(test_an_endless_answer_is_bounded),
        cmocka_unit_test(test_memory_of_an_answer_is_used_again),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
