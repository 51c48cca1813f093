//! Provides the image of a run: pulled from its registry, or built here, once for all runs that need it.

use std::cell::Cell;
use std::collections::VecDeque;
use std::fs;
use std::io::Write;
use std::time::Instant;

use super::protocol::ToClient;
use super::supervisor::Supervisor;
use crate::container::Watched;
use crate::error::{Error, ErrorKind, Result};
use crate::failpoint::checkpoint;
use crate::image::ImageRecipe;
use crate::plan::Plan;
use crate::runtime::{self, BuildEvent, ImageBuild, RuntimeError};
use crate::store::{create, make_dir};
use crate::term::{escape_unsafe, strip_sequences};

/// Number of lines that are shown of a failed step.
const SHOWN_LINES: usize = 30;

/// Ensures that the image exists.
pub(super) fn ensure_image(supervisor: &Supervisor, plan: &Plan) -> Result<()> {
    let image = plan.settings.image.name.as_deref().unwrap_or_default();
    match &plan.build {
        None => pull(supervisor, image),
        Some(build) => build_once(supervisor, plan, image, build),
    }
}

fn pull(supervisor: &Supervisor, image: &str) -> Result<()> {
    supervisor.notice(&format!("pulling the image {image}"));
    let pulled = pull_once(supervisor, image);
    supervisor.check_end_intent()?;
    pulled.map_err(|problem| {
        let error = Error::from(problem);
        match error.kind {
            ErrorKind::Image => {
                let message = format!("cannot pull the image '{image}': {}", error.message);
                error.with_message(message)
            }
            _ => error,
        }
    })
}

fn pull_once(supervisor: &Supervisor, image: &str) -> runtime::Result<()> {
    let should_continue = || supervisor.should_continue_creating();
    let note = |why: &str| supervisor.append_supervisor_log(&format!("{image}: {why}"));
    runtime::retry(&should_continue, &note, &mut || {
        let images = supervisor.runtime.need_images()?;
        images.pull_image(image, &should_continue)
    })
}

/// Builds the image. If another process is building it, waits for that build and shares its failure.
fn build_once(
    supervisor: &Supervisor,
    plan: &Plan,
    image: &str,
    build: &ImageRecipe,
) -> Result<()> {
    let should_continue = || supervisor.should_continue_creating();
    let home = supervisor.run().home().clone();
    let began = Instant::now();
    let looks = Cell::new(0);
    let waiting = || {
        looks.set(looks.get() + 1);
        if looks.get() == 2 {
            supervisor.notice(&format!(
                "waiting for another run to build the image {image}"
            ));
        }
        should_continue()
    };
    let lock = home.lock_creation(&image.replace(['/', ':'], "-"), &waiting)?;
    supervisor.check_end_intent()?;
    // The previous holder of the lock may have built it.
    if !plan.settings.image.rebuild
        && supervisor.runtime.need_images()?.has_image(image)?
        && !is_outdated(supervisor, plan)
    {
        return Ok(());
    }
    if plan.settings.image.rebuild {
        pull_base(supervisor, &build.base);
    }
    supervisor.notice(&format!("building the image {image}{}", contents(plan)));
    checkpoint("building");
    let built = run_build(supervisor, plan, image, build, &should_continue);
    supervisor.check_end_intent()?;
    match (&built, lock) {
        // The build would fail for the waiting runs as well. After an engine's failure they try themselves.
        (Err(error), Some(lock)) if error.kind == ErrorKind::Image => lock.fail(error),
        (_, lock) => drop(lock),
    }
    built?;
    let seconds = began.elapsed().as_secs_f64();
    supervisor.notice(&format!("built the image {image} in {seconds:.1} s"));
    Ok(())
}

/// Whether an image that the build used has another content now. An image that the engine does not have proves nothing.
pub(super) fn is_outdated(supervisor: &Supervisor, plan: &Plan) -> bool {
    let (Some(image), Some(_)) = (&plan.settings.image.name, &plan.build) else {
        return false;
    };
    let Some(images) = supervisor.runtime.images() else {
        return false;
    };
    let inputs = images.build_inputs(image).unwrap_or_default();
    inputs.split_whitespace().any(|input| {
        let (name, built_from) = input.split_once('=').unwrap_or_default();
        let now = images.image_id(name);
        now.is_some_and(|now| now != built_from)
    })
}

/// The [`ImageBuild::inputs`] of a build that is about to start.
fn inputs(supervisor: &Supervisor, build: &ImageRecipe) -> String {
    let names = build.images().into_iter();
    let known = names.filter_map(|name| {
        let id = supervisor.runtime.images()?.image_id(name)?;
        Some(format!("{name}={id}"))
    });
    known.collect::<Vec<_>>().join(" ")
}

/// Pulls a base image again; a local-only image is accepted.
fn pull_base(supervisor: &Supervisor, base: &str) {
    supervisor.notice(&format!("pulling the image {base}"));
    if let Err(problem) = pull_once(supervisor, base) {
        let why = problem.message();
        supervisor.notice(&format!(
            "pulling failed, so the local image is used: {why}"
        ));
    }
}

/// The contents of the image for a notice, with the dependencies that were added automatically.
fn contents(plan: &Plan) -> String {
    let dependencies = plan.settings.image.dependencies.iter();
    let parts: Vec<String> = dependencies.map(ToString::to_string).collect();
    match parts.is_empty() {
        true => String::new(),
        false => format!(" with {}", parts.join(", ")),
    }
}

fn run_build(
    supervisor: &Supervisor,
    plan: &Plan,
    image: &str,
    build: &ImageRecipe,
    should_continue: &dyn Fn() -> bool,
) -> Result<()> {
    let request = write_context(supervisor, plan, image, build)?;
    let log = supervisor.run().dir().build_log();
    let mut file =
        create(&log).map_err(|error| Error::io(ErrorKind::Store, "write", &log, &error))?;
    let mut progress = BuildProgress::default();
    let mut tell = |event: BuildEvent<'_>| {
        let (BuildEvent::Step(text) | BuildEvent::Line(text)) = event;
        // A full disk does not fail a build.
        let _ = writeln!(file, "{text}");
        if let Some(message) = progress.record_event(event) {
            supervisor.try_notify_client(&message);
        }
    };
    let images = supervisor.runtime.need_images();
    let built = images.and_then(|all| all.build_image(&request, &mut tell, should_continue));
    let _ = fs::remove_dir_all(&request.context);
    built.map_err(|problem| match problem {
        RuntimeError::Refused(_) => {
            let log = log.display();
            Error::new(ErrorKind::Image, progress.failure(image))
                .hint(format!("the whole output of the builder is in {log}"))
        }
        problem => problem.into(),
    })
}

/// Writes the files of the build context into the run's directory.
fn write_context(
    supervisor: &Supervisor,
    plan: &Plan,
    image: &str,
    build: &ImageRecipe,
) -> Result<ImageBuild> {
    let run = supervisor.run();
    let (dockerfile, context) = (run.dir().dockerfile(), run.dir().build_context());
    let write = |path: &std::path::Path, text: &str| {
        let parent = path.parent().unwrap_or(path);
        make_dir(parent)
            .and_then(|()| create(path))
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .map_err(|error| Error::io(ErrorKind::Store, "write", path, &error))
    };
    make_dir(&context).map_err(|error| Error::io(ErrorKind::Store, "create", &context, &error))?;
    write(&dockerfile, &build.dockerfile)?;
    for file in &build.files {
        let path = context.join(&file.name);
        write(&path, &file.content)?;
        readable(&path)?;
    }
    for dir in directories(&context) {
        readable(&dir)?;
    }
    Ok(ImageBuild {
        tag: image.to_owned(),
        home_label: run.home().label()?,
        dockerfile,
        context,
        inputs: inputs(supervisor, build),
        no_cache: plan.settings.image.rebuild,
        dns: plan.settings.network.dns.clone(),
    })
}

/// Modes are part of the image, where other users read these files; here the run's directory protects them.
fn readable(path: &std::path::Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let mode = if path.is_dir() { 0o755 } else { 0o644 };
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
        .map_err(|error| Error::io(ErrorKind::Store, "write", path, &error))
}

fn directories(context: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(context).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.path())
        .filter(|path| path.is_dir())
        .collect()
}

fn progress(text: String, step: bool) -> ToClient {
    ToClient::Progress {
        item: String::new(),
        text,
        is_new_step: step,
    }
}

/// The progress of a build, and its last output.
#[derive(Default)]
struct BuildProgress {
    step: Option<String>,
    last: VecDeque<String>,
}

impl BuildProgress {
    /// Records a line of the builder; returns what the client should show.
    fn record_event(&mut self, event: BuildEvent<'_>) -> Option<ToClient> {
        match event {
            BuildEvent::Step(text) => {
                let text = escape_unsafe(&strip_sequences(text));
                self.step = Some(text.clone());
                self.last.clear();
                Some(progress(text, true))
            }
            BuildEvent::Line(text) => {
                let text = escape_unsafe(&strip_sequences(text));
                if self.last.len() == SHOWN_LINES {
                    self.last.pop_front();
                }
                self.last.push_back(text.clone());
                // Before the first step the builder prints about itself.
                self.step.as_ref()?;
                Some(progress(text, false))
            }
        }
    }

    fn failure(&self, image: &str) -> String {
        let step = self.step.as_deref().unwrap_or("before the first step");
        let mut text = format!("the image {image} could not be built; this step failed: {step}");
        for line in &self.last {
            text.push_str("\n  ");
            text.push_str(line);
        }
        text
    }
}
