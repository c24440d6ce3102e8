"""Whether Python takes a chain for a host, as strictly as it can.

judge.py BUNDLE HOST PROXY         what is presented behind a proxy
judge.py BUNDLE HOST CHAIN KEY     the chain of a file, the leaf first
"""

import socket
import ssl
import sys


def behind_proxy(client, host, proxy):
    address, port = proxy.rsplit(":", 1)
    authority = f"[{host}]" if ":" in host else host
    with socket.create_connection((address, int(port)), timeout=30) as connection:
        connection.sendall(f"CONNECT {authority}:443 HTTP/1.1\r\nHost: {authority}:443\r\n\r\n".encode())
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            read = connection.recv(1)
            assert read, head
            head += read
        assert head.split()[1] == b"200", head
        with client.wrap_socket(connection, server_hostname=host):
            pass


def in_memory(client, host, chain, key):
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(chain, key)
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        client.wrap_bio(back, there, server_hostname=host),
        server.wrap_bio(there, back, server_side=True),
    ]
    while ends:
        end = ends.pop(0)
        try:
            end.do_handshake()
        except ssl.SSLWantReadError:
            ends.append(end)


def main(bundle, host, *server):
    client = ssl.create_default_context(cafile=bundle)
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    if len(server) == 1:
        behind_proxy(client, host, *server)
    else:
        in_memory(client, host, *server)


main(*sys.argv[1:])
