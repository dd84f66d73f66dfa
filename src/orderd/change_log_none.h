/** A log of changes for a process that follows none: a read answers that it is not available.
 *  It has no state: any thread. */
#ifndef ORDERD_ORDERD_CHANGE_LOG_NONE_H
#define ORDERD_ORDERD_CHANGE_LOG_NONE_H

#include "port/change_log.h"

void change_log_none_init(struct change_log *log);

#endif
