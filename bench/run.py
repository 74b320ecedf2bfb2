#!/usr/bin/env python3
"""Measures Keyward beside its peers on this machine, in one run: `make bench` calls it.

Every server runs on one core and wrk on another, 64 connections, GET /v3/me with keys drawn at random.
The servers take turns, several rounds of it, so that what the machine does meanwhile hits all alike.
What counts is the processor time a request, for a closed loop hides waiting: it is read from the
kernel's account of the server's threads before and after each turn.
"""

import argparse
import json
import os
import pathlib
import platform
import random
import resource
import shutil
import socket
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
import uuid

HERE = pathlib.Path(__file__).resolve().parent
SERVER_CORE, LOAD_CORE = "0", "1"
ACCOUNTS = 1000
LIMIT = 1_000_000


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def ask(port, key, path="/v3/me"):
    """Status, headers and body of one answer."""
    headers = {"x-api-key": key} if key else {}
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read()


def bytes_of(port, key):
    """How many bytes one answer takes on the wire, head and body."""
    with socket.create_connection(("127.0.0.1", port)) as stream:
        stream.sendall(f"GET /v3/me HTTP/1.1\r\nHost: bench\r\nx-api-key: {key}\r\n\r\n".encode())
        got = b""
        while b"\r\n\r\n" not in got:
            got += stream.recv(65536)
        head, _, body = got.partition(b"\r\n\r\n")
        length = int(next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))[15:])
        while len(body) < length:
            body += stream.recv(65536)
        return len(head) + 4 + length


class Server:
    """A server on the server's core, with all that it starts."""

    def __init__(self, name, command, port, log, preload=None):
        self.name, self.port = name, port
        self.process = subprocess.Popen(
            ["taskset", "-c", SERVER_CORE, *map(str, command)],
            stdout=log, stderr=log, stdin=subprocess.DEVNULL,
            env=dict(os.environ, LD_PRELOAD=str(preload)) if preload else None,
        )
        deadline = time.monotonic() + 120
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                return
            except OSError:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    sys.exit(f"{name} does not start:\n{pathlib.Path(log.name).read_text()[-2000:]}")
                time.sleep(0.02)

    def pids(self):
        pids, new = [], [self.process.pid]
        while new:
            pid = new.pop()
            pids.append(pid)
            for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
                new += [int(child) for child in (task / "children").read_text().split()]
        return pids

    def nanos(self):
        """Processor time of all its threads so far."""
        total = 0
        for pid in self.pids():
            for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
                total += int((task / "schedstat").read_text().split()[0])
        return total

    def resident(self):
        """Resident memory in KiB."""
        total = 0
        for pid in self.pids():
            for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
                if line.startswith("VmRSS:"):
                    total += int(line.split()[1])
        return total

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()


def wrk(script, server, seconds, connections, **environment):
    """One turn of wrk with a script of this folder: requests, microseconds, p50, p99 and those refused."""
    out = subprocess.run(
        ["taskset", "-c", LOAD_CORE, "wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "10s",
         "-s", str(HERE / script), f"http://127.0.0.1:{server.port}"],
        env=dict(os.environ, FIGURES=str(HERE / "figures.lua"), **environment),
        capture_output=True, text=True, check=True,
    ).stdout
    line = next(line for line in out.splitlines() if line.startswith("figures "))
    requests, micros, p50, p99, refused, broken, late = map(int, line.split()[1:])
    if broken or late:
        sys.exit(f"{server.name}: {broken} connections broke, {late} requests timed out")
    return requests, micros, p50, p99, refused


def load(server, keys, seconds, connections=64, seed=1):
    """One turn of requests with keys drawn at random, and the processor time of the server for them."""
    before = server.nanos()
    requests, micros, p50, p99, refused = wrk(
        "keys.lua", server, seconds, connections, KEYS=str(keys), SEED=str(seed))
    return {
        "cpu_us": (server.nanos() - before) / 1000 / requests,
        "rate": requests / (micros / 1e6),
        "p50_us": p50,
        "p99_us": p99,
        "refused": refused / requests,
    }


def median(turns, what):
    return statistics.median(turn[what] for turn in turns)


def spread(turns, what):
    values = [turn[what] for turn in turns]
    return f"{min(values):.2f}–{max(values):.2f}"


def table(rows):
    widths = [max(len(str(row[i])) for row in rows) for i in range(len(rows[0]))]
    lines = ["| " + " | ".join(str(cell).ljust(width) for cell, width in zip(row, widths)) + " |" for row in rows]
    lines.insert(1, "| " + " | ".join("-" * width for width in widths) + " |")
    return "\n".join(lines)


class Bench:
    def __init__(self, options, folder):
        self.options, self.folder = options, folder
        self.keyward = pathlib.Path(options.keyward).resolve()
        self.peers = pathlib.Path(options.peers).resolve()
        self.servers = []
        self.log = open(folder / "servers.log", "ab")
        draw = random.Random(7)
        self.keys = [str(uuid.UUID(int=draw.getrandbits(128), version=4)) for _ in range(options.keys)]

    def say(self, text):
        print(text, file=sys.stderr, flush=True)

    def cli(self, data, *words, text=None):
        done = subprocess.run([self.keyward, *map(str, words), "--data-dir", data], input=text, text=True,
                              capture_output=True, check=False)
        if done.returncode != 0:
            sys.exit(f"keyward {words[0]} {words[1]}: {done.stderr}")
        return done.stdout.strip()

    def start(self, name, command, port, preload=None):
        server = Server(name, command, port, self.log, preload)
        self.servers.append(server)
        return server

    def start_keyward(self, name, data, *flags, limit=LIMIT, threads=1, preload=None):
        port = free_port()
        return self.start(name, [self.keyward, "serve", "--data-dir", data, "--listen", f"127.0.0.1:{port}",
                                 "--metrics-listen", f"127.0.0.1:{free_port()}",
                                 "--threads", threads, "--rate-limit-standard", limit, *flags], port, preload)

    def write_keys(self):
        folder = self.folder
        with open(folder / "import.csv", "w") as rows:
            rows.write("key,name,environment,account\n")
            rows.writelines(f"{key},bench,production,bench {n % ACCOUNTS}\n" for n, key in enumerate(self.keys))
        (folder / "keys.txt").write_text("".join(f"{key}\n" for key in self.keys))
        (folder / "peer-keys.txt").write_text("".join(f"{key},{n % ACCOUNTS}\n" for n, key in enumerate(self.keys)))
        (folder / "nginx-keys.map").write_text(
            "".join(f'"{key}" {n % ACCOUNTS + 1};\n' for n, key in enumerate(self.keys)))
        (folder / "haproxy-keys.map").write_text(
            "".join(f"{key} {n % ACCOUNTS + 1}\n" for n, key in enumerate(self.keys)))
        draw = random.Random(11)
        strangers = [str(uuid.UUID(int=draw.getrandbits(128), version=4)) for _ in range(100_000)]
        (folder / "strangers.txt").write_text("".join(f"{key}\n" for key in strangers))

    def configured(self, name, **values):
        text = (HERE / name).read_text()
        for word, value in values.items():
            text = text.replace(f"@{word}@", str(value))
        (self.folder / name).write_text(text)
        return self.folder / name

    def peer(self, name, binary, *more):
        port = free_port()
        return self.start(name, [self.peers / binary, "--listen", f"127.0.0.1:{port}", *more], port)

    def start_all(self):
        """All servers, each checked for the right answer to a good key and to a bad one."""
        folder = self.folder
        self.write_keys()
        self.say(f"importing {len(self.keys)} keys")
        data, second = folder / "data", folder / "data-of-refusals"
        self.cli(data, "setup", "--account", "bench 0", "--owner-name", "Bench", "--owner-email", "bench@example.com",
                 "--password-stdin", text="a passphrase for the benchmark alone\n")
        self.cli(data, "keys", "import", folder / "import.csv")
        shutil.copytree(data, second)
        keyward = self.start_keyward("Keyward", data, "--rate-limit-unauthenticated", LIMIT)
        # The same with a limit that is used up at once: whatever comes is refused.
        refusing = self.start_keyward("Keyward, refusing", second, "--rate-limit-unauthenticated", LIMIT,
                                      limit=1)
        good, bad = self.keys[0], str(uuid.UUID(int=1, version=4))
        body = ask(keyward.port, good)[2]
        (folder / "answer.json").write_bytes(body)
        # As many bytes on the wire as Keyward's: the yardsticks' heads are shorter, their bodies longer.
        n_bytes = bytes_of(keyward.port, good)
        probe = self.peer("probe", "bare-axum", "--body", 1000)
        longer = n_bytes - (bytes_of(probe.port, good) - 1000)
        probe.stop()
        self.servers.remove(probe)
        bare = self.peer("bare axum", "bare-axum", "--body", longer)
        floor = self.peer("bare hyper", "bare-hyper", "--body", longer)
        for yardstick in (bare, floor):
            got = bytes_of(yardstick.port, good)
            if abs(got - n_bytes) > 2:
                sys.exit(f"{yardstick.name} answers {got} bytes, Keyward {n_bytes}")
        stock = self.peer("axum, stock parts", "stock-axum", "--keys", folder / "peer-keys.txt")
        text = body.decode().replace("'", "")
        port = free_port()
        configuration = self.configured("nginx.conf", FOLDER=folder, PORT=port, BODY=text)
        nginx = self.start("nginx", ["nginx", "-p", folder, "-c", configuration], port)
        port = free_port()
        configuration = self.configured("haproxy.cfg", FOLDER=folder, PORT=port)
        haproxy = self.start("HAProxy", ["haproxy", "-db", "-f", configuration], port)
        for door in (keyward, stock, nginx, haproxy):
            for key, expected in ((good, 200), (bad, 401), (None, 401)):
                status = ask(door.port, key)[0]
                if status != expected:
                    sys.exit(f"{door.name} answers {status} instead of {expected}")
        for key, expected in ((good, 200), (good, 429), (bad, 401)):
            status = ask(refusing.port, key)[0]
            if status != expected:
                sys.exit(f"{refusing.name} answers {status} instead of {expected}")
        self.n_bytes = n_bytes
        return keyward, refusing, bare, floor, stock, nginx, haproxy

    def door(self):
        """The door beside its peers: a table and what is to be reached."""
        keyward, refusing, *peers = self.start_all()
        keys, strangers = self.folder / "keys.txt", self.folder / "strangers.txt"
        plan = [("Keyward", keyward, keys)]
        plan += [(peer.name, peer, keys) for peer in peers]
        plan += [("Keyward, 401 unknown key", refusing, strangers), ("Keyward, 429", refusing, keys)]
        turns = {name: [] for name, _, _ in plan}
        for _, server, file in plan:
            load(server, file, self.options.warm_up)
        for number in range(self.options.rounds):
            self.say(f"round {number + 1} of {self.options.rounds}")
            for name, server, file in plan:
                turns[name].append(load(server, file, self.options.seconds, seed=number))
                os.truncate(self.log.name, 0)
        rows = [["server", "µs a request", "spread", "requests/s", "p50 ms", "p99 ms", "memory MiB"]]
        for name, server, _ in plan:
            these = turns[name]
            rows.append([name, f"{median(these, 'cpu_us'):.2f}", spread(these, "cpu_us"),
                         f"{median(these, 'rate'):,.0f}", f"{median(these, 'p50_us') / 1000:.2f}",
                         f"{median(these, 'p99_us') / 1000:.2f}", f"{server.resident() / 1024:.0f}"])
        print(table(rows), "\n")

        def against(name, other):
            """The ratio in each round, and of these the median."""
            pairs = zip(turns[name], turns[other])
            return statistics.median(a["cpu_us"] / b["cpu_us"] for a, b in pairs)

        rows = [["processor time of", "against", "ratio", "to reach"]]
        bars = [("bare axum", 1.15), ("HAProxy", 0.75), ("nginx", 0.75), ("axum, stock parts", 0.9)]
        rows += [["Keyward", name, f"{against('Keyward', name):.2f}", f"{bar:.2f}"] for name, bar in bars]
        for name in ("Keyward, 401 unknown key", "Keyward, 429"):
            rows.append([name, "Keyward", f"{against(name, 'Keyward'):.2f}", "1.00"])
        print(table(rows), "\n")
        self.stop()

    def changes(self):
        """Keys made and revoked while other keys are verified at full load."""
        self.say("key changes under full load")
        data, keys = self.folder / "data-of-changes", self.folder / "keys.txt"
        if not keys.exists():
            self.write_keys()
        self.cli(data, "setup", "--account", "bench 0", "--owner-name", "Bench", "--owner-email", "bench@example.com",
                 "--password-stdin", text="a passphrase for the benchmark alone\n")
        self.cli(data, "keys", "import", self.folder / "import.csv")
        manager = self.cli(data, "keys", "create", "--name", "manager", "--environment", "production",
                           "--account", "bench 0", "--never-expires", "--permission", "api_keys:write",
                           "--permission", "contacts:read")
        server = self.start_keyward("changes", data, "--rate-limit-sensitive", LIMIT,
                                    "--rate-limit-unauthenticated", LIMIT)

        def call(method, path, key, body=None):
            request = urllib.request.Request(
                f"http://127.0.0.1:{server.port}{path}", method=method,
                data=json.dumps(body).encode() if body else None,
                headers={"x-api-key": key, "content-type": "application/json"})
            try:
                with urllib.request.urlopen(request, timeout=10) as answer:
                    return answer.status, answer.read()
            except urllib.error.HTTPError as error:
                return error.code, error.read()

        def change_until(stop, took):
            """A key a tenth of a second: made, let in at once, revoked, refused at once."""
            while not stop.wait(0.1):
                started = time.perf_counter()
                status, body = call("POST", "/v3/api-keys", manager,
                                    {"name": "in and out", "permissions": ["contacts:read"]})
                if status not in (200, 201):
                    took.append((status, body))
                    return
                made = json.loads(body)["data"]
                seen = [status, call("GET", "/v3/me", made["key"])[0],
                        call("DELETE", f"/v3/api-keys/{made['id']}", manager)[0],
                        call("GET", "/v3/me", made["key"])[0]]
                if seen != [status, 200, 204, 401]:
                    took.append(seen)
                    return
                took.append((time.perf_counter() - started) * 1000 / 4)

        load(server, keys, self.options.warm_up)
        turns, took = {"no changes": [], "keys made and revoked": []}, []
        for number in range(2 * self.options.rounds):
            # Both kinds of turn get the same seeds.
            name = list(turns)[number % 2]
            stop = threading.Event()
            changing = threading.Thread(target=change_until, args=(stop, took))
            if number % 2:
                changing.start()
            turns[name].append(load(server, keys, self.options.seconds, seed=number // 2))
            stop.set()
            if number % 2:
                changing.join()
            if took and not isinstance(took[-1], float):
                sys.exit(f"changes: made, let in, revoked, refused gave {took[-1]}")
        rows = [["verifying at full load, with", "requests/s", "p50 ms", "p99 ms", "spread of p99"]]
        for name, these in turns.items():
            p99 = [turn["p99_us"] / 1000 for turn in these]
            rows.append([name, f"{median(these, 'rate'):,.0f}", f"{median(these, 'p50_us') / 1000:.2f}",
                         f"{statistics.median(p99):.2f}", f"{min(p99):.2f}–{max(p99):.2f}"])
        print(table(rows))
        print(f"\n{len(took)} keys were made, let in by the next request, revoked and refused by the next request, "
              f"without exception; {statistics.median(took):.1f} ms for each of these, "
              f"at the same full load.\n")
        self.stop()

    def writes(self):
        """Durable writes: contacts made by one client, and by 64 at once, who share commits."""
        self.say("durable writes")
        data = self.folder / "data-of-writes"
        self.cli(data, "setup", "--account", "bench", "--owner-name", "Bench", "--owner-email", "bench@example.com",
                 "--password-stdin", text="a passphrase for the benchmark alone\n")
        key = self.cli(data, "keys", "create", "--name", "writes", "--environment", "production")
        slow = self.folder / "slow-sync.so"
        subprocess.run(["cc", "-shared", "-fPIC", "-O2", "-o", slow, HERE / "slow-sync.c", "-ldl"], check=True)
        rows = [["POST /v3/contacts", "connections", "writes/s", "p50 ms", "p99 ms", "times as many (to reach: 20)"]]
        made = 0
        for disk, preload in (("this disk", None), ("each sync 5 ms longer", slow)):
            server = self.start_keyward("writes", data, preload=preload)
            alone = None
            for connections in (1, 64):
                requests, micros, p50, p99, refused = wrk(
                    "contacts.lua", server, self.options.seconds, connections, KEY=key,
                    PREFIX=f"{connections}{2 if preload else 3}")
                if refused:
                    sys.exit(f"writes: {refused} were refused")
                made += requests
                rate = requests / (micros / 1e6)
                alone = alone or rate
                rows.append([disk, connections, f"{rate:,.0f}", f"{p50 / 1000:.2f}", f"{p99 / 1000:.2f}",
                             f"{rate / alone:.1f}"])
            listed = json.loads(ask(server.port, key, "/v3/contacts?page_size=1")[2])
            self.stop()
        total = listed["data"]["pagination"]["total_count"]
        # What was on its way when wrk stopped is made and was not counted.
        if not made <= total <= made + 2 * 65:
            sys.exit(f"writes: {made} were acknowledged, {total} are there")
        print(table(rows), "\n\nEach write is durable before it is acknowledged.\n")
        return data, key

    def contacts(self, data, key):
        """A list of very many contacts: the first page, deep pages, a search."""
        n_contacts = self.options.contacts
        self.say(f"a list of {n_contacts} contacts")
        database = sqlite3.connect(data / "keyward.db")
        with database:
            account, = database.execute("SELECT account FROM contacts LIMIT 1").fetchone()
            database.execute("DELETE FROM contacts")
            database.execute("DELETE FROM contact_blocks")

            def row(n):
                number = f"+1415{n:07d}"
                return (uuid.UUID(int=n + 1).bytes, account, number, number, number, number, number, n)

            database.executemany(
                "INSERT INTO contacts (id, account, environment, phone_number, format_e164, format_international, "
                "format_national, format_rfc, country_code, region_code, available_channels, default_channel, "
                "opt_out, created_at) VALUES (?, ?, 'production', ?, ?, ?, ?, ?, '1', 'US', 'sms', 'sms', 0, ?)",
                map(row, range(n_contacts)))
            database.execute(
                "INSERT INTO contact_blocks (account, environment, created_at, id, contacts) "
                "SELECT account, environment, created_at, id, min(768, ? - created_at) FROM contacts "
                "WHERE created_at % 768 = 0", (n_contacts,))
            database.execute("INSERT INTO contact_numbers (contact_numbers) VALUES ('rebuild')")
        database.close()
        server = self.start_keyward("contacts", data)
        last = n_contacts // 20
        rows = [["GET /v3/contacts", "median ms", "spread ms"]]
        for what, path in (
            ("page 1", "page=1"),
            (f"page {last // 2}", f"page={last // 2}"),
            (f"page {last}, the last one", f"page={last}"),
            ("search for the end of a number", f"search={n_contacts - 7:07d}"),
            ("search for a number that is not there", "search=98765432"),
        ):
            times = []
            for _ in range(21):
                started = time.perf_counter()
                status, _, body = ask(server.port, key, f"/v3/contacts?page_size=20&{path}")
                times.append((time.perf_counter() - started) * 1000)
                found = json.loads(body)["data"]["contacts"] if status == 200 else []
                if status != 200 or bool(found) == ("98765432" in path):
                    sys.exit(f"contacts: {path} gives {status} and {len(found)} contacts")
            rows.append([what, f"{statistics.median(times):.2f}", f"{min(times):.2f}–{max(times):.2f}"])
        print(table(rows))
        print(f"\n{n_contacts:,} contacts in the account; time of a whole request with a connection of its own.\n")
        self.stop()

    def start_up(self):
        """How long very many keys take to import, and a server with them to be ready."""
        n_keys = self.options.many_keys
        self.say(f"importing {n_keys} keys")
        data, rows = self.folder / "data-of-many", self.folder / "many.csv"
        draw = random.Random(13)
        with open(rows, "w") as file:
            file.write("key,name,environment,account\n")
            file.writelines(f"{uuid.UUID(int=draw.getrandbits(128), version=4)},bench,production,bench {n % ACCOUNTS}\n"
                            for n in range(n_keys))
        self.cli(data, "setup", "--account", "bench 0", "--owner-name", "Bench", "--owner-email", "bench@example.com",
                 "--password-stdin", text="a passphrase for the benchmark alone\n")
        started = time.perf_counter()
        self.cli(data, "keys", "import", rows)
        took = time.perf_counter() - started
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
        started = time.perf_counter()
        server = self.start_keyward("many keys", data)
        ready = time.perf_counter() - started
        print(table([
            ["with this many keys", f"{n_keys:,}", "to reach, with 1,000,000"],
            ["import, seconds", f"{took:.1f}", "20"],
            ["import, MiB at its peak", f"{peak:.0f}", "500"],
            ["start until ready, seconds", f"{ready:.2f}", "2"],
            ["server, MiB resident", f"{server.resident() / 1024:.0f}", ""],
        ]), "\n")
        self.stop()

    def stop(self):
        for server in self.servers:
            server.stop()
        self.servers.clear()


def machine():
    model = next(line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name"))
    versions = {
        "nginx": ["nginx", "-v"], "HAProxy": ["haproxy", "-v"], "wrk": ["wrk", "-v"], "rustc": ["rustc", "--version"],
    }
    lines = [f"{time.strftime('%Y-%m-%d')}, {model}, {os.cpu_count()} cores, Linux {platform.release()}"]
    for name, command in versions.items():
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        lines.append(f"{name}: {(done.stdout + done.stderr).splitlines()[0]}")
    return "; ".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keyward", default="target/release/keyward", help="the program to measure")
    parser.add_argument("--peers", default="target/bench-peers/release", help="folder of the peers in bench/peers")
    parser.add_argument("--keys", type=int, default=100_000)
    parser.add_argument("--part", choices=("all", "start", "door", "changes", "contacts"), default="all")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=4, help="length of a turn")
    parser.add_argument("--warm-up", type=int, default=2)
    parser.add_argument("--contacts", type=int, default=1_000_000, help="in the long list")
    parser.add_argument("--many-keys", type=int, default=1_000_000, help="to import and to start with")
    options = parser.parse_args()
    if (os.cpu_count() or 1) < 2:
        sys.exit("two cores are needed: one for the server, one for the load")
    folder = pathlib.Path(tempfile.mkdtemp(prefix="keyward-bench-"))
    bench = Bench(options, folder)
    try:
        print(machine(), "\n")
        if options.part in ("all", "start"):
            bench.start_up()
        if options.part in ("all", "door"):
            bench.door()
        if options.part in ("all", "changes"):
            bench.changes()
        if options.part in ("all", "contacts"):
            bench.contacts(*bench.writes())
    finally:
        bench.stop()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
