#include "orderd/change_log_none.h"

static enum port_submit read_none(struct change_log *log, struct change_read_batch *batch) {
    (void)log;
    batch->count = 0;
    batch->result = CHANGE_READ_UNAVAILABLE;
    port_complete(&batch->request);
    return PORT_TAKEN;
}

static void newest(struct change_log *log, struct change_cursor *cursor) {
    (void)log;
    *cursor = (struct change_cursor){.parts = 1};
}

static void watch(struct change_log *log, struct change_watch *watch) {
    (void)log;
    (void)watch;
}

static const struct change_log_ops none_ops = {.read = read_none, .newest = newest, .watch = watch};

void change_log_none_init(struct change_log *log) {
    log->ops = &none_ops;
}
