#include "base/fault.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void fault_set(struct fault *fault, const char *format, ...) {
    if (fault == NULL) {
        return;
    }
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(fault->text, sizeof(fault->text), format, arguments);
    va_end(arguments);
}

void fault_set_errno(struct fault *fault, int error_number, const char *format, ...) {
    if (fault == NULL) {
        return;
    }
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(fault->text, sizeof(fault->text), format, arguments);
    va_end(arguments);

    char reason[128];
    const char *text = strerror_r(error_number, reason, sizeof(reason));
    size_t used = strlen(fault->text);
    (void)snprintf(fault->text + used, sizeof(fault->text) - used, ": %s", text);
}
