//! A workload and its services: it reaches them by URL and by separate variables, and each service has its own
//! password and data.

use std::fs;

use serde_json::json;

use crate::harness::{IMAGE, Moat, Runtime};
use crate::services::place::{MARIADB, POSTGRES, Place, REDIS, SERVERS};

const ALL: [&str; 4] = [SERVERS, POSTGRES, REDIS, MARIADB];

const THREE: &str = "\
base_image: moat-test/servers:1
dependencies: [postgres@15, redis@7, mariadb@10.11]
services:
  postgres: {image: moat-test/postgres:15}
  redis: {image: moat-test/redis:7}
  mariadb: {image: moat-test/mariadb:10.11}
";

/// A shell script that connects the MariaDB client by a URL.
const BY_URL: &str = r#"
decoded() { printf '%b' "$(printf %s "$1" | sed 's/%\(..\)/\\x\1/g')"; }
maria() { # URL STATEMENT
    local rest=${1#mysql://} user password address
    user=${rest%%:*} rest=${rest#*:}
    password=${rest%%@*} rest=${rest#*@}
    address=${rest%%/*}
    MYSQL_PWD=$(decoded "$password") mariadb -BN -h "${address%:*}" -P "${address#*:}" -u "$user" "${rest#*/}" -e "$2"
}
"#;

/// Writes by URL, reads by separate variables, and reads nothing with a wrong password.
pub(crate) fn by_url_and_by_parts(runtime: Runtime) {
    let Some(place) = Place::with(runtime, &ALL) else {
        return;
    };
    place.moat_yaml(THREE);
    let script = r#"set -eu
psql -qAt "$MOAT_POSTGRES_URL" -c 'create table t (v text)' -c "insert into t values ('from postgres')"
export PGPASSWORD=$MOAT_POSTGRES_PASSWORD
psql -qAt -h "$MOAT_POSTGRES_HOST" -p "$MOAT_POSTGRES_PORT" -U "$MOAT_POSTGRES_USER" -d "$MOAT_POSTGRES_DB" -c 'select v from t'

redis-cli -u "$MOAT_REDIS_URL" set k 'from redis' 2>/dev/null
REDISCLI_AUTH=$MOAT_REDIS_PASSWORD redis-cli -h "$MOAT_REDIS_HOST" -p "$MOAT_REDIS_PORT" get k

maria "$MOAT_MARIADB_URL" "create table t (v text); insert into t values ('from mariadb')"
export MYSQL_PWD=$MOAT_MARIADB_PASSWORD
mariadb -BN -h "$MOAT_MARIADB_HOST" -P "$MOAT_MARIADB_PORT" -u "$MOAT_MARIADB_USER" "$MOAT_MARIADB_DB" -e 'select v from t'

export PGPASSWORD=wrong MYSQL_PWD=wrong REDISCLI_AUTH=wrong
psql -qAt -h postgres -U postgres -c 'select 1' 2>&1 | grep -o 'password authentication failed'
redis-cli -h redis get k 2>&1 | grep -o 'NOAUTH' | head -n 1
mariadb -BN -h mariadb -u root -e 'select 1' 2>&1 | grep -o 'Access denied'
"#;
    let call = place.args(["run", "--quiet", "--", "bash", "-c"]);
    call.arg(format!("{BY_URL}{script}"))
        .stdout(
            "from postgres\nOK\nfrom redis\nfrom mariadb\n\
             password authentication failed\nNOAUTH\nAccess denied\n",
        )
        .success();
}

/// Quotes, a backslash, and everything that a shell would expand.
const AWKWARD: &str = r#"a"b\c'd $HOME `id` #%x"#;

/// Several instances of one service, with names and passwords that the user sets and that need quoting.
pub(crate) fn aliases_and_own_values(runtime: Runtime) {
    let Some(place) = Place::with(runtime, &ALL) else {
        return;
    };
    place.write("password", AWKWARD);
    place.moat_yaml(
        r#"
base_image: moat-test/servers:1
dependencies: [postgres@15, redis@7, mariadb@10.11]
services:
  postgres: {image: moat-test/postgres:15}
  analytics:
    service: postgres
    image: moat-test/postgres:15
    env: {POSTGRES_DB: facts, POSTGRES_USER: ana, POSTGRES_PASSWORD: "p@ss/w:rd%"}
  redis: {image: moat-test/redis:7}
  job-queue:
    service: redis
    image: moat-test/redis:7
    env: {REDIS_PASSWORD: "file://password"}
  mariadb:
    image: moat-test/mariadb:10.11
    env: {MARIADB_DATABASE: shop, MARIADB_ROOT_PASSWORD: "file://password"}
"#,
    );
    let script = r#"set -eu
psql -qAt "$MOAT_POSTGRES_URL" -c 'create table t (v text)'
psql -qAt "$MOAT_ANALYTICS_URL" -c "select current_user, current_database(), to_regclass('t') is null"
PGPASSWORD=$MOAT_ANALYTICS_PASSWORD psql -qAt -h "$MOAT_ANALYTICS_HOST" -p "$MOAT_ANALYTICS_PORT" \
    -U "$MOAT_ANALYTICS_USER" -d "$MOAT_ANALYTICS_DB" -c 'select 1'
echo "$MOAT_ANALYTICS_HOST $MOAT_ANALYTICS_USER $MOAT_ANALYTICS_DB $MOAT_ANALYTICS_PASSWORD"
echo "$MOAT_ANALYTICS_URL"
[ "$MOAT_POSTGRES_PASSWORD" != "$MOAT_ANALYTICS_PASSWORD" ]

redis-cli -u "$MOAT_REDIS_URL" set k v 2>/dev/null
echo "[$(redis-cli -u "$MOAT_JOB_QUEUE_URL" get k 2>/dev/null)]"
REDISCLI_AUTH=$MOAT_JOB_QUEUE_PASSWORD redis-cli -h "$MOAT_JOB_QUEUE_HOST" ping

maria "$MOAT_MARIADB_URL" 'select database()'
MYSQL_PWD=$(cat password) mariadb -BN -h "$MOAT_MARIADB_HOST" -u root "$MOAT_MARIADB_DB" -e 'select 2'
"#;
    let call = place.args(["run", "--quiet", "--", "bash", "-c"]);
    call.arg(format!("{BY_URL}{script}"))
        .stdout(
            "ana|facts|t\n1\nanalytics ana facts p@ss/w:rd%\n\
             postgresql://ana:p%40ss%2Fw%3Ard%25@analytics:5432/facts\n\
             OK\n[]\nPONG\nshop\n2\n",
        )
        .success();
}

/// Secret values of a service, which the client looks up when the run starts.
pub(crate) fn secrets_of_services(runtime: Runtime) {
    let Some(place) = Place::with(runtime, &[SERVERS, REDIS]) else {
        return;
    };
    fs::write(place.user_home().join("password"), "from-a-file\n").expect("a file");
    place.moat_yaml(
        r#"
base_image: moat-test/servers:1
dependencies: [redis@7]
services:
  redis: {image: moat-test/redis:7, env: {REDIS_PASSWORD: "env://S3CRET_PLACE"}}
  other: {service: redis, image: moat-test/redis:7, env: {REDIS_PASSWORD: file://~/password}}
"#,
    );
    let script = "for auth in from-the-environment from-a-file; do \
                      for host in redis other; do \
                          echo \"$auth $host $(REDISCLI_AUTH=$auth redis-cli -h $host ping 2>/dev/null)\"; \
                      done; \
                  done; echo $MOAT_REDIS_PASSWORD $MOAT_OTHER_PASSWORD";
    place
        .quiet(script)
        .env("S3CRET_PLACE", "from-the-environment")
        .stdout(
            "from-the-environment redis PONG\n\
             from-the-environment other NOAUTH Authentication required.\n\
             from-a-file redis NOAUTH Authentication required.\n\
             from-a-file other PONG\n\
             from-the-environment from-a-file\n",
        )
        .success();
    let runs = place.ids();
    place
        .quiet("true")
        .stderr(
            "error: cannot get the secret REDIS_PASSWORD: the variable S3CRET_PLACE is not set\n  \
             hint: set it in the environment of moat\n",
        )
        .status(125);
    assert_eq!(place.ids(), runs, "nothing was made");
}

/// A stand-in for Elasticsearch, which starts only with the variables of its registry entry and of the file: names that
/// no shell has. `curl` there demands the password in its configuration.
const ELASTICSEARCH: &str = r#"
RUN printf '#!/bin/sh\n\
    grep -qxF "user = \\"elastic:$ELASTIC_PASSWORD\\"" && exec wget -q -O /dev/null http://127.0.0.1:9200/\n' >/bin/curl && \
    printf '#!/bin/sh\n\
    mkdir -p /srv && tr "\\000" "\\n" </proc/$$/environ | grep -F . | sort >/srv/index.html\n\
    grep -qx discovery.type=single-node /srv/index.html && exec httpd -f -p 9200 -h /srv\n' >/bin/start && \
    chmod 755 /bin/curl /bin/start
ENTRYPOINT ["/bin/start"]
"#;

/// Variables of a service can have any name, in the registry and in a file.
pub(crate) fn names_that_no_shell_has(runtime: Runtime) {
    let Some(mut place) = Place::with(runtime, &[]) else {
        return;
    };
    let image = place.image(&format!("FROM {IMAGE}\n{ELASTICSEARCH}"));
    place.moat_yaml(&format!(
        "base_image: {IMAGE}\n\
         dependencies: [elasticsearch]\n\
         services:\n  \
           elasticsearch: {{image: '{image}', env: {{cluster.name: mine, A-B: x.y}}}}\n"
    ));
    let script = "wget -q -O - http://$MOAT_ELASTICSEARCH_HOST:$MOAT_ELASTICSEARCH_PORT/ | \
                  grep -E '^(A-B|cluster.name|discovery|xpack)'; echo $MOAT_ELASTICSEARCH_URL | \
                  sed \"s/$MOAT_ELASTICSEARCH_PASSWORD/PASSWORD/\"";
    place
        .quiet(script)
        .stdout(
            "A-B=x.y\ncluster.name=mine\ndiscovery.type=single-node\n\
             xpack.security.enabled=true\nxpack.security.http.ssl.enabled=false\n\
             http://elastic:PASSWORD@elasticsearch:9200\n",
        )
        .success();
}

/// The workload has exactly the documented variables, and values that the user sets take precedence.
pub(crate) fn the_variables_of_a_workload(runtime: Runtime) {
    let Some(place) = Place::with(runtime, &[SERVERS, POSTGRES, REDIS]) else {
        return;
    };
    place.moat_yaml(
        "base_image: moat-test/servers:1\n\
         dependencies: [postgres@15, redis@7]\n\
         env: {MOAT_POSTGRES_DB: mine}\n\
         services:\n  \
           postgres: {image: moat-test/postgres:15}\n  \
           redis: {image: moat-test/redis:7}\n",
    );
    let script = "env | grep -v PASSWORD= | grep -v URL= | grep ^MOAT_ | sort; \
                  env | grep ^MOAT_ | cut -d= -f1 | grep -E 'PASSWORD|URL' | sort";
    place
        .quiet(script)
        .stdout(
            "MOAT_POSTGRES_DB=mine\nMOAT_POSTGRES_HOST=postgres\nMOAT_POSTGRES_PORT=5432\n\
             MOAT_POSTGRES_USER=postgres\nMOAT_REDIS_HOST=redis\nMOAT_REDIS_PORT=6379\n\
             MOAT_POSTGRES_PASSWORD\nMOAT_POSTGRES_URL\nMOAT_REDIS_PASSWORD\nMOAT_REDIS_URL\n",
        )
        .success();
}

/// The variables of every service in the registry, no more and no less.
#[test]
fn the_variables_of_all_services() {
    let moat = Moat::new().env("MOAT_RUNTIME", "docker");
    moat.write(
        "moat.yaml",
        "dependencies: [elasticsearch, mailpit, mariadb, ministack, mysql, ollama, postgres, rabbitmq, redis, valkey]\n",
    );
    let call = moat.args(["run", "--dry-run", "--json", "--", "true"]);
    let plan = call.any_stdout().success().json();
    let services = plan["services"].as_array().expect("services").iter();
    let exports: Vec<_> = services
        .map(|service| json!([service["name"], service["exports"]]))
        .collect();
    assert_eq!(
        json!(exports),
        json!([
            [
                "elasticsearch",
                of(
                    "ELASTICSEARCH",
                    &["HOST", "PORT", "USER", "PASSWORD", "URL"]
                )
            ],
            [
                "mailpit",
                of("MAILPIT", &["HOST", "PORT", "WEB_PORT", "URL"])
            ],
            ["mariadb", of("MARIADB", &WHOLE)],
            ["ministack", of("MINISTACK", &["HOST", "PORT", "URL"])],
            ["mysql", of("MYSQL", &WHOLE)],
            ["ollama", of("OLLAMA", &["HOST", "PORT", "URL"])],
            ["postgres", of("POSTGRES", &WHOLE)],
            [
                "rabbitmq",
                of(
                    "RABBITMQ",
                    &["HOST", "PORT", "MANAGEMENT_PORT", "USER", "PASSWORD", "URL"]
                )
            ],
            ["redis", of("REDIS", &["HOST", "PORT", "PASSWORD", "URL"])],
            ["valkey", of("VALKEY", &["HOST", "PORT", "PASSWORD", "URL"])],
        ])
    );
}

const WHOLE: [&str; 6] = ["HOST", "PORT", "USER", "PASSWORD", "DB", "URL"];

fn of(service: &str, parts: &[&str]) -> Vec<String> {
    let parts = parts.iter();
    parts.map(|part| format!("MOAT_{service}_{part}")).collect()
}
