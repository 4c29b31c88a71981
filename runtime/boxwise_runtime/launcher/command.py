"""The arguments and the environment that tritonserver is run with, each with its reason."""

from boxwise_runtime.launcher.options import ADMIN_HEADER, ServerOptions, ServerTLS

DRAIN_S = 5  # what Triton gives the ensembles in flight when it stops
# A stub's region starts at this size and grows with the tensors that pass. Its pages are taken at
# once, per instance, and Docker's /dev/shm has 64 MB: so the least that Triton takes.
SHM_START_BYTES = 1 << 20
# glibc gives large blocks back to the kernel and faults them in again for each image: 860 page
# faults and 1.6 of 13 ms of CPU a request. Up to 32 MiB (its own limit) a block now comes from the
# heap, which keeps 16 MiB at hand.
ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": str(32 << 20), "MALLOC_TRIM_THRESHOLD_": str(16 << 20)}

_RESTRICTED = ("--grpc-restricted-protocol", "--http-restricted-api")


def arguments(options: ServerOptions, shm_prefix: str) -> list[str]:
    """What tritonserver is told, for `options` and with segments in /dev/shm whose names begin with
    `shm_prefix`.
    """
    return [
        f"--model-repository={options.repository.absolute()}",
        *options.target.arguments,
        # Left out, each of them would listen on 0.0.0.0.
        *(f"--{name}-address={_address(name, host)}" for name, host in options.hosts.items()),
        *(f"--{name}-port={port}" for name, port in options.ports.items()),
        # `explicit` loads nothing by itself.
        *(
            ["--model-control-mode=explicit", "--load-model=*"]
            if options.reload
            else ["--model-control-mode=none"]
        ),
        *(
            f"{flag}={','.join(_closed(options))}:{ADMIN_HEADER}={options.admin_key}"
            for flag in _RESTRICTED
        ),
        "--disable-auto-complete-config",  # what config.pbtxt says is what is served
        "--strict-readiness=true",
        f"--exit-timeout-secs={DRAIN_S}",
        f"--backend-config=python,shm-region-prefix-name={shm_prefix}",
        f"--backend-config=python,shm-default-byte-size={SHM_START_BYTES}",
        *(
            [f"--cache-config=local,size={options.response_cache_mb << 20}"]
            if options.response_cache_mb
            else []
        ),
        *_tls(options.tls),
        *options.extra_args,
    ]


def _address(endpoint: str, host: str) -> str:
    """A host as gRPC, or the library under the other two,
    wants to read it where it is one of IPv6.
    """
    if ":" not in host:
        return host
    return f"[{host}]" if endpoint == "grpc" else f"ipv6:{host}"


def _closed(options: ServerOptions) -> list[str]:
    """The protocols that need the admin key: others get answers, health and metadata, and on this
    machine figures.
    """
    return [
        "model-repository",
        *(["model-config", "statistics"] if options.public else []),
        "trace",
        "logging",
        *([] if options.client_shm else ["shared-memory"]),
    ]


def _tls(tls: ServerTLS | None) -> list[str]:
    if tls is None:
        return []
    return [
        "--grpc-use-ssl=true",
        f"--grpc-server-cert={tls.certificate.absolute()}",
        f"--grpc-server-key={tls.key.absolute()}",
        *(
            ["--grpc-use-ssl-mutual=true", f"--grpc-root-cert={tls.client_ca.absolute()}"]
            if tls.client_ca
            else []
        ),
    ]
