#include "mariadb_server.h"

#include <errno.h>
#include <fcntl.h>
#include <mysql.h>
#include <netinet/in.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define READY_WITHIN_SECONDS 60

static void give_up(const char *what) {
    printf("Bail out! %s: %s\n", what, strerror(errno));
    exit(1);
}

static unsigned free_port(void) {
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_addr = {.s_addr = htonl(INADDR_LOOPBACK)}};
    socklen_t size = sizeof(address);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (listener < 0 || bind(listener, (struct sockaddr *)&address, size) != 0 ||
        getsockname(listener, (struct sockaddr *)&address, &size) != 0) {
        give_up("no free port");
    }
    (void)close(listener);
    return ntohs(address.sin_port);
}

static void write_settings(const struct mariadb_server_process *server, const char *extra) {
    char path[600];
    (void)snprintf(path, sizeof(path), "%s/my.cnf", server->directory);
    FILE *file = fopen(path, "we");
    if (file == NULL) {
        give_up(path);
    }
    const char *root = getuid() == 0 ? "user=root\n" : "";
    int written = fprintf(file,
                          "[mysqld]\n%sdatadir=%s/data\nsocket=%s/s\ntmpdir=%s\nport=%u\n"
                          "bind-address=127.0.0.1\nskip-name-resolve\nmax-connections=300\n"
                          "log-bin=orders\nbinlog-format=ROW\nbinlog-row-image=FULL\n"
                          "binlog-row-metadata=FULL\nsync-binlog=1\n"
                          "innodb-flush-log-at-trx-commit=1\nserver-id=1\ngtid-strict-mode=1\n"
                          "innodb-buffer-pool-size=256M\ninnodb-log-file-size=256M\n%s\n",
                          root, server->directory, server->directory, server->directory,
                          server->port, extra != NULL ? extra : "");
    if (written < 0 || fclose(file) != 0) {
        give_up(path);
    }
}

/** Runs a program with its output in a file of the server's directory. */
static pid_t spawn(const struct mariadb_server_process *server, const char *program,
                   const char *option) {
    char settings[600];
    char output[600];
    (void)snprintf(settings, sizeof(settings), "--defaults-file=%s/my.cnf", server->directory);
    (void)snprintf(output, sizeof(output), "%s/%s.log", server->directory, program);
    pid_t pid = fork();
    if (pid < 0) {
        give_up("fork");
    }
    if (pid == 0) {
        int log = open(output, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (log >= 0 && dup2(log, 1) == 1 && dup2(log, 2) == 2) {
            (void)execlp(program, program, settings, option, (char *)NULL);
        }
        _exit(127);
    }
    return pid;
}

static MYSQL *connect_root(const struct mariadb_server_process *server, const char *database) {
    MYSQL *mysql = mysql_init(NULL);
    unsigned seconds = 30;
    enum mysql_protocol_type protocol = MYSQL_PROTOCOL_TCP;
    if (mysql == NULL || mysql_options(mysql, MYSQL_OPT_READ_TIMEOUT, &seconds) != 0 ||
        mysql_options(mysql, MYSQL_OPT_PROTOCOL, &protocol) != 0) {
        give_up("no memory for a connection");
    }
    if (mysql_real_connect(mysql, "127.0.0.1", "root", "", database, server->port, NULL,
                           CLIENT_MULTI_STATEMENTS) == NULL) {
        mysql_close(mysql);
        return NULL;
    }
    return mysql;
}

void server_start(struct mariadb_server_process *server) {
    server->pid = spawn(server, "mariadbd", NULL);
    for (int i = 0; i < READY_WITHIN_SECONDS * 50; i++) {
        MYSQL *mysql = connect_root(server, NULL);
        if (mysql != NULL) {
            mysql_close(mysql);
            return;
        }
        if (waitpid(server->pid, NULL, WNOHANG) != 0) {
            break;
        }
        struct timespec pause = {0, 20000000};
        (void)nanosleep(&pause, NULL);
    }
    give_up("mariadbd does not start");
}

void server_create(struct mariadb_server_process *server, const char *extra) {
    const char *parent = getenv("TMPDIR");
    int status;
    *server = (struct mariadb_server_process){.port = free_port()};
    (void)snprintf(server->directory, sizeof(server->directory), "%s/mariadb-XXXXXX",
                   parent != NULL ? parent : "/tmp");
    if (mkdtemp(server->directory) == NULL) {
        give_up(server->directory);
    }
    write_settings(server, extra);
    pid_t pid = spawn(server, "mariadb-install-db", "--auth-root-authentication-method=normal");
    if (waitpid(pid, &status, 0) != pid || status != 0) {
        give_up("mariadb-install-db failed");
    }
    server_start(server);
}

void server_kill(struct mariadb_server_process *server) {
    (void)kill(server->pid, SIGKILL);
    (void)waitpid(server->pid, NULL, 0);
    server->pid = 0;
}

void server_pause(const struct mariadb_server_process *server) {
    (void)kill(server->pid, SIGSTOP);
}

void server_resume(const struct mariadb_server_process *server) {
    (void)kill(server->pid, SIGCONT);
}

void server_destroy(struct mariadb_server_process *server) {
    if (server->pid != 0) {
        server_kill(server);
    }
    const char *const arguments[] = {"rm", "-rf", server->directory, NULL};
    pid_t pid;
    if (posix_spawnp(&pid, "rm", NULL, NULL, (char *const *)arguments, environ) == 0) {
        (void)waitpid(pid, NULL, 0);
    }
}

struct server_answer server_query(const struct mariadb_server_process *server, const char *database,
                                  const char *format, ...) {
    struct server_answer answer = {""};
    char sql[8192];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(sql, sizeof(sql), format, arguments);
    va_end(arguments);
    MYSQL *mysql = connect_root(server, database);
    if (mysql == NULL || mysql_query(mysql, sql) != 0) {
        printf("Bail out! %s: %s\n", sql, mysql != NULL ? mysql_error(mysql) : "no connection");
        exit(1);
    }
    int more;
    do {
        MYSQL_RES *result = mysql_store_result(mysql);
        MYSQL_ROW row;
        while (result != NULL && (row = mysql_fetch_row(result)) != NULL) {
            unsigned last = mysql_num_fields(result) - 1; /* of SHOW STATUS: the value */
            (void)snprintf(answer.text, sizeof(answer.text), "%s",
                           row[last] != NULL ? row[last] : "NULL");
        }
        mysql_free_result(result);
        more = mysql_next_result(mysql);
    } while (more == 0);
    if (more > 0) {
        printf("Bail out! %s: %s\n", sql, mysql_error(mysql));
        exit(1);
    }
    mysql_close(mysql);
    return answer;
}

void *server_hold(const struct mariadb_server_process *server, const char *database,
                  const char *sql) {
    MYSQL *mysql = connect_root(server, database);
    if (mysql == NULL || mysql_query(mysql, "BEGIN") != 0 || mysql_query(mysql, sql) != 0) {
        printf("Bail out! %s: %s\n", sql, mysql != NULL ? mysql_error(mysql) : "no connection");
        exit(1);
    }
    mysql_free_result(mysql_store_result(mysql));
    return mysql;
}

void server_let_go(void *held) {
    mysql_close(held);
}
