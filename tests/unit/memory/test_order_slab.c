#include "base/random.h"
#include "memory/order_slab.h"
#include "sample.h"
#include "unit.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23 /* Linux 5.14; older headers lack it */
#endif

#define PAGE_BYTES 4096

static size_t resident_pages(const struct order_slab *slab, size_t page_count) {
    unsigned char *here = calloc(page_count, 1);
    size_t count = 0;
    assert_non_null(here);
    assert_int_equal(mincore(slab->entries, page_count * PAGE_BYTES, here), 0);
    for (size_t i = 0; i < page_count; i++) {
        count += here[i] & 1;
    }
    free(here);
    return count;
}

static void test_populating_takes_the_memory_of_every_entry_at_once(void **state) {
    (void)state;
    enum { CAPACITY = 100000 };
    struct order_slab slab;
    size_t pages = CAPACITY * sizeof(struct order_cold) / PAGE_BYTES;
    assert_true(order_slab_init(&slab, CAPACITY));
    if (madvise(slab.entries, PAGE_BYTES, MADV_POPULATE_WRITE) != 0 && errno == EINVAL) {
        order_slab_deinit(&slab);
        skip(); /* an older system */
    }
    order_slab_clear(&slab);
    assert_int_equal(resident_pages(&slab, pages), 0);
    order_slab_populate(&slab);
    assert_int_equal(resident_pages(&slab, pages), pages);
    assert_int_equal(order_slab_take(&slab), 0); /* and nothing else has changed */
    assert_int_equal(order_slab_free_count(&slab), CAPACITY - 1);
    order_slab_deinit(&slab);
}

static void test_every_entry_is_given_once(void **state) {
    (void)state;
    enum { CAPACITY = 1000 };
    struct order_slab slab;
    bool taken[CAPACITY] = {false};
    assert_true(order_slab_init(&slab, CAPACITY));
    for (uint32_t i = 0; i < CAPACITY; i++) {
        assert_int_equal(order_slab_free_count(&slab), CAPACITY - i);
        uint32_t entry = order_slab_take(&slab);
        assert_true(entry < CAPACITY && !taken[entry]);
        taken[entry] = true;
    }
    assert_int_equal(order_slab_take(&slab), ORDER_SLAB_NONE);
    assert_int_equal(order_slab_take(&slab), ORDER_SLAB_NONE);
    assert_int_equal(order_slab_free_count(&slab), 0);
    order_slab_deinit(&slab);
}

static void test_entries_that_come_back_are_given_again_and_none_is_lost(void **state) {
    (void)state;
    enum { CAPACITY = 500 };
    struct order_slab slab;
    struct random_source random = {17};
    uint32_t held[CAPACITY];
    size_t count = 0;
    bool taken[CAPACITY] = {false};
    assert_true(order_slab_init(&slab, CAPACITY));
    for (int i = 0; i < 200000; i++) {
        /* Tides, so that the list of free entries is long and empty in turn. */
        bool rising = i / 2000 % 2 == 0;
        if (random_chance(&random, rising ? 3 : 1, 4)) {
            uint32_t entry = order_slab_take(&slab);
            assert_int_equal(entry == ORDER_SLAB_NONE, count == CAPACITY);
            if (entry != ORDER_SLAB_NONE) {
                assert_true(entry < CAPACITY && !taken[entry]);
                taken[entry] = true;
                held[count++] = entry;
            }
        } else if (count > 0) {
            size_t at = random_below(&random, count);
            taken[held[at]] = false;
            order_slab_give_back(&slab, held[at]);
            held[at] = held[--count];
        }
        assert_int_equal(order_slab_free_count(&slab), CAPACITY - count);
    }
    order_slab_deinit(&slab);
}

static void test_an_entry_keeps_all_but_id_version_status_and_crc(void **state) {
    (void)state;
    struct random_source random = {18};
    struct order_cold *cold = calloc(1, sizeof(*cold));
    assert_non_null(cold);
    for (int i = 0; i < 1000; i++) {
        struct order_record record;
        struct order_record loaded;
        for (size_t at = 0; at < sizeof(record); at += 8) {
            bytes_store_u64((char *)&record + at, random_u64(&random));
        }
        record.format = ORDER_RECORD_FORMAT;
        memset(&loaded, 0, sizeof(loaded));
        order_cold_store(cold, &record);
        order_cold_load(cold, &loaded);
        loaded.order_id = record.order_id;
        loaded.version = record.version;
        loaded.status = record.status;
        loaded.crc = record.crc;
        assert_memory_equal(&loaded, &record, sizeof(record));
    }
    free(cold);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_populating_takes_the_memory_of_every_entry_at_once),
        cmocka_unit_test(test_every_entry_is_given_once),
        cmocka_unit_test(test_entries_that_come_back_are_given_again_and_none_is_lost),
        cmocka_unit_test(test_an_entry_keeps_all_but_id_version_status_and_crc),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
