"""A client of MQTT-SN whose codec is not ours but scapy's, unmodified
(`scapy.contrib.mqttsn`): this only says which packet answers which. With `paho`
it drives Paho's Python client instead, of which the answers are its own too.

    foreign_client.py scapy PORT < steps
    foreign_client.py paho PORT < steps

A step is a line of JSON. What it does is written down, one line for each
datagram, with the name that the foreign codec has for it, or for each call:

    -> 0216 PINGREQ
    <- 0217 PINGRESP

Nothing in it depends on time, on ports or on which Python runs it. Whatever
is not as it should be is a line "!! ...", which ends the script with code 1.
"""

import json
import queue
import socket
import sys

HOST = "127.0.0.1"

# How long an answer may take, in seconds, before it counts as missing.
PATIENCE = 20


class Failure(Exception):
    """Something did not go on."""


class Scapy:
    """Clients that send what they are told, and answer what asks for it.

    A step names the client, and may have any of: `send`, the packet, as its
    type and scapy's names of fields; `receive`, how many datagrams to wait for
    then; `answer`, false to leave those unanswered; `node`, in hex, the node of
    a forwarder behind which the client is; `port`, any name, for one of several
    sockets of the client's.
    """

    def __init__(self, port):
        from scapy.contrib import mqttsn
        from scapy.packet import Raw

        self.codec = mqttsn
        self.foreign = Raw
        self.names = mqttsn.PACKET_TYPE
        self.types = {name: code for code, name in self.names.items()}
        # The layer that is the body of each type.
        self.bodies = {
            binding["type"]: body
            for binding, body in mqttsn.MQTTSN.payload_guess
        }
        self.port = port
        self.sockets = {}

    def step(self, client, send=None, receive=0, answer=True, node=None, port=""):
        link = self.link(client, port)
        if send is not None:
            self.send(link, node, **send)
        for _ in range(receive):
            packet = self.receive(link)
            if answer:
                for reply in self.replies(packet):
                    self.send(link, node, **reply)

    def link(self, *key):
        if key not in self.sockets:
            link = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            link.connect((HOST, self.port))
            link.settimeout(PATIENCE)
            self.sockets[key] = link
        return self.sockets[key]

    def send(self, link, node, type, **fields):
        header = self.codec.MQTTSN
        code = self.types[type]
        if fields:
            packet = header() / self.bodies[code](**fields)
        else:
            # A body that may be missing is one that scapy would always write.
            packet = header(len=2, type=code)
        if node is not None:
            node_id = bytes.fromhex(node)
            packet = header() / self.codec.MQTTSNEncaps(w_node_id=node_id) / packet
        octets = bytes(packet)
        self.log("->", octets)
        link.send(octets)

    def receive(self, link):
        try:
            octets = link.recv(65_535)
        except socket.timeout:
            raise Failure("Nothing came") from None
        return self.log("<-", octets)

    def log(self, arrow, octets):
        """Writes a datagram down as scapy reads it; gives the packet in it."""
        packet = self.codec.MQTTSN(octets)
        if packet.haslayer(self.foreign):
            raise Failure(f"Cannot read all of {octets.hex(' ')}")
        if packet.type == self.codec.ENCAPS_MSG:
            packet = packet[self.codec.MQTTSNEncaps].payload
        if packet.len != len(packet.original):
            raise Failure(f"Cannot take the length of {octets.hex(' ')}")
        print(arrow, octets.hex(), self.names[packet.type])
        return packet

    def replies(self, packet):
        name, body = self.names[packet.type], packet.payload
        if name == "REGISTER":
            yield {"type": "REGACK", "tid": body.tid, "mid": body.mid}
        elif name == "PUBLISH" and body.qos == self.codec.QOS_1:
            yield {"type": "PUBACK", "tid": body.tid, "mid": body.mid}
        elif name == "PUBLISH" and body.qos == self.codec.QOS_2:
            yield {"type": "PUBREC", "mid": body.mid}
        elif name == "PUBREC":
            yield {"type": "PUBREL", "mid": body.mid}
        elif name == "PUBREL":
            yield {"type": "PUBCOMP", "mid": body.mid}
        elif name == "PINGREQ":
            yield {"type": "PINGRESP"}

    def end(self):
        """Says what has come that nobody waited for."""
        for link in self.sockets.values():
            link.setblocking(False)
            try:
                while True:
                    self.log("<-", link.recv(65_535))
            except BlockingIOError:
                pass
            link.close()


class Paho:
    """Clients that make the calls that they are told.

    A step names the client, or none for the module itself, and may have:
    `call`, the method, with `args`, of which what it returns is written down;
    `receive`, how many callbacks to wait for then.
    """

    def __init__(self, port):
        from mqttsn import MQTTSNclient

        self.module = MQTTSNclient
        self.port = port
        self.clients = {}

    def step(self, client=None, call=None, args=(), receive=0):
        if client is None:
            getattr(self.module, call)(*args, port=self.port, host=HOST)
            print("->", call)
            return
        target = self.client(client)
        if call is not None:
            result = getattr(target, call)(*args)
            print("->", call, *[] if result is None else [json.dumps(result)])
        for _ in range(receive):
            try:
                event = target.callback.events.get(timeout=PATIENCE)
            except queue.Empty:
                raise Failure("Nothing came") from None
            print("<-", *event)
        if not target.queue.empty():
            raise Failure(f"Paho's receiver has ended: {target.queue.get()[1]!r}")

    def client(self, client_id):
        if client_id not in self.clients:
            client = self.module.Client(client_id, HOST, self.port)
            client.registerCallback(PahoEvents())
            self.clients[client_id] = client
        return self.clients[client_id]

    def end(self):
        for client in self.clients.values():
            while not client.callback.events.empty():
                print("<-", *client.callback.events.get())


class PahoEvents:
    """What Paho calls when something has come."""

    def __init__(self):
        self.events = queue.Queue()

    def published(self, msg_id):
        self.events.put(("published", msg_id))

    def messageArrived(self, topic, data, qos, retained, msg_id):
        event = topic, data, f"at QoS {qos}", "retained" if retained else "live"
        self.events.put(event)
        return True


def main():
    library, port = sys.argv[1:]
    driver = {"scapy": Scapy, "paho": Paho}[library](int(port))
    try:
        for line in sys.stdin:
            driver.step(**json.loads(line))
        driver.end()
    except Failure as failure:
        print("!!", failure)
        sys.exit(1)


if __name__ == "__main__":
    main()
