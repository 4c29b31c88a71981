"""A web service in front of boxwise: `pip install boxwise fastapi uvicorn python-multipart`,
`uvicorn service:app`.

One client for the life of the process; errors become the HTTP status that fits.
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
    """Close the connections with the service."""
    async with client:
        yield


app = FastAPI(lifespan=lifespan)


@app.post("/predict")
async def predict(image: UploadFile, score_threshold: float | None = None) -> dict[str, Any]:
    """Find the objects in an uploaded image; a browser that goes away cancels the work."""
    result = await client.predict(await image.read(), score_threshold=score_threshold)
    return result.to_dict()


@app.get("/ready")
async def ready() -> Response:
    """For a load balancer."""
    return Response(status_code=200 if await client.ready(timeout_s=1.0) else 503)


@app.exception_handler(BoxwiseError)
async def failed(request: Request, error: BoxwiseError) -> JSONResponse:
    """400 for what the caller sent, 503 for what may go better later, 500 for the rest."""
    status = 400 if isinstance(error, InvalidInput) else 500
    if error.retryable:
        status = 504 if isinstance(error, DeadlineExceeded) else 503
    return JSONResponse({"error": str(error), "request_id": error.request_id}, status)
