#include "base/crc32c.h"
#include "unit.h"

/* The variant for processors without the instruction, under other names. */
#undef __SSE4_2__
#define crc32c portable_crc32c
#define crc32c_extend portable_crc32c_extend
uint32_t portable_crc32c(const void *data, size_t size);
uint32_t portable_crc32c_extend(uint32_t crc, const void *data, size_t size);
#include "base/crc32c.c"
#undef crc32c
#undef crc32c_extend

/** The definition, a bit at a time: the polynomial 0x1EDC6F41 reflected is 0x82F63B78. */
static uint32_t crc32c_by_bits(const unsigned char *data, size_t size) {
    uint32_t crc = ~UINT32_C(0);
    for (size_t i = 0; i < size; i++) {
        crc ^= data[i];
        for (int bit = 0; bit < 8; bit++) {
            crc = crc >> 1 ^ ((crc & 1) != 0 ? UINT32_C(0x82f63b78) : 0);
        }
    }
    return ~crc;
}

static void assert_crc(const void *data, size_t size, uint32_t expected) {
    assert_int_equal(crc32c(data, size), expected);
    assert_int_equal(portable_crc32c(data, size), expected);
}

static void test_the_examples_of_rfc_3720_come_out(void **state) {
    (void)state;
    unsigned char data[32];
    memset(data, 0, sizeof(data));
    assert_crc(data, sizeof(data), 0x8a9136aa);
    memset(data, 0xff, sizeof(data));
    assert_crc(data, sizeof(data), 0x62a8ab43);
    for (unsigned i = 0; i < sizeof(data); i++) {
        data[i] = (unsigned char)i;
    }
    assert_crc(data, sizeof(data), 0x46dd794e);
    for (unsigned i = 0; i < sizeof(data); i++) {
        data[i] = (unsigned char)(31 - i);
    }
    assert_crc(data, sizeof(data), 0x113fdb5c);
    static const unsigned char read_command[48] = {
        0x01, 0xc0, [16] = 0x14, [22] = 0x04, [27] = 0x14, [31] = 0x18, [32] = 0x28, [40] = 0x02,
    };
    assert_crc(read_command, sizeof(read_command), 0xd9963a56);
}

static void test_the_check_value_and_the_empty_text_come_out(void **state) {
    (void)state;
    assert_crc("123456789", 9, 0xe3069283);
    assert_crc("", 0, 0);
}

static void test_every_length_and_alignment_agrees_with_the_definition(void **state) {
    (void)state;
    unsigned char data[96];
    for (unsigned i = 0; i < sizeof(data); i++) {
        data[i] = (unsigned char)(i * 37 + 11);
    }
    for (size_t begin = 0; begin < 16; begin++) {
        for (size_t size = 0; size <= sizeof(data) - begin; size++) {
            assert_crc(data + begin, size, crc32c_by_bits(data + begin, size));
        }
    }
}

static void test_long_data_of_every_length_agrees_with_the_definition(void **state) {
    (void)state;
    enum { SIZE = 20000 };
    static unsigned char data[SIZE];
    uint32_t mixed = 1;
    for (unsigned i = 0; i < SIZE; i++) {
        mixed = mixed * 1664525 + 1013904223;
        data[i] = (unsigned char)(mixed >> 24);
    }
    for (size_t size = 1; size < SIZE; size += 257) {
        assert_crc(data + size % 8, size - size % 8,
                   crc32c_by_bits(data + size % 8, size - size % 8));
    }
    for (size_t size = 6140; size < 6150; size++) { /* where three lanes begin */
        assert_crc(data + 1, size, crc32c_by_bits(data + 1, size));
    }
    uint32_t whole = crc32c(data, SIZE);
    for (size_t cut = 0; cut < SIZE; cut += 911) { /* a state that is not the first goes on */
        assert_int_equal(crc32c_extend(crc32c(data, cut), data + cut, SIZE - cut), whole);
    }
}

static void test_extending_at_any_place_gives_the_same_value(void **state) {
    (void)state;
    static const char text[] = "a frame of the journal, cut in two anywhere";
    uint32_t whole = crc32c(text, sizeof(text));
    for (size_t cut = 0; cut <= sizeof(text); cut++) {
        uint32_t first = crc32c(text, cut);
        assert_int_equal(crc32c_extend(first, text + cut, sizeof(text) - cut), whole);
        assert_int_equal(portable_crc32c_extend(first, text + cut, sizeof(text) - cut), whole);
    }
}

static void test_every_single_bit_counts(void **state) {
    (void)state;
    unsigned char data[124] = {0};
    uint32_t before = crc32c(data, sizeof(data));
    for (size_t bit = 0; bit < sizeof(data) * 8; bit++) {
        data[bit / 8] = (unsigned char)(1u << bit % 8);
        assert_int_not_equal(crc32c(data, sizeof(data)), before);
        data[bit / 8] = 0;
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_examples_of_rfc_3720_come_out),
        cmocka_unit_test(test_the_check_value_and_the_empty_text_come_out),
        cmocka_unit_test(test_every_length_and_alignment_agrees_with_the_definition),
        cmocka_unit_test(test_long_data_of_every_length_agrees_with_the_definition),
        cmocka_unit_test(test_extending_at_any_place_gives_the_same_value),
        cmocka_unit_test(test_every_single_bit_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
