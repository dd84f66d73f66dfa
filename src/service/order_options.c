#include "service/order_options.h"

#include "order/currency.h"

const struct config_option order_option_table[] = {
#define X(...) CONFIG_ENTRY_OF(struct order_options, __VA_ARGS__)
    ORDER_OPTIONS(X)
#undef X
};
const size_t order_option_count = ARRAY_COUNT(order_option_table);

bool order_options_read(const struct order_options *options, struct order_terms *terms,
                        struct fault *fault) {
    *terms = (struct order_terms){
        .timeout_us = (int64_t)options->timeout_seconds * 1000000,
        .window_us = (int64_t)options->idempotency_window_seconds * 1000000,
    };
    if (terms->window_us < terms->timeout_us) {
        fault_set(fault,
                  "order.idempotency_window_seconds: expected at least order.timeout_seconds "
                  "(%llu), got %llu",
                  (unsigned long long)options->timeout_seconds,
                  (unsigned long long)options->idempotency_window_seconds);
        return false;
    }
    const char *currency = options->currency.text;
    if (strlen(currency) == 3) {
        memcpy(terms->currency, currency, 3);
    }
    if (!order_currency_is_valid(terms->currency)) {
        fault_set(fault, "order.currency: expected a currency code of ISO 4217, got \"%.20s\"",
                  currency);
        return false;
    }
    return true;
}
