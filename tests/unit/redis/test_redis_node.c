/* The adapter against a node that is not what it should be: a scripted server on this machine. */
#include "adapter/redis/redis.h"

#include "../sample.h"
#include "../unit.h"
#include "adapter/redis/redis_value.h"
#include "base/clock.h"

#include <arpa/inet.h>
#include <hiredis/hiredis.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define CLIENTS_MAX 8
#define TIMEOUT_MS 300
#define ORDERS 20

/** A node of one thread: answers each command with what `script` says for its first word. */
struct node {
    int listener;
    uint16_t port;
    pthread_t thread;
    _Atomic uint32_t stopping;
    _Atomic uint64_t commands; /* EVAL, EVALSHA, GET and SET */
    const char *get;           /* the answer to GET; NULL: none, and to nothing after it */
    const char *write;         /* to EVAL, EVALSHA, SET */
    const char *slots;         /* to CLUSTER SLOTS; NULL: all slots are here */
    const char *hello;         /* is sent at once */
    const char *later;         /* the answer to GET on connections after the first */
    bool silent;               /* the thread's */
    size_t accepted;           /* the thread's */
};

static void answer(struct node *node, int fd, const redisReply *words) {
    char map[128];
    const char *name = words->element[0]->str;
    const char *text = "+OK\r\n";
    if (strcmp(name, "CLUSTER") == 0) {
        (void)snprintf(map, sizeof(map),
                       "*1\r\n*3\r\n:0\r\n:16383\r\n*2\r\n$9\r\n127.0.0.1\r\n:%u\r\n", node->port);
        text = node->slots == NULL ? map : node->slots;
    } else if (strcmp(name, "GET") == 0) {
        (void)atomic_fetch_add(&node->commands, 1);
        text = node->get;
    } else if (strcmp(name, "SET") == 0 || strncmp(name, "EVAL", 4) == 0) {
        (void)atomic_fetch_add(&node->commands, 1);
        text = node->write;
    }
    node->silent = node->silent || text == NULL;
    if (!node->silent) {
        ssize_t sent = send(fd, text, strlen(text), MSG_NOSIGNAL);
        (void)sent; /* the adapter may have closed it */
    }
}

/** False where the connection has ended. */
static bool serve(struct node *node, int fd, redisReader *reader) {
    char bytes[16384];
    redisReply *words = NULL;
    ssize_t got = recv(fd, bytes, sizeof(bytes), 0);
    if (got <= 0) {
        return false;
    }
    assert_int_equal(redisReaderFeed(reader, bytes, (size_t)got), REDIS_OK);
    while (redisReaderGetReply(reader, (void **)&words) == REDIS_OK && words != NULL) {
        answer(node, fd, words);
        freeReplyObject(words);
    }
    return true;
}

static void *run_node(void *context) {
    struct node *node = context;
    struct pollfd polls[1 + CLIENTS_MAX];
    redisReader *readers[1 + CLIENTS_MAX] = {0};
    for (size_t i = 0; i <= CLIENTS_MAX; i++) {
        polls[i] = (struct pollfd){.fd = i == 0 ? node->listener : -1, .events = POLLIN};
    }
    while (atomic_load(&node->stopping) == 0) {
        (void)poll(polls, 1 + CLIENTS_MAX, 10);
        for (size_t i = 1; i <= CLIENTS_MAX; i++) {
            if (polls[i].fd >= 0 && polls[i].revents != 0 &&
                !serve(node, polls[i].fd, readers[i])) {
                (void)close(polls[i].fd);
                redisReaderFree(readers[i]);
                polls[i].fd = -1;
            }
        }
        for (size_t i = 1; i <= CLIENTS_MAX && polls[0].revents != 0; i++) {
            if (polls[i].fd < 0) {
                polls[i].fd = accept(node->listener, NULL, NULL);
                polls[i].revents = 0;
                readers[i] = redisReaderCreate();
                if (node->accepted++ > 0 && node->later != NULL) {
                    node->silent = false;
                    node->get = node->later;
                }
                if (node->hello != NULL) {
                    ssize_t sent = send(polls[i].fd, node->hello, strlen(node->hello), 0);
                    (void)sent;
                }
                break;
            }
        }
    }
    for (size_t i = 1; i <= CLIENTS_MAX; i++) {
        if (polls[i].fd >= 0) {
            (void)close(polls[i].fd);
            redisReaderFree(readers[i]);
        }
    }
    return NULL;
}

static void node_open(struct node *node) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t size = sizeof(address);
    node->listener = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(node->listener, (struct sockaddr *)&address, size), 0);
    assert_int_equal(listen(node->listener, 16), 0);
    assert_int_equal(getsockname(node->listener, (struct sockaddr *)&address, &size), 0);
    node->port = ntohs(address.sin_port);
}

static void node_start(struct node *node) {
    assert_int_equal(pthread_create(&node->thread, NULL, run_node, node), 0);
}

static void node_stop(struct node *node) {
    atomic_store(&node->stopping, 1);
    (void)pthread_join(node->thread, NULL);
    (void)close(node->listener);
}

/* --- One batch through the adapter --- */

struct harness {
    struct log log;
    struct mailbox mailbox;
    struct redis *redis;
    bool done;
    struct order_get_batch get;
    struct order_cache_put put;
    uint64_t ids[ORDERS];
    struct order_record orders[ORDERS];
    uint8_t results[ORDERS];
};

static struct harness *the_harness(struct port_request *request, size_t offset) {
    return (struct harness *)((char *)request - offset);
}

static void get_done(struct port_request *request) {
    the_harness(request, offsetof(struct harness, get.request))->done = true;
}

static void put_done(struct port_request *request) {
    the_harness(request, offsetof(struct harness, put.request))->done = true;
}

static void harness_open(struct harness *harness, const struct node *node) {
    struct redis_settings settings = {
        .ttl_ms = 1000,
        .lock_ms = 8000,
        .timeout_us = TIMEOUT_MS * 1000,
        .connect_timeout_us = 100000,
        .reconnect_max_us = 20000,
        .map_refresh_us = 100000,
        .watch_us = 50000,
        .redirects_max = 5,
        .queue_requests = 16,
        .commands = 64,
        .events = 64,
        .seed_count = 1,
    };
    struct redis_parts parts = {.log = &harness->log, .settings = &settings};
    struct fault fault;
    *harness = (struct harness){0};
    assert_true(redis_address_set(&settings.seeds[0], SLICE_LITERAL("127.0.0.1"), node->port));
    log_init(&harness->log, STDERR_FILENO, LOG_ERROR + 1);
    assert_true(mailbox_init(&harness->mailbox, 16));
    harness->redis = redis_create(&parts, &fault);
    assert_non_null(harness->redis);
    assert_true(redis_start(harness->redis, &fault));
    for (uint64_t i = 0; i < ORDERS; i++) {
        harness->ids[i] = 1000 + i;
        harness->orders[i] = sample_order(1000 + i);
    }
}

static void harness_close(struct harness *harness) {
    redis_destroy(harness->redis);
    mailbox_deinit(&harness->mailbox);
}

static void wait_done(struct harness *harness) {
    int64_t begin_us = clock_monotonic_us();
    while (!harness->done) {
        if (port_drain(&harness->mailbox, SIZE_MAX) == 0) {
            mailbox_wait(&harness->mailbox, 100);
        }
        /* Generous: a sanitizer on a busy machine. Without a limit it would be for ever. */
        assert_true(clock_monotonic_us() - begin_us < INT64_C(20000000));
    }
}

static void get_all(struct harness *harness) {
    struct order_cache *cache = redis_order_cache(harness->redis);
    memset(harness->results, 0, sizeof(harness->results));
    harness->done = false;
    harness->get = (struct order_get_batch){
        .request = {.done = get_done, .mailbox = &harness->mailbox},
        .count = ORDERS,
        .order_ids = harness->ids,
        .orders = harness->orders,
        .results = harness->results,
    };
    assert_int_equal(cache->ops->get(cache, &harness->get), PORT_TAKEN);
    wait_done(harness);
}

static void put_all(struct harness *harness) {
    struct order_cache *cache = redis_order_cache(harness->redis);
    memset(harness->results, 0, sizeof(harness->results));
    harness->done = false;
    harness->put = (struct order_cache_put){
        .request = {.done = put_done, .mailbox = &harness->mailbox},
        .count = ORDERS,
        .orders = harness->orders,
        .results = harness->results,
    };
    assert_int_equal(cache->ops->put(cache, &harness->put), PORT_TAKEN);
    wait_done(harness);
}

static void assert_results(const struct harness *harness, enum order_result wanted) {
    for (size_t i = 0; i < ORDERS; i++) {
        assert_int_equal(harness->results[i], wanted);
    }
}

/* --- Tests --- */

static void expect_get(struct node node, enum order_result wanted) {
    struct harness harness;
    node_open(&node);
    node_start(&node);
    harness_open(&harness, &node);
    get_all(&harness);
    assert_results(&harness, wanted);
    harness_close(&harness);
    node_stop(&node);
}

static void test_a_nil_is_absent(void **state) {
    (void)state;
    expect_get((struct node){.get = "$-1\r\n"}, ORDER_RESULT_ABSENT);
}

static void test_values_that_are_no_order_are_broken(void **state) {
    (void)state;
    expect_get((struct node){.get = "$4\r\njunk\r\n"}, ORDER_RESULT_BROKEN);
    expect_get((struct node){.get = "$0\r\n\r\n"}, ORDER_RESULT_BROKEN);
    expect_get((struct node){.get = ":7\r\n"}, ORDER_RESULT_BROKEN);
    expect_get((struct node){.get = "*1\r\n$-1\r\n"}, ORDER_RESULT_BROKEN);
    expect_get((struct node){.get = "-WRONGTYPE x\r\n"}, ORDER_RESULT_BROKEN);
}

static void test_errors_are_unavailable(void **state) {
    (void)state;
    static const char *const errors[] = {
        "-ERR no\r\n", "-LOADING Redis is loading\r\n", "-CLUSTERDOWN x\r\n", "-NOAUTH x\r\n",
        "-OOM x\r\n",  "-MOVED 1 nowhere\r\n",          "-MOVED 99999 x\r\n",
    };
    for (size_t i = 0; i < ARRAY_COUNT(errors); i++) {
        expect_get((struct node){.get = errors[i]}, ORDER_RESULT_UNAVAILABLE);
    }
}

static void test_a_node_that_says_nothing_is_unavailable_in_time(void **state) {
    (void)state;
    int64_t begin_us = clock_monotonic_us();
    expect_get((struct node){.get = NULL}, ORDER_RESULT_UNAVAILABLE);
    assert_true(clock_monotonic_us() - begin_us >= TIMEOUT_MS * 1000 / 2);
}

static void test_a_connection_that_died_without_a_word_is_made_anew(void **state) {
    (void)state;
    struct node node = {.get = NULL, .later = "$-1\r\n"};
    struct harness harness;
    node_open(&node);
    node_start(&node);
    harness_open(&harness, &node);
    get_all(&harness);
    assert_results(&harness, ORDER_RESULT_UNAVAILABLE);
    for (int tries = 0; tries < 200 && harness.results[0] != ORDER_RESULT_ABSENT; tries++) {
        (void)usleep(10000);
        get_all(&harness);
    }
    assert_results(&harness, ORDER_RESULT_ABSENT);
    harness_close(&harness);
    node_stop(&node);
}

static void test_what_breaks_the_protocol_is_unavailable(void **state) {
    (void)state;
    static const char *const hostile[] = {
        "HTTP/1.1 200 OK\r\n",
        "*2147483647\r\n",
        "$-1\r\n$-1\r\n$-1\r\n",
        "*-9\r\n",
    };
    for (size_t i = 0; i < ARRAY_COUNT(hostile); i++) {
        struct node node = {.get = "$-1\r\n", .hello = hostile[i]};
        struct harness harness;
        node_open(&node);
        node_start(&node);
        harness_open(&harness, &node);
        get_all(&harness);
        assert_results(&harness, ORDER_RESULT_UNAVAILABLE);
        harness_close(&harness);
        node_stop(&node);
    }
}

static void test_hostile_maps_are_not_taken(void **state) {
    (void)state;
    static const char *const hostile[] = {
        "*0\r\n",
        "+OK\r\n",
        "-ERR This instance has cluster support disabled\r\n",
        "*1\r\n*3\r\n:0\r\n:99999\r\n*2\r\n$9\r\n127.0.0.1\r\n:1\r\n",
    };
    for (size_t i = 0; i < ARRAY_COUNT(hostile); i++) {
        expect_get((struct node){.get = "$-1\r\n", .slots = hostile[i]}, ORDER_RESULT_UNAVAILABLE);
    }
}

/** Whatever is asked gets the same answer, which asks for another try. */
static void expect_bounded(const char *text, bool put) {
    struct node node = {.write = text, .get = text};
    struct harness harness;
    node_open(&node);
    node_start(&node);
    harness_open(&harness, &node);
    if (put) {
        put_all(&harness);
    } else {
        get_all(&harness);
    }
    assert_results(&harness, ORDER_RESULT_UNAVAILABLE);
    assert_in_range(atomic_load(&node.commands), ORDERS, ORDERS * 6);
    harness_close(&harness);
    node_stop(&node);
}

static void test_redirections_without_end_are_bounded(void **state) {
    (void)state;
    expect_bounded("-TRYAGAIN x\r\n", true);
    expect_bounded("-TRYAGAIN x\r\n", false);
    expect_bounded("-NOSCRIPT x\r\n", true);
}

static void test_a_moved_in_a_circle_is_bounded(void **state) {
    (void)state;
    char text[64];
    struct node node = {.get = text};
    struct harness harness;
    node_open(&node);
    /* The slot of order 1000, the only one that is asked for. */
    (void)snprintf(text, sizeof(text), "-MOVED 11326 127.0.0.1:%u\r\n", node.port);
    node_start(&node);
    harness_open(&harness, &node);
    for (size_t i = 0; i < ORDERS; i++) {
        harness.ids[i] = 1000;
    }
    get_all(&harness);
    assert_results(&harness, ORDER_RESULT_UNAVAILABLE);
    assert_int_equal(atomic_load(&node.commands), ORDERS * 6);
    assert_int_equal(metric_get(&redis_metrics(harness.redis)->moved_total), ORDERS * 6);
    harness_close(&harness);
    node_stop(&node);
}

static void test_strange_answers_to_a_put_are_no_success(void **state) {
    (void)state;
    static const char *const strange[] = {"+OK\r\n", "$-1\r\n", "$4\r\njunk\r\n", "*0\r\n"};
    for (size_t i = 0; i < ARRAY_COUNT(strange); i++) {
        struct node node = {.write = strange[i]};
        struct harness harness;
        node_open(&node);
        node_start(&node);
        harness_open(&harness, &node);
        put_all(&harness);
        assert_results(&harness, ORDER_RESULT_UNAVAILABLE);
        harness_close(&harness);
        node_stop(&node);
    }
}

static void test_a_full_queue_is_busy(void **state) {
    (void)state;
    struct node node = {.get = NULL};
    struct harness harness;
    static struct order_get_batch batches[64];
    static uint8_t results[64][ORDERS];
    size_t taken = 0;
    node_open(&node); /* listens, and never accepts: nothing is answered */
    harness_open(&harness, &node);
    struct order_cache *cache = redis_order_cache(harness.redis);
    mailbox_deinit(&harness.mailbox);
    assert_true(mailbox_init(&harness.mailbox, 1024));
    enum port_submit said = PORT_TAKEN;
    redis_stop(harness.redis); /* nobody takes anything out of the queue */
    for (size_t i = 0; i < ARRAY_COUNT(batches) && said == PORT_TAKEN; i++) {
        batches[i] = (struct order_get_batch){
            .request = {.done = get_done, .mailbox = &harness.mailbox},
            .count = ORDERS,
            .order_ids = harness.ids,
            .orders = harness.orders,
            .results = results[i],
        };
        said = cache->ops->get(cache, &batches[i]);
        taken += said == PORT_TAKEN;
    }
    assert_int_equal(said, PORT_BUSY);
    assert_int_equal(taken, 16);
    harness_close(&harness);
    (void)close(node.listener);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_nil_is_absent),
        cmocka_unit_test(test_values_that_are_no_order_are_broken),
        cmocka_unit_test(test_errors_are_unavailable),
        cmocka_unit_test(test_a_node_that_says_nothing_is_unavailable_in_time),
        cmocka_unit_test(test_a_connection_that_died_without_a_word_is_made_anew),
        cmocka_unit_test(test_what_breaks_the_protocol_is_unavailable),
        cmocka_unit_test(test_hostile_maps_are_not_taken),
        cmocka_unit_test(test_redirections_without_end_are_bounded),
        cmocka_unit_test(test_a_moved_in_a_circle_is_bounded),
        cmocka_unit_test(test_strange_answers_to_a_put_are_no_success),
        cmocka_unit_test(test_a_full_queue_is_busy),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
