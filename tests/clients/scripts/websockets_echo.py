import asyncio
import sys
import websockets


async def main():
    async with websockets.connect(sys.argv[1]) as socket:
        for message in ("hello", "café ☕"):
            await socket.send(message)
            print(await socket.recv())


asyncio.run(main())
