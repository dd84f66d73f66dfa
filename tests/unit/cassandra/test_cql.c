/* CQL's frames: headers, bodies and what is wrong with them, against bytes written by hand from the
 * protocol's specification. */
#include "adapter/cassandra/cql_frame.h"
#include "unit.h"

#define BYTES(text) ((struct slice){(text), sizeof(text) - 1})

static bool read_body(uint8_t opcode, uint8_t flags, struct slice body,
                      struct cql_response *response, struct fault *fault) {
    struct cql_header header = {
        .version = 4, .flags = flags, .opcode = opcode, .body_bytes = (uint32_t)body.size};
    return cql_response_read(&header, body, response, fault);
}

static void test_a_header_is_read_and_what_cannot_be_one_is_seen_at_once(void **state) {
    (void)state;
    struct cql_header header;
    struct slice whole = BYTES("\x84\x00\x01\x02\x08\x00\x00\x00\x10");
    assert_int_equal(cql_header_read(whole, 16, &header), CQL_HEADER_OK);
    assert_int_equal(header.version, 4);
    assert_int_equal(header.stream, 0x102);
    assert_int_equal(header.opcode, CQL_RESULT);
    assert_int_equal(header.body_bytes, 16);
    assert_int_equal(cql_header_read(whole, 15, &header), CQL_HEADER_TOO_LONG);
    for (size_t size = 0; size < whole.size; size++) {
        struct slice part = {whole.data, size};
        assert_int_equal(cql_header_read(part, 16, &header), CQL_HEADER_INCOMPLETE);
    }
    assert_int_equal(cql_header_read(BYTES("HTTP"), 16, &header), CQL_HEADER_FOREIGN);
    assert_int_equal(cql_header_read(BYTES("\x04"), 16, &header), CQL_HEADER_FOREIGN);
    assert_int_equal(cql_header_read(BYTES("\x84\x01"), 16, &header), CQL_HEADER_BAD_FLAGS);
    assert_int_equal(
        cql_header_read(BYTES("\x84\x00\x00\x00\x08\xff\xff\xff\xff"), 1 << 20, &header),
        CQL_HEADER_TOO_LONG);
}

static void test_an_error_has_its_details(void **state) {
    (void)state;
    struct cql_response response;
    struct fault fault;
    assert_true(read_body(CQL_ERROR, 0,
                          BYTES("\x00\x00\x11\x00\x00\x02no\x00\x06\x00\x00\x00\x01\x00\x00\x00\x02"
                                "\x00\x06SIMPLE"),
                          &response, &fault));
    assert_int_equal(response.kind, CQL_RESPONSE_ERROR);
    assert_int_equal(response.error.code, CQL_ERROR_WRITE_TIMEOUT);
    assert_int_equal(response.error.received, 1);
    assert_int_equal(response.error.required, 2);
    assert_slice_equal(response.error.message, "no");
    assert_slice_equal(response.error.write_type, "SIMPLE");
}

static void test_rows_and_nulls_are_read(void **state) {
    (void)state;
    struct cql_response response;
    struct fault fault;
    struct cql_cell cells[2];
    assert_true(read_body(CQL_RESULT, 0,
                          BYTES("\x00\x00\x00\x02" /* rows */
                                "\x00\x00\x00\x04" /* no metadata */
                                "\x00\x00\x00\x02" /* columns */
                                "\x00\x00\x00\x02" /* rows */
                                "\x00\x00\x00\x01"
                                "a\xff\xff\xff\xff"
                                "\x00\x00\x00\x00\x00\x00\x00\x02"
                                "bc"),
                          &response, &fault));
    assert_int_equal(response.rows.count, 2);
    assert_true(cql_rows_next(&response.rows, cells));
    assert_slice_equal(cells[0].bytes, "a");
    assert_true(cells[1].is_null);
    assert_true(cql_rows_next(&response.rows, cells));
    assert_false(cells[0].is_null);
    assert_slice_equal(cells[1].bytes, "bc");
    assert_false(cql_rows_next(&response.rows, cells));
}

static void test_every_cut_of_an_answer_is_refused(void **state) {
    (void)state;
    static const struct {
        uint8_t opcode;
        uint8_t flags;
        struct slice body;
    } answers[] = {
        {CQL_ERROR, 0, {"\x00\x00\x00\x00\x00\x02no", 8}},
        {CQL_RESULT, 0, {"\x00\x00\x00\x03\x00\x01k", 7}},
        {CQL_RESULT,
         0,
         {"\x00\x00\x00\x02\x00\x00\x00\x04\x00\x00\x00\x01\x00\x00\x00\x01\x00\x00"
          "\x00\x02ok",
          22}},
        {CQL_RESULT,
         0,
         {"\x00\x00\x00\x05\x00\x07"
          "CREATED\x00\x08KEYSPACE\x00\x01k",
          26}},
        {CQL_SUPPORTED,
         0,
         {"\x00\x01\x00\x01"
          "a\x00\x01\x00\x01"
          "b",
          10}},
        {CQL_AUTHENTICATE,
         0,
         {"\x00\x01"
          "a",
          3}},
        {CQL_READY,
         8,
         {"\x00\x01\x00\x02"
          "xy",
          6}},
    };
    struct cql_response response;
    struct fault fault;
    for (size_t i = 0; i < ARRAY_COUNT(answers); i++) {
        char longer[64];
        struct slice body = answers[i].body;
        if (!read_body(answers[i].opcode, answers[i].flags, body, &response, &fault)) {
            fail_msg("answer %zu: %s", i, fault.text);
        }
        for (size_t size = 0; size < body.size; size++) {
            struct slice cut = {body.data, size};
            assert_false(read_body(answers[i].opcode, answers[i].flags, cut, &response, &fault));
        }
        memcpy(longer, body.data, body.size);
        longer[body.size] = 0;
        bool taken = read_body(answers[i].opcode, answers[i].flags,
                               (struct slice){longer, body.size + 1}, &response, &fault);
        assert_int_equal(taken, answers[i].opcode == CQL_ERROR); /* errors may say more */
    }
}

static void test_counts_that_the_body_cannot_hold_are_refused_quickly(void **state) {
    (void)state;
    struct cql_response response;
    struct fault fault;
    /* rows without columns, columns without end, keys without end */
    assert_false(read_body(
        CQL_RESULT, 0, BYTES("\x00\x00\x00\x02\x00\x00\x00\x04\x00\x00\x00\x00\xff\xff\xff\xff"),
        &response, &fault));
    assert_false(read_body(
        CQL_RESULT, 0, BYTES("\x00\x00\x00\x02\x00\x00\x00\x00\xff\xff\xff\xff\x00\x00\x00\x00"),
        &response, &fault));
    assert_false(read_body(
        CQL_RESULT, 0, BYTES("\x00\x00\x00\x02\x00\x00\x00\x04\xff\xff\xff\xff\x00\x00\x00\x01"),
        &response, &fault));
    assert_false(read_body(CQL_RESULT, 0,
                           BYTES("\x00\x00\x00\x04\x00\x01i\x00\x00\x00\x01\x00\x00\x00\x01"
                                 "\xff\xff\xff\xff"),
                           &response, &fault));
}

static void test_types_inside_of_types_have_an_end(void **state) {
    (void)state;
    char body[256];
    struct text out = text_over(body, sizeof(body));
    struct cql_response response;
    struct fault fault;
    cql_write_u32(&out, 2);
    cql_write_u32(&out, 1);
    cql_write_u32(&out, 1);
    cql_write_string(&out, SLICE_LITERAL("k"));
    cql_write_string(&out, SLICE_LITERAL("t"));
    cql_write_string(&out, SLICE_LITERAL("c"));
    for (int i = 0; i < 40; i++) {
        cql_write_u16(&out, CQL_TYPE_LIST);
    }
    cql_write_u16(&out, CQL_TYPE_INT);
    cql_write_u32(&out, 0);
    assert_false(read_body(CQL_RESULT, 0, text_slice(&out), &response, &fault));
}

static void test_a_request_that_does_not_fit_is_taken_back(void **state) {
    (void)state;
    char memory[64];
    struct text out = text_over(memory, sizeof(memory));
    size_t begin = cql_request_begin(&out, CQL_QUERY, 3);
    cql_write_query(&out, SLICE_LITERAL("SELECT 1"), CQL_ONE);
    assert_true(cql_request_end(&out, begin));
    assert_memory_equal(
        memory, "\x04\x00\x00\x03\x07\x00\x00\x00\x0f\x00\x00\x00\x08SELECT 1\x00\x01\x00", 24);
    size_t size = out.size;
    begin = cql_request_begin(&out, CQL_QUERY, 4);
    cql_write_query(&out, SLICE_LITERAL("SELECT a, long, list, of, columns"), CQL_ONE);
    assert_false(cql_request_end(&out, begin));
    assert_int_equal(out.size, size);
    assert_false(out.truncated);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_header_is_read_and_what_cannot_be_one_is_seen_at_once),
        cmocka_unit_test(test_an_error_has_its_details),
        cmocka_unit_test(test_rows_and_nulls_are_read),
        cmocka_unit_test(test_every_cut_of_an_answer_is_refused),
        cmocka_unit_test(test_counts_that_the_body_cannot_hold_are_refused_quickly),
        cmocka_unit_test(test_types_inside_of_types_have_an_end),
        cmocka_unit_test(test_a_request_that_does_not_fit_is_taken_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
