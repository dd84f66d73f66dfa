/** What an operator does to the positions of the pipelines, beside the lease port: `positions` on
 *  shard 0. For orderctl; orderd itself moves positions through mariadb_leases.h. */
#ifndef ORDERD_ADAPTER_MARIADB_MARIADB_POSITIONS_H
#define ORDERD_ADAPTER_MARIADB_MARIADB_POSITIONS_H

#include "adapter/mariadb/mariadb_connection.h"

/** Empties the position that is stored under `name`, and takes the lease away from whoever holds
 * it, in one statement: the next holder, be it the same one, begins without a position.
 * `was_there`: there was such a row; without one there is nothing to forget.
 *
 *  OK; LOST: shard 0 does not answer, and whether it was done is not known (asking again does no
 *  harm); REFUSED: it is no server to work with. `fault` is one line then. Call
 *  mariadb_library_begin first. Blocks, no longer than connecting and two answers may take.
 *  @thread any. */
MUST_CHECK enum mariadb_status mariadb_position_forget(const struct mariadb_settings *settings,
                                                       struct slice name, struct log *log,
                                                       bool *was_there, struct fault *fault);

#endif
