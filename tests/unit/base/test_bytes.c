#include "base/bytes.h"
#include "base/hash.h"
#include "base/pages.h"
#include "base/random.h"
#include "unit.h"

#include <xxhash.h>

static void test_slices_are_equal_where_size_and_bytes_are(void **state) {
    (void)state;
    struct slice empty = {NULL, 0};
    assert_true(slice_equal(empty, SLICE_LITERAL("")));
    assert_true(slice_equal(SLICE_LITERAL("a\0b"), SLICE_LITERAL("a\0b")));
    assert_false(slice_equal(SLICE_LITERAL("a\0b"), SLICE_LITERAL("a\0c")));
    assert_false(slice_equal(SLICE_LITERAL("ab"), SLICE_LITERAL("abc")));
    assert_true(slice_equal(slice_from_text("ab"), SLICE_LITERAL("ab")));
}

static void test_numbers_are_little_endian_at_any_address(void **state) {
    (void)state;
    unsigned char memory[16] = {0};
    bytes_store_u64(memory + 1, UINT64_C(0x0807060504030201));
    bytes_store_u32(memory + 11, UINT32_C(0x0d0c0b0a));
    static const unsigned char expected[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 10, 11, 12, 13, 0};
    assert_memory_equal(memory, expected, sizeof(expected));
    assert_true(bytes_load_u64(memory + 1) == UINT64_C(0x0807060504030201));
    assert_int_equal(bytes_load_u32(memory + 11), 0x0d0c0b0a);
}

static void test_alignment_rounds_up_to_the_next_multiple(void **state) {
    (void)state;
    assert_int_equal(bytes_align_up(0, 64), 0);
    assert_int_equal(bytes_align_up(1, 64), 64);
    assert_int_equal(bytes_align_up(64, 64), 64);
    assert_int_equal(bytes_align_up(65, 64), 128);
    assert_int_equal(bytes_align_up(7, 1), 7);
}

static void test_the_hash_of_bytes_is_xxh3(void **state) {
    (void)state;
    char data[300];
    for (size_t i = 0; i < sizeof(data); i++) {
        data[i] = (char)(i * 31 + 5);
    }
    for (size_t size = 0; size <= sizeof(data); size++) {
        assert_true(hash_bytes(data, size) == XXH3_64bits(data, size));
    }
    /* The empty text under seed 0, as the algorithm's own tests have it. */
    assert_true(hash_bytes("", 0) == UINT64_C(0x2d06800538d394c2));
}

/** The inverse of hash_mix, step by step backwards, so no two values share one. */
static uint64_t unmix(uint64_t value) {
    const uint64_t multiplier = UINT64_C(0xd6e8feb86659fd93);
    uint64_t inverse = multiplier; /* Newton's iteration doubles the bits that are right */
    for (int i = 0; i < 6; i++) {
        inverse *= 2 - multiplier * inverse;
    }
    value ^= value >> 32;
    value *= inverse;
    value ^= value >> 32;
    value *= inverse;
    return value ^ value >> 32;
}

static void test_the_mixer_maps_no_two_values_to_one(void **state) {
    (void)state;
    struct random_source random = {1};
    for (uint64_t i = 0; i < 100000; i++) {
        uint64_t value = random_u64(&random);
        assert_true(unmix(hash_mix(value)) == value);
        assert_true(unmix(hash_mix(i)) == i);
    }
}

static void test_consecutive_ids_spread_evenly_over_a_range(void **state) {
    (void)state;
    enum { BINS = 100, PER_BIN = 1000 };
    size_t counts[BINS] = {0};
    for (uint64_t id = 1; id <= (uint64_t)BINS * PER_BIN; id++) {
        uint64_t bin = hash_to_range(hash_mix(id << 7), BINS);
        assert_true(bin < BINS);
        counts[bin]++;
    }
    for (size_t bin = 0; bin < BINS; bin++) {
        assert_in_range(counts[bin], PER_BIN * 8 / 10, PER_BIN * 12 / 10);
    }
}

static void test_a_range_is_used_from_end_to_end(void **state) {
    (void)state;
    assert_int_equal(hash_to_range(0, 7), 0);
    assert_int_equal(hash_to_range(UINT64_MAX, 7), 6);
    assert_int_equal(hash_to_range(UINT64_MAX, 0), 0);
    assert_int_equal(hash_to_range(UINT64_MAX, 1), 0);
    assert_true(hash_to_range(UINT64_MAX, UINT64_MAX) == UINT64_MAX - 1);
}

static void test_the_same_seed_gives_the_same_run(void **state) {
    (void)state;
    struct random_source one = {42};
    struct random_source two = {42};
    struct random_source other = {43};
    bool differs = false;
    for (int i = 0; i < 1000; i++) {
        uint64_t value = random_u64(&one);
        assert_true(value == random_u64(&two));
        differs = differs || value != random_u64(&other);
    }
    assert_true(differs);
    /* splitmix64 from seed 0, as its author publishes it. */
    struct random_source zero = {0};
    assert_true(random_u64(&zero) == UINT64_C(0xe220a8397b1dcdaf));
}

static void test_chances_come_about_as_often_as_asked(void **state) {
    (void)state;
    struct random_source random = {7};
    size_t hits = 0;
    for (int i = 0; i < 100000; i++) {
        hits += random_chance(&random, 1, 4) ? 1 : 0;
        assert_true(random_below(&random, 10) < 10);
        assert_false(random_chance(&random, 0, 3));
        assert_true(random_chance(&random, 3, 3));
    }
    assert_in_range(hits, 24000, 26000);
    assert_int_equal(random_below(&random, 0), 0);
}

static void test_reserved_pages_are_zero_and_aligned(void **state) {
    (void)state;
    size_t size = ((size_t)2 << 20) + 12345;
    unsigned char *memory = pages_reserve(size);
    assert_non_null(memory);
    assert_int_equal((uintptr_t)memory % ((size_t)2 << 20), 0);
    for (size_t at = 0; at < size; at += 511) {
        assert_int_equal(memory[at], 0);
        memory[at] = 1;
    }
    memory[size - 1] = 1;
    pages_release(memory, size);
    pages_release(NULL, size);
}

static void test_cleared_pages_are_zero_again(void **state) {
    (void)state;
    size_t size = ((size_t)4 << 20) + 4096;
    unsigned char *memory = pages_reserve(size);
    assert_non_null(memory);
    pages_populate(memory, size);
    for (int round = 0; round < 2; round++) {
        for (size_t at = 0; at < size; at += 1021) {
            assert_int_equal(memory[at], 0);
            memory[at] = 7;
        }
        pages_clear(memory, size);
    }
    assert_int_equal(memory[0], 0);
    pages_release(memory, size);
}

static void test_pages_that_cannot_be_had_are_refused(void **state) {
    (void)state;
    assert_null(pages_reserve((size_t)1 << 60));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_slices_are_equal_where_size_and_bytes_are),
        cmocka_unit_test(test_numbers_are_little_endian_at_any_address),
        cmocka_unit_test(test_alignment_rounds_up_to_the_next_multiple),
        cmocka_unit_test(test_the_hash_of_bytes_is_xxh3),
        cmocka_unit_test(test_the_mixer_maps_no_two_values_to_one),
        cmocka_unit_test(test_consecutive_ids_spread_evenly_over_a_range),
        cmocka_unit_test(test_a_range_is_used_from_end_to_end),
        cmocka_unit_test(test_the_same_seed_gives_the_same_run),
        cmocka_unit_test(test_chances_come_about_as_often_as_asked),
        cmocka_unit_test(test_reserved_pages_are_zero_and_aligned),
        cmocka_unit_test(test_cleared_pages_are_zero_again),
        cmocka_unit_test(test_pages_that_cannot_be_had_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
