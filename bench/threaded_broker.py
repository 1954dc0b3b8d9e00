"""A stand-in for a broker in Python that starts a thread for each datagram.

Speaks the classic protocol as far as the benchmark needs it: the thread parses
the JSON, takes the one lock, changes the topic's table, and answers.
"""

import json
import socket
import threading

ACCEPTED = b"Broker has recieved message"

lock = threading.Lock()
topics = {}


def handle(server, datagram, peer):
    """Serves one request."""
    request = json.loads(datagram.decode("utf-8"))
    name = request["topic"].strip()
    with lock:
        topic = topics.setdefault(name, {"data": [], "waiting": []})
        if request["type"] == "publish":
            topic["data"].append(request["data"])
            server.sendto(ACCEPTED, peer)
        elif request["type"] == "subscribe":
            topic["waiting"].append(peer)
        if topic["data"] and topic["waiting"]:
            history = "\n".join(topic["data"]).encode("utf-8")
            for waiting in topic["waiting"]:
                server.sendto(history, waiting)
            topic["waiting"].clear()


def main():
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("127.0.0.1", 0))
    print("Stand-in started at %s:%d" % server.getsockname(), flush=True)
    while True:
        datagram, peer = server.recvfrom(1024)
        arguments = (server, datagram, peer)
        threading.Thread(target=handle, args=arguments, daemon=True).start()


if __name__ == "__main__":
    main()
