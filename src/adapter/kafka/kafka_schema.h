/** The topics of the service, made on purpose: `orderctl schema apply`. */
#ifndef ORDERD_ADAPTER_KAFKA_KAFKA_SCHEMA_H
#define ORDERD_ADAPTER_KAFKA_KAFKA_SCHEMA_H

#include "adapter/kafka/kafka_options.h"

/** Makes the topics that are not there: partitions, replication and retention of the options,
 *  cleanup.policy=delete. One that is there with another number of partitions is an error. `made`
 * says how many there were to make. Blocks, at most three times kafka.request_timeout_ms. */
MUST_CHECK bool kafka_schema_apply(const struct kafka_options *options, struct log *log,
                                   size_t *made, struct fault *fault);

#endif
