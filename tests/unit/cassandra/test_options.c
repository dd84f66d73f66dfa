/* The options of the Cassandra archive, judged. */
#include "adapter/cassandra/cassandra_options.h"
#include "unit.h"

struct parts {
    struct cassandra_options options;
    struct cassandra_terms terms;
    struct fault fault;
};

static bool read_with(struct parts *parts, const char *assignment) {
    struct config_section section = {"cassandra", cassandra_option_table, cassandra_option_count,
                                     &parts->options};
    struct config config = {.sections = &section, .section_count = 1};
    config_set_defaults(&config);
    if (assignment != NULL && !config_set(&config, assignment, &parts->fault)) {
        return false;
    }
    return cassandra_options_read(&parts->options, NULL, &parts->terms, &parts->fault);
}

static void test_the_defaults_are_sound(void **state) {
    (void)state;
    struct parts parts;
    assert_true(read_with(&parts, NULL));
    assert_int_equal(parts.terms.host_count, 1);
    assert_int_equal(parts.terms.consistency, CQL_LOCAL_QUORUM);
    assert_string_equal(parts.terms.replication,
                        "{'class': 'NetworkTopologyStrategy', 'datacenter1': 3}");
}

static void test_several_nodes_and_their_forms_are_read(void **state) {
    (void)state;
    struct parts parts;
    assert_true(read_with(&parts, "cassandra.hosts=127.0.0.1 127.0.0.2:19042, [::1]:29042"));
    assert_int_equal(parts.terms.host_count, 3);
    assert_string_equal(parts.terms.hosts[1].name, "127.0.0.2:19042");
    assert_int_equal(parts.terms.hosts[0].socket.ss_family, AF_INET);
    assert_int_equal(parts.terms.hosts[2].socket.ss_family, AF_INET6);
}

static void test_what_cannot_be_is_refused_by_its_name(void **state) {
    (void)state;
    static const struct {
        const char *assignment;
        const char *text;
    } wrong[] = {
        {"cassandra.hosts=", "cassandra.hosts"},
        {"cassandra.hosts=a:b", "cassandra.hosts"},
        {"cassandra.hosts=[::1", "cassandra.hosts"},
        {"cassandra.hosts=127.0.0.1:123456", "cassandra.hosts"},
        {"cassandra.keyspace=Orders", "cassandra.keyspace"},
        {"cassandra.keyspace=orders; DROP KEYSPACE x", "cassandra.keyspace"},
        {"cassandra.keyspace=1orders", "cassandra.keyspace"},
        {"cassandra.replication=", "cassandra.replication"},
        {"cassandra.replication=near", "cassandra.replication"},
        {"cassandra.replication=near:0", "cassandra.replication"},
        {"cassandra.replication=near:33", "cassandra.replication"},
        {"cassandra.replication=ne'ar:3", "cassandra.replication"},
        {"cassandra.consistency=ANY", "cassandra.consistency"},
        {"cassandra.attempt_timeout_ms=60000", "cassandra.attempt_timeout_ms"},
    };
    for (size_t i = 0; i < ARRAY_COUNT(wrong); i++) {
        struct parts parts;
        if (read_with(&parts, wrong[i].assignment)) {
            fail_msg("\"%s\" was taken", wrong[i].assignment);
        }
        assert_contains(parts.fault.text, wrong[i].text);
    }
}

static void test_the_password_of_the_environment_goes_before_the_files(void **state) {
    (void)state;
    struct parts parts;
    assert_true(read_with(&parts, "cassandra.password=file"));
    assert_string_equal(parts.terms.password, "file");
    assert_true(cassandra_options_read(&parts.options, "other", &parts.terms, &parts.fault));
    assert_string_equal(parts.terms.password, "other");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_defaults_are_sound),
        cmocka_unit_test(test_several_nodes_and_their_forms_are_read),
        cmocka_unit_test(test_what_cannot_be_is_refused_by_its_name),
        cmocka_unit_test(test_the_password_of_the_environment_goes_before_the_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
