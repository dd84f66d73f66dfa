#include "sim_model.h"

#include "sim.h"
#include "sim_process.h"

#include <stdio.h>
#include <stdlib.h>

void sim_reference_set(const struct sim_model *model, struct order_record *record,
                       uint32_t reference) {
    memset(record->partner_code, 0, sizeof(record->partner_code));
    memset(record->partner_order_id, 0, sizeof(record->partner_order_id));
    (void)snprintf(record->partner_code, sizeof(record->partner_code), "p%u", reference % 3);
    (void)snprintf(record->partner_order_id, sizeof(record->partner_order_id), "r.%u.%x", reference,
                   model->salts[reference]);
}

static void draw_salts(struct sim_model *model, unsigned slot_count) {
    struct order_record record = {.order_id = 0};
    for (uint32_t i = 0; i < model->reference_count; i++) {
        do {
            model->salts[i]++;
            sim_reference_set(model, &record, i);
        } while (order_slot_from_hash(order_record_reference_hash(&record)) >= slot_count);
    }
}

void sim_model_init(struct sim_model *model, uint32_t reference_count, unsigned slot_count) {
    *model = (struct sim_model){.next_change = 1, .reference_count = reference_count};
    memset(model->buckets, 0xff, sizeof(model->buckets));
    model->newest = malloc(reference_count * sizeof(*model->newest));
    model->salts = calloc(reference_count, sizeof(*model->salts));
    assert(model->newest != NULL && model->salts != NULL);
    memset(model->newest, 0xff, reference_count * sizeof(*model->newest));
    draw_salts(model, slot_count);
}

void sim_model_deinit(struct sim_model *model) {
    free(model->orders);
    free(model->changes);
    free(model->newest);
    free(model->salts);
    free(model->serials);
}

uint32_t sim_reference_of(const struct order_record *record) {
    char text[ORDER_PARTNER_ORDER_ID_BYTES + 1] = "";
    memcpy(text, record->partner_order_id, sizeof(record->partner_order_id));
    return (uint32_t)strtoul(text + 2, NULL, 10);
}

struct sim_order *sim_model_find(const struct sim_model *model, uint64_t order_id) {
    int32_t at = model->buckets[hash_mix(order_id) % SIM_MODEL_BUCKETS];
    while (at >= 0 && model->orders[at].order_id != order_id) {
        at = model->orders[at].next;
    }
    return at < 0 ? NULL : &model->orders[at];
}

struct sim_order *sim_model_newest(const struct sim_model *model, uint32_t reference) {
    int32_t at = model->newest[reference];
    return at < 0 ? NULL : &model->orders[at];
}

bool sim_model_is_expired(const struct sim *sim, const struct sim_order *order, int64_t now_us) {
    const struct order_record *record = sim_order_record(order);
    return order_status_is_final(record->status) &&
           record->created_at_us + sim->regime.window_us < now_us;
}

/* --- Numbers of requests. --- */

uint32_t sim_model_next_serial(struct sim_model *model) {
    uint32_t serial = ++model->serial_count;
    if (serial >= model->serial_capacity) {
        model->serial_capacity = serial * 2 + 1024;
        model->serials = realloc(model->serials, model->serial_capacity);
        assert(model->serials != NULL);
    }
    model->serials[serial] = SIM_SERIAL_OPEN;
    return serial;
}

void sim_model_refuse_serial(struct sim *sim, uint32_t serial) {
    if (serial != 0) {
        SIM_CHECK(sim, sim->model.serials[serial] == SIM_SERIAL_OPEN,
                  "request %u was refused, but had its effect", serial);
        sim->model.serials[serial] = SIM_SERIAL_REFUSED;
    }
}

static void commit_serial(struct sim *sim, int64_t serial) {
    if (serial > 0 && serial <= (int64_t)sim->model.serial_count) {
        uint8_t *state = &sim->model.serials[serial];
        SIM_CHECK(sim, *state == SIM_SERIAL_OPEN, "request %lld had its effect %s",
                  (long long)serial,
                  *state == SIM_SERIAL_REFUSED ? "although it was refused" : "twice");
        *state = SIM_SERIAL_COMMITTED;
    }
}

/** Finds the number of the request that a change came from. */
static void commit_request(struct sim *sim, const struct order_record *record) {
    if (record->version == 1 && record->amount >= SIM_SERIAL_AMOUNT) {
        commit_serial(sim, (int64_t)(record->amount - SIM_SERIAL_AMOUNT));
    } else if (record->version > 1 && record->status == ORDER_STATUS_PROCESSING) {
        commit_serial(sim, record->requested_at_us - record->created_at_us - SIM_SERIAL_TIME_US);
    } else if (record->version > 1) {
        commit_serial(sim, record->responded_at_us - record->created_at_us - SIM_SERIAL_TIME_US);
    }
}

/* --- Commits. --- */

static void note_change(struct sim_model *model, uint64_t number, int32_t order, uint32_t version) {
    if (number >= model->change_capacity) {
        model->change_capacity = number * 2 + 1024;
        model->changes = realloc(model->changes, model->change_capacity * sizeof(*model->changes));
        assert(model->changes != NULL);
    }
    model->changes[number] = (struct sim_change){order, version};
    model->next_change = number + 1;
}

static int32_t commit_created(struct sim *sim, const struct order_record *record) {
    struct sim_model *model = &sim->model;
    uint64_t order_id = record->order_id;
    unsigned slot = order_id_decode(order_id).slot;
    uint32_t reference = sim_reference_of(record);
    struct sim_order *before = sim_model_newest(model, reference);
    SIM_CHECK(sim, sim_model_find(model, order_id) == NULL, "id %llu was given twice",
              (unsigned long long)order_id);
    SIM_CHECK(sim, order_id > model->last_id[slot],
              "id %llu is not above %llu, the last in slot %u", (unsigned long long)order_id,
              (unsigned long long)model->last_id[slot], slot);
    SIM_CHECK(sim, slot == order_slot_from_hash(order_record_reference_hash(record)),
              "id %llu has another slot than its reference", (unsigned long long)order_id);
    SIM_CHECK(sim, before == NULL || sim_model_is_expired(sim, before, record->created_at_us),
              "reference %u has two live orders: %llu and %llu", reference,
              before == NULL ? 0 : (unsigned long long)before->order_id,
              (unsigned long long)order_id);
    if (model->count == model->capacity) {
        model->capacity = model->capacity * 2 + 256;
        model->orders = realloc(model->orders, (size_t)model->capacity * sizeof(*model->orders));
        assert(model->orders != NULL);
    }
    int32_t *bucket = &model->buckets[hash_mix(order_id) % SIM_MODEL_BUCKETS];
    model->orders[model->count] = (struct sim_order){
        .order_id = order_id,
        .reference = reference,
        .next = *bucket,
        .older = model->newest[reference],
    };
    sim->counters.orders_created++;
    sim->counters.references_reused += model->newest[reference] >= 0 ? 1 : 0;
    model->last_id[slot] = order_id;
    model->newest[reference] = model->count;
    *bucket = model->count;
    return model->count++;
}

static int32_t commit_changed(struct sim *sim, const struct order_record *record) {
    struct sim_model *model = &sim->model;
    struct sim_order *order = sim_model_find(model, record->order_id);
    SIM_CHECK(sim, order != NULL, "order %llu was changed, but never created",
              (unsigned long long)record->order_id);
    const struct order_record *before = sim_order_record(order);
    SIM_CHECK(sim, record->version == order->version + 1 && record->version <= SIM_VERSIONS_MAX,
              "order %llu went from version %u to %u", (unsigned long long)record->order_id,
              order->version, record->version);
    SIM_CHECK(sim, order_status_may_become(before->status, record->status),
              "order %llu went from %s to %s", (unsigned long long)record->order_id,
              order_status_name(before->status), order_status_name(record->status));
    SIM_CHECK(sim,
              order_record_same_reference(before, record) && before->amount == record->amount &&
                  before->created_at_us == record->created_at_us &&
                  before->updated_at_us <= record->updated_at_us,
              "order %llu changed in what never changes", (unsigned long long)record->order_id);
    sim->counters.orders_changed++;
    sim->counters.orders_timed_out += record->status == ORDER_STATUS_TIMEOUT ? 1 : 0;
    return (int32_t)(order - model->orders);
}

void sim_model_commit(struct sim *sim, uint64_t number, const struct order_record *record) {
    struct sim_model *model = &sim->model;
    SIM_CHECK(sim, order_record_check(record) == ORDER_RECORD_VALID,
              "change %llu holds no valid record", (unsigned long long)number);
    SIM_CHECK(sim, number == model->next_change, "change %llu stands where %llu was expected",
              (unsigned long long)number, (unsigned long long)model->next_change);
    int32_t at = record->version == 1 ? commit_created(sim, record) : commit_changed(sim, record);
    model->orders[at].version = record->version;
    model->orders[at].records[record->version - 1] = *record;
    note_change(model, number, at, record->version);
    commit_request(sim, record);
    sim_note(sim, record->order_id + record->version);
}

static void check_archived(const struct sim *sim, const struct sim_order *order, const char *when) {
    const struct order_record *archived = sim_archive_peek(&sim->archive, order->order_id);
    SIM_CHECK(sim, archived != NULL, "order %llu is not in the archive, %s",
              (unsigned long long)order->order_id, when);
    SIM_CHECK(sim, memcmp(archived, sim_order_record(order), sizeof(*archived)) == 0,
              "order %llu is in the archive with other bytes, %s",
              (unsigned long long)order->order_id, when);
}

void sim_model_release(struct sim *sim, uint64_t order_id) {
    struct sim_order *order = sim_model_find(&sim->model, order_id);
    SIM_CHECK(sim, order != NULL, "order %llu was released, but never created",
              (unsigned long long)order_id);
    SIM_CHECK(sim, order_status_is_final(sim_order_record(order)->status),
              "order %llu was released as %s", (unsigned long long)order_id,
              order_status_name(sim_order_record(order)->status));
    check_archived(sim, order, "but was released");
    order->released = true;
}

const struct sim_order *sim_model_check_shown(const struct sim *sim,
                                              const struct order_record *record) {
    SIM_CHECK(sim, order_record_check(record) == ORDER_RECORD_VALID,
              "order %llu was shown with a record that is not valid",
              (unsigned long long)record->order_id);
    const struct sim_order *order = sim_model_find(&sim->model, record->order_id);
    SIM_CHECK(sim, order != NULL, "order %llu was shown, but never committed",
              (unsigned long long)record->order_id);
    SIM_CHECK(sim, record->version <= order->version,
              "order %llu was shown at version %u, but only %u is committed",
              (unsigned long long)record->order_id, record->version, order->version);
    SIM_CHECK(sim, memcmp(record, &order->records[record->version - 1], sizeof(*record)) == 0,
              "order %llu was shown at version %u with other bytes than were committed",
              (unsigned long long)record->order_id, record->version);
    return order;
}

/* --- Homes. --- */

enum { SEEN_HOT = 1, SEEN_EVICTABLE = 2 };

static void see(void *context, const struct order_table_entry *entry) {
    struct sim *sim = context;
    struct sim_order *order = sim_model_find(&sim->model, entry->order_id);
    SIM_CHECK(sim, order != NULL, "the table holds order %llu, which was never committed",
              (unsigned long long)entry->order_id);
    SIM_CHECK(sim, order->seen == 0, "the table holds order %llu twice",
              (unsigned long long)entry->order_id);
    SIM_CHECK(sim, entry->version == order->version,
              "the table holds order %llu at version %u instead of %u",
              (unsigned long long)entry->order_id, entry->version, order->version);
    order->seen = entry->evictable ? SEEN_EVICTABLE : SEEN_HOT;
}

static void check_home(struct sim *sim, const struct sim_order *order) {
    struct order_record record;
    unsigned long long id = order->order_id;
    SIM_CHECK(sim, order->released || order->seen == SEEN_HOT,
              order->seen == 0 ? "order %llu is lost: it was never released, and is not hot"
                               : "order %llu may be evicted, but was never released",
              id);
    SIM_CHECK(sim, !order->released || order->seen != SEEN_HOT,
              "order %llu was released, and is hot again", id);
    if (order->released) {
        check_archived(sim, order, "its only home");
    }
    if (order->seen != 0) {
        bool found = order_table_get(sim->process->core.table, order->order_id, &record);
        SIM_CHECK(sim, found && memcmp(&record, sim_order_record(order), sizeof(record)) == 0,
                  "the table holds order %llu with other bytes than were committed", id);
    }
}

void sim_model_check_homes(struct sim *sim) {
    struct sim_model *model = &sim->model;
    uint64_t cursor = 0;
    for (int32_t i = 0; i < model->count; i++) {
        model->orders[i].seen = 0;
    }
    order_table_scan(sim->process->core.table, &cursor, UINT64_MAX / 2, see, sim);
    for (int32_t i = 0; i < model->count; i++) {
        check_home(sim, &model->orders[i]);
    }
}
