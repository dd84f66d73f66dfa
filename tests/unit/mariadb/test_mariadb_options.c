#include "adapter/mariadb/mariadb_options.h"
#include "unit.h"

#include <stdlib.h>
#include <unistd.h>

static struct mysql_options options;

static void set(const char *assignment) {
    struct config_section section = {"mysql", mysql_option_table, mysql_option_count, &options};
    struct config config = {.sections = &section, .section_count = 1};
    struct fault fault;
    if (assignment == NULL) {
        config_set_defaults(&config);
    } else if (!config_set(&config, assignment, &fault)) {
        fail_msg("%s", fault.text);
    }
}

static int set_defaults(void **state) {
    (void)state;
    set(NULL);
    return 0;
}

static void assert_refused(const char *assignment, const char *part) {
    struct mariadb_settings settings;
    struct fault fault = {""};
    set(NULL);
    set(assignment);
    assert_false(mariadb_settings_read(&options, NULL, &settings, &fault));
    assert_contains(fault.text, part);
}

static void test_servers_are_read_in_the_order_of_their_shards(void **state) {
    (void)state;
    struct mariadb_settings settings;
    struct fault fault;
    set("mysql.shards=db-0:3306, [::1]:3307  /run/mysqld/mysqld.sock");
    assert_true(mariadb_settings_read(&options, NULL, &settings, &fault));
    assert_int_equal(settings.shard_count, 3);
    assert_string_equal(settings.servers[0].host, "db-0");
    assert_int_equal(settings.servers[0].port, 3306);
    assert_string_equal(settings.servers[1].host, "::1");
    assert_int_equal(settings.servers[1].shard, 1);
    assert_string_equal(settings.servers[2].host, "/run/mysqld/mysqld.sock");
    assert_int_equal(settings.servers[2].port, 0);
    assert_int_equal(mariadb_shard_of_slot(&settings, 1023), 0);
}

static void test_lists_that_name_no_servers_are_refused(void **state) {
    (void)state;
    static const char *const lists[] = {"",      "db",    "db:",   "db:0",  "db:65536", "db:1x",
                                        ":3306", "db:1,", ",db:1", "a:b:1", "db:1,db:1"};
    char assignment[64];
    for (size_t i = 0; i < ARRAY_COUNT(lists); i++) {
        (void)snprintf(assignment, sizeof(assignment), "mysql.shards=%s", lists[i]);
        assert_refused(assignment, "mysql.shards: expected");
    }
    assert_refused("mysql.database=a`b", "mysql.database");
    assert_refused("mysql.lock_wait_seconds=3", "mysql.read_timeout_ms");
}

static void test_the_password_comes_from_the_option_the_file_or_the_environment(void **state) {
    (void)state;
    struct mariadb_settings settings;
    struct fault fault;
    char path[256];
    char assignment[300];
    const char *parent = getenv("TMPDIR");
    (void)snprintf(path, sizeof(path), "%s/password-XXXXXX", parent != NULL ? parent : "/tmp");
    int file = mkstemp(path);
    assert_int_equal(write(file, "from file\nsecond line\n", 22), 22);
    (void)close(file);
    assert_true(mariadb_settings_read(&options, "from environment", &settings, &fault));
    assert_string_equal(settings.password.text, "from environment");
    (void)snprintf(assignment, sizeof(assignment), "mysql.password_file=%s", path);
    set(assignment);
    assert_true(mariadb_settings_read(&options, "from environment", &settings, &fault));
    assert_string_equal(settings.password.text, "from file");
    set("mysql.password=from option");
    assert_true(mariadb_settings_read(&options, "from environment", &settings, &fault));
    assert_string_equal(settings.password.text, "from option");
    (void)unlink(path);
    set("mysql.password=");
    assert_false(mariadb_settings_read(&options, "from environment", &settings, &fault));
    assert_contains(fault.text, "mysql.password_file");
    assert_not_contains(fault.text, "from");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_servers_are_read_in_the_order_of_their_shards, set_defaults),
        cmocka_unit_test_setup(test_lists_that_name_no_servers_are_refused, set_defaults),
        cmocka_unit_test_setup(test_the_password_comes_from_the_option_the_file_or_the_environment,
                               set_defaults),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
