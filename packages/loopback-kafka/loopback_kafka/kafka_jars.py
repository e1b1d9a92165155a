"""Apache Kafka's server from Maven's repository, resolved once into a cache folder."""

import os
import re
import shutil
import subprocess
import tempfile
from importlib import resources
from pathlib import Path
from typing import Final

from loopback_kafka.errors import BrokerUnavailable

KAFKA_VERSION: Final = "4.1.1"
_SCALA: Final = "2.13"
_SLF4J_VERSION: Final = "1.7.36"  # the API version Kafka 4.1 depends on; without a binding no log
MIN_JAVA: Final = 17
GUARD_CLASS: Final = "ExitWithStdin"
_RESOLVE_TIMEOUT_S: Final = 600

_POM: Final = f"""\
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>stream-coupons</groupId>
  <artifactId>kafka-server</artifactId>
  <version>1</version>
  <dependencies>
    <dependency>
      <groupId>org.apache.kafka</groupId>
      <artifactId>kafka_{_SCALA}</artifactId>
      <version>{KAFKA_VERSION}</version>
    </dependency>
    <dependency>
      <groupId>org.slf4j</groupId>
      <artifactId>slf4j-simple</artifactId>
      <version>{_SLF4J_VERSION}</version>
    </dependency>
  </dependencies>
</project>
"""


def apache_kafka_missing() -> str | None:
    """Return in one line what keeps Apache Kafka from running here, None if nothing does.

    Whether Maven reaches its repository shows only when the jars are resolved for the first time.
    """
    if shutil.which("java") is None:
        return f"Apache Kafka needs java on the PATH: install a JDK of version {MIN_JAVA} or newer"
    version = _java_version()
    if version < MIN_JAVA:
        return f"Apache Kafka needs Java {MIN_JAVA} or newer, found {version}"
    if _cache_folder().exists():
        return None
    for tool, package in (("javac", f"a JDK of version {MIN_JAVA} or newer"), ("mvn", "Maven")):
        if shutil.which(tool) is None:
            return f"Apache Kafka needs {tool} on the PATH: install {package}"
    return None


def kafka_classpath() -> str:
    """Return the class path of Kafka's server, resolving its jars if they are not cached yet.

    Raises
    ------
    BrokerUnavailable
        When Java or Maven is missing, or Maven cannot resolve the jars.
    """
    missing = apache_kafka_missing()
    if missing is not None:
        raise BrokerUnavailable(missing)
    folder = _cache_folder()
    if not folder.exists():
        _resolve(folder)
    return f"{folder}{os.pathsep}{folder / '*'}"


def _cache_folder() -> Path:
    """Return the folder of the jars; `STREAM_COUPONS_CACHE` names another parent for it."""
    default = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "stream-coupons"
    parent = Path(os.environ.get("STREAM_COUPONS_CACHE") or default)
    return parent.absolute() / f"kafka-{KAFKA_VERSION}"


def _java_version() -> int:
    shown = subprocess.run(["java", "-version"], capture_output=True, text=True, check=False)
    found = re.search(r'version "(?:1\.)?(\d+)', shown.stderr + shown.stdout)
    return int(found[1]) if found else 0


def _resolve(folder: Path) -> None:
    """Fill a scratch folder beside `folder` and rename it, so that a cache is whole or absent."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix="resolving-") as scratch:
        (Path(scratch) / "pom.xml").write_text(_POM, encoding="utf-8")
        jars = Path(scratch) / "jars"
        goal = ["dependency:copy-dependencies", f"-DoutputDirectory={jars}"]
        _run(["mvn", "--quiet", "--batch-mode", *goal], Path(scratch))
        guard = resources.files("loopback_kafka") / f"{GUARD_CLASS}.java"
        with resources.as_file(guard) as source:
            _run(["javac", "-d", str(jars), str(source)], Path(scratch))
        try:
            jars.rename(folder)
        except OSError:
            if not folder.exists():  # else another process was faster, with the same jars
                raise


def _run(command: list[str], folder: Path) -> None:
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=_RESOLVE_TIMEOUT_S,
        )
    except subprocess.TimeoutExpired:
        raise BrokerUnavailable(f"{command[0]} took over {_RESOLVE_TIMEOUT_S} s") from None
    if done.returncode != 0:
        lines = (done.stdout + done.stderr).strip().splitlines() or ["no output"]
        raise BrokerUnavailable(f"{command[0]} failed resolving Kafka {KAFKA_VERSION}: {lines[0]}")
