/** What must be true: every change that the store has published, in order, and what became of each
 *  order. Fed from the newest changes right after each step of the store, before anybody else could
 *  hear of them; what clients are told, and what a recovery finds, is held against it.
 *
 *  One thread: the simulator's. */
#ifndef ORDERD_TESTS_SIM_MODEL_H
#define ORDERD_TESTS_SIM_MODEL_H

#include "order/order_id.h"
#include "order/record.h"

/** Versions of an order: created, and changed twice at most. */
#define SIM_VERSIONS_MAX 3
#define SIM_MODEL_BUCKETS 4096

struct sim;

struct sim_order {
    struct order_record records[SIM_VERSIONS_MAX]; /* by version, from 1 */
    bool acknowledged[SIM_VERSIONS_MAX];           /* to the client that made it */
    uint32_t version;                              /* the newest that is committed */
    bool released;                                 /* its release is committed */
    uint64_t order_id;
    uint32_t reference;
    int32_t next;  /* in the chain of its bucket; -1: the last */
    int32_t older; /* with the same reference; -1: none */
    uint32_t seen; /* used by the checks of the homes */
};

/** A change, by its number. */
struct sim_change {
    int32_t order;
    uint32_t version;
};

struct sim_model {
    struct sim_order *orders; /* owned */
    int32_t count;
    int32_t capacity;
    struct sim_change *changes; /* owned; [0] is not used: changes count from 1 */
    uint64_t next_change;
    uint64_t change_capacity;
    int32_t buckets[SIM_MODEL_BUCKETS];
    int32_t *newest; /* owned: by reference, the newest order; -1: none */
    uint32_t reference_count;
    uint32_t *salts; /* owned: by reference, what puts it into one of the slots */
    uint64_t last_id[ORDER_SLOT_COUNT];
    /** Creates and changes that can be told apart carry a number of their own. By number: what is
     *  known of it. [0] is not used. */
    uint8_t *serials; /* owned; enum sim_serial */
    uint32_t serial_count;
    uint32_t serial_capacity;
};

enum sim_serial { SIM_SERIAL_OPEN, SIM_SERIAL_COMMITTED, SIM_SERIAL_REFUSED };

/* The amount of a draft with a number of its own begins here. */
#define SIM_SERIAL_AMOUNT UINT64_C(1000000000)

/* A change with a number of its own gives a time so far behind the order's creation: later than the
 * clock ever says, and within the minute that a time may lie ahead. */
#define SIM_SERIAL_TIME_US INT64_C(59000000)

/** @param slot_count the references share so many slots, so that ids of a slot are short at
 *  times. */
void sim_model_init(struct sim_model *model, uint32_t reference_count, unsigned slot_count);
void sim_model_deinit(struct sim_model *model);

/** The text of a reference, and back. */
void sim_reference_set(const struct sim_model *model, struct order_record *record,
                       uint32_t reference);
uint32_t sim_reference_of(const struct order_record *record);

/** NULL where nobody has heard of it. */
struct sim_order *sim_model_find(const struct sim_model *model, uint64_t order_id);

/** The newest order of a reference; NULL where there is none. */
struct sim_order *sim_model_newest(const struct sim_model *model, uint32_t reference);

static inline const struct order_record *sim_order_record(const struct sim_order *order) {
    return &order->records[order->version - 1];
}

/** True where the order's reference may be used again at `now_us`. */
bool sim_model_is_expired(const struct sim *sim, const struct sim_order *order, int64_t now_us);

/** Change `number` was committed: it must follow from what was before. */
void sim_model_commit(struct sim *sim, uint64_t number, const struct order_record *record);

/** The release of an order was committed: the archive must have it. */
void sim_model_release(struct sim *sim, uint64_t order_id);

uint32_t sim_model_next_serial(struct sim_model *model);

/** The create or change with this number was refused: nothing may come of it. 0: it has none. */
void sim_model_refuse_serial(struct sim *sim, uint32_t serial);

/** Somebody was shown `record`: it must be what was committed as that version. */
const struct sim_order *sim_model_check_shown(const struct sim *sim,
                                              const struct order_record *record);

/** Every order is in its home: hot in the RAM table, or in the archive; the table has nothing
 *  else. */
void sim_model_check_homes(struct sim *sim);

#endif
