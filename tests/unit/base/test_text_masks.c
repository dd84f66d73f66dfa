#include "base/text_masks.h"
#include "unit.h"

/* The variant for processors without the instructions, under other names. */
#undef ORDERD_BASE_TEXT_MASKS_H
#undef TEXT_MASKS_BYTES
#undef __SSE2__
#define text_masks portable_text_masks
#define text_masks_of portable_text_masks_of
#define text_is_padded portable_text_is_padded
#include "base/text_masks.h"
#undef text_masks
#undef text_masks_of
#undef text_is_padded

static const char code_characters[] =
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_";

static void test_every_byte_at_every_place_is_told_apart_by_both_variants(void **state) {
    (void)state;
    for (unsigned byte = 0; byte < 256; byte++) {
        uint64_t is_code = byte != 0 && strchr(code_characters, (int)byte) != NULL;
        for (unsigned place = 0; place < TEXT_MASKS_BYTES; place++) {
            char text[TEXT_MASKS_BYTES];
            uint64_t bit = UINT64_C(1) << place;
            memset(text, 'Q', sizeof(text));
            text[place] = (char)byte;
            struct text_masks fast = text_masks_of(text);
            struct portable_text_masks plain = portable_text_masks_of(text);
            assert_true(fast.code == (~bit | (is_code << place)));
            assert_true(fast.dot == (byte == '.' ? bit : 0));
            assert_true(fast.zero == (byte == 0 ? bit : 0));
            assert_true(plain.code == fast.code && plain.dot == fast.dot &&
                        plain.zero == fast.zero);
        }
    }
}

static void test_a_text_is_padded_only_with_zeroes_to_its_end(void **state) {
    (void)state;
    for (unsigned from = 0; from < 64; from += 7) {
        for (unsigned width = 1; width < 64 && from + width <= 64; width++) {
            uint64_t all = (UINT64_C(1) << width) - 1;
            for (unsigned used = 0; used <= width; used++) {
                uint64_t text = (UINT64_C(1) << used) - 1;
                uint64_t zero = all & ~text;
                uint64_t others = ~(all << from); /* bytes beside it may be anything */
                assert_true(text_is_padded(text << from | others, zero << from, from, width));
                assert_true(text_is_padded(text << from, zero << from | others, from, width));
                for (unsigned at = 0; at < width; at++) {
                    uint64_t bit = UINT64_C(1) << at;
                    /* A byte that is neither; a zero inside; a character behind the end. */
                    assert_false(
                        text_is_padded((text & ~bit) << from, (zero & ~bit) << from, from, width));
                    bool inside = at + 1 < used;
                    assert_int_equal(
                        text_is_padded((text & ~bit) << from, (zero | bit) << from, from, width),
                        !inside);
                    bool behind = at > used;
                    assert_int_equal(
                        text_is_padded((text | bit) << from, (zero & ~bit) << from, from, width),
                        !behind);
                }
            }
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_byte_at_every_place_is_told_apart_by_both_variants),
        cmocka_unit_test(test_a_text_is_padded_only_with_zeroes_to_its_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
