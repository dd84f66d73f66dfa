/** Problem documents (RFC 9457) as the service sends them, for a person to read. */
#ifndef ORDERD_ORDERCTL_PROBLEM_H
#define ORDERD_ORDERCTL_PROBLEM_H

#include "base/text.h"

#include <jansson.h>
#include <stdio.h>

/** Appends one line: `409 Conflict: the reference has another order (order 123)`, and the fields
 *  that are wrong behind it, each after `separator`. @param status where the document has none. */
void problem_describe(const json_t *problem, long status, const char *separator, struct text *out);

/** Writes text that comes from outside: whatever could steer a terminal becomes a question mark. */
void problem_write_safe(struct slice text, FILE *out);

/** The text of a member; NULL where there is none. */
const char *problem_member(const json_t *object, const char *name);

#endif
