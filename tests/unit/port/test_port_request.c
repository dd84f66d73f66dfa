#include "port/port_request.h"
#include "unit.h"

/** A request that notes when it was done. */
struct note {
    struct port_request request;
    int *clock;
    int done_at; /* 0: not yet */
};

static void take_note(struct port_request *request) {
    struct note *note = (struct note *)request;
    note->done_at = ++*note->clock;
}

static void test_completed_requests_are_done_in_order_on_the_submitters_drain(void **state) {
    (void)state;
    struct mailbox mailbox;
    int clock = 0;
    struct note notes[5];
    assert_true(mailbox_init(&mailbox, 8));
    for (size_t i = 0; i < ARRAY_COUNT(notes); i++) {
        notes[i] =
            (struct note){.request = {.done = take_note, .mailbox = &mailbox}, .clock = &clock};
        port_complete(&notes[i].request);
        assert_int_equal(notes[i].done_at, 0);
    }
    assert_int_equal(port_drain(&mailbox, 2), 2);
    assert_int_equal(notes[1].done_at, 2);
    assert_int_equal(notes[2].done_at, 0);
    assert_int_equal(port_drain(&mailbox, 100), 3);
    assert_int_equal(notes[4].done_at, 5);
    assert_int_equal(port_drain(&mailbox, 100), 0);
    mailbox_deinit(&mailbox);
}

static void complete_again(struct port_request *request) {
    struct note *note = (struct note *)request;
    note->done_at = ++*note->clock;
    if (note->done_at < 10) {
        port_complete(request);
    }
}

static void test_a_request_may_be_submitted_again_when_it_is_done(void **state) {
    (void)state;
    struct mailbox mailbox;
    int clock = 0;
    struct note note = {.request = {.done = complete_again, .mailbox = &mailbox}, .clock = &clock};
    assert_true(mailbox_init(&mailbox, 2));
    port_complete(&note.request);
    assert_int_equal(port_drain(&mailbox, 4), 4);
    assert_int_equal(port_drain(&mailbox, 100), 6);
    assert_int_equal(note.done_at, 10);
    mailbox_deinit(&mailbox);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_completed_requests_are_done_in_order_on_the_submitters_drain),
        cmocka_unit_test(test_a_request_may_be_submitted_again_when_it_is_done),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
