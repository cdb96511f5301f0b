"""Drives an MCP server with the official client: connects, lists its tools, makes calls, and prints all of it as JSON."""

import asyncio
import json
import sys

from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client


async def main():
    command, calls = json.loads(sys.argv[1]), json.loads(sys.argv[2])
    server = StdioServerParameters(command=command[0], args=command[1:])
    async with stdio_client(server) as (read, write), ClientSession(read, write) as session:
        hello = await session.initialize()
        tools = await session.list_tools()
        answers = []
        for name, arguments in calls:
            result = await session.call_tool(name, arguments)
            result = result.model_dump(mode="json", by_alias=True)
            text = "".join(block["text"] for block in result["content"])
            answers.append({"text": text, "error": bool(result.get("isError"))})
    hello = hello.model_dump(mode="json", by_alias=True)
    tools = [tool.model_dump(mode="json", by_alias=True) for tool in tools.tools]
    print(json.dumps({"hello": hello, "tools": tools, "answers": answers}))


asyncio.run(main())
