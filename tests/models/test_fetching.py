"""Figures by address: whole or an error, within limits, from the address that was checked, and from no private one."""

import io
import socket
import ssl
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from PIL import Image

from mmprm_hf.models import fetch, load_image

FIGURE = Image.new("RGB", (12, 7), "red")
LOCAL = ["127.0.0.1"]


def encoded(image):
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


CONTENT = encoded(FIGURE)
MOVED = {
    "/moved": "/figure.png",
    "/moved-in-chinese": "/图 1.png",
    "/away": "http://localhost:1/figure.png",
    "/file": "file:///etc/passwd",
    "/round": "/round",
    "/lagging": "/lagging",
}


class Handler(BaseHTTPRequestHandler):
    """Moves, breaks off, answers slowly, answers too much."""

    def do_GET(self):
        self.server.asked.append((self.path, self.headers["Host"]))
        if self.path == "/lagging":
            time.sleep(0.1)
        target = self.server.moved.get(self.path)
        self.send_response(200 if target is None else 302)
        if target is not None:
            self.send_header("Location", target.encode().decode("latin-1"))
        if self.path == "/short":
            self.send_header("Content-Length", str(len(CONTENT) + 5))
        self.end_headers()
        try:
            for _ in range(40 if self.path == "/slow" else 0):
                self.wfile.write(b"x")
                self.wfile.flush()
                time.sleep(0.005)
            self.wfile.write(b"x" * 100_000 if self.path == "/large" else CONTENT if target is None else b"")
        except OSError:
            return  # the client has gone

    def log_message(self, *_):
        """Say nothing."""


@pytest.fixture
def server():
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.asked, server.moved = [], dict(MOVED)
        server.address = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server
        server.shutdown()


def test_an_address_is_fetched_as_people_write_it(server):
    for name in ("figure.png?size=1", "moved", "moved-in-chinese", "图.png", "a b.png", "f?name=图 1&x=%20", "#part"):
        assert load_image(f"{server.address}/{name}", allow_urls=LOCAL).tobytes() == FIGURE.tobytes(), name
    assert {host for _, host in server.asked} == {server.address.removeprefix("http://")}
    assert "/f?name=%E5%9B%BE%201&x=%20" in [path for path, _ in server.asked]
    for form in ({"url": f"{server.address}/a"}, {"type": "image_url", "image_url": {"url": f"{server.address}/a"}}):
        assert load_image(form, allow_urls="127.0.0.1").size == FIGURE.size  # one host as a text


def test_an_answer_that_is_cut_is_never_a_figure(server):
    """By the time limit, by the server, and by the size limit."""
    for _ in range(20):
        with pytest.raises(ConnectionError, match=r"no whole answer in 0.02 s"):
            fetch(f"{server.address}/slow", LOCAL, seconds=0.02)
    with pytest.raises(ConnectionError, match="cannot be reached .it broke off 5 bytes before its end"):
        fetch(f"{server.address}/short", LOCAL)
    with pytest.raises(ValueError, match="has more than 1000 bytes"):
        fetch(f"{server.address}/large", LOCAL, max_bytes=1000)


def test_the_time_limit_is_that_of_all_redirects_together(server):
    with pytest.raises(ConnectionError, match="no whole answer in 0.15 s"):  # each of four answers takes 0.1 s
        fetch(f"{server.address}/lagging", LOCAL, seconds=0.15)


def test_redirects_stay_on_the_host_and_encrypted(server, monkeypatch):
    with pytest.raises(ValueError, match="redirects to another host, 'http://localhost:1/figure.png'"):
        fetch(f"{server.address}/away", [*LOCAL, "localhost"])
    with pytest.raises(ValueError, match="/file' redirects to another host, 'file:///etc/passwd'"):
        fetch(f"{server.address}/file", LOCAL)
    with pytest.raises(ValueError, match="redirects too often"):
        fetch(f"{server.address}/round", LOCAL)

    class Unencrypted:
        def wrap_socket(self, raw, server_hostname):
            return raw

    monkeypatch.setattr(ssl, "create_default_context", Unencrypted)
    secure = server.address.replace("http:", "https:")
    assert fetch(f"{secure}/moved", LOCAL) == CONTENT
    server.moved["/open"] = f"{server.address}/figure.png"
    with pytest.raises(ValueError, match="redirects to an address without encryption, 'http://127.0.0.1"):
        fetch(f"{secure}/open", LOCAL)


def test_the_connection_goes_to_the_address_that_was_checked(server, monkeypatch):
    """A name server may answer otherwise when it is asked again; a proxy of the environment would ask, too."""
    real, asked = socket.getaddrinfo, []

    def resolve(host, *arguments, **options):
        asked.append(host)
        return real("127.0.0.1" if asked.count("localhost") < 2 else "127.0.0.2", *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert fetch(f"http://localhost:{server.server_port}/figure.png", ["localhost"]) == CONTENT
    assert asked == ["localhost", "127.0.0.1"]


def test_a_name_that_is_not_resolved_in_time_is_given_up(monkeypatch):
    is_done = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: is_done.wait(60) and [])
    start = time.monotonic()
    with pytest.raises(ConnectionError, match=r"cannot be reached \(its name was not resolved in 0.2 s\)"):
        fetch("http://figures.example/a.png", seconds=0.2)
    assert time.monotonic() - start < 10
    is_done.set()


def test_private_addresses_are_never_fetched(monkeypatch):
    """Nor are those that to Python are public: of clouds' metadata, old local ones, and IPv4 within IPv6."""
    monkeypatch.setattr(socket, "create_connection", lambda *_, **__: pytest.fail("connected"))
    for host in (
        *("127.0.0.1", "localhost", "10.0.0.1", "192.168.1.1", "169.254.169.254", "[::1]", "0.0.0.0", "100.64.0.1"),
        *("192.0.0.192", "168.63.129.16", "[fec0::1]", "[fd00::1]", "[fe80::1]", "224.0.0.1", "2130706433"),
        *("[::ffff:10.0.0.1]", "[64:ff9b::a9fe:a9fe]", "[2002:a9fe:a9fe::1]", "[::127.0.0.1]", "[::10.0.0.1]"),
    ):
        with pytest.raises(ValueError, match="lies at the private address"):
            fetch(f"http://{host}/figure.png")
    with pytest.raises(ValueError, match="is not fetched unless its host is named .--allow-urls 127.0.0.1"):
        fetch("http://127.0.0.1:1/a.png")
    monkeypatch.setattr(socket, "getaddrinfo", lambda host, port, **_: [(2, 1, 6, "", ("169.254.169.254", port))])
    for hosts in (None, ["figures.example"]):
        with pytest.raises(ValueError, match="lies at the private address 169.254.169.254, which is not fetched"):
            fetch("http://figures.example/a.png", hosts)
    with pytest.raises(ValueError, match="at the host figures.example, which is not one of other.example"):
        fetch("http://figures.example/a.png", ["other.example"])


def test_what_is_not_an_address_is_refused_and_no_password_is_repeated():
    for url in ("ftp://a/b.png", "http://", "http://a b/c.png", "http://a:0/b", "http://[/x", "http://a/\n", "x"):
        with pytest.raises(ValueError, match="is not an http or https address"):
            fetch(url)
    for figure in ("http://me:secret@host/a.png", "https://me:secret@/a"):
        for allowed in (False, True):
            with pytest.raises(ValueError, match="is an address|is not an http or https address") as caught:
                load_image(figure, allow_urls=allowed)
            assert "secret" not in str(caught.value)
