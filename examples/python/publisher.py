"""Tells all subscribers frames, drawn where they are read: publisher.py TOPIC COUNT"""

import sys
import time

from shimmy_ipc import Client, LockFree

SHAPE = (120, 160)

topic, count = sys.argv[1], int(sys.argv[2])
channel = LockFree(blocks=256, block_bytes=4096, time_to_live_ms=2000)
with Client() as client, client.publisher(topic, create=channel) as publisher:
    while publisher.describe().peers == 0:
        time.sleep(0.01)
    for i in range(count):
        with publisher.reserve(SHAPE[0] * SHAPE[1]) as room:
            frame = room.array("u1", SHAPE)
            frame[:] = i
            del frame
            room.commit()
    publisher.end()
