"""Receives webhooks on http://127.0.0.1:8000/ and says which of them are ours.

WEBHOOK_SECRET=whsec_... python3 examples/receiver.py
"""

import base64, hashlib, hmac, json, os, sys, time
from http.server import BaseHTTPRequestHandler, HTTPServer


def is_ours(headers, body, now):
    """True for a delivery that our secret signed in the last five minutes."""
    key = base64.b64decode(os.environ["WEBHOOK_SECRET"].removeprefix("whsec_"))
    stamp = headers["x-webhook-timestamp"]
    signed = f"{headers['x-webhook-id']}.{stamp}.".encode() + body
    expected = "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()
    # After a rotation the secret before signs as well, in a header of its own: either will do.
    given = [headers["x-webhook-signature"], headers.get("x-webhook-signature-previous", "")]
    is_signed = any(hmac.compare_digest(expected.encode(), one.encode()) for one in given)
    return is_signed and abs(now - int(stamp)) < 300


class Receiver(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        good = is_ours(self.headers, body, time.time())
        print(f"{'good' if good else 'BAD'} {self.headers['x-webhook-event-type']}: {body.decode()}", flush=True)
        # What is not ours is refused; what is must be answered soon, and worked on afterwards.
        self.send_response(200 if good else 401)
        self.end_headers()


if __name__ == "__main__":
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 8000
    HTTPServer(("127.0.0.1", port), Receiver).serve_forever()
