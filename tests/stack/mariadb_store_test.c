/** The store on a real MariaDB server: creates, changes, look-ups, scans, releases, expiry. */
#include "mariadb_bed.h"

static struct mariadb_server_process servers[2];

/** A database of its own for a test, on `count` servers. */
static void prepare(struct mysql_options *options, size_t count, const char *database) {
    bed_options(options, servers, count, database);
    bed_apply_schema(options);
}

static void test_a_created_order_is_read_back_as_it_was_answered(void **state) {
    (void)state;
    struct mysql_options options;
    struct bed bed;
    struct order_record order;
    uint8_t result;
    prepare(&options, 1, "t_create");
    bed_open(&bed, &options);
    struct order_record created = bed_create_one(&bed, sample_draft(1));
    assert_int_equal(order_record_check(&created), ORDER_RECORD_VALID);
    bed_get(&bed, &created.order_id, &order, &result, 1);
    assert_int_equal(result, ORDER_RESULT_FOUND);
    assert_memory_equal(&order, &created, sizeof(order));
    assert_true(mariadb_may_have_given(bed.mariadb, created.order_id));
    bed_close(&bed);
}

static int set_up(void **state) {
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(servers); i++) {
        server_create(&servers[i], NULL);
    }
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(servers); i++) {
        server_destroy(&servers[i]);
    }
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_created_order_is_read_back_as_it_was_answered),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
