# What an attacker with the account of the front ends may try. Run as: python3 compromised_service.py WHAT [ARGUMENT]...
import fcntl, os, sys, time

STATE = "/var/lib/linux_patch_api/"
QUEUE, TMP = STATE + "queue/", STATE + "tmp/"
GOOD = '{"version":1,"id":"%s","kind":"apply","packages":["demo"]%s}'


def entry(number, text):
    id = "0000000000000002-%06x" % number
    with open(TMP + id, "w") as file:
        file.write(text.replace("ID", id))
    os.rename(TMP + id, QUEUE + id + ".json")


def entries():
    "What looks like requests."
    good = GOOD % ("ID", "%s")
    for number, text in enumerate([
        good % ',"requester":{"door":"x\\ny","uid":0}',
        good % (',"requester":{"door":"%s"}' % ("x" * 60000)),
        good % ',"options":{"expect":{"demo":"1.0","demo":"9"}}',
        good % ',"command":"touch /tmp/owned"',
        good % (',"options":' + "[" * 10000 + "]" * 10000),
        good % (',"options":' + '{"expect":' * 10000 + "}" * 10000),
        (GOOD % ("ID", "")).replace('"demo"', '"$(touch /tmp/owned)"'),
        (GOOD % ("ID", "")).replace('"demo"', '"/tmp/owned.deb"'),
        (GOOD % ("ID", "")).replace('"demo"', '"-oDPkg::Pre-Invoke::=touch /tmp/owned"'),
        (GOOD % ("ID", "")).replace('"demo"', '"demo-"'),
        (GOOD % ("../../../etc/passwd", "")),
        "\0" * 60000,
        '"' + "x" * 60000 + '"',
    ]):
        entry(number, text)
    with open(TMP + "huge", "w") as file:
        file.truncate(1 << 40)
    os.rename(TMP + "huge", QUEUE + "0000000000000002-0000ff.json")


def names():
    "What has a name that is no id, or is no file."
    for name in ["a\nb", "\x1b[2J", "x" * 255, "-rf", " ", "*", "$(touch tmp)", "\udcff"]:
        name = os.fsencode(name) if "\udcff" not in name else b"\xff\xfe"
        # twice: also what was refused before has this name
        with open(os.fsencode(QUEUE) + name, "w") as file:
            file.write("x")
    for number in range(3):
        os.mkdir(QUEUE + "0000000000000003-%06x.json" % number)
    deep = QUEUE + "0000000000000003-000000.json"
    for _ in range(200):
        deep += "/x"
        os.mkdir(deep)
    os.symlink("/dev/zero", QUEUE + "0000000000000003-000010.json")
    os.symlink("/proc/self/mem", QUEUE + "0000000000000003-000011.json")
    os.symlink(QUEUE, QUEUE + "0000000000000003-000012.json")
    os.mkfifo(QUEUE + "0000000000000003-000013.json")
    with open(QUEUE + "0000000000000003-000014.json", "w"):
        os.chmod(QUEUE + "0000000000000003-000014.json", 0)
    # nobody looks at what begins with a dot: it stays
    os.symlink("/etc/passwd", QUEUE + ".%d.json" % time.time_ns())


def marks():
    "Decisions about jobs, that are no files."
    os.mkdir(QUEUE + "0000000000000004-000001.cancel")
    os.mkdir(QUEUE + "0000000000000004-000002.apply")
    os.mkdir(QUEUE + "0000000000000004-000002.apply/inside")
    os.symlink("/etc/passwd", QUEUE + "0000000000000004-000003.discard")
    os.mkfifo(QUEUE + "0000000000000004-000004.cancel")
    # and orders that are none
    os.mkdir(QUEUE + "0000000000000004-000005.acknowledge-all")
    os.mkdir(QUEUE + "0000000000000004-000006.reboot-0")
    os.symlink("/etc/passwd", QUEUE + "0000000000000004-000007.reboot-cancel")


def lease():
    "An entry that cannot be opened without waiting for its owner."
    path = QUEUE + "0000000000000005-000001.json"
    file = open(path, "w")
    file.write(GOOD % ("0000000000000005-000001", ""))
    file.flush()
    fcntl.fcntl(file, fcntl.F_SETSIG, 0) if hasattr(fcntl, "F_SETSIG") else None
    import signal

    signal.signal(signal.SIGIO, signal.SIG_IGN)
    fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK)
    print("held", flush=True)
    time.sleep(600)


def swap(secret):
    "Entries that are something else from one moment to the next."
    number = 0
    while True:
        id = "ffffffffffffff%02x-%06x" % (number % 4, number % 4)
        at, other = QUEUE + id + ".json", TMP + "swap"
        number += 1
        try:
            kind = number % 5
            if kind == 0:
                os.symlink(secret, other)
            elif kind == 1:
                os.symlink("/etc/shadow", other)
            elif kind == 2:
                os.mkfifo(other)
            else:
                with open(other, "w") as file:
                    file.write("no request")
                if kind == 3:
                    os.link(other, TMP + "second")
            os.rename(other, at)
            if kind == 3:
                os.unlink(TMP + "second")
            os.mkdir(TMP + "directory")
            os.unlink(at)
            os.rename(TMP + "directory", at)
        except OSError:
            for left in (TMP + "swap", TMP + "second"):
                try:
                    os.unlink(left)
                except OSError:
                    pass
            try:
                os.rmdir(TMP + "directory")
            except OSError:
                pass


def way(id):
    "Something in the place to which a job would come back."
    os.mkdir(QUEUE + id + ".json")


globals()[sys.argv[1]](*sys.argv[2:])
