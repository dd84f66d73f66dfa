#include "base/log.h"

#include "base/clock.h"
#include "base/rfc3339.h"

#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#define LOG_LINE_MAX 2048

void log_init(struct log *log, int fd, enum log_level minimum_level) {
    log->fd = fd;
    atomic_init(&log->minimum_level, (int)minimum_level);
    atomic_init(&log->lines_dropped, 0);
}

static void clean(char *line, size_t size) {
    for (size_t i = 0; i < size; i++) {
        unsigned char byte = (unsigned char)line[i];
        if (byte < 0x20 || byte == 0x7f) {
            line[i] = '?';
        }
    }
}

__attribute__((format(printf, 4, 0))) static void write_line(struct log *log, enum log_level level,
                                                             const char *component,
                                                             const char *format, va_list arguments,
                                                             uint64_t suppressed) {
    static const char *const names[] = {"debug", "info", "warning", "error"};
    char line[LOG_LINE_MAX];
    size_t room = sizeof(line) - 1; /* for the line feed */
    size_t size = rfc3339_format(clock_wall_us(), line);
    size += (size_t)snprintf(line + size, room - size, " %s %s: ", names[level], component);
    size_t message_at = size;
    int wanted = vsnprintf(line + size, room - size, format, arguments);
    if (wanted > 0) {
        size = bytes_min_size(size + (size_t)wanted, room - 1);
    }
    clean(line + message_at, size - message_at);
    if (suppressed > 0) {
        int more = snprintf(line + size, room - size, " (%llu like it not shown)",
                            (unsigned long long)suppressed);
        size = more > 0 ? bytes_min_size(size + (size_t)more, room - 1) : size;
    }
    line[size++] = '\n';
    if (write(log->fd, line, size) != (ssize_t)size) {
        atomic_fetch_add_explicit(&log->lines_dropped, 1, memory_order_relaxed);
    }
}

static bool is_silent(struct log *log, enum log_level level) {
    return (int)level < atomic_load_explicit(&log->minimum_level, memory_order_relaxed);
}

void log_write(struct log *log, enum log_level level, const char *component, const char *format,
               ...) {
    if (is_silent(log, level)) {
        return;
    }
    va_list arguments;
    va_start(arguments, format);
    write_line(log, level, component, format, arguments, 0);
    va_end(arguments);
}

/** True where one more line may be written, which is then spent. */
static bool may_speak(struct log_limit *limit, int64_t now_us) {
    const int64_t line_us = 1000000;
    int64_t earned = (now_us - limit->refilled_us) / line_us;
    if (earned >= limit->spent) {
        limit->spent = 0;
        limit->refilled_us = now_us;
    } else {
        limit->spent -= (uint32_t)earned;
        limit->refilled_us += earned * line_us;
    }
    if (limit->spent >= LOG_LIMIT_BURST) {
        return false;
    }
    limit->spent++;
    return true;
}

void log_write_limited(struct log *log, struct log_limit *limit, enum log_level level,
                       const char *component, const char *format, ...) {
    if (is_silent(log, level)) {
        return;
    }
    if (!may_speak(limit, clock_monotonic_us())) {
        limit->suppressed++;
        return;
    }
    va_list arguments;
    va_start(arguments, format);
    write_line(log, level, component, format, arguments, limit->suppressed);
    va_end(arguments);
    limit->suppressed = 0;
}
