import asyncio
import os
import sys

import aiohttp


async def main():
    file = os.environ.get("BODY_FILE")
    # Without trust_env it reads no variable for a proxy.
    async with aiohttp.ClientSession(trust_env=True, timeout=aiohttp.ClientTimeout(30)) as session:
        for url in sys.argv[1:]:
            async with session.request("POST" if file else "GET", url, data=open(file, "rb") if file else None) as answer:
                print(await answer.text(), answer.status, sep="\t")


asyncio.run(main())
