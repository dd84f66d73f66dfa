#include "mariadb_bed.h"

#include <time.h>
#include <unistd.h>

#define READY_WITHIN_MS 20000
#define ANSWER_WITHIN_MS 60000

/** A request, and whether it is done: `done` is told by the address of the request. */
struct call {
    union {
        struct port_request request;
        struct order_change_batch change;
        struct order_get_batch get;
        struct order_find_batch find;
        struct order_release_batch release;
        struct lease_request lease;
        struct lease_position position;
    };
    bool done;
};

void bed_sleep_ms(int time_ms) {
    struct timespec pause = {time_ms / 1000, (long)(time_ms % 1000) * 1000000};
    (void)nanosleep(&pause, NULL);
}

void bed_options(struct mysql_options *options, const struct mariadb_server_process *servers,
                 size_t count, const char *database) {
    struct config_section section = {"mysql", mysql_option_table, mysql_option_count, options};
    struct config config = {.sections = &section, .section_count = 1};
    struct fault fault;
    char setting[300];
    char shards[200];
    memset(options, 0, sizeof(*options));
    config_set_defaults(&config);
    struct text text = text_over(shards, sizeof(shards));
    for (size_t i = 0; i < count; i++) {
        text_append_format(&text, "%s127.0.0.1:%u", i > 0 ? "," : "", servers[i].port);
    }
    text_append_char(&text, 0);
    const char *const settings[][2] = {
        {"shards", shards},    {"user", "root"},         {"database", database},
        {"create_lanes", "3"}, {"deadline_ms", "20000"}, {"read_timeout_ms", "10000"},
    };
    for (size_t i = 0; i < ARRAY_COUNT(settings); i++) {
        (void)snprintf(setting, sizeof(setting), "mysql.%s=%s", settings[i][0], settings[i][1]);
        if (!config_set(&config, setting, &fault)) {
            fail_msg("%s", fault.text);
        }
    }
}

void bed_apply_schema(const struct mysql_options *options) {
    struct mariadb_settings settings;
    struct fault fault;
    struct log log;
    log_init(&log, STDERR_FILENO, LOG_ERROR);
    assert_true(mariadb_library_begin());
    if (!mariadb_settings_read(options, NULL, &settings, &fault) ||
        !mariadb_schema_apply(&settings, &log, NULL, &fault)) {
        fail_msg("%s", fault.text);
    }
}

void bed_open_with(struct bed *bed, const struct mysql_options *options,
                   struct order_archive *archive, const struct clock *clock, bool gives_ids) {
    struct fault fault;
    const char *reason = "";
    memset(bed, 0, sizeof(*bed));
    bed->options = *options;
    log_init(&bed->log, STDERR_FILENO, getenv("VERBOSE") != NULL ? LOG_DEBUG : LOG_ERROR + 1);
    service_clock_init(&bed->clock, 0);
    assert_true(mailbox_init(&bed->mailbox, BED_MAILBOX));
    bed->registry = metrics_create();
    struct mariadb_parts parts = {
        .options = &bed->options,
        .log = &bed->log,
        .clock = clock != NULL ? clock : &bed->clock.clock,
        .metrics = bed->registry,
        .archive = archive,
        .gives_ids = gives_ids,
    };
    bed->mariadb = mariadb_open(&parts, &fault);
    if (bed->mariadb == NULL || !mariadb_start(bed->mariadb, &fault)) {
        fail_msg("%s", fault.text);
    }
    bed->store = mariadb_order_store(bed->mariadb);
    bed->leases = mariadb_lease_port(bed->mariadb);
    int waited_ms = 0;
    while (!mariadb_is_ready(bed->mariadb, &reason) && waited_ms < READY_WITHIN_MS) {
        bed_sleep_ms(10);
        waited_ms += 10;
    }
    if (waited_ms >= READY_WITHIN_MS) {
        fail_msg("not ready: %s", reason);
    }
}

void bed_open(struct bed *bed, const struct mysql_options *options) {
    bed_open_with(bed, options, NULL, NULL, true);
}

void bed_close(struct bed *bed) {
    mariadb_close(bed->mariadb);
    metrics_destroy(bed->registry);
    mailbox_deinit(&bed->mailbox);
}

static void note_done(struct port_request *request) {
    ((struct call *)request)->done = true;
}

void bed_wait(struct bed *bed, const bool *done) {
    int64_t until_us = clock_monotonic_us() + (int64_t)ANSWER_WITHIN_MS * 1000;
    while (!*done) {
        (void)port_drain(&bed->mailbox, 64);
        if (!*done) {
            mailbox_wait(&bed->mailbox, 100);
        }
        if (clock_monotonic_us() > until_us) {
            fail_msg("no answer within %d ms", ANSWER_WITHIN_MS);
        }
    }
}

static void finish(struct bed *bed, struct call *call, enum port_submit taken) {
    assert_int_equal(taken, PORT_TAKEN);
    bed_wait(bed, &call->done);
}

#define REQUEST(bed_)                                                                              \
    { .done = note_done, .mailbox = &(bed_)->mailbox }

static void note_create(struct port_request *request) {
    ((struct bed_create_call *)request)->done = true;
}

void bed_create_begin(struct bed *bed, struct bed_create_call *call, struct order_record *orders,
                      uint8_t *results, size_t count) {
    uint64_t *hashes = calloc(count, sizeof(*hashes));
    for (size_t i = 0; i < count; i++) {
        hashes[i] = order_record_reference_hash(&orders[i]);
        results[i] = ORDER_RESULT_NONE;
    }
    *call = (struct bed_create_call){
        .batch = {.request = {.done = note_create, .mailbox = &bed->mailbox},
                  .count = count,
                  .orders = orders,
                  .reference_hashes = hashes,
                  .results = results},
        .hashes = hashes};
    assert_int_equal(bed->store->ops->create(bed->store, &call->batch), PORT_TAKEN);
}

void bed_create_end(struct bed *bed, struct bed_create_call *call) {
    bed_wait(bed, &call->done);
    free(call->hashes);
}

void bed_create(struct bed *bed, struct order_record *orders, uint8_t *results, size_t count) {
    struct bed_create_call call;
    bed_create_begin(bed, &call, orders, results, count);
    bed_create_end(bed, &call);
}

size_t bed_count(const uint8_t *results, size_t count, enum order_result wanted) {
    size_t found = 0;
    for (size_t i = 0; i < count; i++) {
        found += results[i] == wanted ? 1 : 0;
    }
    return found;
}

struct change_call {
    struct order_change_batch batch; /* first */
    bool *done;
};

static void note_change(struct port_request *request) {
    struct change_call *call = (struct change_call *)request;
    *call->done = true;
    free(call);
}

void bed_change_begin(struct bed *bed, const struct order_change *changes,
                      struct order_record *orders, uint8_t *results, size_t count, bool *done) {
    struct change_call *call = calloc(1, sizeof(*call));
    *done = false;
    call->done = done;
    call->batch =
        (struct order_change_batch){.request = {.done = note_change, .mailbox = &bed->mailbox},
                                    .count = count,
                                    .changes = changes,
                                    .orders = orders,
                                    .results = results};
    assert_int_equal(bed->store->ops->change(bed->store, &call->batch), PORT_TAKEN);
}

void bed_change(struct bed *bed, const struct order_change *changes, struct order_record *orders,
                uint8_t *results, size_t count) {
    struct call call = {.change = {.request = REQUEST(bed),
                                   .count = count,
                                   .changes = changes,
                                   .orders = orders,
                                   .results = results}};
    finish(bed, &call, bed->store->ops->change(bed->store, &call.change));
}

void bed_get(struct bed *bed, const uint64_t *ids, struct order_record *orders, uint8_t *results,
             size_t count) {
    struct call call = {.get = {.request = REQUEST(bed),
                                .count = count,
                                .order_ids = ids,
                                .orders = orders,
                                .results = results}};
    finish(bed, &call, bed->store->ops->get(bed->store, &call.get));
}

void bed_find(struct bed *bed, struct order_record *orders, uint8_t *results, size_t count) {
    struct call call = {
        .find = {.request = REQUEST(bed), .count = count, .orders = orders, .results = results}};
    finish(bed, &call, bed->store->ops->find(bed->store, &call.find));
}

void bed_release(struct bed *bed, const struct order_record *orders, uint8_t *results,
                 size_t count) {
    struct call call = {
        .release = {.request = REQUEST(bed), .count = count, .orders = orders, .results = results}};
    finish(bed, &call, bed->store->ops->release(bed->store, &call.release));
}

/** For requests that the caller reads afterwards. */
struct whole_scan {
    struct order_scan_batch batch;
    bool done;
};

static void note_scan(struct port_request *request) {
    ((struct whole_scan *)request)->done = true;
}

struct whole_expiry {
    struct order_expire_batch batch;
    bool done;
};

static void note_expiry(struct port_request *request) {
    ((struct whole_expiry *)request)->done = true;
}

void bed_scan(struct bed *bed, struct order_scan_batch *batch) {
    struct whole_scan scan = {.batch = *batch};
    scan.batch.request = (struct port_request){.done = note_scan, .mailbox = &bed->mailbox};
    assert_int_equal(bed->store->ops->scan(bed->store, &scan.batch), PORT_TAKEN);
    bed_wait(bed, &scan.done);
    *batch = scan.batch;
}

void bed_expire(struct bed *bed, struct order_expire_batch *batch) {
    struct whole_expiry expiry = {.batch = *batch};
    expiry.batch.request = (struct port_request){.done = note_expiry, .mailbox = &bed->mailbox};
    assert_int_equal(bed->store->ops->expire(bed->store, &expiry.batch), PORT_TAKEN);
    bed_wait(bed, &expiry.done);
    *batch = expiry.batch;
}

enum order_result bed_acquire(struct bed *bed, struct lease_request *request) {
    struct call call = {.lease = *request};
    call.request = (struct port_request)REQUEST(bed);
    finish(bed, &call, bed->leases->ops->acquire(bed->leases, &call.lease));
    *request = call.lease;
    return (enum order_result)call.lease.result;
}

enum order_result bed_store_position(struct bed *bed, const char *name, const char *position) {
    struct call call = {.position = {.request = REQUEST(bed)}};
    (void)snprintf(call.position.name, sizeof(call.position.name), "%s", name);
    (void)snprintf(call.position.position, sizeof(call.position.position), "%s", position);
    finish(bed, &call, bed->leases->ops->store(bed->leases, &call.position));
    return (enum order_result)call.position.result;
}

enum order_result bed_release_lease(struct bed *bed, const char *name) {
    struct call call = {.lease = {.request = REQUEST(bed)}};
    (void)snprintf(call.lease.name, sizeof(call.lease.name), "%s", name);
    finish(bed, &call, bed->leases->ops->release(bed->leases, &call.lease));
    return (enum order_result)call.lease.result;
}

uint64_t bed_metric(struct bed *bed, const char *name) {
    size_t size = 1 << 20;
    char *memory = malloc(size);
    char wanted[128];
    struct text text = text_over(memory, size - 1);
    assert_true(metrics_render(bed->registry, &text));
    text_append_char(&text, 0);
    (void)snprintf(wanted, sizeof(wanted), "\norderd_mysql_%s ", name);
    const char *at = strstr(memory, wanted);
    if (at == NULL) {
        fail_msg("no metric %s", name);
    }
    uint64_t value = strtoull(at + strlen(wanted), NULL, 10);
    free(memory);
    return value;
}

struct order_record bed_create_one(struct bed *bed, struct order_record draft) {
    uint8_t result;
    bed_create(bed, &draft, &result, 1);
    assert_int_equal(result, ORDER_RESULT_CREATED);
    return draft;
}

enum order_result bed_change_one(struct bed *bed, uint64_t order_id, enum order_status status,
                                 struct order_record *order) {
    struct order_change change = {.order_id = order_id, .status = status};
    uint8_t result;
    bed_change(bed, &change, order, &result, 1);
    return (enum order_result)result;
}
