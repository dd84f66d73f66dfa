#include "orderctl/event_stream.h"
#include "unit.h"

#include "base/random.h"

#include <stdlib.h>

/** Writes down every event as name|id|data; */
struct notes {
    struct event_stream stream;
    struct text text;
    char memory[65536];
};

static void take(void *context, const struct event *event) {
    struct notes *notes = context;
    text_append_slice(&notes->text, event->name);
    text_append_char(&notes->text, '|');
    text_append_slice(&notes->text, event->id);
    text_append_char(&notes->text, '|');
    text_append_slice(&notes->text, event->data);
    text_append_char(&notes->text, ';');
}

static int setup(void **state) {
    struct notes *notes = calloc(1, sizeof(*notes));
    if (notes == NULL) {
        return -1;
    }
    notes->text = text_over(notes->memory, sizeof(notes->memory));
    event_stream_init(&notes->stream, take, notes);
    *state = notes;
    return 0;
}

static int teardown(void **state) {
    free(*state);
    return 0;
}

static void feed(struct notes *notes, const char *text) {
    event_stream_feed(&notes->stream, text, strlen(text));
}

static void test_an_event_has_name_id_and_data(void **state) {
    struct notes *notes = *state;
    feed(notes, "event: changed\nid: 17\ndata: {\"a\":1}\n\n");
    assert_slice_equal(text_slice(&notes->text), "changed|17|{\"a\":1};");
}

static void test_any_line_end_will_do(void **state) {
    struct notes *notes = *state;
    feed(notes, "event: a\r\ndata: 1\r\n\r\nevent: b\rdata: 2\r\revent: c\ndata: 3\n\n");
    assert_slice_equal(text_slice(&notes->text), "a||1;b||2;c||3;");
}

static void test_comments_and_unknown_fields_are_passed_over(void **state) {
    struct notes *notes = *state;
    feed(notes, ": alive\n\nfield: x\ndata: 1\n:\nwhat\n\n");
    assert_slice_equal(text_slice(&notes->text), "message||1;");
}

static void test_lines_of_data_are_joined(void **state) {
    struct notes *notes = *state;
    feed(notes, "data: one\ndata:two\ndata\ndata:  three\n\n");
    assert_slice_equal(text_slice(&notes->text), "message||one\ntwo\n\n three;");
}

static void test_an_event_without_data_is_none_but_keeps_its_id(void **state) {
    struct notes *notes = *state;
    feed(notes, "id: 5\nevent: x\n\ndata: 1\n\n");
    assert_slice_equal(text_slice(&notes->text), "message|5|1;");
}

static void test_the_id_stays_until_it_is_named_again(void **state) {
    struct notes *notes = *state;
    feed(notes, "id: 5\ndata: 1\n\ndata: 2\n\nid\ndata: 3\n\n");
    assert_slice_equal(text_slice(&notes->text), "message|5|1;message|5|2;message||3;");
}

static void test_an_id_with_a_zero_byte_is_ignored(void **state) {
    struct notes *notes = *state;
    static const char text[] = "id: 5\ndata: 1\n\nid: 6\0\ndata: 2\n\n";
    event_stream_feed(&notes->stream, text, sizeof(text) - 1);
    assert_slice_equal(text_slice(&notes->text), "message|5|1;message|5|2;");
}

static void test_a_byte_order_mark_may_begin_the_stream(void **state) {
    struct notes *notes = *state;
    feed(notes, "\xef\xbb\xbf"
                "data: 1\n\n");
    assert_slice_equal(text_slice(&notes->text), "message||1;");
}

static void test_the_pause_that_is_asked_for_is_noted(void **state) {
    struct notes *notes = *state;
    feed(notes, "retry: 1500\n\nretry: x\n\nretry:\n\n");
    assert_int_equal(notes->stream.retry_ms, 1500);
}

static void test_half_an_event_is_forgotten_at_a_reconnect_but_not_the_id(void **state) {
    struct notes *notes = *state;
    feed(notes, "id: 9\ndata: 1\n\ndata: half\nda");
    event_stream_restart(&notes->stream);
    feed(notes, "data: 2\n\n");
    assert_slice_equal(text_slice(&notes->text), "message|9|1;message|9|2;");
}

static void test_what_is_too_long_is_dropped_whole_and_counted(void **state) {
    struct notes *notes = *state;
    feed(notes, "data: ");
    for (size_t i = 0; i < EVENT_LINE_MAX; i++) {
        feed(notes, "x");
    }
    feed(notes, "\n\ndata: 1\n\n");
    assert_slice_equal(text_slice(&notes->text), "message||1;");
    assert_int_equal(notes->stream.dropped, 1);
    for (size_t i = 0; i < EVENT_DATA_MAX / 1000 + 1; i++) {
        char line[1024];
        (void)snprintf(line, sizeof(line), "data: %01000d\n", 1);
        feed(notes, line);
    }
    feed(notes, "\ndata: 2\n\n");
    assert_slice_equal(text_slice(&notes->text), "message||1;message||2;");
    assert_int_equal(notes->stream.dropped, 2);
}

static void test_pieces_of_any_size_give_the_same_events(void **state) {
    struct notes *notes = *state;
    static const char text[] = "event: order\r\nid: a1\r\ndata: {}\r\n\r\n: c\r\n\r\n"
                               "event: changed\r\nid: a2\r\ndata: x\r\ndata: y\r\n\r\n";
    struct random_source random = {11};
    for (size_t round = 0; round < 500; round++) {
        notes->text.size = 0;
        event_stream_init(&notes->stream, take, notes);
        for (size_t at = 0; at < sizeof(text) - 1;) {
            size_t size = 1 + (size_t)random_below(&random, 7);
            size = bytes_min_size(size, sizeof(text) - 1 - at);
            event_stream_feed(&notes->stream, text + at, size);
            at += size;
        }
        assert_slice_equal(text_slice(&notes->text), "order|a1|{};changed|a2|x\ny;");
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_an_event_has_name_id_and_data, setup, teardown),
        cmocka_unit_test_setup_teardown(test_any_line_end_will_do, setup, teardown),
        cmocka_unit_test_setup_teardown(test_comments_and_unknown_fields_are_passed_over, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_lines_of_data_are_joined, setup, teardown),
        cmocka_unit_test_setup_teardown(test_an_event_without_data_is_none_but_keeps_its_id, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_the_id_stays_until_it_is_named_again, setup, teardown),
        cmocka_unit_test_setup_teardown(test_an_id_with_a_zero_byte_is_ignored, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_byte_order_mark_may_begin_the_stream, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_the_pause_that_is_asked_for_is_noted, setup, teardown),
        cmocka_unit_test_setup_teardown(
            test_half_an_event_is_forgotten_at_a_reconnect_but_not_the_id, setup, teardown),
        cmocka_unit_test_setup_teardown(test_what_is_too_long_is_dropped_whole_and_counted, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_pieces_of_any_size_give_the_same_events, setup,
                                        teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
