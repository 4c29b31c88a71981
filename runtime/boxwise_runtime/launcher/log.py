"""What a page of Triton's log says, as one sentence."""

import re
from collections.abc import Iterable, Iterator, Sequence

# How Triton 2.51 says that it will not get ready, the cause before its consequences. A line of its
# log is E1122 23:41:25.473608 6121 model_lifecycle.cc:642] "failed to load 'bad' version 1:
# Internal: ...\n\nAt: ..." with line ends inside the message written as \n.
_LOAD_FAILURES = (
    re.compile(r"failed to load '(?P<model>[^']+)' version -?\d+: (?P<reason>.+)"),
    re.compile(r"failed to load model '(?P<model>[^']+)': (?P<reason>.+)"),
    re.compile(r"Poll failed for model directory '(?P<model>[^']+)': (?P<reason>.+)"),
    # The table at the end of a start.
    re.compile(r"^\| (?P<model>\S+) +\| \S+ +\| UNAVAILABLE: (?P<reason>.+?) *\|$"),
    # The server would wait for this stub forever.
    re.compile(r"Failed to preinitialize Python stub: (?P<reason>.+)"),
    # An ensemble that does not fit together.
    re.compile(r"^E.* model_repository_manager\.cc:\d+\] (?P<reason>.+)"),
)
_ERRORS = (
    re.compile(r"^E\d{4} \S+ \d+ \S+\] (?P<reason>.+)"),
    re.compile(r"^error: (?P<reason>.+)"),  # the last words on stderr, the vaguest
)
_LOADING = re.compile(r"\"loading: (?P<model>.+):-?\d+\"")
_LOADED = re.compile(r"successfully loaded '(?P<model>[^']+)'")
_CODE = re.compile(
    r"^(?:Internal|Invalid argument|Not found|Unavailable|Unsupported|Unknown|Already exists): "
)
_STUB_DIED = re.compile(r"Stub process '.*' is not healthy")
_STAGE_LOST = re.compile(r"what\(\):\s+boost::interprocess::lock_exception")
_LOST = (
    "died, or gave no sign of life for a second (crashed or killed, out of memory, or the "
    "machine too busy?)"
)
_SHM_FULL = re.compile(r"shared memory (?:key|pool size).*No space left on dev")
_SHM_NEEDED = (
    "/dev/shm has no room for it, and each instance of a Python stage takes 1 MB "  # noqa: S108
    "there; "
    "free some, or give the container more (--shm-size, an emptyDir of medium Memory)"
)
_MOST_CHARACTERS = 200  # of a line
_HARMLESS = (
    "CudaDriverHelper",
    "NVML",
    "DCGM",
    "CUDA driver version is insufficient",
)  # said at every start on a machine without a GPU


def without_repeats(lines: Iterable[str]) -> Iterator[str]:
    """The lines of a log; of those that come again and again, the first, the second, the fourth,
    and so on.

    A server that is out of file handles says so 200,000 times a second.

    >>> list(without_repeats(["a", "b", "b", "b", "b", "a"]))
    ['a', 'b', 'b (2 times)', 'b (4 times)', 'a']
    """
    last, times = None, 0
    for line in lines:
        last, times = line, times + 1 if line == last else 1
        if times.bit_count() == 1:
            yield f"{line} ({times} times)" if times > 1 else line


def load_failure(lines: Sequence[str]) -> str | None:
    r"""Which model failed to load and why, None when the log tells of none.

    >>> load_failure([r'''E1 x.cc:6] "failed to load 'nms' version 1: Internal: KeyError: 'k'"'''])
    "the model 'nms' failed to load: KeyError: 'k'"
    """
    for pattern in _LOAD_FAILURES:
        for line in lines:
            if match := pattern.search(line):
                model, reason = match.groupdict().get("model"), first_line(match["reason"])
                if _STUB_DIED.search(reason):
                    reason = f"its Python process {_LOST}"
                if _SHM_FULL.search(reason):
                    reason = _SHM_NEEDED
                return (
                    f"the model '{model}' failed to load: {reason}"
                    if model
                    else f"the models do not load: {reason}"
                )
    return None


def last_words(lines: Sequence[str]) -> str:
    """The end of the log of a server that ended by itself, in a line.

    >>> last_words(["", "one", "two", "three", "four"])
    'two | three | four'
    >>> last_words([])
    'none since it was ready'
    """
    said = [line.strip() for line in lines if line.strip()]
    return " | ".join(line[:_MOST_CHARACTERS] for line in said[-3:]) or "none since it was ready"


def last_error(lines: Sequence[str]) -> str | None:
    """The last error that says something, None when there is none."""
    for pattern in _ERRORS:
        for line in reversed(lines):
            match = pattern.match(line)
            if match and not any(word in line for word in _HARMLESS):
                return first_line(match["reason"])
    return None


def lost_stage(lines: Sequence[str]) -> str | None:
    """Why a start was aborted, None where the log has no sign of this.

    Triton 2.51 gives up a stage that it hears nothing of for a second, and frees what the stage
    goes on reading.
    """
    if any(_STAGE_LOST.search(line) for line in lines):
        return f"a stage's process {_LOST}"
    return None


def still_loading(lines: Sequence[str]) -> list[str]:
    """Names of the models whose load has begun and not ended, in the order they began."""
    loaded = {match["model"] for line in lines if (match := _LOADED.search(line))}
    return [
        match["model"]
        for line in lines
        if (match := _LOADING.search(line)) and match["model"] not in loaded
    ]


def first_line(message: str) -> str:
    r"""A message of Triton's without its quotes, its status code and the traceback that follows a
    (written) \n.
    """
    text = message.strip().strip('"').split("\\n")[0].strip()
    while code := _CODE.match(text):
        text = text[code.end() :]
    return text.rstrip(" .;")
