/** Asks the brokers where a topic ends. The library waits for their answer, so this has a thread of
 *  its own: neither those who follow nor those who are behind wait for it. */
#ifndef ORDERD_ADAPTER_KAFKA_KAFKA_ENDS_H
#define ORDERD_ADAPTER_KAFKA_KAFKA_ENDS_H

#include "adapter/kafka/kafka_options.h"
#include "port/change_log.h"

struct kafka_ends;
struct rd_kafka_s;

/** Finds where every partition ends, waiting at most `timeout_ms`: a topic that was made a moment
 *  ago is not known everywhere yet. False, with a line in `fault`, where the brokers do not say. */
MUST_CHECK bool kafka_ends_find(struct rd_kafka_s *client, const char *topic, uint32_t parts,
                                uint64_t timeout_ms, struct change_cursor *end,
                                struct fault *fault);

/** Starts the thread. `client` is borrowed and outlives it. NULL, with a line in `fault`, where
 *  that is not possible. @param timeout_ms limit for one question. */
struct kafka_ends *kafka_ends_create(struct rd_kafka_s *client, const char *topic, uint32_t parts,
                                     uint64_t timeout_ms, struct fault *fault);

/** What is under way completes first. NULL will do. */
void kafka_ends_destroy(struct kafka_ends *ends);

/** @thread any. */
enum port_submit kafka_ends_ask(struct kafka_ends *ends, struct change_end *request);

#endif
