"""The keyword options of a call, shared by every method of both clients."""

from __future__ import annotations

from typing import cast

from boxwise._image import Transfer
from boxwise_contract.options import RequestOptions


class CallOptions(RequestOptions, total=False):
    """Options of a request and of its call. Missing or None: the pipeline's or client's default.

    Attributes:
        timeout_s: deadline of this call in seconds, retries included.
        transfer: how the image of this call is sent.
    """

    timeout_s: float | None
    transfer: Transfer | None


def split(options: CallOptions) -> tuple[RequestOptions, float | None, Transfer | None]:
    """Return the options of the request, the call's timeout in seconds, and its transfer.

    Raises:
        TypeError: there is no such option, as for any unknown keyword.
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
