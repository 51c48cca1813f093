"""Counts visits in the database of this session, and prints the branch."""
import http.server
import os
import subprocess

COUNT = "insert into visit default values; select count(*) from visit"


class App(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        query = ["psql", os.environ["MOAT_POSTGRES_URL"], "-qtAc", COUNT]
        visits = subprocess.run(query, capture_output=True, text=True, check=True).stdout.strip()
        page = f"{os.environ['MOAT_BRANCH']}: visit {visits}\n".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        self.wfile.write(page)


http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), App).serve_forever()
