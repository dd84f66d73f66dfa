#include "adapter/redis/slot_map.h"

#include "../unit.h"
#include "base/text.h"

struct fixture {
    struct redis_reader reader;
    struct slot_map map;
    struct fault fault;
};

static const struct redis_address asked = {"10.0.0.9", 7009};

static const struct redis_value *answer(struct fixture *fixture, const char *bytes) {
    const struct redis_value *value = NULL;
    redis_reader_deinit(&fixture->reader);
    assert_true(redis_reader_init(&fixture->reader));
    assert_true(redis_reader_feed(&fixture->reader, bytes, strlen(bytes)));
    assert_int_equal(redis_reader_next(&fixture->reader, &value), REDIS_READ_VALUE);
    return value;
}

static bool parse(struct fixture *fixture, const char *bytes) {
    return slot_map_parse(answer(fixture, bytes), &asked, &fixture->map, &fixture->fault);
}

#define NODE(host, port) "*3\r\n$8\r\n" host "\r\n:" port "\r\n$1\r\ni\r\n"

static void test_a_map_with_replicas_is_read(void **state) {
    struct fixture *fixture = *state;
    assert_true(parse(fixture, "*2\r\n"
                               "*4\r\n:0\r\n:8191\r\n" NODE("10.0.0.1", "7001")
                                   NODE("10.0.0.2", "7002") "*4\r\n:8192\r\n:16383\r\n"
                                                            "*3\r\n$0\r\n\r\n:7009\r\n$1\r\ni\r\n"
                                                            "*2\r\n$-1\r\n:7010\r\n"));
    const struct slot_map *map = &fixture->map;
    assert_int_equal(map->covered, HASH_SLOT_COUNT);
    assert_int_equal(map->node_count, 4);
    assert_string_equal(map->nodes[map->owners[8191]].address.host, "10.0.0.1");
    assert_string_equal(map->nodes[map->owners[8192]].address.host, "10.0.0.9");
    assert_int_equal(map->nodes[map->owners[8192]].address.port, 7009);
    assert_int_equal(map->nodes[1].master, 0);
    assert_int_equal(map->nodes[0].master, SLOT_MAP_NOBODY);
    assert_string_equal(map->nodes[3].address.host, "10.0.0.9");
    assert_int_equal(map->nodes[3].master, 2);
}

static void test_a_map_with_holes_is_read(void **state) {
    struct fixture *fixture = *state;
    assert_true(parse(fixture, "*1\r\n*3\r\n:5\r\n:5\r\n" NODE("10.0.0.1", "7001")));
    assert_int_equal(fixture->map.covered, 1);
    assert_int_equal(fixture->map.owners[4], SLOT_MAP_NOBODY);
    assert_int_equal(fixture->map.owners[5], 0);
}

static void test_what_is_no_map_is_refused(void **state) {
    struct fixture *fixture = *state;
    static const char *const hostile[] = {
        "*0\r\n",
        "+OK\r\n",
        ":1\r\n",
        "$-1\r\n",
        "-ERR This instance has cluster support disabled\r\n",
        "*1\r\n:1\r\n",
        "*1\r\n*0\r\n",
        "*1\r\n*2\r\n:0\r\n:5\r\n",
        "*1\r\n*3\r\n:0\r\n:5\r\n:7\r\n",
        "*1\r\n*3\r\n:-1\r\n:5\r\n" NODE("10.0.0.1", "7001"),
        "*1\r\n*3\r\n:0\r\n:16384\r\n" NODE("10.0.0.1", "7001"),
        "*1\r\n*3\r\n:6\r\n:5\r\n" NODE("10.0.0.1", "7001"),
        "*1\r\n*3\r\n:9223372036854775807\r\n:5\r\n" NODE("10.0.0.1", "7001"),
        "*1\r\n*3\r\n+0\r\n:5\r\n" NODE("10.0.0.1", "7001"),
        "*1\r\n*3\r\n:0\r\n:5\r\n" NODE("10.0.0.1", "0"),
        "*1\r\n*3\r\n:0\r\n:5\r\n" NODE("10.0.0.1", "65536"),
        "*1\r\n*3\r\n:0\r\n:5\r\n" NODE("10.0.0.1", "-1"),
        "*1\r\n*3\r\n:0\r\n:5\r\n" NODE("evilhost", "7001"),
        "*1\r\n*3\r\n:0\r\n:5\r\n" NODE("10.0.0.\n", "7001"),
        "*1\r\n*3\r\n:0\r\n:5\r\n*2\r\n$1\r\n?\r\n:7001\r\n",
        "*2\r\n*3\r\n:0\r\n:5\r\n" NODE("10.0.0.1", "7001") "*3\r\n:5\r\n:6\r\n" NODE("10.0.0.2",
                                                                                      "7001"),
    };
    for (size_t i = 0; i < ARRAY_COUNT(hostile); i++) {
        if (parse(fixture, hostile[i])) {
            fail_msg("taken: %s", hostile[i]);
        }
        assert_true(fixture->fault.text[0] != 0);
    }
}

static void test_too_many_nodes_leave_slots_without_an_owner(void **state) {
    struct fixture *fixture = *state;
    static char bytes[200 * 64];
    struct text text = text_over(bytes, sizeof(bytes) - 1);
    text_append_literal(&text, "*200\r\n");
    for (unsigned i = 0; i < 200; i++) {
        text_append_format(&text, "*3\r\n:%u\r\n:%u\r\n*2\r\n$8\r\n10.0.0.1\r\n:%u\r\n", i, i,
                           1000 + i);
    }
    bytes[text.size] = 0;
    assert_false(text.truncated);
    const struct redis_value *value = answer(fixture, bytes);
    assert_true(slot_map_parse(value, &asked, &fixture->map, &fixture->fault));
    assert_int_equal(fixture->map.node_count, SLOT_MAP_NODES_MAX);
    assert_int_equal(fixture->map.covered, SLOT_MAP_NODES_MAX);
    assert_int_equal(fixture->map.unusable, 200 - SLOT_MAP_NODES_MAX);
    assert_int_equal(fixture->map.owners[199], SLOT_MAP_NOBODY);
}

static enum slot_redirect redirect(struct fixture *fixture, const char *bytes, uint16_t *slot,
                                   struct redis_address *target) {
    return slot_redirect_parse(answer(fixture, bytes), &asked, slot, target);
}

static void test_redirections_are_read(void **state) {
    struct fixture *fixture = *state;
    struct redis_address target;
    uint16_t slot;
    assert_int_equal(redirect(fixture, "-MOVED 3999 127.0.0.1:6381\r\n", &slot, &target),
                     SLOT_REDIRECT_MOVED);
    assert_int_equal(slot, 3999);
    assert_string_equal(target.host, "127.0.0.1");
    assert_int_equal(target.port, 6381);
    assert_int_equal(redirect(fixture, "-ASK 16383 ::1:6381\r\n", &slot, &target),
                     SLOT_REDIRECT_ASK);
    assert_string_equal(target.host, "::1");
    assert_int_equal(redirect(fixture, "-MOVED 1 :6381\r\n", &slot, &target), SLOT_REDIRECT_MOVED);
    assert_string_equal(target.host, "10.0.0.9");
}

static void test_redirections_to_nowhere_are_not_followed(void **state) {
    struct fixture *fixture = *state;
    static const char *const hostile[] = {
        "-MOVED\r\n",
        "-MOVED \r\n",
        "-MOVED 1\r\n",
        "-MOVED 1 \r\n",
        "-MOVED 1 h\r\n",
        "-MOVED 16384 127.0.0.1:1\r\n",
        "-MOVED -1 1.1.1.1:1\r\n",
        "-MOVED 1 1.1.1.1:0\r\n",
        "-MOVED 1 1.1.1.1:65536\r\n",
        "-MOVED 1 1.1.1.1:\r\n",
        "-MOVED 1 1.1.1.1:1x\r\n",
        "-MOVED 99999999999999999999 1.1.1.1:1\r\n",
        "-MOVED 1 localhost:1\r\n",
        "-ASK 1 1.1.1.1.1:1\r\n",
        "-ASKING 1 1.1.1.1:1\r\n",
        "+MOVED 1 1.1.1.1:1\r\n",
        "-ASK 1  1.1.1.1:1\r\n",
        "-TRYAGAIN\r\n",
    };
    struct redis_address target;
    uint16_t slot;
    for (size_t i = 0; i < ARRAY_COUNT(hostile); i++) {
        if (redirect(fixture, hostile[i], &slot, &target) != SLOT_REDIRECT_NONE) {
            fail_msg("followed: %s", hostile[i]);
        }
    }
}

#define RUN_ID "0123456789abcdef0123456789abcdef01234567"

static void test_info_says_who_a_node_is(void **state) {
    (void)state;
    struct node_identity identity;
    assert_true(node_identity_parse(
        SLICE_LITERAL("# Server\r\nrun_id:" RUN_ID "\r\nevicted_keys:12\r\n# Replication\r\n"
                      "role:master\r\ncmdstat_flushall:calls=2,usec=5\r\n"
                      "cmdstat_flushdb:calls=3,usec=5\r\n"),
        &identity));
    assert_string_equal(identity.run_id, RUN_ID);
    assert_true(identity.master);
    assert_int_equal(identity.flushes, 5);
    assert_int_equal(identity.evicted, 12);
    assert_true(node_identity_parse(SLICE_LITERAL("role:slave\nrun_id:" RUN_ID), &identity));
    assert_false(identity.master);
    assert_int_equal(identity.flushes, 0);
}

static void test_info_without_an_identity_is_refused(void **state) {
    (void)state;
    struct node_identity identity;
    assert_false(node_identity_parse(SLICE_LITERAL(""), &identity));
    assert_false(node_identity_parse(SLICE_LITERAL("\r\n\r\n"), &identity));
    assert_false(node_identity_parse(SLICE_LITERAL("role:master\r\n"), &identity));
    assert_false(node_identity_parse(SLICE_LITERAL("run_id:" RUN_ID "\r\n"), &identity));
    assert_false(node_identity_parse(SLICE_LITERAL("run_id:12\r\nrole:master\r\n"), &identity));
    assert_false(
        node_identity_parse(SLICE_LITERAL("run_id:" RUN_ID "5\r\nrole:master\r\n"), &identity));
}

static int set_up(void **state) {
    static struct fixture fixture;
    *state = &fixture;
    return redis_reader_init(&fixture.reader) ? 0 : -1;
}

static int tear_down(void **state) {
    redis_reader_deinit(&((struct fixture *)*state)->reader);
    return 0;
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_a_map_with_replicas_is_read),
        TEST(test_a_map_with_holes_is_read),
        TEST(test_what_is_no_map_is_refused),
        TEST(test_too_many_nodes_leave_slots_without_an_owner),
        TEST(test_redirections_are_read),
        TEST(test_redirections_to_nowhere_are_not_followed),
        TEST(test_info_says_who_a_node_is),
        TEST(test_info_without_an_identity_is_refused),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
