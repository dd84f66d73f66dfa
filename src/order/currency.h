/** The currencies of ISO 4217 that are in circulation; no metals, funds or test codes.
 *  Pure, any thread. */
#ifndef ORDERD_ORDER_CURRENCY_H
#define ORDERD_ORDER_CURRENCY_H

#include "base/bytes.h"

/** `code` is three capitals and a zero byte, as in the record. */
MUST_CHECK bool order_currency_is_valid(const char code[4]);

#endif
