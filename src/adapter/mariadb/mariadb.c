#include "adapter/mariadb/mariadb.h"

#include "adapter/mariadb/mariadb_leases.h"
#include "adapter/mariadb/mariadb_store.h"
#include "adapter/mariadb/mariadb_vetting.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <unistd.h>

struct mariadb {
    struct mariadb_settings settings;
    struct mariadb_metrics metrics;
    char holder[MARIADB_HOLDER_MAX];
    struct log *log;
    const struct clock *clock;
    bool gives_ids;
    struct mariadb_nodes nodes;
    struct mariadb_store store;
    struct mariadb_leases leases;
};

/** A name for this run of this process, in ASCII. */
static bool make_holder(const char *given, char holder[MARIADB_HOLDER_MAX], struct fault *fault) {
    char host[32] = "";
    uint32_t chance;
    int size;
    if (given != NULL) {
        size = snprintf(holder, MARIADB_HOLDER_MAX, "%s", given);
    } else {
        if (getrandom(&chance, sizeof(chance), 0) != sizeof(chance)) {
            fault_set(fault, "the system gave no random number");
            return false;
        }
        (void)gethostname(host, sizeof(host) - 1);
        size = snprintf(holder, MARIADB_HOLDER_MAX, "%s:%ld:%08x", host, (long)getpid(), chance);
    }
    for (char *at = holder; *at != 0; at++) {
        *at = isascii(*at) && isprint(*at) ? *at : '?';
    }
    if (size <= 0 || size >= MARIADB_HOLDER_MAX) {
        fault_set(fault, "the name of this instance must have 1 to %d characters",
                  MARIADB_HOLDER_MAX - 1);
        return false;
    }
    return true;
}

/** Connects to a server once, which judges it. One that does not answer may come later. */
static bool check_server(struct mariadb *mariadb, size_t shard, struct fault *fault) {
    struct mariadb_connection connection;
    struct mariadb_health health = {.answers = 0};
    mariadb_connection_init(&connection, &(struct mariadb_connection_parts){
                                             .settings = &mariadb->settings,
                                             .server = &mariadb->settings.servers[shard],
                                             .mode = MARIADB_AUTOCOMMIT,
                                             .log = mariadb->log,
                                             .metrics = &mariadb->metrics,
                                             .health = &health,
                                             .vet = mariadb_vet,
                                         });
    enum mariadb_status status = mariadb_connection_ensure(&connection);
    mariadb_connection_close(&connection);
    if (status == MARIADB_REFUSED) {
        fault_set(fault, "mysql shard %zu (%s): %s", shard, mariadb->settings.servers[shard].name,
                  connection.fault.text);
    }
    return status != MARIADB_REFUSED;
}

static bool check_servers(struct mariadb *mariadb, struct fault *fault) {
    for (size_t shard = 0; shard < mariadb->settings.shard_count; shard++) {
        if (!check_server(mariadb, shard, fault)) {
            return false;
        }
    }
    return true;
}

static bool init_parts(struct mariadb *mariadb, const struct mariadb_parts *parts,
                       struct fault *fault) {
    struct mariadb_store_parts store_parts = {
        .settings = &mariadb->settings,
        .clock = parts->clock,
        .log = parts->log,
        .metrics = &mariadb->metrics,
        .archive = parts->archive,
        .nodes = &mariadb->nodes,
    };
    if (!mariadb_store_init(&mariadb->store, &store_parts, fault)) {
        return false;
    }
    struct mariadb_leases_parts lease_parts = {
        .settings = &mariadb->settings,
        .log = parts->log,
        .metrics = &mariadb->metrics,
        .health = &mariadb->store.shared.shards[0].health,
        .owner = mariadb->holder,
    };
    if (!mariadb_leases_init(&mariadb->leases, &lease_parts, fault)) {
        mariadb_store_deinit(&mariadb->store);
        return false;
    }
    return true;
}

struct mariadb *mariadb_open(const struct mariadb_parts *parts, struct fault *fault) {
    struct mariadb *mariadb =
        aligned_alloc(CACHE_LINE_BYTES, bytes_align_up(sizeof(*mariadb), CACHE_LINE_BYTES));
    if (mariadb == NULL) {
        fault_set(fault, "no memory for the MariaDB store");
        return NULL;
    }
    memset(mariadb, 0, sizeof(*mariadb));
    mariadb->log = parts->log;
    mariadb->clock = parts->clock;
    mariadb->gives_ids = parts->gives_ids;
    if (!mariadb_library_begin()) {
        fault_set(fault, "the MariaDB client library does not work");
    } else if (mariadb_settings_read(parts->options, parts->password, &mariadb->settings, fault) &&
               make_holder(parts->holder, mariadb->holder, fault) &&
               check_servers(mariadb, fault) && init_parts(mariadb, parts, fault)) {
        if (parts->metrics != NULL) {
            metrics_register(parts->metrics, "mysql", NULL, mariadb_metric_table,
                             mariadb_metric_count, &mariadb->metrics);
        }
        return mariadb;
    }
    free(mariadb);
    return NULL;
}

bool mariadb_start(struct mariadb *mariadb, struct fault *fault) {
    struct mariadb_nodes_parts parts = {
        .settings = &mariadb->settings,
        .clock = mariadb->clock,
        .log = mariadb->log,
        .metrics = &mariadb->metrics,
        .health = &mariadb->store.shared.shards[0].health,
        .holder = mariadb->holder,
        .gives_ids = mariadb->gives_ids,
    };
    return mariadb_nodes_start(&mariadb->nodes, &parts, fault) &&
           mariadb_leases_start(&mariadb->leases, fault) &&
           mariadb_store_start(&mariadb->store, fault);
}

void mariadb_stop(struct mariadb *mariadb) {
    mariadb_store_stop(&mariadb->store);
    mariadb_leases_stop(&mariadb->leases);
    mariadb_nodes_stop(&mariadb->nodes, mariadb->store.used_tick);
}

void mariadb_close(struct mariadb *mariadb) {
    mariadb_stop(mariadb);
    mariadb_leases_deinit(&mariadb->leases);
    mariadb_store_deinit(&mariadb->store);
    free(mariadb);
}

struct order_store *mariadb_order_store(struct mariadb *mariadb) {
    return &mariadb->store.port;
}

size_t mariadb_shard_count(const struct mariadb *mariadb) {
    return mariadb->settings.shard_count;
}

struct lease_port *mariadb_lease_port(struct mariadb *mariadb) {
    return &mariadb->leases.port;
}

bool mariadb_may_have_given(struct mariadb *mariadb, uint64_t order_id) {
    return mariadb_nodes_may_have_given(&mariadb->nodes, order_id);
}

bool mariadb_is_ready(struct mariadb *mariadb, const char **reason) {
    for (size_t shard = 0; shard < mariadb->settings.shard_count; shard++) {
        struct mariadb_health *health = &mariadb->store.shared.shards[shard].health;
        if (atomic_load_explicit(&health->answers, memory_order_relaxed) == 0) {
            *reason = "a MariaDB shard does not answer";
            return false;
        }
    }
    struct node_grant grant;
    mariadb_nodes_grant(&mariadb->nodes, &grant);
    if (mariadb->gives_ids &&
        !node_grant_is_usable(&grant, clock_monotonic_us(),
                              order_tick_from_us(clock_now_us(mariadb->clock)))) {
        *reason = "no node number is leased";
        return false;
    }
    return true;
}
