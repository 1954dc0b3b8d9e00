"""A client of the classic protocol that shares no line with ours.

    python3 classic_client.py HOST PORT [GROUP...]

Checks a broker that is running, and prints a line for each check: `ok NAME` or
`not ok NAME: why`. The exit code is 1 when one failed. The groups are `rules`
(what every broker does), `faults` (what the first broker fell over, and ours
must not) and `full` (a broker that lets nobody wait); the first two are usual.

It writes its requests as the first clients did, octet for octet: `json.dumps`
as it comes, one `send` on a connected socket, and replies of at most 1,024
octets for a publisher and 2,048 for a subscriber.
"""

import json
import os
import socket
import sys
import uuid

ACCEPTED = "Broker has recieved message"
INVALID_REQUEST = "Invalid request provided"
INVALID_TOPIC = "Invalid topic provided"
INVALID_DATA = "Invalid data provided"
FAILED = "Broker has got an error"

PUBLISHER_READS = 1024
SUBSCRIBER_READS = 2048
DATAGRAM = 65535

PATIENCE = 10  # seconds for an answer

address = None
checks = []


def check(group, name):
    """Makes a check of a function."""

    def add(function):
        checks.append((group, name, function))
        return function

    return add


class Client:
    """A socket that is connected to the broker: it hears nobody else."""

    def __init__(self, reads):
        self.reads = reads
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.settimeout(PATIENCE)
        self.socket.connect(address)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, request):
        self.send_octets(json.dumps(request).encode())

    def send_octets(self, octets):
        self.socket.send(octets)

    def publish(self, topic, data):
        self.send({"type": "publish", "topic": topic, "data": data})

    def subscribe(self, topic):
        self.send({"type": "subscribe", "topic": topic})

    def hears(self, *replies):
        """The next replies are these, in this order."""
        for reply in replies:
            same(self.socket.recv(self.reads), reply.encode())

    def hears_nothing(self):
        """The next reply is to what is asked now: nothing came before it."""
        self.publish("", "")
        self.hears(INVALID_TOPIC)


def publisher():
    return Client(PUBLISHER_READS)


def subscriber():
    return Client(SUBSCRIBER_READS)


def same(actual, expected):
    if actual != expected:
        raise AssertionError("%s instead of %s" % (short(actual), short(expected)))


def short(value):
    text = repr(value)
    return text if len(text) < 200 else "%s... (%d)" % (text[:100], len(value))


def fresh():
    """A topic that nobody has used."""
    return "topic %s" % uuid.uuid4()


def publish(topic, *data):
    """Publishes, and waits until it has been acknowledged."""
    with publisher() as client:
        for datum in data:
            client.publish(topic, datum)
            client.hears(ACCEPTED)


def holds(topic, text):
    """A subscriber of the topic gets this text."""
    with Client(DATAGRAM) as client:
        client.subscribe(topic)
        client.hears(text)


def survives(*datagrams):
    """The broker gives no answer to these, and goes on."""
    topic = fresh()
    with publisher() as client:
        for datagram in datagrams:
            client.send_octets(datagram)
            client.hears_nothing()
    publish(topic, "alive")
    holds(topic, "alive")


def answers(reply, *requests):
    """The broker gives this answer to each of these, once."""
    with publisher() as client:
        for request in requests:
            client.send(request)
            client.hears(reply)
        client.hears_nothing()


# Every row of the table of replies.


@check("rules", "refuses a request that is no object")
def _():
    answers(INVALID_REQUEST, [], [1, 2], "text", "", None, True, False)


@check("rules", "refuses an empty object")
def _():
    answers(INVALID_REQUEST, {})


@check("rules", "refuses a request without a type")
def _():
    answers(INVALID_REQUEST, {"topic": fresh(), "data": "1"}, {"topic": fresh()})


@check("rules", "refuses a request without a topic")
def _():
    answers(
        INVALID_REQUEST,
        {"type": "publish", "data": "1"},
        {"type": "publish"},
        {"type": "subscribe"},
    )


@check("rules", "refuses a topic that is blank")
def _():
    for topic in ("", " ", "\t\r\n ", "\u00a0\u3000"):
        answers(
            INVALID_TOPIC,
            {"type": "publish", "topic": topic, "data": "1"},
            {"type": "subscribe", "topic": topic},
        )


@check("rules", "refuses a publish without data")
def _():
    answers(INVALID_DATA, {"type": "publish", "topic": fresh()})


@check("rules", "refuses a publish with data that is blank")
def _():
    for data in ("", " ", "\t\r\n ", "\u00a0\u3000"):
        answers(INVALID_DATA, {"type": "publish", "topic": fresh(), "data": data})


@check("rules", "keeps nothing of a publish that it refuses")
def _():
    topic = fresh()
    answers(INVALID_DATA, {"type": "publish", "topic": topic, "data": " "})
    publish(topic, "1")
    holds(topic, "1")


@check("rules", "acknowledges a publish, once")
def _():
    answers(ACCEPTED, {"type": "publish", "topic": fresh(), "data": "21.5"})


@check("rules", "answers a subscribe with the topic's data, once")
def _():
    topic = fresh()
    publish(topic, "21.5")
    with subscriber() as client:
        client.subscribe(topic)
        client.hears("21.5")
        client.hears_nothing()


@check("rules", "leaves a request of an unknown type unanswered")
def _():
    topic = fresh()
    with publisher() as client:
        for unknown in ("unsubscribe", "", "Publish", "publish "):
            client.send({"type": unknown, "topic": topic, "data": "1"})
            client.hears_nothing()
    publish(topic, "2")
    holds(topic, "2")


# Every rule.


@check("rules", "takes a request that has members more than it needs")
def _():
    topic = fresh()
    with publisher() as client:
        client.send({"type": "publish", "topic": topic, "data": "1", "qos": 1})
        client.hears(ACCEPTED)
        client.send({"type": "subscribe", "topic": topic, "data": "2"})
        client.hears("1")


@check("rules", "trims the topic")
def _():
    topic = fresh()
    publish(" \t%s\r\n" % topic, "1")
    publish(topic, "2")
    holds("\n\n%s " % topic, "1\n2")


@check("rules", "does not trim the data")
def _():
    topic = fresh()
    publish(topic, "  padded\t", "\nlines\n")
    holds(topic, "  padded\t\n\nlines\n")


@check("rules", "carries text that is no ASCII")
def _():
    topic = "%s \u00fc\u65e5\u672c\U0001f321" % fresh()
    publish(topic, "21.5 \u00b0C", "\U0001f321\u65e5\u672c")
    holds(topic, "21.5 \u00b0C\n\U0001f321\u65e5\u672c")


@check("rules", "acknowledges first and then serves who waits")
def _():
    topic = fresh()
    # One socket on both sides: what comes to it keeps its order.
    with publisher() as client:
        client.subscribe(topic)
        client.hears_nothing()
        client.publish(topic, "1")
        client.hears(ACCEPTED, "1")
        client.hears_nothing()


@check("rules", "serves each who waits")
def _():
    topic = fresh()
    with subscriber() as first, subscriber() as second:
        for client in (first, second):
            client.subscribe(topic)
            client.hears_nothing()
        publish(topic, "1")
        for client in (first, second):
            client.hears("1")
            client.hears_nothing()


@check("rules", "serves once who subscribed once")
def _():
    topic = fresh()
    with subscriber() as client:
        client.subscribe(topic)
        client.hears_nothing()
        publish(topic, "1", "2")
        client.hears("1")
        client.hears_nothing()
        client.subscribe(topic)
        client.hears("1\n2")
        publish(topic, "3")
        client.hears_nothing()


@check("rules", "serves twice the address that waits twice")
def _():
    topic = fresh()
    with subscriber() as client:
        client.subscribe(topic)
        client.subscribe(topic)
        client.hears_nothing()
        publish(topic, "1")
        client.hears("1", "1")
        client.hears_nothing()


@check("rules", "lets an address wait for two topics")
def _():
    first, second = fresh(), fresh()
    with subscriber() as client:
        client.subscribe(first)
        client.subscribe(second)
        client.hears_nothing()
        publish(second, "2")
        client.hears("2")
        publish(first, "1")
        client.hears("1")


@check("rules", "sends the whole history, joined by line ends")
def _():
    topic = fresh()
    publish(topic, "1", "2", "2", "3")
    holds(topic, "1\n2\n2\n3")
    holds(topic, "1\n2\n2\n3")


@check("rules", "sends the whole history in one datagram")
def _():
    topic = fresh()
    data = [letter * 900 for letter in "abc"]
    publish(topic, *data)
    holds(topic, "\n".join(data))
    if os.name == "nt":
        return  # there a read that is too short is an error
    with subscriber() as client:
        client.subscribe(topic)
        client.hears("\n".join(data)[:SUBSCRIBER_READS])
        client.hears_nothing()


@check("rules", "knows no wildcards")
def _():
    base = fresh()
    with subscriber() as client:
        for pattern in ("+", "#", base + "/+", base + "/#", base + "*", "*", "$SYS"):
            client.subscribe(pattern)
        client.hears_nothing()
        publish(base + "/a", "1")
        publish(base, "2")
        client.hears_nothing()
        publish(base + "/#", "3")
        client.hears("3")
        publish(base + "/+", "4")
        client.hears("4")
        client.hears_nothing()
    holds(base + "/a", "1")


@check("rules", "tells topics apart that differ in case")
def _():
    topic = fresh()
    publish(topic, "1")
    publish(topic.upper(), "2")
    holds(topic, "1")
    holds(topic.upper(), "2")


# The faults of the first broker.


@check("faults", "lives on after what is not JSON")
def _():
    survives(b"hello", b"{", b"'type'", b'{"type": "publish"', b"\x00", b"NaN")


@check("faults", "lives on after what is not UTF-8")
def _():
    survives(b"\xff\xfe", b'{"type": "publish", "topic": "\xe9", "data": "1"}')


@check("faults", "lives on after an empty datagram")
def _():
    survives(b"")


@check("faults", "refuses a JSON number")
def _():
    answers(INVALID_REQUEST, 5, 0, -1.5)


@check("faults", "refuses what is nested deep")
def _():
    depth = 4000
    with publisher() as client:
        client.send_octets(b"[" * depth + b"]" * depth)
        client.hears(INVALID_REQUEST)
        client.hears_nothing()


@check("faults", "takes a datagram of more than 1,024 octets")
def _():
    topic = fresh()
    data = "".join(chr(ord("a") + i % 26) for i in range(5000))
    publish(topic, data, "more")
    holds(topic, data + "\nmore")


@check("faults", "takes a datagram of 60,000 octets")
def _():
    topic = fresh()
    data = "x" * 59000
    try:
        publish(topic, data)
    except OSError as error:
        if isinstance(error, socket.timeout):
            raise
        return  # a system that sends none as long
    holds(topic, data)


@check("faults", "keeps the JSON of data that is no string")
def _():
    for text in ("21.5", "1.50", "12345678901234567890", "-0", "true", "false"):
        topic = fresh()
        with publisher() as client:
            client.send_octets(
                b'{"type": "publish", "topic": "%s", "data": %s}'
                % (topic.encode(), text.encode())
            )
            client.hears(ACCEPTED)
        publish(topic, "and on")
        holds(topic, text + "\nand on")


@check("faults", "keeps the JSON of data that is a list or an object")
def _():
    for data in ([1, "a", None], {"a": {"b": [1.5]}}, [], {}):
        topic = fresh()
        publish(topic, data)
        with subscriber() as client:
            client.subscribe(topic)
            same(json.loads(client.socket.recv(client.reads)), data)


@check("faults", "serves who waits when the data is no string")
def _():
    topic = fresh()
    with subscriber() as client:
        client.subscribe(topic)
        client.hears_nothing()
        publish(topic, 21.5)
        client.hears("21.5")


@check("faults", "lives on after half a surrogate pair")
def _():
    topic = fresh()
    publish(topic, "\ud83c", "whole")
    with subscriber() as client:
        client.subscribe(topic)
        same(client.socket.recv(client.reads).split(b"\n")[-1], b"whole")


# A broker that lets nobody wait.


@check("full", "says that it has an error when it cannot do what was asked")
def _():
    topic = fresh()
    answers(FAILED, {"type": "subscribe", "topic": topic})
    publish(topic, "1")
    holds(topic, "1")


def why(error):
    if isinstance(error, socket.timeout):
        return "no answer within %d s" % PATIENCE
    text = str(error).replace("\n", " ")
    return text if isinstance(error, AssertionError) else repr(error)


def main(host, port, *groups):
    global address
    address = (host, int(port))
    failed = 0
    for group, name, function in checks:
        if group not in (groups or ("rules", "faults")):
            continue
        try:
            function()
        except Exception as error:
            failed += 1
            print("not ok %s: %s" % (name, why(error)), flush=True)
        else:
            print("ok %s" % name, flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
