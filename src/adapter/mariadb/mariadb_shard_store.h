/** The store as one shard of it: a scan walks that shard alone; everything else is the whole
 *  store's. For work that is led shard by shard: a relay's snapshot, the sweeper of overdue orders.
 *  @thread one submitter, with one scan at a time. */
#ifndef ORDERD_ADAPTER_MARIADB_MARIADB_SHARD_STORE_H
#define ORDERD_ADAPTER_MARIADB_MARIADB_SHARD_STORE_H

#include "adapter/mariadb/mariadb.h"

struct mariadb_shard_store;

/** NULL where memory is short. */
struct mariadb_shard_store *mariadb_shard_store_create(struct mariadb *mariadb, size_t shard);

/** Nothing of it is under way. NULL will do. */
void mariadb_shard_store_destroy(struct mariadb_shard_store *store);

struct order_store *mariadb_shard_store_port(struct mariadb_shard_store *store);

#endif
