#include "service/fill_ledger.h"
#include "unit.h"

#include <stdlib.h>

#define CAPACITY 16

static void test_entries_leave_in_the_order_in_which_they_came(void **state) {
    (void)state;
    struct fill_ledger ledger;
    assert_true(fill_ledger_init(&ledger, CAPACITY));
    assert_null(fill_ledger_first(&ledger));
    for (uint64_t id = 1; id <= CAPACITY; id++) {
        assert_false(fill_ledger_is_full(&ledger));
        fill_ledger_add(&ledger, id, 1, (int64_t)id);
    }
    assert_true(fill_ledger_is_full(&ledger));
    for (uint64_t id = 1; id <= CAPACITY; id++) {
        assert_int_equal(fill_ledger_first(&ledger)->order_id, id);
        assert_int_equal(fill_ledger_first(&ledger)->until_us, id);
        fill_ledger_drop_first(&ledger);
    }
    assert_null(fill_ledger_first(&ledger));
    fill_ledger_deinit(&ledger);
}

static void test_a_change_confirms_its_version_and_those_below_it(void **state) {
    (void)state;
    struct fill_ledger ledger;
    assert_true(fill_ledger_init(&ledger, CAPACITY));
    fill_ledger_add(&ledger, 7, 1, 1);
    fill_ledger_add(&ledger, 8, 1, 1);
    fill_ledger_add(&ledger, 7, 3, 1);
    assert_int_equal(fill_ledger_confirm(&ledger, 7, 2), 1);
    assert_int_equal(fill_ledger_confirm(&ledger, 7, 2), 0);
    assert_int_equal(fill_ledger_confirm(&ledger, 9, 9), 0);
    assert_int_equal(fill_ledger_first(&ledger)->order_id, 0);
    fill_ledger_drop_first(&ledger);
    assert_int_equal(fill_ledger_first(&ledger)->order_id, 8);
    fill_ledger_drop_first(&ledger);
    assert_int_equal(fill_ledger_first(&ledger)->order_id, 7);
    assert_int_equal(fill_ledger_first(&ledger)->version, 3);
    assert_int_equal(fill_ledger_confirm(&ledger, 7, 3), 1);
    fill_ledger_deinit(&ledger);
}

/** Against a plain list, with few ids so that chains are long. */
static void test_it_agrees_with_a_plain_list(void **state) {
    (void)state;
    struct fill_ledger ledger;
    struct fill model[CAPACITY];
    size_t count = 0;
    unsigned random = 1;
    assert_true(fill_ledger_init(&ledger, CAPACITY));
    for (int step = 0; step < 100000; step++) {
        random = random * 1103515245 + 12345;
        uint64_t id = 1 + (random >> 8) % 6;
        uint32_t version = 1 + (random >> 16) % 3;
        size_t confirmed = 0;
        switch ((random >> 20) % 4) {
        case 0:
        case 1:
            if (count < CAPACITY) {
                fill_ledger_add(&ledger, id, version, step);
                model[count++] = (struct fill){.order_id = id, .version = version};
            }
            break;
        case 2:
            for (size_t i = 0; i < count; i++) {
                if (model[i].order_id == id && model[i].version <= version) {
                    model[i].order_id = 0;
                    confirmed++;
                }
            }
            assert_int_equal(fill_ledger_confirm(&ledger, id, version), confirmed);
            break;
        default:
            if (count > 0) {
                assert_int_equal(fill_ledger_first(&ledger)->order_id, model[0].order_id);
                assert_int_equal(fill_ledger_first(&ledger)->version, model[0].version);
                fill_ledger_drop_first(&ledger);
                memmove(model, model + 1, --count * sizeof(model[0]));
            }
            break;
        }
        assert_int_equal(fill_ledger_is_full(&ledger), count == CAPACITY);
    }
    fill_ledger_deinit(&ledger);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_entries_leave_in_the_order_in_which_they_came),
        cmocka_unit_test(test_a_change_confirms_its_version_and_those_below_it),
        cmocka_unit_test(test_it_agrees_with_a_plain_list),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
