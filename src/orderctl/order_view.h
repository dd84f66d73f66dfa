/** An order, as the service's JSON has it, for a person to read. */
#ifndef ORDERD_ORDERCTL_ORDER_VIEW_H
#define ORDERD_ORDERCTL_ORDER_VIEW_H

#include <jansson.h>
#include <stdio.h>

/** Writes the order as a small table, one member a line; members that are null are left out. */
void order_view_write(const json_t *order, FILE *out);

/** Writes one line for a stream: time, what happened, id, status and version. */
void order_view_write_line(const json_t *order, const char *event, FILE *out);

#endif
