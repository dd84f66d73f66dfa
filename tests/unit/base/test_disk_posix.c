#include "base/disk.h"
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/** A directory of the test's own, open as a disk. */
struct fixture {
    struct disk_posix posix;
    struct disk *disk;
    struct fault fault;
    char path[200];
    bool mounted;
    char names[512]; /* what visit_name saw */
};

static int open_fixture(struct fixture *fixture) {
    bool opened = disk_posix_open(&fixture->posix, fixture->path, &fixture->fault) == DISK_OK;
    fixture->disk = &fixture->posix.disk;
    return opened ? 0 : -1;
}

static int setup_in(void **state, const char *parent) {
    struct fixture *fixture = calloc(1, sizeof(*fixture));
    *state = fixture;
    (void)snprintf(fixture->path, sizeof(fixture->path), "%s/disk-XXXXXX", parent);
    return mkdtemp(fixture->path) == NULL ? -1 : open_fixture(fixture);
}

static const char *scratch(void) {
    const char *path = getenv("TMPDIR");
    return path == NULL ? "/tmp" : path;
}

static int setup(void **state) {
    return setup_in(state, scratch());
}

static int setup_in_memory(void **state) {
    return setup_in(state, "/dev/shm");
}

/** A file system of 256 KiB that only this process sees; where that cannot be, `mounted` is
 *  false. */
static int setup_small(void **state) {
    if (setup(state) != 0) {
        return -1;
    }
    struct fixture *fixture = *state;
    disk_posix_close(&fixture->posix);
    fixture->mounted = unshare(CLONE_NEWNS) == 0 &&
                       mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
                       mount("none", fixture->path, "tmpfs", 0, "size=256k") == 0;
    return open_fixture(fixture);
}

static void remove_name(void *context, const char *name) {
    struct fixture *fixture = context;
    (void)fixture->disk->ops->remove(fixture->disk, name, &fixture->fault);
}

static int teardown(void **state) {
    struct fixture *fixture = *state;
    (void)fixture->disk->ops->list(fixture->disk, remove_name, fixture, &fixture->fault);
    disk_posix_close(&fixture->posix);
    if (fixture->mounted) {
        (void)umount(fixture->path);
    }
    int status = rmdir(fixture->path);
    free(fixture);
    return status;
}

static struct disk_file *open_file(struct fixture *fixture, const char *name,
                                   enum disk_open_mode mode) {
    struct disk_file *file;
    if (fixture->disk->ops->open(fixture->disk, name, mode, &file, &fixture->fault) != DISK_OK) {
        fail_msg("%s", fixture->fault.text);
    }
    return file;
}

static void close_file(struct fixture *fixture, struct disk_file *file) {
    fixture->disk->ops->close(fixture->disk, file);
}

static enum disk_status write_file(struct fixture *fixture, struct disk_file *file,
                                   const void *from, size_t size, uint64_t offset) {
    return fixture->disk->ops->write(fixture->disk, file, from, size, offset, &fixture->fault);
}

static uint64_t size_of(struct fixture *fixture, struct disk_file *file) {
    uint64_t size;
    assert_int_equal(fixture->disk->ops->size(fixture->disk, file, &size, &fixture->fault),
                     DISK_OK);
    return size;
}

static size_t read_file(struct fixture *fixture, struct disk_file *file, void *into, size_t size,
                        uint64_t offset) {
    size_t got;
    assert_int_equal(
        fixture->disk->ops->read(fixture->disk, file, into, size, offset, &got, &fixture->fault),
        DISK_OK);
    return got;
}

static void make_file(struct fixture *fixture, const char *name, const char *text) {
    struct disk_file *file = open_file(fixture, name, DISK_CREATE);
    assert_int_equal(write_file(fixture, file, text, strlen(text), 0), DISK_OK);
    close_file(fixture, file);
}

static void assert_content(struct fixture *fixture, const char *name, const char *text) {
    char content[256];
    struct disk_file *file = open_file(fixture, name, DISK_READ);
    size_t got = read_file(fixture, file, content, sizeof(content), 0);
    close_file(fixture, file);
    assert_slice_equal(((struct slice){content, got}), text);
}

static void visit_name(void *context, const char *name) {
    struct fixture *fixture = context;
    size_t used = strlen(fixture->names);
    (void)snprintf(fixture->names + used, sizeof(fixture->names) - used, "<%s>", name);
}

static const char *list(struct fixture *fixture) {
    fixture->names[0] = 0;
    assert_int_equal(fixture->disk->ops->list(fixture->disk, visit_name, fixture, &fixture->fault),
                     DISK_OK);
    return fixture->names;
}

static void test_what_is_written_can_be_read(void **state) {
    struct fixture *fixture = *state;
    char content[16];
    struct disk_file *file = open_file(fixture, "a", DISK_CREATE);
    assert_int_equal(write_file(fixture, file, "world", 5, 6), DISK_OK);
    assert_int_equal(write_file(fixture, file, "hello ", 6, 0), DISK_OK);
    assert_int_equal(size_of(fixture, file), 11);
    assert_int_equal(fixture->disk->ops->sync(fixture->disk, file, &fixture->fault), DISK_OK);
    assert_int_equal(read_file(fixture, file, content, 16, 3), 8);
    assert_memory_equal(content, "lo world", 8);
    assert_int_equal(read_file(fixture, file, content, 4, 0), 4);
    assert_int_equal(read_file(fixture, file, content, 4, 11), 0);
    assert_int_equal(read_file(fixture, file, content, 4, 1000), 0);
    close_file(fixture, file);
}

static void test_a_file_that_exists_is_not_made_again(void **state) {
    struct fixture *fixture = *state;
    static const enum disk_open_mode modes[] = {DISK_CREATE, DISK_CREATE_BLOCKS};
    make_file(fixture, "a", "kept");
    for (size_t i = 0; i < ARRAY_COUNT(modes); i++) {
        struct disk_file *file;
        assert_int_equal(
            fixture->disk->ops->open(fixture->disk, "a", modes[i], &file, &fixture->fault),
            DISK_FAILED);
        assert_contains(fixture->fault.text, "a: cannot be opened: File exists");
        assert_content(fixture, "a", "kept");
    }
}

static void test_a_file_that_does_not_exist_is_not_found(void **state) {
    struct fixture *fixture = *state;
    static const enum disk_open_mode modes[] = {DISK_READ, DISK_WRITE_DURABLE};
    for (size_t i = 0; i < ARRAY_COUNT(modes); i++) {
        struct disk_file *file;
        assert_int_equal(
            fixture->disk->ops->open(fixture->disk, "none", modes[i], &file, &fixture->fault),
            DISK_NOT_FOUND);
        assert_contains(fixture->fault.text, "none: cannot be opened: No such file");
    }
    assert_int_equal(fixture->disk->ops->remove(fixture->disk, "none", &fixture->fault),
                     DISK_NOT_FOUND);
    assert_int_equal(fixture->disk->ops->rename(fixture->disk, "none", "a", &fixture->fault),
                     DISK_NOT_FOUND);
}

static void test_renaming_replaces_and_removing_removes(void **state) {
    struct fixture *fixture = *state;
    make_file(fixture, "new", "new");
    make_file(fixture, "current", "old");
    assert_int_equal(fixture->disk->ops->rename(fixture->disk, "new", "current", &fixture->fault),
                     DISK_OK);
    assert_int_equal(fixture->disk->ops->sync_directory(fixture->disk, &fixture->fault), DISK_OK);
    assert_string_equal(list(fixture), "<current>");
    assert_content(fixture, "current", "new");
    assert_int_equal(fixture->disk->ops->remove(fixture->disk, "current", &fixture->fault),
                     DISK_OK);
    assert_string_equal(list(fixture), "");
}

static void test_a_list_has_files_and_no_directories(void **state) {
    struct fixture *fixture = *state;
    char path[256];
    (void)snprintf(path, sizeof(path), "%s/directory", fixture->path);
    assert_int_equal(mkdir(path, 0700), 0);
    make_file(fixture, "one", "");
    assert_string_equal(list(fixture), "<one>");
    assert_string_equal(list(fixture), "<one>"); /* the second list begins anew */
    assert_int_equal(rmdir(path), 0);
}

static void test_durable_blocks_are_written_in_place(void **state) {
    struct fixture *fixture = *state;
    char *blocks = aligned_alloc(DISK_BLOCK_BYTES, 2 * DISK_BLOCK_BYTES);
    char content[8];
    assert_non_null(blocks);
    memset(blocks, 0, 2 * DISK_BLOCK_BYTES);
    struct disk_file *file = open_file(fixture, "journal", DISK_CREATE_BLOCKS);
    assert_int_equal(write_file(fixture, file, blocks, 2 * DISK_BLOCK_BYTES, 0), DISK_OK);
    assert_int_equal(fixture->disk->ops->sync(fixture->disk, file, &fixture->fault), DISK_OK);
    close_file(fixture, file);
    memset(blocks, 'a', 2 * DISK_BLOCK_BYTES);
    file = open_file(fixture, "journal", DISK_WRITE_DURABLE);
    assert_int_equal(write_file(fixture, file, blocks, 2 * DISK_BLOCK_BYTES, 0), DISK_OK);
    memset(blocks, 'b', DISK_BLOCK_BYTES);
    assert_int_equal(write_file(fixture, file, blocks, DISK_BLOCK_BYTES, DISK_BLOCK_BYTES),
                     DISK_OK);
    assert_int_equal(size_of(fixture, file), 2 * DISK_BLOCK_BYTES);
    close_file(fixture, file);
    file = open_file(fixture, "journal", DISK_READ);
    assert_int_equal(read_file(fixture, file, content, 8, DISK_BLOCK_BYTES - 4), 8);
    assert_memory_equal(content, "aaaabbbb", 8);
    close_file(fixture, file);
    free(blocks);
}

static void test_missing_parents_are_made(void **state) {
    struct fixture *fixture = *state;
    struct disk_posix deep;
    char path[256];
    (void)snprintf(path, sizeof(path), "%s/a/b//c/", fixture->path);
    assert_int_equal(disk_posix_open_existing(&deep, path, &fixture->fault), DISK_NOT_FOUND);
    assert_int_equal(disk_posix_open(&deep, path, &fixture->fault), DISK_OK);
    disk_posix_close(&deep);
    assert_int_equal(disk_posix_open_existing(&deep, path, &fixture->fault), DISK_OK);
    disk_posix_close(&deep);
    static const char *const made[] = {"a/b/c", "a/b", "a"};
    for (size_t i = 0; i < ARRAY_COUNT(made); i++) {
        (void)snprintf(path, sizeof(path), "%s/%s", fixture->path, made[i]);
        assert_int_equal(rmdir(path), 0);
    }
}

static void test_a_path_that_cannot_be_a_directory_is_refused(void **state) {
    struct fixture *fixture = *state;
    struct disk_posix posix;
    char path[400];
    make_file(fixture, "file", "");
    (void)snprintf(path, sizeof(path), "%s/file", fixture->path);
    assert_int_equal(disk_posix_open(&posix, path, &fixture->fault), DISK_FAILED);
    (void)snprintf(path, sizeof(path), "%s/file/below", fixture->path);
    assert_int_equal(disk_posix_open(&posix, path, &fixture->fault), DISK_FAILED);
    assert_contains(fixture->fault.text, "cannot be made: Not a directory");
    memset(path, 'x', 300);
    path[300] = 0;
    assert_int_equal(disk_posix_open(&posix, path, &fixture->fault), DISK_FAILED);
    assert_contains(fixture->fault.text, "too long");
    assert_int_equal(disk_posix_open(&posix, "", &fixture->fault), DISK_NOT_FOUND);
    assert_int_equal(disk_posix_open_existing(&posix, "", &fixture->fault), DISK_NOT_FOUND);
}

/** Tries to lock the directory in another process, which then ends without unlocking. */
static enum disk_status lock_elsewhere(struct fixture *fixture) {
    pid_t child = fork();
    if (child == 0) {
        struct disk_posix posix;
        enum disk_status status = disk_posix_open(&posix, fixture->path, &fixture->fault);
        _exit(status == DISK_OK ? (int)disk_posix_lock(&posix, &fixture->fault) : 99);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    return (enum disk_status)WEXITSTATUS(status);
}

static void test_a_second_process_does_not_get_the_lock(void **state) {
    struct fixture *fixture = *state;
    assert_int_equal(lock_elsewhere(fixture), DISK_OK); /* and it is free again at its end */
    assert_int_equal(disk_posix_lock(&fixture->posix, &fixture->fault), DISK_OK);
    assert_int_equal(lock_elsewhere(fixture), DISK_BUSY);
    disk_posix_close(&fixture->posix);
    assert_int_equal(lock_elsewhere(fixture), DISK_OK);
    assert_int_equal(open_fixture(fixture), 0);
}

static void test_a_lock_that_may_write_nothing_needs_the_file(void **state) {
    struct fixture *fixture = *state;
    assert_int_equal(disk_posix_lock_existing(&fixture->posix, &fixture->fault), DISK_NOT_FOUND);
    assert_string_equal(list(fixture), "");
    assert_int_equal(lock_elsewhere(fixture), DISK_OK); /* and it leaves the file */
    assert_int_equal(disk_posix_lock_existing(&fixture->posix, &fixture->fault), DISK_OK);
    assert_int_equal(lock_elsewhere(fixture), DISK_BUSY);
}

static void test_a_refused_lock_names_the_directory_and_can_be_tried_again(void **state) {
    struct fixture *fixture = *state;
    struct disk_posix second;
    assert_int_equal(disk_posix_lock(&fixture->posix, &fixture->fault), DISK_OK);
    assert_int_equal(disk_posix_open(&second, fixture->path, &fixture->fault), DISK_OK);
    assert_int_equal(disk_posix_lock(&second, &fixture->fault), DISK_BUSY);
    assert_contains(fixture->fault.text, fixture->path);
    assert_contains(fixture->fault.text, "another process uses this data directory");
    disk_posix_close(&fixture->posix);
    assert_int_equal(disk_posix_lock(&second, &fixture->fault), DISK_OK);
    disk_posix_close(&second);
    assert_int_equal(open_fixture(fixture), 0);
}

/** Fills the small file system until a write is refused; returns the size before that write. */
static uint64_t fill(struct fixture *fixture, struct disk_file *file, size_t step) {
    static const char block[64 * 1024];
    uint64_t size = 0;
    enum disk_status status = DISK_OK;
    while (status == DISK_OK) {
        assert_true(size < 1024 * 1024);
        status = write_file(fixture, file, block, step, size);
        size += status == DISK_OK ? step : 0;
    }
    assert_int_equal(status, DISK_FULL);
    assert_contains(fixture->fault.text, "cannot be written: No space left on device");
    return size;
}

static void test_a_full_disk_says_so_and_leaves_the_file_as_it_was(void **state) {
    struct fixture *fixture = *state;
    if (!fixture->mounted) {
        skip(); /* needs the right to mount */
    }
    struct disk_file *file = open_file(fixture, "data", DISK_CREATE);
    uint64_t before = fill(fixture, file, 48 * 1024);
    assert_true(before >= 48 * 1024);
    assert_int_equal(size_of(fixture, file), before);
    close_file(fixture, file);
}

static void test_a_disk_with_room_again_takes_writes_again(void **state) {
    struct fixture *fixture = *state;
    if (!fixture->mounted) {
        skip();
    }
    uint64_t empty = fixture->disk->ops->free_bytes(fixture->disk);
    assert_in_range(empty, 128 * 1024, 256 * 1024);
    struct disk_file *file = open_file(fixture, "data", DISK_CREATE);
    (void)fill(fixture, file, 4096);
    assert_true(fixture->disk->ops->free_bytes(fixture->disk) < 8192);
    close_file(fixture, file);
    assert_int_equal(fixture->disk->ops->remove(fixture->disk, "data", &fixture->fault), DISK_OK);
    assert_int_equal(fixture->disk->ops->free_bytes(fixture->disk), empty);
    make_file(fixture, "data", "room again");
    assert_content(fixture, "data", "room again");
}

#define disk_test(name, setup_) cmocka_unit_test_setup_teardown(name, setup_, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        disk_test(test_what_is_written_can_be_read, setup),
        disk_test(test_a_file_that_exists_is_not_made_again, setup),
        disk_test(test_a_file_that_does_not_exist_is_not_found, setup),
        disk_test(test_renaming_replaces_and_removing_removes, setup),
        disk_test(test_a_list_has_files_and_no_directories, setup),
        disk_test(test_durable_blocks_are_written_in_place, setup),
        {"test_durable_blocks_are_written_in_place_in_a_memory_file_system",
         test_durable_blocks_are_written_in_place, setup_in_memory, teardown, NULL},
        disk_test(test_missing_parents_are_made, setup),
        disk_test(test_a_path_that_cannot_be_a_directory_is_refused, setup),
        disk_test(test_a_second_process_does_not_get_the_lock, setup),
        disk_test(test_a_lock_that_may_write_nothing_needs_the_file, setup),
        disk_test(test_a_refused_lock_names_the_directory_and_can_be_tried_again, setup),
        disk_test(test_a_full_disk_says_so_and_leaves_the_file_as_it_was, setup_small),
        disk_test(test_a_disk_with_room_again_takes_writes_again, setup_small),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
