"""A web service in front of boxwise: `uvicorn service:app`.

It needs `pip install boxwise fastapi uvicorn python-multipart`. One client serves all requests of
the process, and errors become HTTP statuses.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request, Response, UploadFile
from fastapi.responses import JSONResponse

from boxwise import AsyncClient, BoxwiseError, DeadlineExceeded, InvalidInput

client = AsyncClient(
    os.environ.get("BOXWISE_URL", "localhost:8001"),  # dns:///boxwise-headless:8001 on Kubernetes
    pipeline=os.environ.get("BOXWISE_PIPELINE", "boxwise"),
    timeout_s=2.0,
)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Close the client when the service stops."""
    async with client:
        yield


app = FastAPI(lifespan=lifespan)


@app.post("/predict")
async def predict(image: UploadFile, score_threshold: float | None = None) -> dict[str, Any]:
    """Return the objects in an uploaded image; a closed connection cancels the call."""
    result = await client.predict(await image.read(), score_threshold=score_threshold)
    return result.to_dict()


@app.get("/ready")
async def ready() -> Response:
    """Report readiness to a load balancer."""
    return Response(status_code=200 if await client.ready(timeout_s=1.0) else 503)


@app.exception_handler(BoxwiseError)
async def failed(request: Request, error: BoxwiseError) -> JSONResponse:
    """Return 400 for invalid input, 503 or 504 for errors that may pass, 500 for others."""
    status = 400 if isinstance(error, InvalidInput) else 500
    if error.retryable:
        status = 504 if isinstance(error, DeadlineExceeded) else 503
    return JSONResponse({"error": str(error), "request_id": error.request_id}, status)
