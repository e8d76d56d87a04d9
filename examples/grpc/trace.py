#!/usr/bin/env python3
"""Prints rows of a trace as JSON lines, stops it after ten, and prints its account: trace.py URL TRACER PID"""

import ipaddress
import json
import queue
import sys

import grpc
from google.protobuf.json_format import MessageToDict
from tracejob.v1 import agent_pb2 as api
from tracejob.v1 import agent_pb2_grpc

ENOUGH = 10


class Names:
    """Names of the frames that stacks refer to: of one batch, or of a table so far, which may come in parts."""

    def add(self, batch):
        if batch.part == 0:
            self.strings, self.frames = [], []
        self.strings += batch.strings
        self.frames += [self.strings[at] for at in batch.interned.names]


def cell(column, values, row, names):
    """A row's value: its kind says where it is and what it means."""
    part = getattr(values, values.WhichOneof("values"))
    if not hasattr(part, "ends"):
        number = part.values[row]
        return bool(number) if column.kind == api.KIND_BOOL else number
    span = slice(part.ends[row - 1] if row else 0, part.ends[row])
    if column.kind == api.KIND_STACK:
        return [names.frames[at] for at in part.frames[span]]
    if column.kind in (api.KIND_LOG2, api.KIND_ERRORS):
        return list(part.values[span])
    data = part.data[span]
    if column.kind == api.KIND_IP:
        address = ipaddress.ip_address(data)
        return str(getattr(address, "ipv4_mapped", None) or address)
    # The traced program chose these bytes: often UTF-8, but not guaranteed.
    text = data.decode("utf-8", errors="backslashreplace")
    return text.split("\0")[:-1] if column.kind == api.KIND_ARGS else text


def main(url, tracer, pid):
    requests = queue.SimpleQueue()
    spec = api.TraceSpec(tracer=tracer, targets=[api.Target(process=int(pid))])
    # The trace ends after this time, even without a connected client.
    spec.duration.FromSeconds(60)
    requests.put(api.TraceRequest(start=spec))
    # Without this, grpcio sends the socket's path as the authority, which HTTP/2 does not allow.
    options = [("grpc.default_authority", "localhost")]
    with grpc.insecure_channel(url, options) as channel:
        stream = agent_pb2_grpc.AgentStub(channel).Trace(iter(requests.get, None))
        columns, shown, names = [], 0, Names()
        for message in stream:
            if message.HasField("schema"):
                columns = message.schema.columns
            batch = message.batch
            names.add(batch)
            for row in range(batch.rows):
                cells = zip(columns, batch.columns)
                print(json.dumps({c.name: cell(c, v, row, names) for c, v in cells}), flush=True)
            if shown < ENOUGH <= shown + batch.rows:
                # The remaining rows and the account still follow.
                requests.put(api.TraceRequest(stop=api.Stop()))
            shown += batch.rows
            if message.HasField("gap"):
                print("missed", message.gap.rows, "rows", file=sys.stderr)
            if message.HasField("account"):
                account = MessageToDict(message.account, always_print_fields_with_no_presence=True)
                print(json.dumps({"account": account}))
        # No more requests: the call's own thread waits for them.
        requests.put(None)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except grpc.RpcError as error:
        sys.exit(f"{error.code().name}: {error.details()}")
