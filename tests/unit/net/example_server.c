/** A tiny server over net/, for measuring the network layer alone: `net_example_server ADDRESS`.
 *
 *      GET  any path     a JSON of 450 bytes
 *      POST /statuses    8 bytes back for every 8 bytes of the body
 *      POST /records     128 bytes back for every 8 bytes of the body
 *
 *  One loop, one thread, until it is killed. */
#include "net/http_server.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#define JSON_BYTES 450

struct example {
    struct http_handler handler;
    char json[JSON_BYTES];
};

static size_t example_head(struct http_handler *handler, struct http_exchange *exchange,
                           const struct http_head *head) {
    (void)handler;
    (void)exchange;
    return head->method == HTTP_METHOD_POST ? HTTP_BODY_BYTES_MAX : 0;
}

static void answer_batch(struct http_exchange *exchange, struct slice body, size_t item_bytes) {
    struct http_answer answer = {
        .status = 200,
        .content_type = SLICE_LITERAL("application/octet-stream"),
        .aligned = true,
    };
    size_t count = body.size / 8;
    struct text room;
    if (!http_respond_begin(exchange, &answer, count * item_bytes, &room)) {
        http_respond_plain(exchange, 503, "no room");
        return;
    }
    for (size_t i = 0; i < count; i++) {
        uint64_t id = bytes_load_u64(body.data + i * 8);
        for (size_t word = 0; word < item_bytes / 8; word++) {
            bytes_store_u64(room.data + i * item_bytes + word * 8, id + word);
        }
    }
    http_respond_end(exchange, count * item_bytes);
}

static void example_request(struct http_handler *handler, struct http_exchange *exchange,
                            const struct http_head *head, struct slice body) {
    struct example *example = CONTAINER_OF(handler, struct example, handler);
    if (head->method == HTTP_METHOD_POST) {
        answer_batch(exchange, body, slice_equal(head->path, SLICE_LITERAL("/records")) ? 128 : 8);
        return;
    }
    struct http_field etag = {SLICE_LITERAL("ETag"), SLICE_LITERAL("\"1\"")};
    struct http_answer answer = {
        .status = 200,
        .content_type = SLICE_LITERAL("application/json"),
        .fields = &etag,
        .field_count = 1,
    };
    struct text room;
    if (http_respond_begin(exchange, &answer, 700, &room)) {
        text_append(&room, example->json, JSON_BYTES);
        http_respond_end(exchange, room.size);
    } else {
        http_respond_plain(exchange, 503, "no room");
    }
}

static void example_gone(struct http_handler *handler, struct http_exchange *exchange) {
    (void)handler;
    (void)exchange;
}

static void drain_nothing(void *context, struct mailbox *mailbox) {
    (void)context;
    (void)mailbox;
}

static const struct http_handler_ops example_ops = {
    .head = example_head,
    .request = example_request,
    .gone = example_gone,
};

int main(int argc, char **argv) {
    struct http_options options;
    struct config_section section = {"http", http_option_table, HTTP_OPTION_COUNT, &options};
    struct config config = {.sections = &section, .section_count = 1};
    struct example example = {.handler = {&example_ops}};
    struct mailbox mailbox;
    struct fault fault;
    if (argc < 2 || !mailbox_init(&mailbox, 16)) {
        fprintf(stderr, "usage: %s ADDRESS [http.OPTION=VALUE]...\n", argv[0]);
        return 2;
    }
    config_set_defaults(&config);
    for (int i = 2; i < argc; i++) {
        if (!config_set(&config, argv[i], &fault)) {
            fprintf(stderr, "%s\n", fault.text);
            return 2;
        }
    }
    memset(example.json, 'x', sizeof(example.json));
    struct loop *loop = malloc(sizeof(*loop));
    struct loop_setup loop_setup = {&mailbox, drain_nothing, NULL, NULL};
    if (loop == NULL || !loop_init(loop, &loop_setup, &fault)) {
        return 1;
    }
    struct http_server_setup setup = {loop, options, &example.handler};
    struct http_server *server = http_server_create(&setup, &fault);
    if (server == NULL || !http_server_listen(server, argv[1], &fault)) {
        fprintf(stderr, "%s\n", fault.text);
        return 1;
    }
    loop_run(loop);
    return 0;
}
