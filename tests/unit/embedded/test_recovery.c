/* What a start makes of a data directory that is not as the store left it. */
#include "stream.h"

/** A world whose stream has been through several segments and a checkpoint, and is closed. */
static struct world *create_used_world(int rounds) {
    struct world *world = world_create();
    struct fault fault;
    assert_true(world_open(world, &fault));
    assert_true(stream_create(world, 3));
    for (int round = 0; round < rounds; round++) {
        assert_true(stream_round(world));
    }
    world_close(world);
    sim_disk_process_died(&world->disk);
    return world;
}

static bool exists(const struct world *world, uint64_t number) {
    char name[JOURNAL_NAME_MAX];
    uint64_t size;
    journal_segment_name(number, name);
    return sim_disk_size_of(&world->disk, name, &size);
}

static void bounds(const struct world *world, uint64_t *oldest, uint64_t *newest) {
    *oldest = 1;
    while (!exists(world, *oldest)) {
        (*oldest)++;
    }
    *newest = *oldest;
    while (exists(world, *newest + 1)) {
        (*newest)++;
    }
}

static void expect_refusal(struct world *world, const char *file, const char *why) {
    struct fault fault;
    assert_false(world_open(world, &fault));
    assert_contains(fault.text, file);
    assert_contains(fault.text, why);
    assert_null(world->disk.open_files);
}

static void test_a_segment_that_is_missing_behind_the_checkpoint_refuses_the_start(void **state) {
    (void)state;
    struct world *world = create_used_world(5); /* no checkpoint yet */
    char name[JOURNAL_NAME_MAX];
    uint64_t oldest;
    uint64_t newest;
    bounds(world, &oldest, &newest);
    assert_true(newest >= oldest + 2);
    journal_segment_name(oldest + 1, name);
    sim_disk_drop_file(&world->disk, name);
    expect_refusal(world, name, "missing");
    world_destroy(world);
}

static void
test_the_newest_segments_missing_refuse_the_start_where_a_checkpoint_knows_of_them(void **state) {
    (void)state;
    struct world *world = create_used_world(60);
    char name[JOURNAL_NAME_MAX];
    uint64_t oldest;
    uint64_t newest;
    bounds(world, &oldest, &newest);
    for (uint64_t number = newest; number > oldest; number--) {
        journal_segment_name(number, name);
        sim_disk_drop_file(&world->disk, name);
    }
    journal_segment_name(oldest, name);
    expect_refusal(world, name, "ends before");
    sim_disk_drop_file(&world->disk, name);
    expect_refusal(world, "journal", "missing");
    world_destroy(world);
}

static void test_a_file_shorter_than_its_segment_refuses_the_start(void **state) {
    (void)state;
    struct world *world = create_used_world(5);
    char name[JOURNAL_NAME_MAX];
    journal_segment_name(1, name);
    sim_disk_cut_file(&world->disk, name, world->limits.segment_bytes - JOURNAL_BLOCK_BYTES);
    expect_refusal(world, name, "the file ends here");
    world_destroy(world);
}

static void test_a_broken_frame_before_an_intact_one_refuses_the_start(void **state) {
    (void)state;
    struct world *world = create_used_world(5);
    char name[JOURNAL_NAME_MAX];
    char byte;
    journal_segment_name(1, name);
    uint64_t offset = 2 * JOURNAL_BLOCK_BYTES + 100;
    sim_disk_peek(&world->disk, name, offset, &byte, 1);
    byte ^= 1;
    sim_disk_poke(&world->disk, name, offset, &byte, 1);
    expect_refusal(world, name, "offset 8192: damaged");
    world_destroy(world);
}

/** Breaks the header of the oldest segment, which a checkpoint covers. */
static void test_a_broken_segment_that_no_order_needs_is_left_out_and_removed(void **state) {
    (void)state;
    struct world *world = create_used_world(60);
    struct fault fault;
    struct segment_entry entry;
    char name[JOURNAL_NAME_MAX];
    char zeroes[64] = {0};
    uint64_t oldest;
    uint64_t newest;
    assert_true(world_open(world, &fault));
    assert_true(segment_list_oldest(&world->core->segments, &entry));
    assert_true(segment_list_count(&world->core->segments) > 1);
    world_close(world);
    sim_disk_process_died(&world->disk);
    journal_segment_name(entry.number, name);
    sim_disk_poke(&world->disk, name, 0, zeroes, sizeof(zeroes));
    assert_true(world_open(world, &fault));
    bounds(world, &oldest, &newest);
    assert_true(oldest > entry.number);
    assert_true(segment_list_oldest(&world->core->segments, &entry));
    assert_int_equal(entry.number, oldest);
    assert_true(stream_round(world));
    world_destroy(world);
}

/** From the front they would leave a gap in the numbers where a start is cut off. */
static void test_empty_segments_at_the_end_go_newest_first(void **state) {
    (void)state;
    bool through = false;
    /* A start that is cut off at every operation, then one with the power gone. */
    for (uint64_t end = 1; !through; end++) {
        struct world *world = create_used_world(5);
        struct fault fault;
        char block[JOURNAL_BLOCK_BYTES];
        char zeroes[JOURNAL_BLOCK_BYTES] = {0};
        char name[JOURNAL_NAME_MAX];
        uint64_t oldest;
        uint64_t newest;
        bounds(world, &oldest, &newest);
        world->disk.random.state = end;
        for (uint64_t number = newest + 1; number <= newest + 3; number++) {
            journal_segment_name(number, name);
            journal_segment_header_write(block, number, 2 * JOURNAL_BLOCK_BYTES);
            sim_disk_put_file(&world->disk, name, block, sizeof(block));
            sim_disk_poke(&world->disk, name, sizeof(block), zeroes, sizeof(zeroes));
        }
        world->disk.end_in_operations = end;
        bool opened = world_open(world, &fault);
        through = opened && !world->disk.dead;
        if (opened) {
            world_close(world);
        }
        sim_disk_power_failed(&world->disk);
        if (!world_open(world, &fault)) {
            fail_msg("end at operation %llu: %s", (unsigned long long)end, fault.text);
        }
        assert_true(stream_round(world));
        world_destroy(world);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_segment_that_is_missing_behind_the_checkpoint_refuses_the_start),
        cmocka_unit_test(
            test_the_newest_segments_missing_refuse_the_start_where_a_checkpoint_knows_of_them),
        cmocka_unit_test(test_a_file_shorter_than_its_segment_refuses_the_start),
        cmocka_unit_test(test_a_broken_frame_before_an_intact_one_refuses_the_start),
        cmocka_unit_test(test_a_broken_segment_that_no_order_needs_is_left_out_and_removed),
        cmocka_unit_test(test_empty_segments_at_the_end_go_newest_first),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
