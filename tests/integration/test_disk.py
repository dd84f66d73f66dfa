# run-tests: parallel, timeout=240
"""What the data directory can do to the service: torn and damaged files, no room, another process
on it, and a journal that must not grow without end. The files are those of the embedded store.
"""

import contextlib
import dataclasses
import re
import struct
import time

import disks
import harness
import orders
from orders import Client, change, check_problem, create, draft, path_of, read

BLOCK = 4096
MIB = 1 << 20
FRAME = struct.Struct("<IIQQQqII16x")
RECORD_BYTES = 128
RELEASE_BYTES = 16


@dataclasses.dataclass
class Frame:
    """Where a frame of the journal is; `records` are its orders' bytes."""

    path: object
    offset: int
    size: int
    sequence: int
    records: list
    releases: int


def frames_of(path):
    """The frames of one segment, as far as its headers follow one another."""
    data = path.read_bytes()
    number = int(re.fullmatch(r"journal-(\d+)\.seg", path.name)[1])
    offset, found = BLOCK, []
    magic = FRAME.unpack_from(data, BLOCK)[0]
    while offset + BLOCK <= len(data):
        kind, _, segment, sequence, _, _, records, releases = FRAME.unpack_from(data, offset)
        if kind != magic or segment != number or found and sequence != found[-1].sequence + 1:
            break
        at = range(offset + FRAME.size, offset + FRAME.size + records * RECORD_BYTES, RECORD_BYTES)
        used = FRAME.size + records * RECORD_BYTES + releases * RELEASE_BYTES
        size = -(-used // BLOCK) * BLOCK
        parts = [data[place : place + RECORD_BYTES] for place in at]
        found.append(Frame(path, offset, size, sequence, parts, releases))
        offset += size
    return found


def journal_of(orderd):
    """Every frame, oldest first."""
    paths = sorted(orderd.data_dir.glob("journal-*.seg"))
    return [frame for path in paths if path.stat().st_size for frame in frames_of(path)]


def frame_of(orderd, order):
    """The frame in which the order was created."""
    reference = order["partner_order_id"].encode()
    for frame in journal_of(orderd):
        if any(reference in record for record in frame.records):
            return frame
    raise AssertionError(f"{order} is in no frame")


def write_at(path, offset, data):
    with open(path, "r+b") as file:
        file.seek(offset)
        file.write(data)


@contextlib.contextmanager
def changed(path, offset, data):
    """The file with these bytes in it; afterwards as it was."""
    with open(path, "rb") as file:
        file.seek(offset)
        before = file.read(len(data))
    write_at(path, offset, data)
    yield
    write_at(path, offset, before)


def flipped(path, offset, bit=0):
    with open(path, "rb") as file:
        file.seek(offset)
        byte = file.read(1)[0]
    return changed(path, offset, bytes([byte ^ 1 << bit]))


def log_of_start(orderd, status=0):
    """Starts it and returns what it logged; `status` is that of a start that is to fail."""
    before = len(orderd.log())
    if status == 0:
        orderd.start()
    else:
        orderd.start(wait=False)
        assert orderd.wait_for_end() == status, orderd.process.returncode
    return orderd.log()[before:]


def verify(orderd, status=0):
    return orderd.orderctl("verify", orderd.data_dir, status=status)


# --- Torn tails. ---


def test_a_torn_tail_is_cut_off_and_told_wherever_it_is_torn():
    orderd = orders.start()
    kept = [create(orderd) for _ in range(3)]
    orderd.kill()
    for size in (1, 4, 8, 63, 64, 65, 100, 191, 192, 500):
        frames = journal_of(orderd)
        last = frames[-1]
        model = next(frame for frame in frames if frame.records)
        data = model.path.read_bytes()[model.offset : model.offset + BLOCK]
        fields = list(FRAME.unpack_from(data))
        fields[3] = last.sequence + 1  # what would have come next, its checksum another's
        torn = (FRAME.pack(*fields) + data[FRAME.size :])[:size]
        end = last.offset + last.size
        write_at(last.path, end, torn.ljust(BLOCK, b"\0"))
        verify(orderd)
        log = log_of_start(orderd)
        told = f"warning recovery: {last.path.name}: offset {end}: a torn frame"
        if size >= 16:  # before that there is no telling it from nothing
            assert told in log, (size, log)
        for order in kept:
            assert read(orderd, order) == order
        kept.append(create(orderd))
        orderd.kill()
        verify(orderd)
    assert "torn" not in log_of_start(orderd)
    assert [read(orderd, order) for order in kept] == kept


def test_the_last_frame_cut_short_takes_its_own_orders_and_no_others():
    orderd = orders.start()
    kept = [create(orderd) for _ in range(5)]
    orderd.kill()
    last = frame_of(orderd, kept[-1])
    tail = [frame for frame in journal_of(orderd) if frame.offset >= last.offset]
    assert not any(frame.records for frame in tail[1:]), tail
    for frame in tail[1:]:
        write_at(frame.path, frame.offset, bytes(frame.size))
    write_at(last.path, last.offset + 100, bytes(last.size - 100))
    log = log_of_start(orderd)
    assert f"{last.path.name}: offset {last.offset}: a torn frame" in log, log
    assert [read(orderd, order) for order in kept[:-1]] == kept[:-1]
    check_problem(orderd.get(path_of(kept[-1])), 404)
    same = {name: kept[-1][name] for name in ("partner_code", "partner_order_id", "amount")}
    again = orderd.post("/v1/orders", same)
    assert again.status == 201, again
    assert orderd.stop() == 0
    verify(orderd)


# --- Damage. ---


def test_a_flipped_bit_in_the_journal_stops_the_start_and_says_where():
    orderd = orders.start()
    kept = [create(orderd) for _ in range(8)]
    change(orderd, kept[0], "processing")
    orderd.kill()
    frame = frame_of(orderd, kept[3])
    for place in (0, 4, 8, 16, 24, 32, 40, 44, 64, 72, 80, 136, 191):
        with flipped(frame.path, frame.offset + place, place % 8):
            log = log_of_start(orderd, status=1)
            told = f"{frame.path.name}: offset {frame.offset}: damaged"
            assert "error" in log and told in log, (place, log)
            shown = verify(orderd, status=1)
            assert frame.path.name in shown and f"offset {frame.offset}" in shown, shown
    log_of_start(orderd)
    assert [read(orderd, order)["version"] for order in kept] == [2] + [1] * 7


def test_a_segment_without_its_header_stops_the_start():
    orderd = orders.start()
    order = create(orderd)
    orderd.kill()
    path = frame_of(orderd, order).path
    for place in (0, 8, 12, 16, 24):
        with flipped(path, place):
            log = log_of_start(orderd, status=1)
            assert f"{path.name}: offset 0: damaged" in log, (place, log)
    log_of_start(orderd)
    assert read(orderd, order) == order


def test_damage_to_the_last_acknowledged_order_of_an_idle_service_is_no_torn_tail():
    """An empty frame behind it tells that it was whole."""
    orderd = orders.start()
    order = create(orderd)

    def is_sealed():
        frames = journal_of(orderd)
        return not frames[-1].records and not frames[-1].releases

    harness.wait_for(is_sealed, what="the empty frame")
    orderd.kill()
    frame = frame_of(orderd, order)
    with flipped(frame.path, frame.offset + 70):
        log = log_of_start(orderd, status=1)
        assert f"{frame.path.name}: offset {frame.offset}: damaged" in log, log
    log_of_start(orderd)
    assert read(orderd, order) == order


def test_a_missing_segment_stops_the_start():
    orderd = orders.start("journal.checkpoint_mb=1000")
    fill(orderd, 20 * MIB)
    orderd.kill()
    segments = sorted({frame.path for frame in journal_of(orderd)})
    assert len(segments) >= 3, segments
    held = segments[1].read_bytes()
    segments[1].unlink()
    log = log_of_start(orderd, status=1)
    assert f"{segments[1].name}: offset 0: damaged: the file is missing" in log, log
    verify(orderd, status=1)
    segments[1].write_bytes(held)
    log_of_start(orderd)


def fill(orderd, size):
    """Creates orders until so many bytes of journal are written; returns their ids."""
    ids = []
    while len(ids) * RECORD_BYTES < size:
        results = orders.post_records(orderd, [orders.record() for _ in range(4096)])
        assert all(code == 201 for _, _, code, _ in results), results[:9]
        ids += [order_id for order_id, *_ in results]
    return ids


def test_a_flipped_bit_in_a_checkpoint_stops_the_start_and_says_where():
    orderd = orders.start("journal.checkpoint_mb=1", "journal.keep_mb=0")
    ids = fill(orderd, 3 * MIB)
    orders.wait_for_metric(orderd, "orderd_journal_checkpoints_total", 1)
    orderd.kill()
    path = max(orderd.data_dir.glob("checkpoint-*"))
    size = path.stat().st_size
    for place in (0, 40, size // 4 // 8 * 8 + 3, size - 30):
        with flipped(path, place):
            log = log_of_start(orderd, status=1)
            assert re.search(rf"{path.name}: offset \d+: ", log), (place, log)
            shown = verify(orderd, status=1)
            assert path.name in shown, shown
    log_of_start(orderd)
    assert all(version == 1 for version, _, _ in orders.post_statuses(orderd, ids[:8000]))


# --- One process at a time. ---


def test_a_second_process_on_the_same_data_is_refused_and_the_first_goes_on():
    first = orders.start()
    order = create(first)
    second = orders.start(data_dir=first.data_dir, wait=False)
    assert second.wait_for_end() == 1
    told = f"{first.data_dir}: another process uses this data directory"
    assert told in second.log(), second.log()
    verify(first, status=1)
    assert read(first, order) == order
    create(first)
    first.kill()
    second.start()
    assert read(second, order) == order


# --- No room. ---


@contextlib.contextmanager
def small_disk(start, size_mb):
    """An orderd on a file system of so many MiB, and a function that gives that another size."""
    with disks.small(size_mb) as (path, resize):
        yield start(path / "data"), resize


def start_small(data_dir):
    return orders.start("journal.checkpoint_mb=1", "journal.keep_mb=0", data_dir=data_dir)


def fill_up(client):
    """Creates orders until some are refused for want of room; returns the ids of the others."""
    ids = []
    while True:
        records = [orders.record() for _ in range(2000)]
        answer = client.post("/v1/batch/orders", b"".join(records), orders.OCTETS)
        assert answer.status == 200, answer
        results = list(orders.RESULT.iter_unpack(answer.body))
        ids += [order_id for order_id, _, code, _, _ in results if code == 201]
        refused = [result for result in results if result[2] != 201]
        assert all(result == (0, 0, 503, 0, 0) for result in refused), refused[:9]
        if refused:
            return ids
        assert len(ids) < 1_000_000, "it never fills up"


def check_all_pending(orderd, ids):
    for at in range(0, len(ids), 8192):
        states = orders.post_statuses(orderd, ids[at : at + 8192])
        assert set(states) == {(1, 1, 0)}, set(states)


def is_ready(orderd):
    return orderd.get("/readyz").status == 200


def test_a_full_disk_refuses_creates_answers_reads_and_loses_nothing():
    with small_disk(start_small, 36) as (orderd, resize):
        order = create(orderd)
        with Client(orderd) as client:
            ids = fill_up(client)
            harness.wait_for(lambda: not is_ready(orderd), what="not ready")
            for _ in range(20):
                begin = time.monotonic()
                check_problem(client.post("/v1/orders", draft()), 503)
                assert time.monotonic() - begin < 5, "it waits for room"
            lines = orders.post_lines(orderd, [draft()])
            assert lines[0]["code"] == 503, lines
        assert "journal" in check_problem(orderd.get("/readyz"), 503)["detail"]
        assert orderd.get("/healthz").status == 200
        assert orders.metrics(orderd)["orderd_store_disk_full"] == 1
        assert "no room" in orderd.log() or "full" in orderd.log()
        assert read(orderd, order) == order
        check_all_pending(orderd, ids)
        same = {name: order[name] for name in ("partner_code", "partner_order_id", "amount")}
        replay = orderd.post("/v1/orders", same)
        assert replay.status == 200 and replay.json == order, replay
        orderd.kill()
        resize(200)
        orderd.start()
        assert read(orderd, order) == order
        check_all_pending(orderd, ids)
        create(orderd)
        assert orderd.stop() == 0
        verify(orderd)


def test_room_that_comes_back_is_used_without_a_restart():
    with small_disk(start_small, 36) as (orderd, resize):
        with Client(orderd) as client:
            ids = fill_up(client)
            resize(200)
            harness.wait_for(lambda: is_ready(orderd), what="ready again")
            assert client.post("/v1/orders", draft()).status == 201
        check_all_pending(orderd, ids)
        orderd.kill()
        verify(orderd)
        orderd.start()
        check_all_pending(orderd, ids)


def test_an_archive_without_room_ends_no_process_and_goes_on_when_there_is_room():
    """Orders end while nothing of the disk is left for the archive."""
    with small_disk(start_small, 100) as (orderd, resize):
        ids = [str(order_id) for order_id in fill(orderd, 1 * MIB)]
        use_up(orderd.data_dir.parent)
        with Client(orderd) as client:
            ended = end_some(client, ids[:2000])
        assert ended
        failures = "orderd_archive_put_failures_total"

        def has_failed_often():  # the first, and two after a reopening
            use_up(orderd.data_dir.parent)  # what the journal gave up meanwhile
            return orders.metrics(orderd)[failures] >= 3

        harness.wait_for(has_failed_often, what=failures)
        check_ended(orderd, ended[::20])
        check_problem(orderd.get("/readyz"), 503)
        (orderd.data_dir.parent / "rest").unlink()
        harness.wait_for(lambda: is_ready(orderd), what="ready again")
        orders.wait_until_archived(orderd, len(ended), 60)
        orderd.kill()
        verify(orderd)
        orderd.start()
        check_ended(orderd, ended[::20])
        check_all_pending(orderd, ids[2000:])


def use_up(path):
    """Leaves nothing of the room that is left."""
    with contextlib.suppress(OSError), open(path / "rest", "ab", buffering=0) as file:
        while file.write(bytes(BLOCK)):
            pass


def end_some(client, ids):
    """Ends those orders that the service still takes a change of; returns their ids."""
    ended = []
    for order_id in ids:
        answer = client.patch(f"/v1/orders/{order_id}", {"status": "success"})
        assert answer.status in (200, 503), answer
        if answer.status == 200:
            ended.append(order_id)
    return ended


def check_ended(orderd, ended):
    for order_id in ended:
        order = orderd.get(f"/v1/orders/{order_id}").json
        assert (order["status"], order["version"]) == ("success", 2), order


def start_with_much_memory(data_dir):
    """So that the hot orders, and with them a checkpoint, may become larger than the disk."""
    settings = ("journal.checkpoint_mb=1", "journal.keep_mb=0", "journal.max_mb=64")
    return orders.start(*settings, "memory.budget_mb=256", data_dir=data_dir)


def test_a_journal_at_its_limit_refuses_where_the_checkpoint_has_no_room():
    """Not even then does a request wait without an end."""
    with small_disk(start_with_much_memory, 110) as (orderd, resize):
        with Client(orderd) as client:
            ids = fill_up(client)
            check_problem(client.post("/v1/orders", draft()), 503)
            harness.wait_for(lambda: not is_ready(orderd), what="not ready")
            assert orders.metrics(orderd)["orderd_journal_checkpoint_failures_total"] >= 1
            resize(400)
            harness.wait_for(lambda: is_ready(orderd), what="ready again")
            assert client.post("/v1/orders", draft()).status == 201
        check_all_pending(orderd, ids)
        assert orderd.stop() == 0
        verify(orderd)


def test_a_start_on_a_full_disk_serves_what_is_there_or_says_why_not():
    with small_disk(start_small, 36) as (orderd, resize):
        with Client(orderd) as client:
            ids = fill_up(client)
        orderd.kill()
        orderd.start(wait=False)
        orderd.end_asked = True

        def answers():
            if orderd.process.poll() is not None:
                return True
            with contextlib.suppress(OSError):
                return orderd.get("/healthz").status == 200
            return False

        harness.wait_for(answers, 60, "an answer or an end")
        if orderd.process.poll() is None:
            check_all_pending(orderd, ids)
            orderd.kill()
        else:
            assert "not started: " in orderd.log(), orderd.log()
        resize(200)
        orderd.start()
        check_all_pending(orderd, ids)
        create(orderd)


# --- The journal stays small. ---


def journal_bytes(orderd):
    return sum(path.stat().st_size for path in orderd.data_dir.glob("journal*"))


def end_one(client):
    order = client.post("/v1/orders", draft())
    assert order.status == 201, order
    answer = client.patch(path_of(order.json), {"status": "success"})
    assert answer.status == 200, answer


def test_orders_that_stay_open_for_long_do_not_keep_the_journal():
    orderd = orders.start("journal.checkpoint_mb=1", "journal.keep_mb=0", "journal.max_mb=64")
    stay = [create(orderd) for _ in range(20)]
    stay += [change(orderd, create(orderd), "processing") for _ in range(20)]
    limit = 48 * MIB  # far less than what is written
    largest = 0
    with Client(orderd) as client:
        written = 0
        while written < 3 * limit:
            for _ in range(300):
                end_one(client)
            results = orders.post_records(orderd, [orders.record() for _ in range(1000)])
            assert {code for _, _, code, _ in results} == {201}, results[:9]
            largest = max(largest, journal_bytes(orderd))
            now = orders.metrics(orderd)
            written = now["orderd_store_journal_bytes_total"]
    assert largest <= limit, f"{largest} bytes of journal"
    assert now["orderd_journal_segments_removed_total"] >= 10, now
    assert [read(orderd, order) for order in stay] == stay
    orderd.kill()
    verify(orderd)
    orderd.start()
    assert [read(orderd, order) for order in stay] == stay
    for order in stay:
        assert change(orderd, order, "cancel")["version"] == order["version"] + 1


if __name__ == "__main__":
    harness.run(globals())
