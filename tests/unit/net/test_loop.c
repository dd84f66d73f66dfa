#include "net/loop.h"

#include "fixture_memory.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include <cmocka.h>

struct fixture {
    struct loop loop;
    struct mailbox mailbox;
    size_t drained;
    void *last;
    size_t drain_limit;
};

static void drain(void *context, struct mailbox *mailbox) {
    struct fixture *fixture = context;
    void *item;
    for (size_t i = 0; i < fixture->drain_limit && (item = mailbox_take(mailbox)) != NULL; i++) {
        fixture->drained++;
        fixture->last = item;
    }
}

static int set_up(void **state) {
    struct fixture *fixture = fixture_allocate(sizeof(*fixture));
    struct loop_setup setup = {&fixture->mailbox, drain, fixture, NULL};
    struct fault fault;
    fixture->drain_limit = SIZE_MAX;
    *state = fixture;
    return mailbox_init(&fixture->mailbox, 64) && loop_init(&fixture->loop, &setup, &fault) ? 0
                                                                                            : -1;
}

static int tear_down(void **state) {
    struct fixture *fixture = *state;
    loop_deinit(&fixture->loop);
    mailbox_deinit(&fixture->mailbox);
    free(fixture);
    return 0;
}

struct pipe_reader {
    struct loop_source source;
    struct loop *loop;
    int write_fd;
    unsigned calls;
    struct pipe_reader *removes; /* when it is called */
};

static void read_pipe(struct loop_source *source, uint32_t events) {
    struct pipe_reader *reader = CONTAINER_OF(source, struct pipe_reader, source);
    char byte;
    assert_true((events & EPOLLIN) != 0);
    assert_int_equal(read(source->fd, &byte, 1), 1);
    reader->calls++;
    if (reader->removes != NULL) {
        loop_remove(reader->loop, &reader->removes->source);
        reader->removes = NULL;
    }
}

static void open_reader(struct pipe_reader *reader, struct loop *loop) {
    int fds[2];
    memset(reader, 0, sizeof(*reader));
    assert_int_equal(pipe(fds), 0);
    reader->source.fd = fds[0];
    reader->source.ready = read_pipe;
    reader->write_fd = fds[1];
    reader->loop = loop;
    assert_true(loop_add(loop, &reader->source, EPOLLIN));
}

static void close_reader(struct pipe_reader *reader) {
    (void)close(reader->source.fd);
    (void)close(reader->write_fd);
}

static void poke(const struct pipe_reader *reader) {
    assert_int_equal(write(reader->write_fd, "x", 1), 1);
}

static void test_a_ready_source_is_called_once_an_iteration(void **state) {
    struct fixture *fixture = *state;
    struct pipe_reader reader;
    open_reader(&reader, &fixture->loop);
    assert_int_equal(loop_step(&fixture->loop, 0), 0);
    poke(&reader);
    poke(&reader);
    assert_int_equal(loop_step(&fixture->loop, -1), 1);
    assert_int_equal(reader.calls, 1);
    assert_int_equal(loop_step(&fixture->loop, -1), 1);
    assert_int_equal(reader.calls, 2);
    assert_int_equal(loop_step(&fixture->loop, 0), 0);
    loop_remove(&fixture->loop, &reader.source);
    close_reader(&reader);
}

static void test_a_source_removed_by_another_of_the_same_iteration_is_not_called(void **state) {
    struct fixture *fixture = *state;
    struct pipe_reader readers[2];
    open_reader(&readers[0], &fixture->loop);
    open_reader(&readers[1], &fixture->loop);
    readers[0].removes = &readers[1];
    readers[1].removes = &readers[0];
    poke(&readers[0]);
    poke(&readers[1]);
    (void)loop_step(&fixture->loop, -1);
    assert_int_equal(readers[0].calls + readers[1].calls, 1);
    struct pipe_reader *left = readers[0].calls == 1 ? &readers[0] : &readers[1];
    loop_remove(&fixture->loop, &left->source);
    close_reader(&readers[0]);
    close_reader(&readers[1]);
}

static void test_a_source_may_remove_itself(void **state) {
    struct fixture *fixture = *state;
    struct pipe_reader reader;
    open_reader(&reader, &fixture->loop);
    reader.removes = &reader;
    poke(&reader);
    poke(&reader);
    (void)loop_step(&fixture->loop, -1);
    assert_int_equal(loop_step(&fixture->loop, 0), 0);
    assert_int_equal(reader.calls, 1);
    close_reader(&reader);
}

struct counting_hook {
    struct loop_hook hook;
    struct pipe_reader *reader;
    unsigned runs;
    unsigned calls_seen;
    unsigned rounds_wanted;
    unsigned order;
    unsigned *clock;
};

static bool count_run(struct loop_hook *hook) {
    struct counting_hook *counting = CONTAINER_OF(hook, struct counting_hook, hook);
    counting->runs++;
    counting->calls_seen = counting->reader == NULL ? 0 : counting->reader->calls;
    counting->order = ++*counting->clock;
    return counting->runs < counting->rounds_wanted;
}

static void test_hooks_run_after_all_events_and_flush_after_the_last_batch_round(void **state) {
    struct fixture *fixture = *state;
    struct pipe_reader readers[2];
    unsigned clock = 0;
    struct counting_hook batch = {
        .hook = {.run = count_run}, .reader = &readers[1], .rounds_wanted = 3, .clock = &clock};
    struct counting_hook flush = {.hook = {.run = count_run}, .clock = &clock};
    open_reader(&readers[0], &fixture->loop);
    open_reader(&readers[1], &fixture->loop);
    loop_add_hook(&fixture->loop, LOOP_STAGE_FLUSH, &flush.hook);
    loop_add_hook(&fixture->loop, LOOP_STAGE_BATCH, &batch.hook);
    poke(&readers[0]);
    poke(&readers[1]);
    assert_int_equal(loop_step(&fixture->loop, -1), 2);
    assert_int_equal(batch.runs, 3);
    assert_int_equal(batch.calls_seen, 1);
    assert_int_equal(flush.runs, 1);
    assert_int_equal(flush.order, 4);
    loop_remove_hook(&batch.hook);
    loop_remove_hook(&flush.hook);
    for (int i = 0; i < 2; i++) {
        loop_remove(&fixture->loop, &readers[i].source);
        close_reader(&readers[i]);
    }
}

static void test_a_batch_that_always_makes_work_does_not_hold_the_loop(void **state) {
    struct fixture *fixture = *state;
    unsigned clock = 0;
    struct counting_hook batch = {
        .hook = {.run = count_run}, .rounds_wanted = UINT32_MAX, .clock = &clock};
    loop_add_hook(&fixture->loop, LOOP_STAGE_BATCH, &batch.hook);
    (void)loop_step(&fixture->loop, 0);
    unsigned runs = batch.runs;
    (void)loop_step(&fixture->loop, -1); /* it may not sleep either: this returns */
    assert_true(batch.runs > runs);
    loop_remove_hook(&batch.hook);
}

static void test_keep_awake_makes_the_next_iteration_return_at_once(void **state) {
    struct fixture *fixture = *state;
    loop_keep_awake(&fixture->loop);
    assert_int_equal(loop_step(&fixture->loop, -1), 0);
    loop_want_hooks(&fixture->loop); /* outside of an iteration: as keep_awake */
    assert_int_equal(loop_step(&fixture->loop, -1), 0);
}

static void test_items_left_in_the_mailbox_are_drained_next_time_without_sleeping(void **state) {
    struct fixture *fixture = *state;
    int items[3];
    fixture->drain_limit = 2;
    for (int i = 0; i < 3; i++) {
        assert_true(mailbox_send(&fixture->mailbox, &items[i]));
    }
    (void)loop_step(&fixture->loop, -1);
    assert_int_equal(fixture->drained, 2);
    (void)loop_step(&fixture->loop, -1);
    assert_int_equal(fixture->drained, 3);
    assert_ptr_equal(fixture->last, &items[2]);
}

static void *send_then_stop(void *argument) {
    struct fixture *fixture = argument;
    for (int i = 0; i < 1000; i++) {
        while (!mailbox_send(&fixture->mailbox, fixture)) {
        }
        if (i % 50 == 0) {
            (void)usleep(200); /* lets the loop fall asleep now and then */
        }
    }
    while (ring_count(&fixture->mailbox.ring) > 0) {
        (void)usleep(100);
    }
    loop_stop(&fixture->loop);
    return NULL;
}

static void test_another_thread_wakes_the_loop_with_items_and_stops_it(void **state) {
    struct fixture *fixture = *state;
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, send_then_stop, fixture), 0);
    loop_run(&fixture->loop);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(fixture->drained, 1000);
}

struct alarm {
    struct timer timer;
    struct loop *loop;
    unsigned rings;
};

static void ring(struct timer *timer) {
    CONTAINER_OF(timer, struct alarm, timer)->rings++;
}

static void test_a_timer_ends_the_sleep(void **state) {
    struct fixture *fixture = *state;
    struct alarm alarm = {.timer = {.expired = ring}};
    int64_t start_us = loop_now_us(&fixture->loop);
    loop_timer_start(&fixture->loop, &alarm.timer, 30000);
    while (alarm.rings == 0) {
        (void)loop_step(&fixture->loop, -1);
    }
    assert_true(clock_monotonic_us() - start_us >= 30000);
    assert_true(metric_get(&fixture->loop.metrics.sleeps_total) > 0);
}

static void test_metrics_are_rendered(void **state) {
    struct fixture *fixture = *state;
    struct metrics *metrics = metrics_create();
    static char page[8192];
    struct text text = text_over(page, sizeof(page) - 1);
    loop_register_metrics(&fixture->loop, metrics, NULL);
    (void)loop_step(&fixture->loop, 0);
    assert_true(metrics_render(metrics, &text));
    page[text.size] = 0;
    assert_non_null(strstr(page, "orderd_loop_iterations_total 1\n"));
    metrics_destroy(metrics);
}

#define LOOP_TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        LOOP_TEST(test_a_ready_source_is_called_once_an_iteration),
        LOOP_TEST(test_a_source_removed_by_another_of_the_same_iteration_is_not_called),
        LOOP_TEST(test_a_source_may_remove_itself),
        LOOP_TEST(test_hooks_run_after_all_events_and_flush_after_the_last_batch_round),
        LOOP_TEST(test_a_batch_that_always_makes_work_does_not_hold_the_loop),
        LOOP_TEST(test_keep_awake_makes_the_next_iteration_return_at_once),
        LOOP_TEST(test_items_left_in_the_mailbox_are_drained_next_time_without_sleeping),
        LOOP_TEST(test_another_thread_wakes_the_loop_with_items_and_stops_it),
        LOOP_TEST(test_a_timer_ends_the_sleep),
        LOOP_TEST(test_metrics_are_rendered),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
