/** What a bench is asked to do: the command line's options, checked and with the defaults of their
 *  bench. Read once, then shared by the threads as it is. */
#ifndef ORDERD_ORDERCTL_BENCH_OPTIONS_H
#define ORDERD_ORDERCTL_BENCH_OPTIONS_H

#include "order/record.h"
#include "orderctl/command_line.h"

#define BENCH_BATCH_MAX 8192
#define BENCH_CONNECTIONS_MAX 4096
#define BENCH_DEPTH_MAX 1024
#define BENCH_THREADS_MAX 64
#define BENCH_HOST_MAX 256
#define BENCH_TARGET_MAX 256
#define BENCH_KEY_PREFIX_MAX 64

enum bench_kind {
    BENCH_STATUSES,
    BENCH_GET,
    BENCH_CREATE,
    BENCH_HTTP_GET,
    BENCH_HTTP_CREATE,
    BENCH_RESP,
    BENCH_LOAD,
    BENCH_KIND_COUNT
};

struct bench_options {
    enum bench_kind kind;
    char host[BENCH_HOST_MAX];
    char port[8];
    char authority[BENCH_HOST_MAX + 16]; /* both, as in a URL: an IPv6 address in brackets */
    char path_prefix[BENCH_TARGET_MAX];  /* of the server's URL; empty mostly */
    uint32_t connections;
    uint32_t threads;
    uint32_t depth;
    uint32_t batch; /* items a request */
    uint64_t seconds_ms;
    uint64_t warmup_ms;
    uint64_t timeout_ms;
    uint64_t rate; /* items a second; 0: closed loop */
    int cpu;       /* -1: any */
    bool allow_absent;
    bool any_value;
    bool scatter; /* create: references anywhere among all others */
    bool mget;
    const char *ids_path;   /* NULL: none */
    const char *key_prefix; /* never NULL */
    const char *path;       /* http-get: a fixed target; NULL: orders */
    char partner_code[ORDER_PARTNER_CODE_BYTES + 1];
    uint64_t orders; /* load */
    uint64_t final_percent;
};

/** Orders that a bench which reads makes for itself where it was given no ids. */
#define BENCH_OWN_ORDERS 10000

/** The options of the command `bench`. */
#define BENCH_OPTION_COUNT 19
extern const struct command_option bench_option_table[BENCH_OPTION_COUNT];

const char *bench_kind_name(enum bench_kind kind);

/** Reads the options. @param server the service's URL. False, with one line for the user, where
 *  they are wrong. */
MUST_CHECK bool bench_options_read(struct bench_options *options, const struct command_line *line,
                                   const char *server, struct fault *fault);

/** True where the bench reads orders and was not told which. */
bool bench_options_want_orders(const struct bench_options *options);

/** The load that makes them, at the same service. @param server as above. */
MUST_CHECK bool bench_options_own_load(struct bench_options *load,
                                       const struct bench_options *options, const char *server,
                                       struct fault *fault);

#endif
