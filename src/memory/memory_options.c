#include "memory/memory_options.h"

#define MIB ((uint64_t)1 << 20)
#define FILTER_SHARE 16

const struct config_option memory_option_table[] = {
#define X(...) CONFIG_ENTRY_OF(struct memory_options, __VA_ARGS__)
    MEMORY_OPTIONS(X)
#undef X
};
const size_t memory_option_count = ARRAY_COUNT(memory_option_table);

bool memory_options_divide(const struct memory_options *options, uint64_t other_bytes,
                           struct memory_shares *shares, struct fault *fault) {
    uint64_t budget_bytes = options->budget_mb * MIB;
    shares->populate = options->populate;
    shares->filter_bytes = options->reference_filter_mb == 0 ? budget_bytes / FILTER_SHARE
                                                             : options->reference_filter_mb * MIB;
    if (shares->filter_bytes + other_bytes >= budget_bytes) {
        fault_set(fault,
                  "memory.budget_mb = %llu leaves nothing for orders: the filter and the newest "
                  "changes take %llu MiB",
                  (unsigned long long)options->budget_mb,
                  (unsigned long long)((shares->filter_bytes + other_bytes) / MIB));
        return false;
    }
    shares->table_bytes = budget_bytes - shares->filter_bytes - other_bytes;
    return true;
}
