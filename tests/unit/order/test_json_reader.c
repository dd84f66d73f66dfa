#include "base/random.h"
#include "base/text.h"
#include "order/json_reader.h"
#include "unit.h"

#include <jansson.h>
#include <stdlib.h>

/** Reads a whole document from memory of just its size; the number of its members in `*members`. */
static enum json_status read_document(struct json_keys *keys, struct slice document,
                                      size_t *members) {
    struct json_reader reader;
    struct json_member member;
    char *exact = malloc(document.size + (document.size == 0));
    assert_non_null(exact);
    memcpy(exact, document.data, document.size);
    json_reader_init(&reader, (struct slice){exact, document.size}, keys);
    *members = 0;
    while (json_reader_next(&reader, &member)) {
        ++*members;
    }
    assert_false(json_reader_next(&reader, &member)); /* the end stays the end */
    enum json_status status = json_reader_status(&reader);
    assert_int_equal(status == JSON_STATUS_MALFORMED, reader.reason != NULL);
    assert_true(reader.at <= document.size);
    free(exact);
    return status;
}

static void assert_status_of(struct json_keys *keys, struct slice document,
                             enum json_status expected) {
    size_t members;
    if (read_document(keys, document, &members) != expected) {
        fail_msg("not status %d: %.*s", expected, (int)document.size, document.data);
    }
}

static void assert_status(struct json_keys *keys, const char *document, enum json_status expected) {
    assert_status_of(keys, slice_from_text(document), expected);
}

static void assert_good(struct json_keys *keys, const char *document) {
    assert_status(keys, document, JSON_STATUS_OK);
}

static void assert_malformed(struct json_keys *keys, const char *document) {
    assert_status(keys, document, JSON_STATUS_MALFORMED);
}

static void test_members_come_one_after_the_other_as_they_stand(void **state) {
    struct json_reader reader;
    struct json_member member;
    static const char document[] = " { \"a\" : null , \"b\\u0062\":[1, {\"c\":2}] ,\"d\":\"\\n\","
                                   "\"e\":-1.5e+3,\"f\":false,\"g\":{}}";
    static const struct {
        const char *key;
        enum json_kind kind;
        const char *raw;
    } expected[] = {
        {"a", JSON_KIND_NULL, "null"},     {"b\\u0062", JSON_KIND_ARRAY, "[1, {\"c\":2}]"},
        {"d", JSON_KIND_STRING, "\\n"},    {"e", JSON_KIND_NUMBER, "-1.5e+3"},
        {"f", JSON_KIND_BOOLEAN, "false"}, {"g", JSON_KIND_OBJECT, "{}"},
    };
    json_reader_init(&reader, SLICE_LITERAL(document), *state);
    for (size_t i = 0; i < ARRAY_COUNT(expected); i++) {
        assert_true(json_reader_next(&reader, &member));
        assert_slice_equal(member.key, expected[i].key);
        assert_int_equal(member.key_escaped, i == 1);
        assert_int_equal(member.value.kind, expected[i].kind);
        assert_int_equal(member.value.escaped, i == 2);
        assert_slice_equal(member.value.raw, expected[i].raw);
    }
    assert_false(json_reader_next(&reader, &member));
    assert_int_equal(json_reader_status(&reader), JSON_STATUS_OK);
}

static void test_documents_that_break_off_or_go_on_are_malformed(void **state) {
    static const char whole[] = "{\"a\":[1,{\"b\":\"c\\u00e9\\ud83d\\ude00\"},true],\"d\":null}";
    assert_good(*state, whole);
    for (size_t size = 0; size < sizeof(whole) - 1; size++) {
        assert_status_of(*state, (struct slice){whole, size}, JSON_STATUS_MALFORMED);
    }
    assert_malformed(*state, "{}{}");
    assert_malformed(*state, "{} x");
    assert_malformed(*state, "[] ]");
    assert_malformed(*state, "1 2");
    assert_status_of(*state, SLICE_LITERAL("{}\0"), JSON_STATUS_MALFORMED);
    assert_malformed(*state, " ");
}

static void test_forms_that_are_no_json_are_malformed(void **state) {
    static const char *const wrong[] = {
        "{,}",
        "{\"a\":1,}",
        "{\"a\" 1}",
        "{\"a\":}",
        "{a:1}",
        "{'a':1}",
        "{\"a\":1 \"b\":2}",
        "{\"a\":1,,\"b\":2}",
        "[1,]",
        "[,1]",
        "[1 2]",
        "{1:2}",
        "{\"a\":nul}",
        "{\"a\":nulll}",
        "{\"a\":True}",
        "{\"a\":tru",
        "{\"a\":[}",
        "{\"a\":{]}",
        "{\"a\":1]",
        "[1}",
        "{\"a\":\"b}",
        "{\"a\":/**/1}",
        "//\n{}",
        "{\"a\":undefined}",
        "\v{}",
        "\f{}",
        "{\"a\":1}\xc2\xa0",
    };
    for (size_t i = 0; i < ARRAY_COUNT(wrong); i++) {
        assert_malformed(*state, wrong[i]);
    }
}

static void test_a_byte_order_mark_is_malformed(void **state) {
    assert_malformed(*state, "\xef\xbb\xbf{}");
    assert_malformed(*state, "\xff\xfe{");
}

static void test_bytes_that_are_no_utf8_are_malformed_anywhere(void **state) {
    static const char *const wrong[] = {
        "\xff",
        "\x80",
        "\xc3",
        "\xc0\xaf",
        "\xe0\x80\xaf",
        "\xed\xa0\x80",
        "\xf4\x90\x80\x80",
        "\xf8\x88\x80\x80\x80",
        "a\xc3(",
    };
    for (size_t i = 0; i < ARRAY_COUNT(wrong); i++) {
        char document[64];
        (void)snprintf(document, sizeof(document), "{\"a\":\"%s\"}", wrong[i]);
        assert_malformed(*state, document);
        (void)snprintf(document, sizeof(document), "{\"%s\":1}", wrong[i]);
        assert_malformed(*state, document);
        (void)snprintf(document, sizeof(document), "{\"a\":[[\"%s\"]]}", wrong[i]);
        assert_malformed(*state, document);
        (void)snprintf(document, sizeof(document), "{\"a\":%s}", wrong[i]);
        assert_malformed(*state, document);
    }
    assert_good(*state, "{\"\xc3\xa9\":\"\xe2\x82\xac\xf0\x9f\x98\x80\x7f\"}");
}

static void test_control_characters_in_strings_are_malformed(void **state) {
    for (char byte = 0; byte < 0x20; byte++) {
        char document[] = "{\"a\":\"b\"}";
        document[6] = byte;
        assert_status_of(*state, (struct slice){document, sizeof(document) - 1},
                         JSON_STATUS_MALFORMED);
    }
}

static void test_escapes_that_are_none_are_malformed(void **state) {
    static const char *const wrong[] = {
        "\\",
        "\\x41",
        "\\a",
        "\\U0041",
        "\\u",
        "\\u1",
        "\\u12",
        "\\u123",
        "\\u00g0",
        "\\u 041",
        "\\u-041",
        "\\u0000",
        "\\ud800",
        "\\udc00",
        "\\ud800x",
        "\\ud800\\n",
        "\\ud800\\u0041",
        "\\ud800\\ud800",
        "\\udc00\\udc00",
        "\\udfff\\ud800",
        "\\ud83d\\u",
        "\\ud83d\\ude0",
        "\\ud83d \\ude00",
        "\\0",
        "\\'",
    };
    for (size_t i = 0; i < ARRAY_COUNT(wrong); i++) {
        char document[64];
        (void)snprintf(document, sizeof(document), "{\"a\":\"%s\"}", wrong[i]);
        assert_malformed(*state, document);
        (void)snprintf(document, sizeof(document), "{\"%s\":1}", wrong[i]);
        assert_malformed(*state, document);
    }
    assert_status_of(*state, SLICE_LITERAL("{\"a\":\"\\\0\"}"), JSON_STATUS_MALFORMED);
    assert_good(*state, "{\"a\":\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u0001\\uFFff\\ud83d\\uDE00\"}");
}

static void test_a_key_that_stands_twice_is_malformed_at_every_depth(void **state) {
    assert_malformed(*state, "{\"a\":1,\"a\":1}");
    assert_malformed(*state, "{\"a\":1,\"b\":2,\"\\u0061\":3}");
    assert_malformed(*state, "{\"\\u00e9\":1,\"\xc3\xa9\":2}");
    assert_malformed(*state, "{\"\\ud83d\\ude00\":1,\"\xf0\x9f\x98\x80\":2}");
    assert_malformed(*state, "{\"\":1,\"\":2}");
    assert_malformed(*state, "{\"x\":{\"a\":1,\"a\":2}}");
    assert_malformed(*state, "{\"x\":[1,[{\"b\":{\"a\":1,\"c\":2,\"a\":3}}]]}");
    assert_malformed(*state, "[{\"a\":1,\"a\":2}]");
}

static void test_the_same_key_in_different_objects_is_fine(void **state) {
    assert_good(*state, "{\"a\":{\"a\":{\"a\":1},\"b\":{\"a\":1}},\"b\":[{\"a\":1},{\"a\":2}]}");
    assert_status(*state, "[{\"a\":1},{\"a\":1},[{\"a\":1}]]", JSON_STATUS_NO_OBJECT);
}

static void test_no_two_keys_of_small_documents_are_taken_for_one(void **state) {
    /* Every pair of short keys, in one object, in an outer and an inner one, and in two inner. */
    for (unsigned first = 'a'; first <= 'z'; first++) {
        for (unsigned second = 'a'; second <= 'z'; second++) {
            char document[96];
            (void)snprintf(document, sizeof(document),
                           "{\"%c\":{\"%c\":{\"%c\":1}},\"-\":[{\"%cx\":1},{\"%cx\":2}]}", first,
                           second, first, first, second);
            assert_good(*state, document);
            if (first != second) {
                (void)snprintf(document, sizeof(document), "{\"%c\":1,\"%c\":2,\"%c%c\":3}", first,
                               second, first, second);
                assert_good(*state, document);
            }
        }
    }
}

static void assert_depth(struct json_keys *keys, const char *open, const char *close,
                         unsigned depth, enum json_status expected) {
    char document[1024];
    struct text text = text_over(document, sizeof(document));
    for (unsigned i = 0; i < depth; i++) {
        text_append_slice(&text, slice_from_text(open));
    }
    text_append_char(&text, '1');
    for (unsigned i = 0; i < depth; i++) {
        text_append_slice(&text, slice_from_text(close));
    }
    assert_false(text.truncated);
    assert_status_of(keys, text_slice(&text), expected);
}

static void test_nesting_of_32_is_read_and_of_33_is_malformed(void **state) {
    assert_depth(*state, "[", "]", 32, JSON_STATUS_NO_OBJECT);
    assert_depth(*state, "[", "]", 33, JSON_STATUS_MALFORMED);
    assert_depth(*state, "{\"a\":", "}", 32, JSON_STATUS_OK);
    assert_depth(*state, "{\"a\":", "}", 33, JSON_STATUS_MALFORMED);
    assert_depth(*state, "[", "]", 400, JSON_STATUS_MALFORMED);
    assert_depth(*state, "[[],", ",[]]", 31, JSON_STATUS_NO_OBJECT);
    assert_depth(*state, "[[],", ",[]]", 32, JSON_STATUS_MALFORMED);
}

static void test_a_document_of_16_kib_is_read_and_a_longer_one_is_malformed(void **state) {
    char *document = malloc(JSON_DOCUMENT_BYTES_MAX + 1);
    assert_non_null(document);
    memset(document, ' ', JSON_DOCUMENT_BYTES_MAX + 1);
    document[0] = '{';
    document[JSON_DOCUMENT_BYTES_MAX - 1] = '}';
    assert_status_of(*state, (struct slice){document, JSON_DOCUMENT_BYTES_MAX}, JSON_STATUS_OK);
    assert_status_of(*state, (struct slice){document, JSON_DOCUMENT_BYTES_MAX + 1},
                     JSON_STATUS_MALFORMED);
    free(document);
}

static void test_as_many_keys_as_fit_a_document_are_told_apart(void **state) {
    char *document = malloc(JSON_DOCUMENT_BYTES_MAX);
    assert_non_null(document);
    struct text text = text_over(document, JSON_DOCUMENT_BYTES_MAX);
    static const char digits[] = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    size_t count = 0;
    text_append_char(&text, '{');
    for (; text.size + 10 < text.capacity && count < 62 * 62; count++) {
        text_append_format(&text, "%s\"%c%c\":0", count == 0 ? "" : ",", digits[count / 62],
                           digits[count % 62]);
    }
    text_append_char(&text, '}');
    size_t members;
    assert_int_equal(read_document(*state, text_slice(&text), &members), JSON_STATUS_OK);
    assert_int_equal(members, count);
    text.data[text.size - 5] = '0'; /* the last key becomes the first one */
    text.data[text.size - 6] = '0';
    assert_int_equal(read_document(*state, text_slice(&text), &members), JSON_STATUS_MALFORMED);
    free(document);
}

/** FNV-1a, as the reader hashes keys, so that keys can be chosen that meet in its set. */
static uint64_t hash_like_the_reader(const char *key) {
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (; *key != 0; key++) {
        hash = (hash ^ (unsigned char)*key) * UINT64_C(0x100000001b3);
    }
    return hash;
}

static void test_keys_that_are_made_to_collide_cost_no_time(void **state) {
    char *document = malloc(JSON_DOCUMENT_BYTES_MAX);
    assert_non_null(document);
    struct text text = text_over(document, JSON_DOCUMENT_BYTES_MAX);
    size_t members;
    text_append_char(&text, '{');
    for (unsigned i = 0, count = 0; count < 200; i++) {
        char key[8];
        (void)snprintf(key, sizeof(key), "%x", i);
        uint64_t hash = hash_like_the_reader(key);
        if (((hash ^ hash >> 32) & (JSON_KEY_SLOTS - 1)) == 77) {
            text_append_format(&text, "%s\"%s\":0", count == 0 ? "" : ",", key);
            count++;
        }
    }
    text_append_char(&text, '}');
    while (text.size < text.capacity) {
        text_append_char(&text, ' '); /* the whole set is in use */
    }
    assert_int_equal(read_document(*state, text_slice(&text), &members), JSON_STATUS_MALFORMED);
    assert_in_range(members, 50, 128); /* so many are fine, and no document has them by chance */
    free(document);
}

static void test_keys_of_an_earlier_document_are_forgotten(void **state) {
    for (int i = 0; i < 3; i++) {
        assert_good(*state, "{\"a\":1,\"b\":2}");
    }
}

static void test_strings_are_decoded_into_what_fits(void **state) {
    (void)state;
    char out[8];
    size_t size;
    struct slice raw = SLICE_LITERAL("a\\u00e9\\ud83d\\ude00\\n");
    assert_true(json_string_decode(raw, true, out, 8, &size));
    assert_int_equal(size, 8);
    assert_memory_equal(out, "a\xc3\xa9\xf0\x9f\x98\x80\n", 8);
    for (size_t capacity = 0; capacity < 8; capacity++) {
        assert_false(json_string_decode(raw, true, out, capacity, &size));
    }
    assert_true(json_string_decode(SLICE_LITERAL("abc"), false, out, 3, &size));
    assert_int_equal(size, 3);
    assert_false(json_string_decode(SLICE_LITERAL("abc"), false, out, 2, &size));
    assert_true(json_string_decode(SLICE_LITERAL(""), false, out, 0, &size));
    assert_int_equal(size, 0);
}

/** Replaces, drops or doubles a few bytes. */
static size_t mutate(struct random_source *random, char *text, size_t size, size_t capacity) {
    static const char interesting[] = "{}[]\",:\\u0tfn1-+.eE \n\x80\xc3\xa9\xff";
    for (uint64_t changes = 1 + random_below(random, 3); changes > 0; changes--) {
        size_t at = random_below(random, size);
        switch (random_below(random, 3)) {
        case 0:
            text[at] = interesting[random_below(random, sizeof(interesting))];
            break;
        case 1:
            memmove(text + at, text + at + 1, size - at - 1);
            size -= size > 1 ? 1 : 0;
            break;
        default:
            if (size < capacity) {
                memmove(text + at + 1, text + at, size - at);
                size++;
            }
        }
    }
    return size;
}

static void test_damaged_documents_are_judged_as_jansson_judges_them(void **state) {
    static const char document[] = "{\"a\":[1,-2.5e3,{\"b\":null,\"c\":true}],\"d\":"
                                   "\"\\u00e9\\n\xc3\xa9\",\"e\":{\"a\":\"\"}}";
    struct random_source random = {21};
    size_t good = 0;
    for (int i = 0; i < 100000; i++) {
        char text[sizeof(document) + 8];
        size_t members;
        memcpy(text, document, sizeof(document) - 1);
        size_t size = mutate(&random, text, sizeof(document) - 1, sizeof(text));
        json_error_t error;
        json_t *tree = json_loadb(text, size, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &error);
        bool accepted =
            read_document(*state, (struct slice){text, size}, &members) != JSON_STATUS_MALFORMED;
        /* jansson refuses a number that no double holds; RFC 8259 sets no limit. */
        bool overflow = tree == NULL && json_error_code(&error) == json_error_numeric_overflow;
        if (accepted != (tree != NULL) && !overflow) {
            fail_msg("%s: %.*s", error.text, (int)size, text);
        }
        good += accepted ? 1 : 0;
        json_decref(tree);
    }
    assert_in_range(good, 2000, 98000);
}

int main(void) {
    struct json_keys *keys = malloc(sizeof(*keys));
    if (keys == NULL) {
        return 1;
    }
    memset(keys, 0x5a, sizeof(*keys));
#define reader_test(name) cmocka_unit_test_prestate(name, keys)
    const struct CMUnitTest tests[] = {
        reader_test(test_members_come_one_after_the_other_as_they_stand),
        reader_test(test_documents_that_break_off_or_go_on_are_malformed),
        reader_test(test_forms_that_are_no_json_are_malformed),
        reader_test(test_a_byte_order_mark_is_malformed),
        reader_test(test_bytes_that_are_no_utf8_are_malformed_anywhere),
        reader_test(test_control_characters_in_strings_are_malformed),
        reader_test(test_escapes_that_are_none_are_malformed),
        reader_test(test_a_key_that_stands_twice_is_malformed_at_every_depth),
        reader_test(test_the_same_key_in_different_objects_is_fine),
        reader_test(test_no_two_keys_of_small_documents_are_taken_for_one),
        reader_test(test_nesting_of_32_is_read_and_of_33_is_malformed),
        reader_test(test_a_document_of_16_kib_is_read_and_a_longer_one_is_malformed),
        reader_test(test_as_many_keys_as_fit_a_document_are_told_apart),
        reader_test(test_keys_that_are_made_to_collide_cost_no_time),
        reader_test(test_keys_of_an_earlier_document_are_forgotten),
        reader_test(test_strings_are_decoded_into_what_fits),
        reader_test(test_damaged_documents_are_judged_as_jansson_judges_them),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    free(keys);
    return failed;
}
