#!/usr/bin/env python3
"""Prints a job's rows as JSON lines, from all its nodes, and its account: jobs.py ADDRESS:PORT CA.pem TOKEN NAMESPACE NAME"""

import json
import sys
from pathlib import Path

import grpc
from google.protobuf.json_format import MessageToDict
from tracejob.v1 import jobs_pb2 as api
from tracejob.v1 import jobs_pb2_grpc

from trace import Names, cell  # The file beside this one.


def main(address, ca, token, namespace, name):
    credentials = grpc.composite_channel_credentials(
        grpc.ssl_channel_credentials(Path(ca).read_bytes()), grpc.access_token_call_credentials(token)
    )
    # Name in the gateway's certificate, for every address.
    options = [("grpc.ssl_target_name_override", "tracejob-gateway")]
    resume = b""
    with grpc.secure_channel(address, credentials, options) as channel:
        request = api.StreamJobEventsRequest(namespace=namespace, name=name, resume=resume)
        columns, names = [], Names()
        for message in jobs_pb2_grpc.JobsStub(channel).StreamEvents(request):
            # Resume token: send the newest one to continue after a disconnect.
            resume = message.resume or resume
            if message.HasField("schema"):
                columns = message.schema.columns
            batch = message.batch
            names.add(batch)
            for row in range(batch.rows):
                cells = zip(columns, batch.columns)
                print(json.dumps({c.name: cell(c, v, row, names) for c, v in cells}), flush=True)
            if message.HasField("gap"):
                print("missed", message.gap.rows, "rows", file=sys.stderr)
            if message.HasField("account"):
                account = MessageToDict(message.account, always_print_fields_with_no_presence=True)
                print(json.dumps({"account": account}))


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except grpc.RpcError as error:
        sys.exit(f"{error.code().name}: {error.details()}")
