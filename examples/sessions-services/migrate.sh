# Creates the missing tables in the database of this session. It is safe to run this script again.
set -eu
psql "$MOAT_POSTGRES_URL" --quiet <<SQL
create table if not exists visit (at timestamptz default now());
SQL
