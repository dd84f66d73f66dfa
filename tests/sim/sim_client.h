/** The clients of the simulated service. Each asks for one thing at a time; when it begins, what is
 *  committed by then is noted, and the answer is held against that: nothing older may come back,
 *  and nothing that was never committed. Clients outlive the process; what they wait for is cut off
 *  when it ends. */
#ifndef ORDERD_TESTS_SIM_CLIENT_H
#define ORDERD_TESTS_SIM_CLIENT_H

#include "sim_process.h"

#define SIM_BATCH_MAX 40
#define SIM_MANY_MAX 700
#define SIM_FOLLOW_MAX 64

struct sim_client {
    uint32_t number;
    struct sim_operation *operation; /* under way; NULL: none */
    /** Followers of the change log: the last change that was seen. */
    bool follows;
    uint64_t position;
};

enum sim_kind { SIM_CREATE, SIM_CREATE_BATCH, SIM_CHANGE, SIM_GET, SIM_MANY, SIM_FIND, SIM_FOLLOW };

/** One create, and what was known of its reference when it was asked for. */
struct sim_create_view {
    struct order_record draft;
    int32_t newest; /* index of the order in the model; -1: none */
    uint32_t newest_version;
    uint32_t serial; /* 0: the draft has no number of its own */
};

/** What a read of many has for each item. */
struct sim_many {
    uint64_t ids[SIM_MANY_MAX];
    uint32_t known_versions[SIM_MANY_MAX];
    struct order_state states[SIM_MANY_MAX];
    struct order_record orders[SIM_MANY_MAX];
};

struct sim_operation {
    enum sim_kind kind;
    struct sim *sim;
    struct sim_loop *loop;
    struct sim_client *client;
    struct sim_operation *next; /* in the loop's list */
    int64_t begun_us;
    uint64_t begun_step;
    union {
        struct {
            struct command_create service;
            struct sim_create_view view;
        } create;
        struct {
            struct order_create_batch port;
            struct order_record orders[SIM_BATCH_MAX];
            uint64_t hashes[SIM_BATCH_MAX];
            uint8_t results[SIM_BATCH_MAX];
            struct sim_create_view views[SIM_BATCH_MAX];
        } batch;
        struct {
            struct command_change service;
            uint32_t
                known_version; /* committed when it was asked for; 0: there was no such order */
            uint32_t serial;   /* 0: the change has no number of its own */
        } change;
        struct {
            struct query_get service;
            uint32_t known_version;
        } get;
        struct {
            struct query_many service;
            struct sim_many *items; /* owned */
        } many;
        struct {
            struct query_find service;
            uint32_t reference;
            int32_t newest;
            uint32_t newest_version;
        } find;
        struct {
            struct change_read_batch port;
            struct order_record orders[SIM_FOLLOW_MAX];
            uint64_t positions[SIM_FOLLOW_MAX];
            uint8_t parts[SIM_FOLLOW_MAX];
            uint64_t next_change; /* of the model */
        } follow;
    };
};

void sim_clients_init(struct sim *sim);
void sim_clients_deinit(struct sim *sim);

/** One turn of a network loop: completions, new requests, flush. */
bool sim_clients_run_loop(struct sim *sim, size_t loop);

/** The process ends: nobody hears from it any more. */
void sim_clients_cut_off(struct sim *sim, struct sim_loop *loop);

/** True where nobody waits for anything, and every follower has seen all. */
bool sim_clients_are_through(const struct sim *sim);

/** Nobody waits for ever, whatever is wrong. */
void sim_clients_check_waits(const struct sim *sim);

/* --- Between the files of the clients. --- */

struct sim_operation *sim_operation_begin(struct sim *sim, struct sim_loop *loop,
                                          struct sim_client *client, enum sim_kind kind);
void sim_operation_end(struct sim_operation *operation, uint64_t outcome);

void sim_begin_create(struct sim_operation *operation);
void sim_begin_create_batch(struct sim_operation *operation);
void sim_begin_change(struct sim_operation *operation);
void sim_begin_get(struct sim_operation *operation);
void sim_begin_many(struct sim_operation *operation);
void sim_begin_find(struct sim_operation *operation);
void sim_begin_follow(struct sim_operation *operation);

/** An order that clients may know of; NULL where there is none. */
struct sim_order *sim_pick_order(struct sim *sim);

/** Counts an answer, whatever was asked. */
void sim_count_answer(struct sim *sim, enum order_result result);

#endif
