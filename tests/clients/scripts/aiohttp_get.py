import asyncio
import sys
import aiohttp


async def main():
    # A second argument says what the program itself says of trust_env.
    said = {"trust_env": sys.argv[2] == "True"} if len(sys.argv) > 2 else {}
    async with aiohttp.ClientSession(**said) as session:
        async with session.post(sys.argv[1], json={"ask": "me"}) as answer:
            print(answer.status, await answer.text())


asyncio.run(main())
