#include "adapter/redis/hash_slot.h"

#include "../unit.h"

static void test_the_crc_is_that_of_the_specification(void **state) {
    (void)state;
    assert_int_equal(hash_slot_crc16(SLICE_LITERAL("123456789")), 0x31c3);
    assert_int_equal(hash_slot_crc16(SLICE_LITERAL("")), 0);
}

/** What `redis-cli cluster keyslot` says. */
static void test_slots_of_keys_are_those_of_the_server(void **state) {
    (void)state;
    static const struct {
        const char *key;
        uint16_t slot;
    } known[] = {
        {"foo", 12182},
        {"bar", 5061},
        {"hello", 866},
        {"{user1000}.following", 3443},
        {"foo{}{bar}", 8363},
        {"foo{{bar}}zap", 4015},
        {"foo{bar}{zap}", 5061},
        {"{}", 15257},
        {"o:{1}", 9842},
        {"o:{9223372036854775807}", 13677},
        {"lk:{123456789012345}", 3238},
        {"a{b", 13340},
        {"}{", 12793},
    };
    for (size_t i = 0; i < ARRAY_COUNT(known); i++) {
        assert_int_equal(hash_slot_of_key(slice_from_text(known[i].key)), known[i].slot);
    }
}

static void test_an_order_and_its_lock_have_the_same_slot(void **state) {
    (void)state;
    uint64_t ids[] = {1, 9, 10, 99, 100, 1234567, INT64_MAX - 1, INT64_MAX};
    for (size_t i = 0; i < ARRAY_COUNT(ids); i++) {
        char order[40];
        char lock[40];
        (void)snprintf(order, sizeof(order), "o:{%llu}", (unsigned long long)ids[i]);
        (void)snprintf(lock, sizeof(lock), "lk:{%llu}", (unsigned long long)ids[i]);
        assert_int_equal(hash_slot_of_key(slice_from_text(order)), hash_slot_of_order(ids[i]));
        assert_int_equal(hash_slot_of_key(slice_from_text(lock)), hash_slot_of_order(ids[i]));
    }
}

static void test_orders_spread_over_the_slots(void **state) {
    (void)state;
    size_t counts[16] = {0};
    for (uint64_t id = 1; id <= 160000; id++) {
        counts[hash_slot_of_order(id << 17 | 5) / (HASH_SLOT_COUNT / 16)]++;
    }
    for (size_t i = 0; i < ARRAY_COUNT(counts); i++) {
        assert_in_range(counts[i], 9000, 11000);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_crc_is_that_of_the_specification),
        cmocka_unit_test(test_slots_of_keys_are_those_of_the_server),
        cmocka_unit_test(test_an_order_and_its_lock_have_the_same_slot),
        cmocka_unit_test(test_orders_spread_over_the_slots),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
