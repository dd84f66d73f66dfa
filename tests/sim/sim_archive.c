#include "sim_archive.h"

#include "base/hash.h"
#include "order/order_id.h"

#include <assert.h>
#include <stdlib.h>

#define MILLION 1000000

enum { OPERATION_PUT = 201, OPERATION_GET, OPERATION_RESOLVE };

static struct sim_archive *archive_of_port(struct order_archive *port) {
    return (struct sim_archive *)port;
}

static struct sim_archive *archive_of_references(struct reference_archive *references) {
    return CONTAINER_OF(references, struct sim_archive, references);
}

static bool happens(struct sim_archive *archive, uint32_t rate) {
    return rate > 0 && random_chance(&archive->random, rate, MILLION);
}

/** True where it does not answer, for now or this once. */
static bool is_unavailable(struct sim_archive *archive) {
    bool away = clock_now_us(archive->clock) < archive->away_until_us;
    bool unavailable = away || happens(archive, archive->rates.unavailable);
    archive->counts.unavailable += unavailable ? 1 : 0;
    return unavailable;
}

/* --- What is stored. --- */

static struct sim_archived *find_order(const struct sim_archive *archive, uint64_t order_id) {
    int32_t at = archive->by_id[hash_mix(order_id) % SIM_ARCHIVE_BUCKETS];
    while (at >= 0 && archive->orders[at].order.order_id != order_id) {
        at = archive->orders[at].next_by_id;
    }
    return at < 0 ? NULL : &archive->orders[at];
}

static struct sim_archived *add_order(struct sim_archive *archive,
                                      const struct order_record *order) {
    if (archive->count == archive->capacity) {
        archive->capacity = archive->capacity * 2 + 256;
        archive->orders = realloc(archive->orders, archive->capacity * sizeof(*archive->orders));
        assert(archive->orders != NULL);
    }
    uint64_t hash = order_record_reference_hash(order);
    int32_t *id_bucket = &archive->by_id[hash_mix(order->order_id) % SIM_ARCHIVE_BUCKETS];
    int32_t *reference_bucket = &archive->by_reference[hash_mix(hash) % SIM_ARCHIVE_BUCKETS];
    struct sim_archived *added = &archive->orders[archive->count];
    *added = (struct sim_archived){
        .order = *order,
        .reference_hash = hash,
        .has_reference = true,
        .next_by_id = *id_bucket,
        .next_by_reference = *reference_bucket,
    };
    *id_bucket = (int32_t)archive->count;
    *reference_bucket = (int32_t)archive->count;
    archive->count++;
    return added;
}

static void spoil(struct sim_archive *archive, struct order_record *order) {
    order->amount ^= UINT64_C(1) << random_below(&archive->random, 40);
    order->amount += order->amount == 0 ? 1 : 0;
    if (random_chance(&archive->random, 1, 2)) {
        order_record_seal(order);
    }
}

static void store(struct sim_archive *archive, const struct order_record *order, bool may_spoil) {
    struct sim_archived *stored = find_order(archive, order->order_id);
    assert(order_status_is_final(order->status)); /* the port's contract */
    assert(order_record_check(order) == ORDER_RECORD_VALID);
    if (stored == NULL) {
        stored = add_order(archive, order);
        if (may_spoil && happens(archive, archive->rates.bad_copy)) {
            archive->counts.bad_copies++;
            stored->is_bad = true;
            spoil(archive, &stored->order);
        }
    } else if (stored->is_bad) {
        stored->order = *order;
        stored->is_bad = false;
    }
}

const struct order_record *sim_archive_peek(const struct sim_archive *archive, uint64_t order_id) {
    const struct sim_archived *stored = find_order(archive, order_id);
    return stored == NULL ? NULL : &stored->order;
}

/* --- Submission. --- */

static enum port_submit submit(struct sim_archive *archive, struct port_request *request,
                               uint32_t operation) {
    if (archive->pending_count == SIM_ARCHIVE_PENDING_MAX ||
        happens(archive, archive->rates.busy)) {
        archive->counts.refused++;
        return PORT_BUSY;
    }
    request->operation = operation;
    archive->pending[archive->pending_count++] = request;
    return PORT_TAKEN;
}

static enum port_submit submit_put(struct order_archive *port, struct order_archive_put *batch) {
    for (size_t i = 1; i < batch->count; i++) {
        assert(batch->orders[i - 1].order_id < batch->orders[i].order_id);
    }
    return submit(archive_of_port(port), &batch->request, OPERATION_PUT);
}

static enum port_submit submit_get(struct order_archive *port, struct order_get_batch *batch) {
    return submit(archive_of_port(port), &batch->request, OPERATION_GET);
}

static enum port_submit submit_resolve(struct reference_archive *references,
                                       struct order_find_batch *batch) {
    return submit(archive_of_references(references), &batch->request, OPERATION_RESOLVE);
}

/* --- Work. --- */

static void store_later(struct sim_archive *archive, const struct order_record *order) {
    if (archive->late_count == archive->late_capacity) {
        archive->late_capacity = archive->late_capacity * 2 + 64;
        archive->late = realloc(archive->late, archive->late_capacity * sizeof(*archive->late));
        assert(archive->late != NULL);
    }
    archive->late[archive->late_count++] = *order;
}

/** Stores each order of the batch `of_eight` times out of eight. */
static void store_part(struct sim_archive *archive, const struct order_archive_put *batch,
                       unsigned of_eight) {
    for (size_t i = 0; i < batch->count; i++) {
        if (random_chance(&archive->random, of_eight, 8)) {
            store(archive, &batch->orders[i], true);
        }
    }
}

static unsigned any_part(struct sim_archive *archive) {
    static const unsigned parts[] = {0, 4, 8};
    return parts[random_below(&archive->random, ARRAY_COUNT(parts))];
}

static void work_put(struct sim_archive *archive, struct order_archive_put *batch) {
    archive->counts.puts++;
    if (is_unavailable(archive)) {
        memset(batch->results, ORDER_RESULT_UNAVAILABLE, batch->count);
    } else if (happens(archive, archive->rates.unknown)) {
        archive->counts.unknown_puts++;
        store_part(archive, batch, any_part(archive));
        memset(batch->results, ORDER_RESULT_UNKNOWN, batch->count);
    } else {
        store_part(archive, batch, 8);
        memset(batch->results, ORDER_RESULT_STORED, batch->count);
    }
    for (size_t i = 0; i < batch->count; i++) {
        if (happens(archive, archive->rates.late)) {
            store_later(archive, &batch->orders[i]);
        }
    }
    port_complete(&batch->request);
}

static enum order_result get_one(struct sim_archive *archive, uint64_t order_id,
                                 struct order_record *order) {
    const struct sim_archived *stored = find_order(archive, order_id);
    if (is_unavailable(archive)) {
        return ORDER_RESULT_UNAVAILABLE;
    }
    if (stored == NULL) {
        return ORDER_RESULT_ABSENT;
    }
    *order = stored->order;
    return order_record_check(order) == ORDER_RECORD_VALID ? ORDER_RESULT_FOUND
                                                           : ORDER_RESULT_BROKEN;
}

static void work_get(struct sim_archive *archive, struct order_get_batch *batch) {
    for (size_t i = 0; i < batch->count; i++) {
        batch->results[i] = (uint8_t)get_one(archive, batch->order_ids[i], &batch->orders[i]);
        if (batch->results[i] == ORDER_RESULT_FOUND && happens(archive, archive->rates.bad_read)) {
            archive->counts.bad_reads++;
            batch->results[i] = ORDER_RESULT_BROKEN;
        }
    }
    port_complete(&batch->request);
}

/** The newest order with the draft's reference that was created at `oldest_us` or later. */
static enum reference_answer search(struct sim_archive *archive, const struct order_record *draft,
                                    uint64_t hash, int64_t oldest_us, struct order_record *found) {
    enum reference_answer answer = REFERENCE_ABSENT;
    int32_t at = archive->by_reference[hash_mix(hash) % SIM_ARCHIVE_BUCKETS];
    archive->counts.finds++;
    if (is_unavailable(archive)) {
        return REFERENCE_UNAVAILABLE;
    }
    for (; at >= 0; at = archive->orders[at].next_by_reference) {
        const struct sim_archived *stored = &archive->orders[at];
        if (stored->has_reference && stored->order.created_at_us >= oldest_us &&
            order_record_same_reference(&stored->order, draft) &&
            (answer == REFERENCE_ABSENT || stored->order.order_id > found->order_id)) {
            *found = stored->order;
            answer = stored->is_bad ? REFERENCE_UNAVAILABLE : REFERENCE_FOUND;
        }
    }
    return answer;
}

static enum reference_answer find(struct reference_archive *references,
                                  const struct order_record *draft, uint64_t reference_hash,
                                  int64_t oldest_us, struct order_record *found) {
    struct sim_archive *archive = archive_of_references(references);
    if (archive->preempt != NULL) {
        archive->preempt(archive->preempt_context);
    }
    return search(archive, draft, reference_hash, oldest_us, found);
}

static void work_resolve(struct sim_archive *archive, struct order_find_batch *batch) {
    for (size_t i = 0; i < batch->count; i++) {
        struct order_record found;
        if (batch->results[i] != ORDER_RESULT_NONE) {
            continue;
        }
        uint64_t hash = order_record_reference_hash(&batch->orders[i]);
        switch (search(archive, &batch->orders[i], hash, archive->expired_before_us, &found)) {
        case REFERENCE_FOUND:
            batch->orders[i] = found;
            batch->results[i] = ORDER_RESULT_FOUND;
            break;
        case REFERENCE_ABSENT:
            batch->results[i] = ORDER_RESULT_ABSENT;
            break;
        case REFERENCE_UNAVAILABLE:
            batch->results[i] = ORDER_RESULT_UNAVAILABLE;
            break;
        }
    }
    port_complete(&batch->request);
}

/** What happens there by itself: expired references go, and old puts arrive. */
static void work_alone(struct sim_archive *archive) {
    if (archive->late_count > 0 && random_chance(&archive->random, 1, 4)) {
        size_t at = (size_t)random_below(&archive->random, archive->late_count);
        archive->counts.late_puts++;
        store(archive, &archive->late[at], false);
        archive->late[at] = archive->late[--archive->late_count];
    }
    for (int tries = 0; archive->count > 0 && tries < 4; tries++) {
        struct sim_archived *stored =
            &archive->orders[random_below(&archive->random, archive->count)];
        if (stored->has_reference && stored->order.created_at_us < archive->expired_before_us) {
            stored->has_reference = false;
            archive->counts.references_dropped++;
        }
    }
}

bool sim_archive_step(struct sim_archive *archive) {
    work_alone(archive);
    if (archive->pending_count == 0) {
        return false;
    }
    size_t at = (size_t)random_below(&archive->random, archive->pending_count);
    struct port_request *request = archive->pending[at];
    archive->counts.reordered += at > 0 ? 1 : 0;
    archive->pending_count--;
    memmove(&archive->pending[at], &archive->pending[at + 1],
            (archive->pending_count - at) * sizeof(archive->pending[0]));
    switch (request->operation) {
    case OPERATION_PUT:
        work_put(archive, (struct order_archive_put *)request);
        break;
    case OPERATION_GET:
        work_get(archive, (struct order_get_batch *)request);
        break;
    default:
        work_resolve(archive, (struct order_find_batch *)request);
        break;
    }
    return true;
}

void sim_archive_process_died(struct sim_archive *archive) {
    for (size_t i = 0; i < archive->pending_count; i++) {
        if (archive->pending[i]->operation == OPERATION_PUT) {
            store_part(archive, (struct order_archive_put *)archive->pending[i], any_part(archive));
        }
    }
    archive->pending_count = 0;
    archive->expired_before_us = 0;
}

static bool each(struct reference_archive *references, int64_t oldest_us,
                 void (*visit)(void *, uint64_t), void *context, struct fault *fault) {
    struct sim_archive *archive = archive_of_references(references);
    if (is_unavailable(archive)) {
        fault_set(fault, "the simulated archive does not answer");
        return false;
    }
    for (size_t i = 0; i < archive->count; i++) {
        const struct sim_archived *stored = &archive->orders[i];
        if (stored->has_reference && stored->order.created_at_us >= oldest_us) {
            visit(context, stored->reference_hash);
        }
    }
    return true;
}

static void expire(struct reference_archive *references, int64_t oldest_us) {
    archive_of_references(references)->expired_before_us = oldest_us;
}

static const struct order_archive_ops port_ops = {.put = submit_put, .get = submit_get};
static const struct reference_archive_ops reference_ops = {
    .find = find,
    .resolve = submit_resolve,
    .each = each,
    .expire = expire,
};

void sim_archive_init(struct sim_archive *archive, uint64_t seed, const struct clock *clock) {
    memset(archive, 0, sizeof(*archive));
    archive->port.ops = &port_ops;
    archive->references.ops = &reference_ops;
    archive->random.state = seed;
    archive->clock = clock;
    memset(archive->by_id, 0xff, sizeof(archive->by_id));
    memset(archive->by_reference, 0xff, sizeof(archive->by_reference));
}

void sim_archive_deinit(struct sim_archive *archive) {
    free(archive->orders);
    free(archive->late);
}
