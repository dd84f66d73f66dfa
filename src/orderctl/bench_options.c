#include "orderctl/bench_options.h"

#include <stdlib.h>

enum {
    OPTION_CONNECTIONS,
    OPTION_BATCH,
    OPTION_DEPTH,
    OPTION_DURATION,
    OPTION_WARMUP,
    OPTION_THREADS,
    OPTION_RATE,
    OPTION_IDS,
    OPTION_CPU,
    OPTION_ALLOW_ABSENT,
    OPTION_RESP,
    OPTION_RESP_COMMAND,
    OPTION_KEY_PREFIX,
    OPTION_ANY_VALUE,
    OPTION_PATH,
    OPTION_PARTNER_CODE,
    OPTION_ORDERS,
    OPTION_FINAL,
    OPTION_SCATTER
};

#define DURATION_MS_MAX 86400000
#define RATE_MAX UINT64_C(1000000000)
#define ORDERS_MAX UINT64_C(10000000000)

const struct command_option bench_option_table[BENCH_OPTION_COUNT] = {
    [OPTION_CONNECTIONS] = {"connections", "N", OPTION_NUMBER, false, 1, BENCH_CONNECTIONS_MAX, 0,
                            "Connections (4; http-*: 64; resp: 16)"},
    [OPTION_BATCH] = {"batch", "N", OPTION_NUMBER, false, 1, BENCH_BATCH_MAX, 0,
                      "Items a request (8192; mget: 16)"},
    [OPTION_DEPTH] = {"depth", "N", OPTION_NUMBER, false, 1, BENCH_DEPTH_MAX, 0,
                      "Requests on their way on one connection (2; http-*: 1; resp: 16)"},
    [OPTION_DURATION] = {"seconds", "S", OPTION_SECONDS, false, 1, DURATION_MS_MAX, 5000,
                         "How long to measure (5)"},
    [OPTION_WARMUP] = {"warmup", "S", OPTION_SECONDS, false, 0, DURATION_MS_MAX, 0,
                       "Run this long before measuring (0)"},
    [OPTION_THREADS] = {"threads", "N", OPTION_NUMBER, false, 1, BENCH_THREADS_MAX, 1,
                        "Threads, each with its share of the connections (1)"},
    [OPTION_RATE] = {"rate", "N", OPTION_NUMBER, false, 1, RATE_MAX, 0,
                     "Open loop: N items a second, latency counted from when they were due"},
    [OPTION_IDS] = {"ids", "FILE", OPTION_TEXT, false, 0, 0, 0,
                    "Order ids, 8 bytes each, to read (default: of new orders); `load` writes it"},
    [OPTION_CPU] = {"cpu", "N", OPTION_NUMBER, false, 0, 1023, 0, "Run on this core only"},
    [OPTION_ALLOW_ABSENT] = {"allow-absent", NULL, OPTION_FLAG, false, 0, 0, 0,
                             "An id that the service does not know is no error"},
    [OPTION_RESP] = {"resp", "HOST:PORT", OPTION_TEXT, false, 0, 0, 0,
                     "resp: where a RESP server answers (127.0.0.1:6390)"},
    [OPTION_RESP_COMMAND] = {"command", "get|mget", OPTION_TEXT, false, 0, 0, 0,
                             "resp: what to ask with (get)"},
    [OPTION_KEY_PREFIX] = {"key-prefix", "P", OPTION_TEXT, false, 0, 0, 0,
                           "resp: what stands before the id in a key"},
    [OPTION_ANY_VALUE] = {"any-value", NULL, OPTION_FLAG, false, 0, 0, 0,
                          "resp, http-get: any value will do, if there is one"},
    [OPTION_PATH] = {"path", "PATH", OPTION_TEXT, false, 0, 0, 0,
                     "http-get: always this target, of any HTTP server"},
    [OPTION_PARTNER_CODE] = {"partner-code", "X", OPTION_TEXT, false, 0, 0, 0,
                             "create, http-create, load: whose orders (bench)"},
    [OPTION_ORDERS] = {"orders", "N", OPTION_NUMBER, false, 1, ORDERS_MAX, 0,
                       "load: how many orders"},
    [OPTION_FINAL] = {"final", "PERCENT", OPTION_NUMBER, false, 0, 100, 0,
                      "load: how many of them become final (0)"},
    [OPTION_SCATTER] = {"scatter", NULL, OPTION_FLAG, false, 0, 0, 0,
                        "create: references in no order, as those of many partners"},
};
_Static_assert(OPTION_SCATTER + 1 == BENCH_OPTION_COUNT, "every option has its row");

/** What holds for a kind where the command line says nothing. */
struct kind_defaults {
    const char *name;
    uint32_t connections;
    uint32_t batch;
    uint32_t depth;
    bool reads; /* orders that are there */
};

static const struct kind_defaults kinds[BENCH_KIND_COUNT] = {
    [BENCH_STATUSES] = {"statuses", 4, 8192, 2, true},
    [BENCH_GET] = {"get", 4, 8192, 2, true},
    [BENCH_CREATE] = {"create", 4, 8192, 2, false},
    [BENCH_HTTP_GET] = {"http-get", 64, 1, 1, true},
    [BENCH_HTTP_CREATE] = {"http-create", 64, 1, 1, false},
    [BENCH_RESP] = {"resp", 16, 1, 16, true},
    [BENCH_LOAD] = {"load", 4, 8192, 2, false},
};

#define MGET_BATCH_DEFAULT 16

const char *bench_kind_name(enum bench_kind kind) {
    return kinds[kind].name;
}

static bool find_kind(const char *name, enum bench_kind *kind, struct fault *fault) {
    for (unsigned i = 0; i < BENCH_KIND_COUNT; i++) {
        if (strcmp(kinds[i].name, name) == 0) {
            *kind = (enum bench_kind)i;
            return true;
        }
    }
    fault_set(fault,
              "bench: expected statuses, get, create, http-get, http-create, resp or load, not "
              "\"%.40s\"",
              name);
    return false;
}

/** Takes `host:port` or `[host]:port` apart. */
static bool split_address(struct bench_options *options, struct slice address,
                          const char *default_port, struct fault *fault) {
    const char *port = memrchr(address.data, ':', address.size);
    struct slice host = address;
    if (address.size > 0 && address.data[0] == '[') {
        const char *bracket = memchr(address.data, ']', address.size);
        port = bracket != NULL && bracket[1] == ':' ? bracket + 1 : NULL;
        size_t size = bracket == NULL ? 0 : (size_t)(bracket - address.data - 1);
        host = (struct slice){address.data + 1, size};
    } else if (port != NULL) {
        host.size = (size_t)(port - address.data);
    }
    const char *end = address.data + address.size;
    int port_size = port == NULL ? 0 : (int)(end - port - 1);
    if (host.size == 0 || host.size >= sizeof(options->host) ||
        (port != NULL && (port_size < 1 || port_size > 5))) {
        fault_set(fault, "%.*s: expected HOST:PORT", (int)bytes_min_size(address.size, 80),
                  address.data);
        return false;
    }
    (void)snprintf(options->host, sizeof(options->host), "%.*s", (int)host.size, host.data);
    (void)snprintf(options->port, sizeof(options->port), "%.*s",
                   port == NULL ? (int)strlen(default_port) : port_size,
                   port == NULL ? default_port : port + 1);
    bool is_v6 = strchr(options->host, ':') != NULL;
    (void)snprintf(options->authority, sizeof(options->authority), "%s%s%s:%s", is_v6 ? "[" : "",
                   options->host, is_v6 ? "]" : "", options->port);
    return true;
}

/** Takes the service's URL apart. */
static bool split_url(struct bench_options *options, const char *url, struct fault *fault) {
    static const char scheme[] = "http://";
    if (strncmp(url, scheme, sizeof(scheme) - 1) == 0) {
        url += sizeof(scheme) - 1;
    } else if (strstr(url, "://") != NULL) {
        fault_set(fault, "bench: speaks plain http only, not %.80s", url);
        return false;
    }
    size_t size = strcspn(url, "/");
    const char *path = url + size;
    size_t path_size = strlen(path);
    while (path_size > 0 && path[path_size - 1] == '/') {
        path_size--;
    }
    if (path_size >= sizeof(options->path_prefix)) {
        fault_set(fault, "bench: the service's URL is too long");
        return false;
    }
    memcpy(options->path_prefix, path, path_size);
    options->path_prefix[path_size] = 0;
    return split_address(options, (struct slice){url, size}, "80", fault);
}

static bool read_texts(struct bench_options *options, const struct command_line *line,
                       struct fault *fault) {
    const char *partner_code = command_text(line, OPTION_PARTNER_CODE);
    const char *command = command_text(line, OPTION_RESP_COMMAND);
    options->ids_path = command_text(line, OPTION_IDS);
    options->path = command_text(line, OPTION_PATH);
    options->key_prefix =
        command_has(line, OPTION_KEY_PREFIX) ? command_text(line, OPTION_KEY_PREFIX) : "";
    partner_code = partner_code == NULL ? "bench" : partner_code;
    if (!order_partner_code_is_valid(slice_from_text(partner_code))) {
        fault_set(fault, "--partner-code: expected 1-16 of A-Za-z0-9_-");
        return false;
    }
    (void)snprintf(options->partner_code, sizeof(options->partner_code), "%s", partner_code);
    options->mget = command != NULL && strcmp(command, "mget") == 0;
    if (command != NULL && !options->mget && strcmp(command, "get") != 0) {
        fault_set(fault, "--command: expected get or mget, not \"%.40s\"", command);
        return false;
    }
    if (strlen(options->key_prefix) > BENCH_KEY_PREFIX_MAX ||
        (options->path != NULL && strlen(options->path) >= BENCH_TARGET_MAX)) {
        fault_set(fault, "bench: --key-prefix or --path is too long");
        return false;
    }
    return true;
}

static void read_numbers(struct bench_options *options, const struct command_line *line) {
    const struct kind_defaults *defaults = &kinds[options->kind];
    bool single = options->kind == BENCH_HTTP_GET || options->kind == BENCH_HTTP_CREATE ||
                  (options->kind == BENCH_RESP && !options->mget);
    uint32_t batch = options->mget ? MGET_BATCH_DEFAULT : defaults->batch;
    options->connections = command_has(line, OPTION_CONNECTIONS)
                               ? (uint32_t)command_number(line, OPTION_CONNECTIONS)
                               : defaults->connections;
    options->depth = command_has(line, OPTION_DEPTH) ? (uint32_t)command_number(line, OPTION_DEPTH)
                                                     : defaults->depth;
    options->batch = command_has(line, OPTION_BATCH) && !single
                         ? (uint32_t)command_number(line, OPTION_BATCH)
                         : batch;
    options->threads = (uint32_t)command_number(line, OPTION_THREADS);
    options->seconds_ms = command_number(line, OPTION_DURATION);
    options->warmup_ms = command_number(line, OPTION_WARMUP);
    options->timeout_ms = line->global[GLOBAL_TIMEOUT].number;
    options->rate = command_number(line, OPTION_RATE);
    options->cpu = command_has(line, OPTION_CPU) ? (int)command_number(line, OPTION_CPU) : -1;
    options->allow_absent = command_has(line, OPTION_ALLOW_ABSENT);
    options->any_value = command_has(line, OPTION_ANY_VALUE);
    options->scatter = command_has(line, OPTION_SCATTER);
    options->orders = command_number(line, OPTION_ORDERS);
    options->final_percent = command_number(line, OPTION_FINAL);
}

static bool is_possible(const struct bench_options *options, struct fault *fault) {
    if (options->scatter && options->kind != BENCH_CREATE) {
        fault_set(fault, "bench %s: --scatter is for create", kinds[options->kind].name);
        return false;
    }
    if (options->kind == BENCH_LOAD && options->orders == 0) {
        fault_set(fault, "bench load: --orders N is missing");
        return false;
    }
    if (options->kind == BENCH_LOAD && options->rate != 0) {
        fault_set(fault, "bench load: goes as fast as it can, without --rate");
        return false;
    }
    if (options->path != NULL && (options->kind != BENCH_HTTP_GET || options->path[0] != '/')) {
        fault_set(fault, "bench: --path goes with http-get and begins with a slash");
        return false;
    }
    if (options->threads > options->connections) {
        fault_set(fault, "bench: every thread needs a connection");
        return false;
    }
    return true;
}

bool bench_options_read(struct bench_options *options, const struct command_line *line,
                        const char *server, struct fault *fault) {
    const char *resp = command_text(line, OPTION_RESP);
    *options = (struct bench_options){.cpu = -1};
    if (!find_kind(line->positionals[0], &options->kind, fault) ||
        !read_texts(options, line, fault)) {
        return false;
    }
    read_numbers(options, line);
    if (!is_possible(options, fault)) {
        return false;
    }
    if (options->kind == BENCH_RESP) {
        return split_address(options, slice_from_text(resp == NULL ? "127.0.0.1:6390" : resp),
                             "6390", fault);
    }
    return split_url(options, server, fault);
}

bool bench_options_want_orders(const struct bench_options *options) {
    return kinds[options->kind].reads && options->ids_path == NULL && options->path == NULL;
}

bool bench_options_own_load(struct bench_options *load, const struct bench_options *options,
                            const char *server, struct fault *fault) {
    const struct kind_defaults *defaults = &kinds[BENCH_LOAD];
    *load = *options;
    load->kind = BENCH_LOAD;
    load->orders = BENCH_OWN_ORDERS;
    load->connections = defaults->connections;
    load->threads = 1;
    load->batch = defaults->batch;
    load->depth = defaults->depth;
    load->rate = 0;
    return split_url(load, server, fault);
}
