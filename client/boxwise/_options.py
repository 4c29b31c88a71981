"""The keyword options of a call, shared by every method of both clients."""

from __future__ import annotations

from typing import cast

from boxwise._image import Transfer
from boxwise_contract import RequestOptions


class CallOptions(RequestOptions, total=False):
    """`RequestOptions`, and how this call is made; what is left out or None is the client's own.

    Attributes:
        timeout_s: seconds for this call, retries included.
        transfer: how its image travels.
    """

    timeout_s: float | None
    transfer: Transfer | None


def split(options: CallOptions) -> tuple[RequestOptions, float | None, Transfer | None]:
    """What the request asks for; the call's timeout in seconds; its transfer.

    Raises:
        TypeError: there is no such option, as Python raises it for other keywords.
    """
    if unknown := options.keys() - CallOptions.__optional_keys__:
        raise TypeError(
            f"unexpected option {min(unknown)!r}; expected {', '.join(CallOptions.__annotations__)}"
        )
    rest = dict(options)
    timeout_s, transfer = rest.pop("timeout_s", None), rest.pop("transfer", None)
    return (
        cast("RequestOptions", rest),
        cast("float | None", timeout_s),
        cast("Transfer | None", transfer),
    )
