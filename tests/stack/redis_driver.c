/* Drives the Redis adapter for tests/stack/test_redis_adapter.py: a command a line on stdin, its
 * answer as one line on stdout.
 *
 *     redis_driver NODES [section.key=value]...
 *
 *     put|remove FIRST COUNT VERSION      STORED=n UNAVAILABLE=m
 *     get FIRST COUNT                     FOUND=n ABSENT=m ...; one order: and its version
 *     lock|fill ID TOKEN VERSION          the result's name; fill with version 0 gives the lock
 * back storm ID COUNT SEED                 puts of versions 1 to COUNT in any order, many in flight
 *     events WAIT_MS                      FOUND lost=0 x:ID e:ID ...
 *     loss WAIT_MS                        count of slots
 *     metric NAME                         its value
 *     bench COUNT DEPTH                   puts and gets a second
 *     follow FIRST COUNT VERSIONS         the cache pipeline: redis_pipelines.h
 *     refill|refresh FIRST COUNT          the other two
 */
#include "../unit/sample.h"
#include "adapter/redis/redis.h"
#include "base/clock.h"
#include "base/metrics.h"
#include "base/random.h"
#include "redis_pipelines.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define BATCH 256
#define DEPTH_MAX 64
#define EVENTS_MAX 4096
#define WAIT_MS_MAX 30000

struct flight {
    union {
        struct order_get_batch get;
        struct order_cache_put put;
        struct port_request request;
    };
    struct driver *driver;
    bool busy;
    size_t count;
    uint64_t ids[BATCH];
    struct order_record orders[BATCH];
    uint8_t results[BATCH];
};

struct driver {
    struct redis *redis;
    struct order_cache *cache;
    struct mailbox mailbox;
    struct flight flights[DEPTH_MAX];
    size_t open;
    uint64_t tally[ORDER_RESULT_BROKEN + 1];
    uint64_t busy;
};

static const char *const result_names[ORDER_RESULT_BROKEN + 1] = {
    [ORDER_RESULT_FOUND] = "FOUND",     [ORDER_RESULT_ABSENT] = "ABSENT",
    [ORDER_RESULT_STORED] = "STORED",   [ORDER_RESULT_MISMATCH] = "MISMATCH",
    [ORDER_RESULT_BROKEN] = "BROKEN",   [ORDER_RESULT_NONE] = "NONE",
    [ORDER_RESULT_UNKNOWN] = "UNKNOWN", [ORDER_RESULT_UNAVAILABLE] = "UNAVAILABLE",
};

static struct order_record order_at(uint64_t order_id, uint64_t version) {
    struct order_record order = sample_order(order_id);
    order.version = (uint32_t)version;
    order_record_seal(&order);
    return order;
}

static void flown(struct port_request *request) {
    struct flight *flight = CONTAINER_OF(request, struct flight, request);
    for (size_t i = 0; i < flight->count; i++) {
        flight->driver->tally[flight->results[i]]++;
    }
    flight->busy = false;
    flight->driver->open--;
}

/** Waits until fewer than `limit` batches are in flight. */
static void land(struct driver *driver, size_t limit) {
    while (driver->open >= limit && driver->open > 0) {
        if (port_drain(&driver->mailbox, SIZE_MAX) == 0) {
            mailbox_wait(&driver->mailbox, WAIT_MS_MAX);
        }
    }
}

static struct flight *free_flight(struct driver *driver, size_t depth) {
    land(driver, depth);
    for (size_t i = 0; i < depth; i++) {
        if (!driver->flights[i].busy) {
            return &driver->flights[i];
        }
    }
    abort();
}

enum way { WAY_GET, WAY_PUT, WAY_REMOVE };

static void fly(struct driver *driver, struct flight *flight, enum way way, size_t count) {
    struct order_cache *cache = driver->cache;
    enum port_submit said;
    flight->driver = driver;
    flight->busy = true;
    flight->count = count;
    driver->open++;
    memset(flight->results, 0, sizeof(flight->results));
    do {
        if (way == WAY_GET) {
            flight->get =
                (struct order_get_batch){.request = {.done = flown, .mailbox = &driver->mailbox},
                                         .count = count,
                                         .order_ids = flight->ids,
                                         .orders = flight->orders,
                                         .results = flight->results};
            said = cache->ops->get(cache, &flight->get);
        } else {
            flight->put =
                (struct order_cache_put){.request = {.done = flown, .mailbox = &driver->mailbox},
                                         .count = count,
                                         .orders = flight->orders,
                                         .results = flight->results};
            said = way == WAY_PUT ? cache->ops->put(cache, &flight->put)
                                  : cache->ops->remove(cache, &flight->put);
        }
        if (said == PORT_BUSY) {
            driver->busy++;
            (void)usleep(1000);
        }
    } while (said == PORT_BUSY);
}

static void run_many(struct driver *driver, enum way way, uint64_t first, uint64_t count,
                     uint64_t version, size_t depth) {
    memset(driver->tally, 0, sizeof(driver->tally));
    for (uint64_t done = 0; done < count;) {
        struct flight *flight = free_flight(driver, depth);
        size_t some = (size_t)bytes_min_u64(BATCH, count - done);
        for (size_t i = 0; i < some; i++) {
            flight->ids[i] = first + done + i;
            if (way != WAY_GET) {
                flight->orders[i] = order_at(first + done + i, version);
            }
        }
        fly(driver, flight, way, some);
        done += some;
    }
    land(driver, 1);
}

static void print_tally(const struct driver *driver) {
    for (size_t i = 0; i < ARRAY_COUNT(driver->tally); i++) {
        if (driver->tally[i] > 0) {
            printf("%s=%" PRIu64 " ", result_names[i], driver->tally[i]);
        }
    }
}

static void storm(struct driver *driver, uint64_t order_id, uint64_t count, uint64_t seed) {
    static uint32_t versions[ORDER_VERSION_MAX];
    struct random_source source = {seed};
    for (uint64_t i = 0; i < count; i++) {
        uint64_t other = random_below(&source, i + 1);
        versions[i] = versions[other];
        versions[other] = (uint32_t)i + 1;
    }
    memset(driver->tally, 0, sizeof(driver->tally));
    for (uint64_t done = 0; done < count;) {
        struct flight *flight = free_flight(driver, DEPTH_MAX);
        size_t some = (size_t)bytes_min_u64(8, count - done);
        for (size_t i = 0; i < some; i++) {
            flight->orders[i] = order_at(order_id, versions[done + i]);
        }
        fly(driver, flight, WAY_PUT, some);
        done += some;
    }
    land(driver, 1);
}

struct waiting {
    union {
        struct order_cache_fill fill;
        struct cache_events_read events;
        struct cache_loss_read loss;
        struct port_request request;
    };
    bool done;
};

static void waited(struct port_request *request) {
    ((struct waiting *)request)->done = true;
}

static void wait_for(struct driver *driver, struct waiting *waiting) {
    while (!waiting->done) {
        if (port_drain(&driver->mailbox, SIZE_MAX) == 0) {
            mailbox_wait(&driver->mailbox, WAIT_MS_MAX);
        }
    }
}

static void lock_or_fill(struct driver *driver, bool fill, uint64_t order_id, uint64_t token,
                         uint64_t version) {
    struct waiting waiting = {
        .fill = {.request = {.done = waited, .mailbox = &driver->mailbox},
                 .order_id = order_id,
                 .token = token},
    };
    if (version != 0) {
        waiting.fill.order = order_at(order_id, version);
    }
    enum port_submit said = fill ? driver->cache->ops->fill(driver->cache, &waiting.fill)
                                 : driver->cache->ops->lock(driver->cache, &waiting.fill);
    if (said == PORT_BUSY) {
        printf("BUSY");
        return;
    }
    wait_for(driver, &waiting);
    printf("%s", result_names[waiting.fill.result]);
}

static void read_events(struct driver *driver, uint64_t wait_ms) {
    static struct cache_event events[EVENTS_MAX];
    struct cache_events *port = redis_cache_events(driver->redis);
    struct waiting waiting = {
        .events = {.request = {.done = waited, .mailbox = &driver->mailbox},
                   .wait_ms = (uint32_t)wait_ms,
                   .limit = EVENTS_MAX,
                   .events = events},
    };
    if (port->ops->read(port, &waiting.events) == PORT_BUSY) {
        printf("BUSY");
        return;
    }
    wait_for(driver, &waiting);
    printf("%s lost=%" PRIu64, result_names[waiting.events.result], waiting.events.lost);
    for (size_t i = 0; i < waiting.events.count; i++) {
        printf(" %c:%" PRIu64, events[i].kind == CACHE_EVENT_EXPIRED ? 'x' : 'e',
               events[i].order_id);
    }
}

static void read_loss(struct driver *driver, uint64_t wait_ms) {
    struct cache_loss *port = redis_cache_loss(driver->redis);
    struct waiting waiting = {
        .loss = {.request = {.done = waited, .mailbox = &driver->mailbox},
                 .wait_ms = (uint32_t)wait_ms},
    };
    if (port->ops->read(port, &waiting.loss) == PORT_BUSY) {
        printf("BUSY");
        return;
    }
    wait_for(driver, &waiting);
    printf("%zu", waiting.loss.count);
}

static void print_metric(const struct driver *driver, const char *name) {
    for (size_t i = 0; i < redis_metric_count; i++) {
        const struct metric_description *entry = &redis_metric_table[i];
        if (strcmp(entry->name, name) == 0 && entry->kind != METRIC_histogram) {
            const char *base = (const char *)redis_metrics(driver->redis);
            printf("%" PRIu64,
                   metric_get((const _Atomic uint64_t *)(const void *)(base + entry->offset)));
        }
    }
}

static void bench(struct driver *driver, uint64_t count, uint64_t depth) {
    uint64_t first = UINT64_C(1) << 40;
    depth = bytes_min_u64(bytes_max_u64(depth, 1), DEPTH_MAX);
    int64_t begin_us = clock_monotonic_us();
    run_many(driver, WAY_PUT, first, count, 1, depth);
    int64_t put_us = clock_monotonic_us();
    printf("puts=%.0f ",
           (double)driver->tally[ORDER_RESULT_STORED] * 1e6 / (double)(put_us - begin_us));
    run_many(driver, WAY_GET, first, count, 0, depth);
    int64_t get_us = clock_monotonic_us();
    printf("gets=%.0f ",
           (double)driver->tally[ORDER_RESULT_FOUND] * 1e6 / (double)(get_us - put_us));
    print_tally(driver);
}

static void obey(struct driver *driver, const char *line) {
    char word[32] = "";
    char name[64] = "";
    uint64_t one = 0;
    uint64_t two = 0;
    uint64_t three = 0;
    (void)sscanf(line, "%31s %" SCNu64 " %" SCNu64 " %" SCNu64, word, &one, &two, &three);
    if (strcmp(word, "put") == 0) {
        run_many(driver, WAY_PUT, one, two, three, 8);
        print_tally(driver);
    } else if (strcmp(word, "remove") == 0) {
        run_many(driver, WAY_REMOVE, one, two, three, 8);
        print_tally(driver);
    } else if (strcmp(word, "get") == 0) {
        run_many(driver, WAY_GET, one, two, 0, 8);
        print_tally(driver);
        if (two == 1 && driver->tally[ORDER_RESULT_FOUND] == 1) {
            printf("version=%u", driver->flights[0].orders[0].version);
        }
    } else if (strcmp(word, "storm") == 0) {
        storm(driver, one, bytes_min_u64(two, ORDER_VERSION_MAX), three);
        print_tally(driver);
    } else if (strcmp(word, "lock") == 0 || strcmp(word, "fill") == 0) {
        lock_or_fill(driver, word[0] == 'f', one, two, three);
    } else if (strcmp(word, "events") == 0) {
        read_events(driver, one);
    } else if (strcmp(word, "loss") == 0) {
        read_loss(driver, one);
    } else if (strcmp(word, "follow") == 0) {
        pipelines_follow(driver->redis, one, two, three);
    } else if (strcmp(word, "refill") == 0) {
        pipelines_refill(driver->redis, one, two);
    } else if (strcmp(word, "refresh") == 0) {
        pipelines_refresh(driver->redis, one, two);
    } else if (strcmp(word, "bench") == 0) {
        bench(driver, one, two);
    } else if (sscanf(line, "metric %63s", name) == 1) {
        print_metric(driver, name);
    } else {
        printf("no such command");
    }
    printf("\n");
    (void)fflush(stdout);
}

static bool read_settings(int count, char **arguments, struct redis_settings *settings) {
    struct redis_options options;
    struct config_section section = {"redis", redis_option_table, redis_option_count, &options};
    struct config config = {.sections = &section, .section_count = 1};
    struct fault fault;
    config_set_defaults(&config);
    for (int i = 1; i < count; i++) {
        if (!config_set(&config, arguments[i], &fault)) {
            (void)fprintf(stderr, "%s\n", fault.text);
            return false;
        }
    }
    if (!redis_settings_read(&options, getenv(REDIS_PASSWORD_VARIABLE), settings, &fault)) {
        (void)fprintf(stderr, "%s\n", fault.text);
        return false;
    }
    return true;
}

int main(int count, char **arguments) {
    static struct driver driver;
    static struct redis_settings settings;
    struct log log;
    struct fault fault;
    char line[256];
    log_init(&log, STDERR_FILENO, LOG_INFO);
    if (!read_settings(count, arguments, &settings) ||
        !mailbox_init(&driver.mailbox, DEPTH_MAX + 8)) {
        return 2;
    }
    struct redis_parts parts = {.log = &log, .settings = &settings};
    driver.redis = redis_create(&parts, &fault);
    if (driver.redis == NULL || !redis_start(driver.redis, &fault)) {
        (void)fprintf(stderr, "%s\n", fault.text);
        return 2;
    }
    driver.cache = redis_order_cache(driver.redis);
    while (fgets(line, sizeof(line), stdin) != NULL) {
        obey(&driver, line);
    }
    redis_stop(driver.redis);
    redis_destroy(driver.redis);
    mailbox_deinit(&driver.mailbox);
    return 0;
}
