"""How many files a server may have open: each of its connections is one, and each Python stage
takes a few.

Where none is left, Triton 2.51 neither answers nor refuses a new connection, and its HTTP server
asks for it again and
again: a core's work, and 200,000 lines of log a second. So a server gets as many as the system lets
it have.
"""

import resource

from boxwise_runtime.launcher.options import LaunchError

NEEDED = (
    1024  # what Linux gives a program that asks for no more; two small pipelines are ready with 80
)
# connections are no limit any more; the kernel's own, a billion in some containers, helps nobody
ENOUGH = 65_536


def check_open_files() -> None:
    """Raise LaunchError where this process may not give a server as many as it needs."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if most != resource.RLIM_INFINITY and most < NEEDED:
        raise LaunchError(
            f"a server may have {most} files open here, and needs {NEEDED} for its stages and "
            "connections: raise the hard limit (`ulimit -Hn`, LimitNOFILE= of systemd, --ulimit "
            "nofile= of Docker)"
        )


def raise_open_files(pid: int = 0) -> None:
    """Let a process, 0 for this one, open as many files as its hard limit allows,
    up to `ENOUGH`.
    """
    soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    wanted = ENOUGH if hard == resource.RLIM_INFINITY else min(hard, ENOUGH)
    if resource.RLIM_INFINITY != soft < wanted:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (wanted, hard))
