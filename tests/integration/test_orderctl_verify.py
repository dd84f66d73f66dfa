"""orderctl verify: on directories that a real orderd left, whole and damaged."""
# run-tests: timeout=300

import os
import re
import shutil
import struct

import harness
import orderctl

ORDERS = 9000
FINAL_PERCENT = 40
BLOCK = 4096

SETTINGS = (
    "journal.segment_mb=8",
    "journal.checkpoint_mb=1",
    "memory.budget_mb=64",
    "order.timeout_seconds=100000",
)


def fill(orderd):
    """Orders of every kind, many of them archived."""
    ids = orderd.home / "ids"
    orderctl.run("bench", "load", "--orders", ORDERS, "--batch", 500, "--final", FINAL_PERCENT,
                 "--ids", ids, server=orderd)  # fmt: skip
    orderctl.run("set", struct.unpack("<Q", ids.read_bytes()[-8:])[0], "processing", server=orderd)


def archived(orderd):
    match = re.search(rb"orderd_store_released_total (\d+)", orderd.get("/metrics").body)
    return int(match[1]) if match else 0


def filled_directory():
    """The data directory of an orderd that was stopped in order, all final orders archived."""
    orderd = harness.Orderd(*SETTINGS)
    fill(orderd)
    wanted = ORDERS * FINAL_PERCENT // 100
    harness.wait_for(lambda: archived(orderd) >= wanted, 120, "archiving")
    assert orderd.stop() == 0
    return orderd


def copy(orderd, name="copy"):
    path = orderd.home / name
    shutil.rmtree(path, ignore_errors=True)
    shutil.copytree(orderd.data_dir, path)
    return path


def verify(path, status=0):
    result = orderctl.run("verify", path, "--json", status=status)
    return result.json


def flip(path, offset):
    with open(path, "r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 0x10]))


def segments(path):
    return sorted(path.glob("journal-*.seg"))


def listing(path):
    """Names, sizes and times of change of all files."""
    found = {}
    for folder, _, names in os.walk(path):
        for name in names:
            status = os.stat(os.path.join(folder, name))
            found[os.path.join(folder, name)] = (status.st_size, status.st_mtime_ns)
    return found


def test_a_whole_directory_is_clean_counted_and_left_alone():
    orderd = filled_directory()
    before = listing(orderd.data_dir)
    report = verify(orderd.data_dir)
    assert report["result"] == "clean" and not report["findings"], report
    wanted = ORDERS * FINAL_PERCENT // 100
    assert report["archived"] == report["references"] == wanted, report
    assert report["hot"] == ORDERS - wanted and report["in_transit"] == 0, report
    assert report["hot_by_status"]["processing"] == 1, report
    assert report["hot_by_status"]["pending"] == ORDERS - wanted - 1, report
    assert report["archived_by_status"]["success"] == wanted, report
    assert report["checkpoint_frame"] > 0 and report["torn_tail"] is None, report
    out = orderctl.run("verify", orderd.data_dir).out
    assert "no damage found" in out and "success" in out, out
    assert listing(orderd.data_dir) == before


def test_a_directory_in_use_is_refused():
    orderd = harness.Orderd(*SETTINGS)
    result = orderctl.run("verify", orderd.data_dir, status=1)
    assert "another process uses this data directory" in result.err, result
    told = orderctl.run("verify", orderd.data_dir, "--json", status=1).json
    assert told["result"] == "in use" and "another process" in told["detail"], told
    assert orderd.stop() == 0
    assert verify(orderd.data_dir)["hot"] == 0


def test_what_is_no_data_directory_is_exit_status_3():
    orderd = harness.Orderd(*SETTINGS)
    orderctl.run("verify", orderd.home / "nothing", status=3)
    assert "no data directory" in orderctl.run("verify", orderd.home, status=3).err
    orderctl.run("verify", orderd.log_path, status=3)
    told = orderctl.run("verify", orderd.home, "--json", status=3).json
    assert told["result"] == "unreadable" and told["data_dir"] == str(orderd.home), told


def test_a_directory_after_a_kill_is_clean():
    orderd = harness.Orderd(*SETTINGS)
    for round_number in range(3):
        fill(orderd)
        orderd.kill()
        report = verify(orderd.data_dir)
        assert report["result"] == "clean", report
        assert report["orders"] == ORDERS * (round_number + 1), report
        orderd.start()
    assert orderd.stop() == 0
    assert verify(orderd.data_dir)["result"] == "clean"


def test_a_flipped_byte_anywhere_in_a_frame_is_found():
    orderd = filled_directory()
    path = copy(orderd)
    first = segments(path)[0]
    data = first.read_bytes()
    # Every block that holds a part of a frame; the last frame is the seal, and only torn.
    blocks = [at for at in range(BLOCK, len(data), BLOCK) if any(data[at : at + BLOCK])]
    assert len(blocks) > 10, len(blocks)
    for block in blocks[:: max(1, len(blocks) // 12)][:-1]:
        flip(first, block + 50)
        report = verify(path, status=1)
        kinds = set(report["finding_kinds"])
        assert kinds & {"segment_damaged", "frames_missing"}, (block, report)
        assert any(finding.get("file") == first.name for finding in report["findings"]), report
        flip(first, block + 50)
    assert verify(path)["result"] == "clean"


def test_a_flipped_byte_in_the_checkpoint_is_found():
    orderd = filled_directory()
    path = copy(orderd)
    [checkpoint] = path.glob("checkpoint-*.ckp")
    size = checkpoint.stat().st_size
    for offset in (0, 100, size // 3, size // 2, size - 40):
        flip(checkpoint, offset)
        report = verify(path, status=1)
        assert report["finding_kinds"].get("checkpoint_damaged") == 1, (offset, report)
        assert report["findings"][0]["file"] == checkpoint.name, report
        flip(checkpoint, offset)
    with open(checkpoint, "r+b") as file:
        file.truncate(size - 64)
    assert "checkpoint_damaged" in verify(path, status=1)["finding_kinds"]


def test_a_removed_segment_or_checkpoint_is_found():
    orderd = filled_directory()
    path = copy(orderd)
    for segment in segments(path):
        segment.unlink()
    report = verify(path, status=1)
    # The releases went with the segments: what the checkpoint had as hot is in the archive, too.
    assert report["finding_kinds"]["frames_missing"] == 1, report
    assert set(report["finding_kinds"]) <= {"frames_missing", "homes_differ"}, report
    path = copy(orderd)
    [checkpoint] = path.glob("checkpoint-*.ckp")
    checkpoint.unlink()
    # The journal is there from its first frame on: nothing is lost without the checkpoint.
    assert verify(path)["result"] == "clean"


def test_a_damaged_archive_is_found():
    orderd = filled_directory()
    path = copy(orderd)
    shutil.rmtree(path / "archive")
    report = verify(path, status=1)
    wanted = ORDERS * FINAL_PERCENT // 100
    assert report["finding_kinds"] == {"archive_missing": wanted}, report["finding_kinds"]
    assert report["finding_count"] == wanted and len(report["findings"]) == 100, report
    path = copy(orderd)
    for file in (path / "archive").iterdir():
        if re.fullmatch(r"\d+\.(log|sst)", file.name) and file.stat().st_size > 4096:
            flip(file, file.stat().st_size // 2)
    report = verify(path, status=1)
    assert set(report["finding_kinds"]) <= {
        "archive_unreadable", "archive_missing", "record_invalid", "reference_missing",
        "reference_orphaned",
    }, report  # fmt: skip
    path = copy(orderd)
    (path / "archive/CURRENT").write_text("nothing\n")
    assert "archive_unreadable" in verify(path, status=1)["finding_kinds"]


def test_a_torn_tail_is_told_but_no_damage():
    orderd = harness.Orderd(*SETTINGS)
    order_id = orderctl.create(orderd, 1)["order_id"]
    orderd.kill()
    path = copy(orderd)
    segment = [each for each in segments(path) if any(each.read_bytes()[BLOCK : BLOCK + 64])][0]
    data = segment.read_bytes()
    last = max(at for at in range(BLOCK, len(data), BLOCK) if any(data[at : at + BLOCK]))
    flip(segment, last + 30)
    report = verify(path)
    assert report["torn_tail"] == {"file": segment.name, "offset": last}, report
    assert report["hot"] in (0, 1) and order_id, report
    assert "never acknowledged" in orderctl.run("verify", path).out


def test_the_idempotency_window_can_be_told():
    orderd = filled_directory()
    assert verify(orderd.data_dir)["result"] == "clean"
    orderctl.run("verify", orderd.data_dir, "--window", 60)
    orderctl.run("verify", orderd.data_dir, "--window", 0, status=2)


if __name__ == "__main__":
    harness.run(globals())
