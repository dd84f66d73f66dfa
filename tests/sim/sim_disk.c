#include "sim_disk.h"

#include "sim_inode.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#define MILLION 1000000

struct disk_file {
    struct disk_file *next;
    struct sim_inode *inode;
    enum disk_open_mode mode;
    char name[SIM_DISK_NAME_MAX];
};

static struct sim_disk *sim_of(struct disk *disk) {
    return (struct sim_disk *)disk;
}

/* --- The directory. --- */

static struct sim_entry *find_entry(struct sim_directory *directory, const char *name) {
    for (size_t i = 0; i < directory->count; i++) {
        if (strcmp(directory->entries[i].name, name) == 0) {
            return &directory->entries[i];
        }
    }
    return NULL;
}

static struct sim_inode *find_file(const struct sim_disk *disk, const char *name) {
    struct sim_entry *entry = find_entry((struct sim_directory *)&disk->seen, name);
    return entry == NULL ? NULL : entry->inode;
}

static void set_name(char name[SIM_DISK_NAME_MAX], const char *text) {
    assert(strlen(text) < SIM_DISK_NAME_MAX);
    (void)snprintf(name, SIM_DISK_NAME_MAX, "%s", text);
}

static void remove_entry(struct sim_directory *directory, const char *name) {
    struct sim_entry *entry = find_entry(directory, name);
    if (entry != NULL) {
        *entry = directory->entries[--directory->count];
    }
}

static void add_entry(struct sim_directory *directory, const char *name, struct sim_inode *inode) {
    assert(directory->count < SIM_DISK_FILES_MAX);
    struct sim_entry *entry = &directory->entries[directory->count++];
    set_name(entry->name, name);
    entry->inode = inode;
}

static void apply_change(struct sim_directory *directory,
                         const struct sim_directory_change *change) {
    struct sim_inode *inode = change->inode;
    if (change->from[0] != 0) {
        struct sim_entry *entry = find_entry(directory, change->from);
        inode = entry == NULL ? NULL : entry->inode;
        remove_entry(directory, change->from);
    }
    if (change->to[0] != 0) {
        remove_entry(directory, change->to);
        assert(inode != NULL);
        add_entry(directory, change->to, inode);
    }
}

static bool holds(const struct sim_directory *directory, const struct sim_inode *inode) {
    for (size_t i = 0; i < directory->count; i++) {
        if (directory->entries[i].inode == inode) {
            return true;
        }
    }
    return false;
}

static bool is_needed(const struct sim_disk *disk, const struct sim_inode *inode) {
    for (const struct disk_file *file = disk->open_files; file != NULL; file = file->next) {
        if (file->inode == inode) {
            return true;
        }
    }
    for (size_t i = 0; i < disk->change_count; i++) {
        if (disk->changes[i].inode == inode) {
            return true;
        }
    }
    return holds(&disk->seen, inode) || holds(&disk->medium, inode);
}

/** Frees the files that no name and nobody holds any more, and counts what is used. */
static void collect(struct sim_disk *disk) {
    struct sim_inode **link = &disk->inodes;
    while (*link != NULL) {
        struct sim_inode *inode = *link;
        if (is_needed(disk, inode)) {
            link = &inode->next;
        } else {
            *link = inode->next;
            sim_inode_destroy(inode);
        }
    }
    disk->used_bytes = 0;
    for (size_t i = 0; i < disk->seen.count; i++) {
        disk->used_bytes += disk->seen.entries[i].inode->seen_size;
    }
}

static void change_directory(struct sim_disk *disk, const char *from, const char *to,
                             struct sim_inode *inode) {
    if (disk->change_count == disk->change_capacity) {
        disk->change_capacity = disk->change_capacity * 2 + 16;
        disk->changes = realloc(disk->changes, disk->change_capacity * sizeof(*disk->changes));
        assert(disk->changes != NULL);
    }
    struct sim_directory_change *change = &disk->changes[disk->change_count++];
    set_name(change->from, from);
    set_name(change->to, to);
    change->inode = inode;
    apply_change(&disk->seen, change);
    collect(disk);
}

/** Puts the first `count` pending changes on the medium. */
static void settle_changes(struct sim_disk *disk, size_t count) {
    for (size_t i = 0; i < count; i++) {
        apply_change(&disk->medium, &disk->changes[i]);
    }
    disk->change_count -= count;
    if (disk->change_count > 0) {
        memmove(disk->changes, disk->changes + count, disk->change_count * sizeof(*disk->changes));
    }
    collect(disk);
}

/* --- What goes wrong. --- */

/** How an operation is to go. */
enum outcome {
    OUTCOME_WELL,
    OUTCOME_FAILS,
    OUTCOME_ENDS /* the process ends in the middle of it */
};

/** @param count what to count a failure as. */
static enum outcome begin(struct sim_disk *disk, uint32_t rate, uint64_t *count, const char *name,
                          struct fault *fault) {
    if (disk->preempt != NULL && !disk->dead) {
        disk->preempt(disk->preempt_context);
    }
    fault_set(fault, "%s: the simulated disk refuses", name);
    if (disk->dead) {
        return OUTCOME_FAILS;
    }
    disk->counts.operations++;
    if (disk->end_in_operations > 0 && --disk->end_in_operations == 0) {
        disk->dead = true;
        return OUTCOME_ENDS;
    }
    if (rate > 0 && random_chance(&disk->random, rate, MILLION)) {
        disk->counts.failures++;
        (*count)++;
        return OUTCOME_FAILS;
    }
    return OUTCOME_WELL;
}

/** Which part of an interrupted write or sync was done: `of_eight` eighths of the sectors, spread,
 *  or those up to some point. */
struct part {
    struct random_source *random;
    unsigned of_eight;
    bool in_order;
    size_t left; /* in_order: sectors until it breaks off */
    enum sim_sector_fate fate;
};

static struct part choose_part(struct sim_disk *disk, size_t sectors, enum sim_sector_fate fate) {
    static const unsigned parts[] = {0, 1, 4, 7, 8};
    return (struct part){
        .random = &disk->random,
        .of_eight = parts[random_below(&disk->random, ARRAY_COUNT(parts))],
        .in_order = random_chance(&disk->random, 1, 2),
        .left = (size_t)random_below(&disk->random, sectors + 1),
        .fate = fate,
    };
}

static bool is_in_part(void *context) {
    struct part *part = context;
    if (part->in_order) {
        bool within = part->left > 0;
        part->left -= within ? 1 : 0;
        return within;
    }
    return random_chance(part->random, part->of_eight, 8);
}

static enum sim_sector_fate fate_in_part(void *context) {
    struct part *part = context;
    if (!is_in_part(part)) {
        return SIM_SECTOR_UNTOUCHED;
    }
    if (part->fate == SIM_SECTOR_STRANDED && random_chance(part->random, 1, 2)) {
        return SIM_SECTOR_DURABLE;
    }
    return part->fate;
}

static enum sim_sector_fate fate_always(void *context) {
    return *(enum sim_sector_fate *)context;
}

/* --- The operations. --- */

static bool is_creation(enum disk_open_mode mode) {
    return mode == DISK_CREATE || mode == DISK_CREATE_BLOCKS;
}

/** Durable writes and those in blocks have rules of their own: disk.h. */
static void check_alignment(const struct disk_file *file, const void *from, size_t size,
                            uint64_t offset) {
    if (file->mode == DISK_WRITE_DURABLE || file->mode == DISK_CREATE_BLOCKS) {
        assert((uintptr_t)from % DISK_BLOCK_BYTES == 0);
        assert(size % DISK_BLOCK_BYTES == 0 && offset % DISK_BLOCK_BYTES == 0);
    }
}

static enum disk_status open_file(struct disk *base, const char *name, enum disk_open_mode mode,
                                  struct disk_file **file, struct fault *fault) {
    struct sim_disk *disk = sim_of(base);
    bool creates = is_creation(mode);
    uint32_t rate = creates ? disk->rates.directory : 0;
    enum outcome outcome =
        begin(disk, rate, &disk->counts.failed_directory_operations, name, fault);
    if (outcome == OUTCOME_FAILS) {
        return DISK_FAILED;
    }
    struct sim_inode *inode = find_file(disk, name);
    if (creates && inode != NULL) {
        fault_set(fault, "%s: exists", name);
        return DISK_FAILED;
    }
    if (!creates && inode == NULL) {
        fault_set(fault, "%s: not found", name);
        return outcome == OUTCOME_ENDS ? DISK_FAILED : DISK_NOT_FOUND;
    }
    if (creates) {
        inode = sim_inode_create();
        inode->next = disk->inodes;
        disk->inodes = inode;
        change_directory(disk, "", name, inode);
    }
    if (outcome == OUTCOME_ENDS) {
        return DISK_FAILED;
    }
    struct disk_file *opened = calloc(1, sizeof(*opened));
    assert(opened != NULL);
    *opened = (struct disk_file){.next = disk->open_files, .inode = inode, .mode = mode};
    set_name(opened->name, name);
    disk->open_files = opened;
    *file = opened;
    return DISK_OK;
}

static void close_file(struct disk *base, struct disk_file *file) {
    struct sim_disk *disk = sim_of(base);
    struct disk_file **link = &disk->open_files;
    while (*link != file) {
        assert(*link != NULL); /* closed twice, or never opened */
        link = &(*link)->next;
    }
    *link = file->next;
    free(file);
    collect(disk);
}

static enum disk_status read_file(struct disk *base, struct disk_file *file, void *into,
                                  size_t size, uint64_t offset, size_t *got, struct fault *fault) {
    struct sim_disk *disk = sim_of(base);
    *got = 0;
    if (begin(disk, disk->rates.read, &disk->counts.failed_reads, file->name, fault) !=
        OUTCOME_WELL) {
        return DISK_FAILED;
    }
    uint64_t end = file->inode->seen_size;
    *got = offset >= end ? 0 : (size_t)bytes_min_u64(size, end - offset);
    sim_inode_read(file->inode, offset, into, *got);
    return DISK_OK;
}

static enum disk_status write_file(struct disk *base, struct disk_file *file, const void *from,
                                   size_t size, uint64_t offset, struct fault *fault) {
    struct sim_disk *disk = sim_of(base);
    bool durable = file->mode == DISK_WRITE_DURABLE;
    assert(file->mode != DISK_READ);
    check_alignment(file, from, size, offset);
    uint32_t rate = durable ? disk->rates.write_durable : disk->rates.write;
    uint64_t *count = durable ? &disk->counts.failed_durable_writes : &disk->counts.failed_writes;
    enum outcome outcome = begin(disk, rate, count, file->name, fault);
    if (outcome == OUTCOME_FAILS && disk->dead) {
        return DISK_FAILED;
    }
    struct sim_inode *inode = file->inode;
    uint64_t end = bytes_max_u64(offset + size, inode->seen_size);
    if (end > inode->seen_size && disk->used_bytes + (end - inode->seen_size) > disk->quota_bytes) {
        disk->counts.refused_full++;
        fault_set(fault, "%s: no room", file->name);
        return outcome == OUTCOME_ENDS ? DISK_FAILED : DISK_FULL;
    }
    enum sim_sector_fate well = durable ? SIM_SECTOR_DURABLE : SIM_SECTOR_DIRTY;
    disk->counts.durable_writes += durable ? 1 : 0;
    if (outcome == OUTCOME_WELL) {
        sim_inode_write(inode, offset, from, size, fate_always, &well);
    } else {
        struct part part = choose_part(disk, size / SIM_SECTOR_BYTES + 1,
                                       durable ? SIM_SECTOR_STRANDED : SIM_SECTOR_DIRTY);
        disk->counts.writes_torn += durable ? 1 : 0;
        sim_inode_write(inode, offset, from, size, fate_in_part, &part);
    }
    collect(disk);
    return outcome == OUTCOME_WELL ? DISK_OK : DISK_FAILED;
}

static enum disk_status sync_file(struct disk *base, struct disk_file *file, struct fault *fault) {
    struct sim_disk *disk = sim_of(base);
    enum outcome outcome =
        begin(disk, disk->rates.sync, &disk->counts.failed_syncs, file->name, fault);
    if (outcome == OUTCOME_FAILS && disk->dead) {
        return DISK_FAILED;
    }
    disk->counts.syncs++;
    if (outcome == OUTCOME_WELL) {
        sim_inode_sync(file->inode, NULL, NULL, false);
        return DISK_OK;
    }
    struct part part = choose_part(disk, (size_t)(file->inode->seen_size / SIM_SECTOR_BYTES) + 1,
                                   SIM_SECTOR_DURABLE);
    sim_inode_sync(file->inode, is_in_part, &part, outcome == OUTCOME_FAILS);
    return DISK_FAILED;
}

static enum disk_status size_of_file(struct disk *base, struct disk_file *file, uint64_t *size,
                                     struct fault *fault) {
    if (begin(sim_of(base), 0, NULL, file->name, fault) != OUTCOME_WELL) {
        return DISK_FAILED;
    }
    *size = file->inode->seen_size;
    return DISK_OK;
}

/** Renames, or with an empty `to` removes. */
static enum disk_status move(struct sim_disk *disk, const char *from, const char *to,
                             struct fault *fault) {
    enum outcome outcome =
        begin(disk, disk->rates.directory, &disk->counts.failed_directory_operations, from, fault);
    if (outcome == OUTCOME_FAILS) {
        return DISK_FAILED;
    }
    if (find_file(disk, from) == NULL) {
        fault_set(fault, "%s: not found", from);
        return outcome == OUTCOME_ENDS ? DISK_FAILED : DISK_NOT_FOUND;
    }
    if (outcome == OUTCOME_WELL || random_chance(&disk->random, 1, 2)) {
        change_directory(disk, from, to, NULL);
    }
    return outcome == OUTCOME_WELL ? DISK_OK : DISK_FAILED;
}

static enum disk_status rename_file(struct disk *base, const char *from, const char *to,
                                    struct fault *fault) {
    return move(sim_of(base), from, to, fault);
}

static enum disk_status remove_file(struct disk *base, const char *name, struct fault *fault) {
    return move(sim_of(base), name, "", fault);
}

static enum disk_status sync_directory(struct disk *base, struct fault *fault) {
    struct sim_disk *disk = sim_of(base);
    enum outcome outcome = begin(disk, disk->rates.directory,
                                 &disk->counts.failed_directory_operations, "the directory", fault);
    if (outcome == OUTCOME_FAILS && disk->dead) {
        return DISK_FAILED;
    }
    size_t count = disk->change_count;
    settle_changes(disk, outcome == OUTCOME_WELL ? count
                                                 : (size_t)random_below(&disk->random, count + 1));
    return outcome == OUTCOME_WELL ? DISK_OK : DISK_FAILED;
}

static enum disk_status list_files(struct disk *base, void (*visit)(void *, const char *),
                                   void *context, struct fault *fault) {
    struct sim_disk *disk = sim_of(base);
    if (begin(disk, 0, NULL, "the directory", fault) != OUTCOME_WELL) {
        return DISK_FAILED;
    }
    size_t count = disk->seen.count;
    size_t first = (size_t)random_below(&disk->random, count + 1);
    for (size_t i = 0; i < count; i++) {
        visit(context, disk->seen.entries[(first + i) % count].name);
    }
    return DISK_OK;
}

static uint64_t free_bytes(struct disk *base) {
    const struct sim_disk *disk = sim_of(base);
    return disk->quota_bytes > disk->used_bytes ? disk->quota_bytes - disk->used_bytes : 0;
}

static const struct disk_ops sim_ops = {
    .open = open_file,
    .close = close_file,
    .read = read_file,
    .write = write_file,
    .sync = sync_file,
    .size = size_of_file,
    .rename = rename_file,
    .remove = remove_file,
    .sync_directory = sync_directory,
    .list = list_files,
    .free_bytes = free_bytes,
};

/* --- The whole. --- */

void sim_disk_init(struct sim_disk *disk, uint64_t seed) {
    memset(disk, 0, sizeof(*disk));
    disk->disk.ops = &sim_ops;
    disk->random.state = seed;
    disk->quota_bytes = UINT64_MAX;
}

void sim_disk_deinit(struct sim_disk *disk) {
    assert(disk->open_files == NULL);
    disk->change_count = 0;
    disk->seen.count = 0;
    disk->medium.count = 0;
    collect(disk);
    free(disk->changes);
}

/** The file of `copy` that was made from `inode` of `disk`: both lists have the same order. */
static struct sim_inode *counterpart(const struct sim_disk *disk, const struct sim_disk *copy,
                                     const struct sim_inode *inode) {
    struct sim_inode *other = copy->inodes;
    for (const struct sim_inode *at = disk->inodes; at != NULL && at != inode; at = at->next) {
        other = other->next;
    }
    return inode == NULL ? NULL : other;
}

void sim_disk_clone(const struct sim_disk *disk, struct sim_disk *copy) {
    assert(disk->open_files == NULL);
    *copy = *disk;
    copy->inodes = NULL;
    struct sim_inode **end = &copy->inodes;
    for (const struct sim_inode *inode = disk->inodes; inode != NULL; inode = inode->next) {
        *end = sim_inode_clone(inode);
        (*end)->next = NULL;
        end = &(*end)->next;
    }
    copy->changes = calloc(disk->change_capacity + 1, sizeof(*copy->changes));
    assert(copy->changes != NULL);
    for (size_t i = 0; i < disk->change_count; i++) {
        copy->changes[i] = disk->changes[i];
        copy->changes[i].inode = counterpart(disk, copy, disk->changes[i].inode);
    }
    for (size_t i = 0; i < disk->seen.count; i++) {
        copy->seen.entries[i].inode = counterpart(disk, copy, disk->seen.entries[i].inode);
    }
    for (size_t i = 0; i < disk->medium.count; i++) {
        copy->medium.entries[i].inode = counterpart(disk, copy, disk->medium.entries[i].inode);
    }
}

void sim_disk_process_died(struct sim_disk *disk) {
    while (disk->open_files != NULL) {
        close_file(&disk->disk, disk->open_files);
    }
    disk->dead = false;
    disk->end_in_operations = 0;
}

void sim_disk_power_failed(struct sim_disk *disk) {
    sim_disk_process_died(disk);
    size_t kept = (size_t)random_below(&disk->random, disk->change_count + 1);
    disk->counts.directory_changes_lost += disk->change_count - kept;
    settle_changes(disk, kept);
    disk->change_count = 0;
    disk->seen = disk->medium;
    for (struct sim_inode *inode = disk->inodes; inode != NULL; inode = inode->next) {
        sim_inode_lose_power(inode, disk);
    }
    collect(disk);
}

bool sim_disk_size_of(const struct sim_disk *disk, const char *name, uint64_t *size) {
    const struct sim_inode *inode = find_file(disk, name);
    *size = inode == NULL ? 0 : inode->seen_size;
    return inode != NULL;
}

uint64_t sim_disk_bytes_of(const struct sim_disk *disk, const char *prefix) {
    uint64_t bytes = 0;
    for (size_t i = 0; i < disk->seen.count; i++) {
        if (strncmp(disk->seen.entries[i].name, prefix, strlen(prefix)) == 0) {
            bytes += disk->seen.entries[i].inode->seen_size;
        }
    }
    return bytes;
}

size_t sim_disk_count_of(const struct sim_disk *disk, const char *prefix) {
    size_t count = 0;
    for (size_t i = 0; i < disk->seen.count; i++) {
        count += strncmp(disk->seen.entries[i].name, prefix, strlen(prefix)) == 0 ? 1 : 0;
    }
    return count;
}

void sim_disk_peek(const struct sim_disk *disk, const char *name, uint64_t offset, void *into,
                   size_t size) {
    const struct sim_inode *inode = find_file(disk, name);
    assert(inode != NULL);
    sim_inode_read(inode, offset, into, size);
}

void sim_disk_poke(struct sim_disk *disk, const char *name, uint64_t offset, const void *from,
                   size_t size) {
    enum sim_sector_fate durable = SIM_SECTOR_DURABLE;
    struct sim_inode *inode = find_file(disk, name);
    assert(inode != NULL);
    sim_inode_write(inode, offset, from, size, fate_always, &durable);
    collect(disk);
}

void sim_disk_put_file(struct sim_disk *disk, const char *name, const void *bytes, size_t size) {
    sim_disk_drop_file(disk, name);
    struct sim_inode *inode = sim_inode_create();
    inode->next = disk->inodes;
    disk->inodes = inode;
    change_directory(disk, "", name, inode);
    settle_changes(disk, disk->change_count);
    sim_disk_poke(disk, name, 0, bytes, size);
}

void sim_disk_drop_file(struct sim_disk *disk, const char *name) {
    if (find_file(disk, name) != NULL) {
        change_directory(disk, name, "", NULL);
    }
    settle_changes(disk, disk->change_count);
}

void sim_disk_cut_file(struct sim_disk *disk, const char *name, uint64_t size) {
    struct sim_inode *inode = find_file(disk, name);
    assert(inode != NULL);
    sim_inode_cut(inode, size);
    collect(disk);
}
