"""Prints the ends of jobs, if the service signed them.

WEBHOOK_SECRET=whsec_... python webhook_receiver.py PORT
"""

import os
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer

from standardwebhooks import Webhook, WebhookVerificationError

webhook = Webhook(os.environ["WEBHOOK_SECRET"])


class Receiver(BaseHTTPRequestHandler):
    """Answers 204 to a message that is signed and new, 400 to any other."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        try:
            print(webhook.verify(body, dict(self.headers)), flush=True)
            self.send_response(204)
        except WebhookVerificationError as error:
            self.send_error(400, str(error))
        self.end_headers()


if __name__ == "__main__":
    HTTPServer(("127.0.0.1", int(sys.argv[1])), Receiver).serve_forever()
