#include "adapter/mariadb/mariadb_ticket.h"
#include "unit.h"

struct note {
    struct order_create_batch batch; /* first */
    bool done;
};

static void take_note(struct port_request *request) {
    ((struct note *)request)->done = true;
}

static void test_the_last_item_completes_the_request_and_frees_the_ticket(void **state) {
    (void)state;
    static struct mariadb_metrics metrics;
    struct mariadb_tickets tickets;
    struct mailbox mailbox;
    uint8_t results[3] = {0};
    struct note note = {.batch = {.count = 3, .results = results}};
    assert_true(mailbox_init(&mailbox, 4));
    note.batch.request = (struct port_request){.done = take_note, .mailbox = &mailbox};
    assert_true(mariadb_tickets_init(&tickets, 1, &metrics));
    struct mariadb_ticket *ticket =
        mariadb_tickets_take(&tickets, &note.batch.request, MARIADB_CREATE, 3);
    assert_non_null(ticket);
    assert_null(mariadb_tickets_take(&tickets, &note.batch.request, MARIADB_CREATE, 3));
    struct mariadb_item item = {ticket, 2, MARIADB_CREATE};
    mariadb_item_settle(&tickets, item, ORDER_RESULT_CREATED);
    item.index = 0;
    item.kind = MARIADB_RESOLVE;
    mariadb_item_settle(&tickets, item, ORDER_RESULT_CONFLICT);
    assert_int_equal(port_drain(&mailbox, 8), 0);
    item.index = 1;
    mariadb_item_settle(&tickets, item,
                        mariadb_item_refusal((struct mariadb_item){ticket, 1, MARIADB_CREATE}));
    assert_int_equal(port_drain(&mailbox, 8), 1);
    assert_true(note.done);
    assert_int_equal(results[0], ORDER_RESULT_CONFLICT);
    assert_int_equal(results[1], ORDER_RESULT_BUSY);
    assert_int_equal(results[2], ORDER_RESULT_CREATED);
    assert_int_equal(metric_get(&metrics.created_total), 1);
    assert_non_null(mariadb_tickets_take(&tickets, &note.batch.request, MARIADB_GET, 1));
    mariadb_tickets_deinit(&tickets);
    mailbox_deinit(&mailbox);
}

static void test_an_expiry_is_put_together_from_its_shards(void **state) {
    (void)state;
    static struct mariadb_metrics metrics;
    struct mariadb_tickets tickets;
    struct mailbox mailbox;
    struct order_expire_batch batch = {.limit = 10};
    assert_true(mailbox_init(&mailbox, 4));
    batch.request.mailbox = &mailbox;
    assert_true(mariadb_tickets_init(&tickets, 1, &metrics));
    for (int failed = 0; failed < 2; failed++) {
        struct mariadb_ticket *ticket =
            mariadb_tickets_take(&tickets, &batch.request, MARIADB_EXPIRE, 2);
        struct mariadb_item items[2] = {{ticket, 0, MARIADB_EXPIRE}, {ticket, 1, MARIADB_EXPIRE}};
        atomic_fetch_add(&ticket->expired, 7);
        mariadb_item_settle(&tickets, items[0], ORDER_RESULT_STORED);
        atomic_fetch_add(&ticket->expired, 2);
        atomic_store(&ticket->expire_more, 1);
        mariadb_item_settle(&tickets, items[1],
                            failed ? ORDER_RESULT_UNAVAILABLE : ORDER_RESULT_STORED);
        assert_ptr_equal(mailbox_take(&mailbox), &batch.request);
        assert_int_equal(batch.count, 9);
        assert_true(batch.more);
        assert_int_equal(batch.result, failed ? ORDER_RESULT_UNAVAILABLE : ORDER_RESULT_STORED);
    }
    mariadb_tickets_deinit(&tickets);
    mailbox_deinit(&mailbox);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_last_item_completes_the_request_and_frees_the_ticket),
        cmocka_unit_test(test_an_expiry_is_put_together_from_its_shards),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
