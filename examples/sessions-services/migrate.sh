# Makes what is missing, in the database of this session. It may be run again.
set -eu
psql "$MOAT_POSTGRES_URL" --quiet <<SQL
create table if not exists visit (at timestamptz default now());
SQL
