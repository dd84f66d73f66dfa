#include "sim_proxy.h"

#define MILLION 1000000

static enum port_submit take(struct sim_proxy *proxy, struct port_request *request,
                             enum sim_proxy_operation operation) {
    if (proxy->count == SIM_PROXY_LINES ||
        random_chance(proxy->random, proxy->busy_rate, MILLION)) {
        proxy->refused++;
        return PORT_BUSY;
    }
    proxy->lines[proxy->count++] =
        (struct sim_proxy_line){request, request->mailbox, operation, SIM_PROXY_WAITS};
    return PORT_TAKEN;
}

static struct sim_proxy *of_store(struct order_store *store) {
    return (struct sim_proxy *)store;
}

static enum port_submit create(struct order_store *store, struct order_create_batch *batch) {
    return take(of_store(store), &batch->request, SIM_PROXY_CREATE);
}

static enum port_submit change(struct order_store *store, struct order_change_batch *batch) {
    return take(of_store(store), &batch->request, SIM_PROXY_CHANGE);
}

static enum port_submit get(struct order_store *store, struct order_get_batch *batch) {
    return take(of_store(store), &batch->request, SIM_PROXY_GET);
}

static enum port_submit find(struct order_store *store, struct order_find_batch *batch) {
    return take(of_store(store), &batch->request, SIM_PROXY_FIND);
}

static enum port_submit scan(struct order_store *store, struct order_scan_batch *batch) {
    return take(of_store(store), &batch->request, SIM_PROXY_SCAN);
}

static enum port_submit release(struct order_store *store, struct order_release_batch *batch) {
    return take(of_store(store), &batch->request, SIM_PROXY_RELEASE);
}

static enum port_submit expire(struct order_store *store, struct order_expire_batch *batch) {
    return take(of_store(store), &batch->request, SIM_PROXY_EXPIRE);
}

static enum port_submit fill(struct order_cache *cache, struct order_cache_put *batch) {
    struct sim_proxy *proxy = CONTAINER_OF(cache, struct sim_proxy, cache);
    return take(proxy, &batch->request, SIM_PROXY_FILL);
}

static enum port_submit submit(struct sim_proxy *proxy, struct sim_proxy_line *line) {
    struct order_store *store = proxy->real_store;
    switch (line->operation) {
    case SIM_PROXY_CREATE:
        return store->ops->create(store, (struct order_create_batch *)line->request);
    case SIM_PROXY_CHANGE:
        return store->ops->change(store, (struct order_change_batch *)line->request);
    case SIM_PROXY_GET:
        return store->ops->get(store, (struct order_get_batch *)line->request);
    case SIM_PROXY_FIND:
        return store->ops->find(store, (struct order_find_batch *)line->request);
    case SIM_PROXY_SCAN:
        return store->ops->scan(store, (struct order_scan_batch *)line->request);
    case SIM_PROXY_RELEASE:
        return store->ops->release(store, (struct order_release_batch *)line->request);
    case SIM_PROXY_EXPIRE:
        return store->ops->expire(store, (struct order_expire_batch *)line->request);
    case SIM_PROXY_FILL:
        break;
    }
    return proxy->real_cache->ops->put(proxy->real_cache, (struct order_cache_put *)line->request);
}

/** Hands a request on. What is behind may be busy: it then waits here. */
static void forward(struct sim_proxy *proxy, struct sim_proxy_line *line) {
    line->state = SIM_PROXY_FORWARDED;
    line->request->mailbox = &proxy->box;
    if (submit(proxy, line) == PORT_BUSY) {
        line->request->mailbox = line->mailbox;
        line->state = SIM_PROXY_WAITS;
    }
}

static void collect_answers(struct sim_proxy *proxy) {
    struct port_request *request;
    while ((request = mailbox_take(&proxy->box)) != NULL) {
        for (size_t i = 0; i < proxy->count; i++) {
            if (proxy->lines[i].request == request) {
                assert(proxy->lines[i].state == SIM_PROXY_FORWARDED);
                proxy->lines[i].state = SIM_PROXY_ANSWERED;
            }
        }
    }
}

static void answer(struct sim_proxy *proxy, struct sim_proxy_line *line) {
    struct port_request *request = line->request;
    request->mailbox = line->mailbox;
    proxy->reordered += line != proxy->lines ? 1 : 0;
    proxy->count--;
    memmove(line, line + 1, (size_t)(proxy->lines + proxy->count - line) * sizeof(*line));
    port_complete(request);
}

bool sim_proxy_step(struct sim_proxy *proxy) {
    size_t moves = 1 + (size_t)random_below(proxy->random, 8);
    collect_answers(proxy);
    if (proxy->count == 0) {
        return false;
    }
    for (; moves > 0 && proxy->count > 0; moves--) {
        struct sim_proxy_line *line = &proxy->lines[random_below(proxy->random, proxy->count)];
        if (line->state == SIM_PROXY_WAITS) {
            forward(proxy, line);
        } else if (line->state == SIM_PROXY_ANSWERED) {
            answer(proxy, line);
        }
    }
    return true;
}

static const struct order_store_ops store_ops = {
    .create = create,
    .change = change,
    .get = get,
    .find = find,
    .scan = scan,
    .release = release,
    .expire = expire,
};
static const struct order_cache_ops cache_ops = {.put = fill};

void sim_proxy_init(struct sim_proxy *proxy, struct random_source *random,
                    struct order_store *store, struct order_cache *cache) {
    *proxy = (struct sim_proxy){
        .store = {&store_ops},
        .cache = {&cache_ops},
        .real_store = store,
        .real_cache = cache,
        .random = random,
    };
    bool made = mailbox_init(&proxy->box, SIM_PROXY_LINES);
    assert(made);
}

void sim_proxy_deinit(struct sim_proxy *proxy) {
    mailbox_deinit(&proxy->box);
}
