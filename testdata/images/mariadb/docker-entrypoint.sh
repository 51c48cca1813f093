#!/bin/bash
# The start of the official MariaDB and MySQL images, as far as the tests need it: the root password and a database,
# from the variables of either image, and a server that answers over TCP only when the database exists.
set -eu

data=/var/lib/mysql socket=/run/mysqld/mysqld.sock

case ${1-} in
    '' | -*) set -- mariadbd "$@" ;;
esac
case $1 in
    mariadbd | mysqld) ;;
    *) exec "$@" ;;
esac

if [ "$(id -u)" = 0 ]; then
    mkdir -p "$data" /run/mysqld
    find "$data" /run/mysqld ! -user mysql -exec chown mysql:mysql {} +
    exec setpriv --reuid=mysql --regid=mysql --init-groups -- "$0" "$@"
fi

[ ! -d "$data/mysql" ] || exec "$@"

password=${MARIADB_ROOT_PASSWORD:-${MYSQL_ROOT_PASSWORD-}}
database=${MARIADB_DATABASE:-${MYSQL_DATABASE-}}
if [ -z "$password" ]; then
    echo '[ERROR] [Entrypoint]: Database is uninitialized and password option is not specified' >&2
    echo '    You need to specify one of MARIADB_ROOT_PASSWORD, MYSQL_ROOT_PASSWORD' >&2
    exit 1
fi

note() { echo "[Note] [Entrypoint]: $*"; }

note 'Initializing database files'
mariadb-install-db --datadir="$data" --skip-test-db --auth-root-authentication-method=normal >/dev/null

note 'Starting temporary server'
# Only on the socket: a client that connects over TCP must not take this temporary server for the final one.
"$@" --skip-networking --socket="$socket" &
server=$!
until mariadb --no-defaults --protocol=socket --socket="$socket" -uroot -e 'SELECT 1' >/dev/null 2>&1; do
    kill -0 "$server" 2>/dev/null || { echo '[ERROR] [Entrypoint]: Unable to start server.' >&2; exit 1; }
    sleep 0.05
done

# The statements go through a descriptor, so that no password is an argument of a process.
password=${password//\\/\\\\}
password=${password//\'/\\\'}
{
    printf "DELETE FROM mysql.global_priv WHERE User = '' OR User = 'root' AND Host <> 'localhost';\n"
    printf "DELETE FROM mysql.proxies_priv WHERE Host <> 'localhost';\n"
    printf 'FLUSH PRIVILEGES;\n'
    printf "CREATE USER 'root'@'%%' IDENTIFIED BY '%s';\n" "$password"
    printf "GRANT ALL ON *.* TO 'root'@'%%' WITH GRANT OPTION;\n"
    # shellcheck disable=SC2016 # the quotes of a name
    [ -z "$database" ] || printf 'CREATE DATABASE IF NOT EXISTS `%s`;\n' "${database//\`/\`\`}"
    printf "SET PASSWORD FOR 'root'@'localhost' = PASSWORD('%s');\n" "$password"
} | mariadb --no-defaults --default-character-set=utf8mb4 --protocol=socket --socket="$socket" -uroot

note 'Stopping temporary server'
kill "$server"
wait "$server"
note 'MariaDB init process done. Ready for start up.'
exec "$@"
