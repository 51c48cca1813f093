//! Plans of requests and files.

use super::*;
use crate::runtime;

fn host(runtime: runtime::Name) -> Host {
    Host {
        runtime,
        engine: Vec::new(),
        home: "/nonexistent".into(),
        environment: Box::new(|name| (name == "TOKEN").then(|| "s3cret".into())),
        registry: Box::new(|| crate::registry::load(std::path::Path::new("/nonexistent"))),
    }
}

fn request() -> Request {
    Request {
        workspace: "/".into(),
        command: vec!["true".into()],
        ..Request::default()
    }
}

#[test]
fn values_are_in_no_serialized_plan() {
    let mut request = request();
    request.env = vec!["TOKEN".into(), "A=b4r".into()];
    let plan = plan(&request, &[], &host(runtime::Name::Docker)).unwrap();
    assert_eq!(plan.env[0].value, "s3cret");
    let text = serde_json::to_string(&plan).unwrap() + &format!("{plan:?}");
    assert!(!text.contains("s3cret") && !text.contains("b4r"), "{text}");
    assert!(text.contains("TOKEN"));
}

#[test]
fn what_bwrap_cannot_honour_is_refused_by_name() {
    for (set, flag) in [
        (
            (|r| r.image = Some("x".into())) as fn(&mut Request),
            "--image",
        ),
        (|r| r.memory = Some("1g".into()), "--memory"),
        (|r| r.cpus = Some("1".into()), "--cpus"),
        (|r| r.keep = true, "--keep"),
        (|r| r.rebuild = true, "--rebuild"),
    ] {
        let mut request = request();
        set(&mut request);
        let error = plan(&request, &[], &host(runtime::Name::Bwrap)).unwrap_err();
        assert!(error.message.contains(flag), "{error}");
    }
}

#[test]
fn the_same_target_twice_is_refused() {
    let mut request = request();
    request.mounts = vec!["/tmp:/a".into(), "/usr:/a/:ro".into()];
    let error = plan(&request, &[], &host(runtime::Name::Docker)).unwrap_err();
    assert!(error.message.contains("/a"), "{error}");
}
