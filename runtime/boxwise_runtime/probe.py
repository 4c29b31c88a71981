"""Check a server with one image through its pipeline, for Kubernetes' probes.

    python3 -m boxwise_runtime.probe PIPELINE [--host 127.0.0.1] [--http-port 8000]
                                              [--metrics-port 8002] [--timeout 5]

Exit code 0 if the pipeline responds; otherwise 1, and a sentence for the pod's events. It does not
use Triton's `/v2/health/ready`, where a model whose Python process has died reports ready forever.

A busy server is not broken: it must be neither restarted nor taken out of service. So a full queue
passes, and so does a timeout while the count of successes grows.

It runs every few seconds, so it imports almost nothing and speaks just enough HTTP: 0.04 s of CPU
besides the image, most of it Python's start. Importing the SDK alone takes 0.16.
"""

import os
import socket
import sys
import time

from boxwise_runtime.stub_processes import stubs_of

# A grey PNG of 1 x 1 pixels: every stage and every network runs on it (a classifier on a blank
# crop).
IMAGE = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108000000003a7e9b55"
    "0000000a49444154789c636800000082008177cd72b60000000049454e44ae426082"
)
SERVER_PID = "BOXWISE_SERVER_PID"  # of tritonserver; 1, as in its container, where it is not set
# Our messages for a full queue (boxwise_contract/refusals.py), and Triton 2.51's.
BUSY = (
    b"(max_queue ",
    b"(max_wait_ms ",
    b"Exceeds maximum queue size",
    b"maximum queue size exceeded",
    b"Request timeout expired",
)
REAPED_S = 0.5  # for Triton to reap a process that it ended itself


def probe(
    pipeline: str, host: str, http_port: int, metrics_port: int, timeout_s: float
) -> str | None:
    """Return what is wrong, as a sentence; None if the pipeline responds."""
    if dead := _dead_stage():
        return dead
    deadline = time.monotonic() + timeout_s
    before = _successes(pipeline, host, metrics_port, deadline)
    path = f"/v2/models/{pipeline}/infer"
    try:
        status, body = _exchange(host, http_port, "POST", path, deadline)
    except TimeoutError:
        after = _successes(pipeline, host, metrics_port, time.monotonic() + 1)
        if before is not None and after is not None and after > before:
            return None
        return f"{pipeline} did not respond within {timeout_s:g} s, nor to any other request"
    except OSError as error:
        return f"the server does not respond: {error.strerror or error}"
    if status == 200 or any(words in body for words in BUSY):
        return None
    return f"{pipeline} returned {status}: {body[:300].decode(errors='replace')}"


def _dead_stage() -> str | None:
    server = int(os.environ.get(SERVER_PID, "1"))
    if any(stub.dead for stub in stubs_of(server)):
        time.sleep(REAPED_S)
        for stub in stubs_of(server):
            if stub.dead:
                return (
                    f"a stage died (its process {stub.pid} crashed or was killed; out of memory?)"
                )
    return None


def _successes(pipeline: str, host: str, port: int, deadline: float) -> float | None:
    """Return the number of images served so far; None if the metrics do not show it."""
    try:
        status, body = _exchange(host, port, "GET", "/metrics", deadline)
    except OSError:
        return None
    if status != 200:
        return None
    total = 0.0
    for line in body.splitlines():
        if line.startswith(b"nv_inference_request_success{"):
            labels, _, value = line.rpartition(b" ")
            if any(
                f'model="{model}"'.encode() in labels for model in (pipeline, f"{pipeline}_raw")
            ):
                total += float(value)
    return total


def _exchange(host: str, port: int, verb: str, path: str, deadline: float) -> tuple[int, bytes]:
    """Make one HTTP request; return the status and the body of its response.

    Raises:
        TimeoutError: the deadline is exceeded.
        OSError: the connection failed.
    """
    body, length = b"", ""
    if verb == "POST":
        about = (
            '{"name":"image","shape":[%d],"datatype":"UINT8","parameters":{"binary_data_size":%d}}'
        )
        header = ('{"inputs":[' + about % (len(IMAGE), len(IMAGE)) + "]}").encode()
        body = header + IMAGE
        length = (
            f"Inference-Header-Content-Length: {len(header)}\r\nContent-Length: {len(body)}\r\n"
        )
    with socket.create_connection((host, port), timeout=_left(deadline)) as connection:
        head = f"{verb} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{length}\r\n"
        connection.sendall(head.encode() + body)
        response = bytearray()
        while not _is_whole(response):
            connection.settimeout(_left(deadline))
            if not (part := connection.recv(1 << 16)):
                break
            response += part
    words = bytes(response[:64]).split(b" ", 2)
    if len(words) < 3 or not words[1].isdigit():
        raise ConnectionError("it closed the connection")
    return int(words[1]), bytes(response).partition(b"\r\n\r\n")[2]


def _is_whole(response: bytearray) -> bool:
    head, end, body = bytes(response).partition(b"\r\n\r\n")
    for line in head.lower().split(b"\r\n"):
        if end and line.startswith(b"content-length:"):
            return len(body) >= int(line.partition(b":")[2])
    return False  # until the connection closes


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def main(arguments: list[str]) -> int:
    """Run the command line; parsed by hand, since importing argparse takes longer than the rest."""
    pipeline, *rest = arguments
    options = {
        "--host": "127.0.0.1",
        "--http-port": "8000",
        "--metrics-port": "8002",
        "--timeout": "5",
    }
    options |= dict(zip(rest[::2], rest[1::2], strict=True))
    failure = probe(
        pipeline,
        options["--host"],
        int(options["--http-port"]),
        int(options["--metrics-port"]),
        float(options["--timeout"]),
    )
    if failure:
        sys.stdout.write(failure + "\n")
    return 1 if failure else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
