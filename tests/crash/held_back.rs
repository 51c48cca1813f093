//! On Apple's `container` a workload with services waits at a start gate. Its supervisor may die meanwhile.

use crate::crash::sidecars::try_docker;
use crate::harness::support::{NEVER_STARTED, adoptions, assert_ended, kill, list};
use crate::harness::{Moat, Runtime, skip};

#[test]
fn held_back() {
    let Some(moat) = Moat::on(Runtime::Apple("1.2.2")) else {
        return;
    };
    let image = "moat-test/redis:7";
    if try_docker(&["image", "inspect", image]).is_err() {
        return skip(&format!("no image {image} (tests/setup images)"));
    }
    moat.write(
        "moat.yaml",
        format!("dependencies: [redis@7]\nservices: {{redis: {{image: \"{image}\"}}}}\n"),
    );
    let call = moat.run_with(["-b", "--image", image], ["touch", "/workspace/ran"]);
    let client = call.checkpoint("held-back").spawn();
    kill(moat.wait_checkpoint("held-back"));
    list(&moat);
    let client = client.wait();
    assert_eq!(client.code, Some(125), "the client: {client}");
    let id = moat.only_id();
    let record = assert_ended(&moat, &id, NEVER_STARTED);
    assert_eq!(
        record["error"],
        "its supervisor was killed before the workload started"
    );
    assert!(!moat.workspace().join("ran").exists());
    assert_eq!(adoptions(&moat, &id), 1);
}
