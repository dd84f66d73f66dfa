#include "orderd/roles.h"

static const char *const role_names[ROLE_COUNT] = {
#define X(name, text) text,
    ROLE_LIST(X)
#undef X
};

/** Sets the role with that name; false where there is none. */
static bool set_role(struct roles *roles, struct slice name) {
    for (size_t i = 0; i < ROLE_COUNT; i++) {
        if (slice_equal(name, slice_from_text(role_names[i]))) {
            roles->has[i] = true;
            return true;
        }
    }
    return false;
}

static void set_all(struct roles *roles) {
    for (size_t i = 0; i < ROLE_COUNT; i++) {
        roles->has[i] = true;
    }
}

bool roles_parse(const char *text, struct roles *roles, struct fault *fault) {
    *roles = (struct roles){0};
    const char *at = text;
    for (;;) {
        size_t size = strcspn(at, ",");
        struct slice name = {at, size};
        if (slice_equal(name, slice_from_text("all"))) {
            set_all(roles);
        } else if (!set_role(roles, name)) {
            fault_set(fault,
                      "server.roles: expected all, or some of command, query, relay, cache, "
                      "refresh, results, timeout, expiry, archive and audit with commas between, "
                      "got \"%.*s\"",
                      size < 40 ? (int)size : 40, at);
            return false;
        }
        if (at[size] == 0) {
            return true;
        }
        at += size + 1;
    }
}
