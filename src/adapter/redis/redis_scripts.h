/** The two scripts that every change of an entry goes through. Both have KEYS[1] = `o:{id}` and
 *  KEYS[2] = `lk:{id}`, of one hash slot, and three arguments. While the slot is moved from one
 * node to another KEYS[2] may be left out, since a script must not have keys on both: a DEL of the
 * lock then goes before it. */
#ifndef ORDERD_ADAPTER_REDIS_REDIS_SCRIPTS_H
#define ORDERD_ADAPTER_REDIS_REDIS_SCRIPTS_H

/** ARGV: record (empty: only give the lock back), time to live in ms, token (empty: no lock is
 *  asked for). Answers 0: the lock stands no longer; 1: stored, or the same is there; 2: stored
 *  over something that is no record of this order; or the record that is there and has this or a
 *  higher version: whether its checksum is right is for the caller to say, who has one that is
 *  quick. `pcall`, as the key may hold another type. */
#define REDIS_SCRIPT_WRITE                                                                         \
    "local record, token = ARGV[1], ARGV[3]\n"                                                     \
    "if token ~= '' and redis.pcall('GET', KEYS[2]) ~= token then return 0 end\n"                  \
    "if KEYS[2] then redis.call('DEL', KEYS[2]) end\n"                                             \
    "if record == '' then return 1 end\n"                                                          \
    "local stored, answer = redis.pcall('GET', KEYS[1]), 1\n"                                      \
    "if stored then\n"                                                                             \
    "  if stored == record then return 1 end\n"                                                    \
    "  if type(stored) == 'string' and #stored == 128\n"                                           \
    "      and string.sub(stored, 1, 8) == string.sub(record, 1, 8)\n"                             \
    "      and string.sub(stored, 23, 24) == string.sub(record, 23, 24) then\n"                    \
    "    if struct.unpack('<I4', stored, 17) >= struct.unpack('<I4', record, 17) then\n"           \
    "      return stored\n"                                                                        \
    "    end\n"                                                                                    \
    "  else\n"                                                                                     \
    "    answer = 2\n"                                                                             \
    "  end\n"                                                                                      \
    "end\n"                                                                                        \
    "redis.call('SET', KEYS[1], record, 'PX', ARGV[2])\n"                                          \
    "return answer\n"

/** ARGV: the exact bytes that are there, what takes their place (empty: nothing does), time to
 *  live in ms. Answers 1: done; 0: something else is there. */
#define REDIS_SCRIPT_EXCHANGE                                                                      \
    "if KEYS[2] then redis.call('DEL', KEYS[2]) end\n"                                             \
    "if redis.pcall('GET', KEYS[1]) ~= ARGV[1] then return 0 end\n"                                \
    "if ARGV[2] == '' then redis.call('DEL', KEYS[1])\n"                                           \
    "else redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3]) end\n"                                \
    "return 1\n"

#endif
