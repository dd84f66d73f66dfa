/** Stands between the services and the embedded store and its cache: holds requests and
 *  completions back, lets them overtake each other, and refuses some with PORT_BUSY. All of that
 *  the ports allow; none of it may change what comes out.
 *
 *  One thread: the simulator's. Part of the process: it goes with it. */
#ifndef ORDERD_TESTS_SIM_PROXY_H
#define ORDERD_TESTS_SIM_PROXY_H

#include "base/random.h"
#include "port/order_cache.h"
#include "port/order_store.h"

#define SIM_PROXY_LINES 512

enum sim_proxy_operation {
    SIM_PROXY_CREATE,
    SIM_PROXY_CHANGE,
    SIM_PROXY_GET,
    SIM_PROXY_FIND,
    SIM_PROXY_SCAN,
    SIM_PROXY_RELEASE,
    SIM_PROXY_EXPIRE,
    SIM_PROXY_FILL
};

enum sim_proxy_state { SIM_PROXY_WAITS, SIM_PROXY_FORWARDED, SIM_PROXY_ANSWERED };

/** One request on its way. */
struct sim_proxy_line {
    struct port_request *request;
    struct mailbox *mailbox; /* the submitter's */
    enum sim_proxy_operation operation;
    enum sim_proxy_state state;
};

struct sim_proxy {
    struct order_store store;
    struct order_cache cache;
    struct order_store *real_store;
    struct order_cache *real_cache;
    struct random_source *random;
    uint32_t busy_rate; /* submissions that are refused, of a million */
    struct mailbox box;
    struct sim_proxy_line lines[SIM_PROXY_LINES];
    size_t count;
    uint64_t refused;
    uint64_t reordered; /* answers that came before that of an earlier request */
};

void sim_proxy_init(struct sim_proxy *proxy, struct random_source *random,
                    struct order_store *store, struct order_cache *cache);
void sim_proxy_deinit(struct sim_proxy *proxy);

/** Moves a few requests or completions on; false where there are none. */
bool sim_proxy_step(struct sim_proxy *proxy);

#endif
