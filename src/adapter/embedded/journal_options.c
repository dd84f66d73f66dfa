#include "adapter/embedded/journal_options.h"

#define MIB ((uint64_t)1 << 20)

const struct config_option journal_option_table[] = {
#define X(...) CONFIG_ENTRY_OF(struct journal_options, __VA_ARGS__)
    JOURNAL_OPTIONS(X)
#undef X
};
const size_t journal_option_count = ARRAY_COUNT(journal_option_table);

bool journal_options_read(const struct journal_options *options, struct journal_limits *limits,
                          struct fault *fault) {
    *limits = (struct journal_limits){
        .segment_bytes = options->segment_mb * MIB,
        .segment_bytes_min = JOURNAL_SEGMENT_BYTES_MIN,
        .checkpoint_bytes = options->checkpoint_mb * MIB,
        .keep_bytes = options->keep_mb * MIB,
        .max_bytes = options->max_mb * MIB,
        .tail_changes = options->tail_changes,
        .checkpoint_block_bytes = CHECKPOINT_BLOCK_BYTES_MAX,
        .frame_records_max = JOURNAL_FRAME_RECORDS_MAX,
        .frame_releases_max = JOURNAL_FRAME_RELEASES_MAX,
    };
    if (options->max_mb < JOURNAL_SEGMENTS_MIN * options->segment_mb) {
        fault_set(
            fault,
            "journal.max_mb: expected at least four times journal.segment_mb (%llu), got %llu",
            (unsigned long long)(JOURNAL_SEGMENTS_MIN * options->segment_mb),
            (unsigned long long)options->max_mb);
        return false;
    }
    return true;
}

bool journal_limits_are_sound(const struct journal_limits *limits) {
    return limits->frame_records_max >= 1 &&
           limits->frame_records_max <= JOURNAL_FRAME_RECORDS_MAX &&
           limits->frame_releases_max >= 1 &&
           limits->frame_releases_max <= JOURNAL_FRAME_RELEASES_MAX &&
           limits->tail_changes >= limits->frame_records_max &&
           limits->checkpoint_block_bytes >= CHECKPOINT_BLOCK_BYTES_MIN &&
           limits->checkpoint_block_bytes <= CHECKPOINT_BLOCK_BYTES_MAX &&
           limits->checkpoint_block_bytes % ORDER_RECORD_BYTES == 0 &&
           limits->segment_bytes_min >=
               JOURNAL_BLOCK_BYTES +
                   JOURNAL_SEGMENT_FRAMES_MIN * journal_limits_frame_bytes(limits) &&
           limits->segment_bytes >= limits->segment_bytes_min &&
           limits->segment_bytes % JOURNAL_BLOCK_BYTES == 0 &&
           limits->segment_bytes <= JOURNAL_SEGMENT_BYTES_MAX &&
           limits->max_bytes >= JOURNAL_SEGMENTS_MIN * limits->segment_bytes;
}
