"""Several images concurrently, with asyncio: `python at_once.py a.jpg b.jpg`."""

import asyncio
import os
import sys

from boxwise import AsyncClient, BoxwiseError


async def main(paths: list[str]) -> None:
    """Print the objects in each image as soon as its response arrives."""
    async with AsyncClient(os.environ.get("BOXWISE_URL", "localhost:8001")) as client:

        async def show(path: str) -> None:
            try:
                result = await client.predict(path)
            except BoxwiseError as error:
                print(f"{path}: {error}")
            else:
                print(f"{path}: {', '.join(each.class_name for each in result) or 'nothing'}")

        async with asyncio.TaskGroup() as tasks:
            for path in paths:
                tasks.create_task(show(path))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
