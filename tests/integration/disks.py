"""File systems of a test's own, for what only they show: one with little room, one that stops.

Both need root, and a system that lets it mount; elsewhere the test is skipped and says why.
"""

import contextlib
import os
import pathlib
import shutil
import subprocess
import tempfile

import harness


def run(*command):
    """True where the command did it; else its message."""
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    return True if result.returncode == 0 else result.stderr.strip() or str(result.returncode)


@contextlib.contextmanager
def mounted(*options):
    """An empty file system that mount makes of these arguments; its path."""
    if os.geteuid() != 0:
        harness.skip("only root may mount the file system that this needs")
    path = pathlib.Path(tempfile.mkdtemp(prefix="orderd-disk-"))
    done = run("mount", *options, str(path))
    if done is not True:
        path.rmdir()
        harness.skip(f"the file system that this needs cannot be mounted here: {done}")
    try:
        yield path
    finally:
        end_users_of(path)
        done = run("umount", str(path))
        assert done is True, done
        path.rmdir()


def end_users_of(path):
    """Kills each orderd with data there: it would keep the file system busy."""
    for orderd in harness.Orderd.started:
        if path in orderd.data_dir.parents and orderd.process.poll() is None:
            orderd.kill()


@contextlib.contextmanager
def small(size_mb):
    """A file system with so much room; its path, and a function that gives it another size."""
    with mounted("-t", "tmpfs", "-o", f"size={size_mb}m", "tmpfs") as path:

        def resize(new_size_mb):
            done = run("mount", "-o", f"remount,size={new_size_mb}m", str(path))
            assert done is True, done

        yield path, resize


@contextlib.contextmanager
def freezable(size_mb):
    """A file system whose writes can be made to wait; its path and `frozen`, a context in which
    they do."""
    for name in ("mkfs.ext4", "fsfreeze"):
        if shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin") is None:
            harness.skip(f"there is no {name}")
    with tempfile.NamedTemporaryFile(prefix="orderd-disk-") as image:
        image.truncate(size_mb << 20)
        done = run("/usr/sbin/mkfs.ext4", "-q", "-F", image.name)
        assert done is True, done
        with mounted("-o", "loop", image.name) as path:

            @contextlib.contextmanager
            def frozen():
                done = run("/usr/sbin/fsfreeze", "--freeze", str(path))
                if done is not True:
                    harness.skip(f"the file system cannot be frozen here: {done}")
                try:
                    yield
                finally:
                    done = run("/usr/sbin/fsfreeze", "--unfreeze", str(path))
                    assert done is True, done

            yield path, frozen
