"""Without the SDK, as from any language: `python plain_grpc.py a.jpg`.

It needs `pip install grpcio-tools numpy`, and a copy of `boxwise/inference.proto`, from which the
messages are generated, beside this file.
"""

import os
import sys
from pathlib import Path

import grpc
import numpy as np

messages, services = grpc.protos_and_services("inference.proto")


def main(path: str) -> None:
    """Print each box in an image."""
    image = Path(path).read_bytes()
    request = messages.ModelInferRequest(model_name=os.environ.get("BOXWISE_PIPELINE", "boxwise"))
    request.inputs.add(name="image", datatype="UINT8", shape=[len(image)])
    request.raw_input_contents.append(image)

    with grpc.insecure_channel(os.environ.get("BOXWISE_URL", "localhost:8001")) as channel:
        reply = services.GRPCInferenceServiceStub(channel).ModelInfer(request, timeout=5)

    outputs = {
        output.name: np.frombuffer(raw, {"FP32": "<f4", "INT32": "<i4"}[output.datatype]).reshape(
            output.shape
        )
        for output, raw in zip(reply.outputs, reply.raw_output_contents, strict=True)
    }
    for box, score, class_id in zip(
        outputs["boxes"], outputs["scores"], outputs["class_ids"], strict=True
    ):
        print(box.tolist(), float(score), int(class_id))


if __name__ == "__main__":
    main(sys.argv[1])
