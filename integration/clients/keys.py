"""Keys as securesystemslib and cryptography write and read them.

    keys.py write DIR       writes DIR/{ed25519,ecdsa,rsa}{,-sealed}.pem (passphrase "secret") and .pub beside each
    keys.py read FILE...    prints the PEM of each file's public key; encrypted files have the passphrase "secret"
"""

import os
import sys

from cryptography.hazmat.primitives import serialization as form
from securesystemslib.signer import CryptoSigner


def write(folder):
    makers = {
        "ed25519": CryptoSigner.generate_ed25519,
        "ecdsa": CryptoSigner.generate_ecdsa,
        "rsa": CryptoSigner.generate_rsa,
    }
    for name, make in makers.items():
        signer = make()
        plain = signer.private_bytes
        key = form.load_pem_private_key(plain, None)
        sealed = key.private_bytes(
            form.Encoding.PEM, form.PrivateFormat.PKCS8, form.BestAvailableEncryption(b"secret")
        )
        public = key.public_key().public_bytes(form.Encoding.PEM, form.PublicFormat.SubjectPublicKeyInfo)
        for file, body in [(f"{name}.pem", plain), (f"{name}-sealed.pem", sealed)]:
            with open(os.open(f"{folder}/{file}", os.O_CREAT | os.O_WRONLY, 0o600), "wb") as out:
                out.write(body)
            with open(f"{folder}/{file}.pub", "wb") as out:
                out.write(public)


def read(files):
    for file in files:
        body = open(file, "rb").read()
        key = form.load_pem_private_key(body, b"secret" if b"ENCRYPTED" in body else None)
        public = key.public_key().public_bytes(form.Encoding.PEM, form.PublicFormat.SubjectPublicKeyInfo)
        sys.stdout.write(public.decode())


if sys.argv[1] == "write":
    write(sys.argv[2])
else:
    read(sys.argv[2:])
