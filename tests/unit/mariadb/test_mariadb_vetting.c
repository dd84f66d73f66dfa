#include "adapter/mariadb/mariadb_vetting.h"
#include "unit.h"

static struct mariadb_settings sample_settings(void) {
    struct mariadb_settings settings = {
        .shard_count = 2, .create_batch = 2000, .change_batch = 1000, .read_batch = 1000};
    settings.servers[1].shard = 1;
    return settings;
}

static void test_each_setting_that_may_lose_orders_is_named(void **state) {
    (void)state;
    static const char *const names[MARIADB_VARIABLE_COUNT] = {"innodb_flush_log_at_trx_commit",
                                                              "sync_binlog",
                                                              "log_bin",
                                                              "binlog_format",
                                                              "binlog_row_image",
                                                              "max_allowed_packet"};
    static const char *const good[MARIADB_VARIABLE_COUNT] = {"1",   "1",    "1",
                                                             "ROW", "FULL", "16777216"};
    static const char *const bad[MARIADB_VARIABLE_COUNT] = {"2",     "0",       "0",
                                                            "MIXED", "MINIMAL", "1024"};
    struct mariadb_settings settings = sample_settings();
    struct slice values[MARIADB_VARIABLE_COUNT];
    struct fault fault;
    for (size_t wrong = 0; wrong <= MARIADB_VARIABLE_COUNT; wrong++) {
        for (size_t i = 0; i < MARIADB_VARIABLE_COUNT; i++) {
            values[i] = slice_from_text(i == wrong ? bad[i] : good[i]);
        }
        bool judged = mariadb_variables_judge(values, &settings, &fault);
        assert_int_equal(judged, wrong == MARIADB_VARIABLE_COUNT);
        if (wrong < MARIADB_VARIABLE_COUNT) {
            assert_contains(fault.text, names[wrong]);
        }
    }
}

static void test_tables_of_another_version_or_cluster_are_refused_with_what_to_do(void **state) {
    (void)state;
    struct mariadb_settings settings = sample_settings();
    struct fault fault;
    struct mariadb_identity good = {.schema_version = MARIADB_SCHEMA_VERSION,
                                    .shards = 2,
                                    .shard = 1,
                                    .has_shards = true,
                                    .has_shard = true};
    const struct mariadb_server *server = &settings.servers[1];
    assert_true(mariadb_identity_judge(&good, &settings, server, &fault));
    struct mariadb_identity identity = good;
    identity.schema_version = 0;
    assert_false(mariadb_identity_judge(&identity, &settings, server, &fault));
    assert_contains(fault.text, "orderctl schema apply");
    identity.schema_version = MARIADB_SCHEMA_VERSION + 1;
    assert_false(mariadb_identity_judge(&identity, &settings, server, &fault));
    assert_contains(fault.text, "newer orderd");
    identity = good;
    identity.shards = 3;
    assert_false(mariadb_identity_judge(&identity, &settings, server, &fault));
    assert_contains(fault.text, "3 shards");
    identity = good;
    identity.shard = 0;
    assert_false(mariadb_identity_judge(&identity, &settings, server, &fault));
    assert_contains(fault.text, "this server is shard 0");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_setting_that_may_lose_orders_is_named),
        cmocka_unit_test(test_tables_of_another_version_or_cluster_are_refused_with_what_to_do),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
