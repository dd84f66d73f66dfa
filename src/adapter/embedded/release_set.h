/** A growing set of order ids, for the rare start that has to know which orders left. One
 *  thread. */
#ifndef ORDERD_ADAPTER_EMBEDDED_RELEASE_SET_H
#define ORDERD_ADAPTER_EMBEDDED_RELEASE_SET_H

#include "base/bytes.h"

struct release_set;

struct release_set *release_set_create(void);
void release_set_destroy(struct release_set *set); /* NULL is fine */

/** False where memory is short. */
MUST_CHECK bool release_set_add(struct release_set *set, uint64_t order_id);
MUST_CHECK bool release_set_contains(const struct release_set *set, uint64_t order_id);

#endif
