"""A broker of the classic protocol that shares no line with ours.

    python3 classic_broker.py [PORT]

On the wire it is what the first broker was, its faults included: a thread for
each datagram of at most 1,024 octets, histories without bound, subscriptions
that are over after one answer, and an end at the first datagram that is not
JSON. Prints `ready PORT` when it listens, and a line for each request that it
has dealt with, for whoever waits for that.
"""

import json
import socket
import sys
import threading
from collections import defaultdict

histories = defaultdict(list)
waiting = defaultdict(list)
lock = threading.Lock()
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)


def reply(address, text):
    server.sendto(text.encode(), address)


def serve(topic, address):
    reply(address, "\n".join(histories[topic]))


def publish(topic, request, address):
    data = request.get("data")
    if not data or (isinstance(data, str) and not data.strip()):
        return reply(address, "Invalid data provided")
    histories[topic].append(data)
    reply(address, "Broker has recieved message")
    for subscriber in waiting.pop(topic, []):
        serve(topic, subscriber)


def subscribe(topic, address):
    if histories[topic]:
        return serve(topic, address)
    waiting[topic].append(address)


def handle(request, address):
    if not isinstance(request, dict) or not {"type", "topic"} <= set(request):
        return reply(address, "Invalid request provided")
    topic = request["topic"].strip()
    if not topic:
        return reply(address, "Invalid topic provided")
    if request["type"] == "publish":
        publish(topic, request, address)
    elif request["type"] == "subscribe":
        subscribe(topic, address)
    print(request["type"], topic, flush=True)


def work(request, address):
    try:
        handle(request, address)
    except Exception:
        reply(address, "Broker has got an error")
    finally:
        lock.release()


def main(port="0"):
    # On one interface only, unlike the first broker: it is for tests.
    server.bind(("127.0.0.1", int(port)))
    print("ready", server.getsockname()[1], flush=True)
    while True:
        octets, address = server.recvfrom(1024)
        request = json.loads(octets.decode())
        lock.acquire()  # here, so that requests keep their order
        threading.Thread(target=work, args=(request, address)).start()


if __name__ == "__main__":
    main(*sys.argv[1:])
