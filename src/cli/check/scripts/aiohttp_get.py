import asyncio
import sys

try:
    import aiohttp
except ImportError:
    sys.exit(86)


async def call():
    async with aiohttp.ClientSession() as session, session.get(sys.argv[1]) as response:
        await response.read()


print(aiohttp.__version__ + ", Python", sys.version.split()[0], flush=True)
try:
    asyncio.run(call())
except Exception as error:
    sys.exit(f"{type(error).__name__}: {error}")
