/** The commands of orderctl: each is a row of the table in main.c, and lives in a command_*.c.
 *  Every `run` gets a session whose service is named but perhaps not there. */
#ifndef ORDERD_ORDERCTL_COMMANDS_H
#define ORDERD_ORDERCTL_COMMANDS_H

#include "orderctl/session.h"

extern const struct command command_create;
extern const struct command command_get;
extern const struct command command_find_order;
extern const struct command command_set;
extern const struct command command_watch;
extern const struct command command_stats;
extern const struct command command_import;
extern const struct command command_verify;
extern const struct command command_schema;
extern const struct command command_relay;
extern const struct command command_audit;
extern const struct command command_bench;

#endif
