/** The commands of the Redis protocol: their names and arities, and the answers to those that ask
 *  for no order. Private to src/api; the loop that owns the API. */
#ifndef ORDERD_API_RESP_COMMANDS_H
#define ORDERD_API_RESP_COMMANDS_H

#include "net/resp_reply.h"
#include "net/resp_server.h"

enum resp_command_kind {
    RESP_COMMAND_GET,
    RESP_COMMAND_MGET,
    RESP_COMMAND_STATUS,
    RESP_COMMAND_MSTATUS,
    /* The others ask for no order. */
    RESP_COMMAND_PING,
    RESP_COMMAND_ECHO,
    RESP_COMMAND_HELLO,
    RESP_COMMAND_CLIENT,
    RESP_COMMAND_COMMAND,
    RESP_COMMAND_CONFIG,
    RESP_COMMAND_INFO,
    RESP_COMMAND_QUIT
};

struct resp_command_info {
    const char *name; /* in small letters */
    const char *summary;
    enum resp_command_kind kind;
    uint32_t arguments_min; /* the name counted, as below */
    uint32_t arguments_max;
};

/** NULL where there is no such command. */
const struct resp_command_info *resp_command_find(struct slice name);

static inline bool resp_command_takes(const struct resp_command_info *info, uint32_t count) {
    return count >= info->arguments_min && count <= info->arguments_max;
}

/** True where both are the same but for the case of letters. @param literal in small letters. */
bool resp_word_is(struct slice word, const char *literal);

/** Room for the answer to a command that asks for no order, or to one that is refused. */
size_t resp_command_room(const struct resp_command_info *info, const struct resp_command *command);

/** What the answers tell of this program. */
struct resp_program {
    const char *version;
};

/** Answers a command that asks for no order and whose arity is right. */
void resp_command_answer(const struct resp_program *program, struct resp_session *session,
                         const struct resp_command_info *info, const struct resp_command *command,
                         struct text *out);

#endif
