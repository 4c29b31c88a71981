import pytest

from boxwise_runtime.launcher.log import (
    first_line,
    last_error,
    load_failure,
    lost_stage,
    still_loading,
    without_repeats,
)

HARMLESS = 'E1122 23:36:53.598643 5264 server.cc:241] "CudaDriverHelper has not been initialized."'
END = "error: creating server: Internal - failed to load all models"
LOST = (
    "died, or gave no sign of life for a second (crashed or killed, out of memory, or the "
    "machine too busy?)"
)


@pytest.mark.parametrize(
    ("lines", "sentence"),
    [
        ([], None),
        ([HARMLESS, END], None),
        (
            [
                "E1122 23:41:25.4 6121 model_lifecycle.cc:642] \"failed to load 'bad' "
                "version 1: Internal: "
                "ModuleNotFoundError: No module named 'nothing'\\n\\nAt:\\n  "
                '/r/bad/1/model.py(2): <module>\\n"'
            ],
            "the model 'bad' failed to load: ModuleNotFoundError: No module named 'nothing'",
        ),
        (
            [
                "| bad   | 1       | UNAVAILABLE: Internal: ValueError: first | line    |",
                "| echo | 1       | READY |",
            ],
            "the model 'bad' failed to load: ValueError: first | line",
        ),
        (
            [
                "E1 1 1 x.cc:642] \"failed to load 'm' version 1: Internal: Stub process "
                "'m_0_1' is not healthy.\""
            ],
            f"the model 'm' failed to load: its Python process {LOST}",
        ),
        (
            [
                "E1 1 1 x.cc:642] \"failed to load 'm' version 1: Internal: Unable to "
                "initialize shared memory key "
                "'boxwise-8000-c2-e9' to requested size (1048576 bytes). If you are running "
                "Triton inside docker, use "
                "'--shm-size' flag. Error: No space left on device\""
            ],
            "the model 'm' failed to load: /dev/shm has no room for it, and each instance "
            "of a Python stage takes 1 MB "
            "there; free some, or give the container more (--shm-size, an emptyDir of "
            "medium Memory)",
        ),
        (  # the cause goes before what follows from it
            [
                'E1122 23:58:51.3 1 model_repository_manager.cc:703] "Invalid argument: '
                "ensemble 'e' depends on 'm'\"",
                "E1122 23:58:51.3 17272 model_lifecycle.cc:642] \"failed to load 'm' "
                'version 1: Not found: no file"',
            ],
            "the model 'm' failed to load: no file",
        ),
        (
            [
                'E1122 23:58:49.6 1 model_repository_manager.cc:703] "Invalid argument: '
                'ensemble e contains models"',
                END,
            ],
            "the models do not load: ensemble e contains models",
        ),
    ],
)
def test_load_failure_names_the_model_and_the_reason(
    lines: list[str], sentence: str | None
) -> None:
    assert load_failure(lines) == sentence


def test_a_line_that_comes_again_and_again_is_kept_ever_more_seldom() -> None:
    lines = ["one", *["accept() failed"] * 1000, "two", "two", "one"]
    kept = list(without_repeats(lines))
    assert kept[:4] == [
        "one",
        "accept() failed",
        "accept() failed (2 times)",
        "accept() failed (4 times)",
    ]
    assert kept[-4:] == ["accept() failed (512 times)", "two", "two (2 times)", "one"]
    assert list(without_repeats([])) == []


def test_the_last_error_prefers_the_log_to_the_last_words() -> None:
    bind = (
        'E1122 23:41:25.473608 6121 main.cc:345] "failed to start HTTP service: Unavailable - '
        'Socket in use"'
    )
    assert last_error([]) is None
    assert last_error([HARMLESS]) is None
    assert last_error([HARMLESS, END]) == "creating server: Internal - failed to load all models"
    assert (
        last_error([HARMLESS, bind, END])
        == "failed to start HTTP service: Unavailable - Socket in use"
    )


def test_a_stage_is_lost_where_its_lock_is_and_not_where_stages_miss_their_server() -> None:
    # A killed one too.
    missed = "I1126 12:52:10.015247 30865 pb_stub.cc:2145]  Non-graceful termination detected."
    assert lost_stage([]) is None
    assert lost_stage([missed]) is None
    assert last_error([missed]) is None
    assert (
        lost_stage(["  what():  boost::interprocess::lock_exception", missed])
        == f"a stage's process {LOST}"
    )


def test_still_loading() -> None:
    lines = [
        f'I1122 1 1 model_lifecycle.cc:472] "loading: {name}:1"' for name in ("nms", "detector")
    ]
    assert still_loading([]) == []
    assert still_loading(
        [*lines, "I1122 1 1 model_lifecycle.cc:839] \"successfully loaded 'nms'\""]
    ) == ["detector"]


@pytest.mark.parametrize(
    ("message", "line"),
    [
        ("", ""),
        ('"Internal: Invalid argument: wrong.\\nmore"', "wrong"),
        ("ValueError: Internal: x", "ValueError: Internal: x"),
    ],
)
def test_first_line(message: str, line: str) -> None:
    assert first_line(message) == line
