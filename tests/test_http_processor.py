"""How the `http` processor handles many items: order, width, cancelling, handing back, closing."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from http_help import http, order
from servers import Answer, HttpServer

from batchctl.model import Cancelled, Completed, HandedBack


@pytest.fixture
def server() -> Iterator[HttpServer]:
    """Holds every answer until it is released."""
    with HttpServer() as running:
        running.default = Answer(200, {"status": "ok"}, hold=True)
        yield running


DONE = Completed({"status": "ok"})


def test_at_most_width_items_run_and_the_rest_follow_in_order(server: HttpServer, tmp_path: Path) -> None:
    with http(tmp_path, url=f"{server.url}/{{{{ n }}}}", width=2) as send:
        runs = [send.send(order(n, n=n)) for n in range(1, 7)]
        server.wait(2)
        assert [run.starts for run in runs] == [1, 1, 0, 0, 0, 0]
        server.release()
        assert [run.wait() for run in runs] == [DONE] * 6
    first, *rest = (int(request.path[1:]) for request in server.requests)
    assert {first, rest[0]} == {1, 2}
    assert all(run.starts == 1 for run in runs)


def test_one_at_a_time_keeps_the_order(server: HttpServer, tmp_path: Path) -> None:
    server.release()
    with http(tmp_path, url=f"{server.url}/{{{{ n }}}}", width=1) as send:
        for run in [send.send(order(n, n=n)) for n in range(1, 9)]:
            run.wait()
    assert [request.path for request in server.requests] == [f"/{n}" for n in range(1, 9)]


def test_a_wider_width_starts_more(server: HttpServer, tmp_path: Path) -> None:
    with http(tmp_path, url=server.url, width=1) as send:
        runs = [send.send(order(n)) for n in range(1, 4)]
        server.wait(1)
        send.processor.resize(3)
        server.wait(3)
        server.release()
        assert [run.wait() for run in runs] == [DONE] * 3


@pytest.mark.parametrize("hand_back", [True, False])
def test_a_running_item_is_ended(server: HttpServer, tmp_path: Path, hand_back: bool) -> None:
    with http(tmp_path, url=server.url, width=1) as send:
        run, following = send.send(order(1)), send.send(order(2))
        server.wait(1)
        send.processor.cancel(1, hand_back=hand_back)
        assert run.wait() == (HandedBack() if hand_back else Cancelled())
        server.release()
        assert following.wait() == DONE


@pytest.mark.parametrize("hand_back", [True, False])
def test_an_item_that_did_not_start_ends_at_once(server: HttpServer, tmp_path: Path, hand_back: bool) -> None:
    with http(tmp_path, url=server.url, width=1) as send:
        first, second = send.send(order(1)), send.send(order(2))
        server.wait(1)
        send.processor.cancel(2, hand_back=hand_back)
        assert second.wait() == (HandedBack() if hand_back else Cancelled())
        assert second.starts == 0
        server.release()
        assert first.wait() == DONE
    assert len(server.requests) == 1


def test_cancelling_what_is_not_there_changes_nothing(server: HttpServer, tmp_path: Path) -> None:
    server.release()
    with http(tmp_path, url=server.url) as send:
        send.processor.cancel(99, hand_back=False)
        run = send.send(order(1))
        assert run.wait() == DONE
        send.processor.cancel(1, hand_back=False)
        assert send.run(order(2)) == DONE
    assert run.outcomes == [DONE]


def test_withdrawn_items_never_start(server: HttpServer, tmp_path: Path) -> None:
    with http(tmp_path, url=server.url, width=1) as send:
        runs = [send.send(order(n)) for n in range(1, 5)]
        server.wait(1)
        assert send.processor.withdraw() == [2, 3, 4]
        server.release()
        assert runs[0].wait() == DONE
    assert len(server.requests) == 1
    assert all(run.outcomes == [] for run in runs[1:])


def test_closing_hands_everything_back_and_ends_the_thread(server: HttpServer, tmp_path: Path) -> None:
    with http(tmp_path, url=server.url, width=1) as send, http(tmp_path, url=server.url) as beside:
        runs = [send.send(order(1)), send.send(order(2)), beside.send(order(3))]
        server.wait(2)
        loops = [thread for thread in threading.enumerate() if thread.name == "http"]
        assert len(loops) == 1
    assert [run.wait() for run in runs] == [HandedBack()] * 3
    assert not loops[0].is_alive()


def test_the_loop_starts_again_after_it_ended(server: HttpServer, tmp_path: Path) -> None:
    server.release()
    for number in (1, 2):
        with http(tmp_path, url=server.url) as send:
            assert send.run(order(number)) == DONE
