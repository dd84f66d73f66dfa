#include "base/utf8.h"
#include "unit.h"

/** The definition of RFC 3629 the other way round: the length of the sequence is what its code
 *  point's own encoding gives, and 0 where these are not the same bytes. */
static size_t length_by_definition(const unsigned char *bytes, size_t size) {
    static const unsigned lead_bits[] = {0, 0x7f, 0x1f, 0x0f, 0x07};
    static const unsigned smallest[] = {0, 0, 0x80, 0x800, 0x10000};
    for (size_t length = 1; length <= 4 && length <= size; length++) {
        unsigned lead = length == 1 ? 0 : (0xf00u >> length) & 0xff;
        unsigned mask = (unsigned)~lead_bits[length] & 0xff;
        if ((bytes[0] & mask) != lead) {
            continue;
        }
        unsigned point = bytes[0] & lead_bits[length];
        for (size_t i = 1; i < length; i++) {
            if (bytes[i] >> 6 != 2) {
                return 0;
            }
            point = point << 6 | (bytes[i] & 0x3f);
        }
        bool surrogate = point >= 0xd800 && point <= 0xdfff;
        return point >= smallest[length] && point <= 0x10ffff && !surrogate ? length : 0;
    }
    return 0;
}

static void test_every_code_point_is_encoded_and_recognized(void **state) {
    (void)state;
    for (unsigned point = 0; point <= 0x10ffff; point++) {
        if (point >= 0xd800 && point <= 0xdfff) {
            continue;
        }
        char bytes[4];
        size_t length = utf8_encode(point, bytes);
        size_t expected = point < 0x80 ? 1 : point < 0x800 ? 2 : point < 0x10000 ? 3 : 4;
        if (length != expected || utf8_sequence_length(bytes, length) != length ||
            length_by_definition((unsigned char *)bytes, length) != length) {
            fail_msg("U+%04X", point);
        }
    }
}

static void assert_as_defined(const unsigned char *bytes, size_t size) {
    if (utf8_sequence_length((const char *)bytes, size) != length_by_definition(bytes, size)) {
        fail_msg("%02x %02x %02x %02x, %zu bytes", bytes[0], bytes[1], bytes[2], bytes[3], size);
    }
}

static void test_every_sequence_of_up_to_three_bytes_is_judged_as_defined(void **state) {
    (void)state;
    for (unsigned value = 0; value < 1u << 24; value++) {
        unsigned char bytes[4] = {(unsigned char)(value >> 16), (unsigned char)(value >> 8),
                                  (unsigned char)value, 0};
        assert_as_defined(bytes, 3);
        if ((value & 0xff) == 0) {
            assert_as_defined(bytes, 2);
        }
        if ((value & 0xffff) == 0) {
            assert_as_defined(bytes, 1);
        }
    }
}

static void test_sequences_of_four_bytes_are_judged_as_defined(void **state) {
    (void)state;
    static const unsigned char edges[] = {0x00, 0x7f, 0x80, 0x8f, 0x90, 0xbf, 0xc0, 0xff};
    for (unsigned first = 0xe0; first <= 0xff; first++) {
        for (unsigned second = 0; second <= 0xff; second++) {
            for (size_t i = 0; i < ARRAY_COUNT(edges) * ARRAY_COUNT(edges); i++) {
                unsigned char bytes[4] = {(unsigned char)first, (unsigned char)second,
                                          edges[i % ARRAY_COUNT(edges)],
                                          edges[i / ARRAY_COUNT(edges)]};
                assert_as_defined(bytes, 4);
            }
        }
    }
}

static void test_nothing_is_no_sequence(void **state) {
    (void)state;
    assert_int_equal(utf8_sequence_length("", 0), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_code_point_is_encoded_and_recognized),
        cmocka_unit_test(test_every_sequence_of_up_to_three_bytes_is_judged_as_defined),
        cmocka_unit_test(test_sequences_of_four_bytes_are_judged_as_defined),
        cmocka_unit_test(test_nothing_is_no_sequence),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
