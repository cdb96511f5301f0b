"""curl: its exit code, what it shows of the head, and the body."""

import json
import os
import subprocess
import tempfile

from common import TIMEOUT_SECONDS, fields, run

FOLDER = tempfile.mkdtemp()


def call(url):
    head, body = os.path.join(FOLDER, "head"), os.path.join(FOLDER, "body")
    for file in (head, body):
        open(file, "w").close()
    command = ["curl", "--silent", "--show-error", "--max-time", str(TIMEOUT_SECONDS), "--suppress-connect-headers"]
    command += ["--dump-header", head, "--output", body, "--write-out", "%{json}", url]
    done = subprocess.run(command, capture_output=True)
    told = json.loads(done.stdout)
    with open(head, encoding="latin-1", newline="") as file:
        lines = [line for line in file.read().split("\r\n") if line]
    # Interim heads, the head and the trailers follow each other.
    # Each hop has a version of its own (RFC 9112 2.3).
    status_lines = [line.partition(" ")[2] for line in lines if line.startswith("HTTP/")]
    others = [line.partition(":") for line in lines if not line.startswith("HTTP/")]
    shown = [[name, value.strip(" ")] for name, _, value in others]
    with open(body, "rb") as file:
        content = file.read().decode("latin-1")
    written = [name for name, _ in shown if fields([[name, ""]])]
    return {
        "status": told["http_code"],
        "status_lines": status_lines,
        "fields": fields(shown),
        "names_as_written": sorted(written),
        "body": content,
        "error": done.returncode or None,
    }


run(call)
