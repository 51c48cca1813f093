//! The owner of files in the workspace, and the user and home in a built image.

use std::os::unix::fs::{MetadataExt, chown};

use crate::harness::Runtime;
use crate::images::place::Place;

const OWNED: &str = "id -u; id -g; whoami; echo $HOME; cat ~/from-the-hook; echo more >>~/from-the-hook; \
    mkdir made made/deep; echo x >made/deep/file; stat -c '%U %u:%g' ~";

pub(crate) fn files_are_the_workspace_owners(runtime: Runtime) {
    let Some(place) = Place::busybox(runtime) else {
        return;
    };
    chown(place.workspace(), Some(1234), Some(1235)).expect("root");
    place.moat_yaml("base_image: BASE\nhooks: {post_build: 'id -u >~/from-the-hook'}\n");
    place
        .quiet(OWNED)
        .stdout("1234\n1235\nmoatuser\n/home/moatuser\n1234\nmoatuser 1234:1235\n")
        .success();
    for name in ["made", "made/deep", "made/deep/file"] {
        let made = std::fs::metadata(place.workspace().join(name)).expect(name);
        assert_eq!((made.uid(), made.gid()), (1234, 1235), "{name}");
    }
    // Files that a run writes to its home are gone in the next run.
    place
        .quiet("cat ~/from-the-hook")
        .stdout("1234\n")
        .success();
}

pub(crate) fn without_a_build_too(runtime: Runtime) {
    let Some(place) = Place::busybox(runtime) else {
        return;
    };
    chown(place.workspace(), Some(1234), Some(1235)).expect("root");
    place.moat_yaml("base_image: BASE\n");
    place
        .quiet("id -u; echo $HOME; echo x >~/file; cat ~/file; mkdir made; echo x >made/file")
        .stdout("1234\n/home/moatuser\nx\n")
        .success();
    for name in ["made", "made/file"] {
        let made = std::fs::metadata(place.workspace().join(name)).expect(name);
        assert_eq!((made.uid(), made.gid()), (1234, 1235), "{name}");
    }
    assert_eq!(place.builds(), 0);
}

/// The base image may have a user with the same number, or one named `moat`.
pub(crate) fn users_of_the_base_do_not_get_in_the_way(runtime: Runtime) {
    let Some(place) = Place::busybox(runtime) else {
        return;
    };
    let base = place.image(
        "users",
        &format!(
            "FROM {}\nRUN echo 'moatuser:x:77:77::/nowhere:/bin/false' >>/etc/passwd \
             && echo 'moatuser:x:77:' >>/etc/group\n",
            place.base()
        ),
    );
    // busybox has a user with the number 1000.
    chown(place.workspace(), Some(1000), Some(1000)).expect("root");
    place.moat_yaml(&format!(
        "base_image: {base}\nhooks: {{post_build: 'true'}}\n"
    ));
    place
        .quiet("id; cd ~ && pwd && touch file")
        .stdout("uid=1000(moatuser) gid=1000(tester) groups=1000(tester)\n/home/moatuser\n")
        .success();
}

/// In a workspace of root, the workload runs as root with the image's home of root.
pub(crate) fn root_stays_root(runtime: Runtime) {
    let Some(place) = Place::busybox(runtime) else {
        return;
    };
    place.moat_yaml("base_image: BASE\nhooks: {post_build: 'echo hook >~/here'}\n");
    place
        .quiet("id -u; echo $HOME; cat /root/here; touch made")
        .stdout("0\n/root\nhook\n")
        .success();
}

/// The image's tag depends on the workspace's owner, so that owners do not share images.
pub(crate) fn another_owner_gets_another_image(runtime: Runtime) {
    let Some(place) = Place::busybox(runtime) else {
        return;
    };
    place.moat_yaml("base_image: BASE\nhooks: {post_build: 'id -u >/tmp/who'}\n");
    for uid in [0, 1234, 4_000_000_000, 0] {
        chown(place.workspace(), Some(uid), Some(uid)).expect("root");
        place
            .quiet("cat /tmp/who; id -u")
            .stdout(format!("{uid}\n{uid}\n"))
            .success();
    }
    assert_eq!(place.builds(), 3);
}

/// The workload can write to a copied workspace, and the files keep their owners.
pub(crate) fn a_copy_is_the_users(runtime: Runtime) {
    let Some(place) = Place::busybox(runtime) else {
        return;
    };
    place.moat_yaml("base_image: BASE\nworkspace: {mode: volume}\nhooks: {post_build: 'true'}\n");
    std::fs::create_dir(place.workspace().join("dir")).expect("a directory");
    for (name, uid) in [("", 1234), ("dir", 1234), ("moat.yaml", 0)] {
        chown(place.workspace().join(name), Some(uid), Some(uid)).expect("root");
    }
    let out = place.root().join("out");
    place
        .go(
            &["-q", "--export", out.to_str().expect("text")],
            "id -u; touch file dir/file && stat -c %u . dir moat.yaml",
        )
        .stdout("1234\n1234\n1234\n0\n")
        .success();
    for (name, uid) in [
        ("", 1234),
        ("dir", 1234),
        ("dir/file", 1234),
        ("file", 1234),
        ("moat.yaml", 0),
    ] {
        let found = std::fs::metadata(out.join(name)).expect(name);
        assert_eq!(found.uid(), uid, "'{name}'");
    }
    assert!(!place.workspace().join("file").exists());
}

/// The workload can write to excluded directories of a mount. They get the owner of the mount's source.
pub(crate) fn excluded_directories_are_the_users(runtime: Runtime) {
    let Some(place) = Place::busybox(runtime) else {
        return;
    };
    chown(place.workspace(), Some(1234), Some(1235)).expect("root");
    let source = place.root().join("source");
    std::fs::create_dir(&source).expect("a directory");
    chown(&source, Some(1234), Some(1235)).expect("root");
    place.moat_yaml(&format!(
        "base_image: BASE\nmounts:\n  - {{source: {}, target: /src, exclude: [node_modules]}}\n",
        source.display()
    ));
    place
        .quiet(
            "stat -c %u:%g /src /src/node_modules; touch /src/node_modules/x /src/y && echo fine",
        )
        .stdout("1234:1235\n1234:1235\nfine\n")
        .success();
    let made = std::fs::metadata(source.join("node_modules")).expect("it was made");
    assert_eq!((made.uid(), made.gid()), (1234, 1235));
    assert_eq!(
        std::fs::read_dir(source.join("node_modules"))
            .expect("it")
            .count(),
        0
    );
}

/// A `pre_run` hook runs as the workload's user in the workspace, even if the image has an entry point.
pub(crate) fn a_hook_before_the_command_is_the_users(runtime: Runtime) {
    let Some(place) = Place::busybox(runtime) else {
        return;
    };
    chown(place.workspace(), Some(1234), Some(1235)).expect("root");
    let base = place.image(
        "entry",
        &format!(
            "FROM {}\nENTRYPOINT [\"echo\", \"entry point:\"]\n",
            place.base()
        ),
    );
    let yaml =
        format!("base_image: {base}\nhooks: {{pre_run: 'id -u; pwd; echo x >made; echo $HOME'}}\n");
    place.moat_yaml(&yaml);
    place
        .quiet("stat -c %u made")
        .stdout("1234\n/workspace\n/home/moatuser\n1234\n")
        .success();
}

/// A directory that moat creates below the workspace as a mount point belongs to the owner of the workspace.
pub(crate) fn places_to_mount_on_are_the_owners(runtime: Runtime) {
    let Some(place) = Place::busybox(runtime) else {
        return;
    };
    chown(place.workspace(), Some(1234), Some(1235)).expect("root");
    let outside = place.root().join("outside");
    std::fs::create_dir(&outside).expect("a directory");
    std::fs::write(outside.join("file"), "outside\n").expect("a file");
    place.moat_yaml(&format!(
        "name: shop\nbase_image: BASE\nvolumes:\n  - {{name: modules, target: /workspace/node_modules}}\n  \
         - {{name: deps, target: /workspace/vendor/deep, type: volume}}\n\
         mounts: [\"{0}:/workspace/doc/x:ro\", \"{0}/file:/workspace/doc/one\", \"{0}/file:/workspace/vendor/deep/in\"]\n",
        outside.display()
    ));
    place
        .quiet(
            "touch node_modules/a vendor/deep/b vendor/mine doc/mine && cat doc/x/file doc/one vendor/deep/in && \
             stat -c %u:%g node_modules vendor vendor/deep doc",
        )
        .stdout("outside\n".repeat(3) + &"1234:1235\n".repeat(4))
        .success();
    for name in [
        "node_modules",
        "vendor",
        "vendor/deep",
        "vendor/mine",
        "doc",
        "doc/x",
        "doc/one",
    ] {
        let made = std::fs::metadata(place.workspace().join(name)).expect(name);
        assert_eq!((made.uid(), made.gid()), (1234, 1235), "{name}");
    }
    assert!(
        !place.workspace().join("vendor/deep/in").exists(),
        "that is in a volume"
    );
    assert!(!place.workspace().join("node_modules/a").exists());
    // moat does not follow a link in the place of a mount point, so it creates nothing at the link's target.
    std::fs::remove_dir(place.workspace().join("node_modules")).expect("it is empty");
    std::os::unix::fs::symlink("/elsewhere", place.workspace().join("node_modules"))
        .expect("a link");
    place.quiet("true").any_stderr().run();
    assert!(!std::path::Path::new("/elsewhere").exists());
    place
        .args(["volumes", "rm", "-f", "shop/modules", "shop/deps"])
        .any_stdout()
        .success();
}

/// Directories between the home, or a copied workspace, and a mount inside belong to the owner, too.
pub(crate) fn directories_around_mounts_are_the_owners(runtime: Runtime) {
    let Some(place) = Place::busybox(runtime) else {
        return;
    };
    chown(place.workspace(), Some(1234), Some(1235)).expect("root");
    let outside = place.root().join("outside");
    std::fs::create_dir_all(outside.join("npm/deep")).expect("a directory");
    std::fs::write(outside.join("file"), "outside\n").expect("a file");
    let yaml = |more: &str| {
        place.moat_yaml(&format!(
            "base_image: BASE\n{more}mounts: [\"{0}:/home/moatuser/.config/gh:ro\", \"{0}/file:/home/moatuser/.ssh/known_hosts:ro\", \
             \"{0}/npm:/home/moatuser/.npm\", \"{0}/file:/home/moatuser/.npm/deep/file\", \"{0}:/workspace/doc/x:ro\"]\n",
            outside.display()
        ));
    };
    for more in [
        "",
        "workspace: {mode: volume}\n",
        "hooks: {post_build: 'true'}\n",
    ] {
        yaml(more);
        place
            .quiet(
                "cat ~/.config/gh/file ~/.ssh/known_hosts && mkdir ~/.config/npm && touch ~/.ssh/config ~/mine doc/mine && \
                 stat -c %u:%g ~ ~/.config ~/.ssh doc",
            )
            .stdout("outside\n".repeat(2) + &"1234:1235\n".repeat(4))
            .success();
    }
    // A home that is itself a mount is left unchanged.
    place.moat_yaml(&format!(
        "base_image: BASE\nmounts: [\"{0}:/home/moatuser\"]\n",
        outside.display()
    ));
    place.quiet("cat ~/file").stdout("outside\n").success();
    // Mounted files keep their owner.
    for name in ["npm", "npm/deep"] {
        let metadata = std::fs::metadata(outside.join(name)).expect(name);
        assert_eq!(metadata.uid(), 0, "{name}");
    }
}
