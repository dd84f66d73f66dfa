#include "adapter/mariadb/mariadb_schema.h"
#include "adapter/mariadb/schema_files.h"
#include "unit.h"

static void test_statements_are_cut_at_semicolons_outside_of_quotes_and_comments(void **state) {
    (void)state;
    struct slice script = SLICE_LITERAL("-- first; of all\n"
                                        "CREATE TABLE a (b TEXT DEFAULT 'x;''y\\'; z'); /* ; */\n"
                                        "# more;\n;;\n"
                                        "SELECT `a;b`, \"c;d\" -- end;\n FROM t");
    struct slice statement;
    assert_true(mariadb_schema_next_statement(&script, &statement));
    assert_slice_equal(statement, "CREATE TABLE a (b TEXT DEFAULT 'x;''y\\'; z')");
    assert_true(mariadb_schema_next_statement(&script, &statement));
    assert_slice_equal(statement, "SELECT `a;b`, \"c;d\" -- end;\n FROM t");
    assert_false(mariadb_schema_next_statement(&script, &statement));
}

static void test_scripts_that_end_in_the_middle_do_not_run_over(void **state) {
    (void)state;
    static const char *const scripts[] = {"",    " ",   "--", "/*", "/* *", "'",
                                          "'\\", "\"a", "`",  ";",  "/",    "-"};
    for (size_t i = 0; i < ARRAY_COUNT(scripts); i++) {
        size_t size = strlen(scripts[i]);
        char *copy = test_malloc(size + 1); /* so that a sanitizer sees a step too far */
        memcpy(copy, scripts[i], size);
        struct slice script = {copy, size};
        struct slice statement;
        for (int rounds = 0; mariadb_schema_next_statement(&script, &statement); rounds++) {
            assert_true(rounds < 10);
        }
        test_free(copy);
    }
}

static void test_the_program_has_the_tables(void **state) {
    (void)state;
    struct slice script = {(const char *)mysql_schema_001, mysql_schema_001_size};
    struct slice statement;
    size_t count = 0;
    while (mariadb_schema_next_statement(&script, &statement)) {
        assert_memory_equal(statement.data, "CREATE TABLE ", 13);
        count++;
    }
    assert_int_equal(count, 5);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_statements_are_cut_at_semicolons_outside_of_quotes_and_comments),
        cmocka_unit_test(test_scripts_that_end_in_the_middle_do_not_run_over),
        cmocka_unit_test(test_the_program_has_the_tables),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
