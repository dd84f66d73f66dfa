/** The log: one line an event on a file descriptor, `TIME LEVEL COMPONENT: MESSAGE`, written with
 *  one write so that lines of several threads do not mix. Control characters in a message are
 *  replaced, since parts of it come from outside.
 *  @thread any. */
#ifndef ORDERD_BASE_LOG_H
#define ORDERD_BASE_LOG_H

#include "base/bytes.h"

#include <stdatomic.h>

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARNING, LOG_ERROR };

struct log {
    int fd;                    /* borrowed */
    _Atomic int minimum_level; /* enum log_level */
    _Atomic uint64_t lines_dropped;
};

/* Lines that a call site with a limit may write at once after a time of silence: enough for each of
 * a handful of orders to be named, too few to fill a disk. */
#define LOG_LIMIT_BURST 32

/** Lets one call site speak once a second, and up to LOG_LIMIT_BURST times at once where it was
 *  silent before; says how often it was kept back. Zeroed at the start; used by one thread. */
struct log_limit {
    int64_t refilled_us; /* up to when `spent` was lowered, one a second */
    uint32_t spent;      /* of LOG_LIMIT_BURST */
    uint64_t suppressed;
};

void log_init(struct log *log, int fd, enum log_level minimum_level);

void log_write(struct log *log, enum log_level level, const char *component, const char *format,
               ...) __attribute__((format(printf, 4, 5)));

/** As log_write, for as long as `limit` lets it. */
void log_write_limited(struct log *log, struct log_limit *limit, enum log_level level,
                       const char *component, const char *format, ...)
    __attribute__((format(printf, 5, 6)));

#define log_debug(log, ...) log_write((log), LOG_DEBUG, __VA_ARGS__)
#define log_info(log, ...) log_write((log), LOG_INFO, __VA_ARGS__)
#define log_warning(log, ...) log_write((log), LOG_WARNING, __VA_ARGS__)
#define log_error(log, ...) log_write((log), LOG_ERROR, __VA_ARGS__)

#endif
