//! light.py replaces modules of Python's standard library that load slowly; it must behave like them.

use std::path::Path;
use std::process::Command;

use crate::harness::{Runtime, skip};

const COMPARE: &str = r#"
import json, re, time, urllib.parse
from itertools import product

from standin import light, values

value = {"b": [1, 2.5, None, True, {"x": "\u00e9\n\"/"}, [], {}], "a": {"z": -1, "y": -1e300}}
assert light.dumps(value) == json.dumps(value)
for sort in (False, True):
    told = dict(sort_keys=sort, ensure_ascii=False)
    assert light.dumps(value, (",", ":"), sort, ascii=False) == json.dumps(value, separators=(",", ":"), **told)
    assert light.dumps_over_lines(value, sort) == json.dumps(value, indent=2, separators=(",", " : "), **told)
assert light.loads(json.dumps(value, indent=3) + "\n") == value == light.loads(json.dumps(value).encode())
for text in ("", "{", "[1] 2", "no", "[1,]"):
    try:
        light.loads(text)
    except ValueError:
        continue
    raise AssertionError(text)

for text in ("a b/\u00fc~:;%&=+", b"\xff,\xff"):
    assert light.quote(text) == urllib.parse.quote(text, safe="")
assert urllib.parse.parse_qs(light.query({"a": "1 2&", "b": "="})) == {"a": ["1 2&"], "b": ["="]}
assert re.fullmatch("[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", light.uuid4())
assert sorted(light.shuffled(range(9))) == list(range(9))

for seconds in range(-2**31, 2**33, 40_000_003):
    text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    assert light.seconds_since_1970(text) == seconds, text

network = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,61}[a-z0-9])?")
container = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{1,62}")
names = ["".join(letters) for size in range(4) for letters in product("aZ0_.-/ ", repeat=size)]
for name in names + ["a" * size for size in (62, 63, 64)]:
    assert bool(network.fullmatch(name)) == bool(values.is_network_name(name)), name
    try:
        values.check_container_id(name)
        good = True
    except Exception:
        good = False
    assert good == bool(container.fullmatch(name)), name
"#;

#[test]
fn it_does_as_the_standard_library_does() {
    if let Err(why) = Runtime::Apple("1.2.2").available() {
        skip(&why);
        return;
    }
    let output = Command::new("python3")
        .args(["-B", "-c", COMPARE])
        .env(
            "PYTHONPATH",
            Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/bin"),
        )
        .output()
        .expect("python3");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
}
