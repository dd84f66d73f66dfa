/** Options of the local memory. */
#ifndef ORDERD_MEMORY_MEMORY_OPTIONS_H
#define ORDERD_MEMORY_MEMORY_OPTIONS_H

#include "base/config.h"

#define MEMORY_OPTIONS(X)                                                                          \
    X(uint64, budget_mb, "1024", "8..16777216", start,                                             \
      "Memory for orders: the RAM table with both indices, the filter of archived references and " \
      "the newest changes, MiB")                                                                   \
    X(uint64, reference_filter_mb, "0", "0..1048576", start,                                       \
      "Part of it for the filter of archived references, MiB; 0: a sixteenth")                     \
    X(uint64, fill_trust_ms, "1000", "0..60000", start,                                            \
      "On a cluster: how long an order that is not final and came from a tier below is believed "  \
      "before that is asked again; 0: it is not kept")                                             \
    X(uint64, lag_max_ms, "2000", "500..600000", start,                                            \
      "On a cluster: how far memory may be behind the log of changes; beyond it only final "       \
      "orders are served from memory")                                                             \
    X(flag, populate, "no", "", start,                                                             \
      "Take all of the budget from the system before the start is over: no order waits for a "     \
      "page later; else the part that holds whole orders grows as it is used")

struct memory_options {
    MEMORY_OPTIONS(CONFIG_FIELD)
};
extern const struct config_option memory_option_table[];
extern const size_t memory_option_count;

/** How the budget is divided, bytes. */
struct memory_shares {
    uint64_t table_bytes;
    uint64_t filter_bytes;
    bool populate; /* all of it at the start */
};

/** @param other_bytes what else must find room in the budget. False where there is too little. */
MUST_CHECK bool memory_options_divide(const struct memory_options *options, uint64_t other_bytes,
                                      struct memory_shares *shares, struct fault *fault);

#endif
