# Counts in both services, at the addresses in the variables of moat.
set -eu
psql "$MOAT_POSTGRES_URL" --quiet --tuples-only <<SQL
create table visit (at timestamptz default now());
insert into visit default values;
select count(*) || ' visit in ' || current_database() from visit;
SQL
redis-cli --no-auth-warning -u "$MOAT_REDIS_URL" incr visits
