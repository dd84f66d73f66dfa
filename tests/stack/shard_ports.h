/** The ports of one shard that the relay needs beside its log, over one connection and a thread of
 *  their own: the lease in `positions`, and the scan of `orders`. For the programs of the tests and
 *  the bench alone. */
#ifndef ORDERD_TESTS_STACK_SHARD_PORTS_H
#define ORDERD_TESTS_STACK_SHARD_PORTS_H

#include "adapter/mariadb_binlog/binlog_options.h"
#include "base/log.h"
#include "port/lease.h"
#include "port/order_store.h"

struct shard_ports;

/** `owner`: what stands in `positions` for this process. NULL where that is not possible. */
struct shard_ports *shard_ports_create(const struct binlog_server *server, const char *owner,
                                       struct log *log);
void shard_ports_destroy(struct shard_ports *ports);
struct lease_port *shard_ports_lease(struct shard_ports *ports);
struct order_store *shard_ports_store(struct shard_ports *ports);

#endif
