"""Looks at frames in place until there are no more, with asyncio: subscriber.py TOPIC"""

import asyncio
import sys

from shimmy_ipc import Client, EndOfChannel, LockFree

SHAPE = (120, 160)


async def main() -> None:
    channel = LockFree(blocks=256, block_bytes=4096, time_to_live_ms=2000)
    count, brightness, missed = 0, 0.0, 0
    with Client() as client:
        with client.subscriber(sys.argv[1], start="oldest", create=channel) as subscriber:
            while True:
                try:
                    loan = await subscriber.aloan()
                except EndOfChannel:
                    break
                with loan:
                    # An array of the channel's own memory: delete it before the loan ends.
                    frame = loan.array("u1", SHAPE)
                    brightness += float(frame.mean())
                    del frame
                missed += loan.missed or 0
                count += 1
    print(f"{count} frames, {missed or 'none'} missed, mean brightness {brightness / count}")


asyncio.run(main())
