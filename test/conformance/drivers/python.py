"""The Python SDK's driver of the conformance tests: see ../README.md."""

from __future__ import annotations

import asyncio
import json
import sys
import zlib
from collections.abc import Callable
from typing import Any

import shimmy_ipc
from shimmy_ipc import Client, EndOfChannel, Loan, LockBased, LockFree, Room, ShimmyError

Command = dict[str, Any]
Answer = dict[str, Any]

clients: dict[str, Client] = {}
endpoints: dict[str, Any] = {}
rooms: dict[str, Room] = {}
loans: dict[str, Loan] = {}
loop = asyncio.new_event_loop()


def content(seed: int, size: int) -> bytes:
    period = bytes((i * 31 + seed) & 255 for i in range(251))
    whole = period * (size // 251 + 1)
    return (seed.to_bytes(8, "little") + whole[8:])[:size] if size > 8 else seed.to_bytes(
        8, "little"
    )[:size]


def described(marks: Any, data: Any) -> Answer:
    return {
        "bytes": len(data),
        "crc32": zlib.crc32(data),
        "sequence": str(marks.sequence),
        "generation": str(marks.generation),
        "missed": "unknown" if marks.missed is None else marks.missed,
    }


def seconds(command: Command) -> float | None:
    timeout = command["timeoutMs"]
    return None if timeout < 0 else timeout / 1000


# ---- clients and endpoints ----


def do_open(command: Command) -> Answer:
    options = {} if "timeoutMs" not in command else {"timeout": command["timeoutMs"] / 1000}
    clients[command["client"]] = Client(command["socket"], **options)
    return {}


def do_close(command: Command) -> Answer:
    clients[command["client"]].close()
    return {}


def do_attach(command: Command) -> Answer:
    names = {
        "blocks": "blocks",
        "blockBytes": "block_bytes",
        "readers": "readers",
        "timeToLiveMs": "time_to_live_ms",
        "maxLoans": "max_loans",
    }
    options: dict[str, Any] = {}
    if "kind" in command:
        given = {ours: command[theirs] for theirs, ours in names.items() if theirs in command}
        kind = LockBased if command["kind"] == "lock" else LockFree
        options["create"] = kind(**given)
    if "waitMode" in command:
        options["wait_mode"] = command["waitMode"]
    if "start" in command:
        options["start"] = command["start"]
    attach = getattr(clients[command["client"]], command["role"])
    endpoints[command["endpoint"]] = attach(command["topic"], **options)
    return {}


def do_detach(command: Command) -> Answer:
    endpoints[command["endpoint"]].close()
    return {}


def camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(map(str.capitalize, rest))


def do_describe(command: Command) -> Answer:
    info = endpoints[command["endpoint"]].describe()._asdict()
    return {camel(name): str(value) if name == "channel" else value for name, value in info.items()}


def do_counters(command: Command) -> Answer:
    counters = endpoints[command["endpoint"]].counters()._asdict()
    return {camel(name): value for name, value in counters.items()}


# ---- writers ----


def write(endpoint: Any, command: Command, data: bytes) -> None:
    is_in_place = command["in"] == "place"
    timeout = seconds(command)
    if command.get("isAsync"):
        if not is_in_place:
            loop.run_until_complete(endpoint.apublish(data, timeout))
            return
        room = loop.run_until_complete(endpoint.areserve(len(data), timeout))
    elif not is_in_place and timeout == 0:
        if not endpoint.try_publish(data):
            raise TimeoutError
        return
    elif not is_in_place:
        endpoint.publish(data, timeout=timeout)
        return
    else:
        room = endpoint.reserve(len(data), timeout=timeout)
    with room:
        room.data[:] = data
        room.commit()


def do_publish(command: Command) -> Answer:
    sizes = command["sizes"]
    answer = {"count": 0}
    command["answer"] = answer
    for index in range(command["count"]):
        data = content(command["seed"] + index, sizes[index % len(sizes)])
        write(endpoints[command["endpoint"]], command, data)
        answer["count"] += 1
    return answer


def do_reserve(command: Command) -> Answer:
    endpoint = endpoints[command["endpoint"]]
    rooms[command["room"]] = endpoint.reserve(command["bytes"], timeout=seconds(command))
    return {}


def do_fill(command: Command) -> Answer:
    room = rooms[command["room"]]
    room.data[:] = content(command["seed"], len(room))
    return {}


def do_commit(command: Command) -> Answer:
    rooms[command["room"]].commit(command.get("bytes"))
    return {}


def do_cancel(command: Command) -> Answer:
    rooms[command["room"]].cancel()
    return {}


def do_end(command: Command) -> Answer:
    endpoints[command["endpoint"]].end()
    return {}


def do_drain(command: Command) -> Answer:
    endpoints[command["endpoint"]].drain(timeout=seconds(command))
    return {}


# ---- readers ----


def read(endpoint: Any, command: Command) -> Answer:
    is_in_place = command["in"] == "place"
    timeout = seconds(command)
    if command.get("isAsync"):
        call = endpoint.aloan if is_in_place else endpoint.atake
        got = loop.run_until_complete(call(timeout))
    elif timeout == 0:
        got = endpoint.try_loan() if is_in_place else endpoint.try_take()
        if got is None:
            raise TimeoutError
    else:
        got = endpoint.loan(timeout) if is_in_place else endpoint.take(timeout)
    if not is_in_place:
        return described(got, got.data)
    with got:
        return described(got, got)


def do_take(command: Command) -> Answer:
    messages: list[Answer] = []
    command["answer"] = {"messages": messages}
    for _ in range(command["count"]):
        messages.append(read(endpoints[command["endpoint"]], command))
    return command["answer"]  # type: ignore[no-any-return]


def do_loan(command: Command) -> Answer:
    loan = endpoints[command["endpoint"]].loan(timeout=seconds(command))
    loans[command["loan"]] = loan
    return {"messages": [described(loan, loan)]}


def do_read(command: Command) -> Answer:
    loan = loans[command["loan"]]
    return {"messages": [described(loan, loan.data)]}


def do_release(command: Command) -> Answer:
    loans[command["loan"]].release()
    return {}


# ---- the loop ----

OPERATIONS: dict[str, Callable[[Command], Answer]] = {
    name.removeprefix("do_"): value
    for name, value in list(globals().items())
    if name.startswith("do_")
}


def run(command: Command) -> Answer:
    try:
        return {"result": "ok", **OPERATIONS[command["op"]](command)}
    except TimeoutError:
        result: Answer = {"result": "timeout"}
    except EndOfChannel:
        result = {"result": "ended"}
    except ShimmyError as err:
        result = {
            "result": "error",
            "code": err.code,
            "reason": err.reason,
            "message": str(err),
        }
    except (KeyError, AttributeError) as err:
        result = {
            "result": "error",
            "code": "SHIMMY_ERR_INVALID_OPTION",
            "reason": "",
            "message": repr(err),
        }
    return {**result, **command.get("answer", {})}


def main() -> None:
    assert shimmy_ipc.__version__
    for line in sys.stdin:
        command = json.loads(line)
        answer = {"id": command["id"], **run(command)}
        print(json.dumps(answer), flush=True)
    loans.clear()
    rooms.clear()
    for client in clients.values():
        client.close()


if __name__ == "__main__":
    main()
