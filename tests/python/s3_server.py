"""A server that speaks S3, with one bucket, until standard input ends.

usage: s3_server.py BUCKET

Prints its URL, then answers each line of standard input with one of JSON: `list` gives keys and lengths, `flip KEY` changes a byte in the
midst of an object, `put KEY TEXT` writes one, `age KEY` makes one an hour older than it is.
"""

import datetime
import json
import sys

import boto3
from moto.s3.models import s3_backends
from moto.server import ThreadedMotoServer


def stored(bucket, key):
    """The server's own record of an object."""
    for account in s3_backends.values():
        for backend in account.values():
            if bucket in backend.buckets:
                return backend.buckets[bucket].keys[key]
    raise KeyError(bucket)


def main():
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    client = boto3.client(
        "s3", endpoint_url=url, region_name="us-east-1", aws_access_key_id="id", aws_secret_access_key="secret"
    )
    bucket = sys.argv[1]
    client.create_bucket(Bucket=bucket)
    print(url, flush=True)
    for line in sys.stdin:
        word, _, key = line.strip().partition(" ")
        if word == "list":
            listed = client.list_objects_v2(Bucket=bucket).get("Contents", [])
            answer = {object["Key"]: object["Size"] for object in listed}
        elif word == "put":
            key, _, text = key.partition(" ")
            client.put_object(Bucket=bucket, Key=key, Body=text.encode())
            answer = len(text)
        elif word == "age":
            stored(bucket, key).last_modified -= datetime.timedelta(hours=1)
            answer = 3600
        else:
            body = bytearray(client.get_object(Bucket=bucket, Key=key)["Body"].read())
            body[len(body) // 2] ^= 1
            client.put_object(Bucket=bucket, Key=key, Body=bytes(body))
            answer = len(body)
        print(json.dumps(answer), flush=True)
    server.stop()


main()
