"""The arguments and the environment that tritonserver is run with, each with its reason."""

from boxwise_runtime.launcher.options import ServerOptions

DRAIN_S = 5  # what Triton gives the ensembles in flight when it stops
# A stub's region starts at this size and grows with the tensors that pass. Its pages are taken at once, per instance,
# and Docker's /dev/shm has 64 MB: so the least that Triton takes.
SHM_START_BYTES = 1 << 20
# glibc gives large blocks back to the kernel and faults them in again for each picture: 860 page faults and 1.6 of 13
# ms of CPU a request. Up to 32 MiB (its own limit) a block now comes from the heap, which keeps 16 MiB at hand.
ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": str(32 << 20), "MALLOC_TRIM_THRESHOLD_": str(16 << 20)}


def arguments(options: ServerOptions, shm_prefix: str) -> list[str]:
    """What tritonserver is told, for `options` and with segments in /dev/shm whose names begin with `shm_prefix`."""
    return [
        f"--model-repository={options.repository.absolute()}",
        *([] if options.target == "embedded" else [f"--model-config-name={options.target}"]),
        # Left out, each of them would listen on 0.0.0.0.
        *(f"--{name}-address={options.host}" for name in options.ports),
        *(f"--{name}-port={port}" for name, port in options.ports.items()),
        "--disable-auto-complete-config",  # what config.pbtxt says is what is served
        "--strict-readiness=true",
        f"--exit-timeout-secs={DRAIN_S}",
        f"--backend-config=python,shm-region-prefix-name={shm_prefix}",
        f"--backend-config=python,shm-default-byte-size={SHM_START_BYTES}",
        *([f"--cache-config=local,size={options.response_cache_mb << 20}"] if options.response_cache_mb else []),
        *options.extra_args,
    ]
