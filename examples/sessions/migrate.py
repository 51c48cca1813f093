"""Creates the missing tables in the database of this worktree. It is safe to run this script again."""
import sqlite3

with sqlite3.connect("visits.db") as database:
    database.execute("create table if not exists visit (at text default current_timestamp)")
