/* Runs every file of a directory through a fuzz target, one test each: replay CORPUS_DIRECTORY. */
#include "fuzz.h"

#include <dirent.h>

#define INPUT_BYTES_MAX ((size_t)1 << 20)

static int is_input(const struct dirent *entry) {
    return entry->d_name[0] != '.';
}

/** Hands the file's bytes over in memory of just their size, so that a sanitizer sees a read past
 *  the end. */
static bool replay_file(const char *path) {
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        return false;
    }
    char *bytes = malloc(INPUT_BYTES_MAX);
    size_t size = bytes == NULL ? 0 : fread(bytes, 1, INPUT_BYTES_MAX, file);
    bool read = bytes != NULL && ferror(file) == 0;
    (void)fclose(file);
    uint8_t *input = malloc(size > 0 ? size : 1);
    read = read && input != NULL;
    if (read) {
        memcpy(input, bytes, size);
        (void)LLVMFuzzerTestOneInput(input, size);
    }
    free(input);
    free(bytes);
    return read;
}

int main(int argument_count, char **arguments) {
    struct dirent **entries;
    int count = argument_count == 2 ? scandir(arguments[1], &entries, is_input, alphasort) : -1;
    if (count <= 0) {
        (void)fprintf(stderr, "replay: expected a directory with inputs\n");
        return 2;
    }
    printf("1..%d\n", count);
    bool all_read = true;
    for (int i = 0; i < count; i++) {
        char path[4096];
        (void)snprintf(path, sizeof(path), "%s/%s", arguments[1], entries[i]->d_name);
        bool read = replay_file(path);
        printf("%sok %d - %s\n", read ? "" : "not ", i + 1, entries[i]->d_name);
        (void)fflush(stdout); /* the target may end the process at the next one */
        all_read = all_read && read;
        free(entries[i]);
    }
    free(entries);
    return all_read ? 0 : 1;
}
