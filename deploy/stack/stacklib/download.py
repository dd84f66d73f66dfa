"""Class paths from Maven Central, kept in build/stack/cache (or STACK_CACHE): a POM of this folder
is downloaded once, and again only when it has changed."""

import glob
import hashlib
import os
import shutil
import subprocess
import tempfile

from stacklib import layout

MAVEN_WITHIN_SECONDS = 600


class NotToBeHad(layout.StackError):
    """Something that the stack is made of is missing on this machine."""


def java():
    """Java 17: Cassandra runs on no newer one."""
    found = sorted(glob.glob("/usr/lib/jvm/java-17-openjdk-*/bin/java"))
    home = os.environ.get("JAVA_HOME")
    if not found and home and os.access(f"{home}/bin/java", os.X_OK):
        found = [f"{home}/bin/java"]
    found += filter(None, [shutil.which("java")])
    if not found:
        raise NotToBeHad("no Java: tools/install-dependencies stack")
    return found[0]


def program(name):
    """The path of a program, also of one in a folder that only root has in its PATH."""
    path = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")
    if path is None:
        raise NotToBeHad(f"no {name}: tools/install-dependencies stack")
    return path


def class_path(name):
    """The jars of pom-NAME.xml as a class path; downloads them where they are not there yet."""
    directory = layout.CACHE / name
    pom = layout.SOURCE / f"pom-{name}.xml"
    wanted = hashlib.sha256(pom.read_bytes()).hexdigest()
    stamp = directory / "pom.sha256"
    if not stamp.exists() or stamp.read_text().strip() != wanted:
        download(name, pom, directory)
        stamp.write_text(wanted + "\n")
    return f"{directory}/*"


def download(name, pom, directory):
    """Has Maven copy what a POM names, all of it or nothing."""
    print(f"{name}: downloading from Maven Central", flush=True)
    layout.CACHE.mkdir(parents=True, exist_ok=True)
    new = tempfile.mkdtemp(prefix=f"{name}-", dir=layout.CACHE)
    command = [
        program("mvn"),
        *("--quiet", "--batch-mode", "--strict-checksums", "--file", str(pom)),
        f"-Dmaven.repo.local={layout.CACHE / 'maven'}",
        "dependency:copy-dependencies",
        "-DincludeScope=runtime",
        f"-DoutputDirectory={new}",
    ]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, "JAVA_HOME": os.path.dirname(os.path.dirname(java()))},
            text=True,
            timeout=MAVEN_WITHIN_SECONDS,
            check=False,
        )
        if done.returncode != 0:
            raise NotToBeHad(f"{name}: Maven could not download it:\n{done.stdout[-2000:]}")
        shutil.rmtree(directory, ignore_errors=True)
        os.rename(new, directory)
        directory.chmod(0o755)
    except subprocess.TimeoutExpired:
        message = f"{name}: Maven did not download it within {MAVEN_WITHIN_SECONDS} s"
        raise NotToBeHad(message) from None
    finally:
        shutil.rmtree(new, ignore_errors=True)
