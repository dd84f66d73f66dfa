/** A MariaDB server for one test program: with a data directory of its own under TMPDIR, on a free
 *  port, with the settings that orderd asks for. It can be killed and started again. What goes
 *  wrong here ends the program: without the server there is nothing to test. One thread. */
#ifndef ORDERD_TESTS_MARIADB_SERVER_H
#define ORDERD_TESTS_MARIADB_SERVER_H

#include "base/bytes.h"

#include <sys/types.h>

struct mariadb_server_process {
    char directory[512];
    unsigned port;
    pid_t pid; /* 0 while it is down */
};

/** Makes the data directory and starts it; returns when it answers. @param extra lines for my.cnf,
 *  or NULL. */
void server_create(struct mariadb_server_process *server, const char *extra);

/** Ends it and removes the directory. */
void server_destroy(struct mariadb_server_process *server);

void server_start(struct mariadb_server_process *server);

/** Ends it at once, as a crash would. */
void server_kill(struct mariadb_server_process *server);

/** Stops it in its tracks, and lets it go on. */
void server_pause(const struct mariadb_server_process *server);
void server_resume(const struct mariadb_server_process *server);

/** Runs statements as root; the first field of the last row of the first that has rows, or "". */
struct server_answer {
    char text[256];
};
struct server_answer server_query(const struct mariadb_server_process *server, const char *database,
                                  const char *format, ...) __attribute__((format(printf, 3, 4)));

/** Begins a transaction with a statement and keeps it open: what it locks stays locked until
 *  server_let_go. */
void *server_hold(const struct mariadb_server_process *server, const char *database,
                  const char *sql);
void server_let_go(void *held);

/** As server_query, for a number. */
#define server_number(...) strtoll(server_query(__VA_ARGS__).text, NULL, 10)

#endif
