#include "adapter/kafka/kafka_ends.h"

#include "base/clock.h"

#include <librdkafka/rdkafka.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#define INBOX_CAPACITY 16
#define IDLE_WAIT_MS 1000
#define RETRY_PAUSE_MS 100

struct kafka_ends {
    rd_kafka_t *client;
    const char *topic;
    uint32_t parts;
    int timeout_ms;
    struct mailbox inbox;
    pthread_t thread;
    _Atomic uint32_t stopping;
};

/** One request to the leader of each partition, all at once. The offset that goes in is the time
 *  that is asked for, of which "end" is a value of the protocol's. */
static rd_kafka_resp_err_t ask(rd_kafka_t *client, const char *topic, uint32_t parts,
                               int timeout_ms, struct change_cursor *end) {
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new((int)parts);
    *end = (struct change_cursor){.parts = parts};
    for (uint32_t i = 0; i < parts; i++) {
        rd_kafka_topic_partition_list_add(list, topic, (int32_t)i)->offset = RD_KAFKA_OFFSET_END;
    }
    rd_kafka_resp_err_t error = rd_kafka_offsets_for_times(client, list, timeout_ms);
    for (int i = 0; i < list->cnt && error == RD_KAFKA_RESP_ERR_NO_ERROR; i++) {
        const rd_kafka_topic_partition_t *part = &list->elems[i];
        error = part->err;
        if (error == RD_KAFKA_RESP_ERR_NO_ERROR && part->offset < 0) {
            error = RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE; /* nobody answered for it */
        } else if (error == RD_KAFKA_RESP_ERR_NO_ERROR) {
            end->positions[part->partition] = (uint64_t)part->offset;
        }
    }
    rd_kafka_topic_partition_list_destroy(list);
    return error;
}

bool kafka_ends_find(struct rd_kafka_s *client, const char *topic, uint32_t parts,
                     uint64_t timeout_ms, struct change_cursor *end, struct fault *fault) {
    static const struct timespec pause = {.tv_nsec = RETRY_PAUSE_MS * 1000000L};
    int64_t until_us = clock_monotonic_us() + (int64_t)timeout_ms * 1000;
    for (;;) {
        int64_t left_ms = (until_us - clock_monotonic_us()) / 1000;
        rd_kafka_resp_err_t error = ask(client, topic, parts, left_ms > 1 ? (int)left_ms : 1, end);
        if (error == RD_KAFKA_RESP_ERR_NO_ERROR) {
            return true;
        }
        if (left_ms <= RETRY_PAUSE_MS) {
            fault_set(fault, "kafka: the end of %s is not known: %s", topic,
                      rd_kafka_err2str(error));
            return false;
        }
        (void)nanosleep(&pause, NULL);
    }
}

static void *run(void *context) {
    struct kafka_ends *ends = context;
    for (;;) {
        bool stopping = atomic_load_explicit(&ends->stopping, memory_order_acquire) != 0;
        struct change_end *request = mailbox_take(&ends->inbox);
        if (request != NULL) {
            bool told = !stopping && ask(ends->client, ends->topic, ends->parts, ends->timeout_ms,
                                         &request->end) == RD_KAFKA_RESP_ERR_NO_ERROR;
            request->result = told ? CHANGE_READ_OK : CHANGE_READ_UNAVAILABLE;
            port_complete(&request->request);
        } else if (stopping) {
            return NULL;
        } else {
            mailbox_wait(&ends->inbox, IDLE_WAIT_MS);
        }
    }
}

struct kafka_ends *kafka_ends_create(struct rd_kafka_s *client, const char *topic, uint32_t parts,
                                     uint64_t timeout_ms, struct fault *fault) {
    struct kafka_ends *ends = aligned_alloc(CACHE_LINE_BYTES, sizeof(*ends));
    fault_set(fault, "kafka: no memory to ask for the end of %s", topic);
    if (ends == NULL) {
        return NULL;
    }
    memset(ends, 0, sizeof(*ends));
    ends->client = client;
    ends->topic = topic;
    ends->parts = parts;
    ends->timeout_ms = (int)timeout_ms;
    if (!mailbox_init(&ends->inbox, INBOX_CAPACITY)) {
        free(ends);
        return NULL;
    }
    int error = pthread_create(&ends->thread, NULL, run, ends);
    if (error != 0) {
        fault_set_errno(fault, error, "kafka: the thread that asks for ends cannot be started");
        mailbox_deinit(&ends->inbox);
        free(ends);
        return NULL;
    }
    (void)pthread_setname_np(ends->thread, "kafka-ends");
    return ends;
}

void kafka_ends_destroy(struct kafka_ends *ends) {
    if (ends == NULL) {
        return;
    }
    atomic_store_explicit(&ends->stopping, 1, memory_order_release);
    mailbox_wake(&ends->inbox);
    (void)pthread_join(ends->thread, NULL);
    mailbox_deinit(&ends->inbox);
    free(ends);
}

enum port_submit kafka_ends_ask(struct kafka_ends *ends, struct change_end *request) {
    return mailbox_send(&ends->inbox, request) ? PORT_TAKEN : PORT_BUSY;
}
