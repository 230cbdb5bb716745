# A client of Varlink, good and bad, for hosts that have no varlinkctl and only a minimal Python:
# no json, so answers are passed on as they are. Run as: python3 varlink.py WHAT [ARGUMENT]...
import os, re, socket, sys, time

PATH = "/run/linux_patch_api/request.sock"
OURS = "org.linux-patch.Agent1."
INFO = b'{"method":"org.varlink.service.GetInfo"}\0'


def connect():
    s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    s.settimeout(120)
    s.connect(PATH)
    return s


def receive(s):
    "The next message; None at the end."
    bytes = b""
    while not bytes.endswith(b"\0"):
        try:
            part = s.recv(1)
        except ConnectionError:
            return None
        if not part:
            return None
        bytes += part
    return bytes[:-1].decode()


def send(s, bytes):
    try:
        s.sendall(bytes)
    except (BrokenPipeError, ConnectionError):
        pass


def until_end(s):
    "What is still answered, and after how many seconds the connection ends."
    begun, answers = time.monotonic(), []
    while (answer := receive(s)) is not None:
        error = re.search('"error":"([^"]*)"', answer)
        answers.append('"%s"' % (error.group(1) if error else "reply"))
    return '{"answers":[%s],"seconds":%.1f}' % (",".join(answers), time.monotonic() - begun)


def call(method, parameters="{}", more=None):
    s = connect()
    name = method if "." in method else OURS + method
    message = '{"method":"%s","parameters":%s,"more":%s}' % (name, parameters, "true" if more else "false")
    send(s, message.encode() + b"\0")
    replies = []
    while True:
        reply = receive(s)
        replies.append(reply)
        if '"continues":true' not in reply:
            return "[%s]" % ",".join(replies)


def silent():
    return until_end(connect())


def slow():
    s = connect()
    begun = time.monotonic()
    for byte in INFO:
        try:
            s.sendall(bytes([byte]))
        except OSError:
            break
        time.sleep(1)
    return '{"seconds":%.1f}' % (time.monotonic() - begun)


def oversized():
    s = connect()
    send(s, b'{"method":"' + b"x" * (3 << 20) + b'"}\0')
    return until_end(s)


def large():
    "Just within the limit, and hard to keep in memory when parsed."
    s = connect()
    name = ('{"method":"%sPlan","parameters":{"packages":[' % OURS).encode()
    for body in (b'{"":0},' * 130000, b"[" * 400000 + b"]" * 400000 + b",", b'"",' * 330000):
        send(s, name + body + b"0]}}\0")
    send(s, INFO)
    s.shutdown(socket.SHUT_WR)
    return until_end(s)


def malformed():
    s = connect()
    send(s, b"nonsense\0" + INFO)
    return until_end(s)


def pipelined(count):
    s = connect()
    calls = b"".join(
        b'{"method":"%sX%d"}\0' % (OURS.encode(), n) for n in range(int(count))
    )
    if os.fork() == 0:
        send(s, calls)
        os._exit(0)
    answered = ['"%sX%d"' % (OURS, n) in receive(s) for n in range(int(count))]
    return "true" if all(answered) else "false"


def deaf():
    "Asks on and on, and reads nothing."
    s = connect()
    begun = time.monotonic()
    try:
        while True:
            s.sendall(INFO)
    except (BrokenPipeError, ConnectionError):
        return '{"seconds":%.1f}' % (time.monotonic() - begun)


def half_closed():
    s = connect()
    send(s, INFO)
    s.shutdown(socket.SHUT_WR)
    return until_end(s)


def vanishing(count):
    for n in range(int(count)):
        s = connect()
        send(s, [b"", INFO[:20], INFO, INFO * 100][n % 4])
        s.close()
    return "true"


def many(count):
    "So many connections at once; all ask once all are open."
    opened = [connect() for _ in range(int(count))]
    for s in opened:
        s.sendall(INFO)
    return sum('"vendor"' in (receive(s) or "") for s in opened)


def flood(count, enough):
    "Opens connections as fast as it goes, says nothing and keeps them until that file is there."
    begun = time.monotonic()
    opened = [connect() for _ in range(int(count))]
    took = time.monotonic() - begun
    print('{"seconds":%.2f}' % took, flush=True)
    while not os.path.exists(enough):
        time.sleep(0.1)
    open_still = 0
    for s in opened:
        s.setblocking(False)
        try:
            s.recv(1)
        except BlockingIOError:
            open_still += 1
        except OSError:
            pass
    return '{"open":%d}' % open_still


def served():
    "Asks until it is answered, as somebody would who was turned away; how often that took."
    for attempt in range(1, 1000):
        try:
            s = connect()
            send(s, INFO)
            if '"vendor"' in (receive(s) or ""):
                return attempt
        except OSError:
            pass
        time.sleep(0.05)
    return 1000


print(globals()[sys.argv[1]](*sys.argv[2:]))
