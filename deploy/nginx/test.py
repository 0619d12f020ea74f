#!/usr/bin/env python3
"""Runs deploy/nginx/nginx.conf for real, on loopback, against nodes that tell what reached them.

Three stand-in nodes listen on 127.0.0.1, .2 and .3 at one port, and a small DNS server says which of
them run, as Docker's does; so balancing, failing over and scaling are tried too. Only the addresses
in the file are changed. Needs `nginx` (or `NGINX=path`) and nothing but Python beside it.
"""

import contextlib
import os
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

CONF = os.path.join(os.path.dirname(os.path.abspath(__file__)), "nginx.conf")
NGINX = os.environ.get("NGINX") or shutil.which("nginx", path=os.environ["PATH"] + ":/usr/sbin")
TIMEOUT = 10
OUTER_PROXY = "127.0.0.9"


class Dns(threading.Thread):
    """Answers every question with the addresses in `up`."""

    def __init__(self, up):
        super().__init__(daemon=True)
        self.up = up
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]

    def run(self):
        while True:
            query, peer = self.socket.recvfrom(512)
            question = query[12 : query.index(0, 12) + 5]
            answers = b"".join(
                struct.pack("!HHHIH", 0xC00C, 1, 1, 600, 4) + socket.inet_aton(a) for a in self.up
            )
            head = query[:2] + struct.pack("!HHHHH", 0x8180, 1, len(self.up), 0, 0)
            self.socket.sendto(head + question + answers, peer)


class Node:
    """Keeps the heads and bodies that reach it. `go` lets its slow answers continue."""

    def __init__(self, address, port):
        self.address = address
        self.heads, self.bodies, self.pieces = [], [], []
        self.arrived, self.go = threading.Condition(), threading.Event()
        self.listener = socket.create_server((address, port), backlog=64)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def stop(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()

    def accept(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                threading.Thread(target=self.serve, args=(client,), daemon=True).start()

    def note(self, where, what):
        with self.arrived:
            where.append(what)
            self.arrived.notify_all()

    def wait(self, where, count=1):
        with self.arrived:
            assert self.arrived.wait_for(lambda: len(where) >= count, TIMEOUT), "nothing reached the node"
            return where[-1]

    def serve(self, client):
        with client, client.makefile("rb") as stream:
            head = read_head(stream)
            self.note(self.heads, head)
            target = head.split(b" ")[1]
            if target.startswith(b"/ws"):
                client.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
                while data := client.recv(4096):
                    client.sendall(data)
                return
            self.note(self.bodies, b"".join(self.body(head, stream)))
            if target.startswith(b"/stream"):
                client.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
                client.sendall(b"7\r\ndata: 1\r\n")
                self.go.wait(TIMEOUT)
                client.sendall(b"7\r\ndata: 2\r\n0\r\n\r\n")
                return
            answer = self.address.encode()
            client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(answer), answer))

    def body(self, head, stream):
        if length := header(head, "content-length"):
            yield stream.read(int(length[0]))
        elif header(head, "transfer-encoding"):
            while size := int(stream.readline(), 16):
                piece = stream.read(size)
                stream.readline()
                self.note(self.pieces, piece)
                yield piece
            stream.readline()


def read_head(stream):
    lines = []
    while (line := stream.readline()) not in (b"\r\n", b""):
        lines.append(line)
    return b"".join(lines)


def header(head, name):
    lines = (line.split(b":", 1) for line in head.split(b"\r\n")[1:] if b":" in line)
    return [value.strip().decode("latin-1") for key, value in lines if key.lower() == name.encode()]


def connect(port):
    return socket.create_connection(("127.0.0.1", port), TIMEOUT)


def ask(port, data, source="127.0.0.1"):
    """Sends bytes; returns status and the answer's body."""
    with socket.create_connection(("127.0.0.1", port), TIMEOUT, (source, 0)) as client, client.makefile("rb") as stream:
        client.sendall(data)
        head = read_head(stream)
        length = header(head, "content-length")
        return int(head.split(b" ")[1]), stream.read(int(length[0])) if length else b""


def request(target, method="GET", extra="", body=b""):
    length = f"Content-Length: {len(body)}\r\n" if body else ""
    return f"{method} {target} HTTP/1.1\r\nHost: a.test:9669\r\n{extra}{length}\r\n".encode("latin-1") + body


def the_target_arrives_byte_for_byte(port, node):
    for target in ("/r/a//b/%2Fc/../d/./%7e;p?x=1&&y=%20?z#", "/r/a%3f?", "//r//a", "/r/%E4%f6'\"<>{}|^`\\", "/?a//b/../c"):
        assert ask(port, request(target))[0] == 200, target
        assert node.heads[-1].split(b" ")[1] == target.encode(), node.heads[-1]


def methods_and_headers_arrive_as_sent(port, node):
    for method in ("PROPFIND", "M-SEARCH", "ODD_ONE", "OPTIONS", "DELETE"):
        assert ask(port, request("/r/a", method))[0] == 200, method
        assert node.heads[-1].startswith(method.encode() + b" ")
    ask(port, request("/r/a", extra="under_score: 1\r\ndot.ted: 2\r\nTwice: a\r\nTwice: b\r\nLong: " + "x" * 60000 + "\r\n"))
    head = node.heads[-1]
    assert header(head, "under_score") == ["1"] and header(head, "dot.ted") == ["2"]
    assert header(head, "twice") == ["a", "b"] and len(header(head, "long")[0]) == 60000
    assert header(head, "host") == ["a.test:9669"] and header(head, "connection") == []


def the_sender_cannot_name_his_own_address(port, node):
    ask(port, request("/r/a", extra="X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: evil\r\n"))
    head = node.heads[-1]
    assert header(head, "x-forwarded-for") == ["6.6.6.6, 127.0.0.1"]
    assert header(head, "x-forwarded-proto") == ["http"] and header(head, "x-forwarded-host") == ["a.test:9669"]
    assert header(head, "forwarded") == []
    for sent, passed in (
        ('for="[2001:db8::1]";by=x', ['for="[2001:db8::1]";by=x, for=127.0.0.1;proto=http']),
        ('for="open', []),
        ('for="a\\"', []),
    ):
        ask(port, request("/r/a", extra=f"Forwarded: {sent}\r\n"))
        assert header(node.heads[-1], "forwarded") == passed, node.heads[-1]


def an_outer_proxy_that_is_named_tells_the_scheme(port, node):
    ask(port, request("/r/a", extra="X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Proto: https\r\n"), OUTER_PROXY)
    head = node.heads[-1]
    assert header(head, "x-forwarded-proto") == ["https"], head
    assert header(head, "x-forwarded-for") == [f"6.6.6.6, {OUTER_PROXY}"]


def a_websocket_goes_through(port, node):
    with connect(port) as client, client.makefile("rb") as stream:
        client.sendall(request("/ws", extra="Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: a2V5\r\n"))
        assert read_head(stream).startswith(b"HTTP/1.1 101 ")
        assert header(node.heads[-1], "connection") == ["upgrade"]
        for message in (b"one", b"two"):
            client.sendall(message)
            assert stream.read(3) == message


def a_stream_is_not_held_back(port, node):
    node.go.clear()
    with connect(port) as client, client.makefile("rb") as stream:
        client.sendall(request("/stream"))
        read_head(stream)
        assert stream.readline() and stream.readline() == b"data: 1\r\n"  # the node waits for `go`
        node.go.set()
        assert stream.readline() and stream.readline() == b"data: 2\r\n"


def an_upload_is_not_held_back(port, node):
    with connect(port) as client, client.makefile("rb") as stream:
        client.sendall(request("/r/a", "POST", "Transfer-Encoding: chunked\r\n"))
        for count, piece in enumerate((b"one", b"two"), len(node.pieces) + 1):
            client.sendall(b"3\r\n" + piece + b"\r\n")
            assert node.wait(node.pieces, count) == piece  # before the next is sent
        client.sendall(b"0\r\n\r\n")
        assert read_head(stream).startswith(b"HTTP/1.1 200 ")


def large_bodies_pass(port, node):
    body = os.urandom(12 << 20)
    assert ask(port, request("/r/a", "POST", body=body))[0] == 200
    assert node.bodies[-1] == body


def a_sender_who_leaves_at_once_is_caught(port, node):
    count = len(node.bodies) + 20
    for _ in range(20):
        with connect(port) as client:
            client.sendall(request("/r/a", "POST", body=b"fire and forget"))
    assert node.wait(node.bodies, count) == b"fire and forget"


def until(what, seconds=TIMEOUT):
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.1)


def answers(port, count):
    got = [ask(port, request("/r/a", "POST", body=b"x")) for _ in range(count)]
    assert {status for status, _ in got} == {200}, got
    return {body.decode() for _, body in got}


def nodes_are_added_lost_and_taken_out(port, node, dns):
    second = Node("127.0.0.2", node.port)
    third = Node("127.0.0.3", node.port)
    dns.up.append("127.0.0.2")
    until(lambda: "127.0.0.2" in answers(port, 10))
    assert answers(port, 60) == {"127.0.0.1", "127.0.0.2"}, "the load is not shared"
    second.stop()  # DNS still names it: connections are refused and the next node is taken
    assert answers(port, 60) == {"127.0.0.1"}
    dns.up[:] = ["127.0.0.3"]
    until(lambda: answers(port, 10) == {"127.0.0.3"})
    dns.up[:] = ["127.0.0.1"]
    until(lambda: answers(port, 10) == {"127.0.0.1"})
    third.stop()


def adapted(folder, node_port, dns_port, port, health_port):
    with open(CONF, encoding="utf-8") as file:
        text = file.read().replace(" /tmp/", f" {folder}/")
    for old, new in (
        ("listen 8080 ", f"listen 127.0.0.1:{port} "),
        ("listen 127.0.0.1:8081;", f"listen 127.0.0.1:{health_port};"),
        ("resolver 127.0.0.11 valid=2s", f"resolver 127.0.0.1:{dns_port} valid=1s"),
        ("set $node creel:9669;", f"set $node creel:{node_port};"),
        ("default 0;", f"default 0; {OUTER_PROXY} 1;"),
        ("access_log /dev/stdout", f"access_log {folder}/access.log"),
        ("worker_processes auto", "worker_processes 2"),
        ("worker_rlimit_nofile 65536;", ""),
        ("worker_connections 16384", "worker_connections 512"),
    ):
        assert text.count(old) == 1, f"{CONF}: expected once: {old}"
        text = text.replace(old, new)
    path = os.path.join(folder, "nginx.conf")
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    return path


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


def main():
    if not NGINX:
        print("NOT RUN: nginx configuration (nginx is not installed)")
        return 0
    node = Node("127.0.0.1", 0)
    dns = Dns(["127.0.0.1"])
    dns.start()
    port, health_port = free_port(), free_port()
    folder = tempfile.mkdtemp(prefix="creel-nginx-")
    os.chmod(folder, 0o755)  # workers run as another user when this runs as root
    conf = adapted(folder, node.port, dns.port, port, health_port)
    log = os.path.join(folder, "stderr.log")
    with open(log, "wb") as stderr:
        nginx = subprocess.Popen([NGINX, "-p", folder, "-c", conf, "-g", "daemon off;"], stderr=stderr)
    failed = 1  # until all have run
    try:
        until(lambda: nginx.poll() is not None or not connect_fails(port))
        assert nginx.poll() is None, "nginx did not start"
        assert ask(health_port, request("/"))[0] == 204
        failed = 0
        for test in (
            the_target_arrives_byte_for_byte,
            methods_and_headers_arrive_as_sent,
            the_sender_cannot_name_his_own_address,
            an_outer_proxy_that_is_named_tells_the_scheme,
            a_websocket_goes_through,
            a_stream_is_not_held_back,
            an_upload_is_not_held_back,
            large_bodies_pass,
            a_sender_who_leaves_at_once_is_caught,
            lambda *args: nodes_are_added_lost_and_taken_out(*args, dns),
        ):
            name = (test.__code__.co_names[0] if test.__name__ == "<lambda>" else test.__name__).replace("_", " ")
            try:
                test(port, node)
                print(f"ok      nginx: {name}")
            except (AssertionError, OSError, ValueError, IndexError) as error:
                failed += 1
                print(f"FAILED  nginx: {name}: {type(error).__name__}: {str(error)[:300]}")
    finally:
        nginx.terminate()
        nginx.wait(TIMEOUT)
        if failed:
            with open(log, encoding="utf-8", errors="replace") as file:
                sys.stdout.write(file.read()[-2000:])
        shutil.rmtree(folder, ignore_errors=True)
    return 1 if failed else 0


def connect_fails(port):
    try:
        connect(port).close()
    except OSError:
        return True
    return False


if __name__ == "__main__":
    sys.exit(main())
