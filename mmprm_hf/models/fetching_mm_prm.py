"""Fetches a figure by its address: from public hosts, within limits of size and time, with no redirect to another host.

The host's name is resolved once, and the connection goes to the address that was checked, past any proxy that the
environment names. Part of the portable island, which is copied into checkpoints: standard library only.
"""

from __future__ import annotations

import contextlib
import http.client
import ipaddress
import re
import socket
import ssl
import threading
import time
import urllib.parse
from collections.abc import Iterator, Sequence

MAX_BYTES = 32 * 2**20
MAX_SECONDS = 30.0
_MAX_REDIRECTS = 3
_BLOCK = 65536
_AS_IT_IS = "/%:=&?~+!$,;'@()*[]"  # characters of a path or query that stay
# To Python these are public; the first two are metadata services of clouds.
_PRIVATE = [ipaddress.ip_network(network) for network in ("192.0.0.0/24", "168.63.129.16/32", "fec0::/10")]
_HOLDS_IPV4 = {  # IPv6 addresses that lead to an IPv4 address, and how many bits follow it
    ipaddress.ip_network(network): bits
    for network, bits in (("::ffff:0:0/96", 0), ("64:ff9b::/96", 0), ("::/96", 0), ("2002::/16", 80))
}


def fetch(
    url: str, hosts: str | Sequence[str] | None = None, max_bytes: int = MAX_BYTES, seconds: float = MAX_SECONDS
) -> bytes:
    """Return what lies at an http or https address.

    Args:
        url: The address; spaces and letters that are not ASCII are encoded.
        hosts: The only hosts to fetch from, as "example.com" or "example.com:8000"; None takes every public host. An
            address of this machine is fetched only if it is named here; private and link-local ones never are.
        max_bytes: The most bytes of an answer.
        seconds: The most time in all, redirects included.

    Raises:
        ValueError: if the address is wrong, not allowed or redirects to another host, or the answer is too large.
        ConnectionError: if the server cannot be reached, is too slow, breaks off, or fails.
    """
    hosts = [hosts] if isinstance(hosts, str) else hosts
    hosts, end = None if hosts is None else [*map(_ascii, hosts)], time.monotonic() + seconds
    first = parts = _parts(url)
    for _ in range(_MAX_REDIRECTS + 1):
        status, location, content = _get(parts, _address(parts, hosts, end, seconds), max_bytes, end, seconds)
        if location is None:
            break
        parts = _target(first, urllib.parse.urljoin(parts.geturl(), location))
    else:
        raise ValueError(f"Image {short_address(url)!r} redirects too often. Give the address of the file itself.")
    if status >= 500 or status == 429:
        raise ConnectionError(f"Image {short_address(url)!r}: its server answers HTTP {status}. Try again later.")
    if not 200 <= status < 300:  # the body of an error may be an image too
        raise ValueError(f"Image {short_address(url)!r} cannot be fetched (HTTP {status}). Correct the address.")
    return content


def short_address(url: str) -> str:
    """Return the beginning of an address for a message, without the user name and password in it."""
    url = re.sub(r"(?<=//)[^/?#]*@", "", url)
    return url if len(url) <= 100 else f"{url[:100]}..."


def _ascii(host: str) -> str:
    return host.lower() if host.isascii() else host.encode("idna").decode()


def _parts(url: str) -> urllib.parse.SplitResult:
    """The parts of an address that can be fetched, in ASCII."""
    try:
        parts = urllib.parse.urlsplit(url.strip())
        is_whole = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        host = _ascii(parts.hostname or "")
    except ValueError:  # a broken port, host or IPv6 address
        is_whole = False
    if not is_whole or parts.username is not None or re.search(r"[\0-\x1f]", url) or " " in parts.netloc:
        raise ValueError(
            f"Image {short_address(url)!r} cannot be fetched: it is not an http or https address, or it has a user "
            "name. Correct the address, or give a file."
        )
    netloc = (f"[{host}]" if ":" in host else host) + (f":{parts.port}" if parts.port else "")
    path, query = (urllib.parse.quote(text, safe=_AS_IT_IS) for text in (parts.path or "/", parts.query))
    return urllib.parse.SplitResult(parts.scheme, netloc, path, query, "")


def _target(first: urllib.parse.SplitResult, url: str) -> urllib.parse.SplitResult:
    """The target of a redirect on the same host, from https never to http."""
    place = urllib.parse.urlsplit(url)
    is_same_host = place.hostname == first.hostname
    if not is_same_host or place.scheme not in (first.scheme, "https"):
        raise ValueError(
            f"Image {short_address(first.geturl())!r} redirects to "
            f"{'an address without encryption' if is_same_host else 'another host'}, {short_address(url)!r}, which is "
            "not followed. Give the address of the file itself."
        )
    return _parts(url)


def _port(parts: urllib.parse.SplitResult) -> int:
    return parts.port or (443 if parts.scheme == "https" else 80)


def _address(parts: urllib.parse.SplitResult, hosts: Sequence[str] | None, end: float, seconds: float) -> str:
    """The address of a host that may be fetched from."""
    host, url = parts.hostname, short_address(parts.geturl())
    is_named = hosts is not None and not {host, f"{host}:{_port(parts)}", parts.netloc}.isdisjoint(hosts)
    if hosts is not None and not is_named:
        raise ValueError(
            f"Image {url!r} lies at the host {host}, which is not one of {', '.join(hosts) or '(none)'}. Name the "
            "host, or give a file."
        )
    try:
        found = _looked_up(host, _port(parts), end, seconds)
    except (OSError, UnicodeError) as error:
        raise ConnectionError(f"Image {url!r} cannot be reached ({error}). Try again later.") from error
    for address in sorted(found):
        resolved = _resolved(address)
        if resolved.is_loopback and _is_literal(host):
            if is_named:
                continue
            raise ValueError(
                f"Image {url!r} lies at the private address {resolved}, which is not fetched unless its host is named "
                f"(--allow-urls {host}). Name it, or give a file."
            )
        if not resolved.is_global or resolved.is_multicast or any(resolved in network for network in _PRIVATE):
            raise ValueError(
                f"Image {url!r} lies at the private address {resolved}, which is not fetched. Give a public address, "
                "or a file."
            )
    return min(found, key=lambda address: (":" in address, address))


def _looked_up(host: str, port: int, end: float, seconds: float) -> set[str]:
    """The addresses of a host; a look-up cannot be cut, so that a thread waits for one that comes too late."""
    results: list[set[str] | Exception] = []

    def look_up() -> None:
        try:
            results.append({entry[4][0] for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)})
        except (OSError, UnicodeError) as error:
            results.append(error)

    thread = threading.Thread(target=look_up, daemon=True)
    thread.start()
    thread.join(max(0.0, end - time.monotonic()))
    result = results[0] if results else TimeoutError(f"its name was not resolved in {seconds:.3g} s")
    if isinstance(result, Exception):
        raise result
    return result


def _resolved(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """An address, or the IPv4 address that it leads to."""
    resolved = ipaddress.ip_address(address.partition("%")[0])
    for network, bits in _HOLDS_IPV4.items():
        if resolved in network and int(resolved) > 1:  # ::1 is this machine, :: is none
            return ipaddress.IPv4Address(int(resolved) >> bits & 0xFFFFFFFF)
    return resolved


def _is_literal(host: str) -> bool:
    """Whether a host is written as this machine, so that no name server decides what it is."""
    return host == "localhost" or host == "::1" or host.startswith("127.")


@contextlib.contextmanager
def _connected(
    parts: urllib.parse.SplitResult, address: str, end: float, seconds: float
) -> Iterator[http.client.HTTPConnection]:
    """A connection to the checked address that is cut when its time is over, and what was read until then refused."""
    is_over = threading.Event()
    too_late = f"no whole answer in {seconds:.3g} s"
    if (left := end - time.monotonic()) <= 0:
        raise TimeoutError(too_late)
    connection = http.client.HTTPConnection(parts.hostname, _port(parts))
    raw = socket.create_connection((address, _port(parts)), timeout=left)
    timer = threading.Timer(end - time.monotonic(), lambda: (is_over.set(), _cut(raw)))
    timer.daemon = True
    timer.start()
    try:
        connection.sock = raw
        if parts.scheme == "https":
            connection.sock = ssl.create_default_context().wrap_socket(raw, server_hostname=parts.hostname)
        yield connection
        if is_over.is_set():  # a connection that is cut ends as a whole answer does
            raise TimeoutError(too_late)
    except (OSError, http.client.HTTPException) as error:
        is_late = is_over.is_set() or isinstance(error, TimeoutError)
        raise TimeoutError(too_late) if is_late else error from error
    finally:
        timer.cancel()
        connection.close()
        raw.close()


def _cut(raw: socket.socket) -> None:
    with contextlib.suppress(OSError):
        raw.shutdown(socket.SHUT_RDWR)


def _get(
    parts: urllib.parse.SplitResult, address: str, max_bytes: int, end: float, seconds: float
) -> tuple[int, str | None, bytes]:
    """Status, the target of a redirect, and content."""
    target = parts.path + (f"?{parts.query}" if parts.query else "")
    headers = {"Host": parts.netloc, "Accept": "image/*, */*", "Accept-Encoding": "identity", "User-Agent": "mmprm_hf"}
    url = short_address(parts.geturl())
    try:
        with _connected(parts, address, end, seconds) as connection:
            connection.request("GET", target, headers=headers)
            response = connection.getresponse()
            location = response.getheader("Location")
            if response.status in (301, 302, 303, 307, 308) and location:
                return response.status, location.encode("latin-1").decode("utf-8", "replace"), b""
            blocks, num_bytes = [], 0
            while block := response.read(_BLOCK):
                blocks.append(block)
                num_bytes += len(block)
                if num_bytes > max_bytes:
                    raise ValueError(
                        f"Image {url!r} has more than {max_bytes} bytes, the most that is fetched. Fetch it by hand "
                        "and give the file, or a smaller one."
                    )
            if response.length:  # what its Content-Length promises and did not come
                raise http.client.HTTPException(f"it broke off {response.length} bytes before its end")
            return response.status, None, b"".join(blocks)
    except (OSError, http.client.HTTPException, UnicodeError) as error:
        raise ConnectionError(f"Image {url!r} cannot be reached ({error}). Try again later.") from error
