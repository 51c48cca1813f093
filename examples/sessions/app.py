"""Counts visits in a database of this worktree, and prints the branch."""
import http.server
import os
import sqlite3

DATABASE = "visits.db"  # relative to the worktree, the working directory of processes


class App(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        database = sqlite3.connect(DATABASE)
        with database:
            database.execute("insert into visit default values")
        visits = database.execute("select count(*) from visit").fetchone()[0]
        database.close()
        page = f"{os.environ['MOAT_BRANCH']}: visit {visits}\n".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        self.wfile.write(page)


http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), App).serve_forever()
