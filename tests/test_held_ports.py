import socket

import pytest
from held_ports import HeldPort


def test_a_held_port_is_a_servers_that_asks_for_it_and_nobody_elses():
    held = HeldPort()
    where = ("127.0.0.1", held.number)
    for _ in range(2):  # stopped in between
        with socket.create_server(where), socket.create_connection(where):
            pass
    with socket.socket() as other, pytest.raises(OSError, match="in use"):
        other.bind(where)
    assert held.number not in {HeldPort().number for _ in range(100)}
