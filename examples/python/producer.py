"""Writes jobs for one consumer: producer.py TOPIC COUNT"""

import sys

from shimmy_ipc import Client, LockBased

topic, count = sys.argv[1], int(sys.argv[2])
with Client() as client, client.producer(topic, create=LockBased()) as producer:
    for i in range(count):
        producer.publish(b"job %d" % i)
    producer.end()
    # A producer that leaves earlier loses nothing while the agent is there.
    producer.drain()
