#include "net/listener.h"

#include "fixture_memory.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define ACCEPTED_MAX 100

struct fixture {
    struct loop loop;
    struct mailbox mailbox;
    struct listener listener;
    int accepted[ACCEPTED_MAX];
    size_t accepted_count;
};

static void drain(void *context, struct mailbox *mailbox) {
    (void)context;
    assert_null(mailbox_take(mailbox));
}

static int set_up(void **state) {
    struct fixture *fixture = fixture_allocate(sizeof(*fixture));
    struct loop_setup setup = {&fixture->mailbox, drain, NULL, NULL};
    struct fault fault;
    *state = fixture;
    return mailbox_init(&fixture->mailbox, 4) && loop_init(&fixture->loop, &setup, &fault) ? 0 : -1;
}

static int tear_down(void **state) {
    struct fixture *fixture = *state;
    listener_close(&fixture->listener);
    for (size_t i = 0; i < fixture->accepted_count; i++) {
        (void)close(fixture->accepted[i]);
    }
    loop_deinit(&fixture->loop);
    mailbox_deinit(&fixture->mailbox);
    free(fixture);
    return 0;
}

static void take(struct listener *listener, int fd) {
    struct fixture *fixture = CONTAINER_OF(listener, struct fixture, listener);
    assert_true(fixture->accepted_count < ACCEPTED_MAX);
    fixture->accepted[fixture->accepted_count++] = fd;
}

static bool listen_on(struct fixture *fixture, const char *address, struct fault *fault) {
    struct listener_setup setup = {.loop = &fixture->loop,
                                   .address = address,
                                   .backlog = 128,
                                   .receive_buffer_bytes = 65536,
                                   .lost_after_ms = 12345,
                                   .accepted = take};
    return listener_open(&fixture->listener, &setup, fault);
}

static int connect_to(const struct fixture *fixture) {
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons(fixture->listener.port),
                                  .sin_addr = {htonl(INADDR_LOOPBACK)}};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_true(fd >= 0);
    if (connect(fd, (struct sockaddr *)&address, sizeof(address)) != 0) {
        (void)close(fd);
        return -1;
    }
    return fd;
}

static void test_only_ip_literals_with_a_port_are_addresses(void **state) {
    struct fixture *fixture = *state;
    static const char *const wrong[] = {"",
                                        "127.0.0.1",
                                        "127.0.0.1:",
                                        "127.0.0.1:65536",
                                        "127.0.0.1:80x",
                                        "::1:80",
                                        "[::1]",
                                        "[::1:80",
                                        "localhost:80",
                                        "127.0.0.1:-1",
                                        "[]:80",
                                        "[127.0.0.1]:80",
                                        "1.2.3:80",
                                        ":80",
                                        "127.0.0.1 :80",
                                        "[::1]80",
                                        "[::1%lo]:80",
                                        "127.0.0.1:+80",
                                        "127.0.0.1:000080"};
    for (size_t i = 0; i < ARRAY_COUNT(wrong); i++) {
        struct fault fault;
        assert_false(listen_on(fixture, wrong[i], &fault));
        assert_non_null(strstr(fault.text, "expected an IP address and a port"));
    }
}

static void test_both_address_families_are_listened_on(void **state) {
    struct fixture *fixture = *state;
    struct fault fault;
    assert_true(listen_on(fixture, "127.0.0.1:0", &fault));
    assert_int_not_equal(fixture->listener.port, 0);
    listener_close(&fixture->listener);
    int probe = socket(AF_INET6, SOCK_STREAM, 0);
    if (probe >= 0) {
        (void)close(probe);
        assert_true(listen_on(fixture, "[::1]:0", &fault) ||
                    strstr(fault.text, "Cannot assign") != NULL);
    }
}

static void
test_accepted_sockets_do_not_block_nor_delay_and_inherit_what_was_asked_for(void **state) {
    struct fixture *fixture = *state;
    struct fault fault;
    int value = 0;
    socklen_t size = sizeof(value);
    char byte;
    assert_true(listen_on(fixture, "127.0.0.1:0", &fault));
    int client = connect_to(fixture);
    while (fixture->accepted_count == 0) {
        (void)loop_step(&fixture->loop, -1);
    }
    int fd = fixture->accepted[0];
    assert_int_equal(recv(fd, &byte, 1, 0), -1);
    assert_int_equal(errno, EAGAIN);
    assert_int_equal(getsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &value, &size), 0);
    assert_int_not_equal(value, 0);
    assert_int_equal(getsockopt(fd, SOL_SOCKET, SO_RCVBUF, &value, &size), 0);
    assert_int_equal(value, 2 * 65536); /* the kernel doubles it for its own needs */
    assert_int_equal(getsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &value, &size), 0);
    assert_int_equal(value, 12345);
    (void)close(client);
}

static void test_closing_takes_those_in_the_queue_and_refuses_later_ones(void **state) {
    struct fixture *fixture = *state;
    struct fault fault;
    int clients[70];
    assert_true(listen_on(fixture, "127.0.0.1:0", &fault));
    for (size_t i = 0; i < ARRAY_COUNT(clients); i++) {
        clients[i] = connect_to(fixture);
        assert_true(clients[i] >= 0);
    }
    listener_close(&fixture->listener);
    assert_int_equal(fixture->accepted_count, ARRAY_COUNT(clients));
    assert_int_equal(connect_to(fixture), -1);
    for (size_t i = 0; i < ARRAY_COUNT(clients); i++) {
        (void)close(clients[i]);
    }
}

static void test_out_of_descriptors_it_pauses_and_then_goes_on(void **state) {
    struct fixture *fixture = *state;
    struct fault fault;
    struct rlimit before;
    assert_true(listen_on(fixture, "127.0.0.1:0", &fault));
    int client = connect_to(fixture);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    struct rlimit none = {(rlim_t)client + 1, before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    int fillers[64]; /* take the free numbers below */
    size_t filler_count = 0;
    while (filler_count < ARRAY_COUNT(fillers) && (fillers[filler_count] = dup(client)) >= 0) {
        filler_count++;
    }
    (void)loop_step(&fixture->loop, 100);
    assert_int_equal(fixture->accepted_count, 0);
    assert_int_equal(fixture->listener.pauses, 1);
    assert_int_equal(loop_step(&fixture->loop, 0), 0); /* it does not spin */
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    while (fixture->accepted_count == 0) {
        (void)loop_step(&fixture->loop, -1);
    }
    for (size_t i = 0; i < filler_count; i++) {
        (void)close(fillers[i]);
    }
    (void)close(client);
}

static void test_two_listeners_share_an_address(void **state) {
    struct fixture *fixture = *state;
    struct fault fault;
    char address[32];
    assert_true(listen_on(fixture, "127.0.0.1:0", &fault));
    (void)snprintf(address, sizeof(address), "127.0.0.1:%u", fixture->listener.port);
    struct listener second;
    struct listener_setup setup = {
        .loop = &fixture->loop, .address = address, .backlog = 16, .accepted = take};
    assert_true(listener_open(&second, &setup, &fault));
    assert_int_equal(second.port, fixture->listener.port);
    listener_close(&second);
}

static void test_an_address_of_somebody_else_is_a_fault_with_the_reason(void **state) {
    struct fixture *fixture = *state;
    struct fault fault;
    assert_false(listen_on(fixture, "192.0.2.1:0", &fault)); /* for documentation: nobody's */
    assert_non_null(strstr(fault.text, "192.0.2.1:0: cannot listen: "));
}

#define LISTENER_TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        LISTENER_TEST(test_only_ip_literals_with_a_port_are_addresses),
        LISTENER_TEST(test_both_address_families_are_listened_on),
        LISTENER_TEST(test_accepted_sockets_do_not_block_nor_delay_and_inherit_what_was_asked_for),
        LISTENER_TEST(test_closing_takes_those_in_the_queue_and_refuses_later_ones),
        LISTENER_TEST(test_out_of_descriptors_it_pauses_and_then_goes_on),
        LISTENER_TEST(test_two_listeners_share_an_address),
        LISTENER_TEST(test_an_address_of_somebody_else_is_a_fault_with_the_reason),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
