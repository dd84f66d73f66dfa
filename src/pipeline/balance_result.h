/** A message of the balance service (API, section 8) as a change of an order. Pure. */
#ifndef ORDERD_PIPELINE_BALANCE_RESULT_H
#define ORDERD_PIPELINE_BALANCE_RESULT_H

#include "order/change.h"
#include "order/json_reader.h"

/** Reads `{"order_id": "...", "result": "...", "bank_code": "...", "responded_at": "..."}` into
 *  `change`, without a condition. The first two are required, the others may be missing or null;
 *  members that are not known are passed over. NULL, or why the message cannot be used: a literal.
 *  With `processing` the time has no meaning and is left out. */
MUST_CHECK const char *balance_result_read(struct slice message, struct json_keys *keys,
                                           struct order_change *change);

#endif
