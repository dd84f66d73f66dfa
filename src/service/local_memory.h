/** The local memory of a query instance on a cluster: the RAM table, and the one writer that it
 *  has. Step 4 of the command side, step 1 of the query side.
 *
 *  Two sources:
 *  - The log of changes, from its newest on at the start. Every change is put, whether the order
 *    was held or not, by version. What the log told is trusted for as long as the log is followed.
 *  - What look-ups found below (the port order_cache, of which there is only put). A final order
 *    never changes and stays. Any other may have been old when it was read: it is trusted for
 *    memory.fill_trust_ms and then leaves, so that the next read asks below again, unless a change
 *    of the same version or a higher one came meanwhile.
 *
 *  How far it can be trusted: four times a second it asks where the log ends. Once everything
 *  before that end is in the table, the table was current at the moment of the question, and may
 *  be believed for memory.lag_max_ms from then. So a log that does not answer, a follower that is
 *  behind and a process that was stopped are one case: the time runs out
 *  (local_memory_current_until), readers believe only final orders, and nothing else is put from
 *  below. Whatever was missed comes in order later, so nothing need be thrown away. Only where the
 *  position is lost (GONE, INVALID) is something missed for good: then every order that is not
 *  final leaves, a slice at a time, before anything is believed again.
 *
 *  Who reads an order and then follows it must not miss what came between: so it follows through
 *  local_memory_changes, a view of the same log whose newest change is the newest in the table.
 *
 *  Messages of `orders.refresh` of kind `repair` take an order out: what a tier below had of it was
 *  false. Look-ups that had read it before may still offer it, so offers of it are refused for a
 *  while.
 *
 *  A plain state machine: local_memory_step does what is due.
 *  @thread its own, but for the port (struct order_cache), which any thread uses. */
#ifndef ORDERD_SERVICE_LOCAL_MEMORY_H
#define ORDERD_SERVICE_LOCAL_MEMORY_H

#include "base/clock.h"
#include "base/log.h"
#include "base/metrics.h"
#include "memory/memory_options.h"
#include "memory/order_table.h"
#include "port/change_log.h"
#include "port/message_topic.h"
#include "port/order_cache.h"

/** Changes of one read, repairs of one read, and offers that may wait to be taken. */
#define LOCAL_MEMORY_CHANGES 1024
#define LOCAL_MEMORY_REPAIRS 256
#define LOCAL_MEMORY_OFFERS 1024

/** Watches of local_memory_changes. */
#define LOCAL_MEMORY_WATCHES 512

/** Filled orders that may be on trust at once; further ones are not put. */
#define LOCAL_MEMORY_FILLS 262144

/** Repaired orders that are remembered, and for how long: longer than a look-up takes. */
#define LOCAL_MEMORY_REPAIRED 256
#define LOCAL_MEMORY_REPAIRED_US INT64_C(10000000)

#define LOCAL_MEMORY_METRICS(X)                                                                    \
    X(counter, changes_total, "Changes that were read from the log")                               \
    X(counter, changes_put_total, "Of them, those that were newer than what memory had")           \
    X(counter, fills_total, "Orders that memory took from look-ups")                               \
    X(counter, fills_refused_total,                                                                \
      "Orders from look-ups that were not taken: it was behind the log, had no room to doubt "     \
      "them, or they were just repaired")                                                          \
    X(counter, confirmed_total, "Filled orders that a change confirmed or replaced")               \
    X(counter, revalidations_total,                                                                \
      "Filled orders that left as their trust ended: the next read asks below again")              \
    X(counter, repairs_total, "Orders dropped because a tier below had something false")           \
    X(counter, repairs_invalid_total, "Repairs without an order id; passed over")                  \
    X(counter, gaps_total, "Times that the position in the log was lost")                          \
    X(counter, swept_total, "Orders that left after that")                                         \
    X(counter, behind_total, "Times that memory was too far behind the log to be believed")        \
    X(counter, follow_failures_total, "Times that the log did not answer")                         \
    X(gauge, current, "1 while memory is believed, 0 while only final orders of it are")           \
    X(gauge, lag_microseconds, "Time since memory is known to have had every change of the log")

struct local_memory_metrics {
    LOCAL_MEMORY_METRICS(METRIC_FIELD)
};
extern const struct metric_description local_memory_metric_table[];
extern const size_t local_memory_metric_count;

struct local_memory;

struct local_memory_parts {
    const struct clock *clock; /* also of those who ask for current_until */
    struct log *log;
    struct order_table *table; /* it writes, nobody else */
    struct change_log *changes;
    struct topic_reader *repairs; /* of orders.refresh, without a group; NULL: none */
    struct mailbox *mailbox;      /* of the thread that drives it */
    const struct memory_options *options;
};

/** NULL where memory is short. */
struct local_memory *local_memory_create(const struct local_memory_parts *parts);

/** Completes the offers that still wait. NULL will do. */
void local_memory_destroy(struct local_memory *memory);

/** Takes what look-ups found. */
struct order_cache *local_memory_cache(struct local_memory *memory);

/** The log of changes as far as the table has it: whoever takes its `newest` and then reads an
 * order reads it with every change up to there. Watches are woken when the table has something new.
 */
struct change_log *local_memory_changes(struct local_memory *memory);

/** Until when orders that are not final may be believed, on the clock's scale. @thread any. */
const _Atomic int64_t *local_memory_current_until(const struct local_memory *memory);

struct local_memory_metrics *local_memory_metrics(struct local_memory *memory);

/** Completions that may be in the mailbox at once. */
#define LOCAL_MEMORY_OUTSTANDING_MAX 3

/** Does what is due. Returns the time, on the clock's scale, before which there is nothing more to
 *  do unless something completes, is offered, or is new in the log. */
int64_t local_memory_step(struct local_memory *memory);

MUST_CHECK bool local_memory_is_busy(const struct local_memory *memory);

#endif
