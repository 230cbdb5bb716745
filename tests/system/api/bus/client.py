"""Calls the D-Bus service without a library: as often, as large and as many at a time as one likes.

client.py hostile KIND JOB  until /run/enough is there; what came back, by kind of answer
client.py bystander WHAT JOB  the same, one ordinary call after the other: properties or methods; how long they took
"""
import json
import os
import socket
import struct
import sys
import time

NAME, PATH = "org.linux_patch.Agent1", "/org/linux_patch/Agent1"
ENOUGH = "/run/enough"


def pad(data, to):
    return data + b"\0" * (-len(data) % to)


def string(text):
    text = text.encode()
    return struct.pack("<I", len(text)) + text + b"\0"


def strings(texts):
    items = b""
    for text in texts:
        items = pad(items, 4) + string(text)
    # whatever follows begins with a length
    return pad(struct.pack("<I", len(items)) + items, 4)


def options(pairs, at):
    """a{sv}, at an offset in the body; the values are numbers (u), truths (b) or texts (s)."""
    head = pad(b"\0" * at + b"\0\0\0\0", 8)
    data = head
    for key, value in pairs:
        data = pad(pad(data, 8) + string(key), 1)
        kind = "b" if isinstance(value, bool) else "u" if isinstance(value, int) else "s"
        data += bytes([1]) + kind.encode() + b"\0"
        data = pad(data, 4) + (string(value) if kind == "s" else struct.pack("<I", value))
    length = struct.pack("<I", len(data) - len(head))
    return length + data[at + 4:]


class Bus:
    def __init__(self):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(120)
        self.socket.connect("/run/dbus/system_bus_socket")
        user = str(os.getuid()).encode().hex()
        self.socket.sendall(f"\0AUTH EXTERNAL {user}\r\n".encode())
        assert self.socket.recv(4096).startswith(b"OK")
        self.socket.sendall(b"BEGIN\r\n")
        self.serial = 0
        self.input = b""
        self.call("Hello", interface="org.freedesktop.DBus", path="/org/freedesktop/DBus",
                  to="org.freedesktop.DBus")

    def send(self, member, signature="", body=b"", interface=NAME, path=PATH, to=NAME):
        self.serial += 1
        fields = b""
        known = [(1, "o", path), (2, "s", interface), (3, "s", member), (6, "s", to)]
        for code, kind, text in known:
            fields = pad(fields, 8) + bytes([code, 1]) + kind.encode() + b"\0" + string(text)
        if signature:
            kind = signature.encode()
            fields = pad(fields, 8) + bytes([8, 1]) + b"g\0" + bytes([len(kind)]) + kind + b"\0"
        head = b"l\x01\0\x01" + struct.pack("<III", len(body), self.serial, len(fields))
        self.socket.sendall(pad(head + fields, 8) + body)
        return self.serial

    def take(self, count):
        while len(self.input) < count:
            part = self.socket.recv(1 << 20)
            assert part, "the bus has ended the connection"
            self.input += part
        taken, self.input = self.input[:count], self.input[count:]
        return taken

    def answer(self):
        """The next answer: the serial of its call, and the name of an error or none."""
        while True:
            head = self.take(16)
            body, _, fields = struct.unpack("<III", head[4:])
            header = self.take(fields + (-fields % 8))
            self.take(body)
            if head[1] not in (2, 3):
                continue
            at, error, serial = 0, None, None
            while at < fields:
                at += -at % 8
                code, kind = header[at], header[at + 2:at + 3]
                at += 4
                if kind in b"so":
                    length, = struct.unpack_from("<I", header, at)
                    if code == 4:
                        error = header[at + 4:at + 4 + length].decode()
                    at += length + 5
                elif kind == b"g":
                    at += header[at] + 2
                else:
                    if code == 5:
                        serial, = struct.unpack_from("<I", header, at)
                    at += 4
            return serial, error

    def call(self, *call, **named):
        serial = self.send(*call, **named)
        while True:
            answered, error = self.answer()
            if answered == serial:
                return error


def get(name):
    return "Get", "ss", pad(string(NAME), 4) + string(name), "org.freedesktop.DBus.Properties"


def jobs(*pairs):
    return "ListJobs", "a{sv}", options(pairs, 0)


def apply(number):
    names = strings(["demo"])
    waits = options([("wait_for_network", True), ("idempotency_key", f"k{number}")], len(names))
    return "Apply", "asa{sv}", names + waits


def plan(number):
    names = strings(["demo", f"nosuch{number}"])
    return "Plan", "asa{sv}", names + options([], len(names))


def log_part(job, number):
    text = string(job)
    return "ReadJobLog", "st", pad(text, 8) + struct.pack("<Q", number * 65536)


def all_properties():
    return "GetAll", "s", string(NAME), "org.freedesktop.DBus.Properties"


def hostile(kind, job):
    """How many calls at a time, and the call of that number."""
    return {
        "list": (1, lambda n: jobs(("limit", 0xffffffff))),
        "active": (1, lambda n: jobs(("limit", 0xffffffff), ("active", True))),
        "record": (1, lambda n: ("GetJob", "s", string(job))),
        "log": (1, lambda n: ("GetJobLog", "s", string(job))),
        "part": (1, lambda n: log_part(job, n % 900)),
        "plan": (4, plan),
        "apply": (8, apply),
        "updates": (1, lambda n: ("ListUpdates",)),
        "health": (40, lambda n: ("CheckHealth",)),
        "properties": (1, lambda n: all_properties()),
        "large": (1, lambda n: jobs(("x" * 16_000_000, n))),
    }[kind]


def run_hostile(kind, job):
    at_a_time, call = hostile(kind, job)
    bus, number, told = Bus(), 0, {}
    under_way = 0
    while not os.path.exists(ENOUGH):
        while under_way < at_a_time:
            number += 1
            under_way += 1
            bus.send(*call(number))
        _, error = bus.answer()
        under_way -= 1
        word = (error or "answered").rsplit(".", 1)[-1]
        told[word] = told.get(word, 0) + 1
    print(json.dumps({kind: told}))


def run_bystander(what, job):
    bus, times, failed = Bus(), [], []
    properties = [get(name) for name in ("Health", "Phase", "QueueLength", "PendingUpdates")]
    methods = [jobs(("limit", 1)), log_part(job, 0), ("CheckHealth",), ("ListUpdates",)]
    while not os.path.exists(ENOUGH):
        for call in properties if what == "properties" else methods:
            begin = time.monotonic()
            error = bus.call(*call)
            times.append(time.monotonic() - begin)
            if error:
                failed.append(f"{call[0]}: {error}")
            time.sleep(0.02)
    times.sort()
    spread = {"median": times[len(times) // 2], "worst": times[-1]}
    spread = {word: round(seconds * 1000, 1) for word, seconds in spread.items()}
    print(json.dumps({"ms": spread, "count": len(times), "failed": failed}))


if sys.argv[1] == "hostile":
    run_hostile(*sys.argv[2:4])
else:
    run_bystander(*sys.argv[2:4])
