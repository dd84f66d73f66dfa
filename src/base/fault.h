/** The text of what went wrong, for a person: filled in where the error happens, passed up beside
 *  the module's own error value, printed once at the top. The caller owns the struct;
 *  one thread at a time. */
#ifndef ORDERD_BASE_FAULT_H
#define ORDERD_BASE_FAULT_H

#define FAULT_TEXT_MAX 512

struct fault {
    char text[FAULT_TEXT_MAX];
};

/** Formats the message, cut at FAULT_TEXT_MAX. `fault` may be NULL. */
void fault_set(struct fault *fault, const char *format, ...) __attribute__((format(printf, 2, 3)));

/** As fault_set, followed by ": " and the text of `error_number`. */
void fault_set_errno(struct fault *fault, int error_number, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
