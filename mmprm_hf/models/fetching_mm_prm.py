"""Fetches a figure by its address: from public hosts, within limits of size and time, with no redirect to another host.

The host's name is resolved once, and the connection goes to the address that was checked. Part of the portable island,
which is copied into checkpoints: standard library only.
"""

from __future__ import annotations

import contextlib
import http.client
import ipaddress
import socket
import ssl
import threading
import urllib.parse
from collections.abc import Iterator, Sequence

MAX_BYTES = 32 * 2**20
MAX_SECONDS = 30.0
_MAX_REDIRECTS = 3
_BLOCK = 65536
_IN_QUERY = "/%:=&~+!$,;'@()*[]?"  # characters of an address that stay as they are


def fetch(
    url: str, hosts: Sequence[str] | None = None, max_bytes: int = MAX_BYTES, seconds: float = MAX_SECONDS
) -> bytes:
    """Return what lies at an http or https address.

    Args:
        url: The address.
        hosts: The only hosts to fetch from, as "example.com" or "example.com:8000"; None takes every public host. An
            address of this machine is fetched only if it is named here; private and link-local ones never are.
        max_bytes: The most bytes of an answer.
        seconds: The most time in all.

    Raises:
        ValueError: if the address is wrong, not allowed or redirects to another host, or the answer is too large.
        ConnectionError: if the server cannot be reached, is too slow, or fails.
    """
    first = _parts(url)
    for _ in range(_MAX_REDIRECTS + 1):
        parts = _parts(url)
        if (parts.hostname, parts.scheme) not in {(first.hostname, first.scheme), (first.hostname, "https")}:
            raise ValueError(
                f"Image {_short(first.geturl())!r} redirects to another host, {_short(url)!r}, which is not followed. "
                "Give the address of the file itself."
            )
        status, location, content = _get(parts, _address(parts, hosts), max_bytes, seconds)
        if location is None:
            break
        url = urllib.parse.urljoin(url, location)
    else:
        raise ValueError(f"Image {_short(url)!r} redirects too often. Give the address of the file itself.")
    if status >= 500 or status == 429:
        raise ConnectionError(f"Image {_short(url)!r}: its server answers HTTP {status}. Try again later.")
    if not 200 <= status < 300:  # the body of an error may be an image too
        raise ValueError(f"Image {_short(url)!r} cannot be fetched (HTTP {status}). Correct the address.")
    return content


def _short(url: str) -> str:
    return url if len(url) <= 100 else f"{url[:100]}..."


def _parts(url: str) -> urllib.parse.SplitResult:
    """The parts of an address that can be fetched."""
    try:
        parts = urllib.parse.urlsplit(url)
        is_whole = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # a broken port or IPv6 address
        is_whole = False
    if not is_whole or parts.username is not None or any(character <= " " for character in url):
        raise ValueError(
            f"Image {_short(url)!r} cannot be fetched (it is not an http or https address). Give a readable image."
        )
    return parts


def _port(parts: urllib.parse.SplitResult) -> int:
    return parts.port or (443 if parts.scheme == "https" else 80)


def _address(parts: urllib.parse.SplitResult, hosts: Sequence[str] | None) -> str:
    """The address of a host that may be fetched from."""
    host, url = parts.hostname, _short(parts.geturl())
    is_named = hosts is not None and not {host, f"{host}:{_port(parts)}"}.isdisjoint(hosts)
    if hosts is not None and not is_named:
        raise ValueError(
            f"Image {url!r} lies at the host {host}, which is not one of {', '.join(hosts) or '(none)'}. Name the "
            "host, or give a file."
        )
    try:
        found = {entry[4][0] for entry in socket.getaddrinfo(host, _port(parts), type=socket.SOCK_STREAM)}
    except (OSError, UnicodeError) as error:
        raise ConnectionError(f"Image {url!r} cannot be reached ({error}). Try again later.") from error
    for address in sorted(found):
        resolved = ipaddress.ip_address(address.partition("%")[0])
        resolved = getattr(resolved, "ipv4_mapped", None) or resolved
        if is_named and resolved.is_loopback and _is_literal(host):
            continue
        if not resolved.is_global or resolved.is_multicast:
            raise ValueError(
                f"Image {url!r} lies at the private address {resolved}, which is not fetched. Give a public address, "
                "or a file."
            )
    return min(found, key=lambda address: (":" in address, address))


def _is_literal(host: str) -> bool:
    """Whether a host is written as this machine, so that no name server decides what it is."""
    return host == "localhost" or host == "::1" or host.startswith("127.")


@contextlib.contextmanager
def _connected(parts: urllib.parse.SplitResult, address: str, seconds: float) -> Iterator[http.client.HTTPConnection]:
    """A connection to the checked address that is cut when its time is over."""
    connection = http.client.HTTPConnection(parts.hostname, _port(parts))
    raw = socket.create_connection((address, _port(parts)), timeout=seconds)
    timer = threading.Timer(seconds, lambda: _cut(raw))
    timer.daemon = True
    timer.start()
    try:
        connection.sock = raw
        if parts.scheme == "https":
            connection.sock = ssl.create_default_context().wrap_socket(raw, server_hostname=parts.hostname)
        yield connection
        if not timer.is_alive():
            raise TimeoutError(f"no whole answer in {seconds:.0f} s")
    except (OSError, http.client.HTTPException) as error:
        raise error if timer.is_alive() else TimeoutError(f"no whole answer in {seconds:.0f} s") from error
    finally:
        timer.cancel()
        connection.close()
        raw.close()


def _cut(raw: socket.socket) -> None:
    with contextlib.suppress(OSError):
        raw.shutdown(socket.SHUT_RDWR)


def _get(
    parts: urllib.parse.SplitResult, address: str, max_bytes: int, seconds: float
) -> tuple[int, str | None, bytes]:
    """Status, the target of a redirect, and content."""
    target = urllib.parse.urlunsplit(
        ("", "", urllib.parse.quote(parts.path or "/", safe="/%:=&?~+!$,;'@()*[]"), parts.query, "")
    )
    headers = {"Host": parts.netloc, "Accept": "image/*, */*", "Accept-Encoding": "identity", "User-Agent": "mmprm_hf"}
    url = _short(parts.geturl())
    try:
        with _connected(parts, address, seconds) as connection:
            connection.request("GET", target, headers=headers)
            response = connection.getresponse()
            if response.status in (301, 302, 303, 307, 308) and response.getheader("Location"):
                return response.status, response.getheader("Location"), b""
            blocks, num_bytes = [], 0
            while block := response.read(_BLOCK):
                blocks.append(block)
                num_bytes += len(block)
                if num_bytes > max_bytes:
                    raise ValueError(
                        f"Image {url!r} has more than {max_bytes} bytes, the most that is fetched. Fetch it by hand "
                        "and give the file, or a smaller one."
                    )
            return response.status, None, b"".join(blocks)
    except (OSError, http.client.HTTPException, UnicodeError) as error:
        raise ConnectionError(f"Image {url!r} cannot be reached ({error}). Try again later.") from error
