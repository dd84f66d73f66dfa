/** How orderctl ends (API, section 1). The same values for every command. */
#ifndef ORDERD_ORDERCTL_EXIT_STATUS_H
#define ORDERD_ORDERCTL_EXIT_STATUS_H

enum exit_status {
    EXIT_STATUS_DONE = 0,
    EXIT_STATUS_REFUSED = 1,    /* refused by the service, a wrong answer, or damage found */
    EXIT_STATUS_USAGE = 2,      /* the command line is wrong: nothing was done */
    EXIT_STATUS_UNREACHABLE = 3 /* the service, or a file that was named, cannot be reached */
};

#endif
