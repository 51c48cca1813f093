#!/bin/bash
# The start of the official PostgreSQL image, as far as the tests need it: POSTGRES_PASSWORD, POSTGRES_USER and
# POSTGRES_DB, and a server that answers over TCP only when the database exists.
set -eu

case ${1-} in
    '' | -*) set -- postgres "$@" ;;
esac
[ "$1" = postgres ] || exec "$@"

if [ "$(id -u)" = 0 ]; then
    mkdir -p "$PGDATA" /var/run/postgresql
    chmod 0700 "$PGDATA"
    find "$PGDATA" /var/run/postgresql ! -user postgres -exec chown postgres:postgres {} +
    exec setpriv --reuid=postgres --regid=postgres --init-groups -- "$0" "$@"
fi

if [ -s "$PGDATA/PG_VERSION" ]; then
    printf '\nPostgreSQL Database directory appears to contain a database; Skipping initialization\n\n'
    exec "$@"
fi

if [ -z "${POSTGRES_PASSWORD-}" ]; then
    echo 'Error: Database is uninitialized and superuser password is not specified.' >&2
    echo '       You must specify POSTGRES_PASSWORD to a non-empty value for the superuser.' >&2
    exit 1
fi
export POSTGRES_USER=${POSTGRES_USER:-postgres}
export POSTGRES_DB=${POSTGRES_DB:-$POSTGRES_USER}

# printf is built into the shell, so the password is never an argument of a process.
initdb --no-sync --username="$POSTGRES_USER" --pwfile=<(printf '%s\n' "$POSTGRES_PASSWORD") \
    --encoding=UTF8 --locale=C.UTF-8 --auth=trust --auth-host=trust -D "$PGDATA"
# As in the official image, connections from inside the container need no password, and all others do.
echo 'host all all all scram-sha-256' >>"$PGDATA/pg_hba.conf"
# Test data need not survive a crash of the machine, and a server that does not wait for the disk starts fast.
cat >>"$PGDATA/postgresql.conf" <<'END'
listen_addresses = '*'
fsync = off
full_page_writes = off
synchronous_commit = off
jit = off
shared_buffers = 32MB
END

# Only on the socket: a client that connects over TCP must not take this temporary server for the final one.
pg_ctl -D "$PGDATA" -o "-c listen_addresses=''" -w start
if [ "$POSTGRES_DB" != postgres ]; then
    psql -v ON_ERROR_STOP=1 -v db="$POSTGRES_DB" --no-password --no-psqlrc -U "$POSTGRES_USER" -d postgres <<'END'
CREATE DATABASE :"db";
END
fi
pg_ctl -D "$PGDATA" -m fast -w stop
printf '\nPostgreSQL init process complete; ready for start up.\n\n'
exec "$@"
