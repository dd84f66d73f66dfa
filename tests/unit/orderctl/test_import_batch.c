#include "orderctl/import_batch.h"
#include "orderctl/problem.h"
#include "unit.h"

#include <stdlib.h>

struct outcomes {
    size_t count;
    uint64_t lines[4096];
    int codes[4096];
};

struct fixture {
    struct import_batch batch;
    struct import_source source;
    struct outcomes outcomes;
};

static void take(void *context, const struct import_outcome *outcome) {
    struct outcomes *outcomes = context;
    assert_true(outcomes->count < ARRAY_COUNT(outcomes->lines));
    outcomes->lines[outcomes->count] = outcome->line_number;
    outcomes->codes[outcomes->count++] = outcome->code;
}

static int setup(void **state) {
    struct fixture *fixture = calloc(1, sizeof(*fixture));
    if (fixture == NULL || !import_batch_init(&fixture->batch)) {
        return -1;
    }
    *state = fixture;
    return 0;
}

static int teardown(void **state) {
    struct fixture *fixture = *state;
    if (fixture->source.file != NULL) {
        (void)fclose(fixture->source.file);
    }
    import_source_release(&fixture->source);
    import_batch_deinit(&fixture->batch);
    free(fixture);
    return 0;
}

static void open_text(struct fixture *fixture, const char *text, size_t size) {
    fixture->source.file = fmemopen((void *)(uintptr_t)text, size, "r");
    assert_non_null(fixture->source.file);
}

static bool fill(struct fixture *fixture) {
    return import_batch_fill(&fixture->batch, &fixture->source, take, &fixture->outcomes);
}

static void empty(struct fixture *fixture) {
    fixture->batch.line_count = 0;
    fixture->batch.size = 0;
}

static void test_lines_become_a_batch_with_their_numbers(void **state) {
    struct fixture *fixture = *state;
    open_text(fixture, "{\"a\":1}\n\n{\"b\":2}", 16);
    assert_true(fill(fixture));
    assert_int_equal(fixture->batch.line_count, 3);
    assert_slice_equal(((struct slice){fixture->batch.text, fixture->batch.size}),
                       "{\"a\":1}\n\n{\"b\":2}\n");
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(fixture->batch.lines[i].number, i + 1);
    }
    empty(fixture);
    assert_false(fill(fixture));
    assert_true(fixture->source.ended);
    assert_false(fixture->source.failed);
}

static void test_a_batch_holds_a_thousand_lines_at_most(void **state) {
    struct fixture *fixture = *state;
    char *text = malloc(2500 * 2);
    assert_non_null(text);
    for (size_t i = 0; i < 2500; i++) {
        memcpy(text + i * 2, "x\n", 2);
    }
    open_text(fixture, text, 5000);
    static const size_t counts[] = {1000, 1000, 500};
    uint64_t number = 1;
    for (size_t i = 0; i < ARRAY_COUNT(counts); i++) {
        assert_true(fill(fixture));
        assert_int_equal(fixture->batch.line_count, counts[i]);
        assert_int_equal(fixture->batch.lines[0].number, number);
        number += counts[i];
        empty(fixture);
    }
    assert_false(fill(fixture));
    free(text);
}

static void test_a_batch_stays_within_its_bytes(void **state) {
    struct fixture *fixture = *state;
    enum { LINE = IMPORT_LINE_BYTES_MAX, LINES = 100 };
    char *text = malloc((size_t)LINES * (LINE + 1));
    assert_non_null(text);
    memset(text, 'x', (size_t)LINES * (LINE + 1));
    for (size_t i = 0; i < LINES; i++) {
        text[(i + 1) * (LINE + 1) - 1] = '\n';
    }
    open_text(fixture, text, (size_t)LINES * (LINE + 1));
    size_t lines = 0;
    while (fill(fixture)) {
        assert_true(fixture->batch.size <= IMPORT_BATCH_BYTES_MAX);
        assert_int_equal(fixture->batch.lines[0].number, lines + 1);
        lines += fixture->batch.line_count;
        empty(fixture);
    }
    assert_int_equal(lines, LINES);
    assert_int_equal(fixture->outcomes.count, 0);
    free(text);
}

static void test_a_line_that_no_service_takes_is_refused_at_once(void **state) {
    struct fixture *fixture = *state;
    enum { LONG = IMPORT_LINE_BYTES_MAX + 1 };
    char *text = malloc(LONG + 4);
    assert_non_null(text);
    memcpy(text, "a\n", 2);
    memset(text + 2, 'x', LONG);
    memcpy(text + 2 + LONG, "\nb", 2);
    open_text(fixture, text, LONG + 4);
    assert_true(fill(fixture));
    assert_int_equal(fixture->batch.line_count, 2);
    assert_int_equal(fixture->batch.lines[1].number, 3);
    assert_int_equal(fixture->outcomes.count, 1);
    assert_int_equal(fixture->outcomes.lines[0], 2);
    assert_int_equal(fixture->outcomes.codes[0], 413);
    free(text);
}

static void test_each_line_gets_its_own_answer(void **state) {
    struct fixture *fixture = *state;
    open_text(fixture, "a\nb\nc\n", 6);
    assert_true(fill(fixture));
    assert_true(import_batch_judge(&fixture->batch,
                                   SLICE_LITERAL("{\"code\":201,\"order\":{}}\n"
                                                 "{\"code\":409,\"problem\":{}}\n"
                                                 "{\"code\":200}\n"),
                                   take, &fixture->outcomes));
    static const int codes[] = {201, 409, 200};
    assert_int_equal(fixture->outcomes.count, 3);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(fixture->outcomes.lines[i], i + 1);
        assert_int_equal(fixture->outcomes.codes[i], codes[i]);
    }
    assert_int_equal(fixture->batch.line_count, 0);
}

static void test_lines_that_could_not_be_taken_stay_for_the_next_try(void **state) {
    struct fixture *fixture = *state;
    open_text(fixture, "one\ntwo\nthree\nfour\n", 19);
    assert_true(fill(fixture));
    assert_true(import_batch_judge(
        &fixture->batch,
        SLICE_LITERAL("{\"code\":201}\n{\"code\":503}\n{\"code\":422}\n{\"code\":504}\n"), take,
        &fixture->outcomes));
    assert_int_equal(fixture->outcomes.count, 2);
    assert_int_equal(fixture->outcomes.lines[1], 3);
    assert_int_equal(fixture->batch.line_count, 2);
    assert_slice_equal(((struct slice){fixture->batch.text, fixture->batch.size}), "two\nfour\n");
    assert_true(import_batch_judge(&fixture->batch, SLICE_LITERAL("{\"code\":503}\n{\"code\":201}"),
                                   take, &fixture->outcomes));
    assert_int_equal(fixture->outcomes.lines[2], 4);
    assert_int_equal(fixture->batch.lines[0].number, 2);
    assert_slice_equal(((struct slice){fixture->batch.text, fixture->batch.size}), "two\n");
}

static void test_an_answer_of_another_length_is_none(void **state) {
    struct fixture *fixture = *state;
    open_text(fixture, "a\nb\n", 4);
    assert_true(fill(fixture));
    assert_false(import_batch_judge(&fixture->batch, SLICE_LITERAL("{\"code\":201}\n"), take,
                                    &fixture->outcomes));
    assert_false(import_batch_judge(&fixture->batch, SLICE_LITERAL(""), take, &fixture->outcomes));
    assert_int_equal(fixture->outcomes.count, 0);
    assert_int_equal(fixture->batch.line_count, 2);
}

static void test_an_answer_that_is_no_json_refuses_its_line(void **state) {
    struct fixture *fixture = *state;
    open_text(fixture, "a\nb\n", 4);
    assert_true(fill(fixture));
    assert_true(import_batch_judge(&fixture->batch, SLICE_LITERAL("what\n{\"code\":201}\n"), take,
                                   &fixture->outcomes));
    assert_int_equal(fixture->outcomes.codes[0], 0);
    assert_int_equal(fixture->outcomes.codes[1], 201);
}

static void test_a_problem_is_told_in_a_line_with_its_fields(void **state) {
    char memory[512];
    struct text text = text_over(memory, sizeof(memory));
    json_t *problem = json_pack("{s:s, s:i, s:s, s:s, s:[{s:s, s:s}, {s:s}]}", "title", "No",
                                "status", 422, "detail", "bad members", "order_id", "17", "errors",
                                "field", "amount", "detail", "is 0", "field", "x");
    (void)state;
    problem_describe(problem, 400, "; ", &text);
    assert_slice_equal(text_slice(&text),
                       "422 No: bad members (order 17); amount: is 0; x: not accepted");
    text.size = 0;
    problem_describe(NULL, 404, "; ", &text);
    assert_slice_equal(text_slice(&text), "404");
    json_decref(problem);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_lines_become_a_batch_with_their_numbers, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_a_batch_holds_a_thousand_lines_at_most, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_a_batch_stays_within_its_bytes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_line_that_no_service_takes_is_refused_at_once, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_each_line_gets_its_own_answer, setup, teardown),
        cmocka_unit_test_setup_teardown(test_lines_that_could_not_be_taken_stay_for_the_next_try,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(test_an_answer_of_another_length_is_none, setup, teardown),
        cmocka_unit_test_setup_teardown(test_an_answer_that_is_no_json_refuses_its_line, setup,
                                        teardown),
        cmocka_unit_test(test_a_problem_is_told_in_a_line_with_its_fields),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
