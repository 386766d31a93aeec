"""Does jobs until there are no more: consumer.py TOPIC"""

import sys

from shimmy_ipc import Client, LockBased

with Client() as client, client.consumer(sys.argv[1], create=LockBased()) as consumer:
    for message in consumer:
        print(message.data.decode())
