"""A list of model compression tasks over HTTP, with prepared pages, in its own process."""

from __future__ import annotations

import asyncio
import json

PAGE = 100


def pages(tasks: int) -> dict[str | None, bytes]:
    """Make the answers, by the marker that asks for each."""
    rows = [
        {
            "id": f"amva-{number:012d}",
            "name": f"compress-{number}",
            "description": "nightly compression",
            "sourceModelId": f"amv-source{number % 200:06d}",
            "modelId": f"amv-made{number:08d}",
            "modelSetId": "am-set000000001",
            "status": "succeeded",
            "config": {"strategy": "Quantization", "weight": "INT8-PTQ"},
            "createUserId": "user-000001",
            "createUser": "somebody",
            "createTime": "2024-03-22T17:13:33+08:00",
            "finishTime": "2024-03-22T18:13:33+08:00",
        }
        for number in range(tasks)
    ]
    answers: dict[str | None, bytes] = {}
    marker = None
    for start in range(0, tasks, PAGE):
        following = rows[start + PAGE]["id"] if start + PAGE < tasks else ""
        info = {"marker": marker or "", "maxKeys": PAGE, "isTruncated": bool(following)}
        if following:
            info["nextMarker"] = following
        result = {"pageInfo": info, "modelCompTaskList": rows[start : start + PAGE]}
        body = json.dumps({"requestId": "0", "result": result}).encode()
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        answers[marker] = head.encode() + body
        marker = str(following)
    return answers


async def serve(tasks: int) -> None:
    """Print the port, and answer until killed."""
    answers = pages(tasks)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
                asked = json.loads(await reader.readexactly(length))
                writer.write(answers[asked.get("marker")])
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    import sys

    asyncio.run(serve(int(sys.argv[1])))
