"""A KMS on loopback: moto's server, with keys made at the start.

    kms.py TROUBLE ALIAS=SPEC ...

Prints its port, then serves until its standard input ends. What moto's `Sign` lacks is put in here, as KMS
documents it: MessageType DIGEST, at most 4,096 bytes of MessageType RAW, and a salt of 32 bytes in RSASSA_PSS_SHA_256. While the file TROUBLE exists, every request
is answered by the exception it names.
"""

import json
import os
import sys

import boto3
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, utils
from moto.core.exceptions import JsonRESTError
from moto.kms import models, responses
from moto.moto_server.threaded_moto_server import ThreadedMotoServer

REGION = "eu-west-1"
trouble, keys = sys.argv[1], sys.argv[2:]
as_moto_answers = responses.KmsResponse.sign


def sign(self, key_id, message, signing_algorithm):
    key = self.describe_key(key_id)
    if signing_algorithm not in key.signing_algorithms:
        raise JsonRESTError("InvalidKeyUsageException", f"{key.key_spec} does not sign with {signing_algorithm}")
    digest = getattr(self, "digest", False)
    if not digest and len(message) > 4096:
        raise JsonRESTError("ValidationException", "Message is longer than 4096 bytes")
    hashed = utils.Prehashed(hashes.SHA256()) if digest else hashes.SHA256()
    private = key.private_key.private_key
    if signing_algorithm == "ECDSA_SHA_256":
        signature = private.sign(message, ec.ECDSA(hashed))
    else:
        signature = private.sign(message, padding.PSS(padding.MGF1(hashes.SHA256()), 32), hashed)
    return key.arn, signature, signing_algorithm


def answer(self):
    if os.path.exists(trouble):
        raise JsonRESTError(open(trouble).read().strip(), "Rate exceeded")
    self.kms_backend.digest = json.loads(self.body).get("MessageType") == "DIGEST"
    return as_moto_answers(self)


def described(self):
    if os.path.exists(trouble):
        raise JsonRESTError(open(trouble).read().strip(), "Rate exceeded")
    return as_moto_describes(self)


as_moto_describes = responses.KmsResponse.get_public_key
models.KmsBackend.sign = sign
responses.KmsResponse.sign = answer
responses.KmsResponse.get_public_key = described

server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
host, port = server.get_host_and_port()
client = boto3.client(
    "kms",
    region_name=REGION,
    endpoint_url=f"http://{host}:{port}",
    aws_access_key_id="test",
    aws_secret_access_key="test",
)
for key in keys:
    alias, spec = key.split("=")
    usage = "ENCRYPT_DECRYPT" if spec == "SYMMETRIC_DEFAULT" else "SIGN_VERIFY"
    made = client.create_key(KeySpec=spec, KeyUsage=usage)
    client.create_alias(AliasName=f"alias/{alias}", TargetKeyId=made["KeyMetadata"]["KeyId"])
print(port, flush=True)
sys.stdin.read()
server.stop()
