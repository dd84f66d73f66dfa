/** Options of the order's life, shared by services and pipelines. */
#ifndef ORDERD_SERVICE_ORDER_OPTIONS_H
#define ORDERD_SERVICE_ORDER_OPTIONS_H

#include "base/config.h"

#define ORDER_OPTIONS(X)                                                                           \
    X(uint64, timeout_seconds, "900", "1..31536000", start,                                        \
      "An order that is not final this long after its creation becomes `timeout`")                 \
    X(uint64, idempotency_window_seconds, "2592000", "1..315360000", start,                        \
      "How long a partner's reference finds its order again; not shorter than the time-out")       \
    X(text, currency, "VND", "", start, "Currency of an order that names none (ISO 4217)")

struct order_options {
    ORDER_OPTIONS(CONFIG_FIELD)
};
extern const struct config_option order_option_table[];
extern const size_t order_option_count;

/** What the options come to. */
struct order_terms {
    int64_t timeout_us;
    int64_t window_us;
    char currency[4]; /* zero-padded */
};

/** False, with one line in `fault`, where the options contradict each other. */
MUST_CHECK bool order_options_read(const struct order_options *options, struct order_terms *terms,
                                   struct fault *fault);

#endif
