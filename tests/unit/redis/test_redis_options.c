#include "adapter/redis/redis_options.h"

#include "../unit.h"

#include <stdlib.h>
#include <unistd.h>

static bool read_with(const char *assignment, const char *password, struct redis_settings *settings,
                      struct fault *fault) {
    struct redis_options options;
    struct config_section section = {"redis", redis_option_table, redis_option_count, &options};
    struct config config = {.sections = &section, .section_count = 1};
    config_set_defaults(&config);
    if (assignment != NULL && !config_set(&config, assignment, fault)) {
        return false;
    }
    return redis_settings_read(&options, password, settings, fault);
}

static void test_defaults_are_valid(void **state) {
    (void)state;
    struct redis_settings settings;
    struct fault fault;
    assert_true(read_with(NULL, NULL, &settings, &fault));
    assert_int_equal(settings.seed_count, 1);
    assert_string_equal(settings.seeds[0].host, "127.0.0.1");
    assert_int_equal(settings.seeds[0].port, 6379);
    assert_int_equal(settings.ttl_ms, UINT64_C(30) * 86400 * 1000);
    assert_int_equal(settings.lock_ms, 8000);
}

static void test_nodes_are_read(void **state) {
    (void)state;
    struct redis_settings settings;
    struct fault fault;
    assert_true(read_with("redis.nodes=127.0.0.1:7000, 127.0.0.2:7001,[::1]:7002", NULL, &settings,
                          &fault));
    assert_int_equal(settings.seed_count, 3);
    assert_string_equal(settings.seeds[1].host, "127.0.0.2");
    assert_string_equal(settings.seeds[2].host, "::1");
    assert_int_equal(settings.seeds[2].port, 7002);
}

static void test_nodes_that_cannot_be_are_refused(void **state) {
    (void)state;
    static const char *const wrong[] = {
        "redis.nodes=",
        "redis.nodes= , ",
        "redis.nodes=127.0.0.1",
        "redis.nodes=:7000",
        "redis.nodes=127.0.0.1:",
        "redis.nodes=127.0.0.1:0",
        "redis.nodes=127.0.0.1:65536",
        "redis.nodes=127.0.0.1:70x",
        "redis.nodes=127.0.0.1: 7000",
        "redis.nodes=127.0.0.1:-1",
        "redis.timeout_ms=8000",
    };
    struct redis_settings settings;
    struct fault fault;
    for (size_t i = 0; i < ARRAY_COUNT(wrong); i++) {
        if (read_with(wrong[i], NULL, &settings, &fault)) {
            fail_msg("taken: %s", wrong[i]);
        }
        assert_contains(fault.text, "redis.");
    }
}

static void test_the_password_comes_from_option_file_or_environment(void **state) {
    (void)state;
    struct redis_settings settings;
    struct fault fault;
    char path[] = "/tmp/orderd-password-XXXXXX";
    char assignment[128];
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "from file\nrest", 14), 14);
    (void)close(fd);
    assert_true(read_with("redis.password=from option", "from environment", &settings, &fault));
    assert_string_equal(settings.password.text, "from option");
    (void)snprintf(assignment, sizeof(assignment), "redis.password_file=%s", path);
    assert_true(read_with(assignment, "from environment", &settings, &fault));
    assert_string_equal(settings.password.text, "from file");
    assert_true(read_with(NULL, "from environment", &settings, &fault));
    assert_string_equal(settings.password.text, "from environment");
    assert_int_equal(truncate(path, 0), 0);
    assert_false(read_with(assignment, NULL, &settings, &fault));
    assert_int_equal(unlink(path), 0);
    assert_false(read_with(assignment, NULL, &settings, &fault));
    assert_contains(fault.text, "redis.password_file");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults_are_valid),
        cmocka_unit_test(test_nodes_are_read),
        cmocka_unit_test(test_nodes_that_cannot_be_are_refused),
        cmocka_unit_test(test_the_password_comes_from_option_file_or_environment),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
